//! The page of a metric: its series over time.

use serde::Serialize;
use stats::ChangePoint;

use super::changes::{self, Change};
use super::format::{self, Figure};
use super::{RunHead, Trend};
use crate::plot::{Axis, Mark, Plot, Point, Scale, Series, Style, thin};
use crate::render::number;

/// Pixels of a plot that can be told apart.
const COLUMNS: usize = 240;

/// A row of the table of metrics.
#[derive(Clone, Debug, Serialize)]
pub(super) struct MetricLine {
    pub(super) name: String,
    pub(super) link: String,
    unit: String,
    better: &'static str,
    series: usize,
    pub(super) points: usize,
    changes: usize,
}

/// All there is to know of a metric.
pub(super) struct MetricPage<'a> {
    pub(super) line: MetricLine,
    pub(super) changes: Vec<Change>,
    runs: &'a [RunHead],
    trends: Vec<(Trend, Vec<ChangePoint>)>,
}

#[derive(Serialize)]
struct View<'a> {
    title: &'a str,
    about: String,
    changes: &'a [Change],
    untested: String,
    plots: Vec<Figure>,
    latest: Vec<Latest>,
}

#[derive(Serialize)]
struct Latest {
    engine: String,
    model: String,
    branch: String,
    machine: String,
    value: String,
    sort: f64,
    interval: String,
    run: String,
    link: Option<String>,
    points: usize,
}

impl<'a> MetricPage<'a> {
    pub(super) fn new(runs: &'a [RunHead], trends: Vec<Trend>) -> Self {
        let tested = trends.into_iter().map(|trend| {
            let points = changes::points(&trend);
            (trend, points)
        });
        let trends: Vec<(Trend, Vec<ChangePoint>)> = tested.collect();
        let mut all: Vec<Change> = (trends.iter())
            .flat_map(|(trend, points)| points.iter().map(|point| Change::new(runs, trend, point)))
            .collect();
        changes::sort(&mut all);
        let first = &trends[0].0;
        Self {
            line: MetricLine {
                name: first.key.metric.clone(),
                link: format::metric_link(&first.key.metric),
                unit: format::unit(&first.key.unit).into(),
                better: format::better(first.better),
                series: trends.len(),
                points: trends.iter().map(|(trend, _)| trend.points.len()).sum(),
                changes: all.len(),
            },
            changes: all,
            runs,
            trends,
        }
    }

    pub(super) fn view(&self) -> impl Serialize {
        let line = &self.line;
        let unit = match line.unit.as_str() {
            "" => String::new(),
            unit => format!(" in {unit}"),
        };
        let untested =
            (self.trends.iter()).filter(|(trend, _)| trend.points.len() > changes::LONGEST);
        View {
            title: &line.name,
            about: format!(
                "{}{unit}, better {}.",
                format::count(line.points, "figure"),
                line.better
            ),
            changes: &self.changes,
            untested: match untested.count() {
                0 => String::new(),
                n => format!("{n} series are too long to be searched for change points."),
            },
            plots: self
                .trends
                .iter()
                .map(|(trend, points)| self.plot(trend, points))
                .collect(),
            latest: self
                .trends
                .iter()
                .filter_map(|(trend, _)| self.latest(trend))
                .collect(),
        }
    }

    fn plot(&self, trend: &Trend, changes: &[ChangePoint]) -> Figure {
        let key = &trend.key;
        let second = |index: usize| self.runs[trend.points[index].run].started.as_second() as f64;
        let points = trend.points.iter().enumerate().map(|(index, point)| {
            let run = &self.runs[point.run];
            Point {
                x: second(index),
                y: point.value,
                interval: point.interval,
                note: format!("{} {}", run.started.strftime("%Y-%m-%d"), run.commit()),
            }
        });
        let marks = changes.iter().map(|change| Mark {
            at: second(change.index),
            bracket: (second(change.bracket.0), second(change.bracket.1)),
        });
        let plot = Plot {
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
        };
        let branch = key.branch.as_deref().unwrap_or("no branch");
        let machine = format::short_machine(&key.machine);
        Figure::of(
            &plot,
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
            value: number(point.value),
            sort: point.value,
            interval: format::interval(point.interval),
            run: run.when(),
            link: run.link.clone(),
            points: trend.points.len(),
        })
    }
}

fn last(metric: &str) -> &str {
    metric.rsplit('.').next().unwrap_or(metric)
}
