//! The first page: what changed, what fails, and every run.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashSet};

use serde::Serialize;

use super::changes::Change;
use super::format;
use super::metric_page::MetricLine;
use super::{RunHead, Written};
use crate::render::grid::findings;
use crate::{RunRecord, Status, Verdict};

/// Most changes that the first page lists.
const MOST_CHANGES: usize = 200;
/// Most commits that it lists.
const MOST_COMMITS: usize = 10;
/// Most runs that it lists.
const MOST_RUNS: usize = 500;

#[derive(Serialize)]
struct View<'a> {
    title: String,
    summary: String,
    failures: Vec<Finding>,
    changes: &'a [Change],
    changes_left_out: usize,
    commits: Vec<Commit<'a>>,
    commits_left_out: usize,
    doubtful: &'a [Change],
    doubtful_left_out: usize,
    no_changes: String,
    latest: Vec<Latest>,
    runs: Vec<RunLine<'a>>,
    runs_left_out: usize,
    notes: &'a [String],
}

/// What begins with a commit.
#[derive(Serialize)]
struct Commit<'a> {
    commit: &'a str,
    link: Option<&'a str>,
    when: &'a str,
    branch: &'a str,
    regressed: usize,
    improved: usize,
    /// Its largest regression, or else change.
    worst: &'a Change,
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
    written: &Written,
    series: usize,
    notes: &'a [String],
) -> impl Serialize + use<'a> {
    let failures: Vec<Finding> = (present.iter())
        .flat_map(|(index, record)| {
            let run = &runs[*index];
            failures(record).map(|text| Finding {
                run: run.when(),
                link: run.link.clone().unwrap_or_default(),
                text,
            })
        })
        .collect();
    let (sure, doubtful) = changes.split_at(changes.partition_point(|change| change.sure));
    let shown = |changes: &'a [Change]| &changes[..changes.len().min(MOST_CHANGES)];
    let left_out = |changes: &[Change]| changes.len().saturating_sub(MOST_CHANGES);
    let commits = commits(runs, sure);
    View {
        title: headline(sure, failures.len()),
        summary: extent(runs, written.points, series),
        failures,
        changes: shown(sure),
        changes_left_out: left_out(sure),
        commits_left_out: commits.len().saturating_sub(MOST_COMMITS),
        commits: commits.into_iter().take(MOST_COMMITS).collect(),
        doubtful: shown(doubtful),
        doubtful_left_out: left_out(doubtful),
        no_changes: match changes.is_empty() {
            true => "No change point was found. A series needs ten runs before one can show.",
            false => "Nothing changed so clearly that chance would not have done it.",
        }
        .into(),
        latest: rows(runs, present),
        runs: runs.iter().rev().take(MOST_RUNS).map(RunLine::of).collect(),
        runs_left_out: runs.len().saturating_sub(MOST_RUNS),
        notes,
    }
}

/// What fails in a run.
pub(super) fn failures(record: &RunRecord) -> impl Iterator<Item = String> {
    let findings = findings(record).into_iter();
    findings.filter_map(|(verdict, text)| (verdict == Verdict::Fail).then_some(text))
}

/// How much a report rests on.
pub(super) fn extent(runs: &[RunHead], points: u64, series: usize) -> String {
    let dates = match runs {
        [] => String::new(),
        [only] => format!(", {}", only.date()),
        [first, .., last] => format!(", {} to {}", first.date(), last.date()),
    };
    format!(
        "{}, {} in {series} series{dates}.",
        format::count(runs.len(), "run"),
        format::count(points as usize, "figure"),
    )
}

/// What a reader must know, in a few words.
pub(super) fn headline(sure: &[Change], failures: usize) -> String {
    let count = |kind| sure.iter().filter(|change| change.kind == kind).count();
    let counts = [
        (failures, "failure"),
        (count("regressed"), "regression"),
        (count("improved"), "improvement"),
        (count("changed"), "change"),
    ];
    let counts: Vec<String> = (counts.into_iter())
        .filter(|(n, _)| *n > 0)
        .map(|(n, what)| format::count(n, what))
        .collect();
    match counts.is_empty() {
        true => "Nothing fails, nothing changed".into(),
        false => counts.join(", "),
    }
}

/// Changes by the commit that they begin with, those with most regressions first. Changes are sorted.
fn commits<'a>(runs: &'a [RunHead], changes: &'a [Change]) -> Vec<Commit<'a>> {
    let mut commits: BTreeMap<(&str, &str), Commit<'_>> = BTreeMap::new();
    for change in changes {
        let entry = commits.entry((&change.commit, &change.branch));
        let commit = entry.or_insert_with(|| Commit {
            commit: &change.commit,
            link: runs[change.run].link.as_deref(),
            when: &change.when,
            branch: &change.branch,
            regressed: 0,
            improved: 0,
            worst: change,
        });
        match change.kind {
            "regressed" => commit.regressed += 1,
            "improved" => commit.improved += 1,
            _ => {}
        }
    }
    let mut commits: Vec<Commit<'_>> = commits.into_values().collect();
    commits.retain(|commit| commit.regressed + commit.improved > 1);
    commits.sort_by_key(|commit| Reverse((commit.regressed, commit.improved)));
    commits
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
