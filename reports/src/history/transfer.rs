//! A history as CSV, out and in.
//!
//! Runs are numbered from 1 in the order of their start, their cells from 1 in
//! the order of the record, and rows stand in that order, so that neither way
//! needs more memory than one run.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use csv::{ReaderBuilder, StringRecord, Writer};
use jiff::Timestamp;
use serde::de::DeserializeOwned;
use serde_json::json;

use super::add::{Entry, real, text};
use super::store::Store;
use super::{Added, Filter, HistoryError, query};
use crate::{Better, CellRecord, EngineRecord, Metric, Provenance, RunRecord, Telemetry, Verdict};

const RUNS: [&str; 13] = [
    "run",
    "sha256",
    "folder",
    "schema",
    "started",
    "ended",
    "branch",
    "revision",
    "dirty",
    "harness_version",
    "machine",
    "samples_bytes",
    "provenance",
];
const CELLS: [&str; 15] = [
    "run",
    "cell",
    "name",
    "suite",
    "engine",
    "engine_id",
    "engine_version",
    "device",
    "options",
    "stands_in_for",
    "model_sha256",
    "status",
    "started",
    "wall_s",
    "work",
];
const POINTS: [&str; 16] = [
    "run",
    "cell",
    "metric",
    "unit",
    "better",
    "value",
    "n",
    "ci_low",
    "ci_high",
    "confidence",
    "gate",
    "verdict",
    "why",
    "headline",
    "ranks",
    "basis",
];
/// How many of them the first version wrote.
const FIRST_POINTS: usize = 15;
/// Columns of JSON, which a later version may write with more members.
const OPEN: [&str; 5] = ["provenance", "options", "status", "work", "basis"];

/// What became of an import.
///
/// ```
/// use harness_reports::StoredRun;
/// use harness_reports::history::History;
///
/// let folder = tempfile::tempdir()?;
/// let url = format!("sqlite:{}", folder.path().join("history.db").display());
/// let mut history = History::open_or_create(&url)?;
/// history.add(&StoredRun::open("tests/run".as_ref())?)?;
/// let export = folder.path().join("export");
/// history.export(&export)?;
/// // What a history has written itself is no news to it.
/// let imported = history.import(&export)?;
/// assert_eq!((imported.stored, imported.already_there), (0, 1));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Imported {
    /// Runs that are new.
    pub stored: u64,
    /// Runs that were there before.
    pub already_there: u64,
}

pub(super) fn export(store: &mut Store, folder: &Path) -> Result<(), HistoryError> {
    if folder.exists() {
        return Err(HistoryError::io(folder)(std::io::Error::other(
            "it exists already; name a new folder",
        )));
    }
    let parent = match folder.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    fs::create_dir_all(parent).map_err(HistoryError::io(parent))?;
    let mut draft = folder.as_os_str().to_owned();
    draft.push(format!(".{}.part", std::process::id()));
    let draft = PathBuf::from(draft);
    fs::create_dir(&draft).map_err(HistoryError::io(&draft))?;
    let outcome = store
        .reading(|store| write(store, &draft))
        .and_then(|()| fs::rename(&draft, folder).map_err(HistoryError::io(folder)));
    if outcome.is_err() {
        // Whatever stopped the export is the error to report.
        let _ = fs::remove_dir_all(&draft);
    }
    outcome
}

fn write(store: &mut Store, folder: &Path) -> Result<(), HistoryError> {
    let mut runs = Out::create(folder, "runs.csv", &RUNS)?;
    let mut cells = Out::create(folder, "cells.csv", &CELLS)?;
    let mut points = Out::create(folder, "points.csv", &POINTS)?;
    for (run, number) in query::runs(store, &Filter::default())?.iter().zip(1..) {
        let record = query::record(store, run.id)?;
        runs.row(&run_row(
            number,
            &run.sha256,
            &run.folder.to_string_lossy(),
            &record,
        ))?;
        for (cell, place) in record.cells.iter().zip(1..) {
            cells.row(&cell_row(number, place, cell))?;
            for metric in &cell.metrics {
                points.row(&point_row(number, place, metric))?;
            }
        }
    }
    runs.finish()?;
    cells.finish()?;
    points.finish()
}

pub(super) fn import(store: &mut Store, folder: &Path) -> Result<Imported, HistoryError> {
    let mut runs = In::open(folder, "runs.csv", &RUNS)?;
    let mut cells = In::open(folder, "cells.csv", &CELLS)?;
    let mut points = In::open_of(folder, "points.csv", &[&POINTS, &POINTS[..FIRST_POINTS]])?;
    store.writing(|store| {
        let mut imported = Imported::default();
        let mut number = 0;
        while runs.next.is_some() {
            number += 1;
            let (sha256, folder, record) = read_run(number, &mut runs, &mut cells, &mut points)?;
            let entry = Entry {
                sha256: &sha256,
                folder: &folder,
                record: &record,
            };
            match entry.insert(store)? {
                Added::Stored => imported.stored += 1,
                Added::AlreadyThere => imported.already_there += 1,
            }
        }
        for rest in [&cells, &points] {
            if rest.next.is_some() {
                return Err(rest.malformed("it belongs to no run, or is out of order"));
            }
        }
        Ok(imported)
    })
}

fn read_run(
    number: u64,
    runs: &mut In,
    cells: &mut In,
    points: &mut In,
) -> Result<(String, PathBuf, RunRecord), HistoryError> {
    let provenance: Provenance = runs.json(12)?;
    let mut record = RunRecord {
        schema: runs.parse(3)?,
        provenance,
        cells: Vec::new(),
        samples_bytes: runs.parse(11)?,
        telemetry: Telemetry::default(),
    };
    let (sha256, folder) = (runs.text(1)?, runs.text(2)?);
    if sha256.len() != 64 || !sha256.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(runs.malformed("sha256 is not 64 hexadecimal digits"));
    }
    runs.advance(&RUNS, &run_row(number, &sha256, &folder, &record))?;
    let mut place = 0;
    while cells.is_of(&[number])? {
        place += 1;
        let mut cell = read_cell(cells)?;
        cells.advance(&CELLS, &cell_row(number, place, &cell))?;
        while points.is_of(&[number, place])? {
            let metric = read_point(points)?;
            points.advance(&POINTS, &point_row(number, place, &metric))?;
            cell.metrics.push(metric);
        }
        record.cells.push(cell);
    }
    Ok((sha256, folder.into(), record))
}

fn read_cell(cells: &In) -> Result<CellRecord, HistoryError> {
    let optional = |column| {
        cells
            .text(column)
            .map(|text| (!text.is_empty()).then_some(text))
    };
    Ok(CellRecord {
        cell: cells.text(2)?,
        suite: cells.text(3)?,
        engine: EngineRecord {
            spec: cells.text(4)?,
            id: cells.text(5)?,
            version: cells.text(6)?,
            device: cells.text(7)?,
            options: cells.json(8)?,
        },
        stands_in_for: optional(9)?,
        model_sha256: cells.text(10)?,
        status: cells.json(11)?,
        started: cells.parse(12)?,
        wall_s: cells.parse(13)?,
        work: match optional(14)? {
            None => None,
            Some(_) => Some(cells.json(14)?),
        },
        metrics: Vec::new(),
    })
}

fn read_point(points: &In) -> Result<Metric, HistoryError> {
    let optional = |column| {
        points
            .text(column)
            .map(|text| (!text.is_empty()).then_some(text))
    };
    let number = |column| match optional(column)? {
        None => Ok(None),
        Some(_) => points.parse(column).map(Some),
    };
    let better = Better::from_name(&points.text(4)?);
    let verdict = Verdict::from_name(&points.text(11)?);
    Ok(Metric {
        name: points.text(2)?,
        unit: points.text(3)?,
        better: better.ok_or_else(|| points.malformed("better is no direction"))?,
        value: number(5)?,
        n: points.parse(6)?,
        ci_low: number(7)?,
        ci_high: number(8)?,
        confidence: number(9)?,
        gate: optional(10)?,
        verdict: verdict.ok_or_else(|| points.malformed("verdict is none"))?,
        why: optional(12)?,
        headline: points.parse(13)?,
        ranks: points.parse(14)?,
        basis: match points.has(FIRST_POINTS) && optional(FIRST_POINTS)?.is_some() {
            true => Some(points.json(FIRST_POINTS)?),
            false => None,
        },
    })
}

fn run_row(number: u64, sha256: &str, folder: &str, record: &RunRecord) -> [String; RUNS.len()] {
    let provenance = &record.provenance;
    let project = provenance.project.as_ref();
    let time = |time: Option<Timestamp>| time.map(|time| time.to_string()).unwrap_or_default();
    [
        number.to_string(),
        sha256.into(),
        folder.into(),
        record.schema.to_string(),
        time(Some(provenance.started)),
        time(provenance.ended),
        project
            .and_then(|project| project.branch.clone())
            .unwrap_or_default(),
        project
            .map(|project| project.revision.clone())
            .unwrap_or_default(),
        project.is_some_and(|project| project.dirty).to_string(),
        provenance.harness_version.clone(),
        provenance.machine.fingerprint.clone(),
        record.samples_bytes.to_string(),
        json!(provenance).to_string(),
    ]
}

fn cell_row(run: u64, place: u64, cell: &CellRecord) -> [String; CELLS.len()] {
    let engine = &cell.engine;
    [
        run.to_string(),
        place.to_string(),
        cell.cell.clone(),
        cell.suite.clone(),
        engine.spec.clone(),
        engine.id.clone(),
        engine.version.clone(),
        engine.device.clone(),
        json!(engine.options).to_string(),
        cell.stands_in_for.clone().unwrap_or_default(),
        cell.model_sha256.clone(),
        json!(cell.status).to_string(),
        cell.started.to_string(),
        float(Some(cell.wall_s)),
        cell.work
            .map(|work| json!(work).to_string())
            .unwrap_or_default(),
    ]
}

fn point_row(run: u64, place: u64, metric: &Metric) -> [String; POINTS.len()] {
    let optional = |field: &Option<String>| text(field.as_deref()).unwrap_or_default().to_owned();
    [
        run.to_string(),
        place.to_string(),
        metric.name.clone(),
        metric.unit.clone(),
        metric.better.name().into(),
        float(metric.value),
        metric.n.to_string(),
        float(metric.ci_low),
        float(metric.ci_high),
        float(metric.confidence),
        optional(&metric.gate),
        metric.verdict.name().into(),
        optional(&metric.why),
        metric.headline.to_string(),
        metric.ranks.to_string(),
        (metric.basis.as_ref())
            .map(|basis| json!(basis).to_string())
            .unwrap_or_default(),
    ]
}

/// The shortest text that reads back as the same bits.
fn float(value: Option<f64>) -> String {
    real(value)
        .map(|value| format!("{value:?}"))
        .unwrap_or_default()
}

/// A table being written.
struct Out {
    path: PathBuf,
    writer: Writer<File>,
}

impl Out {
    fn create(folder: &Path, name: &str, columns: &[&str]) -> Result<Self, HistoryError> {
        let path = folder.join(name);
        let file = File::create(&path).map_err(HistoryError::io(&path))?;
        let mut writer = Writer::from_writer(file);
        let header = writer.write_record(columns);
        let mut out = Self { path, writer };
        out.done(header)?;
        Ok(out)
    }

    fn row(&mut self, fields: &[String]) -> Result<(), HistoryError> {
        let written = self.writer.write_record(fields);
        self.done(written)
    }

    fn finish(mut self) -> Result<(), HistoryError> {
        let flushed = self.writer.flush();
        flushed
            .and_then(|()| self.writer.get_ref().sync_all())
            .map_err(HistoryError::io(self.path))
    }

    fn done(&mut self, written: csv::Result<()>) -> Result<(), HistoryError> {
        written.map_err(|error| HistoryError::io(&self.path)(error.into()))
    }
}

/// A table being read; `next` is the row that the accessors speak of.
struct In {
    path: PathBuf,
    reader: csv::Reader<File>,
    next: Option<StringRecord>,
    line: u64,
}

impl In {
    fn open(folder: &Path, name: &str, columns: &[&str]) -> Result<Self, HistoryError> {
        Self::open_of(folder, name, &[columns])
    }

    /// Opens a table that has one of several layouts, the present one first.
    fn open_of(folder: &Path, name: &str, layouts: &[&[&str]]) -> Result<Self, HistoryError> {
        let path = folder.join(name);
        let file = File::open(&path).map_err(HistoryError::io(&path))?;
        let reader = ReaderBuilder::new().has_headers(false).from_reader(file);
        let mut table = Self {
            path,
            reader,
            next: None,
            line: 1,
        };
        table.read()?;
        let is = |columns: &&[&str]| table.next.as_ref().is_some_and(|header| header == *columns);
        if !layouts.iter().any(is) {
            let columns = layouts[0].join(",");
            return Err(table.malformed(&format!("the columns are not {columns}")));
        }
        table.read()?;
        Ok(table)
    }

    fn read(&mut self) -> Result<(), HistoryError> {
        let mut record = StringRecord::new();
        let more = self.reader.read_record(&mut record).map_err(|error| {
            let line = error.position().map_or(self.line, csv::Position::line);
            HistoryError::Malformed {
                path: self.path.clone(),
                line,
                why: error.to_string(),
            }
        })?;
        self.line = record.position().map_or(self.line, csv::Position::line);
        self.next = more.then_some(record);
        Ok(())
    }

    /// Goes to the next row, if `expected` is what an export makes of the content of this one.
    fn advance(&mut self, columns: &[&str], expected: &[String]) -> Result<(), HistoryError> {
        for ((column, expected), found) in
            columns.iter().zip(expected).zip(self.next.iter().flatten())
        {
            if expected != found && !OPEN.contains(column) {
                return Err(
                    self.malformed(&format!("{column} is `{found}` instead of `{expected}`"))
                );
            }
        }
        self.read()
    }

    /// Whether there is a row and it begins with these numbers.
    fn is_of(&self, numbers: &[u64]) -> Result<bool, HistoryError> {
        if self.next.is_none() {
            return Ok(false);
        }
        for (column, number) in numbers.iter().enumerate() {
            if self.parse::<u64>(column)? != *number {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn has(&self, column: usize) -> bool {
        self.next.as_ref().is_some_and(|row| row.len() > column)
    }

    fn text(&self, column: usize) -> Result<String, HistoryError> {
        let field = self.next.as_ref().and_then(|row| row.get(column));
        field
            .map(str::to_owned)
            .ok_or_else(|| self.malformed("the row is cut off"))
    }

    fn parse<T: std::str::FromStr>(&self, column: usize) -> Result<T, HistoryError> {
        let text = self.text(column)?;
        text.parse()
            .map_err(|_| self.malformed(&format!("cannot read `{text}` in column {}", column + 1)))
    }

    fn json<T: DeserializeOwned>(&self, column: usize) -> Result<T, HistoryError> {
        serde_json::from_str(&self.text(column)?)
            .map_err(|error| self.malformed(&format!("column {}: {error}", column + 1)))
    }

    fn malformed(&self, why: &str) -> HistoryError {
        HistoryError::Malformed {
            path: self.path.clone(),
            line: self.line,
            why: why.into(),
        }
    }
}
