//! `harness history`: runs over time.

use std::fmt::Display;

use anyhow::{Result, ensure};
use comfy_table::{Table, presets};
use jiff::Timestamp;
use reports::StoredRun;
use reports::history::{Added, Filter, History, Point, Retention, Run, RunId, Series};
use reports::import::Tool;
use serde_json::json;
use std::collections::HashMap;

use crate::args::{
    HistoryArguments, HistoryCommand, HistoryFormat, HistoryListArguments, ImportArguments,
    ImportSource, PruneArguments,
};
use crate::exit::Exit;
use crate::output::emit;

pub(crate) fn run(arguments: &HistoryArguments) -> Result<Exit> {
    let url = arguments.history.as_str();
    match &arguments.command {
        HistoryCommand::Add { runs } => {
            // Each is read before any is added: a mistyped name must not leave half of them in.
            let runs: Vec<StoredRun> = runs
                .iter()
                .map(|folder| StoredRun::open(folder))
                .collect::<Result<_, _>>()?;
            let mut history = History::open_or_create(url)?;
            for run in &runs {
                add(&mut history, run)?;
            }
        }
        HistoryCommand::List(arguments) => list(&mut History::open(url)?, arguments)?,
        HistoryCommand::Export { out } => {
            History::open(url)?.export(out)?;
            anstream::eprintln!("export: {}", out.display());
        }
        HistoryCommand::Import(arguments) => import(url, arguments)?,
        HistoryCommand::Prune(PruneArguments {
            keep_days,
            keep_last,
        }) => {
            let retention = Retention {
                keep_days: *keep_days,
                keep_last: *keep_last,
            };
            let gone = History::open(url)?.prune(retention, Timestamp::now())?;
            say(format_args!("{gone} runs deleted"))?;
        }
    }
    Ok(Exit::Passed)
}

fn add(history: &mut History, run: &StoredRun) -> Result<()> {
    let outcome = match history.add(run)? {
        Added::Stored => "added",
        Added::AlreadyThere => "already there",
    };
    say(format_args!("{}: {outcome}", run.folder.display()))
}

fn import(url: &str, arguments: &ImportArguments) -> Result<()> {
    let (folder, out) = (&arguments.folder, arguments.out.as_deref());
    let tool = match arguments.from {
        ImportSource::Criterion => Tool::Criterion,
        ImportSource::Gungraun => Tool::Gungraun,
        ImportSource::Export => {
            ensure!(
                out.is_none(),
                "--out is for records made of benchmarks; use it with --from"
            );
            let imported = History::open_or_create(url)?.import(folder)?;
            return say(format_args!(
                "{} runs added, {} already there",
                imported.stored, imported.already_there
            ));
        }
    };
    let run = crate::import::record(tool, folder, out)?;
    add(&mut History::open_or_create(url)?, &run)
}

fn list(history: &mut History, arguments: &HistoryListArguments) -> Result<()> {
    let filter = Filter::from(&arguments.filter);
    let runs = history.runs(&filter)?;
    let (header, rows) = if filter.metric.is_some() {
        let runs: HashMap<RunId, &Run> = runs.iter().map(|run| (run.id, run)).collect();
        let mut rows = Vec::new();
        history.each_series(&filter, |series| {
            let points = series.points.iter();
            rows.extend(points.filter_map(|point| {
                Some(point_row(&series, point, runs.get(&point.run).copied()?))
            }));
        })?;
        (&POINTS[..], rows)
    } else {
        (&RUNS[..], runs.iter().map(run_row).collect())
    };
    write(header, rows, arguments.format)
}

const RUNS: [&str; 12] = [
    "run",
    "started",
    "branch",
    "revision",
    "machine",
    "engines",
    "models",
    "cells",
    "engines_failed",
    "gates_passed",
    "gates_failed",
    "folder",
];

fn run_row(run: &Run) -> Vec<serde_json::Value> {
    let tally = &run.tally;
    vec![
        json!(run.sha256),
        json!(run.started),
        json!(run.branch),
        revision(run),
        json!(run.machine),
        json!(run.engines),
        json!(run.models),
        json!(tally.completed + tally.engines_failed + tally.skipped),
        json!(tally.engines_failed),
        json!(tally.passed),
        json!(tally.gates_failed),
        json!(run.folder.to_string_lossy()),
    ]
}

const POINTS: [&str; 16] = [
    "metric", "engine", "model", "machine", "branch", "revision", "started", "value", "unit",
    "better", "n", "ci_low", "ci_high", "gate", "verdict", "run",
];

fn point_row(series: &Series, point: &Point, run: &Run) -> Vec<serde_json::Value> {
    let key = &series.key;
    vec![
        json!(key.metric),
        json!(key.engine),
        json!(series.model),
        json!(key.machine),
        json!(key.branch),
        revision(run),
        json!(run.started),
        json!(point.value),
        json!(key.unit),
        json!(series.better),
        json!(point.n),
        json!(point.ci_low),
        json!(point.ci_high),
        json!(point.judgement.gate),
        json!(point.judgement.verdict),
        json!(run.sha256),
    ]
}

/// The commit, with a mark when the work tree differed from it, as git has it.
fn revision(run: &Run) -> serde_json::Value {
    let dirty = if run.dirty { "-dirty" } else { "" };
    let revision = run.revision.as_ref();
    json!(revision.map(|revision| format!("{revision}{dirty}")))
}

fn write(header: &[&str], rows: Vec<Vec<serde_json::Value>>, format: HistoryFormat) -> Result<()> {
    let text = match format {
        HistoryFormat::Table => {
            let mut table = Table::new();
            table
                .load_style(presets::UTF8_FULL_CONDENSED)
                .set_header(header);
            for row in &rows {
                let cells = header.iter().zip(row);
                table.add_row(cells.map(|(column, value)| short(column, value)));
            }
            format!("{table}\n")
        }
        HistoryFormat::Json => {
            let objects: Vec<serde_json::Value> = rows
                .into_iter()
                .map(|row| {
                    header
                        .iter()
                        .map(|name| (*name).to_owned())
                        .zip(row)
                        .collect()
                })
                .collect();
            serde_json::to_string_pretty(&objects)? + "\n"
        }
        HistoryFormat::Csv => {
            let mut writer = csv::Writer::from_writer(Vec::new());
            writer.write_record(header)?;
            for row in &rows {
                writer.write_record(row.iter().map(plain))?;
            }
            String::from_utf8(writer.into_inner().map_err(|error| error.into_error())?)?
        }
    };
    emit(&text)
}

/// A field as a table for people has it: ids and times cut to what tells them apart.
fn short(column: &str, value: &serde_json::Value) -> String {
    let text = match value {
        serde_json::Value::Number(number) => match (number.as_u64(), number.as_f64()) {
            (None, Some(value)) => return reports::render::number(value),
            _ => number.to_string(),
        },
        other => plain(other),
    };
    let (whole, mark) = match text.strip_suffix("-dirty") {
        Some(revision) => (revision, "-dirty"),
        None => (text.as_str(), ""),
    };
    match column {
        "run" | "revision" => whole.chars().take(10).collect::<String>() + mark,
        "started" => text.chars().take(19).collect::<String>() + "Z",
        _ => text,
    }
}

fn plain(value: &serde_json::Value) -> String {
    match value {
        serde_json::Value::Null => String::new(),
        serde_json::Value::String(text) => text.clone(),
        serde_json::Value::Array(items) => {
            let items: Vec<String> = items.iter().map(plain).collect();
            items.join(" ")
        }
        other => other.to_string(),
    }
}

fn say(line: impl Display) -> Result<()> {
    emit(format!("{line}\n"))
}
