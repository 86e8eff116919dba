//! Where a series changes, by how much, and how sure that is.

mod dependence;
mod divisive;
mod last;
mod level;
mod pelt;
mod place;

use std::ops::Range;

use serde::{Deserialize, Serialize};

use crate::energy::Scan;
use crate::error::{StatsError, check_finite, tail};
use crate::interval::Estimate;
use crate::permutation::PermutationOptions;
use crate::shift::hodges_lehmann;
use place::place;

pub(crate) use dependence::variance_factor;
pub use divisive::e_divisive;
pub use last::last_segment;
pub use level::level_change_p;
pub use pelt::pelt;

/// How change points are tested, and described.
///
/// ```
/// use harness_stats::ChangePointOptions;
///
/// let options = ChangePointOptions::default();
/// assert_eq!((options.test.alpha, options.min_segment), (0.05, 5));
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ChangePointOptions {
    /// The permutation test that admits a change point.
    pub test: PermutationOptions,
    /// The fewest samples between two change points, and before the first and
    /// after the last. 5 are the fewest whose shift has an interval at 99 %.
    pub min_segment: usize,
    /// Confidence of the intervals of size and place.
    pub confidence: f64,
}

impl Default for ChangePointOptions {
    /// The default test, segments of 5, intervals of 95 %.
    fn default() -> Self {
        Self {
            test: PermutationOptions::default(),
            min_segment: 5,
            confidence: 0.95,
        }
    }
}

/// Which way a series changed.
///
/// ```
/// let json = serde_json::to_string(&harness_stats::Direction::Up)?;
/// assert_eq!(json, r#""up""#);
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// The shift's interval is above zero.
    Up,
    /// The shift's interval is below zero.
    Down,
    /// The distribution changed, but not clearly its level: say, its spread.
    Shape,
}

/// One change of a series.
///
/// ```
/// use harness_stats::{ChangePointOptions, Direction, e_divisive};
///
/// let series: Vec<f64> = (0..40).map(|i| f64::from(i % 7) + if i < 20 { 0.0 } else { 30.0 }).collect();
/// let found = e_divisive(&series, ChangePointOptions::default())?;
/// assert_eq!(found.len(), 1);
/// let change = found[0];
/// assert_eq!((change.index, change.bracket, change.direction), (20, (19, 20), Direction::Up));
/// assert!(change.size.interval.low > 25.0 && change.p <= 0.05);
/// # Ok::<(), harness_stats::StatsError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct ChangePoint {
    /// The first sample after the change (from zero).
    pub index: usize,
    /// The last sample that is surely before the change and the first that is
    /// surely after it, at the confidence asked for: the culprit is in between
    /// or is the latter.
    pub bracket: (usize, usize),
    /// Which way.
    pub direction: Direction,
    /// The Hodges–Lehmann shift from the segment before to the segment after.
    pub size: Estimate,
    /// The p-value, in `(0, 1]`, which accounts for the choice of the index.
    pub p: f64,
}

impl ChangePointOptions {
    fn check(&self, series: &[f64]) -> Result<(), StatsError> {
        self.test.check()?;
        check_finite(series)?;
        tail(self.confidence)?;
        // Segments so short that their shift has no interval are refused.
        let has_interval = |&length: &usize| {
            let segment = vec![0.0; length];
            hodges_lehmann(&segment, &segment, self.confidence).is_ok()
        };
        let shortest = (self.min_segment..).find(has_interval);
        let needed = shortest.unwrap_or(usize::MAX);
        if self.min_segment < needed {
            return Err(StatsError::TooFew {
                n: self.min_segment,
                needed,
            });
        }
        let needed = 2 * self.min_segment;
        if series.len() < needed {
            return Err(StatsError::TooFew {
                n: series.len(),
                needed,
            });
        }
        Ok(())
    }

    /// The lengths that the left part of a stretch may have.
    fn lengths(&self, stretch: usize) -> std::ops::RangeInclusive<usize> {
        self.min_segment..=stretch.saturating_sub(self.min_segment)
    }
}

/// The stretches between change points.
fn stretches(indices: &[usize], n: usize) -> Vec<Range<usize>> {
    let starts = std::iter::once(0).chain(indices.iter().copied());
    let ends = indices.iter().copied().chain(std::iter::once(n));
    starts.zip(ends).map(|(start, end)| start..end).collect()
}

/// Moves each change point to the best split of the stretch between its
/// neighbours, which a change point found before them need not be.
fn relocate(series: &[f64], indices: &mut [usize], options: &ChangePointOptions) {
    for place in 0..indices.len() {
        let start = if place == 0 { 0 } else { indices[place - 1] };
        let end = indices.get(place + 1).copied().unwrap_or(series.len());
        let mut scan = Scan::new(&series[start..end]);
        let stretch = std::mem::take(&mut scan.series);
        if let Some(split) = scan.best(&stretch, options.lengths(stretch.len())) {
            indices[place] = start + split.at;
        }
    }
}

/// Places accepted change points, ascending, for good, and describes them with their p-values.
fn describe(
    series: &[f64],
    mut indices: Vec<usize>,
    p_values: &[f64],
    options: &ChangePointOptions,
) -> Result<Vec<ChangePoint>, StatsError> {
    let brackets = place(series, &mut indices, options)?;
    let stretches = stretches(&indices, series.len());
    let sides = stretches.windows(2);
    let changes = indices.iter().zip(p_values).zip(sides).zip(brackets);
    changes
        .map(|(((&index, &p), sides), bracket)| {
            let (before, after) = (&series[sides[0].clone()], &series[sides[1].clone()]);
            let size = hodges_lehmann(before, after, options.confidence)?;
            let direction = if size.interval.low > 0.0 {
                Direction::Up
            } else if size.interval.high < 0.0 {
                Direction::Down
            } else {
                Direction::Shape
            };
            Ok(ChangePoint {
                index,
                bracket,
                direction,
                size,
                p,
            })
        })
        .collect()
}

#[cfg(test)]
#[path = "../change_points_tests.rs"]
mod tests;
