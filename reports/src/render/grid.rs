//! The summary that every tabular format shows: per suite, engines in rows
//! and headline metrics in columns.

use crate::render::number;
use crate::render::scale::Scale;
use crate::{CellRecord, Failure, Metric, RunRecord, Status, Verdict};

/// One suite.
pub(crate) struct Grid<'a> {
    pub(crate) suite: &'a str,
    /// One a headline metric.
    pub(crate) columns: Vec<Scale<'a>>,
    pub(crate) rows: Vec<Row<'a>>,
}

pub(crate) struct Row<'a> {
    pub(crate) engine: String,
    /// One entry a column, `None` where the engine has no such figure.
    pub(crate) values: Vec<Option<&'a Metric>>,
    pub(crate) verdict: Verdict,
    /// `pass`, `2 failed`, `crash`, …
    pub(crate) outcome: String,
}

/// The grids of a record, one a suite.
pub(crate) fn grids(record: &RunRecord) -> Vec<Grid<'_>> {
    record
        .suites()
        .into_iter()
        .map(|suite| grid(record, suite))
        .collect()
}

fn grid<'a>(record: &'a RunRecord, suite: &'a str) -> Grid<'a> {
    let mut cells: Vec<&CellRecord> = record
        .cells
        .iter()
        .filter(|cell| cell.suite == suite)
        .collect();
    let mut columns: Vec<(&str, &str)> = Vec::new();
    for metric in cells
        .iter()
        .flat_map(|cell| &cell.metrics)
        .filter(|metric| metric.headline)
    {
        let column = (short_name(&metric.name), metric.unit.as_str());
        if !columns.contains(&column) {
            columns.push(column);
        }
    }
    // The baseline stays in front.
    if let Some((_, others)) = cells.split_first_mut() {
        others.sort_by(|a, b| rank(a).total_cmp(&rank(b)));
    }
    let value = |cell: &CellRecord, name: &str| -> Option<usize> {
        let mut metrics = cell.metrics.iter();
        metrics.position(|metric| metric.headline && short_name(&metric.name) == name)
    };
    let scales: Vec<Scale<'_>> = columns
        .iter()
        .map(|&(name, unit)| {
            let figures = cells
                .iter()
                .map(|cell| value(cell, name).and_then(|index| cell.metrics[index].value));
            Scale::new(name, unit, figures)
        })
        .collect();
    let rows = cells
        .iter()
        .map(|cell| {
            let (verdict, outcome) = outcome(cell);
            Row {
                engine: cell.title(),
                values: columns
                    .iter()
                    .map(|(name, _)| Some(&cell.metrics[value(cell, name)?]))
                    .collect(),
                verdict,
                outcome,
            }
        })
        .collect();
    Grid {
        suite,
        columns: scales,
        rows,
    }
}

/// What puts a cell in its place: cells without such a figure come last.
fn rank(cell: &CellRecord) -> f64 {
    let ranking = cell.metrics.iter().find(|metric| metric.ranks);
    ranking
        .and_then(|metric| metric.value)
        .unwrap_or(f64::INFINITY)
}

/// The last part of `suite.case.metric`.
fn short_name(name: &str) -> &str {
    name.rsplit('.').next().unwrap_or(name)
}

fn outcome(cell: &CellRecord) -> (Verdict, String) {
    match &cell.status {
        Status::Failed(failure) => return (Verdict::Fail, failure.kind.clone()),
        Status::Skipped { .. } => return (Verdict::Skip, "skipped".into()),
        Status::Completed => {}
    }
    let count = |verdict| cell.metrics.iter().filter(|m| m.verdict == verdict).count();
    match (count(Verdict::Fail), count(Verdict::Pass)) {
        (0, 0) => (Verdict::Info, "info".into()),
        (0, _) => (Verdict::Pass, "pass".into()),
        (failed, _) => (Verdict::Fail, format!("{failed} failed")),
    }
}

/// `0.9871 ±0.0021`: the figure over `divisor` and half the width of its interval.
pub(crate) fn figure(metric: &Metric, divisor: f64) -> String {
    let Some(value) = metric.value else {
        return match metric.verdict {
            Verdict::Skip => "withheld".into(),
            _ => "undefined".into(),
        };
    };
    match (metric.ci_low, metric.ci_high) {
        (Some(low), Some(high)) if low < high => {
            let half = (high - low) / 2.0 / divisor;
            format!("{} ±{}", number(value / divisor), short(half))
        }
        _ => number(value / divisor),
    }
}

/// A width needs no more than two digits.
fn short(value: f64) -> String {
    if !(1e-3..1e6).contains(&value) {
        return format!("{value:.0e}");
    }
    let decimals = (1 - value.log10().floor() as i32).max(0);
    format!("{value:.*}", decimals as usize)
}

/// What went wrong, one line each: failed gates, failed engines, skipped cells; and what to know
/// of headline figures that were withheld or that no gate judges.
pub(crate) fn findings(record: &RunRecord) -> Vec<(Verdict, String)> {
    let mut findings = Vec::new();
    for cell in &record.cells {
        let engine = cell.title();
        match &cell.status {
            Status::Failed(Failure { kind, message, .. }) => {
                findings.push((
                    Verdict::Fail,
                    format!("{engine}  {}: {kind}: {message}", cell.suite),
                ));
            }
            Status::Skipped { why } => {
                findings.push((Verdict::Skip, format!("{engine}  {}: {why}", cell.suite)));
            }
            Status::Completed => {}
        }
        findings.extend(
            cell.metrics
                .iter()
                .filter_map(|metric| Some((metric.verdict, finding(&engine, metric)?))),
        );
    }
    findings
}

/// What there is to say of a metric, if anything.
fn finding(engine: &str, metric: &Metric) -> Option<String> {
    let name = &metric.name;
    let why = metric.why.as_deref();
    match metric.verdict {
        Verdict::Fail => {
            let value = metric.value.map_or("undefined".into(), number);
            let gate = metric.gate.as_deref().unwrap_or("no gate");
            let why = why.map(|why| format!(" ({why})")).unwrap_or_default();
            Some(format!("{engine}  {name} = {value}, must be {gate}{why}"))
        }
        Verdict::Skip if metric.headline => Some(format!("{engine}  {name}: {}", why?)),
        Verdict::Info if metric.headline => {
            let value = number(metric.value?);
            Some(format!("{engine}  {name} = {value}: {}", why?))
        }
        Verdict::Skip | Verdict::Info | Verdict::Pass => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::fixtures::record;

    #[test]
    fn headlines_that_no_gate_judges_may_have_a_note() {
        let mut record = record();
        let metric = &mut record.cells[1].metrics[0];
        metric.headline = true;
        metric.verdict = Verdict::Info;
        metric.value = Some(3.0);
        metric.why = Some("taken beside other load".into());
        let found = findings(&record);
        let note = found.iter().find(|(verdict, _)| *verdict == Verdict::Info);
        assert!(note.unwrap().1.ends_with(" = 3: taken beside other load"));
    }

    #[test]
    fn a_ranking_figure_orders_the_rows() {
        let mut record = record();
        let cell = record.cells[1].clone();
        record.cells.truncate(1);
        for (spec, value) in [("c", Some(3.0)), ("a", Some(1.0)), ("b", Some(2.0))] {
            let mut cell = cell.clone();
            cell.engine.spec = spec.into();
            cell.metrics[0].ranks = true;
            cell.metrics[0].value = value;
            record.cells.push(cell);
        }
        let grid = &grids(&record)[0];
        let order: Vec<&str> = grid.rows.iter().map(|row| row.engine.as_str()).collect();
        assert_eq!(order, ["reference", "a", "b", "c"]);
    }
}
