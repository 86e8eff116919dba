//! `harness history import --from criterion|gungraun`: what `cargo bench` left, as a run.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use jiff::Timestamp;
use machine::Machine;
use reports::import::{ENGINE, Results, Tool};
use reports::{
    MachineRecord, PlanRecord, Provenance, RunRecord, RunWriter, SCHEMA, SampleRow, StoredRun,
    Telemetry,
};
use serde_json::Value;

use crate::provenance::git_revision;

/// Makes a record of all results in `folder`, or finds the one that an earlier import has made of
/// them.
pub(crate) fn record(tool: Tool, folder: &Path, out: Option<&Path>) -> Result<StoredRun> {
    let results = Results::read(tool, folder)?;
    warn_of_older(&results);
    let out = out.map_or_else(|| default_folder(tool, &results), Path::to_owned);
    let parent = match out.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    };
    fs::create_dir_all(parent).with_context(|| format!("cannot create {}", parent.display()))?;
    // Whole or not at all.
    let draft = tempfile::Builder::new()
        .prefix("import-")
        .tempdir_in(parent)
        .with_context(|| format!("cannot write to {}", parent.display()))?;
    write(tool, &results, draft.path())?;
    if out.exists() {
        let shown = out.display();
        return match StoredRun::open(&out) {
            Ok(run) if run.sha256 == StoredRun::identify(draft.path())? => Ok(run),
            Ok(_) => bail!(
                "{shown} holds the same results under another revision or machine, or others; \
                 delete it if it is wrong, or choose another folder with --out"
            ),
            Err(_) => {
                bail!("{shown} is there already and no run record; choose another with --out")
            }
        };
    }
    let draft = draft.keep();
    if let Err(error) = fs::rename(&draft, &out) {
        let _ = fs::remove_dir_all(&draft);
        return Err(error).with_context(|| format!("cannot write {}", out.display()));
    }
    Ok(StoredRun::open(&out)?)
}

/// Where `harness run` keeps records too; the same results have the same place.
fn default_folder(tool: Tool, results: &Results) -> PathBuf {
    let started = results.started.strftime("%Y%m%dT%H%M%S%.6fZ");
    Path::new(".harness/runs").join(format!("{started}-{}", tool.name()))
}

fn write(tool: Tool, results: &Results, folder: &Path) -> Result<()> {
    let record = RunRecord {
        schema: SCHEMA,
        provenance: provenance(tool, results)?,
        cells: Vec::new(),
        samples_bytes: 0,
        telemetry: Telemetry::default(),
    };
    let cell = &results.cell;
    let rows = results.samples.iter().map(|sample| sample.row(cell));
    let rows: Vec<SampleRow<'_>> = rows.collect();
    let mut writer = RunWriter::create(folder, record)?;
    writer.finish_cell(cell.clone(), &rows)?;
    Ok(())
}

/// What is known of the run: nothing that would differ if the same results were imported again.
fn provenance(tool: Tool, results: &Results) -> Result<Provenance> {
    let machine = Machine::detect();
    let command = ["harness", "history", "import", "--from", tool.name()];
    Ok(Provenance {
        harness_version: env!("CARGO_PKG_VERSION").into(),
        project: git_revision(),
        command_line: command.map(String::from).into(),
        settings: BTreeMap::new(),
        gates: Vec::new(),
        history: None,
        seeds: BTreeMap::new(),
        baseline: ENGINE.into(),
        plan: PlanRecord::default(),
        models: Vec::new(),
        machine: MachineRecord {
            fingerprint: machine.fingerprint(),
            identity: serde_json::to_value(&machine)?,
            // Nobody looked.
            state_at_start: Value::Null,
            state_at_end: Value::Null,
            warnings: Vec::new(),
        },
        started: results.started,
        ended: Some(results.ended),
        resumed: Vec::new(),
        shard: None,
        shards: Vec::new(),
    })
}

/// Results have no revision of their own. Those from before the one that is checked out may be of
/// another, or of benchmarks that are gone.
fn warn_of_older(results: &Results) {
    let Some(committed) = commit_time() else {
        return;
    };
    let older = (results.measured.iter()).filter(|measured| **measured < committed);
    match older.count() {
        0 => {}
        older => anstream::eprintln!(
            "\x1b[33mwarning:\x1b[0m {older} of {} results are older than the commit that is \
             checked out, under which they are recorded; delete the folder and run `cargo bench` \
             again unless they are of the same code",
            results.measured.len()
        ),
    }
}

fn commit_time() -> Option<Timestamp> {
    let show = ["show", "-s", "--format=%ct", "HEAD"];
    let output = Command::new("git").args(show).output().ok()?;
    let seconds = String::from_utf8(output.stdout).ok()?;
    Timestamp::from_second(seconds.trim().parse().ok()?).ok()
}
