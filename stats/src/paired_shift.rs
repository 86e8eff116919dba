use statrs::distribution::{ContinuousCDF, Normal};

use crate::error::{StatsError, check_finite, tail};
use crate::interval::{Estimate, Interval, Method};
use crate::order_statistic::ROUNDING;
use crate::percentile::interpolated;

/// Beyond so many differences the signed ranks' sum is taken as normal.
const EXACT: usize = 50;

/// The Hodges–Lehmann estimate of paired differences: the median of the means of all pairs of
/// them, each with itself included, with its distribution-free interval.
///
/// The interval is `[W₍ₖ₎, W₍ₘ₊₁₋ₖ₎]` of the `m = n(n + 1)/2` ordered means with the largest `k`
/// for which `P(T ≤ k - 1) ≤ (1 - confidence) / 2`, `T` being Wilcoxon's sum of signed ranks under no
/// difference: counted up to 50 differences, and normal with mean `m/2` and variance
/// `n(n + 1)(2n + 1)/24` beyond. Differences must be symmetric about the shift.
/// (M. Hollander, D. A. Wolfe, E. Chicken, *Nonparametric Statistical Methods*, 3rd ed., 2014,
/// §3.2–3.3.)
///
/// # Errors
/// [`StatsError::TooFew`] when even the range of the means promises less than `confidence`: at
/// 95 %, below 6 differences. [`StatsError::Empty`], [`StatsError::NotFinite`],
/// [`StatsError::BadConfidence`].
///
/// ```
/// let shift = harness_stats::paired_shift(&[1.0, 2.0, 3.0, 4.0, 5.0, 60.0], 0.95)?;
/// assert_eq!(shift.value, 3.5);
/// assert_eq!((shift.interval.low, shift.interval.high), (1.0, 60.0));
/// # Ok::<(), harness_stats::StatsError>(())
/// ```
pub fn paired_shift(differences: &[f64], confidence: f64) -> Result<Estimate, StatsError> {
    let allowed = tail(confidence)? * (1.0 + ROUNDING);
    check_finite(differences)?;
    let n = differences.len();
    let trim = trim(n, allowed);
    if trim == 0 {
        // The extreme sum has one chance in 2ⁿ.
        let needed = (1..).find(|&n| 0.5_f64.powi(n) <= allowed).unwrap_or(1);
        let needed = (needed as usize).max(n + 1);
        return Err(StatsError::TooFew { n, needed });
    }
    let mut means = Vec::with_capacity(n * (n + 1) / 2);
    for (i, a) in differences.iter().enumerate() {
        // Halved first, so that the sum cannot overflow.
        means.extend(differences[i..].iter().map(|b| a / 2.0 + b / 2.0));
    }
    means.sort_by(f64::total_cmp);
    Ok(Estimate {
        value: interpolated(&means, 0.5),
        interval: Interval {
            low: means[trim - 1],
            high: means[means.len() - trim],
            confidence,
        },
        method: Method::OrderStatistic,
    })
}

/// How many means, from either end, the interval's end is.
fn trim(n: usize, allowed: f64) -> usize {
    let sums = n * (n + 1) / 2;
    if n > EXACT {
        let n = n as f64;
        let deviation = (n * (n + 1.0) * (2.0 * n + 1.0) / 24.0).sqrt();
        let k = sums as f64 / 2.0 + 0.5 + Normal::standard().inverse_cdf(allowed) * deviation;
        return k.max(0.0) as usize;
    }
    // Probabilities of each sum of a random subset of the ranks 1 to n.
    let mut probabilities = vec![0.0; sums + 1];
    probabilities[0] = 1.0;
    for rank in 1..=n {
        for sum in (0..=sums).rev() {
            let with = if sum >= rank {
                probabilities[sum - rank]
            } else {
                0.0
            };
            probabilities[sum] = (probabilities[sum] + with) / 2.0;
        }
    }
    let mut below = 0.0;
    probabilities
        .iter()
        .take_while(|p| {
            below += **p;
            below <= allowed
        })
        .count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_interval_trims_as_wilcoxons_table_says() {
        // Hollander, Wolfe and Chicken, table A.4: P(T ≤ 8) = 0.0244 for n = 10, P(T ≤ 9) = 0.0322.
        assert_eq!(trim(10, 0.025), 9);
        assert_eq!(trim(6, 0.025), 1);
        assert_eq!(trim(5, 0.025), 0);
        // The normal approximation is good to a step.
        assert!(trim(50, 0.025).abs_diff(434) <= 1);
    }

    #[test]
    fn too_few_or_bad_differences_are_refused() {
        let few = paired_shift(&[1.0; 5], 0.95);
        assert_eq!(few, Err(StatsError::TooFew { n: 5, needed: 6 }));
        assert_eq!(paired_shift(&[], 0.95), Err(StatsError::Empty));
        assert!(paired_shift(&[f64::NAN; 9], 0.95).is_err());
    }

    #[test]
    fn a_long_series_takes_the_normal_approximation() {
        let differences: Vec<f64> = (0..101).map(|i| f64::from(i) - 40.0).collect();
        let shift = paired_shift(&differences, 0.95).unwrap();
        assert_eq!(shift.value, 10.0);
        assert!(shift.interval.low > 3.0 && shift.interval.high < 17.0);
    }
}
