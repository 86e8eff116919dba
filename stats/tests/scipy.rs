//! Against SciPy and NumPy: `scripts/oracles/stats_scipy.py` wrote the vectors.

// Clippy allows these in test functions, but not in their helpers.
#![allow(clippy::unwrap_used)]

use harness_stats::{
    Block, BootstrapOptions, Estimate, Interval, Method, StatsError, bootstrap_interval, mean,
    mean_interval, median, min_samples_for_quantile, min_samples_for_quantile_interval, percentile,
    quantile_interval, quantile_upper_bound, ratio_interval, sample_std, scaled_mad,
    wilson_interval,
};
use serde_json::Value;

fn vectors() -> Value {
    serde_json::from_str(include_str!("vectors/scipy.json")).unwrap()
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap()
}

fn whole(value: &Value) -> usize {
    usize::try_from(value.as_u64().unwrap()).unwrap()
}

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(number).collect()
}

fn cases<'a>(vectors: &'a Value, name: &str) -> &'a Vec<Value> {
    let cases = vectors[name].as_array().unwrap();
    assert!(!cases.is_empty(), "no {name}");
    cases
}

#[track_caller]
fn assert_close(ours: f64, theirs: f64, relative: f64, case: &Value) {
    let close = (ours - theirs).abs() <= relative * ours.abs().max(theirs.abs());
    assert!(close, "{ours} is not SciPy's {theirs} in {case}");
}

#[test]
fn summaries_and_percentiles() {
    for case in cases(&vectors(), "summaries") {
        let mut samples = numbers(&case["samples"]);
        samples.sort_by(f64::total_cmp);
        // Both add a few dozen numbers in different orders.
        let rounding = 1e-14;
        assert_close(
            mean(&samples).unwrap(),
            number(&case["mean"]),
            rounding,
            case,
        );
        match case["std"].as_f64() {
            Some(std) => assert_close(sample_std(&samples).unwrap(), std, rounding, case),
            None => assert_eq!(
                sample_std(&samples),
                Err(StatsError::TooFew { n: 1, needed: 2 })
            ),
        }
        let mad = scaled_mad(&samples).unwrap();
        assert_close(mad, number(&case["scaled_mad"]), rounding, case);
        for pair in case["percentiles"].as_array().unwrap() {
            let ours = percentile(&samples, number(&pair[0])).unwrap();
            assert_close(ours, number(&pair[1]), rounding, case);
        }
    }
}

#[test]
fn quantile_ranks() {
    for case in cases(&vectors(), "quantiles") {
        let n = whole(&case["n"]);
        let (p, confidence) = (number(&case["p"]), number(&case["confidence"]));
        let ranks: Vec<f64> = (1..=n).map(|rank| rank as f64).collect();
        let both = quantile_interval(&ranks, p, confidence).map(|i| (i.low, i.high));
        let upper = quantile_upper_bound(&ranks, p, confidence);
        match (case["low"].as_f64(), case["high"].as_f64()) {
            (Some(low), Some(high)) => assert_eq!(both, Ok((low, high)), "{case}"),
            _ => {
                let needed = min_samples_for_quantile_interval(p, confidence).unwrap();
                assert_eq!(both, Err(StatsError::TooFew { n, needed }), "{case}");
            }
        }
        match case["upper"].as_f64() {
            Some(rank) => assert_eq!(upper, Ok(rank), "{case}"),
            None => {
                let needed = min_samples_for_quantile(p, confidence).unwrap();
                assert_eq!(upper, Err(StatsError::TooFew { n, needed }), "{case}");
            }
        }
    }
}

#[test]
fn minimal_samples() {
    for case in cases(&vectors(), "min_samples") {
        let (p, confidence) = (number(&case["p"]), number(&case["confidence"]));
        let upper = min_samples_for_quantile(p, confidence);
        assert_eq!(upper, Ok(whole(&case["upper"])), "{case}");
        let both = min_samples_for_quantile_interval(p, confidence);
        assert_eq!(both, Ok(whole(&case["both"])), "{case}");
    }
}

#[test]
fn wilson() {
    for case in cases(&vectors(), "wilson") {
        let successes = case["successes"].as_u64().unwrap();
        let trials = case["trials"].as_u64().unwrap();
        let confidence = number(&case["confidence"]);
        let Interval { low, high, .. } = wilson_interval(successes, trials, confidence).unwrap();
        assert_close(low, number(&case["low"]), 1e-13, case);
        assert_close(high, number(&case["high"]), 1e-13, case);
    }
}

#[test]
fn student_t_of_means() {
    for case in cases(&vectors(), "mean_t") {
        let ours = mean_interval(&numbers(&case["samples"]), number(&case["confidence"])).unwrap();
        assert_eq!(ours.method, Method::StudentT, "{case}");
        let (low, high) = (number(&case["low"]), number(&case["high"]));
        // Relative to the width: the ends may be near zero.
        let slack = 1e-11 * (high - low);
        assert!((ours.interval.low - low).abs() <= slack, "{ours:?} {case}");
        assert!(
            (ours.interval.high - high).abs() <= slack,
            "{ours:?} {case}"
        );
    }
    assert_eq!(
        mean_interval(&[1.0], 0.95),
        Err(StatsError::TooFew { n: 1, needed: 2 })
    );
}

/// Whether a bootstrap's end is one more draw from the distribution of SciPy's:
/// the difference of one draw and the mean of `runs` has standard deviation
/// `sd √(1 + 1/runs)`, and |t| > 5 at 31 degrees of freedom has probability 2e-5.
fn tolerance(end: &Value, runs: f64) -> f64 {
    // Where the statistic takes few values, all runs may agree but for rounding.
    5.0 * number(&end[1]) * (1.0 + 1.0 / runs).sqrt() + 1e-12 * number(&end[0]).abs()
}

fn assert_bootstrapped(ours: Estimate, case: &Value, runs: f64) {
    assert_eq!(ours.method, Method::Bca, "{case}");
    let ends = [("low", ours.interval.low), ("high", ours.interval.high)];
    for (name, end) in ends {
        let theirs = &case["bca"][name];
        let difference = (end - number(&theirs[0])).abs();
        assert!(
            difference <= tolerance(theirs, runs),
            "{name} end {end} is not SciPy's {theirs} in {case}"
        );
    }
}

/// Whether the case could tell BCa from the plain percentile interval.
fn tells_methods_apart(case: &Value, runs: f64) -> bool {
    ["low", "high"].into_iter().any(|name| {
        let (bca, plain) = (&case["bca"][name], &case["percentile"][name]);
        (number(&bca[0]) - number(&plain[0])).abs() > 2.0 * tolerance(bca, runs)
    })
}

#[test]
fn bca_of_independent_samples() {
    let vectors = vectors();
    let runs = number(&vectors["runs"]);
    let mut telling = 0;
    for case in cases(&vectors, "bootstrap") {
        let samples = numbers(&case["samples"]);
        let options = BootstrapOptions {
            confidence: number(&case["confidence"]),
            resamples: whole(&vectors["resamples"]),
            seed: 1,
        };
        let ours = match case["statistic"].as_str().unwrap() {
            "mean" => bootstrap_interval(&samples, mean, options),
            "median" => bootstrap_interval(&samples, median, options),
            "std" => bootstrap_interval(&samples, sample_std, options),
            "p90" => bootstrap_interval(&samples, |xs| percentile(xs, 0.9), options),
            other => panic!("unknown statistic {other}"),
        };
        assert_bootstrapped(ours.unwrap(), case, runs);
        telling += usize::from(tells_methods_apart(case, runs));
    }
    assert!(telling >= 4, "only {telling} cases are sharp enough");
}

fn blocks(case: &Value) -> Vec<Block> {
    let pairs = numbers(&case["numerators"])
        .into_iter()
        .zip(numbers(&case["denominators"]));
    pairs
        .map(|(numerator, denominator)| Block {
            numerator,
            denominator,
        })
        .collect()
}

#[test]
fn bca_of_block_ratios() {
    let vectors = vectors();
    let runs = number(&vectors["runs"]);
    let mut telling = 0;
    for case in cases(&vectors, "ratio_bca") {
        let options = BootstrapOptions {
            confidence: number(&case["confidence"]),
            resamples: whole(&vectors["resamples"]),
            seed: 1,
        };
        let ours = ratio_interval(&blocks(case), options).unwrap();
        assert_bootstrapped(ours, case, runs);
        telling += usize::from(tells_methods_apart(case, runs));
    }
    assert!(telling >= 1, "no case is sharp enough");
}

#[test]
fn student_t_of_block_ratios() {
    for case in cases(&vectors(), "ratio_t") {
        let options = BootstrapOptions {
            confidence: number(&case["confidence"]),
            resamples: 20_000,
            seed: 0,
        };
        let ours = ratio_interval(&blocks(case), options).unwrap();
        assert_eq!(ours.method, Method::StudentT, "{case}");
        let (low, high) = (number(&case["low"]), number(&case["high"]));
        // Relative to the width: the ends may be near zero.
        let slack = 1e-11 * (high - low);
        assert!((ours.interval.low - low).abs() <= slack, "{ours:?} {case}");
        assert!(
            (ours.interval.high - high).abs() <= slack,
            "{ours:?} {case}"
        );
    }
}
