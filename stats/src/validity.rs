use statrs::distribution::DiscreteCDF;

use crate::error::{StatsError, error_rate};
use crate::order_statistic::{ROUNDING, binomial, check_level};

/// The fewest queries that show a latency target to hold at the `p`-quantile,
/// with `confidence`, when `over_limit` of them miss it.
///
/// Were the target missed by a share `1 - p` of all queries or more, at most
/// `over_limit` misses among `n` would be seen with probability
/// `P(B ≤ over_limit)`, `B ~ Bin(n, 1 - p)`, at most: the smallest `n` that brings
/// this to `1 - confidence`. It is MLPerf LoadGen's early-stopping rule: with
/// one miss allowed at 99 %, 64 queries for p90, 662 for p99, 6,636 for p99.9;
/// with none it is [`min_samples_for_quantile`](crate::min_samples_for_quantile).
/// (V. J. Reddi et al., "MLPerf Inference Benchmark", ISCA 2020, §IV; LoadGen's
/// `early_stopping.cc` solves the same equation through the incomplete beta
/// function.)
///
/// # Errors
/// [`StatsError::BadProbability`] for `p` outside `(0, 1)`, [`StatsError::BadConfidence`].
///
/// ```
/// use harness_stats::min_queries;
///
/// assert_eq!(min_queries(0.99, 0.99, 0)?, 459);
/// assert_eq!(min_queries(0.99, 0.99, 1)?, 662);
/// # Ok::<(), harness_stats::StatsError>(())
/// ```
pub fn min_queries(p: f64, confidence: f64, over_limit: u64) -> Result<u64, StatsError> {
    check_level(p)?;
    let allowed = error_rate(confidence)? * (1.0 + ROUNDING);
    let shown = |n: u64| -> Result<bool, StatsError> {
        Ok(binomial(n as usize, 1.0 - p)?.cdf(over_limit) <= allowed)
    };
    let mut high = over_limit + 1;
    while !shown(high)? {
        high = high.saturating_mul(2);
    }
    let mut low = over_limit + 1;
    while low < high {
        let middle = low + (high - low) / 2;
        if shown(middle)? {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    Ok(low)
}

/// How many of `queries` may miss a latency target that is still shown to hold
/// at the `p`-quantile with `confidence`; none where even no miss would not show it.
///
/// The inverse of [`min_queries`].
///
/// # Errors
/// As [`min_queries`].
///
/// ```
/// use harness_stats::max_over_limit;
///
/// assert_eq!(max_over_limit(661, 0.99, 0.99)?, Some(0));
/// assert_eq!(max_over_limit(662, 0.99, 0.99)?, Some(1));
/// assert_eq!(max_over_limit(458, 0.99, 0.99)?, None);
/// # Ok::<(), harness_stats::StatsError>(())
/// ```
pub fn max_over_limit(queries: u64, p: f64, confidence: f64) -> Result<Option<u64>, StatsError> {
    check_level(p)?;
    let allowed = error_rate(confidence)? * (1.0 + ROUNDING);
    let misses = binomial(queries as usize, 1.0 - p)?;
    // The count of `k` for which P(B ≤ k) is allowed; it grows with k.
    let (mut low, mut high) = (0, queries);
    while low < high {
        let middle = low + (high - low) / 2;
        if misses.cdf(middle) <= allowed {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    Ok(low.checked_sub(1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::min_samples_for_quantile;

    #[test]
    fn load_gens_numbers_come_out() {
        for (p, queries) in [(0.9, 64), (0.99, 662), (0.999, 6_636)] {
            assert_eq!(min_queries(p, 0.99, 1), Ok(queries), "{p}");
        }
    }

    #[test]
    fn without_misses_it_is_the_samples_of_a_quantile_bound() {
        for p in [0.5, 0.9, 0.95, 0.99, 0.999] {
            for confidence in [0.9, 0.95, 0.99] {
                let samples = min_samples_for_quantile(p, confidence).unwrap() as u64;
                assert_eq!(min_queries(p, confidence, 0), Ok(samples));
            }
        }
    }

    #[test]
    fn one_inverts_the_other() {
        for over_limit in [0, 1, 2, 10, 1_000] {
            let queries = min_queries(0.99, 0.99, over_limit).unwrap();
            assert_eq!(max_over_limit(queries, 0.99, 0.99), Ok(Some(over_limit)));
            let fewer = max_over_limit(queries - 1, 0.99, 0.99);
            assert_eq!(fewer, Ok(over_limit.checked_sub(1)));
        }
    }

    #[test]
    fn bad_levels_are_errors() {
        assert!(matches!(
            min_queries(1.0, 0.99, 1),
            Err(StatsError::BadProbability { .. })
        ));
        assert!(matches!(
            max_over_limit(10, 0.9, 1.0),
            Err(StatsError::BadConfidence { .. })
        ));
    }
}
