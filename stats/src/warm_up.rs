use crate::energy::Scan;
use crate::error::{StatsError, check_finite};
use crate::permutation::{PermutationOptions, Permutations};

/// The fewest times in which a transient is looked for.
const MIN_SAMPLES: usize = 20;

/// Whether and where a series of times becomes stationary; see [`warm_up`].
///
/// ```
/// assert_ne!(harness_stats::WarmUp::Settled { at: 0 }, harness_stats::WarmUp::NeverSettled);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WarmUp {
    /// From this index on no transient can be seen. Zero: none at all.
    Settled {
        /// Number of samples to leave out at the start.
        at: usize,
    },
    /// The series still changes in its second half: it shows no steady state.
    NeverSettled,
}

/// The end of the warm-up in a series of times, in the order they were measured.
///
/// Tests whether some head of the series, half of it at most, differs in distribution from the
/// rest: the greatest energy distance between the ranks of head and rest over all heads, held
/// against the same greatest distance in permutations of the series, so that p
/// accounts for the choice. A significant head is dropped and the rest tested again, until
/// nothing is found (settled there) or more than half of the series is gone (never settled).
/// Warm-up in either direction is found: caches make things faster, heat makes them slower.
///
/// In a stationary series of independent times a warm-up is reported with probability
/// `alpha` at most. That is why it is not MSER-5 (K. P. White, Simulation 69, 1997): it
/// minimises the standard error of the rest, which has no false-alarm rate, and cut noise in
/// 38 % of our trials (test `mser_cuts_noise`); nor the tests of L. W. Schruben (Operations Research 30, 1982) or
/// Geweke, whose normal theory a single stall of a heavy-tailed latency upsets. Kept of
/// MSER is the rule that a truncation beyond one half is a failure. The scan is the one of
/// [`e_divisive`](crate::e_divisive); E. Barrett et al. ("Virtual Machine Warmup Blows Hot and
/// Cold", OOPSLA 2017) classify warm-up by change points too.
///
/// A single cold first run is indistinguishable from an outlier in noise that has
/// outliers: always discard one run unseen. In 100 independent times three cold ones
/// are found. When neighbours depend on each other set [`PermutationOptions::block`].
///
/// # Errors
/// [`StatsError::TooFew`] below 20 times; [`StatsError::Empty`], [`StatsError::NotFinite`];
/// [`StatsError::BadAlpha`], [`StatsError::TooFewResamples`], [`StatsError::NoBlock`].
///
/// ```
/// use harness_stats::{PermutationOptions, WarmUp, warm_up};
///
/// let noise = |i: u32| f64::from(i * 37 % 101) / 101.0;
/// let times: Vec<f64> = (0..100)
///     .map(|i| 10.0 + noise(i) + if i < 8 { 5.0 } else { 0.0 })
///     .collect();
/// let options = PermutationOptions::default();
/// assert!(matches!(warm_up(&times, options)?, WarmUp::Settled { at: 8..=9 }));
/// # Ok::<(), harness_stats::StatsError>(())
/// ```
pub fn warm_up(times: &[f64], options: PermutationOptions) -> Result<WarmUp, StatsError> {
    options.check()?;
    check_finite(times)?;
    let n = times.len();
    if n < MIN_SAMPLES {
        return Err(StatsError::TooFew {
            n,
            needed: MIN_SAMPLES,
        });
    }
    let mut permutations = Permutations::new(options);
    let mut shuffled = Vec::new();
    let mut at = 0;
    while at <= n / 2 {
        let rest = &times[at..];
        let heads = 1..=rest.len() / 2;
        let mut scan = Scan::new(rest);
        let series = std::mem::take(&mut scan.series);
        let Some(found) = scan.best(&series, heads.clone()) else {
            break;
        };
        let p = permutations.p_value(found.energy, |shuffle| {
            shuffle.fill(&mut shuffled, &series);
            let best = scan.best(&shuffled, heads.clone());
            best.map_or(0.0, |split| split.energy)
        });
        if p > options.alpha {
            return Ok(WarmUp::Settled { at });
        }
        at += found.at;
    }
    Ok(WarmUp::NeverSettled)
}

#[cfg(test)]
#[path = "warm_up_tests.rs"]
mod tests;
