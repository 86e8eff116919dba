//! Percentiles, confidence intervals, comparisons and change points for benchmark samples.
//!
//! Which interval for which number:
//!
//! | number | samples | interval |
//! |---|---|---|
//! | a quantile (median, p99, …) | independent | [`quantile_interval`], [`quantile_upper_bound`]: exact, no assumption about the distribution |
//! | a mean | independent | [`mean_interval`]: Student t |
//! | any other statistic | independent | [`bootstrap_interval`]: BCa bootstrap |
//! | a mean per token over contexts (NLL, KL, agreement) | dependent within a block | [`ratio_interval`]: Student t over the blocks, BCa block bootstrap when there are many |
//! | a share of successes | independent | [`wilson_interval`] |
//! | a slope (a leak, a drift) | independent about the line | [`theil_sen`] |
//! | the next observation | exchangeable | [`prediction_interval`] |
//!
//! Which test for which question:
//!
//! | question | function |
//! |---|---|
//! | are two samples different, and by how much? | [`mann_whitney`], [`hodges_lehmann`]; if not, what would have shown: [`detectable_shift`] |
//! | the same for pairs of runs made in turn, and many figures of them? | [`sign_flips`], [`paired_shift`] |
//! | does a mean over dependent samples differ from zero (differences on the same tokens)? | [`ratio_test`] |
//! | is one of two engines right more often, on the same questions? | [`mcnemar`] |
//! | which of many tests are significant together? | [`holm`] (no false alarm), [`benjamini_hochberg`] (few) |
//! | do enough queries meet a latency limit? | [`min_queries`], [`max_over_limit`] |
//! | which samples are outliers? | [`TukeyFences`] |
//! | where does the warm-up end? | [`warm_up`] |
//! | where does a history change? | [`pelt`]; [`e_divisive`] where false alarms must be bounded strictly; since when is it stable: [`last_segment`] |
//! | is a new run, of many figures, like those before? | [`next_run`] |
//!
//! Every function is pure: no clock, no thread, no global state. Bootstraps
//! and permutations are seeded: the same samples give the same resamples on every machine, and so the
//! same interval but for the last bits of a platform's `exp` and `ln`.
//! Samples may be in any unit; a result has the unit of its samples.
//! Probabilities, quantile levels and confidence levels are fractions (`0.99`,
//! never `99`). Nothing is silently dropped: a NaN or an infinite value is a
//! [`StatsError`], and so is a sample too small for the promise an interval makes.
//!
//! ```
//! use harness_stats::{median, percentile, quantile_interval};
//!
//! # fn main() -> Result<(), harness_stats::StatsError> {
//! let mut milliseconds = vec![12.0, 10.0, 11.0, 13.0, 10.5, 11.5, 30.0];
//! milliseconds.sort_by(f64::total_cmp);
//! assert_eq!(median(&milliseconds)?, 11.5);
//! assert_eq!(percentile(&milliseconds, 1.0)?, 30.0);
//! let interval = quantile_interval(&milliseconds, 0.5, 0.95)?;
//! assert_eq!((interval.low, interval.high), (10.0, 30.0));
//! # Ok(())
//! # }
//! ```

mod blocks;
mod bootstrap;
mod change_points;
mod energy;
mod error;
mod interval;
mod kendall;
mod mann_whitney;
mod multiplicity;
mod next_run;
mod order_statistic;
mod outliers;
mod paired_counts;
mod paired_shift;
mod percentile;
mod permutation;
mod prediction;
mod proportion;
mod ranks;
mod shift;
mod sign_flip;
mod slope;
mod summary;
mod validity;
mod warm_up;

pub use blocks::{BCA_FROM_BLOCKS, Block, RatioTest, ratio_interval, ratio_test};
pub use bootstrap::{BootstrapOptions, bootstrap_interval};
pub use change_points::{
    ChangePoint, ChangePointOptions, Direction, e_divisive, last_segment, level_change_p, pelt,
};
pub use error::StatsError;
pub use interval::{Estimate, Interval, Method};
pub use kendall::kendall_tau_b;
pub use mann_whitney::{Alternative, MannWhitney, mann_whitney};
pub use multiplicity::{benjamini_hochberg, holm};
pub use next_run::{Margin, NextBound, NextFigure, NextRun, min_runs_before, next_run};
pub use order_statistic::{
    min_samples_for_quantile, min_samples_for_quantile_interval, quantile_interval,
    quantile_upper_bound,
};
pub use outliers::{OutlierClass, OutlierCounts, TukeyFences};
pub use paired_counts::{McNemar, PairedCounts, mcnemar};
pub use paired_shift::paired_shift;
pub use percentile::{median, percentile};
pub use permutation::PermutationOptions;
pub use prediction::prediction_interval;
pub use proportion::wilson_interval;
pub use shift::{detectable_shift, hodges_lehmann};
pub use sign_flip::{SignFlip, sign_flips};
pub use slope::theil_sen;
pub use summary::{mean, mean_interval, sample_std, scaled_mad};
pub use validity::{max_over_limit, min_queries};
pub use warm_up::{WarmUp, warm_up};
