//! Putting a run into a history.

use std::collections::HashMap;
use std::path::Path;

use jiff::Timestamp;
use serde_json::json;

use super::store::{PointRow, Store, Value};
use super::{Added, HistoryError};
use crate::digest::digest;
use crate::{CellRecord, Metric, Provenance, RunRecord, StoredRun};

pub(super) fn add(store: &mut Store, run: &StoredRun) -> Result<Added, HistoryError> {
    let io = HistoryError::io(&run.folder);
    let folder = std::path::absolute(&run.folder).map_err(io)?;
    let entry = Entry {
        sha256: &run.sha256,
        folder: &folder,
        record: &run.record,
    };
    store.writing(|store| entry.insert(store))
}

/// A run that is to enter.
pub(super) struct Entry<'a> {
    pub(super) sha256: &'a str,
    pub(super) folder: &'a Path,
    pub(super) record: &'a RunRecord,
}

impl Entry<'_> {
    /// Enters the run, if it is not there; within a transaction that keeps other writers out.
    pub(super) fn insert(&self, store: &mut Store) -> Result<Added, HistoryError> {
        let known = store.number(
            "SELECT id FROM run WHERE sha256 = $1",
            &[Value::Text(Some(self.sha256))],
        )?;
        if known.is_some() {
            return Ok(Added::AlreadyThere);
        }
        let run = self.insert_run(store)?;
        let mut dimensions = Dimensions::default();
        let mut points = Vec::new();
        for (position, cell) in self.record.cells.iter().enumerate() {
            let id = self.insert_cell(store, &mut dimensions, run, position, cell)?;
            for (position, metric) in cell.metrics.iter().enumerate() {
                points.push(PointRow {
                    metric: dimensions.metric(store, metric)?,
                    cell: id,
                    position: position as i64,
                    value: real(metric.value),
                    ci_low: real(metric.ci_low),
                    ci_high: real(metric.ci_high),
                    n: self.int("a count of samples", metric.n)?,
                    judgement: dimensions.judgement(store, metric)?,
                });
            }
        }
        store.insert_points(&points)?;
        Ok(Added::Stored)
    }

    fn insert_run(&self, store: &mut Store) -> Result<i64, HistoryError> {
        let provenance = &self.record.provenance;
        let ended = provenance
            .ended
            .ok_or_else(|| HistoryError::Unfinished(self.folder.into()))?;
        let project = provenance.project.as_ref();
        let tally = self.record.tally();
        let count = |count: usize| Value::Int(count as i64);
        let id = store.number(
            "INSERT INTO run (sha256, folder, record_schema, started_ns, ended_ns, branch, \
             revision, dirty, harness_version, machine, completed, engines_failed, skipped, \
             gates_passed, gates_failed, samples_bytes, provenance) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17) \
             RETURNING id",
            &[
                Value::Text(Some(self.sha256)),
                Value::Text(Some(&self.folder.to_string_lossy())),
                Value::Int(self.record.schema.into()),
                Value::Int(self.time(provenance.started)?),
                Value::Int(self.time(ended)?),
                Value::Text(project.and_then(|project| project.branch.as_deref())),
                Value::Text(project.map(|project| project.revision.as_str())),
                Value::Int(project.is_some_and(|project| project.dirty).into()),
                Value::Text(Some(&provenance.harness_version)),
                Value::Text(Some(&provenance.machine.fingerprint)),
                count(tally.completed),
                count(tally.engines_failed),
                count(tally.skipped),
                count(tally.passed),
                count(tally.gates_failed),
                Value::Int(self.int("the size of its samples", self.record.samples_bytes)?),
                Value::Text(Some(&json!(provenance).to_string())),
            ],
        )?;
        created(id)
    }

    fn insert_cell(
        &self,
        store: &mut Store,
        dimensions: &mut Dimensions,
        run: i64,
        position: usize,
        cell: &CellRecord,
    ) -> Result<i64, HistoryError> {
        let provenance = &self.record.provenance;
        let engine = dimensions.engine(store, cell)?;
        let model = provenance
            .models
            .iter()
            .find(|model| model.sha256 == cell.model_sha256);
        let model = dimensions.id(
            store,
            "model",
            ["sha256", "name", "quantization"],
            [
                Value::Text(Some(&cell.model_sha256)),
                Value::Text(Some(model.map_or("", |model| &model.name))),
                Value::Text(Some(model.map_or("", |model| &model.quantization))),
            ],
        )?;
        let work = cell.work.map(|work| json!(work).to_string());
        let id = store.number(
            "INSERT INTO cell (run_id, position, name, suite, engine_id, stands_in_for, model_id, \
             settings_sha256, status, started_ns, wall_s, work) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12) RETURNING id",
            &[
                Value::Int(run),
                Value::Int(position as i64),
                Value::Text(Some(&cell.cell)),
                Value::Text(Some(&cell.suite)),
                Value::Int(engine),
                Value::Text(cell.stands_in_for.as_deref()),
                Value::Int(model),
                Value::Text(Some(&settings_sha256(provenance, &cell.suite))),
                Value::Text(Some(&json!(cell.status).to_string())),
                Value::Int(self.time(cell.started)?),
                Value::Real(Some(cell.wall_s)),
                Value::Text(work.as_deref()),
            ],
        )?;
        created(id)
    }

    fn time(&self, time: Timestamp) -> Result<i64, HistoryError> {
        nanoseconds(time).ok_or_else(|| self.unfit(format!("{time} is out of range")))
    }

    fn int(&self, what: &str, value: u64) -> Result<i64, HistoryError> {
        i64::try_from(value).map_err(|_| self.unfit(format!("{what} is {value}")))
    }

    fn unfit(&self, why: String) -> HistoryError {
        HistoryError::Unfit {
            folder: self.folder.into(),
            why,
        }
    }
}

/// Ids of rows that many others refer to, as far as this transaction has met
/// them.
#[derive(Default)]
struct Dimensions(HashMap<(&'static str, String), i64>);

impl Dimensions {
    /// The id of the row of `table` with these values, which is added if need be.
    fn id<const N: usize>(
        &mut self,
        store: &mut Store,
        table: &'static str,
        columns: [&str; N],
        values: [Value<'_>; N],
    ) -> Result<i64, HistoryError> {
        let digest = digest(&values.iter().map(Value::json).collect());
        if let Some(id) = self.0.get(&(table, digest.clone())) {
            return Ok(*id);
        }
        let find = format!("SELECT id FROM {table} WHERE digest = $1");
        let mut id = store.number(&find, &[Value::Text(Some(&digest))])?;
        if id.is_none() {
            let numbers: Vec<String> = (2..N + 2).map(|number| format!("${number}")).collect();
            let insert = format!(
                "INSERT INTO {table} (digest, {}) VALUES ($1, {}) RETURNING id",
                columns.join(", "),
                numbers.join(", ")
            );
            let mut all = vec![Value::Text(Some(&digest))];
            all.extend(values);
            id = store.number(&insert, &all)?;
        }
        let id = created(id)?;
        self.0.insert((table, digest), id);
        Ok(id)
    }

    fn engine(&mut self, store: &mut Store, cell: &CellRecord) -> Result<i64, HistoryError> {
        let engine = &cell.engine;
        self.id(
            store,
            "engine",
            ["spec", "engine", "version", "device", "options"],
            [
                Value::Text(Some(&engine.spec)),
                Value::Text(Some(&engine.id)),
                Value::Text(Some(&engine.version)),
                Value::Text(Some(&engine.device)),
                Value::Text(Some(&json!(engine.options).to_string())),
            ],
        )
    }

    fn metric(&mut self, store: &mut Store, metric: &Metric) -> Result<i64, HistoryError> {
        let columns = ["name", "unit", "better", "headline", "ranks", "basis"];
        let basis = metric.basis.as_ref().map(|basis| json!(basis).to_string());
        let [name, unit, better, headline, ranks, basis] = [
            Value::Text(Some(&metric.name)),
            Value::Text(Some(&metric.unit)),
            Value::Text(Some(metric.better.name())),
            Value::Int(metric.headline.into()),
            Value::Int(metric.ranks.into()),
            Value::Text(basis.as_deref()),
        ];
        match metric.basis {
            Some(_) => {
                let all = [name, unit, better, headline, ranks, basis];
                self.id(store, "metric", columns, all)
            }
            // Found again in a history that is older than the column.
            None => {
                let [without @ .., _] = columns;
                self.id(
                    store,
                    "metric",
                    without,
                    [name, unit, better, headline, ranks],
                )
            }
        }
    }

    fn judgement(&mut self, store: &mut Store, metric: &Metric) -> Result<i64, HistoryError> {
        self.id(
            store,
            "judgement",
            ["confidence", "gate", "verdict", "why"],
            [
                Value::Real(real(metric.confidence)),
                Value::Text(text(metric.gate.as_deref())),
                Value::Text(Some(metric.verdict.name())),
                Value::Text(text(metric.why.as_deref())),
            ],
        )
    }
}

/// What keeps figures of one suite apart that were measured in other ways.
pub(crate) fn settings_sha256(provenance: &Provenance, suite: &str) -> String {
    digest(&json!([
        provenance.baseline,
        provenance.settings.get(suite)
    ]))
}

/// A figure as both databases keep it: SQLite stores the negative zero without
/// its sign, and takes NaN for null as JSON does.
pub(super) fn real(value: Option<f64>) -> Option<f64> {
    value
        .filter(|value| value.is_finite())
        .map(|value| value + 0.0)
}

/// A text as CSV keeps it, where empty and missing are one.
pub(super) fn text(text: Option<&str>) -> Option<&str> {
    text.filter(|text| !text.is_empty())
}

/// A time as it is stored; `None` before 1677 and after 2262.
pub(super) fn nanoseconds(time: Timestamp) -> Option<i64> {
    i64::try_from(time.as_nanosecond()).ok()
}

fn created(id: Option<i64>) -> Result<i64, HistoryError> {
    id.ok_or_else(|| HistoryError::Damaged("a new row has no id".into()))
}
