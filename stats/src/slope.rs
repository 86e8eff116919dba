use statrs::distribution::{ContinuousCDF, Normal};

use crate::error::{StatsError, check_finite, tail};
use crate::interval::{Estimate, Interval, Method};
use crate::shift::{from_ordered, to_ordered};

/// How many slopes are held in memory at once (8 MB).
const HELD: usize = 1 << 20;

/// The slope of `y` over `x` (units of `y` per unit of `x`): Theil and Sen's, the
/// median of the slopes between all pairs with different `x`, with Sen's
/// distribution-free interval. For a leak or a drift: 29 % of the points may be
/// arbitrarily wrong, and no noise need be normal.
///
/// With `N` such pairs and Kendall's variance
/// `σ² = (n(n - 1)(2n + 5) - Σ t(t - 1)(2t + 5)) / 18`, summed over the groups of
/// `t` ties in `x` and in `y`, the ends are the slopes of rank
/// `(N - zσ)/2` and `(N + zσ)/2 + 1`, each rounded, halves to even.
/// (P. K. Sen, JASA 63, 1968, equations 2.6 and 3.2; the same ranks as SciPy's
/// `theilslopes`.) Neighbouring points that depend on each other (memory in use
/// does) make the interval too narrow: thin or average them first.
///
/// Exact for any number of points. Cost: `n²/2` slopes, gone over once up to
/// 1,400 points and some ten times beyond (under two seconds for 5,000 points), in 8 MB.
///
/// # Errors
/// [`StatsError::TooFew`] when no pair of slopes promises `confidence` (fewer than
/// 5 points at 95 %, more with ties); [`StatsError::LengthMismatch`],
/// [`StatsError::NoSpread`] when all `x` are equal; [`StatsError::Empty`],
/// [`StatsError::NotFinite`], [`StatsError::BadConfidence`];
/// [`StatsError::StatisticNotFinite`] when a slope overflows.
///
/// ```
/// let seconds = [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0];
/// let mebibytes = [100.0, 102.1, 104.0, 500.0, 108.1, 110.0, 111.9];
/// let leak = harness_stats::theil_sen(&seconds, &mebibytes, 0.95)?;
/// assert!((leak.value - 2.0).abs() < 0.05 && leak.interval.low > 0.0);
/// # Ok::<(), harness_stats::StatsError>(())
/// ```
pub fn theil_sen(x: &[f64], y: &[f64], confidence: f64) -> Result<Estimate, StatsError> {
    let tail = tail(confidence)?;
    if x.len() != y.len() {
        return Err(StatsError::LengthMismatch {
            left: x.len(),
            right: y.len(),
        });
    }
    check_finite(x)?;
    check_finite(y)?;
    let slopes = Slopes { x, y };
    let count = slopes.count()?;
    let z = -Normal::standard().inverse_cdf(tail);
    let reach = z * kendall_variance(x, y).sqrt();
    let low = ((count as f64 - reach) / 2.0).round_ties_even() - 1.0;
    let high = ((count as f64 + reach) / 2.0).round_ties_even();
    if low < 0.0 || high >= count as f64 {
        let n = x.len();
        let needed = points_needed(z).max(n + 1);
        return Err(StatsError::TooFew { n, needed });
    }
    let middle = slopes.ranked((count - 1) / 2, count);
    Ok(Estimate {
        value: if count % 2 == 1 {
            middle
        } else {
            middle / 2.0 + slopes.ranked(count / 2, count) / 2.0
        },
        interval: Interval {
            low: slopes.ranked(low as usize, count),
            high: slopes.ranked(high as usize, count),
            confidence,
        },
        method: Method::OrderStatistic,
    })
}

/// The variance of Kendall's S under no association.
fn kendall_variance(x: &[f64], y: &[f64]) -> f64 {
    let ties = |values: &[f64]| {
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        let groups = sorted.chunk_by(|a, b| a == b);
        groups.map(|group| kendall_sum(group.len())).sum::<f64>()
    };
    ((kendall_sum(x.len()) - ties(x) - ties(y)) / 18.0).max(0.0)
}

fn kendall_sum(n: usize) -> f64 {
    let n = n as f64;
    n * (n - 1.0) * (2.0 * n + 5.0)
}

/// The fewest points without ties whose slopes reach `z`.
fn points_needed(z: f64) -> usize {
    let reaches = |n: usize| {
        let pairs = (n * (n - 1) / 2) as f64;
        let reach = z * (kendall_sum(n) / 18.0).sqrt();
        ((pairs - reach) / 2.0).round_ties_even() >= 1.0
    };
    (2..).find(|&n| reaches(n)).unwrap_or(usize::MAX)
}

/// The slopes between all pairs of points with different `x`, computed anew on each visit.
struct Slopes<'a> {
    x: &'a [f64],
    y: &'a [f64],
}

impl Slopes<'_> {
    fn for_each(&self, mut visit: impl FnMut(f64)) {
        for (j, (x, y)) in self.x.iter().zip(self.y).enumerate() {
            for (earlier_x, earlier_y) in self.x[..j].iter().zip(&self.y[..j]) {
                if x != earlier_x {
                    visit((y - earlier_y) / (x - earlier_x));
                }
            }
        }
    }

    fn count(&self) -> Result<usize, StatsError> {
        let (mut count, mut all_finite) = (0, true);
        self.for_each(|slope| {
            count += 1;
            all_finite &= slope.is_finite();
        });
        match (count, all_finite) {
            (0, _) => Err(StatsError::NoSpread),
            (_, false) => Err(StatsError::StatisticNotFinite),
            _ => Ok(count),
        }
    }

    /// The slope of this rank, from zero, among `count`.
    ///
    /// Narrows a range of floating-point numbers 65,536-fold at a time, by
    /// counting, until what is left in it can be held.
    fn ranked(&self, mut rank: usize, mut count: usize) -> f64 {
        let (mut low, mut high) = (0, u64::MAX);
        while count > HELD && low < high {
            let shift = (64 - (high - low).leading_zeros()).saturating_sub(16);
            let bucket = |ordered: u64| ((ordered - low) >> shift) as usize;
            let mut counts = vec![0_usize; bucket(high) + 1];
            self.for_each(|slope| {
                let ordered = to_ordered(slope);
                if (low..=high).contains(&ordered) {
                    counts[bucket(ordered)] += 1;
                }
            });
            let mut found = 0;
            while rank >= counts[found] {
                rank -= counts[found];
                found += 1;
            }
            count = counts[found];
            low += (found as u64) << shift;
            high = high.min(low + ((1 << shift) - 1));
        }
        if low == high {
            return from_ordered(low);
        }
        let mut held = Vec::with_capacity(count);
        self.for_each(|slope| {
            let ordered = to_ordered(slope);
            if (low..=high).contains(&ordered) {
                held.push(ordered);
            }
        });
        from_ordered(*held.select_nth_unstable(rank).1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_slopes_are_ranked_like_few() {
        // 1,500 points have more slopes than are held; ties on purpose.
        let x: Vec<f64> = (0..1_500).map(f64::from).collect();
        let y: Vec<f64> = x.iter().map(|x| (x * x * 0.37) % 11.0 - 5.0).collect();
        let slopes = Slopes { x: &x, y: &y };
        let count = slopes.count().unwrap();
        assert!(count > HELD);
        let mut all = Vec::new();
        slopes.for_each(|slope| all.push(slope));
        all.sort_by(f64::total_cmp);
        for rank in [0, 7, count / 2, count - 1] {
            assert_eq!(slopes.ranked(rank, count), all[rank]);
        }
        // A level line has one slope only.
        let level = Slopes {
            x: &x,
            y: &[3.0; 1_500],
        };
        assert_eq!(level.ranked(count / 2, count), 0.0);
    }

    #[test]
    fn bad_input_is_an_error() {
        assert_eq!(
            theil_sen(&[1.0], &[], 0.95),
            Err(StatsError::LengthMismatch { left: 1, right: 0 })
        );
        assert_eq!(
            theil_sen(&[1.0; 9], &[2.0; 9], 0.95),
            Err(StatsError::NoSpread)
        );
        let line = [0.0, 1.0, 2.0, 3.0];
        assert_eq!(
            theil_sen(&line, &line, 0.95),
            Err(StatsError::TooFew { n: 4, needed: 5 })
        );
        assert_eq!(
            theil_sen(&[0.0, 1e-300, 1.0], &[0.0, 1e300, 1.0], 0.95),
            Err(StatsError::StatisticNotFinite)
        );
    }
}
