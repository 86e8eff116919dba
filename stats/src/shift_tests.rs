use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::*;
use crate::{Alternative, mann_whitney};

fn draw(stream: &mut ChaCha8Rng, n: usize, of: impl Fn(f64) -> f64) -> Vec<f64> {
    let normal = Normal::standard();
    (0..n)
        .map(|_| of(normal.inverse_cdf(stream.random::<f64>().max(f64::MIN_POSITIVE))))
        .collect()
}

#[test]
fn ordered_numbers_keep_the_order() {
    let numbers = [-f64::MAX, -1.0, -1e-310, 0.0, 1e-310, 2.0, f64::MAX];
    for pair in numbers.windows(2) {
        assert!(to_ordered(pair[0]) < to_ordered(pair[1]));
    }
    for x in numbers {
        assert_eq!(from_ordered(to_ordered(x)), x);
    }
    assert_eq!(to_ordered(-0.0), to_ordered(0.0));
}

#[test]
fn ranks_are_those_of_all_differences() {
    let mut stream = ChaCha8Rng::seed_from_u64(1);
    // Rounded, so that differences tie.
    let before = draw(&mut stream, 37, |z| (4.0 * z).round());
    let after = draw(&mut stream, 52, |z| (3.0 * z).round() + 0.5);
    let differences = Differences::new(&before, &after).unwrap();
    let mut all: Vec<f64> = before
        .iter()
        .flat_map(|x| after.iter().map(move |y| y - x))
        .collect();
    all.sort_by(f64::total_cmp);
    for (rank, difference) in all.iter().enumerate() {
        assert_eq!(differences.ranked(rank), *difference);
    }
}

#[test]
fn a_hundred_million_differences_fit() {
    let before: Vec<f64> = (0..10_000).map(|i| f64::from(i * 7_919 % 10_007)).collect();
    let after: Vec<f64> = before.iter().map(|x| x + 250.0).collect();
    let shift = hodges_lehmann(&before, &after, 0.95).unwrap();
    assert_eq!(shift.value, 250.0);
    // The standard error of uniform noise of range r is r √(1/12 (1/n₁ + 1/n₂)) = 40.9.
    let half = (shift.interval.high - shift.interval.low) / 2.0;
    assert!((half - 1.96 * 40.9).abs() < 1.0, "{half}");
}

/// Exact up to about 50 a side, approximate beyond: both must find nearly the
/// same rank where they meet. Edgeworth's next term is of the order of 1/n of a
/// deviation, below one rank in a hundred here.
#[test]
fn the_approximation_takes_over_smoothly() {
    for (n1, n2) in [(50, 50), (30, 80), (20, 120)] {
        for allowed in [0.05, 0.025, 0.005] {
            let exact = Trim::exact(n1, n2, allowed);
            let normal = Trim::normal(n1, n2, allowed);
            let ratio = exact.k as f64 / normal.k as f64;
            assert!((0.98..1.03).contains(&ratio), "{} {}", exact.k, normal.k);
            assert!((exact.attained / normal.attained - 1.0).abs() < 0.1);
        }
    }
}

#[test]
fn too_few_samples_are_refused() {
    let two = [1.0, 2.0];
    assert_eq!(
        hodges_lehmann(&two, &[1.0, 2.0, 3.0], 0.95),
        Err(StatsError::TooFew { n: 2, needed: 5 })
    );
    // 1/(4 + 4 choose 4) = 1/70 is below 2.5 %, 1/(3 + 4 choose 3) = 1/35 is not.
    assert!(hodges_lehmann(&[1.0; 4], &[1.0; 4], 0.95).is_ok());
    assert_eq!(
        hodges_lehmann(&[1.0; 3], &[1.0; 4], 0.95),
        Err(StatsError::TooFew { n: 3, needed: 4 })
    );
}

#[test]
fn bad_input_is_an_error() {
    assert_eq!(hodges_lehmann(&[], &[1.0], 0.95), Err(StatsError::Empty));
    assert_eq!(
        hodges_lehmann(&[-f64::MAX; 9], &[f64::MAX; 9], 0.95),
        Err(StatsError::StatisticNotFinite)
    );
    let noise = [1.0, 2.0, 3.0, 4.0, 5.0];
    assert_eq!(
        detectable_shift(&noise, &noise, 0.0, 0.8),
        Err(StatsError::BadAlpha { alpha: 0.0 })
    );
    assert_eq!(
        detectable_shift(&noise, &noise, 0.05, 1.0),
        Err(StatsError::BadProbability { p: 1.0 })
    );
}

/// What noise becomes of a standard normal number.
type Noise = fn(f64) -> f64;

/// Noise of unit scale, by name.
const NOISES: [(&str, Noise); 3] = [
    ("normal", |z| z),
    ("lognormal σ 1", f64::exp),
    // The sinh-normal has the tails of a lognormal, on both sides.
    ("heavy-tailed", |z| (1.5 * z).sinh()),
];

/// The share of `trials` in which the shift that such samples call
/// detectable is found.
fn power(noise: Noise, n: usize, trials: usize) -> f64 {
    let mut stream = ChaCha8Rng::seed_from_u64(n as u64);
    // The shift that samples of this size call detectable, in the median.
    let mut shifts: Vec<f64> = (0..201)
        .map(|_| {
            let (a, b) = (draw(&mut stream, n, noise), draw(&mut stream, n, noise));
            detectable_shift(&a, &b, 0.05, 0.8).unwrap()
        })
        .collect();
    shifts.sort_by(f64::total_cmp);
    let shift = shifts[100];
    let found = (0..trials).filter(|_| {
        let a = draw(&mut stream, n, noise);
        let b: Vec<f64> = draw(&mut stream, n, noise)
            .iter()
            .map(|x| x + shift)
            .collect();
        mann_whitney(&a, &b, Alternative::TwoSided).unwrap().p <= 0.05
    });
    found.count() as f64 / trials as f64
}

#[test]
fn the_detectable_shift_is_detected() {
    for (name, noise) in NOISES {
        let power = power(noise, 20, 400);
        // Four standard errors of a share of 400 near 0.8, and what the table
        // says the approximation is off by.
        assert!((0.66..0.94).contains(&power), "{name}: {power}");
    }
}

/// The table of [`detectable_shift`]'s documentation:
/// `cargo test --release -p harness-stats power_at -- --ignored --nocapture`.
#[test]
#[ignore = "simulates for half a minute"]
fn power_at_the_detectable_shift() {
    println!("| samples a side | normal | lognormal σ 1 | heavy-tailed |\n|---|---|---|---|");
    for n in [5, 10, 20, 50, 200] {
        let row = NOISES.map(|(_, noise)| format!("{:.2}", power(noise, n, 4_000)));
        println!("| {n} | {} |", row.join(" | "));
    }
}
