use crate::error::{StatsError, check_finite, check_sorted, finite};
use crate::percentile::interpolated;

/// `1 / Φ⁻¹(3/4)`: what makes the MAD of a normal population its standard deviation.
const NORMAL_MAD_SCALE: f64 = 1.482_602_218_505_602;

/// The arithmetic mean, `Σx / n`.
///
/// # Errors
/// [`StatsError::Empty`], [`StatsError::NotFinite`];
/// [`StatsError::StatisticNotFinite`] when the sum overflows.
///
/// ```
/// assert_eq!(harness_stats::mean(&[1.0, 2.0, 6.0])?, 3.0);
/// # Ok::<(), harness_stats::StatsError>(())
/// ```
pub fn mean(samples: &[f64]) -> Result<f64, StatsError> {
    check_finite(samples)?;
    finite(samples.iter().sum::<f64>() / samples.len() as f64)
}

/// The sample standard deviation, `√(Σ(x - x̄)² / (n - 1))`, in two passes.
///
/// # Errors
/// As [`mean`], and [`StatsError::TooFew`] for a single sample.
///
/// ```
/// assert_eq!(harness_stats::sample_std(&[1.0, 2.0, 3.0])?, 1.0);
/// # Ok::<(), harness_stats::StatsError>(())
/// ```
pub fn sample_std(samples: &[f64]) -> Result<f64, StatsError> {
    let centre = mean(samples)?;
    let n = samples.len();
    if n < 2 {
        return Err(StatsError::TooFew { n, needed: 2 });
    }
    let squares: f64 = samples.iter().map(|x| (x - centre).powi(2)).sum();
    finite((squares / (n - 1) as f64).sqrt())
}

/// The median absolute deviation from the median, times `1 / Φ⁻¹(3/4) ≈ 1.4826`:
/// a spread that half the samples cannot break, equal to the standard deviation
/// for a normal population. The samples must ascend.
///
/// (P. J. Rousseeuw, C. Croux, "Alternatives to the Median Absolute Deviation",
/// JASA 88, 1993, equation 1.1.)
///
/// # Errors
/// As [`percentile`](crate::percentile); [`StatsError::StatisticNotFinite`]
/// when a deviation overflows.
///
/// ```
/// // Deviations from the median 2 are 1, 0, 0, 1 and 98: the outlier has no say.
/// let spread = harness_stats::scaled_mad(&[1.0, 2.0, 2.0, 3.0, 100.0])?;
/// assert!((spread - 1.4826).abs() < 1e-4);
/// # Ok::<(), harness_stats::StatsError>(())
/// ```
pub fn scaled_mad(sorted: &[f64]) -> Result<f64, StatsError> {
    check_sorted(sorted)?;
    let centre = interpolated(sorted, 0.5);
    let mut deviations: Vec<f64> = sorted.iter().map(|x| (x - centre).abs()).collect();
    deviations.sort_by(f64::total_cmp);
    finite(NORMAL_MAD_SCALE * interpolated(&deviations, 0.5))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overflow_is_an_error_not_an_infinity() {
        assert_eq!(
            mean(&[f64::MAX, f64::MAX]),
            Err(StatsError::StatisticNotFinite)
        );
        assert_eq!(
            sample_std(&[-1e200, 1e200]),
            Err(StatsError::StatisticNotFinite)
        );
        assert_eq!(
            scaled_mad(&[-f64::MAX, f64::MAX]),
            Err(StatsError::StatisticNotFinite)
        );
    }

    #[test]
    fn one_sample_has_a_mean_but_no_deviation() {
        assert_eq!(mean(&[4.0]), Ok(4.0));
        assert_eq!(
            sample_std(&[4.0]),
            Err(StatsError::TooFew { n: 1, needed: 2 })
        );
        assert_eq!(scaled_mad(&[4.0]), Ok(0.0));
    }
}
