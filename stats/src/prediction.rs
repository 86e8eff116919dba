use statrs::distribution::{ContinuousCDF, StudentsT};

use crate::error::{StatsError, check_finite, error_rate, finite, tail};
use crate::interval::{Estimate, Interval, Method};
use crate::order_statistic::ROUNDING;
use crate::percentile::interpolated;
use crate::summary::{sample_std, scaled_mad};

/// The fewest samples that a robust scale is taken from.
const MIN_SAMPLES: usize = 4;

/// `Var(ln MAD) ≈ 1 / (2 · 0.3675 n)`: the MAD's efficiency at a normal
/// population, which is to say that it knows as much of the scale as a standard
/// deviation of so many times fewer samples. (Rousseeuw and Croux 1993, table 1.)
const MAD_EFFICIENCY: f64 = 0.3675;

/// Where the next observation should fall if nothing changes, from the samples of
/// a stable stretch: the limits of a noise-aware gate against history.
///
/// From `n ≥ (1 + confidence) / (1 - confidence)` samples on (39 at 95 %, 199 at
/// 99 %): [`Method::OrderStatistic`], `[x₍ₖ₎, x₍ₙ₊₁₋ₖ₎]` with the largest `k` that
/// keeps `2k / (n + 1) ≤ 1 - confidence`. The next of `n + 1` exchangeable
/// observations falls outside with that probability at most, whatever their
/// distribution. (S. S. Wilks, Annals of Mathematical Statistics 12, 1941.)
///
/// Below: [`Method::StudentT`], `median ± t s √(1 + π/2n)`. `s` is the scaled
/// MAD times its small-sample correction (C. Croux, P. J. Rousseeuw, "Time-efficient
/// algorithms for two highly robust estimators of scale", COMPSTAT 1992), `π/2n`
/// the variance of a normal sample's median over the population's, and `t` has
/// `0.3675 (n - 1)` degrees of freedom (1 at least), for the MAD knows as little of the
/// scale. When more than half of the samples are equal the MAD is zero and the
/// standard deviation stands in, with `n - 1` degrees. [`Method::Degenerate`]
/// when all are equal.
///
/// Measured share of next observations inside a nominal 95 % interval, in per
/// cent (20,000 trials each, ± 0.3; ignored test `coverage_of_predictions`):
///
/// | n | normal | lognormal σ ½ | heavy-tailed |
/// |---|---|---|---|
/// | 4 | 99.2 | 98.7 | 97.0 |
/// | 5 | 97.4 | 96.4 | 93.5 |
/// | 7 | 97.0 | 95.1 | 90.5 |
/// | 10 | 96.7 | 94.0 | 88.2 |
/// | 20 | 95.8 | 92.5 | 84.3 |
/// | 30 | 95.5 | 92.1 | 83.4 |
/// | 39 | 94.9 | 94.9 | 94.9 |
/// | 100 | 96.0 | 96.0 | 96.0 |
///
/// So below 39 samples a gate on noise with heavy tails (sinh(1.5 z) of a normal z
/// here) is crossed three times as often as promised: there, have more history.
///
/// # Errors
/// [`StatsError::TooFew`] below 4 samples; [`StatsError::Empty`],
/// [`StatsError::NotFinite`], [`StatsError::BadConfidence`];
/// [`StatsError::StatisticNotFinite`] on overflow.
///
/// ```
/// use harness_stats::{Method, prediction_interval};
///
/// let nights = [101.0, 99.0, 100.0, 102.0, 98.0, 100.5, 99.5, 100.0];
/// let next = prediction_interval(&nights, 0.95)?;
/// assert_eq!((next.value, next.method), (100.0, Method::StudentT));
/// assert!(next.interval.high < 110.0);
/// # Ok::<(), harness_stats::StatsError>(())
/// ```
pub fn prediction_interval(samples: &[f64], confidence: f64) -> Result<Estimate, StatsError> {
    let allowed = error_rate(confidence)?;
    check_finite(samples)?;
    let n = samples.len();
    if n < MIN_SAMPLES {
        return Err(StatsError::TooFew {
            n,
            needed: MIN_SAMPLES,
        });
    }
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    let value = interpolated(&sorted, 0.5);
    let k = (allowed * (1.0 + ROUNDING) * (n + 1) as f64 / 2.0) as usize;
    let (low, high, method) = if k > 0 {
        (sorted[k - 1], sorted[n - k], Method::OrderStatistic)
    } else {
        let half = finite(half_width(&sorted, tail(confidence)?)?)?;
        (value - half, value + half, Method::StudentT)
    };
    Ok(Estimate {
        value,
        interval: Interval {
            low,
            high,
            confidence,
        },
        method: if low == high {
            Method::Degenerate
        } else {
            method
        },
    })
}

fn half_width(sorted: &[f64], tail: f64) -> Result<f64, StatsError> {
    let n = sorted.len() as f64;
    let mad = scaled_mad(sorted)?;
    let (scale, freedom) = if mad > 0.0 {
        let freedom = (MAD_EFFICIENCY * (n - 1.0)).max(1.0);
        (mad * mad_correction(sorted.len()), freedom)
    } else {
        (sample_std(sorted)?, n - 1.0)
    };
    let t = StudentsT::new(0.0, 1.0, freedom)
        .map_err(|_| StatsError::StatisticNotFinite)?
        .inverse_cdf(1.0 - tail);
    Ok(t * scale * (1.0 + std::f64::consts::PI / (2.0 * n)).sqrt())
}

/// What makes the scaled MAD of `n` normal samples unbiased: Croux and Rousseeuw's `bₙ`.
fn mad_correction(n: usize) -> f64 {
    match n {
        4 => 1.363,
        5 => 1.206,
        6 => 1.200,
        7 => 1.140,
        8 => 1.129,
        9 => 1.107,
        _ => n as f64 / (n as f64 - 0.8),
    }
}

#[cfg(test)]
#[path = "prediction_tests.rs"]
mod tests;
