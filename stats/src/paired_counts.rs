use serde::{Deserialize, Serialize};
use statrs::distribution::{Binomial, ContinuousCDF, Discrete, DiscreteCDF, Normal};

use crate::error::{StatsError, tail};
use crate::interval::Interval;

/// Right and wrong answers of two engines to the same questions.
///
/// ```
/// use harness_stats::PairedCounts;
///
/// let counts = PairedCounts::from_pairs([(true, true), (true, false), (true, false)]);
/// assert_eq!((counts.both, counts.first_only), (1, 2));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct PairedCounts {
    /// Both are right.
    pub both: u64,
    /// Only the first is right.
    pub first_only: u64,
    /// Only the second is right.
    pub second_only: u64,
    /// Neither is right.
    pub neither: u64,
}

impl PairedCounts {
    /// Counts `(first is right, second is right)`.
    ///
    /// ```
    /// let counts = harness_stats::PairedCounts::from_pairs([(false, true); 3]);
    /// assert_eq!(counts.second_only, 3);
    /// ```
    pub fn from_pairs(pairs: impl IntoIterator<Item = (bool, bool)>) -> Self {
        let mut counts = Self::default();
        for pair in pairs {
            *match pair {
                (true, true) => &mut counts.both,
                (true, false) => &mut counts.first_only,
                (false, true) => &mut counts.second_only,
                (false, false) => &mut counts.neither,
            } += 1;
        }
        counts
    }

    fn trials(&self) -> f64 {
        [self.both, self.first_only, self.second_only, self.neither]
            .map(|count| count as f64)
            .iter()
            .sum()
    }
}

/// What [`mcnemar`] found.
///
/// ```
/// use harness_stats::{PairedCounts, mcnemar};
///
/// let counts = PairedCounts { both: 90, first_only: 1, second_only: 9, neither: 0 };
/// let test = mcnemar(counts, 0.95)?;
/// assert_eq!(test.difference, 0.08);
/// assert!(test.mid_p < test.p && test.p < 0.05);
/// # Ok::<(), harness_stats::StatsError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct McNemar {
    /// The exact conditional two-sided p-value, in `(0, 1]`. Never above its level.
    pub p: f64,
    /// The mid-p-value: nearer its level where discordant pairs are few, which
    /// makes `p` timid; above it by a hair at times.
    pub mid_p: f64,
    /// The second's share of right answers less the first's.
    pub difference: f64,
    /// The difference's interval.
    pub interval: Interval,
}

/// McNemar's test of two shares of right answers to the same questions, and
/// their difference.
///
/// If neither is better, `b` of the `m = b + c` discordant pairs are the
/// first's with `b ~ Bin(m, ½)`: `p = min(1, 2 P(B ≤ min(b, c)))`, and
/// `mid-p = 2 P(B ≤ min(b, c)) - P(B = min(b, c))`. (Q. McNemar, Psychometrika 12,
/// 1947; M. W. Fagerland, S. Lydersen, P. Laake, BMC Medical Research Methodology
/// 13:91, 2013, who recommend the mid-p test.)
///
/// The interval is Bonett and Price's, with `p₁₂ = (b + 1)/(n + 2)`,
/// `p₂₁ = (c + 1)/(n + 2)` over all `n` pairs:
/// `p₂₁ - p₁₂ ± z √((p₁₂ + p₂₁ - (p₂₁ - p₁₂)²)/(n + 2))`, within `[-1, 1]`.
/// (D. G. Bonett, R. M. Price, Journal of Educational and Behavioral Statistics 37,
/// 2012; recommended by Fagerland et al., Statistics in Medicine 33, 2014.)
/// It has width even for no discordant pair.
///
/// # Errors
/// [`StatsError::Empty`] without pairs, [`StatsError::BadConfidence`].
///
/// ```
/// use harness_stats::{PairedCounts, mcnemar};
///
/// let counts = PairedCounts { first_only: 5, ..PairedCounts::default() };
/// // All five on one side: 2 / 2⁵.
/// assert!((mcnemar(counts, 0.95)?.p - 0.0625).abs() < 1e-15);
/// # Ok::<(), harness_stats::StatsError>(())
/// ```
pub fn mcnemar(counts: PairedCounts, confidence: f64) -> Result<McNemar, StatsError> {
    let z = -Normal::standard().inverse_cdf(tail(confidence)?);
    let n = counts.trials();
    if n == 0.0 {
        return Err(StatsError::Empty);
    }
    let (b, c) = (counts.first_only, counts.second_only);
    let fair = Binomial::new(0.5, b + c).map_err(|_| StatsError::BadProbability { p: 0.5 })?;
    let twice = 2.0 * fair.cdf(b.min(c));
    let (b, c) = (b as f64, c as f64);
    let (p12, p21) = ((b + 1.0) / (n + 2.0), (c + 1.0) / (n + 2.0));
    let centre = p21 - p12;
    let half = z * ((p12 + p21 - centre * centre) / (n + 2.0)).sqrt();
    Ok(McNemar {
        // Never zero, even where the binomial underflows.
        p: twice.clamp(f64::MIN_POSITIVE, 1.0),
        mid_p: (twice - fair.pmf(b.min(c) as u64)).clamp(f64::MIN_POSITIVE, 1.0),
        difference: (c - b) / n,
        interval: Interval {
            low: (centre - half).max(-1.0),
            high: (centre + half).min(1.0),
            confidence,
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_discordant_pair_is_no_evidence() {
        let counts = PairedCounts {
            both: 7,
            ..PairedCounts::default()
        };
        let test = mcnemar(counts, 0.95).unwrap();
        assert_eq!((test.p, test.mid_p, test.difference), (1.0, 1.0, 0.0));
        assert!(test.interval.low < 0.0 && 0.0 < test.interval.high);
    }

    #[test]
    fn no_pairs_are_an_error() {
        let counts = PairedCounts::default();
        assert_eq!(mcnemar(counts, 0.95), Err(StatsError::Empty));
        let counts = PairedCounts::from_pairs([(true, true)]);
        assert_eq!(
            mcnemar(counts, 1.0),
            Err(StatsError::BadConfidence { confidence: 1.0 })
        );
    }

    /// Over every outcome of 40 pairs, weighed by its probability: the interval
    /// is an approximation, and so may fall short of its level, but not far.
    /// Fagerland et al. (2014, figure 3) find no less than 93 % in most settings.
    #[test]
    fn the_interval_holds_the_difference() {
        let n = 40_u64;
        for (p12, p21) in [(0.02, 0.02), (0.05, 0.15), (0.2, 0.2), (0.1, 0.4)] {
            let mut held = 0.0;
            for b in 0..=n {
                let first = Binomial::new(p12, n).unwrap().pmf(b);
                for c in 0..=n - b {
                    let second = Binomial::new(p21 / (1.0 - p12), n - b).unwrap().pmf(c);
                    let counts = PairedCounts {
                        both: n - b - c,
                        first_only: b,
                        second_only: c,
                        neither: 0,
                    };
                    let Interval { low, high, .. } = mcnemar(counts, 0.95).unwrap().interval;
                    if low <= p21 - p12 && p21 - p12 <= high {
                        held += first * second;
                    }
                }
            }
            assert!(held > 0.93, "{p12} {p21}: {held}");
        }
    }
}
