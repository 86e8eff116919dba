//! A comparison as text.

mod csv;
mod junit;
mod markdown;
mod table;

use std::collections::BTreeMap;

pub use self::csv::csv;
pub use self::junit::junit;
pub use self::markdown::markdown;
pub use self::table::table;

use super::{Comparison, Outcome, POWER, Row, RunName};
use crate::render::number;

/// Titles of the columns that tables for people have.
const COLUMNS: [&str; 8] = [
    "cell",
    "metric",
    "BASE",
    "HEAD",
    "shift",
    "p adj.",
    "detectable",
    "verdict",
];

/// What stands in them; the verdict comes with its reason only where `reasons`.
fn columns(row: &Row, reasons: bool) -> [String; 8] {
    let value = |value: Option<f64>, runs: usize| match (value, runs) {
        (None, _) => String::new(),
        (Some(value), 0 | 1) => number(value),
        (Some(value), runs) => format!("{} ({runs} runs)", number(value)),
    };
    let verdict = match &row.why {
        Some(why) if reasons => format!("{}: {why}", row.outcome.name()),
        _ => row.outcome.name().into(),
    };
    [
        row.cell.clone(),
        titled(row),
        value(row.base, row.base_runs),
        value(row.head, row.head_runs),
        shift(row),
        row.p_adjusted.map(number).unwrap_or_default(),
        detectable(row),
        verdict,
    ]
}

/// `latency.decode.itl_p50_ns [ns]`
fn titled(row: &Row) -> String {
    match row.unit.as_str() {
        "1" | "share" => row.metric.clone(),
        unit => format!("{} [{unit}]", row.metric),
    }
}

/// `+5.2 % (+4.1 … +6.3)`, the interval in the same unit.
fn shift(row: &Row) -> String {
    let Some(shift) = row.shift else {
        return String::new();
    };
    // The interval is of the shift; what makes per cent or points of the one does so of the other.
    let Some(effect) = row.effect else {
        return signed(shift);
    };
    let unit = if row.effect_unit == "pp" {
        "points"
    } else {
        "%"
    };
    let ends = (row.shift_low.zip(row.shift_high))
        .filter(|_| shift != 0.0)
        .map(|(low, high)| (low * effect / shift, high * effect / shift));
    match ends {
        Some((low, high)) => format!(
            "{} {unit} ({} … {})",
            signed(effect),
            signed(low),
            signed(high)
        ),
        None => format!("{} {unit}", signed(effect)),
    }
}

fn signed(value: f64) -> String {
    let sign = if value > 0.0 { "+" } else { "" };
    format!("{sign}{}", number(value))
}

/// `3.1 %`: what a verdict of no change leaves open.
fn detectable(row: &Row) -> String {
    let unit = if row.effect_unit == "pp" {
        "points"
    } else {
        "%"
    };
    row.detectable
        .map_or(String::new(), |size| format!("{} {unit}", number(size)))
}

/// What is shown: what changed, or everything; headlines first within each outcome.
fn shown(comparison: &Comparison, all: bool) -> Vec<&Row> {
    let mut rows: Vec<&Row> = comparison.of(Outcome::Regressed).collect();
    rows.extend(comparison.of(Outcome::Improved));
    if all {
        rows.extend(comparison.of(Outcome::NoChange));
        rows.extend(comparison.of(Outcome::NotComparable));
    }
    rows
}

/// `2 regressed, 1 improved, 40 no change, 3 not comparable`
fn counts(comparison: &Comparison) -> String {
    [
        Outcome::Regressed,
        Outcome::Improved,
        Outcome::NoChange,
        Outcome::NotComparable,
    ]
    .map(|outcome| format!("{} {}", comparison.count(outcome), outcome.name()))
    .join(", ")
}

/// How it was judged.
fn method(comparison: &Comparison) -> String {
    let turns = match comparison.turns {
        0 => String::new(),
        pairs => format!("{pairs} pairs of runs made in turn; "),
    };
    format!(
        "{turns}{} tests at {} %, adjusted: {}; detectable with probability {POWER}",
        comparison.tests,
        number(100.0 * comparison.alpha),
        comparison.adjust.name(),
    )
}

/// `BASE: 8 runs of 1a2b3c4d5e6f (modified)`
fn side(name: &str, runs: &[RunName]) -> String {
    let mut builds: Vec<String> = Vec::new();
    for run in runs {
        let build = run
            .project
            .as_ref()
            .map_or("unknown revision".into(), |project| {
                let short = project.revision.get(..12).unwrap_or(&project.revision);
                let dirty = if project.dirty { " (modified)" } else { "" };
                format!("{short}{dirty}")
            });
        if !builds.contains(&build) {
            builds.push(build);
        }
    }
    let plural = if runs.len() == 1 { "" } else { "s" };
    format!(
        "{name}: {} run{plural} of {}",
        runs.len(),
        builds.join(", ")
    )
}

/// Why figures cannot be compared, and of how many that is so; the most frequent first.
fn obstacles(comparison: &Comparison) -> Vec<(usize, &str)> {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for row in comparison.of(Outcome::NotComparable) {
        *counts
            .entry(row.why.as_deref().unwrap_or_default())
            .or_default() += 1;
    }
    let mut counts: Vec<(usize, &str)> = counts.into_iter().map(|(why, n)| (n, why)).collect();
    counts.sort_by_key(|&(n, _)| std::cmp::Reverse(n));
    counts
}
