//! Letting go of old runs.

use std::collections::HashMap;

use jiff::{SignedDuration, Timestamp};

use super::store::{Store, Value};
use super::{Filter, HistoryError, Run, query};

/// Which runs stay. A run stays if either rule keeps it; with neither rule, all do.
///
/// ```
/// use harness_reports::StoredRun;
/// use harness_reports::history::{Filter, History, Retention};
/// use jiff::{SignedDuration, Timestamp};
///
/// let folder = tempfile::tempdir()?;
/// let url = format!("sqlite:{}", folder.path().join("history.db").display());
/// let mut history = History::open_or_create(&url)?;
/// let run = StoredRun::open("tests/run".as_ref())?;
/// for night in 0..5 {
///     let mut record = run.record.clone();
///     record.provenance.started += SignedDuration::from_hours(24 * night);
///     history.add(&StoredRun::of(record, run.folder.clone()))?;
/// }
/// let last_two = Retention { keep_last: Some(2), ..Retention::default() };
/// assert_eq!(history.prune(last_two, Timestamp::now())?, 3);
/// assert_eq!(history.runs(&Filter::default())?.len(), 2);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Retention {
    /// Those that began within so many days.
    pub keep_days: Option<u32>,
    /// The last so many of each branch on each machine.
    pub keep_last: Option<usize>,
}

impl Retention {
    /// Those of `runs`, which are in the order of their start, that go.
    fn leaving<'a>(&self, runs: &'a [Run], now: Timestamp) -> Vec<&'a Run> {
        if *self == Self::default() {
            return Vec::new();
        }
        let mut later: HashMap<(&str, Option<&str>), usize> = HashMap::new();
        let mut leaving = Vec::new();
        for run in runs.iter().rev() {
            let place = later
                .entry((&run.machine, run.branch.as_deref()))
                .or_default();
            let recent = self.keep_days.is_some_and(|days| {
                let age = now.duration_since(run.started);
                age <= SignedDuration::from_hours(24 * i64::from(days))
            });
            let last = self.keep_last.is_some_and(|count| *place < count);
            if !recent && !last {
                leaving.push(run);
            }
            *place += 1;
        }
        leaving
    }
}

pub(super) fn prune(
    store: &mut Store,
    retention: Retention,
    now: Timestamp,
) -> Result<u64, HistoryError> {
    let gone = store.writing(|store| {
        let runs = query::runs(store, &Filter::default())?;
        let leaving = retention.leaving(&runs, now);
        for run in &leaving {
            let id = [Value::Int(run.id.0)];
            store.execute(
                "DELETE FROM point WHERE cell_id IN (SELECT id FROM cell WHERE run_id = $1)",
                &id,
            )?;
            store.execute("DELETE FROM cell WHERE run_id = $1", &id)?;
            store.execute("DELETE FROM run WHERE id = $1", &id)?;
        }
        if !leaving.is_empty() {
            for (table, column, user) in [
                ("engine", "engine_id", "cell"),
                ("model", "model_id", "cell"),
                ("metric", "metric_id", "point"),
                ("judgement", "judgement_id", "point"),
            ] {
                store.execute(
                    &format!("DELETE FROM {table} WHERE id NOT IN (SELECT {column} FROM {user})"),
                    &[],
                )?;
            }
        }
        Ok(leaving.len() as u64)
    })?;
    if gone > 0 && matches!(store, Store::Sqlite(_)) {
        // PostgreSQL sees to that by itself.
        store.batch("VACUUM")?;
    }
    Ok(gone)
}
