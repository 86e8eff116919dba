use thiserror::Error;

/// Why a statistic or an interval cannot be given.
///
/// ```
/// use harness_stats::{StatsError, mean};
///
/// assert_eq!(mean(&[]), Err(StatsError::Empty));
/// assert_eq!(mean(&[1.0, f64::NAN]), Err(StatsError::NotFinite { index: 1 }));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Error)]
#[non_exhaustive]
pub enum StatsError {
    /// There are no samples at all.
    #[error("the sample is empty")]
    Empty,
    /// A sample is NaN or infinite.
    #[error("sample {index} is NaN or infinite")]
    NotFinite {
        /// Position of the first offending sample (or block).
        index: usize,
    },
    /// The function needs ascending samples.
    #[error("sample {index} is smaller than the one before it; sort the samples first")]
    NotSorted {
        /// Position of the first sample that is smaller than its predecessor.
        index: usize,
    },
    /// The confidence level is not inside (0, 1).
    #[error("confidence must be between 0 and 1 (exclusive), not {confidence}")]
    BadConfidence {
        /// The level asked for.
        confidence: f64,
    },
    /// The quantile level is out of range.
    #[error("a quantile level is a fraction between 0 and 1, not {p}")]
    BadProbability {
        /// The level asked for.
        p: f64,
    },
    /// The sample is too small for what was asked.
    #[error("{n} samples are too few; {needed} are needed")]
    TooFew {
        /// Samples (or blocks) given.
        n: usize,
        /// The fewest that would do.
        needed: usize,
    },
    /// The bootstrap or permutation test has too few resamples to resolve its tails.
    #[error("{resamples} resamples are too few for this level; {needed} are needed")]
    TooFewResamples {
        /// Resamples asked for.
        resamples: usize,
        /// The fewest that would do.
        needed: usize,
    },
    /// A block's denominator is not a positive finite number.
    #[error("the denominator of block {index} is not a positive finite number")]
    BadDenominator {
        /// Position of the first offending block.
        index: usize,
    },
    /// More successes than trials.
    #[error("{successes} successes in {trials} trials")]
    BadCount {
        /// Successes given.
        successes: u64,
        /// Trials given.
        trials: u64,
    },
    /// Something is no p-value.
    #[error("p-value {index} must be between 0 and 1, not {p}")]
    BadPValue {
        /// Position of the first offending value.
        index: usize,
        /// The value.
        p: f64,
    },
    /// The significance level is not inside (0, 1).
    #[error("a significance level is a fraction between 0 and 1 (exclusive), not {alpha}")]
    BadAlpha {
        /// The level asked for.
        alpha: f64,
    },
    /// Paired samples are not in pairs.
    #[error("{left} samples cannot be paired with {right}")]
    LengthMismatch {
        /// Samples on one side.
        left: usize,
        /// Samples on the other side.
        right: usize,
    },
    /// All abscissas are equal, so that no line has a slope.
    #[error("all x are equal; a slope needs two that differ")]
    NoSpread,
    /// A block of a permutation must hold a sample at least.
    #[error("a permutation moves blocks of one sample at least, not of none")]
    NoBlock,
    /// The statistic overflowed or is undefined on the sample or a resample of it.
    #[error("the statistic is not a finite number on the sample or one of its resamples")]
    StatisticNotFinite,
}

/// Half of `1 - confidence`: the error allowed in each tail.
pub(crate) fn tail(confidence: f64) -> Result<f64, StatsError> {
    Ok(error_rate(confidence)? / 2.0)
}

/// `1 - confidence`, for a confidence inside (0, 1).
pub(crate) fn error_rate(confidence: f64) -> Result<f64, StatsError> {
    if confidence > 0.0 && confidence < 1.0 {
        Ok(1.0 - confidence)
    } else {
        Err(StatsError::BadConfidence { confidence })
    }
}

/// A significance level inside (0, 1).
pub(crate) fn check_alpha(alpha: f64) -> Result<(), StatsError> {
    if alpha > 0.0 && alpha < 1.0 {
        Ok(())
    } else {
        Err(StatsError::BadAlpha { alpha })
    }
}

/// Non-empty and finite everywhere.
pub(crate) fn check_finite(samples: &[f64]) -> Result<(), StatsError> {
    if samples.is_empty() {
        return Err(StatsError::Empty);
    }
    match samples.iter().position(|x| !x.is_finite()) {
        Some(index) => Err(StatsError::NotFinite { index }),
        None => Ok(()),
    }
}

/// Non-empty, finite everywhere and ascending.
pub(crate) fn check_sorted(samples: &[f64]) -> Result<(), StatsError> {
    check_finite(samples)?;
    match samples.windows(2).position(|pair| pair[1] < pair[0]) {
        Some(before) => Err(StatsError::NotSorted { index: before + 1 }),
        None => Ok(()),
    }
}

/// A computed statistic, or the error that says it overflowed.
pub(crate) fn finite(statistic: f64) -> Result<f64, StatsError> {
    if statistic.is_finite() {
        Ok(statistic)
    } else {
        Err(StatsError::StatisticNotFinite)
    }
}
