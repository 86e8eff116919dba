//! Series of a plot from the samples of a run.

use std::collections::BTreeMap;

use super::input::Samples;
use crate::plot::{Point, Series, Style, thin};
use crate::{RunRecord, StoredSample};

/// Pixels of a plot that can be told apart.
const COLUMNS: usize = 240;
/// Bars of a histogram.
const BARS: usize = 40;
/// Groups of positions in a window.
const GROUPS: u64 = 64;
/// Windows that an interval of their mean takes.
const FEWEST_WINDOWS: usize = 3;

/// The samples of one suite, case and metric, engine by engine.
pub(super) struct Curves<'a> {
    engines: Vec<(String, Vec<&'a StoredSample>)>,
}

impl<'a> Curves<'a> {
    pub(super) fn new(
        record: &RunRecord,
        samples: &'a Samples,
        suite: &str,
        case: &str,
        metric: &str,
    ) -> Self {
        let cells = record.cells.iter().filter(|cell| cell.suite == suite);
        let engines = cells.map(|cell| {
            let all = samples.get(&cell.cell).map_or(&[][..], Vec::as_slice);
            let chosen = |s: &&StoredSample| s.case == case && s.metric == metric;
            (cell.title(), all.iter().filter(chosen).collect::<Vec<_>>())
        });
        Self {
            engines: engines.filter(|(_, samples)| !samples.is_empty()).collect(),
        }
    }

    /// The most samples that an engine has.
    pub(super) fn most(&self) -> usize {
        self.engines
            .iter()
            .map(|(_, samples)| samples.len())
            .max()
            .unwrap_or(0)
    }

    fn each(&self, style: Style, points: impl Fn(&[&StoredSample]) -> Vec<Point>) -> Vec<Series> {
        let series = self.engines.iter().map(|(name, samples)| Series {
            name: name.clone(),
            style,
            points: points(samples),
        });
        series.collect()
    }

    /// Value by index.
    pub(super) fn by_index(&self, style: Style) -> Vec<Series> {
        self.each(style, |samples| {
            let mut points: Vec<Point> = (samples.iter())
                .map(|sample| Point::new(sample.index as f64, sample.value))
                .collect();
            points.sort_by(|a, b| a.x.total_cmp(&b.x));
            thin(points, COLUMNS)
        })
    }

    /// The empirical distribution function: the share of samples up to a value.
    pub(super) fn distribution(&self) -> Vec<Series> {
        self.each(Style::Line, |samples| {
            let sorted = sorted(samples);
            let share = 1.0 / sorted.len() as f64;
            let steps = sorted.iter().enumerate().flat_map(|(below, value)| {
                [below, below + 1].map(|count| Point::new(*value, count as f64 * share))
            });
            thin(steps.collect(), COLUMNS)
        })
    }

    /// The share of samples in bars of equal ratio, the same for all engines.
    pub(super) fn histogram(&self) -> Vec<Series> {
        let all = self.engines.iter().flat_map(|(_, samples)| samples);
        let positive = all.map(|sample| sample.value).filter(|value| *value > 0.0);
        let (low, high) = positive.fold((f64::INFINITY, 0.0_f64), |range, value| {
            (range.0.min(value), range.1.max(value))
        });
        if low >= high {
            return Vec::new();
        }
        let width = (high / low).ln() / BARS as f64;
        self.each(Style::Line, |samples| {
            let mut counts = [0_usize; BARS];
            for sample in samples {
                let bar = ((sample.value / low).ln() / width) as usize;
                counts[bar.min(BARS - 1)] += 1;
            }
            let edge = |bar: usize| low * (bar as f64 * width).exp();
            let stairs = counts.iter().enumerate().flat_map(|(bar, count)| {
                let share = *count as f64 / samples.len() as f64;
                [bar, bar + 1].map(|end| Point::new(edge(end), share))
            });
            stairs.collect()
        })
    }

    /// The mean over windows of `window` positions by position within them. Windows are taken for
    /// independent, so the interval is Student's over their means.
    pub(super) fn by_position(&self, window: u64) -> Vec<Series> {
        let group = (window / GROUPS).max(1);
        self.each(Style::Line, |samples| {
            // By group of positions, then by window: sum and count.
            let mut groups: BTreeMap<u64, BTreeMap<u64, (f64, f64)>> = BTreeMap::new();
            for sample in samples {
                let place = groups.entry(sample.index % window / group).or_default();
                let (sum, count) = place.entry(sample.index / window).or_default();
                *sum += sample.value;
                *count += 1.0;
            }
            let points = groups.into_iter().filter_map(|(place, windows)| {
                let means: Vec<f64> = windows.values().map(|(sum, count)| sum / count).collect();
                let interval = match means.len() >= FEWEST_WINDOWS {
                    true => stats::mean_interval(&means, 0.95).ok(),
                    false => None,
                };
                Some(Point {
                    interval: interval.map(|mean| (mean.interval.low, mean.interval.high)),
                    ..Point::new((place * group) as f64, stats::mean(&means).ok()?)
                })
            });
            points.collect()
        })
    }

    /// The median of neighbours: of every `run` indices that follow each other.
    pub(super) fn medians(&self, run: u64) -> Vec<Series> {
        self.each(Style::Line, |samples| {
            let mut groups: BTreeMap<u64, Vec<f64>> = BTreeMap::new();
            for sample in samples {
                groups
                    .entry(sample.index / run)
                    .or_default()
                    .push(sample.value);
            }
            let points = groups.into_iter().filter_map(|(group, mut values)| {
                values.sort_by(f64::total_cmp);
                let middle = group * run + run / 2;
                Some(Point::new(middle as f64, stats::median(&values).ok()?))
            });
            points.collect()
        })
    }
}

fn sorted(samples: &[&StoredSample]) -> Vec<f64> {
    let mut values: Vec<f64> = samples.iter().map(|sample| sample.value).collect();
    values.sort_by(f64::total_cmp);
    values
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::fixtures::record;

    fn curves(values: &[(u64, f64)], check: impl Fn(Curves<'_>)) {
        let samples = values.iter().map(|(index, value)| StoredSample {
            case: "c".into(),
            metric: "m".into(),
            unit: "nat".into(),
            index: *index,
            value: *value,
        });
        let record = record();
        let all = Samples::from([(record.cells[0].cell.clone(), samples.collect())]);
        check(Curves::new(&record, &all, "parity", "c", "m"));
    }

    #[test]
    fn a_distribution_rises_from_nothing_to_all() {
        curves(&[(0, 3.0), (1, 1.0), (2, 2.0)], |curves| {
            let points = &curves.distribution()[0].points;
            assert_eq!((points[0].x, points[0].y), (1.0, 0.0));
            let last = points.last().unwrap();
            assert_eq!((last.x, last.y), (3.0, 1.0));
            let bars = curves.histogram();
            let area: f64 = bars[0].points.iter().step_by(2).map(|bar| bar.y).sum();
            assert!((area - 1.0).abs() < 1e-12);
        });
    }

    #[test]
    fn positions_are_averaged_over_windows() {
        // Windows of 4 positions: 10, 11, 12, 13 in the first; 20, 21, … in the second.
        let values: Vec<(u64, f64)> = (0..12)
            .map(|i| (i, (10 * (i / 4 + 1) + i % 4) as f64))
            .collect();
        curves(&values, |curves| {
            let points = &curves.by_position(4)[0].points;
            let means: Vec<(f64, f64)> = points.iter().map(|p| (p.x, p.y)).collect();
            assert_eq!(means, [(0.0, 20.0), (1.0, 21.0), (2.0, 22.0), (3.0, 23.0)]);
            // Student's t with 2 degrees of freedom at 95 %: 4.3027 · 10/√3.
            let (low, high) = points[0].interval.unwrap();
            assert!((high - low - 2.0 * 24.841).abs() < 1e-2, "{low} {high}");
        });
    }
}
