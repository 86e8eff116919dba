//! `harness merge`: the record that one run of all cases would have left.
//!
//! Suites that can be split have figures that rest on samples alone
//! ([`suites::Suite::figures`]), so their samples are put in order and the
//! figures are computed and judged as `harness run` does it. A suite that cannot
//! be split was run by one of the shards; its cells are taken over.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, anyhow, bail, ensure};
use reports::{
    CellRecord, Provenance, RunRecord, RunWriter, SCHEMA, SampleRow, ShardRecord, Status,
    StoredRun, StoredSample, Telemetry, Work,
};
use suites::{Series, Settings, Shard, Suite};

use crate::args::MergeArguments;
use crate::config::find_suite;
use crate::exit::Exit;
use crate::past::AgainstHistory;
use crate::provenance::command_line;
use crate::run::{exit, print, unanswered};
use crate::verdict::{self, UserGate};

pub(crate) fn merge(arguments: &MergeArguments) -> Result<Exit> {
    let runs = runs(arguments)?;
    let mut provenance = provenance(&runs)?;
    let against = against_history(arguments, &mut provenance)?;
    let gates: Vec<UserGate> = (provenance.gates.iter())
        .map(|gate| gate.parse())
        .collect::<Result<_>>()?;
    let suites = provenance.settings.clone();
    let record = RunRecord {
        schema: SCHEMA,
        provenance,
        cells: Vec::new(),
        samples_bytes: 0,
        telemetry: Telemetry::default(),
    };
    let order: Vec<String> = (runs[0].record.suites().into_iter())
        .map(String::from)
        .collect();
    // Everything is computed before anything is written.
    let mut cells = Vec::new();
    let mut baselines: HashMap<String, Series> = HashMap::new();
    for index in 0..runs[0].record.cells.len() {
        let shares: Vec<Share<'_>> = runs.iter().map(|run| Share::new(run, index)).collect();
        let suite = find_suite(&shares[0].cell.suite)?;
        cells.push(if suite.divisible() {
            let settings = settings(suite, &suites)?;
            joined(suite, &settings, &shares, &gates, &mut baselines)?
        } else {
            // As `run` deals them out.
            let number = order.iter().position(|name| name == suite.name());
            let owner = &shares[number.unwrap_or_default() % shares.len()];
            (owner.cell.clone(), owner.samples.to_vec())
        });
    }
    if let Some(against) = against {
        let mut judged = RunRecord {
            cells: cells.iter().map(|(cell, _)| cell.clone()).collect(),
            ..record.clone()
        };
        against.hold(&mut judged)?;
        for ((cell, _), judged) in cells.iter_mut().zip(judged.cells) {
            *cell = judged;
        }
    }
    let mut writer = RunWriter::create(&arguments.out, record)?;
    for (cell, samples) in cells {
        let rows: Vec<SampleRow<'_>> = samples.iter().map(|sample| sample.row(&cell)).collect();
        writer.finish_cell(cell.clone(), &rows)?;
    }
    for run in &runs {
        copy_artifacts(&run.folder, &arguments.out)?;
    }
    print(writer.record(), arguments.format)?;
    anstream::eprintln!("record: {}", arguments.out.display());
    Ok(exit(writer.record().tally()).max(unanswered(&gates, writer.record())))
}

/// What the whole run is held against: as the shards say, but where the command line says else.
fn against_history(
    arguments: &MergeArguments,
    provenance: &mut Provenance,
) -> Result<Option<AgainstHistory>> {
    let branch = &arguments.history_branch;
    if provenance.history.is_none() && arguments.history.is_none() {
        ensure!(
            branch.is_none(),
            "--history-branch belongs to --history URL; add that"
        );
        return Ok(None);
    }
    let gate = provenance.history.get_or_insert_default();
    if branch.is_some() {
        gate.branch.clone_from(branch);
    }
    Ok(Some(AgainstHistory {
        url: arguments.history.clone(),
        gate: gate.clone(),
    }))
}

/// All shards of one run, in order.
fn runs(arguments: &MergeArguments) -> Result<Vec<StoredRun>> {
    let mut found: BTreeMap<usize, StoredRun> = BTreeMap::new();
    let mut count = None;
    for folder in &arguments.runs {
        let run = StoredRun::open(folder)?;
        let name = folder.display();
        let text = run.record.provenance.shard.as_ref();
        let text = text.ok_or_else(|| anyhow!("{name} is no shard but a whole run"))?;
        let shard: Shard = text
            .parse()
            .map_err(|why| anyhow!("{name}: shard {text}: {why}"))?;
        ensure!(
            run.record.provenance.ended.is_some(),
            "{name} was cut off before its end; run shard {shard} again"
        );
        match count {
            Some(count) if count != shard.count() => {
                bail!("{name} is shard {shard}, but the others are of {count}")
            }
            _ => count = Some(shard.count()),
        }
        if let Some(other) = found.insert(shard.index(), run) {
            bail!(
                "{} and {name} are both shard {shard}",
                other.folder.display()
            );
        }
    }
    let count = count.unwrap_or_default();
    let missing: Vec<String> = (0..count)
        .filter(|index| !found.contains_key(index))
        .map(|index| format!("{}/{count}", index + 1))
        .collect();
    ensure!(
        missing.is_empty(),
        "shards are missing: {}",
        missing.join(", ")
    );
    Ok(found.into_values().collect())
}

/// What the shards have in common, and where each comes from.
fn provenance(runs: &[StoredRun]) -> Result<Provenance> {
    let first = &runs[0].record;
    for run in runs {
        let (ours, theirs) = (&first.provenance, &run.record.provenance);
        let cells = |record: &RunRecord| -> Vec<(String, String, String)> {
            let cells = record.cells.iter();
            cells
                .map(|cell| {
                    let version = cell.engine.version.clone();
                    (cell.cell.clone(), cell.model_sha256.clone(), version)
                })
                .collect()
        };
        for (what, same) in [
            (
                "harness version",
                ours.harness_version == theirs.harness_version,
            ),
            ("project revision", revision(ours) == revision(theirs)),
            ("settings", ours.settings == theirs.settings),
            ("gates", ours.gates == theirs.gates),
            ("gate against history", ours.history == theirs.history),
            ("seeds", ours.seeds == theirs.seeds),
            ("baseline", ours.baseline == theirs.baseline),
            ("plan", ours.plan == theirs.plan),
            ("models", ours.models == theirs.models),
            ("cells", cells(first) == cells(&run.record)),
        ] {
            ensure!(
                same,
                "{} and {} are not shards of one run: they differ in their {what}",
                runs[0].folder.display(),
                run.folder.display()
            );
        }
    }
    let all = || runs.iter().map(|run| &run.record.provenance);
    let ours = &first.provenance;
    let shards = all().map(|provenance| ShardRecord {
        shard: provenance.shard.clone().unwrap_or_default(),
        command_line: provenance.command_line.clone(),
        machine: provenance.machine.clone(),
        started: provenance.started,
        ended: provenance.ended,
    });
    Ok(Provenance {
        command_line: command_line(),
        started: all().map(|p| p.started).min().unwrap_or(ours.started),
        ended: all().filter_map(|p| p.ended).max(),
        shard: None,
        shards: shards.collect(),
        ..ours.clone()
    })
}

fn revision(provenance: &Provenance) -> Option<&str> {
    let project = provenance.project.as_ref();
    project.map(|project| project.revision.as_str())
}

/// What one shard has of a cell.
struct Share<'a> {
    cell: &'a CellRecord,
    samples: &'a [StoredSample],
}

impl<'a> Share<'a> {
    fn new(run: &'a StoredRun, index: usize) -> Self {
        let cell = &run.record.cells[index];
        Self {
            cell,
            samples: run.samples.get(&cell.cell).map_or(&[], Vec::as_slice),
        }
    }
}

/// A cell of a suite that was split. It went as badly as in the shard where it
/// went worst.
fn joined(
    suite: &dyn Suite,
    settings: &Settings,
    shares: &[Share<'_>],
    gates: &[UserGate],
    baselines: &mut HashMap<String, Series>,
) -> Result<(CellRecord, Vec<StoredSample>)> {
    let of = |wanted: fn(&Status) -> bool| shares.iter().find(|share| wanted(&share.cell.status));
    let worst = of(|status| matches!(status, Status::Failed(_)))
        .or_else(|| of(|status| matches!(status, Status::Skipped { .. })))
        .unwrap_or(&shares[0]);
    let mut cell = worst.cell.clone();
    let all = || shares.iter().map(|share| share.cell);
    cell.started = all().map(|cell| cell.started).min().unwrap_or(cell.started);
    cell.wall_s = all().map(|cell| cell.wall_s).sum();
    cell.work = all().filter_map(|cell| cell.work).reduce(Work::plus);
    if matches!(cell.status, Status::Skipped { .. }) {
        return Ok((cell, Vec::new()));
    }
    let samples = in_order(&cell.cell, shares)?;
    if cell.status == Status::Completed {
        let mut series = Series::default();
        for sample in &samples {
            series.push(&sample.case, &sample.metric, sample.index, sample.value);
        }
        // The baseline's cell is the first of its suite.
        let baseline = baselines.get(suite.name());
        let figures = suite.figures(settings, &series, baseline)?;
        cell.metrics = figures
            .into_iter()
            .map(|figure| verdict::judge(suite.name(), figure, gates))
            .collect();
        baselines.entry(suite.name().into()).or_insert(series);
    }
    Ok((cell, samples))
}

/// The samples of all shares as one run makes them: by index, and what several
/// shares have once.
fn in_order(cell: &str, shares: &[Share<'_>]) -> Result<Vec<StoredSample>> {
    let mut all: Vec<&StoredSample> = shares.iter().flat_map(|share| share.samples).collect();
    all.sort_by_key(|sample| sample.index);
    let mut ordered: Vec<StoredSample> = Vec::with_capacity(all.len());
    for same_index in all.chunk_by(|a, b| a.index == b.index) {
        let mut seen: HashMap<(&str, &str), f64> = HashMap::new();
        for sample in same_index {
            let key = (sample.case.as_str(), sample.metric.as_str());
            match seen.insert(key, sample.value) {
                None => ordered.push((*sample).clone()),
                Some(other) if other.to_bits() == sample.value.to_bits() => {}
                Some(other) => bail!(
                    "{cell}: two shards disagree on {} at index {}: {other} and {}",
                    sample.metric,
                    sample.index,
                    sample.value
                ),
            }
        }
    }
    Ok(ordered)
}

/// Copies what a shard keeps besides its samples. Only suites that cannot be
/// split keep anything, so no two shards have the same file.
fn copy_artifacts(run: &Path, out: &Path) -> Result<()> {
    let folder = run.join("artifacts");
    let Ok(entries) = fs::read_dir(&folder) else {
        return Ok(());
    };
    let target = out.join("artifacts");
    fs::create_dir_all(&target).context("cannot create the folder for artifacts")?;
    for entry in entries {
        let entry = entry.with_context(|| format!("cannot read {}", folder.display()))?;
        let to = target.join(entry.file_name());
        ensure!(!to.exists(), "{} is in two shards", to.display());
        fs::copy(entry.path(), &to).with_context(|| format!("cannot write {}", to.display()))?;
    }
    Ok(())
}

fn settings(
    suite: &dyn Suite,
    all: &BTreeMap<String, BTreeMap<String, String>>,
) -> Result<Settings> {
    let mut settings = Settings::default();
    for (key, value) in all.get(suite.name()).into_iter().flatten() {
        settings.set(key.as_str(), value.as_str());
    }
    settings.refuse_unknown(suite.name(), suite.settings())?;
    Ok(settings)
}
