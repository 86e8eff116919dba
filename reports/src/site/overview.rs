//! The first page: what changed, what fails, and every run.

use std::collections::{BTreeMap, HashSet};

use serde::Serialize;

use super::RunHead;
use super::changes::Change;
use super::format;
use super::metric_page::MetricLine;
use crate::render::grid::findings;
use crate::{RunRecord, Status, Verdict};

/// Most changes that the first page lists.
const MOST_CHANGES: usize = 200;

#[derive(Serialize)]
struct View<'a> {
    title: &'static str,
    summary: String,
    failures: Vec<Finding>,
    changes: &'a [Change],
    changes_left_out: usize,
    no_changes: String,
    latest: Vec<Latest>,
    runs: Vec<RunLine<'a>>,
    notes: &'a [String],
}

#[derive(Serialize)]
struct Finding {
    run: String,
    link: String,
    text: String,
}

#[derive(Serialize)]
struct Latest {
    branch: String,
    engine: String,
    machine: String,
    started: String,
    link: Option<String>,
    commit: String,
    passed: usize,
    failed: usize,
    skipped: usize,
    info: usize,
    failures: String,
}

#[derive(Serialize)]
struct RunLine<'a> {
    started: String,
    link: Option<&'a str>,
    branch: &'a str,
    commit: String,
    machine: String,
    models: String,
    engines: usize,
    passed: usize,
    gates_failed: usize,
    engines_failed: usize,
}

/// The page that lists the metrics.
#[derive(Serialize)]
pub(super) struct Metrics<'a> {
    title: &'static str,
    metrics: &'a [MetricLine],
}

impl<'a> Metrics<'a> {
    pub(super) fn new(metrics: &'a [MetricLine]) -> Self {
        Self {
            title: "Metrics",
            metrics,
        }
    }
}

/// The latest run of each branch, machine and set of engines.
pub(super) fn latest(runs: &[RunHead]) -> HashSet<usize> {
    let mut latest = BTreeMap::new();
    for (index, run) in runs.iter().enumerate() {
        latest.insert((&run.branch, &run.machine, &run.engines), index);
    }
    latest.into_values().collect()
}

pub(super) fn view<'a>(
    runs: &'a [RunHead],
    present: &[(usize, RunRecord)],
    changes: &'a [Change],
    points: u64,
    notes: &'a [String],
) -> impl Serialize + use<'a> {
    let failures: Vec<Finding> = (present.iter())
        .flat_map(|(index, record)| {
            let run = &runs[*index];
            let failed = findings(record)
                .into_iter()
                .filter(|(verdict, _)| *verdict == Verdict::Fail);
            failed.map(|(_, text)| Finding {
                run: run.when(),
                link: run.link.clone().unwrap_or_default(),
                text,
            })
        })
        .collect();
    let regressed = changes
        .iter()
        .filter(|change| change.kind == "regressed")
        .count();
    let improved = changes
        .iter()
        .filter(|change| change.kind == "improved")
        .count();
    let summary = format!(
        "{} with {}. Change points: {regressed} for the worse, {improved} for the better; {} in the latest runs.",
        format::count(runs.len(), "run"),
        format::count(points as usize, "figure"),
        match failures.len() {
            0 => "nothing fails".into(),
            n => format::count(n, "failure"),
        }
    );
    View {
        title: "Overview",
        summary,
        failures,
        changes: &changes[..changes.len().min(MOST_CHANGES)],
        changes_left_out: changes.len().saturating_sub(MOST_CHANGES),
        no_changes: "No change point was found. A series needs ten runs before one can show."
            .into(),
        latest: rows(runs, present),
        runs: runs.iter().rev().map(RunLine::of).collect(),
        notes,
    }
}

/// One row an engine: what the latest run found of it.
fn rows(runs: &[RunHead], present: &[(usize, RunRecord)]) -> Vec<Latest> {
    let mut seen = HashSet::new();
    let mut rows = Vec::new();
    for (index, record) in present {
        let run = &runs[*index];
        let mut engines: Vec<String> = record.cells.iter().map(|cell| cell.title()).collect();
        let mut own = HashSet::new();
        engines.retain(|engine| own.insert(engine.clone()));
        for engine in engines {
            if !seen.insert((run.branch.clone(), engine.clone(), run.machine.clone())) {
                continue;
            }
            let cells = || record.cells.iter().filter(|cell| cell.title() == engine);
            let count = |verdict: Verdict| {
                let metrics = cells().flat_map(|cell| &cell.metrics);
                metrics.filter(|metric| metric.verdict == verdict).count()
            };
            let failures = cells().filter_map(|cell| match &cell.status {
                Status::Failed(failure) => Some(format!("{}: {}", cell.suite, failure.kind)),
                _ => None,
            });
            rows.push(Latest {
                branch: run.branch().into(),
                machine: format::short_machine(&run.machine),
                started: run.when(),
                link: run.link.clone(),
                commit: run.commit(),
                passed: count(Verdict::Pass),
                failed: count(Verdict::Fail),
                skipped: count(Verdict::Skip),
                info: count(Verdict::Info),
                failures: failures.collect::<Vec<_>>().join(", "),
                engine,
            });
        }
    }
    rows
}

impl<'a> RunLine<'a> {
    fn of(run: &'a RunHead) -> Self {
        Self {
            started: run.when(),
            link: run.link.as_deref(),
            branch: run.branch(),
            commit: run.commit(),
            machine: format::short_machine(&run.machine),
            models: run.models.join(", "),
            engines: run.engines.len(),
            passed: run.tally.passed,
            gates_failed: run.tally.gates_failed,
            engines_failed: run.tally.engines_failed,
        }
    }
}
