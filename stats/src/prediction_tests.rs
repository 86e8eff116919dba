use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use statrs::distribution::Normal;

use super::*;

/// What noise becomes of a standard normal number.
type Noise = fn(f64) -> f64;

const NOISES: [(&str, Noise); 3] = [
    ("normal", |z| z),
    ("lognormal σ ½", |z| (0.5 * z).exp()),
    ("heavy-tailed", |z| (1.5 * z).sinh()),
];

/// How often the next of `n + 1` values is inside.
fn coverage(noise: Noise, n: usize, confidence: f64, trials: usize) -> f64 {
    let mut stream = ChaCha8Rng::seed_from_u64(n as u64);
    let normal = Normal::standard();
    let mut value = || noise(normal.inverse_cdf(stream.random::<f64>().max(f64::MIN_POSITIVE)));
    let inside = (0..trials).filter(|_| {
        let samples: Vec<f64> = (0..n).map(|_| value()).collect();
        let Interval { low, high, .. } =
            prediction_interval(&samples, confidence).unwrap().interval;
        (low..=high).contains(&value())
    });
    inside.count() as f64 / trials as f64
}

/// The table of [`prediction_interval`]'s documentation:
/// `cargo test --release -p harness-stats coverage_of_pred -- --ignored --nocapture`.
#[test]
#[ignore = "simulates for seconds"]
fn coverage_of_predictions() {
    println!("| n | normal | lognormal σ ½ | heavy-tailed |\n|---|---|---|---|");
    for n in [4, 5, 7, 10, 20, 30, 39, 100] {
        let row =
            NOISES.map(|(_, noise)| format!("{:.1}", 100.0 * coverage(noise, n, 0.95, 20_000)));
        println!("| {n} | {} |", row.join(" | "));
    }
}

#[test]
fn the_next_value_is_predicted() {
    for (name, noise) in NOISES {
        // Exactly 38/40 by theory; four standard errors of 2,000 trials.
        let share = coverage(noise, 39, 0.95, 2_000);
        assert!((share - 0.95).abs() < 0.02, "{name}: {share}");
    }
    // Four standard errors below the level; above it is no fault.
    assert!(coverage(NOISES[0].1, 10, 0.95, 2_000) > 0.93);
}

#[test]
fn the_sample_decides_the_method() {
    let ramp: Vec<f64> = (1..=39).map(f64::from).collect();
    let method = |samples: &[f64]| prediction_interval(samples, 0.95).map(|next| next.method);
    assert_eq!(method(&ramp), Ok(Method::OrderStatistic));
    assert_eq!(method(&ramp[1..]), Ok(Method::StudentT));
    assert_eq!(method(&[3.0; 7]), Ok(Method::Degenerate));
    // Mostly equal values still have a spread.
    let mut mostly = [5.0; 9];
    mostly[3] = 6.0;
    assert_eq!(method(&mostly), Ok(Method::StudentT));
    assert_eq!(
        method(&ramp[..3]),
        Err(StatsError::TooFew { n: 3, needed: 4 })
    );
    let next = prediction_interval(&ramp, 0.95).unwrap();
    assert_eq!((next.interval.low, next.interval.high), (1.0, 39.0));
}
