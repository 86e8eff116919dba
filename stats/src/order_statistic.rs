use statrs::distribution::{Binomial, DiscreteCDF};

use crate::error::{StatsError, check_sorted, error_rate, tail};
use crate::interval::Interval;

/// A tail probability this much over its limit (relatively) is rounding, not excess.
pub(crate) const ROUNDING: f64 = 1e-12;

/// A two-sided confidence interval for the population's `p`-quantile, from two
/// of the ascending samples. No assumption about the distribution.
///
/// The count of samples at or below the quantile is binomial, `B ~ Bin(n, p)`,
/// so `[x₍ₗ₎, x₍ᵤ₎]` (ranks from one) starts above it with probability
/// `P(B < l)` and ends below it with `P(B ≥ u)`. Taken are the largest `l` and the
/// smallest `u` that keep each at or below `(1 - confidence) / 2`: the level is
/// at least `confidence`, and more for populations with ties.
/// (W. J. Conover, *Practical Nonparametric Statistics*, 3rd ed., §3.2.)
///
/// # Errors
/// [`StatsError::TooFew`] below [`min_samples_for_quantile_interval`];
/// [`StatsError::Empty`], [`StatsError::NotFinite`], [`StatsError::NotSorted`];
/// [`StatsError::BadProbability`] for `p` outside `(0, 1)`, [`StatsError::BadConfidence`].
///
/// ```
/// use harness_stats::{StatsError, quantile_interval};
///
/// let sorted: Vec<f64> = (1..=100).map(f64::from).collect();
/// let median = quantile_interval(&sorted, 0.5, 0.95)?;
/// assert_eq!((median.low, median.high), (40.0, 61.0));
/// assert_eq!(
///     quantile_interval(&sorted, 0.99, 0.95),
///     Err(StatsError::TooFew { n: 100, needed: 368 })
/// );
/// # Ok::<(), StatsError>(())
/// ```
pub fn quantile_interval(sorted: &[f64], p: f64, confidence: f64) -> Result<Interval, StatsError> {
    check_sorted(sorted)?;
    let needed = min_samples_for_quantile_interval(p, confidence)?;
    let n = sorted.len();
    if n < needed {
        return Err(StatsError::TooFew { n, needed });
    }
    let allowed = tail(confidence)?;
    let below = binomial(n, p)?;
    Ok(Interval {
        low: sorted[lower_index(&below, n, allowed)],
        high: sorted[upper_index(&below, n, allowed)],
        confidence,
    })
}

/// A one-sided upper confidence bound for the population's `p`-quantile: the
/// smallest of the ascending samples that is at or over the quantile with
/// probability `confidence` at least. No assumption about the distribution.
///
/// The bound is `x₍ᵤ₎` with the smallest `u` for which `P(B ≥ u) ≤ 1 - confidence`,
/// `B ~ Bin(n, p)`; see [`quantile_interval`].
///
/// # Errors
/// [`StatsError::TooFew`] below [`min_samples_for_quantile`], and the rest as
/// [`quantile_interval`].
///
/// ```
/// use harness_stats::{StatsError, quantile_upper_bound};
///
/// let sorted: Vec<f64> = (1..=459).map(f64::from).collect();
/// assert_eq!(quantile_upper_bound(&sorted, 0.99, 0.99)?, 459.0);
/// assert_eq!(
///     quantile_upper_bound(&sorted[1..], 0.99, 0.99),
///     Err(StatsError::TooFew { n: 458, needed: 459 })
/// );
/// # Ok::<(), StatsError>(())
/// ```
pub fn quantile_upper_bound(sorted: &[f64], p: f64, confidence: f64) -> Result<f64, StatsError> {
    check_sorted(sorted)?;
    let needed = min_samples_for_quantile(p, confidence)?;
    let n = sorted.len();
    if n < needed {
        return Err(StatsError::TooFew { n, needed });
    }
    let allowed = error_rate(confidence)?;
    Ok(sorted[upper_index(&binomial(n, p)?, n, allowed)])
}

/// The fewest samples whose maximum is a one-sided upper confidence bound for
/// the `p`-quantile.
///
/// All `n` samples lie below the quantile with probability `pⁿ`, so
/// `n = ⌈ln(1 - confidence) / ln p⌉`: 459 for p99 at 99 %.
/// (S. S. Wilks, Annals of Mathematical Statistics 12, 1941.)
///
/// # Errors
/// [`StatsError::BadProbability`] for `p` outside `(0, 1)`, [`StatsError::BadConfidence`].
///
/// ```
/// use harness_stats::min_samples_for_quantile;
///
/// assert_eq!(min_samples_for_quantile(0.99, 0.99)?, 459);
/// assert_eq!(min_samples_for_quantile(0.95, 0.95)?, 59);
/// # Ok::<(), harness_stats::StatsError>(())
/// ```
pub fn min_samples_for_quantile(p: f64, confidence: f64) -> Result<usize, StatsError> {
    check_level(p)?;
    Ok(samples_to_exceed(p, error_rate(confidence)?))
}

/// The fewest samples whose range is a two-sided confidence interval for the
/// `p`-quantile: both `pⁿ` and `(1 - p)ⁿ` are at most `(1 - confidence) / 2`.
///
/// # Errors
/// As [`min_samples_for_quantile`].
///
/// ```
/// use harness_stats::min_samples_for_quantile_interval;
///
/// assert_eq!(min_samples_for_quantile_interval(0.5, 0.95)?, 6);
/// assert_eq!(min_samples_for_quantile_interval(0.99, 0.99)?, 528);
/// # Ok::<(), harness_stats::StatsError>(())
/// ```
pub fn min_samples_for_quantile_interval(p: f64, confidence: f64) -> Result<usize, StatsError> {
    check_level(p)?;
    Ok(samples_to_exceed(p.max(1.0 - p), tail(confidence)?))
}

pub(crate) fn check_level(p: f64) -> Result<(), StatsError> {
    if p > 0.0 && p < 1.0 {
        Ok(())
    } else {
        Err(StatsError::BadProbability { p })
    }
}

/// The smallest `n ≥ 1` with `shareⁿ ≤ allowed`.
fn samples_to_exceed(share: f64, allowed: f64) -> usize {
    let exact = allowed.ln() / share.ln();
    let nearest = exact.round();
    // `1 - 0.9` is not quite `0.1`: a solution this near a whole number is one.
    let whole = if (exact - nearest).abs() <= ROUNDING * nearest {
        nearest
    } else {
        exact.ceil()
    };
    (whole as usize).max(1)
}

pub(crate) fn binomial(n: usize, p: f64) -> Result<Binomial, StatsError> {
    Binomial::new(p, n as u64).map_err(|_| StatsError::BadProbability { p })
}

/// Index (from zero) of the first sample that `B` reaches with probability `allowed` at most.
fn upper_index(below: &Binomial, n: usize, allowed: f64) -> usize {
    // P(B ≥ index + 1) falls as the index grows; the last index is known to do.
    first_index(n - 1, |index| {
        below.sf(index as u64) <= allowed * (1.0 + ROUNDING)
    })
}

/// Index (from zero) of the last sample that `B` stays at or below with
/// probability `allowed` at most.
fn lower_index(below: &Binomial, n: usize, allowed: f64) -> usize {
    // P(B ≤ index) grows with the index; the first index is known to do.
    first_index(n - 1, |index| {
        below.cdf(index as u64 + 1) > allowed * (1.0 + ROUNDING)
    })
}

/// The first index in `0..last` that passes a test which, once passed, stays
/// passed; `last` if there is none.
fn first_index(last: usize, passes: impl Fn(usize) -> bool) -> usize {
    let (mut low, mut high) = (0, last);
    while low < high {
        let middle = low + (high - low) / 2;
        if passes(middle) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    low
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exact_powers_are_not_rounded_up() {
        // 0.1¹ = 1 - 0.9 and 0.5³ = 1 - 0.875 in arithmetic, if not in binary.
        assert_eq!(min_samples_for_quantile(0.1, 0.9), Ok(1));
        assert_eq!(min_samples_for_quantile(0.5, 0.875), Ok(3));
        assert_eq!(min_samples_for_quantile(0.9, 0.19), Ok(2));
    }

    #[test]
    fn tiny_samples_and_levels_do_not_panic() {
        assert_eq!(quantile_upper_bound(&[5.0], 0.1, 0.9), Ok(5.0));
        assert_eq!(
            min_samples_for_quantile(1.0 - f64::EPSILON / 2.0, 1.0 - f64::EPSILON / 2.0)
                .map(|n| n > 1 << 50),
            Ok(true)
        );
    }

    #[test]
    fn bad_input_is_an_error() {
        for p in [0.0, 1.0, 99.0, f64::NAN] {
            assert!(matches!(
                min_samples_for_quantile(p, 0.9),
                Err(StatsError::BadProbability { .. })
            ));
            assert!(matches!(
                quantile_interval(&[1.0], p, 0.9),
                Err(StatsError::BadProbability { .. })
            ));
        }
        assert!(matches!(
            min_samples_for_quantile_interval(0.5, 1.0),
            Err(StatsError::BadConfidence { .. })
        ));
        assert_eq!(quantile_interval(&[], 0.5, 0.9), Err(StatsError::Empty));
        assert_eq!(
            quantile_upper_bound(&[2.0, 1.0], 0.5, 0.5),
            Err(StatsError::NotSorted { index: 1 })
        );
    }
}
