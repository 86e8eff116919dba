use serde::{Deserialize, Serialize};

use crate::error::{StatsError, check_sorted, finite};
use crate::percentile::interpolated;

/// Tukey's fences: beyond an inner one a sample is a mild outlier, beyond an
/// outer one a severe one.
///
/// With quartiles `q₁`, `q₃` (as [`percentile`](crate::percentile) takes them) the inner
/// fences are `q₁ - 1.5 (q₃ - q₁)` and `q₃ + 1.5 (q₃ - q₁)`, the outer ones are
/// at 3 in place of 1.5. (J. W. Tukey, *Exploratory Data Analysis*, 1977, §2D; the classes are
/// those of the benchmark library criterion.) Of a normal population 0.7 % are
/// outliers, and latencies are not normal: an outlier is a thing to look at,
/// never one to drop.
///
/// ```
/// use harness_stats::{OutlierClass, TukeyFences};
///
/// let fences = TukeyFences::new(&[10.0, 11.0, 12.0, 13.0, 14.0])?;
/// assert_eq!((fences.high_mild, fences.high_severe), (16.0, 19.0));
/// assert_eq!(fences.class(17.0), OutlierClass::HighMild);
/// # Ok::<(), harness_stats::StatsError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct TukeyFences {
    /// Samples below are [`OutlierClass::LowSevere`].
    pub low_severe: f64,
    /// Samples below are [`OutlierClass::LowMild`] at least.
    pub low_mild: f64,
    /// Samples above are [`OutlierClass::HighMild`] at least.
    pub high_mild: f64,
    /// Samples above are [`OutlierClass::HighSevere`].
    pub high_severe: f64,
}

/// Where a sample stands to [`TukeyFences`].
///
/// ```
/// assert!(harness_stats::OutlierClass::LowSevere < harness_stats::OutlierClass::Inside);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OutlierClass {
    /// Below the outer fence.
    LowSevere,
    /// Below the inner fence.
    LowMild,
    /// No outlier.
    Inside,
    /// Above the inner fence.
    HighMild,
    /// Above the outer fence.
    HighSevere,
}

/// How many samples are of each [`OutlierClass`].
///
/// ```
/// use harness_stats::TukeyFences;
///
/// let samples = [1.0, 2.0, 3.0, 4.0, 100.0];
/// let counts = TukeyFences::new(&samples)?.count(&samples);
/// assert_eq!((counts.high_severe, counts.total()), (1, 1));
/// # Ok::<(), harness_stats::StatsError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct OutlierCounts {
    /// Below the outer fence.
    pub low_severe: usize,
    /// Between the lower fences.
    pub low_mild: usize,
    /// Between the upper fences.
    pub high_mild: usize,
    /// Above the outer fence.
    pub high_severe: usize,
}

impl OutlierCounts {
    /// All outliers.
    pub fn total(&self) -> usize {
        self.low_severe + self.low_mild + self.high_mild + self.high_severe
    }
}

impl TukeyFences {
    /// The fences of ascending samples.
    ///
    /// # Errors
    /// [`StatsError::Empty`], [`StatsError::NotFinite`], [`StatsError::NotSorted`];
    /// [`StatsError::StatisticNotFinite`] when a fence overflows.
    ///
    /// ```
    /// let fences = harness_stats::TukeyFences::new(&[1.0; 9])?;
    /// assert_eq!((fences.low_severe, fences.high_severe), (1.0, 1.0));
    /// # Ok::<(), harness_stats::StatsError>(())
    /// ```
    pub fn new(sorted: &[f64]) -> Result<Self, StatsError> {
        check_sorted(sorted)?;
        let (q1, q3) = (interpolated(sorted, 0.25), interpolated(sorted, 0.75));
        let range = q3 - q1;
        Ok(Self {
            low_severe: finite(q1 - 3.0 * range)?,
            low_mild: finite(q1 - 1.5 * range)?,
            high_mild: finite(q3 + 1.5 * range)?,
            high_severe: finite(q3 + 3.0 * range)?,
        })
    }

    /// The class of one sample.
    ///
    /// ```
    /// use harness_stats::{OutlierClass, TukeyFences};
    ///
    /// let fences = TukeyFences::new(&[0.0, 1.0, 2.0])?;
    /// assert_eq!(fences.class(1.5), OutlierClass::Inside);
    /// # Ok::<(), harness_stats::StatsError>(())
    /// ```
    pub fn class(&self, sample: f64) -> OutlierClass {
        if sample < self.low_severe {
            OutlierClass::LowSevere
        } else if sample < self.low_mild {
            OutlierClass::LowMild
        } else if sample > self.high_severe {
            OutlierClass::HighSevere
        } else if sample > self.high_mild {
            OutlierClass::HighMild
        } else {
            OutlierClass::Inside
        }
    }

    /// Counts the outliers among samples.
    ///
    /// ```
    /// let fences = harness_stats::TukeyFences::new(&[0.0, 1.0, 2.0])?;
    /// assert_eq!(fences.count(&[-9.0, 1.0, 9.0]).total(), 2);
    /// # Ok::<(), harness_stats::StatsError>(())
    /// ```
    pub fn count(&self, samples: &[f64]) -> OutlierCounts {
        let mut counts = OutlierCounts::default();
        for &sample in samples {
            match self.class(sample) {
                OutlierClass::LowSevere => counts.low_severe += 1,
                OutlierClass::LowMild => counts.low_mild += 1,
                OutlierClass::Inside => {}
                OutlierClass::HighMild => counts.high_mild += 1,
                OutlierClass::HighSevere => counts.high_severe += 1,
            }
        }
        counts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_class_is_counted() {
        // Quartiles 25 and 75: fences at -125, -50, 150 and 225.
        let ramp: Vec<f64> = (0..=100).map(f64::from).collect();
        let fences = TukeyFences::new(&ramp).unwrap();
        let counts = fences.count(&[-126.0, -125.0, -50.0, 50.0, 150.0, 151.0, 225.0, 226.0]);
        let expected = OutlierCounts {
            low_severe: 1,
            low_mild: 1,
            high_mild: 2,
            high_severe: 1,
        };
        assert_eq!(counts, expected);
    }

    #[test]
    fn overflowing_fences_are_an_error() {
        assert_eq!(
            TukeyFences::new(&[-f64::MAX, f64::MAX]),
            Err(StatsError::StatisticNotFinite)
        );
    }
}
