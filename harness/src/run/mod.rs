//! `harness run`: plan → cells → record.
//!
//! Every cell runs in a worker process of its own ([`worker`]), watched by
//! [`supervisor`]; [`cells`] goes through the plan and keeps the record.

mod breaker;
mod cells;
pub(crate) mod conformance;
mod interrupt;
pub(crate) mod limits;
mod place;
mod process;
pub(crate) mod progress;
mod protocol;
mod resume;
mod supervisor;
pub(crate) mod worker;

use std::fs;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use jiff::Timestamp;
use machine::{OtherLoad, State};
use reports::render::{self, Style};
use reports::{Provenance, RunRecord, RunWriter, SCHEMA, Tally, Telemetry};
use suites::Shard;

use self::cells::{Finished, Runner};
use self::interrupt::Interrupt;
use self::progress::{Progress, Talk};
use crate::args::{RunArguments, RunFormat};
use crate::engines::Engines;
use crate::exit::Exit;
use crate::output::emit;
use crate::plan::Plan;
use crate::provenance;
use crate::verdict::UserGate;

pub(crate) fn run(engines: &Engines, arguments: &RunArguments) -> Result<Exit> {
    let load = OtherLoad::new();
    let plan = Plan::new(engines, arguments)?;
    let provenance = provenance::gather(&plan, load)?;
    let talk = match (arguments.quiet, arguments.verbose) {
        (true, _) => Talk::Quiet,
        (false, true) => Talk::Lines,
        (false, false) => Talk::Bars,
    };
    if talk != Talk::Quiet {
        for warning in &provenance.machine.warnings {
            anstream::eprintln!("\x1b[33mwarning:\x1b[0m {warning}");
        }
    }
    // Before there is a record, so that none is left without a word.
    let interrupt = Interrupt::listen()?;
    let (out, mut writer, finished) = match &arguments.resume {
        Some(folder) => {
            let (writer, stored) = resume::open(folder, &provenance)?;
            (folder.clone(), writer, Finished::new(stored))
        }
        None => {
            let (out, writer) = create(arguments.out.as_deref(), provenance)?;
            (out, writer, Finished::default())
        }
    };
    // Nothing is missing from a record that has come to its end.
    if writer.record().provenance.ended.is_none()
        && !complete(&plan, &out, &mut writer, finished, &interrupt, talk)?
    {
        anstream::eprintln!(
            "\ninterrupted; finished cells are in {}, and --resume goes on with them",
            out.display()
        );
        return Ok(Exit::Interrupted);
    }

    print(writer.record(), arguments.format)?;
    if talk != Talk::Quiet {
        anstream::eprintln!("record: {}", out.display());
    }
    if plan.shard != Shard::WHOLE {
        anstream::eprintln!(
            "this is shard {}; figures come with `harness merge`",
            plan.shard
        );
        return Ok(exit(writer.record().tally()));
    }
    if talk != Talk::Quiet {
        anstream::eprintln!("report: harness report --runs {} --out site", out.display());
    }
    let exit = exit(writer.record().tally());
    Ok(exit.max(unanswered(&plan.gates, writer.record())))
}

/// Starts a record.
fn create(out: Option<&Path>, provenance: Provenance) -> Result<(PathBuf, RunWriter)> {
    let out = out.map_or_else(|| default_folder(provenance.started), Path::to_owned);
    let record = RunRecord {
        schema: SCHEMA,
        provenance,
        cells: Vec::new(),
        samples_bytes: 0,
        telemetry: Telemetry::default(),
    };
    let writer = RunWriter::create(&out, record)?;
    Ok((out, writer))
}

/// Runs the cells that are not in `finished`. Returns whether the run came to its
/// end, and was not interrupted.
fn complete(
    plan: &Plan,
    out: &Path,
    writer: &mut RunWriter,
    finished: Finished,
    interrupt: &Interrupt,
    talk: Talk,
) -> Result<bool> {
    let artifacts = out.join("artifacts");
    fs::create_dir_all(&artifacts).context("cannot create the folder for artifacts")?;
    let scratch = tempfile::Builder::new()
        .prefix(SCRATCH)
        .tempdir_in(out)
        .context("cannot create a scratch folder in the record")?;
    let mut runner = Runner::new(
        plan,
        writer,
        finished,
        interrupt,
        (scratch.path(), &artifacts),
        Progress::new(talk, plan.suites.len() * plan.engines.len()),
    );
    let ended = runner.run()?;
    // An empty folder would only raise questions.
    let _ = fs::remove_dir(&artifacts);
    if ended {
        let mut record = writer.record().clone();
        // A share of the cases has no figures; `merge` holds them.
        if let (Some(against), Shard::WHOLE) = (&plan.history, plan.shard) {
            against.hold(&mut record)?;
        }
        record.provenance.ended = Some(Timestamp::now());
        record.provenance.machine.state_at_end =
            serde_json::to_value(State::sample()).unwrap_or_default();
        writer.update(|unfinished| *unfinished = record)?;
    }
    Ok(ended)
}

/// How names of scratch folders begin.
const SCRATCH: &str = "scratch-";

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

fn default_folder(started: Timestamp) -> PathBuf {
    Path::new(".harness/runs").join(started.strftime("%Y%m%dT%H%M%S%.6fZ").to_string())
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
    emit(&text)
}
