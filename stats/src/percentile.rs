use crate::error::{StatsError, check_sorted};

/// The `p`-quantile of ascending samples, `p` in `[0, 1]` (`0.99` for p99).
///
/// Linear interpolation between order statistics, Hyndman and Fan's type 7, the
/// default of NumPy, SciPy and R: with `h = (n - 1) p` counted from zero,
/// `x[⌊h⌋] + (h - ⌊h⌋) (x[⌊h⌋ + 1] - x[⌊h⌋])`.
/// (R. J. Hyndman, Y. Fan, "Sample Quantiles in Statistical Packages",
/// The American Statistician 50(4), 1996.)
///
/// A high percentile of a small sample is close to its maximum and says little
/// about the population's: quote it with [`quantile_interval`](crate::quantile_interval),
/// which refuses when the sample cannot tell.
///
/// # Errors
/// [`StatsError::Empty`], [`StatsError::NotFinite`], [`StatsError::NotSorted`];
/// [`StatsError::BadProbability`] for `p` outside `[0, 1]`.
///
/// ```
/// use harness_stats::{StatsError, percentile};
///
/// assert_eq!(percentile(&[1.0, 2.0, 4.0, 8.0], 0.75)?, 5.0);
/// assert_eq!(percentile(&[1.0], 99.0), Err(StatsError::BadProbability { p: 99.0 }));
/// # Ok::<(), StatsError>(())
/// ```
pub fn percentile(sorted: &[f64], p: f64) -> Result<f64, StatsError> {
    check_sorted(sorted)?;
    if (0.0..=1.0).contains(&p) {
        Ok(interpolated(sorted, p))
    } else {
        Err(StatsError::BadProbability { p })
    }
}

/// The median of ascending samples: [`percentile`] at one half.
///
/// # Errors
/// As [`percentile`].
///
/// ```
/// assert_eq!(harness_stats::median(&[1.0, 2.0, 3.0, 10.0])?, 2.5);
/// # Ok::<(), harness_stats::StatsError>(())
/// ```
pub fn median(sorted: &[f64]) -> Result<f64, StatsError> {
    percentile(sorted, 0.5)
}

/// [`percentile`] of samples known to be finite and ascending (and at least one).
pub(crate) fn interpolated(sorted: &[f64], p: f64) -> f64 {
    let last = sorted.len() - 1;
    let position = p * last as f64;
    let below = (position as usize).min(last);
    let (low, high) = (sorted[below], sorted[(below + 1).min(last)]);
    let weight = position - below as f64;
    let gap = high - low;
    if !gap.is_finite() {
        // The gap overflows, its parts do not.
        return low * (1.0 - weight) + high * weight;
    }
    // From the nearer end, so that rounding cannot step outside [low, high].
    if weight < 0.5 {
        low + gap * weight
    } else {
        high - gap * (1.0 - weight)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_are_the_extremes() {
        let sorted = [-3.0, 0.0, 5.0];
        assert_eq!(percentile(&sorted, 0.0), Ok(-3.0));
        assert_eq!(percentile(&sorted, 1.0), Ok(5.0));
        assert_eq!(percentile(&[7.0], 0.3), Ok(7.0));
    }

    #[test]
    fn a_gap_that_overflows_still_interpolates() {
        assert_eq!(median(&[-f64::MAX, f64::MAX]), Ok(0.0));
    }

    #[test]
    fn bad_input_is_an_error() {
        assert_eq!(median(&[]), Err(StatsError::Empty));
        assert_eq!(
            median(&[1.0, 3.0, 2.0]),
            Err(StatsError::NotSorted { index: 2 })
        );
        assert_eq!(
            median(&[0.0, f64::INFINITY]),
            Err(StatsError::NotFinite { index: 1 })
        );
        for p in [-0.1, 1.1, f64::NAN] {
            assert!(matches!(
                percentile(&[1.0], p),
                Err(StatsError::BadProbability { .. })
            ));
        }
    }
}
