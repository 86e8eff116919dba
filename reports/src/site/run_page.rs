//! The page of a run: where it comes from, what it found, and how its samples look.

use std::collections::{BTreeMap, HashSet};

use serde::Serialize;
use serde_json::Value as Json;

use super::changes::Change;
use super::format::{self, Figure, Value};
use super::input::Samples;
use super::{RunHead, Trend, run_plots};
use crate::render::grid::{findings, grids};
use crate::render::number;
use crate::{CellRecord, Metric, Provenance, RunRecord, Verdict};

/// Figures on the pages of runs that are not at hand, all together; the page of a run with 10,000
/// takes two megabytes.
const MOST_FIGURES: usize = 50_000;
/// Figures in a table of all of a suite. The rest is in the record.
const MOST_ROWS: usize = 2_000;

#[derive(Serialize)]
struct View {
    title: String,
    summary: String,
    /// Name, value, and whether it is code.
    facts: Vec<(&'static str, String, bool)>,
    settings: BTreeMap<String, BTreeMap<String, String>>,
    findings: Vec<(&'static str, String)>,
    suites: Vec<Suite>,
}

#[derive(Serialize)]
struct Suite {
    name: String,
    columns: Vec<(String, String)>,
    rows: Vec<Row>,
    plots: Vec<Figure>,
    metrics: Vec<MetricRow>,
    left_out: usize,
}

#[derive(Serialize)]
struct Row {
    engine: String,
    values: Vec<Value>,
    class: &'static str,
    outcome: String,
}

#[derive(Serialize)]
struct MetricRow {
    name: String,
    link: Option<String>,
    engine: String,
    value: String,
    sort: Option<f64>,
    interval: String,
    n: u64,
    gate: String,
    verdict: &'static str,
    why: String,
}

/// Gives pages to runs: to all that are at hand; of the rest first to the latest of their kind, then
/// to those that a change begins with, then to the last, as long as there is room.
pub(super) fn choose(
    runs: &mut [RunHead],
    latest: &HashSet<usize>,
    changes: &[Change],
    trends: &[Trend],
) {
    let mut figures = vec![0; runs.len()];
    for point in trends.iter().flat_map(|trend| &trend.points) {
        figures[point.run] += 1;
    }
    let mut wanted: Vec<usize> = latest.iter().copied().collect();
    wanted.sort_unstable();
    wanted.extend(changes.iter().map(|change| change.run));
    wanted.extend((0..runs.len()).rev());
    let mut room = MOST_FIGURES;
    let mut chosen = HashSet::new();
    for run in wanted {
        if runs[run].at_hand || latest.contains(&run) {
            chosen.insert(run);
        } else if figures[run] <= room && chosen.insert(run) {
            room -= figures[run];
        }
    }
    let mut taken = HashSet::new();
    for (place, run) in runs.iter_mut().enumerate() {
        if !chosen.contains(&place) {
            continue;
        }
        let page = format::slug(&run.name);
        let others = (2..).map(|n| format!("{page}-{n}"));
        let mut names = std::iter::once(page.clone()).chain(others);
        let page = names.find(|page| taken.insert(page.clone()));
        run.link = page.map(|page| format!("run/{page}.html"));
    }
}

/// The page of `run`; metrics in `known` have pages of their own.
pub(super) fn view(
    run: &RunHead,
    record: &RunRecord,
    samples: &Samples,
    known: &HashSet<&str>,
) -> impl Serialize + use<> {
    let tally = record.tally();
    let count = format::count;
    View {
        title: format!("Run {}", run.name),
        summary: format!(
            "{}: {} passed and {} failed; {}, {} failed, {} skipped.",
            count(tally.passed + tally.gates_failed, "gate"),
            tally.passed,
            tally.gates_failed,
            count(record.cells.len(), "cell"),
            tally.engines_failed,
            tally.skipped,
        ),
        facts: facts(&record.provenance),
        settings: record.provenance.settings.clone(),
        findings: (findings(record).into_iter())
            .map(|(verdict, text)| (verdict.name(), text))
            .collect(),
        suites: suites(record, samples, known),
    }
}

fn facts(provenance: &Provenance) -> Vec<(&'static str, String, bool)> {
    let mut facts = Vec::new();
    let mut fact = |name, value: String, code| {
        if !value.is_empty() {
            facts.push((name, value, code));
        }
    };
    let time = |time: jiff::Timestamp| time.strftime("%Y-%m-%d %H:%M:%S UTC").to_string();
    fact("Started", time(provenance.started), false);
    let ended = provenance.ended.map(time);
    fact("Ended", ended.unwrap_or("cut off".into()), false);
    if let Some(project) = &provenance.project {
        let branch = project.branch.as_deref().unwrap_or("no branch");
        let dirty = if project.dirty { ", with changes" } else { "" };
        fact("Commit", project.revision.clone(), true);
        fact("Branch", format!("{branch}{dirty}"), false);
    }
    fact("Baseline", provenance.baseline.clone(), true);
    for model in &provenance.models {
        let size = crate::plot::quantity(model.size_bytes as f64, "B");
        let model = format!(
            "{} · {} {} {} · {size} · sha256 {}",
            model.name, model.architecture, model.quantization, model.format, model.sha256
        );
        fact("Model", model, false);
    }
    fact("Machine", machine(&provenance.machine.identity), false);
    fact("Fingerprint", provenance.machine.fingerprint.clone(), true);
    let load = |state: &Json| state["load_average_1min"].as_f64().map(number);
    let state = &provenance.machine;
    if let (Some(start), Some(end)) = (load(&state.state_at_start), load(&state.state_at_end)) {
        fact(
            "Load average",
            format!("{start} at the start, {end} at the end"),
            false,
        );
    }
    if let Some(cores) = state.state_at_start["other_busy_cores"].as_f64() {
        let cores = format!("{} kept busy by others at the start", number(cores));
        fact("Cores", cores, false);
    }
    for warning in &provenance.machine.warnings {
        fact("Warning", warning.clone(), false);
    }
    fact("Harness", provenance.harness_version.clone(), false);
    fact("Command", provenance.command_line.join(" "), true);
    fact("Gates", provenance.gates.join("; "), true);
    fact("Shard", provenance.shard.clone().unwrap_or_default(), false);
    facts
}

/// Chip, cores, memory, system, as far as they are known.
fn machine(identity: &Json) -> String {
    let text = |key: &str| identity[key].as_str().map(String::from);
    let cores = identity["logical_cores"]
        .as_u64()
        .map(|n| format::count(n as usize, "core"));
    let memory = identity["memory_bytes"]
        .as_f64()
        .map(|bytes| crate::plot::quantity(bytes, "B"));
    let system = match (text("os_name"), text("os_version")) {
        (Some(name), Some(version)) => Some(format!("{name} {version}")),
        (name, _) => name,
    };
    let parts = [
        text("model"),
        text("chip"),
        cores,
        memory,
        system,
        text("os_build"),
    ];
    parts.into_iter().flatten().collect::<Vec<_>>().join(" · ")
}

fn suites(record: &RunRecord, samples: &Samples, known: &HashSet<&str>) -> Vec<Suite> {
    let suite = |grid: crate::render::grid::Grid<'_>| {
        let (metrics, left_out) = metrics(record, grid.suite, known);
        Suite {
            name: grid.suite.into(),
            columns: (grid.columns.iter())
                .map(|column| (column.name.to_owned(), format::unit(column.unit).into()))
                .collect(),
            rows: (grid.rows.into_iter())
                .map(|row| Row {
                    engine: row.engine,
                    values: (row.values.into_iter().zip(&grid.columns))
                        .map(|(metric, column)| Value::of(metric, column.divisor))
                        .collect(),
                    class: row.verdict.name(),
                    outcome: row.outcome,
                })
                .collect(),
            plots: (run_plots::plots(record, samples, grid.suite).iter())
                .map(|(plot, note)| Figure::of(plot, (*note).into()))
                .collect(),
            metrics,
            left_out,
        }
    };
    grids(record).into_iter().map(suite).collect()
}

/// All figures of a suite, those that fail first if there are too many; and how many are left out.
fn metrics(record: &RunRecord, suite: &str, known: &HashSet<&str>) -> (Vec<MetricRow>, usize) {
    let cells = record.cells.iter().filter(|cell| cell.suite == suite);
    let mut figures: Vec<(&CellRecord, &Metric)> = cells
        .flat_map(|cell| cell.metrics.iter().map(move |metric| (cell, metric)))
        .collect();
    let left_out = figures.len().saturating_sub(MOST_ROWS);
    if left_out > 0 {
        figures.sort_by_key(|(_, metric)| metric.verdict != Verdict::Fail);
        figures.truncate(MOST_ROWS);
    }
    let rows = figures.into_iter().map(|(cell, metric)| MetricRow {
        name: metric.name.clone(),
        // A metric that never had a value has no page, nor has one that was not asked for.
        link: (known.contains(metric.name.as_str())).then(|| format::metric_link(&metric.name)),
        engine: cell.title(),
        value: metric
            .value
            .map_or("–".into(), |value| format::with_unit(value, &metric.unit)),
        sort: metric.value,
        interval: format::interval(metric.ci_low.zip(metric.ci_high)),
        n: metric.n,
        gate: metric.gate.clone().unwrap_or_default(),
        verdict: metric.verdict.name(),
        why: metric.why.clone().unwrap_or_default(),
    });
    (rows.collect(), left_out)
}
