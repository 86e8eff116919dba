//! Whether tests and intervals keep what they promise, by simulation from fixed seeds.

// Clippy allows these in test functions, but not in their helpers.
#![allow(clippy::unwrap_used)]

use harness_stats::{Alternative, hodges_lehmann, mann_whitney, quantile_interval, theil_sen};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use statrs::distribution::{Binomial, ContinuousCDF, DiscreteCDF, Normal};

/// What noise becomes of a standard normal number.
type Noise = fn(f64) -> f64;

const NORMAL: Noise = |z| z;
const SKEWED: Noise = f64::exp;
/// Clock ticks: mostly ties.
const TICKS: Noise = |z| (1.5 * z).round();

fn draw(stream: &mut ChaCha8Rng, n: usize, noise: Noise) -> Vec<f64> {
    let normal = Normal::standard();
    (0..n)
        .map(|_| noise(normal.inverse_cdf(stream.random::<f64>().max(f64::MIN_POSITIVE))))
        .collect()
}

/// The most events of probability `share` at most that `trials` show, but for one chance in a million.
fn bound(trials: u64, share: f64) -> u64 {
    Binomial::new(share, trials)
        .unwrap()
        .inverse_cdf(1.0 - 1e-6)
}

/// A/A comparisons: both samples come from one population, so every alarm is false.
#[test]
fn a_a_comparisons_raise_no_more_alarms_than_promised() {
    let trials = 3_000;
    for (n1, n2) in [(5, 5), (10, 15), (20, 25), (80, 120)] {
        for noise in [NORMAL, SKEWED, TICKS] {
            let mut stream = ChaCha8Rng::seed_from_u64((n1 * n2) as u64);
            let (mut two_sided, mut one_sided) = (0, 0);
            for _ in 0..trials {
                let (a, b) = (draw(&mut stream, n1, noise), draw(&mut stream, n2, noise));
                let alarm = |alternative| mann_whitney(&a, &b, alternative).unwrap().p <= 0.05;
                two_sided += u64::from(alarm(Alternative::TwoSided));
                one_sided += u64::from(alarm(Alternative::Greater));
            }
            let most = bound(trials, 0.05);
            assert!(
                two_sided <= most && one_sided <= most,
                "{n1} {n2}: {two_sided} {one_sided}"
            );
            // Nor is the test asleep. Five a side attain 3.2 % of continuous noise.
            assert!(two_sided > 40, "{n1} {n2}: {two_sided}");
        }
    }
}

#[test]
fn shifts_and_slopes_are_held() {
    let trials = 2_000;
    let mut stream = ChaCha8Rng::seed_from_u64(1);
    let (mut shift_missed, mut slope_missed) = (0, 0);
    let x: Vec<f64> = (0..20).map(f64::from).collect();
    for _ in 0..trials {
        let a = draw(&mut stream, 12, SKEWED);
        let b: Vec<f64> = draw(&mut stream, 20, SKEWED)
            .iter()
            .map(|b| b + 2.0)
            .collect();
        let shift = hodges_lehmann(&a, &b, 0.95).unwrap().interval;
        shift_missed += u64::from(!(shift.low..=shift.high).contains(&2.0));
        let y: Vec<f64> = x.iter().zip(&b).map(|(x, b)| 0.7 * x + b).collect();
        let slope = theil_sen(&x, &y, 0.95).unwrap().interval;
        slope_missed += u64::from(!(slope.low..=slope.high).contains(&0.7));
    }
    assert!(shift_missed <= bound(trials, 0.05), "{shift_missed}");
    // Kendall's normal approximation at 20 points: P(|S| ≥ 62) = 4.8 % is at level, in truth.
    assert!(slope_missed <= bound(trials, 0.055), "{slope_missed}");
}

/// `P(x₍ₗ₎ ≤ q ≤ x₍ᵤ₎)` of the interval's ranks, from one, for continuous noise.
fn attained(n: usize, p: f64, confidence: f64) -> f64 {
    let ranks: Vec<f64> = (1..=n).map(|rank| rank as f64).collect();
    let interval = quantile_interval(&ranks, p, confidence).unwrap();
    let below = Binomial::new(p, n as u64).unwrap();
    below.cdf(interval.high as u64 - 1) - below.cdf(interval.low as u64 - 1)
}

/// Coverage of p99 intervals:
/// `cargo test --release -p harness-stats --test calibration -- --ignored --nocapture`.
#[test]
#[ignore = "simulates for half a minute"]
fn coverage_of_p99() {
    let trials = 20_000;
    println!("| n | nominal | by the binomial | lognormal, simulated |\n|---|---|---|---|");
    for n in [1_000, 2_000, 5_000] {
        let true_p99 = Normal::standard().inverse_cdf(0.99).exp();
        for confidence in [0.9, 0.95, 0.99] {
            let mut stream = ChaCha8Rng::seed_from_u64(n as u64);
            let held = (0..trials / (n / 1_000))
                .filter(|_| {
                    let mut samples = draw(&mut stream, n, SKEWED);
                    samples.sort_by(f64::total_cmp);
                    let interval = quantile_interval(&samples, 0.99, confidence).unwrap();
                    (interval.low..=interval.high).contains(&true_p99)
                })
                .count();
            let share = held as f64 / (trials / (n / 1_000)) as f64;
            let exact = attained(n, 0.99, confidence);
            println!("| {n} | {confidence:.2} | {exact:.4} | {share:.4} |");
            // Four standard errors of the simulation; ranks are whole, hence the rest.
            let error = (exact * (1.0 - exact) * (n / 1_000) as f64 / f64::from(20_000)).sqrt();
            assert!((share - exact).abs() < 4.0 * error, "{n} {confidence}");
            assert!(exact >= confidence);
        }
    }
}

/// The level is never below the nominal one, and above it only by what whole ranks
/// cannot avoid: less than the probabilities of the counts at its two ends.
#[test]
fn p99_intervals_attain_what_ranks_allow() {
    for n in [528, 1_000, 5_000, 20_000, 100_000] {
        for confidence in [0.9, 0.95, 0.99] {
            let level = attained(n, 0.99, confidence);
            // No count is likelier than 1/√(2π n p (1 - p)), and those in a tail are less so.
            let unavoidable = 2.0 / (std::f64::consts::TAU * n as f64 * 0.0099).sqrt();
            assert!(
                level >= confidence && level < confidence + unavoidable,
                "{n}: {level}"
            );
        }
    }
    // Within a hundredth from here on.
    assert!((0.95..0.96).contains(&attained(5_000, 0.99, 0.95)));
    assert!((0.99..1.0).contains(&attained(528, 0.99, 0.99)));
}
