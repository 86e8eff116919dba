//! Where the warm-up of a series ends: the one place that asks `stats`.

use stats::{PermutationOptions, WarmUp, median};

/// The test looks at this many parts of the series at most, each the median of its
/// repetitions: its cost grows with their square, and neighbours depend less on each other.
const PARTS: usize = 100;

/// What was found at the start of a series.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Start {
    /// Repetitions to leave out.
    pub(super) repetitions: usize,
    /// Whether the rest is stationary; `None` if it is too short to tell.
    pub(super) settled: Option<bool>,
}

/// The warm-up of `series`, one figure a repetition, in order.
///
/// The first repetition is always left out, since one cold run cannot be told from an
/// outlier. The rest is tested by [`stats::warm_up`]: while a head of it differs in
/// distribution from what follows, it is left out too. A series that never settles
/// loses its first half.
pub(super) fn detect(series: &[f64]) -> Start {
    let Some((_, rest)) = series.split_first().filter(|(_, rest)| !rest.is_empty()) else {
        return Start {
            repetitions: 0,
            settled: None,
        };
    };
    let length = rest.len().div_ceil(PARTS);
    let parts: Vec<f64> = rest
        .chunks_exact(length)
        .filter_map(|part| {
            let mut part = part.to_vec();
            part.sort_by(f64::total_cmp);
            median(&part).ok()
        })
        .collect();
    match stats::warm_up(&parts, PermutationOptions::default()) {
        Ok(WarmUp::Settled { at }) => Start {
            repetitions: 1 + at * length,
            settled: Some(true),
        },
        Ok(WarmUp::NeverSettled) => Start {
            repetitions: series.len() / 2,
            settled: Some(false),
        },
        Err(_) => Start {
            repetitions: 1,
            settled: None,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Times that scatter by a tenth, without order.
    fn noise(i: usize) -> f64 {
        10.0 + (i * 37 % 101) as f64 / 101.0
    }

    #[test]
    fn slow_first_repetitions_are_left_out() {
        let series: Vec<f64> = (0..300)
            .map(|i| noise(i) + if i < 31 { 5.0 } else { 0.0 })
            .collect();
        // Parts of three: one repetition, then ten parts.
        let expected = Start {
            repetitions: 31,
            settled: Some(true),
        };
        assert_eq!(detect(&series), expected);
    }

    #[test]
    fn a_steady_series_loses_its_first_repetition_only() {
        let series: Vec<f64> = (0..150).map(noise).collect();
        let expected = Start {
            repetitions: 1,
            settled: Some(true),
        };
        assert_eq!(detect(&series), expected);
    }

    #[test]
    fn a_drifting_series_never_settles() {
        let series: Vec<f64> = (0..100).map(|i| noise(i) + i as f64).collect();
        assert_eq!(detect(&series).settled, Some(false));
    }

    #[test]
    fn short_series_are_left_open() {
        assert_eq!(detect(&[]).repetitions, 0);
        assert_eq!(detect(&[1.0]).repetitions, 0);
        assert_eq!(detect(&[9.0, 1.0]).repetitions, 1);
        assert_eq!(detect(&[1.0; 12]).settled, None);
    }
}
