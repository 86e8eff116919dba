//! Tests, shifts, slopes and adjusted p-values against SciPy and NumPy:
//! `scripts/oracles/comparison_scipy.py` wrote the vectors.

// Clippy allows these in test functions, but not in their helpers.
#![allow(clippy::unwrap_used)]

use harness_stats::{
    Alternative, Estimate, Method, PairedCounts, StatsError, benjamini_hochberg, hodges_lehmann,
    mann_whitney, mcnemar, min_queries, min_samples_for_quantile_interval, percentile,
    quantile_interval, theil_sen,
};
use serde_json::Value;

fn vectors() -> Value {
    serde_json::from_str(include_str!("vectors/comparison.json")).unwrap()
}

fn cases<'a>(vectors: &'a Value, name: &str) -> &'a Vec<Value> {
    let cases = vectors[name].as_array().unwrap();
    assert!(!cases.is_empty(), "no {name}");
    cases
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap()
}

fn whole(value: &Value) -> u64 {
    value.as_u64().unwrap()
}

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(number).collect()
}

#[track_caller]
fn assert_close(ours: f64, theirs: f64, relative: f64, case: &Value) {
    let close = (ours - theirs).abs() <= relative * ours.abs().max(theirs.abs());
    assert!(close, "{ours} is not SciPy's {theirs} in {case}");
}

#[test]
fn mann_whitney_p_values() {
    for case in cases(&vectors(), "mann_whitney") {
        let (x, y) = (numbers(&case["x"]), numbers(&case["y"]));
        let alternatives = [
            (Alternative::TwoSided, "two_sided"),
            (Alternative::Less, "less"),
            (Alternative::Greater, "greater"),
        ];
        for (alternative, name) in alternatives {
            let ours = mann_whitney(&x, &y, alternative).unwrap();
            assert_eq!(ours.exact, case["exact"].as_bool().unwrap());
            assert_eq!(ours.u, number(&case["u"]), "{case}");
            // Exact: one rounding for each of a hundred ranks. Normal: statrs' erfc is
            // good to ten digits, where SciPy's is to sixteen.
            let relative = if ours.exact { 1e-13 } else { 1e-9 };
            assert_close(ours.p, number(&case["p"][name]), relative, case);
        }
    }
}

#[track_caller]
fn assert_ends(ours: Estimate, case: &Value, relative: f64) {
    assert_eq!(ours.method, Method::OrderStatistic);
    assert_close(ours.value, number(&case["value"]), relative, case);
    assert_close(ours.interval.low, number(&case["low"]), relative, case);
    assert_close(ours.interval.high, number(&case["high"]), relative, case);
}

#[test]
fn shifts() {
    for case in cases(&vectors(), "hodges_lehmann") {
        let (before, after) = (numbers(&case["before"]), numbers(&case["after"]));
        let ours = hodges_lehmann(&before, &after, number(&case["confidence"])).unwrap();
        assert_ends(ours, case, 1e-15);
    }
}

#[test]
fn slopes() {
    for case in cases(&vectors(), "theil_sen") {
        let (x, y) = (numbers(&case["x"]), numbers(&case["y"]));
        let confidence = number(&case["confidence"]);
        match theil_sen(&x, &y, confidence) {
            Ok(ours) => assert_ends(ours, case, 1e-15),
            // SciPy then takes the extreme slopes, whatever they promise.
            Err(error) => {
                assert!(
                    matches!(error, StatsError::TooFew { n: 6..=7, .. }),
                    "{case}"
                );
            }
        }
    }
}

#[test]
fn paired_proportions() {
    for case in cases(&vectors(), "mcnemar") {
        let counts = PairedCounts {
            both: 1,
            first_only: whole(&case["b"]),
            second_only: whole(&case["c"]),
            neither: 0,
        };
        let ours = mcnemar(counts, 0.95).unwrap();
        // The binomial goes through ln Γ(m), about m ln m, whose rounding is absolute; three of
        // them and their sum.
        let m = (counts.first_only + counts.second_only).max(2) as f64;
        let relative = 4.0 * f64::EPSILON * m * m.ln() + 1e-13;
        assert_close(ours.p, number(&case["p"]), relative, case);
        assert_close(ours.mid_p, number(&case["mid_p"]), relative, case);
    }
}

#[test]
fn queries_for_a_percentile() {
    for case in cases(&vectors(), "min_queries") {
        let (p, confidence) = (number(&case["p"]), number(&case["confidence"]));
        let ours = min_queries(p, confidence, whole(&case["over_limit"]));
        assert_eq!(ours, Ok(whole(&case["n"])), "{case}");
    }
}

#[test]
fn false_discovery_control() {
    for case in cases(&vectors(), "false_discovery") {
        let ours = benjamini_hochberg(&numbers(&case["p"])).unwrap();
        let theirs = numbers(&case["adjusted"]);
        assert_eq!(ours.len(), theirs.len());
        for (ours, theirs) in ours.into_iter().zip(theirs) {
            assert_close(ours, theirs, 1e-15, case);
        }
    }
}

/// The doubles that the script draws too.
fn splitmix64(seed: u64, n: usize) -> Vec<f64> {
    let mut state = seed;
    (0..n)
        .map(|_| {
            state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
            let mut z = state;
            z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
            ((z ^ (z >> 31)) >> 11) as f64 * 2_f64.powi(-53)
        })
        .collect()
}

/// Percentiles and their intervals of 1,000 random data sets of 1 to 2,000 samples:
/// uniform, negative, heavy-tailed and tied.
#[test]
fn quantiles_of_a_thousand_data_sets() {
    let vectors = vectors();
    let cases = cases(&vectors, "random_quantiles");
    assert_eq!(cases.len(), 1_000);
    let mut withheld = 0;
    for (seed, case) in cases.iter().enumerate() {
        let mut samples: Vec<f64> = splitmix64(seed as u64, 1 + seed * 7_919 % 2_000)
            .into_iter()
            .map(|u| match seed / 4 % 4 {
                0 => u,
                1 => u * u - u,
                2 => 1.0 / (u + 2_f64.powi(-53)),
                _ => (10.0 * u).floor(),
            })
            .collect();
        samples.sort_by(f64::total_cmp);
        let p = [0.5, 0.9, 0.95, 0.99][seed % 4];
        // The interpolation's rounding: of a product, a difference and a sum.
        assert_close(
            percentile(&samples, p).unwrap(),
            number(&case[0]),
            1e-14,
            case,
        );
        let ours = quantile_interval(&samples, p, 0.95);
        if case[1].is_null() {
            withheld += 1;
            let n = samples.len();
            let needed = min_samples_for_quantile_interval(p, 0.95).unwrap();
            assert_eq!(ours, Err(StatsError::TooFew { n, needed }));
        } else {
            let ours = ours.unwrap();
            assert_eq!(
                [ours.low, ours.high].as_slice(),
                numbers(&case[1]),
                "{seed}"
            );
        }
    }
    assert!(withheld > 50, "{withheld} of the intervals are withheld");
}
