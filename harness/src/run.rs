//! `harness run`.

use std::fs;
use std::io::{IsTerminal, Write};
use std::panic::{self, AssertUnwindSafe};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use engine::{ArtifactSource, Capability, EngineError, FailureKind};
use indicatif::{ProgressBar, ProgressStyle};
use jiff::Timestamp;
use machine::State;
use reports::render::{self, Style};
use reports::{
    CellRecord, EngineRecord, Failure, RunRecord, RunWriter, SCHEMA, SampleRow, Status, Tally,
};
use suites::{Cell, Measurement, Role, Sample, Series, Shard, SuiteError};

use crate::args::{RunArguments, RunFormat};
use crate::exit::Exit;
use crate::plan::{Plan, PlannedEngine, PlannedSuite};
use crate::verdict::UserGate;
use crate::{provenance, verdict};

pub(crate) fn run(arguments: &RunArguments) -> Result<Exit> {
    let plan = Plan::new(arguments)?;
    let provenance = provenance::gather(&plan)?;
    for warning in &provenance.machine.warnings {
        anstream::eprintln!("\x1b[33mwarning:\x1b[0m {warning}");
    }
    let out = arguments
        .out
        .clone()
        .unwrap_or_else(|| default_folder(provenance.started));
    let record = RunRecord {
        schema: SCHEMA,
        provenance,
        cells: Vec::new(),
        samples_bytes: 0,
    };
    stop_on_interrupt(&out)?;
    let mut writer = RunWriter::create(&out, record)?;

    let artifacts = out.join("artifacts");
    fs::create_dir_all(&artifacts).context("cannot create the folder for artifacts")?;
    let scratch = tempfile::Builder::new()
        .prefix("scratch-")
        .tempdir_in(&out)
        .context("cannot create a scratch folder in the record")?;
    for (number, planned) in plan.suites.iter().enumerate() {
        let mut baseline = Baseline::Pending;
        for index in 0..plan.engines.len() {
            let place = Place {
                plan: &plan,
                suite: planned,
                elsewhere: !planned.suite.divisible() && !plan.shard.takes(number),
                index,
                scratch: scratch.path(),
                artifacts: &artifacts,
            };
            place.run(&mut baseline, &mut writer)?;
        }
    }
    writer.update(|record| {
        record.provenance.ended = Some(Timestamp::now());
        record.provenance.machine.state_at_end =
            serde_json::to_value(State::sample()).unwrap_or_default();
    })?;
    // An empty folder would only raise questions.
    let _ = fs::remove_dir(&artifacts);

    print(writer.record(), arguments.format)?;
    anstream::eprintln!("record: {}", out.display());
    if plan.shard != Shard::WHOLE {
        anstream::eprintln!(
            "this is shard {}; figures come with `harness merge`",
            plan.shard
        );
        return Ok(exit(writer.record().tally()));
    }
    let exit = exit(writer.record().tally());
    Ok(exit.max(unanswered(&plan.gates, writer.record())))
}

/// A gate that no metric answers to has not passed, be it misspelt or its suite
/// skipped.
pub(crate) fn unanswered(gates: &[UserGate], record: &RunRecord) -> Exit {
    let mut exit = Exit::Passed;
    for gate in gates {
        // A configuration may hold gates for suites that are not run today.
        let mut cells = record
            .cells
            .iter()
            .filter(|cell| cell.suite == gate.suite());
        let mut metrics = cells.clone().flat_map(|cell| &cell.metrics);
        if cells.next().is_some() && !metrics.any(|metric| gate.concerns(&metric.name)) {
            anstream::eprintln!(
                "\x1b[1;31mFAIL\x1b[0m  gate `{gate}`: no metric of this run is called that"
            );
            exit = Exit::GateFailed;
        }
    }
    exit
}

pub(crate) fn exit(tally: Tally) -> Exit {
    if tally.engines_failed > 0 {
        Exit::EngineFailed
    } else if tally.gates_failed > 0 {
        Exit::GateFailed
    } else {
        Exit::Passed
    }
}

/// What became of the baseline of a suite.
enum Baseline {
    Pending,
    /// Its samples, if figures rest on them.
    Ran(Series),
    Failed,
}

/// One cell of the plan.
struct Place<'a> {
    plan: &'a Plan,
    suite: &'a PlannedSuite,
    /// Whether it is a whole that another shard runs.
    elsewhere: bool,
    index: usize,
    scratch: &'a Path,
    artifacts: &'a Path,
}

impl Place<'_> {
    /// Runs the cell and records what came of it. Only bad input and a disk
    /// that refuses are errors; an engine that fails is a finding.
    fn run(&self, baseline: &mut Baseline, writer: &mut RunWriter) -> Result<()> {
        let engine = &self.plan.engines[self.index];
        let suite = self.suite.suite.name();
        let cell = format!("{suite}/{}", engine.spec);
        let (started, clock) = (Timestamp::now(), Instant::now());
        let mut samples = Vec::new();
        let bar = progress_bar(&cell);
        let outcome = match self.why_not(engine, baseline) {
            Some(why) => Outcome::Skipped(why),
            None => self.measure(engine, baseline, &mut samples, &bar)?,
        };
        bar.finish_and_clear();
        if self.index == 0 && !matches!(*baseline, Baseline::Ran(_)) {
            *baseline = Baseline::Failed;
        }

        let (status, measurements) = match outcome {
            Outcome::Completed(measurements) => (Status::Completed, measurements),
            Outcome::Failed(kind, message) => {
                let kind = kind.to_string();
                (Status::Failed(Failure { kind, message }), Vec::new())
            }
            Outcome::Skipped(why) => (Status::Skipped { why }, Vec::new()),
        };
        let info = engine.engine.describe();
        let spec = engine.spec.to_string();
        let record = CellRecord {
            cell: cell.clone(),
            suite: suite.into(),
            engine: EngineRecord {
                spec: spec.clone(),
                id: info.id,
                version: info.version,
                device: info.device,
                options: engine
                    .spec
                    .options
                    .iter()
                    .map(|(key, value)| (key.into(), value.into()))
                    .collect(),
            },
            model_sha256: engine.model.artifact.sha256.clone(),
            status,
            started,
            wall_s: clock.elapsed().as_secs_f64(),
            metrics: measurements
                .into_iter()
                .map(|measurement| verdict::judge(suite, measurement, &self.plan.gates))
                .collect(),
        };
        let rows: Vec<SampleRow<'_>> = samples
            .iter()
            .map(|sample| SampleRow {
                cell: &cell,
                suite,
                case: &sample.case,
                engine: &spec,
                metric: &sample.metric,
                unit: &sample.unit,
                index: sample.index,
                value: sample.value,
            })
            .collect();
        writer.finish_cell(record, &rows)?;
        Ok(())
    }

    /// Why this engine cannot be put through this suite, if it cannot.
    fn why_not(&self, engine: &PlannedEngine, baseline: &Baseline) -> Option<String> {
        if self.elsewhere {
            return Some("this suite cannot be split, and another shard runs it".into());
        }
        let capabilities: Vec<Capability> = engine.engine.describe().capabilities;
        let lacking = self
            .suite
            .suite
            .requires()
            .iter()
            .find(|power| !capabilities.contains(power));
        if let Some(power) = lacking {
            return Some(format!("the engine lacks the capability {power:?}"));
        }
        if matches!(baseline, Baseline::Failed) {
            return Some("the baseline failed, so there is nothing to hold it against".into());
        }
        let ours = &engine.model.record.tokenizer_sha256;
        let theirs = &self.plan.engines[0].model.record.tokenizer_sha256;
        (self.suite.suite.compares_tokens() && ours != theirs).then(|| {
            "its model has another tokenizer than the baseline's, so tokens cannot be compared"
                .into()
        })
    }

    fn measure(
        &self,
        engine: &PlannedEngine,
        baseline: &mut Baseline,
        samples: &mut Vec<Sample>,
        bar: &ProgressBar,
    ) -> Result<Outcome> {
        #[cfg(feature = "dhat-heap")]
        let _profile = crate::heap::profile(&self.artifacts.join(format!(
            "{}-{}.dhat-heap.json",
            self.suite.suite.name(),
            self.index
        )));
        // The engine is a guest: its panic is a finding, not our end.
        let guarded = panic::catch_unwind(AssertUnwindSafe(|| {
            let open = || {
                engine
                    .engine
                    .open(&engine.model.artifact, &engine.own.options)
            };
            let (role, reference) = match &*baseline {
                Baseline::Ran(series) => (Role::Candidate, Some(series)),
                Baseline::Pending | Baseline::Failed => (Role::Baseline, None),
            };
            let suite = self.suite.suite;
            let stem = format!("{}-{}", suite.name(), self.index);
            let options = engine.engine.describe().options;
            let variant = |key: &str, value: &str| {
                options.iter().any(|option| option.key == key).then(|| {
                    let mut changed = engine.own.options.clone();
                    changed.set(key, value);
                    engine.engine.open(&engine.model.artifact, &changed)
                })
            };
            let version = engine.engine.describe().version;
            let name = format!("{} {version}", engine.own);
            let mut cell = Cell {
                open: &open,
                variant: &variant,
                input: self.suite.input(&self.plan.engines, self.index),
                role,
                candidates: self.plan.engines.len() - 1,
                engine: &name,
                model_path: match &engine.model.artifact.source {
                    ArtifactSource::Path(path) => Some(path),
                    ArtifactSource::Embedded(_) => None,
                },
                model_sha256: &engine.model.artifact.sha256,
                model_bytes: engine.model.artifact.size_bytes,
                shard: self.plan.shard,
                scratch: self.scratch,
                artifacts: (self.artifacts, &stem),
                progress: &|done, total| {
                    bar.set_length(total);
                    bar.set_position(done);
                },
                samples: &mut |sample| samples.push(sample),
            };
            let mut measurements = suite.run(&mut cell)?;
            if !suite.divisible() {
                return Ok((measurements, Series::default()));
            }
            let series: Series = samples.iter().cloned().collect();
            // A share of the samples has no figures worth judging.
            if self.plan.shard == Shard::WHOLE {
                measurements.extend(suite.figures(&self.suite.settings, &series, reference)?);
            }
            Ok((measurements, series))
        }));
        match guarded {
            Ok(Ok((measurements, series))) => {
                if self.index == 0 {
                    *baseline = Baseline::Ran(series);
                }
                Ok(Outcome::Completed(measurements))
            }
            Ok(Err(SuiteError::Engine(error))) => Ok(Outcome::Failed(error.kind(), chain(&error))),
            Ok(Err(error)) => Err(error.into()),
            Err(payload) => {
                let message = payload
                    .downcast_ref::<String>()
                    .map(String::as_str)
                    .or_else(|| payload.downcast_ref::<&str>().copied())
                    .unwrap_or("no message");
                Ok(Outcome::Failed(
                    FailureKind::Crash,
                    format!("panicked: {message}"),
                ))
            }
        }
    }
}

enum Outcome {
    Completed(Vec<Measurement>),
    Failed(FailureKind, String),
    Skipped(String),
}

/// An error and its causes on one line.
fn chain(error: &EngineError) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}

fn default_folder(started: Timestamp) -> PathBuf {
    Path::new(".harness/runs").join(started.strftime("%Y%m%dT%H%M%S%.6fZ").to_string())
}

/// Cells are on disk as soon as they are finished, so stopping is safe at any
/// moment.
fn stop_on_interrupt(out: &Path) -> Result<()> {
    let out = out.to_owned();
    ctrlc::set_handler(move || {
        anstream::eprintln!("\ninterrupted; finished cells are in {}", out.display());
        for entry in fs::read_dir(&out).into_iter().flatten().flatten() {
            if entry.file_name().to_string_lossy().starts_with("scratch-") {
                let _ = fs::remove_dir_all(entry.path());
            }
        }
        std::process::exit(Exit::Interrupted as i32);
    })
    .context("cannot listen for interrupts")
}

/// A bar on standard error; indicatif shows none when that is no terminal.
pub(crate) fn progress_bar(cell: &str) -> ProgressBar {
    let style = ProgressStyle::with_template("{msg} [{bar:24}] {pos}/{len} {eta}")
        .unwrap_or_else(|_| ProgressStyle::default_bar());
    let bar = ProgressBar::no_length()
        .with_style(style)
        .with_message(cell.to_owned());
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}

pub(crate) fn print(record: &RunRecord, format: RunFormat) -> Result<()> {
    let text = match format {
        RunFormat::Table => {
            let terminal = std::io::stdout().is_terminal();
            render::table(
                record,
                Style {
                    color: terminal && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty()),
                },
            )
        }
        RunFormat::Json => serde_json::to_string_pretty(record)? + "\n",
        RunFormat::Csv => render::csv(record)?,
        RunFormat::Junit => render::junit(record)?,
        RunFormat::Markdown => render::markdown(record),
    };
    std::io::stdout()
        .write_all(text.as_bytes())
        .context("cannot write to standard output")
}
