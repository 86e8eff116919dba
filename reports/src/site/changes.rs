//! Change points of trends, in words.

use serde::Serialize;
use stats::{ChangePoint, ChangePointOptions, pelt};

use super::{RunHead, Trend, format};
use crate::Better;
use crate::render::number;

/// Longer series are not tested: the time that takes grows faster than they do.
pub(super) const LONGEST: usize = 400;

/// A change of a metric.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Change {
    /// `regressed`, `improved` or `changed`.
    pub(super) kind: &'static str,
    pub(super) metric: String,
    pub(super) link: String,
    pub(super) engine: String,
    pub(super) branch: String,
    shift: f64,
    pub(super) shift_text: String,
    relative: Option<f64>,
    pub(super) relative_text: String,
    p: f64,
    p_text: String,
    pub(super) commits: String,
    pub(super) when: String,
}

/// The change points of `trend`; none where it is too short or too long to tell.
pub(super) fn points(trend: &Trend) -> Vec<ChangePoint> {
    let options = ChangePointOptions::default();
    let n = trend.points.len();
    if n < 2 * options.min_segment || n > LONGEST {
        return Vec::new();
    }
    let values: Vec<f64> = trend.points.iter().map(|point| point.value).collect();
    // A constant cannot change, and most metrics of correctness are.
    if values.iter().all(|value| *value == values[0]) {
        return Vec::new();
    }
    pelt(&values, options).unwrap_or_default()
}

impl Change {
    pub(super) fn new(runs: &[RunHead], trend: &Trend, point: &ChangePoint) -> Self {
        let run = |index: usize| &runs[trend.points[index].run];
        let name = |index: usize| match run(index).commit() {
            commit if commit.is_empty() => run(index).when(),
            commit => commit,
        };
        let (size, key) = (&point.size, &trend.key);
        let kind = match (trend.better, size.value > 0.0) {
            _ if size.interval.low <= 0.0 && size.interval.high >= 0.0 => "changed",
            (Better::Equal, _) => "changed",
            (Better::Lower, true) | (Better::Higher, false) => "regressed",
            (Better::Lower, false) | (Better::Higher, true) => "improved",
        };
        let before = &trend.points[..point.index];
        let mut values: Vec<f64> = before.iter().map(|point| point.value).collect();
        values.sort_by(f64::total_cmp);
        let level = stats::median(&values).unwrap_or(f64::NAN);
        let relative = Some(size.value / level.abs()).filter(|relative| relative.is_finite());
        let sign = if size.value > 0.0 { "+" } else { "" };
        Self {
            kind,
            metric: key.metric.clone(),
            link: format::metric_link(&key.metric),
            engine: key.engine.clone(),
            branch: key.branch.clone().unwrap_or("–".into()),
            shift: size.value,
            shift_text: format!(
                "{sign}{} {} {}",
                number(size.value),
                format::unit(&key.unit),
                format::interval(Some((size.interval.low, size.interval.high))),
            ),
            relative,
            relative_text: relative.map_or(String::new(), |r| format!("{sign}{:.1} %", r * 100.0)),
            p: point.p,
            p_text: number(point.p),
            commits: format!("{}…{}", name(point.bracket.0), name(point.bracket.1)),
            when: run(point.index).when(),
        }
    }
}

/// Regressions first, and of those the largest.
pub(super) fn sort(changes: &mut [Change]) {
    let rank = |change: &Change| match change.kind {
        "regressed" => 0,
        "improved" => 1,
        _ => 2,
    };
    let size = |change: &Change| change.relative.map_or(0.0, f64::abs);
    changes.sort_by(|a, b| {
        let by_kind = rank(a).cmp(&rank(b));
        by_kind.then_with(|| size(b).total_cmp(&size(a)))
    });
}
