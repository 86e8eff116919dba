use statrs::distribution::{ContinuousCDF, Normal};

use crate::error::{StatsError, check_alpha, check_finite, finite, tail};
use crate::interval::{Estimate, Interval, Method};
use crate::order_statistic::ROUNDING;
use crate::ranks::{exact_is_cheap, subset_sums};

/// How much larger `after` is than `before`: the Hodges–Lehmann shift, the median
/// of all differences `after - before`, with its distribution-free interval.
///
/// The interval is `[D₍ₖ₎, D₍ₙ₊₁₋ₖ₎]` of the `n = n₁n₂` ordered differences
/// (ranks from one) with the largest `k` for which `P(U ≤ k - 1) ≤ (1 - confidence) / 2`,
/// `U` being Mann and Whitney's statistic under no difference: exact where
/// [`mann_whitney`](crate::mann_whitney) is, and
/// `k = ⌊n/2 + ½ - z √(n (n₁ + n₂ + 1) / 12)⌋` beyond. Without ties it holds
/// zero exactly when the two-sided test does not reject; with ties the level is
/// higher than asked for.
/// (J. L. Hodges, E. L. Lehmann, Annals of Mathematical Statistics 34, 1963;
/// M. Hollander, D. A. Wolfe, E. Chicken, *Nonparametric Statistical Methods*,
/// 3rd ed., 2014, §4.2–4.3.)
///
/// The differences are never stored: each rank is found by bisection over the
/// floating-point numbers, at most 64 walks of `n₁ + n₂` steps.
///
/// # Errors
/// [`StatsError::TooFew`] when even the range of the differences promises less
/// than `confidence`; `n` is then the smaller sample and `needed` what would do
/// beside the larger. [`StatsError::Empty`], [`StatsError::NotFinite`],
/// [`StatsError::BadConfidence`]; [`StatsError::StatisticNotFinite`] when a
/// difference overflows.
///
/// ```
/// let before = [10.0, 11.0, 12.0, 13.0, 14.0];
/// let after = [12.1, 13.1, 14.1, 15.1, 90.0];
/// let shift = harness_stats::hodges_lehmann(&before, &after, 0.95)?;
/// assert!((shift.value - 2.1).abs() < 1e-12);
/// # Ok::<(), harness_stats::StatsError>(())
/// ```
pub fn hodges_lehmann(
    before: &[f64],
    after: &[f64],
    confidence: f64,
) -> Result<Estimate, StatsError> {
    let allowed = tail(confidence)?;
    let differences = Differences::new(before, after)?;
    let Trim { k, .. } = Trim::new(before.len(), after.len(), allowed)?;
    Ok(Estimate {
        value: differences.median(),
        interval: Interval {
            low: differences.ranked(k - 1),
            high: differences.ranked(differences.count() - k),
            confidence,
        },
        method: Method::OrderStatistic,
    })
}

/// The smallest shift that a two-sided [`mann_whitney`](crate::mann_whitney) test
/// at level `alpha` would have found with probability `power` between samples of
/// these sizes and this noise: what a verdict of "no change" leaves open.
///
/// The Hodges–Lehmann estimate is asymptotically normal with a standard error
/// of `√(1/n₁ + 1/n₂) / (√12 ∫f²)`, which for a normal population is the t
/// test's over `√(3/π)`. The unknown density `f` need not be guessed: the
/// interval of [`hodges_lehmann`] is `2 z` standard errors wide, with
/// `z = Φ⁻¹(1 - a)` for the tail `a ≤ alpha/2` that it attains (E. L. Lehmann,
/// Annals of Mathematical Statistics 34, 1963). A shift is found with
/// probability `power` when it is `z + Φ⁻¹(power)` standard errors, hence
/// half the width times `1 + Φ⁻¹(power) / z`.
///
/// Measured power at the median of the shifts given, for 0.8 asked for (4,000 trials each, so
/// ± 1.3 points; heavy-tailed is sinh(1.5 z) of a normal z; ignored test `power_at_the_detectable_shift`):
///
/// | samples a side | normal | lognormal σ 1 | heavy-tailed |
/// |---|---|---|---|
/// | 5 | 0.76 | 0.71 | 0.69 |
/// | 10 | 0.80 | 0.77 | 0.75 |
/// | 20 | 0.80 | 0.76 | 0.77 |
/// | 50 | 0.80 | 0.78 | 0.79 |
/// | 200 | 0.82 | 0.81 | 0.82 |
///
/// # Errors
/// As [`hodges_lehmann`]; [`StatsError::BadAlpha`], and [`StatsError::BadProbability`] for a `power` outside
/// `[0.5, 1)`.
///
/// ```
/// let noise: Vec<f64> = (0..20).map(f64::from).collect();
/// let shift = harness_stats::detectable_shift(&noise, &noise, 0.05, 0.8)?;
/// // The t test's shift for this spread is 5.4.
/// assert!(5.0 < shift && shift < 7.0, "{shift}");
/// # Ok::<(), harness_stats::StatsError>(())
/// ```
pub fn detectable_shift(
    before: &[f64],
    after: &[f64],
    alpha: f64,
    power: f64,
) -> Result<f64, StatsError> {
    if !(0.5..1.0).contains(&power) {
        return Err(StatsError::BadProbability { p: power });
    }
    check_alpha(alpha)?;
    let differences = Differences::new(before, after)?;
    let Trim { k, attained } = Trim::new(before.len(), after.len(), alpha / 2.0)?;
    let width = differences.ranked(differences.count() - k) - differences.ranked(k - 1);
    let normal = Normal::standard();
    let z = -normal.inverse_cdf(attained);
    finite(width / 2.0 * (1.0 + normal.inverse_cdf(power) / z))
}

/// How many differences each end of the interval leaves behind it.
struct Trim {
    /// Rank, from one, of the lower end.
    k: usize,
    /// `P(U ≤ k - 1)`.
    attained: f64,
}

impl Trim {
    fn new(n1: usize, n2: usize, allowed: f64) -> Result<Self, StatsError> {
        let trim = if exact_is_cheap(n1, n2) {
            Self::exact(n1, n2, allowed)
        } else {
            Self::normal(n1, n2, allowed)
        };
        if trim.k > 0 {
            return Ok(trim);
        }
        let (n, larger) = (n1.min(n2), n1.max(n2));
        // The extreme rank sum has one chance in (n + larger choose n).
        let mut extreme: f64 = 1.0;
        let mut needed = 0;
        while extreme > allowed * (1.0 + ROUNDING) {
            needed += 1;
            extreme *= needed as f64 / (needed + larger) as f64;
        }
        // Never below what was just seen to be too few, whatever the approximation says.
        let needed = needed.max(n + 1);
        Err(StatsError::TooFew { n, needed })
    }

    fn exact(n1: usize, n2: usize, allowed: f64) -> Self {
        let take = n1.min(n2);
        let ranks: Vec<usize> = (0..n1 + n2).collect();
        let smallest: usize = ranks[..take].iter().sum();
        let mut trim = Self {
            k: 0,
            attained: 0.0,
        };
        for p in &subset_sums(&ranks, take)[smallest..] {
            let next = trim.attained + p;
            if next > allowed * (1.0 + ROUNDING) {
                break;
            }
            trim.attained = next;
            trim.k += 1;
        }
        trim
    }

    fn normal(n1: usize, n2: usize, allowed: f64) -> Self {
        let (n1, n2) = (n1 as f64, n2 as f64);
        let normal = Normal::standard();
        let deviation = (n1 * n2 * (n1 + n2 + 1.0) / 12.0).sqrt();
        let centre = n1 * n2 / 2.0 + 0.5;
        let k = (centre + normal.inverse_cdf(allowed) * deviation).floor();
        Self {
            k: k.max(0.0) as usize,
            attained: normal.cdf((k - centre) / deviation),
        }
    }
}

/// All differences `after - before`, held as the two sorted samples.
struct Differences {
    before: Vec<f64>,
    after: Vec<f64>,
}

impl Differences {
    fn new(before: &[f64], after: &[f64]) -> Result<Self, StatsError> {
        let sorted = |samples: &[f64]| {
            check_finite(samples)?;
            let mut sorted = samples.to_vec();
            sorted.sort_by(f64::total_cmp);
            Ok::<_, StatsError>(sorted)
        };
        let (before, after) = (sorted(before)?, sorted(after)?);
        finite(after[0] - before[before.len() - 1])?;
        finite(after[after.len() - 1] - before[0])?;
        Ok(Self { before, after })
    }

    fn count(&self) -> usize {
        self.before.len() * self.after.len()
    }

    fn median(&self) -> f64 {
        let (low, high) = ((self.count() - 1) / 2, self.count() / 2);
        // Halved first, so that the sum cannot overflow.
        self.ranked(low) / 2.0 + self.ranked(high) / 2.0
    }

    /// The difference of this rank, from zero.
    ///
    /// Rounded subtraction is monotone in both operands, so the count of
    /// differences at or below a bound is exact, and so is the result.
    fn ranked(&self, rank: usize) -> f64 {
        let (before, after) = (&self.before, &self.after);
        let mut low = to_ordered(after[0] - before[before.len() - 1]);
        let mut high = to_ordered(after[after.len() - 1] - before[0]);
        while low < high {
            let middle = low + (high - low) / 2;
            if self.count_up_to(from_ordered(middle)) > rank {
                high = middle;
            } else {
                low = middle + 1;
            }
        }
        from_ordered(low)
    }

    fn count_up_to(&self, bound: f64) -> usize {
        let mut reached = 0;
        let mut count = 0;
        for x in &self.before {
            while reached < self.after.len() && self.after[reached] - x <= bound {
                reached += 1;
            }
            count += reached;
        }
        count
    }
}

/// Whole numbers in the order of the floating-point numbers. Both zeros map to one.
pub(crate) fn to_ordered(x: f64) -> u64 {
    let bits = (x + 0.0).to_bits();
    if bits >> 63 == 1 {
        !bits
    } else {
        bits | 1 << 63
    }
}

/// The inverse of [`to_ordered`].
pub(crate) fn from_ordered(ordered: u64) -> f64 {
    let bits = if ordered >> 63 == 1 {
        ordered & !(1 << 63)
    } else {
        !ordered
    };
    f64::from_bits(bits) + 0.0
}

#[cfg(test)]
#[path = "shift_tests.rs"]
mod tests;
