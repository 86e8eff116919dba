//! Change points of trends, and how sure they are among all that were looked at.

use std::cmp::Ordering;

use serde::Serialize;
use stats::{ChangePoint, ChangePointOptions, PermutationOptions, pelt};

use super::{RunHead, Trend, format, threads};
use crate::Better;
use crate::plot::{quantity, spark};

/// Longer series are not searched: the time that takes grows faster than they do.
pub(super) const LONGEST: usize = 2_000;
/// The share of false alarms among the changes that are reported as sure.
const FALSE_SHARE: f64 = 0.05;
/// Series are searched from this p-value down. PELT's penalty admits hardly any change to which the
/// quick look gives more than 0.05.
const WORTH_A_SEARCH: f64 = 0.2;

/// What was found of a trend.
#[derive(Clone, Debug)]
pub(super) struct Found {
    pub(super) points: Vec<ChangePoint>,
    /// Benjamini and Hochberg's p-value of a change of level, over all trends.
    q: f64,
}

/// Looks at all trends. What is long enough is tested for a change of level; what may have one is
/// searched for where.
pub(super) fn search(trends: &[Trend]) -> Vec<Found> {
    let looked_at = threads::each(trends, look);
    let tested: Vec<f64> = looked_at.iter().filter_map(|(p, _)| *p).collect();
    let mut adjusted = stats::benjamini_hochberg(&tested)
        .unwrap_or_default()
        .into_iter();
    let found = looked_at.into_iter().map(|(p, points)| Found {
        points,
        q: p.and_then(|_| adjusted.next()).unwrap_or(1.0),
    });
    found.collect()
}

/// The p-value of a change of level, if the series is long enough to have one, and its change points.
fn look(trend: &Trend) -> (Option<f64>, Vec<ChangePoint>) {
    let options = ChangePointOptions {
        // Their p-value is not shown, so that it need not be fine.
        test: PermutationOptions {
            permutations: 199,
            ..PermutationOptions::default()
        },
        ..ChangePointOptions::default()
    };
    let values: Vec<f64> = trend.points.iter().map(|point| point.value).collect();
    // A constant cannot change, and most metrics of correctness are.
    if values.len() > LONGEST || values.iter().all(|value| *value == values[0]) {
        return (None, Vec::new());
    }
    let Ok(p) = stats::level_change_p(&values, options.min_segment) else {
        return (None, Vec::new());
    };
    let points = match p <= WORTH_A_SEARCH {
        true => pelt(&values, options).unwrap_or_default(),
        false => Vec::new(),
    };
    (Some(p), points)
}

/// A change of a metric.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Change {
    /// `regressed`, `improved` or `changed`.
    pub(super) kind: &'static str,
    /// Whether it is among those of which at most a share of 5 % are false alarms.
    pub(super) sure: bool,
    pub(super) metric: String,
    pub(super) link: String,
    pub(super) engine: String,
    pub(super) branch: String,
    /// Place of its trend.
    #[serde(skip)]
    pub(super) trend: usize,
    /// Place of the first run after it.
    #[serde(skip)]
    pub(super) run: usize,
    pub(super) before: String,
    pub(super) after: String,
    shift: f64,
    pub(super) shift_text: String,
    relative: Option<f64>,
    pub(super) relative_text: String,
    q: f64,
    q_text: String,
    /// The commit it is first seen at, and those between which it surely lies.
    pub(super) commit: String,
    pub(super) commits: String,
    pub(super) when: String,
    pub(super) spark: String,
}

/// The changes of a trend in words; `place` is its own.
pub(super) fn describe<'a>(
    runs: &'a [RunHead],
    place: usize,
    trend: &'a Trend,
    found: &'a Found,
) -> impl Iterator<Item = Change> + 'a {
    let levels = levels(trend, found);
    let points = found.points.iter().enumerate();
    points.map(move |(side, point)| {
        let sides = (levels[side].1, levels[side + 1].1);
        Change {
            trend: place,
            ..Change::new(runs, trend, point, sides, found.q)
        }
    })
}

/// The changes of all trends, by [`sort`]'s order.
pub(super) fn all(runs: &[RunHead], trends: &[Trend], found: &[Found]) -> Vec<Change> {
    let both = trends.iter().zip(found).enumerate();
    let mut changes: Vec<Change> = both
        .flat_map(|(place, (trend, found))| describe(runs, place, trend, found))
        .collect();
    sort(&mut changes);
    changes
}

/// The stretches between changes, each with its median.
pub(super) fn levels(trend: &Trend, found: &Found) -> Vec<(std::ops::Range<usize>, f64)> {
    let n = trend.points.len();
    let inner = || found.points.iter().map(|point| point.index);
    let starts = std::iter::once(0).chain(inner());
    let ends = inner().chain(std::iter::once(n));
    let stretches = starts.zip(ends).map(|(start, end)| {
        let stretch = &trend.points[start..end];
        let mut values: Vec<f64> = stretch.iter().map(|point| point.value).collect();
        values.sort_by(f64::total_cmp);
        (start..end, stats::median(&values).unwrap_or(f64::NAN))
    });
    stretches.collect()
}

impl Change {
    /// How large it is for the level before.
    pub(super) fn size(&self) -> f64 {
        self.relative.map_or(0.0, f64::abs)
    }

    fn new(
        runs: &[RunHead],
        trend: &Trend,
        point: &ChangePoint,
        (before, after): (f64, f64),
        q: f64,
    ) -> Self {
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
        let relative = Some(size.value / before.abs()).filter(|relative| relative.is_finite());
        let sign = if size.value > 0.0 { "+" } else { "−" };
        let quantity = |value: f64| quantity(value, &key.unit);
        Self {
            kind,
            sure: q <= FALSE_SHARE,
            metric: key.metric.clone(),
            link: format::metric_link(&key.metric),
            engine: key.engine.clone(),
            branch: key.branch.clone().unwrap_or("–".into()),
            trend: 0,
            run: trend.points[point.index].run,
            before: quantity(before),
            after: quantity(after),
            shift: size.value,
            shift_text: format!(
                "{sign}{} [{}, {}]",
                quantity(size.value.abs()),
                quantity(size.interval.low),
                quantity(size.interval.high),
            ),
            relative,
            relative_text: relative.map_or(String::new(), |relative| {
                format!("{sign}{:.1} %", relative.abs() * 100.0)
            }),
            q,
            q_text: match q {
                q if q < 1e-4 => "< 0.0001".into(),
                q => crate::render::number(q),
            },
            commit: name(point.index),
            commits: format!("{}…{}", name(point.bracket.0), name(point.bracket.1)),
            when: run(point.index).date(),
            spark: spark(
                trend.points.iter().map(|point| point.value),
                Some(point.index),
            ),
        }
    }
}

/// Sure ones first, of those regressions, and of these the largest.
pub(super) fn sort(changes: &mut [Change]) {
    changes.sort_by(order);
}

/// The order of [`sort`].
pub(super) fn order(a: &Change, b: &Change) -> Ordering {
    let rank = |change: &Change| match change.kind {
        "regressed" => 0,
        "improved" => 1,
        _ => 2,
    };
    let by_kind = b.sure.cmp(&a.sure).then(rank(a).cmp(&rank(b)));
    by_kind.then_with(|| b.size().total_cmp(&a.size()))
}
