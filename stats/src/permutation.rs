use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::error::{StatsError, check_alpha};

/// How a permutation test decides, and from which seed it shuffles.
///
/// ```
/// use harness_stats::PermutationOptions;
///
/// let options = PermutationOptions { alpha: 0.01, ..PermutationOptions::default() };
/// assert_eq!((options.permutations, options.block, options.seed), (999, 1, 0));
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PermutationOptions {
    /// The significance level: the promised share of false alarms.
    pub alpha: f64,
    /// Number of permutations; at least `1/alpha - 1`, or no p-value could be significant.
    pub permutations: usize,
    /// Samples that are moved together. 1 when samples are independent. When
    /// neighbours depend on each other: several times as many as the dependence
    /// lasts, and a small part of the series.
    pub block: usize,
    /// Seed of the ChaCha8 stream that shuffles.
    pub seed: u64,
}

impl Default for PermutationOptions {
    /// 5 %, 999 permutations of single samples, seed 0.
    fn default() -> Self {
        Self {
            alpha: 0.05,
            permutations: 999,
            block: 1,
            seed: 0,
        }
    }
}

impl PermutationOptions {
    pub(crate) fn check(&self) -> Result<(), StatsError> {
        check_alpha(self.alpha)?;
        if self.block == 0 {
            return Err(StatsError::NoBlock);
        }
        // Rounded down by a hair, for 1 / 0.05 may be a little over 20.
        let needed = (1.0 / self.alpha * (1.0 - 1e-9)).ceil() as usize - 1;
        if self.permutations < needed {
            return Err(StatsError::TooFewResamples {
                resamples: self.permutations,
                needed,
            });
        }
        Ok(())
    }
}

/// A seeded stream of permutations and the p-values counted from them.
pub(crate) struct Permutations {
    options: PermutationOptions,
    stream: ChaCha8Rng,
}

impl Permutations {
    /// The options must have been checked.
    pub(crate) fn new(options: PermutationOptions) -> Self {
        Self {
            stream: ChaCha8Rng::seed_from_u64(options.seed),
            options,
        }
    }

    /// `(b + 1) / (m + 1)` where `b` of `m` permutations gave a statistic as large as
    /// `observed`; `permuted` computes one, given the shuffler.
    ///
    /// Stops as soon as `b` has reached `alpha (m + 1)`, when no outcome of the rest could be
    /// significant, with `b / l` after `l` permutations: still a valid p-value
    /// (J. Besag, P. Clifford, "Sequential Monte Carlo p-values", Biometrika 78, 1991).
    pub(crate) fn p_value(
        &mut self,
        observed: f64,
        mut permuted: impl FnMut(&mut Shuffle<'_>) -> f64,
    ) -> f64 {
        let planned = self.options.permutations;
        let hopeless = (self.options.alpha * (planned + 1) as f64).floor() as usize + 1;
        let mut as_large = 0;
        for done in 1..=planned {
            let mut shuffle = Shuffle {
                block: self.options.block,
                stream: &mut self.stream,
            };
            if permuted(&mut shuffle) >= observed {
                as_large += 1;
                if as_large == hopeless {
                    return as_large as f64 / done as f64;
                }
            }
        }
        (as_large + 1) as f64 / (planned + 1) as f64
    }
}

/// Shuffles blocks of neighbours.
pub(crate) struct Shuffle<'a> {
    block: usize,
    stream: &'a mut ChaCha8Rng,
}

impl Shuffle<'_> {
    /// `from` in a random order of its blocks; the last one may be shorter than the rest.
    pub(crate) fn fill(&mut self, to: &mut Vec<u32>, from: &[u32]) {
        to.clear();
        if self.block == 1 {
            to.extend_from_slice(from);
            for last in (1..to.len()).rev() {
                to.swap(last, self.below(last + 1));
            }
            return;
        }
        let mut blocks: Vec<&[u32]> = from.chunks(self.block).collect();
        for last in (1..blocks.len()).rev() {
            blocks.swap(last, self.below(last + 1));
        }
        for block in blocks {
            to.extend_from_slice(block);
        }
    }

    /// A uniform index, the same on every platform.
    pub(crate) fn below(&mut self, n: usize) -> usize {
        self.stream.random_range(0..n as u64) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_stay_together() {
        let mut permutations = Permutations::new(PermutationOptions {
            block: 3,
            ..PermutationOptions::default()
        });
        let from: Vec<u32> = (0..10).collect();
        let mut seen_moved = false;
        permutations.p_value(f64::INFINITY, |shuffle| {
            let mut to = Vec::new();
            shuffle.fill(&mut to, &from);
            seen_moved |= to != from;
            for start in [0, 3, 6] {
                let at = to.iter().position(|&x| x == start).unwrap();
                assert_eq!(to[at..at + 3], [start, start + 1, start + 2]);
            }
            to.sort_unstable();
            assert_eq!(to, from);
            0.0
        });
        assert!(seen_moved);
    }

    #[test]
    fn p_values_are_never_zero_and_stop_early() {
        let options = PermutationOptions {
            permutations: 99,
            ..PermutationOptions::default()
        };
        let mut permutations = Permutations::new(options);
        assert_eq!(permutations.p_value(1.0, |_| 0.0), 0.01);
        let mut calls = 0;
        let p = permutations.p_value(1.0, |_| {
            calls += 1;
            1.0
        });
        // Six of 100 would be over 5 %.
        assert_eq!((p, calls), (1.0, 6));
    }

    #[test]
    fn bad_options_are_errors() {
        let options = PermutationOptions::default();
        let check = |options: PermutationOptions| options.check();
        assert_eq!(check(options), Ok(()));
        let few = PermutationOptions {
            permutations: 18,
            ..options
        };
        assert_eq!(
            check(few),
            Err(StatsError::TooFewResamples {
                resamples: 18,
                needed: 19
            })
        );
        assert_eq!(
            check(PermutationOptions {
                block: 0,
                ..options
            }),
            Err(StatsError::NoBlock)
        );
        let alpha = 1.0;
        assert_eq!(
            check(PermutationOptions { alpha, ..options }),
            Err(StatsError::BadAlpha { alpha })
        );
    }
}
