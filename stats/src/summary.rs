use statrs::distribution::{ContinuousCDF, StudentsT};

use crate::error::{StatsError, check_finite, check_sorted, finite, tail};
use crate::interval::{Estimate, Interval, Method};
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

/// The mean of independent samples with Student's interval, `x̄ ± t s / √n` with
/// `t` from `n - 1` degrees of freedom.
///
/// Tokens of one context are not independent: over them this is the *naive*
/// interval, to be shown beside the one of [`ratio_interval`](crate::ratio_interval).
///
/// # Errors
/// As [`sample_std`], and [`StatsError::BadConfidence`].
///
/// ```
/// let estimate = harness_stats::mean_interval(&[1.0, 2.0, 3.0], 0.95)?;
/// assert_eq!(estimate.value, 2.0);
/// assert!((estimate.interval.high - 4.4841).abs() < 1e-4);
/// # Ok::<(), harness_stats::StatsError>(())
/// ```
pub fn mean_interval(samples: &[f64], confidence: f64) -> Result<Estimate, StatsError> {
    let tail = tail(confidence)?;
    let value = mean(samples)?;
    let n = samples.len() as f64;
    let error = sample_std(samples)? / n.sqrt();
    let t = StudentsT::new(0.0, 1.0, n - 1.0)
        .map_err(|_| StatsError::StatisticNotFinite)?
        .inverse_cdf(1.0 - tail);
    let half = finite(t * error)?;
    Ok(Estimate {
        value,
        interval: Interval {
            low: value - half,
            high: value + half,
            confidence,
        },
        method: if half == 0.0 {
            Method::Degenerate
        } else {
            Method::StudentT
        },
    })
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
