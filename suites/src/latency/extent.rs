//! How long a series of samples goes on.

use stats::{Interval, median, quantile_interval};

use super::clock::Clock;

/// Confidence of every interval of the suite.
pub(super) const CONFIDENCE: f64 = 0.95;

/// When a series is long enough.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Extent {
    /// It goes on at least so long.
    pub(super) least_ns: u64,
    /// It goes on no longer, whatever is missing.
    pub(super) most_ns: u64,
    /// Half the width of the median's interval over the median, to be reached.
    pub(super) target: f64,
}

/// Watches over one series.
pub(super) struct Watch<'a> {
    clock: &'a dyn Clock,
    extent: Extent,
    begun_ns: u64,
    /// Length of the series from which its interval is looked at again: at every
    /// length, sorting would come to cost more than measuring.
    look_at: usize,
}

impl<'a> Watch<'a> {
    pub(super) fn new(clock: &'a dyn Clock, extent: Extent) -> Self {
        Self {
            clock,
            extent,
            begun_ns: clock.now_ns(),
            look_at: 1,
        }
    }

    /// How long it has been watching.
    pub(super) fn elapsed_ns(&self) -> u64 {
        self.clock.now_ns() - self.begun_ns
    }

    /// Whether `series`, one figure a repetition, has to go on; `enough` says whether
    /// it has the samples that were asked for.
    pub(super) fn goes_on(&mut self, series: &[f64], enough: bool) -> bool {
        let elapsed_ns = self.elapsed_ns();
        if series.is_empty() {
            return true;
        }
        if elapsed_ns >= self.extent.most_ns {
            return false;
        }
        if elapsed_ns < self.extent.least_ns || !enough || series.len() < self.look_at {
            return true;
        }
        self.look_at = series.len() + series.len() / 8 + 1;
        // Where the warm-up ends is tested once, when all is measured; until then the
        // second half stands for the steady part.
        let width = relative_half_width(&sorted(&series[series.len() / 2..]));
        width.is_none_or(|width| width > self.extent.target)
    }
}

pub(super) fn sorted(values: &[f64]) -> Vec<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted
}

/// Half the width of the median's interval over the median; `None` where there is no
/// such interval.
pub(super) fn relative_half_width(sorted: &[f64]) -> Option<f64> {
    let Interval { low, high, .. } = quantile_interval(sorted, 0.5, CONFIDENCE).ok()?;
    Some((high - low) / 2.0 / median(sorted).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::latency::fake::FakeClock;

    const EXTENT: Extent = Extent {
        least_ns: 1_000,
        most_ns: 10_000,
        target: 0.01,
    };

    /// Repetitions of 100 ns until the watch ends them.
    fn repetitions(figure: impl Fn(usize) -> f64, enough: impl Fn(usize) -> bool) -> usize {
        let clock = FakeClock::default();
        let mut watch = Watch::new(&clock, EXTENT);
        let mut series = Vec::new();
        while watch.goes_on(&series, enough(series.len())) {
            series.push(figure(series.len()));
            clock.advance(100);
        }
        series.len()
    }

    #[test]
    fn a_quiet_series_ends_after_the_least_time() {
        let n = repetitions(|_| 5.0, |_| true);
        assert!((10..=14).contains(&n), "{n}");
    }

    #[test]
    fn a_noisy_series_ends_at_the_cap() {
        assert_eq!(repetitions(|i| (1 + i % 2) as f64, |_| true), 100);
    }

    #[test]
    fn a_series_goes_on_until_it_has_its_samples() {
        let n = repetitions(|_| 5.0, |n| n >= 40);
        assert!((40..=50).contains(&n), "{n}");
    }
}
