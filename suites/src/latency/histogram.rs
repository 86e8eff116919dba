//! HDR histograms, kept with the record.

use std::fmt::Write;
use std::fs;
use std::path::Path;

use hdrhistogram::Histogram;

use crate::SuiteError;

/// Decimal digits that a value keeps in the histogram.
const DIGITS: u8 = 3;

/// Halvings of the distance to the hundredth percentile between two rows.
const ROWS_PER_HALF: u32 = 5;

/// Writes the percentile distribution of durations to `path`, in nanoseconds, in the
/// text format of HdrHistogram's `outputPercentileDistribution`, which its plotters read.
///
/// # Errors
/// [`SuiteError::Scratch`].
pub(super) fn write(path: &Path, durations_ns: &[u64]) -> Result<(), SuiteError> {
    fs::write(path, text(&histogram(durations_ns)))
        .map_err(|source| SuiteError::Scratch(path.into(), source))
}

fn histogram(durations_ns: &[u64]) -> Histogram<u64> {
    let longest = durations_ns.iter().copied().max().unwrap_or(0).max(2);
    // Bounds are wrong only if the highest is below twice the lowest, or digits over five.
    let mut histogram = match Histogram::new_with_bounds(1, longest, DIGITS) {
        Ok(histogram) => histogram,
        Err(_) => unreachable!("1, at least 2, and 3 digits"),
    };
    for &ns in durations_ns {
        histogram.saturating_record(ns);
    }
    histogram
}

fn text(histogram: &Histogram<u64>) -> String {
    let mut text = format!(
        "{:>12} {:>14} {:>10} {:>14}\n\n",
        "Value", "Percentile", "TotalCount", "1/(1-Percentile)"
    );
    let mut total = 0;
    for step in histogram.iter_quantiles(ROWS_PER_HALF) {
        total += step.count_since_last_iteration();
        let (value, quantile) = (step.value_iterated_to(), step.quantile_iterated_to());
        let _ = write!(text, "{value:>12} {quantile:>14.12} {total:>10}");
        // The last row has no such figure.
        let _ = match quantile < 1.0 {
            true => writeln!(text, " {:>14.2}", 1.0 / (1.0 - quantile)),
            false => writeln!(text),
        };
    }
    let _ = writeln!(
        text,
        "#[Mean    = {:>12.3}, StdDeviation   = {:>12.3}]\n\
         #[Max     = {:>12}, Total count    = {:>12}]\n\
         #[Buckets = {:>12}, SubBuckets     = {:>12}]",
        histogram.mean(),
        histogram.stdev(),
        histogram.max(),
        histogram.len(),
        histogram.buckets(),
        SUB_BUCKETS,
    );
    text
}

/// The smallest power of two over `2 · 10^DIGITS`.
const SUB_BUCKETS: usize = (2 * 10_usize.pow(DIGITS as u32)).next_power_of_two();

#[cfg(test)]
mod tests {
    use super::*;
    use stats::percentile;

    #[test]
    fn the_histogram_agrees_with_the_samples_to_three_digits() {
        let mut ns: Vec<u64> = (0..20_000_u64)
            .map(|i| 100_000 + i * i % 7_919_003)
            .collect();
        ns.sort_unstable();
        let sorted: Vec<f64> = ns.iter().map(|&ns| ns as f64).collect();
        let histogram = histogram(&ns);
        for p in [0.5, 0.9, 0.99, 0.999] {
            let (coarse, exact) = (
                histogram.value_at_quantile(p) as f64,
                percentile(&sorted, p).unwrap(),
            );
            // Neighbouring samples differ too, by less than the histogram's digits.
            assert!((coarse / exact - 1.0).abs() < 2e-3, "{p}: {coarse} {exact}");
        }
    }

    #[test]
    fn the_text_ends_with_all_samples() {
        let text = text(&histogram(&[5, 10, 1_000_000]));
        let rows: Vec<&str> = text
            .lines()
            .skip(2)
            .filter(|line| !line.starts_with('#'))
            .collect();
        let last: Vec<&str> = rows.last().unwrap().split_whitespace().collect();
        assert_eq!(last[1..], ["1.000000000000", "3"]);
        assert!(text.contains("Total count    =            3"), "{text}");
        // Of nothing there is a histogram too.
        assert_eq!(histogram(&[]).len(), 0);
    }
}
