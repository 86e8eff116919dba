//! Reading runs, records and series.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use jiff::Timestamp;
use serde::de::DeserializeOwned;

use super::store::{Row, Store, Value};
use super::{Filter, HistoryError, Judgement, Point, Run, RunId, Series, SeriesKey};
use crate::{
    Better, CellRecord, EngineRecord, Metric, Provenance, RunRecord, Tally, Telemetry, Verdict,
};

/// Where a condition of [`Filter::condition`] applies.
const CELLS: &str = "cell JOIN run ON run.id = cell.run_id \
                     JOIN engine ON engine.id = cell.engine_id \
                     JOIN model ON model.id = cell.model_id";

pub(super) fn runs(store: &mut Store, filter: &Filter) -> Result<Vec<Run>, HistoryError> {
    let condition = filter.condition()?;
    let admitted = format!("SELECT cell.run_id FROM {CELLS} WHERE {}", condition.sql);
    let mut runs = store.query(
        &format!(
            "SELECT id, sha256, folder, started_ns, ended_ns, branch, revision, dirty, \
             harness_version, machine, completed, engines_failed, skipped, gates_passed, \
             gates_failed FROM run WHERE id IN ({admitted}) ORDER BY started_ns, sha256"
        ),
        &condition.values,
        run,
    )?;
    let places: HashMap<i64, usize> = (runs.iter().enumerate())
        .map(|(place, run)| (run.id.0, place))
        .collect();
    store.each(
        &format!(
            "SELECT cell.run_id, engine.spec, model.name FROM {CELLS} \
             WHERE run.id IN ({admitted}) ORDER BY cell.run_id, cell.position"
        ),
        &condition.values,
        |row| {
            let Some(&place) = places.get(&row.int(0)?) else {
                return Ok(());
            };
            let run = &mut runs[place];
            for (names, name) in [
                (&mut run.engines, row.text(1)?),
                (&mut run.models, row.text(2)?),
            ] {
                if !names.contains(&name) {
                    names.push(name);
                }
            }
            Ok(())
        },
    )?;
    Ok(runs)
}

fn run(row: &Row<'_>) -> Result<Run, HistoryError> {
    let count = |column| Ok::<_, HistoryError>(usize::try_from(row.int(column)?).unwrap_or(0));
    Ok(Run {
        id: RunId(row.int(0)?),
        sha256: row.text(1)?,
        folder: row.text(2)?.into(),
        started: time(row.int(3)?),
        ended: time(row.int(4)?),
        branch: row.optional_text(5)?,
        revision: row.optional_text(6)?,
        dirty: row.int(7)? != 0,
        harness_version: row.text(8)?,
        machine: row.text(9)?,
        engines: Vec::new(),
        models: Vec::new(),
        tally: Tally {
            completed: count(10)?,
            engines_failed: count(11)?,
            skipped: count(12)?,
            passed: count(13)?,
            gates_failed: count(14)?,
        },
    })
}

pub(super) fn states_at_start(
    store: &mut Store,
    filter: &Filter,
) -> Result<HashMap<RunId, serde_json::Value>, HistoryError> {
    let condition = filter.condition()?;
    let found = store.query(
        &format!(
            "SELECT id, provenance FROM run \
             WHERE id IN (SELECT cell.run_id FROM {CELLS} WHERE {})",
            condition.sql
        ),
        &condition.values,
        |row| {
            let provenance: Provenance = json(&row.text(1)?)?;
            Ok((RunId(row.int(0)?), provenance.machine.state_at_start))
        },
    )?;
    Ok(found.into_iter().collect())
}

pub(super) fn record(store: &mut Store, run: RunId) -> Result<RunRecord, HistoryError> {
    let values = [Value::Int(run.0)];
    let head = store.query(
        "SELECT record_schema, provenance, samples_bytes FROM run WHERE id = $1",
        &values,
        |row| {
            let provenance: Provenance = json(&row.text(1)?)?;
            Ok((row.int(0)?, provenance, row.int(2)?))
        },
    )?;
    let Some((schema, provenance, samples_bytes)) = head.into_iter().next() else {
        return Err(HistoryError::Damaged("a run is gone".into()));
    };
    let mut cells: Vec<CellRecord> = Vec::new();
    let mut places: HashMap<i64, usize> = HashMap::new();
    store.each(
        "SELECT cell.id, cell.name, cell.suite, engine.spec, engine.engine, engine.version, \
         engine.device, engine.options, cell.stands_in_for, model.sha256, cell.status, \
         cell.started_ns, cell.wall_s, cell.work \
         FROM cell JOIN engine ON engine.id = cell.engine_id \
         JOIN model ON model.id = cell.model_id \
         WHERE cell.run_id = $1 ORDER BY cell.position",
        &values,
        |row| {
            places.insert(row.int(0)?, cells.len());
            cells.push(CellRecord {
                cell: row.text(1)?,
                suite: row.text(2)?,
                engine: EngineRecord {
                    spec: row.text(3)?,
                    id: row.text(4)?,
                    version: row.text(5)?,
                    device: row.text(6)?,
                    options: json(&row.text(7)?)?,
                },
                stands_in_for: row.optional_text(8)?,
                model_sha256: row.text(9)?,
                status: json(&row.text(10)?)?,
                started: time(row.int(11)?),
                wall_s: row.real(12)?.unwrap_or_default(),
                work: row.optional_text(13)?.map(|text| json(&text)).transpose()?,
                metrics: Vec::new(),
            });
            Ok(())
        },
    )?;
    store.each(
        "SELECT point.cell_id, metric.name, metric.unit, metric.better, point.value, point.n, \
         point.ci_low, point.ci_high, judgement.confidence, judgement.gate, judgement.verdict, \
         judgement.why, metric.headline, metric.ranks, metric.basis \
         FROM cell JOIN point ON point.cell_id = cell.id \
         JOIN metric ON metric.id = point.metric_id \
         JOIN judgement ON judgement.id = point.judgement_id \
         WHERE cell.run_id = $1 ORDER BY cell.position, point.position",
        &values,
        |row| {
            let metric = Metric {
                name: row.text(1)?,
                unit: row.text(2)?,
                better: better(&row.text(3)?)?,
                value: row.real(4)?,
                n: count(row.int(5)?),
                ci_low: row.real(6)?,
                ci_high: row.real(7)?,
                confidence: row.real(8)?,
                gate: row.optional_text(9)?,
                verdict: verdict(&row.text(10)?)?,
                why: row.optional_text(11)?,
                headline: row.int(12)? != 0,
                ranks: row.int(13)? != 0,
                basis: row.optional_text(14)?.map(|text| json(&text)).transpose()?,
            };
            if let Some(&place) = places.get(&row.int(0)?) {
                cells[place].metrics.push(metric);
            }
            Ok(())
        },
    )?;
    let mut telemetry = Telemetry::default();
    for cell in &cells {
        telemetry.count(cell);
    }
    Ok(RunRecord {
        schema: u32::try_from(schema).unwrap_or_default(),
        provenance,
        cells,
        samples_bytes: count(samples_bytes),
        telemetry,
    })
}

/// All of a series key but the metric.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Track {
    engine: String,
    model_sha256: String,
    machine: String,
    branch: Option<String>,
    settings_sha256: String,
}

/// A cell as its points need it.
struct Place {
    track: usize,
    run: RunId,
    started_ns: i64,
}

pub(super) fn each_series(
    store: &mut Store,
    filter: &Filter,
    mut visit: impl FnMut(Series),
) -> Result<(), HistoryError> {
    let (tracks, cells) = tracks(store, filter)?;
    let judgements = judgements(store)?;
    for ((name, unit), (ids, better)) in metrics(store, filter)? {
        let mut found: BTreeMap<usize, Vec<(i64, Point)>> = BTreeMap::new();
        for id in ids {
            store.each(
                "SELECT cell_id, value, ci_low, ci_high, n, judgement_id FROM point \
                 WHERE metric_id = $1",
                &[Value::Int(id)],
                |row| {
                    let Some(cell) = cells.get(&row.int(0)?) else {
                        return Ok(());
                    };
                    let judgement = judgements.get(&row.int(5)?);
                    let judgement = judgement
                        .ok_or_else(|| HistoryError::Damaged("a point has no judgement".into()))?;
                    let point = Point {
                        run: cell.run,
                        value: row.real(1)?,
                        ci_low: row.real(2)?,
                        ci_high: row.real(3)?,
                        n: count(row.int(4)?),
                        judgement: Arc::clone(judgement),
                    };
                    let points = found.entry(cell.track).or_default();
                    points.push((cell.started_ns, point));
                    Ok(())
                },
            )?;
        }
        for (track, mut points) in found {
            points.sort_by_key(|(started_ns, point)| (*started_ns, point.run));
            let (track, model) = &tracks[track];
            visit(Series {
                key: SeriesKey {
                    metric: name.clone(),
                    unit: unit.clone(),
                    engine: track.engine.clone(),
                    model_sha256: track.model_sha256.clone(),
                    machine: track.machine.clone(),
                    branch: track.branch.clone(),
                    settings_sha256: track.settings_sha256.clone(),
                },
                model: model.clone(),
                better,
                points: points.into_iter().map(|(_, point)| point).collect(),
            });
        }
    }
    Ok(())
}

/// Tracks in order, each with the name of its model, and the cells on them.
type Tracks = (Vec<(Track, String)>, HashMap<i64, Place>);

/// Ids and direction of metrics, by name and unit.
type Metrics = BTreeMap<(String, String), (Vec<i64>, Better)>;

/// The tracks that are wanted.
fn tracks(store: &mut Store, filter: &Filter) -> Result<Tracks, HistoryError> {
    let condition = filter.condition()?;
    let mut tracks: BTreeMap<Track, (String, Vec<i64>)> = BTreeMap::new();
    let mut cells: HashMap<i64, Place> = HashMap::new();
    store.each(
        &format!(
            "SELECT cell.id, cell.run_id, run.started_ns, engine.spec, cell.stands_in_for, \
             model.sha256, run.machine, run.branch, cell.settings_sha256, model.name \
             FROM {CELLS} WHERE {} ORDER BY run.started_ns, cell.id",
            condition.sql
        ),
        &condition.values,
        |row| {
            let (id, spec) = (row.int(0)?, row.text(3)?);
            let place = Place {
                track: 0,
                run: RunId(row.int(1)?),
                started_ns: row.int(2)?,
            };
            let track = Track {
                engine: match row.optional_text(4)? {
                    None => spec,
                    Some(failed) => format!("{spec} for {failed}"),
                },
                model_sha256: row.text(5)?,
                machine: row.text(6)?,
                branch: row.optional_text(7)?,
                settings_sha256: row.text(8)?,
            };
            let (model, members) = tracks.entry(track).or_default();
            *model = row.text(9)?;
            members.push(id);
            cells.insert(id, place);
            Ok(())
        },
    )?;
    let mut ordered = Vec::with_capacity(tracks.len());
    for (track, (model, members)) in tracks {
        for id in members {
            if let Some(place) = cells.get_mut(&id) {
                place.track = ordered.len();
            }
        }
        ordered.push((track, model));
    }
    Ok((ordered, cells))
}

/// The metrics that are wanted. A metric
/// that has changed in something else has several ids.
fn metrics(store: &mut Store, filter: &Filter) -> Result<Metrics, HistoryError> {
    let mut metrics = BTreeMap::new();
    store.each(
        "SELECT id, name, unit, better FROM metric ORDER BY id",
        &[],
        |row| {
            let (name, better) = (row.text(1)?, better(&row.text(3)?)?);
            if filter.admits(&name) {
                let key = (name, row.text(2)?);
                let (ids, last) = metrics.entry(key).or_insert((Vec::new(), better));
                ids.push(row.int(0)?);
                *last = better;
            }
            Ok(())
        },
    )?;
    Ok(metrics)
}

fn judgements(store: &mut Store) -> Result<HashMap<i64, Arc<Judgement>>, HistoryError> {
    let all = store.query(
        "SELECT id, confidence, gate, verdict, why FROM judgement",
        &[],
        |row| {
            let judgement = Judgement {
                confidence: row.real(1)?,
                gate: row.optional_text(2)?,
                verdict: verdict(&row.text(3)?)?,
                why: row.optional_text(4)?,
            };
            Ok((row.int(0)?, Arc::new(judgement)))
        },
    )?;
    Ok(all.into_iter().collect())
}

fn time(nanoseconds: i64) -> Timestamp {
    // 64 bits of nanoseconds are centuries, which jiff has room for.
    Timestamp::from_nanosecond(nanoseconds.into()).unwrap_or_default()
}

fn count(stored: i64) -> u64 {
    u64::try_from(stored).unwrap_or_default()
}

fn json<T: DeserializeOwned>(text: &str) -> Result<T, HistoryError> {
    serde_json::from_str(text).map_err(|error| HistoryError::Damaged(error.to_string()))
}

fn better(name: &str) -> Result<Better, HistoryError> {
    Better::from_name(name)
        .ok_or_else(|| HistoryError::Damaged(format!("`{name}` is no direction")))
}

fn verdict(name: &str) -> Result<Verdict, HistoryError> {
    Verdict::from_name(name).ok_or_else(|| HistoryError::Damaged(format!("`{name}` is no verdict")))
}
