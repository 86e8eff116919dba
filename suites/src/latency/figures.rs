//! From durations to figures.

use std::fmt::Write;

use stats::{
    Interval, TukeyFences, median, min_samples_for_quantile_interval, percentile, quantile_interval,
};

use super::extent::CONFIDENCE;
use crate::{Better, Measurement};

const PERCENTILES: [(&str, f64); 5] = [
    ("p50", 0.5),
    ("p90", 0.9),
    ("p95", 0.95),
    ("p99", 0.99),
    ("p999", 0.999),
];

/// What is left of a duration where little interferes: other programs only ever add to it, so that
/// the lower quartile varies less from run to run than the median (docs, *Comparing builds*). Lower
/// percentiles vary less still, but need more samples for an interval: the tenth 36, this one 13.
const UNDISTURBED: (&str, f64) = ("p25", 0.25);

/// `{what}_p50_ns` to `{what}_p999_ns` and `{what}_max_ns` of ascending durations.
pub(super) fn percentiles(case: &str, what: &str, sorted_ns: &[f64]) -> Vec<Measurement> {
    let mut all: Vec<Measurement> = PERCENTILES
        .into_iter()
        .map(|level| quantile(case, what, level, sorted_ns))
        .collect();
    if let Some(&longest) = sorted_ns.last() {
        let n = sorted_ns.len();
        all.push(duration(case, format!("{what}_max_ns"), longest, n));
    }
    all
}

/// `{what}_p25_ns` of ascending durations: the time of the undisturbed.
pub(super) fn undisturbed(case: &str, what: &str, sorted_ns: &[f64]) -> Measurement {
    quantile(case, what, UNDISTURBED, sorted_ns)
}

/// A percentile with its order-statistic interval, or withheld where there are too few
/// durations for one.
fn quantile(case: &str, what: &str, (name, p): (&str, f64), sorted_ns: &[f64]) -> Measurement {
    let n = sorted_ns.len();
    let metric = format!("{what}_{name}_ns");
    let figure = percentile(sorted_ns, p)
        .and_then(|value| Ok((value, quantile_interval(sorted_ns, p, CONFIDENCE)?)));
    match figure {
        Ok((value, interval)) => Measurement {
            interval: Some(interval),
            ..duration(case, metric, value, n)
        },
        Err(_) => {
            let needed = min_samples_for_quantile_interval(p, CONFIDENCE).unwrap_or_default();
            let why = format!(
                "{n} samples are too few for the {} % percentile, which needs {needed}",
                100.0 * p
            );
            Measurement::withheld(case.to_owned(), metric, "ns", Better::Lower, n as u64, why)
        }
    }
}

/// The median of ascending durations, with its interval where there is one.
pub(super) fn middle(case: &str, metric: &str, sorted_ns: &[f64]) -> Measurement {
    let n = sorted_ns.len();
    match median(sorted_ns) {
        Ok(value) => Measurement {
            interval: quantile_interval(sorted_ns, 0.5, CONFIDENCE).ok(),
            ..duration(case, metric.to_owned(), value, n)
        },
        Err(why) => Measurement::withheld(
            case.to_owned(),
            metric.to_owned(),
            "ns",
            Better::Lower,
            n as u64,
            why.to_string(),
        ),
    }
}

/// `amount` a second, were each of the ascending durations the time for it: `amount`
/// over their median.
pub(super) fn rate(
    case: &str,
    metric: &str,
    unit: &'static str,
    amount: f64,
    sorted_ns: &[f64],
) -> Measurement {
    let time = middle(case, metric, sorted_ns);
    let per_second = |ns: f64| amount * 1e9 / ns;
    Measurement {
        unit: unit.into(),
        better: Better::Higher,
        value: per_second(time.value),
        interval: time.interval.map(|interval| Interval {
            low: per_second(interval.high),
            high: per_second(interval.low),
            ..interval
        }),
        ..time
    }
}

/// How many of ascending durations are outliers by Tukey's fences, by class. None is
/// left out of any figure.
pub(super) fn outliers(case: &str, what: &str, sorted_ns: &[f64]) -> Vec<Measurement> {
    let Ok(fences) = TukeyFences::new(sorted_ns) else {
        return Vec::new();
    };
    let counts = fences.count(sorted_ns);
    [
        ("low_severe", counts.low_severe),
        ("low_mild", counts.low_mild),
        ("high_mild", counts.high_mild),
        ("high_severe", counts.high_severe),
    ]
    .into_iter()
    .map(|(class, count)| {
        let metric = format!("{what}_outliers_{class}");
        let n = sorted_ns.len() as u64;
        let better = Better::Lower;
        Measurement::new(case.to_owned(), metric, "samples", better, count as f64, n).aside()
    })
    .collect()
}

/// A duration without interval.
pub(super) fn duration(case: &str, metric: String, ns: f64, n: usize) -> Measurement {
    Measurement::new(case.to_owned(), metric, "ns", Better::Lower, ns, n as u64)
}

/// Marks the figure called `metric` for tables that fit a terminal.
pub(super) fn headline(figures: &mut [Measurement], metric: &str) {
    for figure in figures {
        figure.headline |= figure.metric == metric;
    }
}

/// Whether a case has what makes a run valid: one, or zero with the reasons.
pub(super) fn validity(case: &str, shortfalls: &[String], n: usize) -> Measurement {
    let mut why = String::new();
    for shortfall in shortfalls {
        let separator = if why.is_empty() { "" } else { "; " };
        // Writing to a String cannot fail.
        let _ = write!(why, "{separator}{shortfall}");
    }
    let value = f64::from(u8::from(shortfalls.is_empty()));
    Measurement {
        why: (!why.is_empty()).then_some(why),
        ..Measurement::new(
            case.to_owned(),
            "valid",
            "0|1",
            Better::Higher,
            value,
            n as u64,
        )
        .aside()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ramp(n: u32) -> Vec<f64> {
        (1..=n).map(f64::from).collect()
    }

    #[test]
    fn percentiles_without_an_interval_are_withheld_with_the_reason() {
        let figures = percentiles("decode", "itl", &ramp(100));
        let of = |metric: &str| figures.iter().find(|f| f.metric == metric).unwrap();
        assert_eq!(of("itl_p50_ns").value, 50.5);
        assert_eq!(of("itl_p50_ns").interval.unwrap().low, 40.0);
        let p99 = of("itl_p99_ns");
        assert!(p99.value.is_nan() && p99.interval.is_none());
        assert_eq!(
            p99.why.as_deref(),
            Some("100 samples are too few for the 99 % percentile, which needs 368")
        );
        assert_eq!(of("itl_max_ns").value, 100.0);
        let quartile = |n| undisturbed("decode", "itl", &ramp(n));
        assert_eq!(quartile(13).value, 4.0);
        assert!(quartile(12).value.is_nan() && quartile(12).why.is_some());
        assert!(
            percentiles("decode", "itl", &[])
                .iter()
                .all(|figure| figure.value.is_nan() && figure.why.is_some())
        );
    }

    #[test]
    fn a_rate_is_the_inverse_of_the_median() {
        let figure = rate("decode", "tok_per_s", "tok/s", 2.0, &[1e9, 2e9, 4e9]);
        assert_eq!((figure.value, figure.interval), (1.0, None));
        let sorted: Vec<f64> = ramp(9).iter().map(|s| s * 1e9).collect();
        let interval = rate("decode", "tok_per_s", "tok/s", 2.0, &sorted)
            .interval
            .unwrap();
        assert_eq!((interval.low, interval.high), (2.0 / 8.0, 2.0 / 2.0));
    }
}
