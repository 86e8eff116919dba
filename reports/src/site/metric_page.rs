//! The page of a metric: its series over time.

use serde::Serialize;

use super::changes::{self, Change, Found};
use super::format::{self, Figure};
use super::{RunHead, Trend};
use crate::plot::{Axis, Level, Mark, Plot, Point, Scale, Series, Style, spark, thin};
use crate::render::number;

/// Pixels of a plot that can be told apart.
const COLUMNS: usize = 240;
/// Series that have a plot of their own; others have a line in the table.
const MOST_PLOTS: usize = 24;

/// The trends of a metric, and what was found of them.
pub(super) type Trends<'a> = (&'a [Trend], &'a [Found]);

/// Trends by metric: those of one follow each other.
pub(super) fn group<'a>(trends: &'a [Trend], found: &'a [Found]) -> Vec<Trends<'a>> {
    let mut rest = found;
    let same = trends.chunk_by(|a, b| a.key.metric == b.key.metric);
    same.map(|trends| {
        let (found, others) = rest.split_at(trends.len());
        rest = others;
        (trends, found)
    })
    .collect()
}

/// A row of the table of metrics.
#[derive(Clone, Debug, Serialize)]
pub(super) struct MetricLine {
    name: String,
    pub(super) link: String,
    unit: String,
    better: &'static str,
    series: usize,
    points: usize,
    regressed: usize,
    improved: usize,
    /// The largest regression, or else change.
    worst: String,
    worst_size: f64,
    worst_kind: &'static str,
}

/// All there is to know of a metric.
pub(super) struct MetricPage<'a> {
    pub(super) line: MetricLine,
    changes: Vec<Change>,
    runs: &'a [RunHead],
    /// What changed most stands first.
    trends: Vec<(&'a Trend, &'a Found, Vec<Change>)>,
}

#[derive(Serialize)]
struct View<'a> {
    title: &'a str,
    about: String,
    changes: &'a [Change],
    unsearched: String,
    plots: Vec<Figure>,
    unplotted: usize,
    latest: Vec<Latest>,
}

#[derive(Serialize)]
struct Latest {
    engine: String,
    model: String,
    branch: String,
    machine: String,
    spark: String,
    value: String,
    sort: f64,
    interval: String,
    run: String,
    link: Option<String>,
    points: usize,
}

impl<'a> MetricPage<'a> {
    pub(super) fn new(runs: &'a [RunHead], (trends, found): &Trends<'a>) -> Self {
        let both = trends.iter().zip(*found);
        let mut trends: Vec<(&Trend, &Found, Vec<Change>)> = both
            .map(|(trend, found)| {
                let mut own: Vec<Change> = changes::describe(runs, 0, trend, found).collect();
                changes::sort(&mut own);
                (trend, found, own)
            })
            .collect();
        trends.sort_by(|a, b| match (a.2.first(), b.2.first()) {
            (Some(a), Some(b)) => changes::order(a, b),
            (a, b) => b.is_some().cmp(&a.is_some()),
        });
        let mut all: Vec<Change> = trends.iter().flat_map(|trend| trend.2.clone()).collect();
        changes::sort(&mut all);
        let first = trends[0].0;
        let sure = |kind| all.iter().filter(|it| it.sure && it.kind == kind).count();
        let worst = all.first().filter(|change| change.sure);
        Self {
            line: MetricLine {
                name: first.key.metric.clone(),
                link: format::metric_link(&first.key.metric),
                unit: format::unit(&first.key.unit).into(),
                better: format::better(first.better),
                series: trends.len(),
                points: trends.iter().map(|(trend, ..)| trend.points.len()).sum(),
                regressed: sure("regressed"),
                improved: sure("improved"),
                worst: worst.map_or(String::new(), |change| change.relative_text.clone()),
                worst_size: worst.map_or(0.0, Change::size),
                worst_kind: worst.map_or("", |change| change.kind),
            },
            changes: all,
            runs,
            trends,
        }
    }

    pub(super) fn view(&self) -> impl Serialize {
        let line = &self.line;
        let better = match line.better {
            "unchanged" => "should not change".into(),
            better => format!("{better} is better"),
        };
        let unsearched =
            (self.trends.iter()).filter(|(trend, ..)| trend.points.len() > changes::LONGEST);
        View {
            title: &line.name,
            about: format!(
                "{}: {} of {} series.",
                upper(&better),
                format::count(line.points, "figure"),
                line.series,
            ),
            changes: &self.changes,
            unsearched: match unsearched.count() {
                0 => String::new(),
                n => format!("{n} series are too long to be searched for change points."),
            },
            plots: (self.trends.iter().take(MOST_PLOTS))
                .map(|(trend, found, changes)| self.figure(trend, found, changes))
                .collect(),
            unplotted: self.trends.len().saturating_sub(MOST_PLOTS),
            latest: (self.trends.iter())
                .filter_map(|(trend, ..)| self.latest(trend))
                .collect(),
        }
    }

    fn figure(&self, trend: &Trend, found: &Found, changes: &[Change]) -> Figure {
        let branch = trend.key.branch.as_deref().unwrap_or("no branch");
        let machine = format::short_machine(&trend.key.machine);
        Figure::of(
            &plot(self.runs, trend, found, changes),
            format!("{} · {branch} · machine {machine}", trend.model),
        )
    }

    fn latest(&self, trend: &Trend) -> Option<Latest> {
        let point = trend.points.last()?;
        let run = &self.runs[point.run];
        Some(Latest {
            engine: trend.key.engine.clone(),
            model: trend.model.clone(),
            branch: run.branch().into(),
            machine: format::short_machine(&trend.key.machine),
            spark: spark(trend.points.iter().map(|point| point.value), None),
            value: number(point.value),
            sort: point.value,
            interval: format::interval(point.interval),
            run: run.when(),
            link: run.link.clone(),
            points: trend.points.len(),
        })
    }
}

/// A series over time, with what was found of it.
pub(super) fn plot(runs: &[RunHead], trend: &Trend, found: &Found, changes: &[Change]) -> Plot {
    let key = &trend.key;
    let second = |index: usize| runs[trend.points[index].run].started.as_second() as f64;
    let points = trend.points.iter().enumerate().map(|(index, point)| {
        let run = &runs[point.run];
        Point {
            x: second(index),
            y: point.value,
            interval: point.interval,
            note: format!("{} {}", run.started.strftime("%Y-%m-%d"), run.commit()),
        }
    });
    let marks = found.points.iter().map(|point| {
        let own = changes
            .iter()
            .find(|change| change.run == trend.points[point.index].run);
        Mark {
            at: second(point.index),
            bracket: (second(point.bracket.0), second(point.bracket.1)),
            label: own.map_or(String::new(), |change| {
                format!("{} since {}", change.relative_text, change.commit)
            }),
        }
    });
    let levels = changes::levels(trend, found).into_iter();
    let levels = levels.map(|(stretch, value)| Level {
        from: second(stretch.start),
        to: second(stretch.end - 1),
        value,
    });
    Plot {
        title: key.engine.clone(),
        x: Axis::new("start of the run, UTC", "").scaled(Scale::Time),
        y: Axis::new(last(&key.metric), &key.unit),
        series: vec![Series {
            name: key.engine.clone(),
            style: if trend.points.len() == 1 {
                Style::Dots
            } else {
                Style::Line
            },
            points: thin(points.collect(), COLUMNS),
        }],
        marks: marks.collect(),
        levels: match found.points.is_empty() {
            true => Vec::new(),
            false => levels.collect(),
        },
    }
}

fn last(metric: &str) -> &str {
    metric.rsplit('.').next().unwrap_or(metric)
}

fn upper(text: &str) -> String {
    let mut letters = text.chars();
    let first = letters.next().map(|first| first.to_ascii_uppercase());
    first.into_iter().chain(letters).collect()
}
