use serde::{Deserialize, Serialize};

/// A closed confidence interval, in the unit of the samples.
///
/// `confidence` is the level asked for (nominal): the share of such intervals,
/// over many repetitions of the experiment, that should contain the true value.
/// How near each method comes is documented with it.
///
/// ```
/// use harness_stats::wilson_interval;
///
/// let interval = wilson_interval(9, 10, 0.95)?;
/// assert!(interval.low < 0.9 && 0.9 < interval.high);
/// assert_eq!(interval.confidence, 0.95);
/// # Ok::<(), harness_stats::StatsError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
    /// Nominal two-sided confidence level, a fraction.
    pub confidence: f64,
}

/// How an [`Estimate`]'s interval was made.
///
/// ```
/// use harness_stats::{Method, mean_interval};
///
/// let estimate = mean_interval(&[8.0, 9.0, 11.0], 0.95)?;
/// assert_eq!(estimate.method, Method::StudentT);
/// // As records keep it.
/// assert_eq!(serde_json::to_string(&estimate.method).ok().as_deref(), Some("\"student_t\""));
/// # Ok::<(), harness_stats::StatsError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Method {
    /// Bias-corrected and accelerated bootstrap.
    Bca,
    /// Plain percentile bootstrap: the fallback where BCa's constants are undefined.
    Percentile,
    /// Student's t with the sample's standard error, or the delete-one-block
    /// jackknife's.
    StudentT,
    /// Order statistics: two of the samples, of their pairwise differences or of
    /// their pairwise slopes. No assumption about the distribution.
    OrderStatistic,
    /// Every resample gives the same value. The interval has no width, which
    /// says that this sample shows no variation, not that there is none: for
    /// "0 differences in n tokens" quote a [`wilson_interval`](crate::wilson_interval) too.
    Degenerate,
}

/// A statistic of a sample with its confidence interval.
///
/// ```
/// use harness_stats::{Block, BootstrapOptions, Method, ratio_interval};
///
/// let blocks = [Block { numerator: 2.0, denominator: 4.0 }; 3];
/// let estimate = ratio_interval(&blocks, BootstrapOptions::default())?;
/// assert_eq!((estimate.value, estimate.method), (0.5, Method::Degenerate));
/// # Ok::<(), harness_stats::StatsError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Estimate {
    /// The statistic of the sample as given.
    pub value: f64,
    /// Its confidence interval.
    pub interval: Interval,
    /// How the interval was made.
    pub method: Method,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn estimates_are_recorded_with_readable_names() {
        let estimate = Estimate {
            value: 0.1,
            interval: Interval {
                low: 0.0,
                high: 0.3,
                confidence: 0.95,
            },
            method: Method::StudentT,
        };
        let json = serde_json::to_string(&estimate).unwrap();
        assert_eq!(
            json,
            r#"{"value":0.1,"interval":{"low":0.0,"high":0.3,"confidence":0.95},"method":"student_t"}"#
        );
        assert_eq!(serde_json::from_str::<Estimate>(&json).unwrap(), estimate);
    }
}
