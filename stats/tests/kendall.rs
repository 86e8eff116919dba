//! Rank correlation against SciPy (`scripts/oracles/kendall_scipy.py`), and what
//! must hold for any values.

// Clippy allows these in test functions, but not in their helpers.
#![allow(clippy::unwrap_used)]

use harness_stats::{StatsError, kendall_tau_b};
use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::Value;

#[test]
fn correlations_are_scipys() {
    let vectors: Value = serde_json::from_str(include_str!("vectors/kendall.json")).unwrap();
    let numbers = |value: &Value| -> Vec<f64> {
        let all = value.as_array().unwrap().iter();
        all.map(|x| x.as_f64().unwrap()).collect()
    };
    for case in vectors["cases"].as_array().unwrap() {
        let pairs: Vec<(f64, f64)> = numbers(&case["x"])
            .into_iter()
            .zip(numbers(&case["y"]))
            .collect();
        let (ours, theirs) = (
            kendall_tau_b(&pairs).unwrap(),
            case["tau"].as_f64().unwrap(),
        );
        // Two divisions and two roots on either side.
        assert!(
            (ours - theirs).abs() < 1e-14,
            "{ours} is not {theirs}: {case}"
        );
    }
}

#[test]
fn without_an_order_there_is_no_correlation() {
    let undefined = Err(StatsError::StatisticNotFinite);
    assert_eq!(kendall_tau_b(&[(1.0, 2.0), (1.0, 3.0)]), undefined);
    assert_eq!(kendall_tau_b(&[(0.0, 1.0), (-0.0, 2.0)]), undefined);
    assert_eq!(
        kendall_tau_b(&[(1.0, 2.0)]),
        Err(StatsError::TooFew { n: 1, needed: 2 })
    );
    assert_eq!(
        kendall_tau_b(&[(1.0, 2.0), (f64::NAN, 3.0)]),
        Err(StatsError::NotFinite { index: 1 })
    );
}

/// As the definition has it, pair by pair.
fn by_definition(pairs: &[(f64, f64)]) -> f64 {
    let (mut sum, mut untied_x, mut untied_y) = (0.0, 0.0f64, 0.0f64);
    for (i, a) in pairs.iter().enumerate() {
        for b in &pairs[..i] {
            let sign = |d: f64| if d == 0.0 { 0.0 } else { d.signum() };
            let (dx, dy) = (sign(a.0 - b.0), sign(a.1 - b.1));
            sum += dx * dy;
            untied_x += dx.abs();
            untied_y += dy.abs();
        }
    }
    sum / (untied_x * untied_y).sqrt()
}

proptest! {
    #[test]
    fn sorting_counts_what_comparing_all_pairs_does(
        pairs in vec((0..9i8, 0..9i8), 2..70)
    ) {
        let pairs: Vec<(f64, f64)> = pairs.iter().map(|&(x, y)| (x.into(), y.into())).collect();
        let expected = by_definition(&pairs);
        match kendall_tau_b(&pairs) {
            Ok(tau) => prop_assert!((tau - expected).abs() < 1e-12, "{} {}", tau, expected),
            Err(error) => {
                prop_assert_eq!(error, StatsError::StatisticNotFinite);
                prop_assert!(expected.is_nan());
            }
        }
    }
}
