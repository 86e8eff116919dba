use statrs::distribution::{ContinuousCDF, Normal};

use crate::error::{StatsError, tail};
use crate::interval::Interval;

/// Wilson's score interval for the share of successes in independent trials.
///
/// With `p̂ = successes / trials`, `n = trials` and `z = Φ⁻¹((1 + confidence) / 2)`:
/// `(p̂ + z²/2n ± z √(p̂(1 - p̂)/n + z²/4n²)) / (1 + z²/n)`.
/// It stays inside `[0, 1]` and has width even for no successes at all.
/// (E. B. Wilson, JASA 22, 1927; L. D. Brown, T. T. Cai, A. DasGupta, "Interval
/// Estimation for a Binomial Proportion", Statistical Science 16, 2001.)
///
/// Neighbouring tokens are not independent trials: for a share of tokens use
/// [`ratio_interval`](crate::ratio_interval) over contexts.
///
/// # Errors
/// [`StatsError::Empty`] without trials, [`StatsError::BadCount`] for more
/// successes than trials, [`StatsError::BadConfidence`].
///
/// ```
/// let interval = harness_stats::wilson_interval(0, 100, 0.95)?;
/// assert_eq!(interval.low, 0.0);
/// assert!((interval.high - 0.0370).abs() < 1e-4);
/// # Ok::<(), harness_stats::StatsError>(())
/// ```
pub fn wilson_interval(
    successes: u64,
    trials: u64,
    confidence: f64,
) -> Result<Interval, StatsError> {
    let tail = tail(confidence)?;
    if trials == 0 {
        return Err(StatsError::Empty);
    }
    if successes > trials {
        return Err(StatsError::BadCount { successes, trials });
    }
    let z = -Normal::standard().inverse_cdf(tail);
    let n = trials as f64;
    let share = successes as f64 / n;
    let shrink = 1.0 + z * z / n;
    let centre = (share + z * z / (2.0 * n)) / shrink;
    let half = z / shrink * (share * (1.0 - share) / n + z * z / (4.0 * n * n)).sqrt();
    // The formula's ends are exactly 0 and 1 here; rounding need not know.
    let low = if successes == 0 { 0.0 } else { centre - half };
    let high = if successes == trials {
        1.0
    } else {
        centre + half
    };
    Ok(Interval {
        low,
        high,
        confidence,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bad_input_is_an_error() {
        assert_eq!(wilson_interval(0, 0, 0.95), Err(StatsError::Empty));
        assert_eq!(
            wilson_interval(3, 2, 0.95),
            Err(StatsError::BadCount {
                successes: 3,
                trials: 2
            })
        );
        for confidence in [0.0, 1.0, 95.0, f64::NAN] {
            assert!(matches!(
                wilson_interval(1, 2, confidence),
                Err(StatsError::BadConfidence { .. })
            ));
        }
    }
}
