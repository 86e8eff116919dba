//! Unit tests of the block intervals, and simulations of how often they hold
//! the value they should.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use statrs::distribution::Normal;

use super::*;
use crate::{bootstrap_interval, mean, median};

fn block(numerator: f64, denominator: f64) -> Block {
    Block {
        numerator,
        denominator,
    }
}

#[test]
fn bad_blocks_are_errors() {
    let options = BootstrapOptions::default();
    let good = block(1.0, 2.0);
    assert_eq!(ratio_interval(&[], options), Err(StatsError::Empty));
    assert_eq!(
        ratio_interval(&[good], options),
        Err(StatsError::TooFew { n: 1, needed: 2 })
    );
    assert_eq!(
        ratio_interval(&[good, block(f64::NAN, 1.0)], options),
        Err(StatsError::NotFinite { index: 1 })
    );
    for denominator in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        assert_eq!(
            ratio_interval(&[good, good, block(1.0, denominator)], options),
            Err(StatsError::BadDenominator { index: 2 })
        );
    }
    for overflowing in [block(f64::MAX, 1.0), block(1.0, f64::MAX)] {
        assert_eq!(
            ratio_interval(&[overflowing; 2], options),
            Err(StatsError::StatisticNotFinite)
        );
    }
}

#[test]
fn equal_blocks_have_an_interval_without_width() {
    // Sums of 0.1 round: the jackknife must not take that for a spread.
    for n in [2, 7, BCA_FROM_BLOCKS, BCA_FROM_BLOCKS + 7] {
        let blocks = vec![block(0.1, 0.3); n];
        let estimate = ratio_interval(&blocks, BootstrapOptions::default()).unwrap();
        assert_eq!(estimate.method, Method::Degenerate, "{n} blocks");
        assert_eq!(estimate.interval.low, estimate.value);
        assert_eq!(estimate.interval.high, estimate.value);
    }
}

#[test]
fn the_number_of_blocks_decides_the_method() {
    let mut blocks: Vec<Block> = (1..BCA_FROM_BLOCKS)
        .map(|i| block((i * i) as f64, 1.0))
        .collect();
    let method = |blocks: &[Block]| {
        ratio_interval(blocks, BootstrapOptions::default())
            .unwrap()
            .method
    };
    assert_eq!(method(&blocks), Method::StudentT);
    blocks.push(block(3.0, 1.0));
    assert_eq!(method(&blocks), Method::Bca);
}

/// Draws one block.
type Sampler = fn(&mut ChaCha8Rng) -> Block;

struct Population {
    name: &'static str,
    /// `E[numerator] / E[denominator]`.
    truth: f64,
    sample: Sampler,
}

fn standard_normal(rng: &mut ChaCha8Rng) -> f64 {
    // An open interval: the inverse is infinite at 0.
    Normal::standard().inverse_cdf(rng.random::<f64>().max(f64::MIN_POSITIVE))
}

fn lognormal(rng: &mut ChaCha8Rng, sigma: f64) -> f64 {
    (sigma * standard_normal(rng)).exp()
}

/// Context lengths 32 to 512, whose longer contexts have lower means.
const LENGTHS: std::ops::RangeInclusive<u32> = 32..=512;

fn level_at(length: f64) -> f64 {
    3.0 - length / 512.0
}

fn unequal(rng: &mut ChaCha8Rng) -> Block {
    let length = f64::from(rng.random_range(LENGTHS));
    let noise = lognormal(rng, 0.3) / (0.3_f64.powi(2) / 2.0).exp();
    block(length * level_at(length) * noise, length)
}

fn populations() -> [Population; 5] {
    let lengths = || LENGTHS.map(f64::from);
    [
        Population {
            name: "normal",
            truth: 1.0,
            sample: |rng| block(1.0 + standard_normal(rng), 1.0),
        },
        Population {
            name: "unequal",
            truth: lengths().map(|l| l * level_at(l)).sum::<f64>() / lengths().sum::<f64>(),
            sample: unequal,
        },
        Population {
            name: "skewed",
            truth: 0.125_f64.exp(),
            sample: |rng| block(lognormal(rng, 0.5), 1.0),
        },
        Population {
            name: "counts",
            truth: 3.0 / 7.0,
            // Geometric, P(success) = 0.7: most blocks hold nothing.
            sample: |rng| block((rng.random::<f64>().ln() / 0.3_f64.ln()).floor(), 1.0),
        },
        Population {
            name: "very skewed",
            truth: 0.5_f64.exp(),
            sample: |rng| block(lognormal(rng, 1.0), 1.0),
        },
    ]
}

/// The shares of intervals wholly above and wholly below the true value.
#[derive(Clone, Copy, Default)]
struct Misses {
    above: f64,
    below: f64,
}

impl Misses {
    fn note(&mut self, interval: Interval, truth: f64, share: f64) {
        if interval.low > truth {
            self.above += share;
        }
        if interval.high < truth {
            self.below += share;
        }
    }

    fn coverage(self) -> f64 {
        1.0 - self.above - self.below
    }
}

/// Misses of the t and the BCa interval over `repeats` samples of `n` blocks.
fn simulate(
    population: &Population,
    n: usize,
    repeats: usize,
    options: BootstrapOptions,
) -> (Misses, Misses) {
    let mut rng = ChaCha8Rng::seed_from_u64(n as u64);
    let (mut t, mut bca) = (Misses::default(), Misses::default());
    let tail = options.tail().unwrap();
    let share = 1.0 / repeats as f64;
    for seed in 0..repeats as u64 {
        let blocks: Vec<Block> = (0..n).map(|_| (population.sample)(&mut rng)).collect();
        let sample = BlockSample::new(&blocks).unwrap();
        let options = BootstrapOptions { seed, ..options };
        let by_t = sample.student_t(tail, options.confidence).unwrap();
        let by_bca = sample.bca(tail, options).unwrap();
        t.note(by_t.interval, population.truth, share);
        bca.note(by_bca.interval, population.truth, share);
    }
    (t, bca)
}

#[test]
fn coverage_is_near_what_was_promised() {
    let options = BootstrapOptions {
        resamples: 400,
        ..BootstrapOptions::default()
    };
    let repeats = 150;
    // Four standard errors of a share of 150 near 0.94.
    let slack = 0.08;
    for (population, few, many) in [(0, 0.952, 0.941), (1, 0.933, 0.935)] {
        let population = &populations()[population];
        let (t, bca) = simulate(population, 10, repeats, options);
        let name = population.name;
        assert!((t.coverage() - few).abs() < slack, "{name}");
        // Why few blocks are not bootstrapped.
        assert!(bca.coverage() < t.coverage(), "{name}");
        let (_, bca) = simulate(population, BCA_FROM_BLOCKS, repeats, options);
        assert!((bca.coverage() - many).abs() < slack, "{name}");
    }
}

/// The table in [`ratio_interval`]'s documentation, and what it is there to show:
/// `cargo test --release -p harness-stats coverage -- --ignored --nocapture`.
#[test]
#[ignore = "simulates for minutes"]
fn coverage() {
    let repeats = 4_000;
    for confidence in [0.95, 0.99] {
        let options = BootstrapOptions {
            confidence,
            ..BootstrapOptions::default()
        };
        println!("coverage of {confidence} (above/below), t then BCa");
        for population in populations() {
            for n in [2, 3, 5, 10, 20, 30, 50, 100] {
                let (t, bca) = simulate(&population, n, repeats, options);
                println!(
                    "{:12} {n:4}  {:.3} ({:.3}/{:.3})  {:.3} ({:.3}/{:.3})",
                    population.name,
                    t.coverage(),
                    t.above,
                    t.below,
                    bca.coverage(),
                    bca.above,
                    bca.below
                );
                if n >= BCA_FROM_BLOCKS {
                    // A point of coverage, or of the worse side's misses, and rounding.
                    assert!(bca.coverage() > t.coverage() - 0.013);
                    assert!(bca.above.max(bca.below) < t.above.max(t.below) + 0.013);
                }
            }
        }
    }
}

/// The figures in [`bootstrap_interval`]'s documentation; run as above.
#[test]
#[ignore = "simulates for minutes"]
fn coverage_of_independent_samples() {
    let repeats = 4_000;
    let share = 1.0 / repeats as f64;
    for n in [5, 10, 20, 50, 100] {
        let mut rng = ChaCha8Rng::seed_from_u64(n);
        let mut misses = [Misses::default(); 4];
        for seed in 0..repeats {
            let options = BootstrapOptions {
                seed,
                ..BootstrapOptions::default()
            };
            let normal: Vec<f64> = (0..n).map(|_| standard_normal(&mut rng)).collect();
            let skewed: Vec<f64> = normal.iter().map(|z| z.exp()).collect();
            let cases = [(&normal, 0.0, 0.0), (&skewed, 0.5_f64.exp(), 1.0)];
            for (case, (samples, true_mean, true_median)) in cases.into_iter().enumerate() {
                let of_mean = bootstrap_interval(samples, mean, options).unwrap();
                let of_median = bootstrap_interval(samples, median, options).unwrap();
                misses[2 * case].note(of_mean.interval, true_mean, share);
                misses[2 * case + 1].note(of_median.interval, true_median, share);
            }
        }
        let [a, b, c, d] = misses.map(Misses::coverage);
        println!("n = {n}: normal mean {a:.3} median {b:.3}, lognormal mean {c:.3} median {d:.3}");
    }
}

/// Neighbouring tokens depend on each other: an interval over tokens is far too
/// narrow, one over their contexts is not.
#[test]
fn blocks_hold_what_dependent_tokens_lose() {
    let (contexts, tokens, repeats) = (12, 32, 60);
    let mut rng = ChaCha8Rng::seed_from_u64(3);
    let (mut by_token, mut by_block) = (Misses::default(), Misses::default());
    let options = BootstrapOptions {
        resamples: 400,
        ..BootstrapOptions::default()
    };
    for _ in 0..repeats {
        let mut all = Vec::new();
        let mut blocks = Vec::new();
        for _ in 0..contexts {
            let mut level = standard_normal(&mut rng);
            let start = all.len();
            for _ in 0..tokens {
                level = 0.9 * level + (1.0 - 0.9_f64.powi(2)).sqrt() * standard_normal(&mut rng);
                all.push(level);
            }
            blocks.push(block(all[start..].iter().sum(), f64::from(tokens)));
        }
        let share = 1.0 / f64::from(repeats);
        let naive = bootstrap_interval(&all, mean, options).unwrap();
        by_token.note(naive.interval, 0.0, share);
        by_block.note(
            ratio_interval(&blocks, options).unwrap().interval,
            0.0,
            share,
        );
    }
    assert!(by_token.coverage() < 0.6, "{}", by_token.coverage());
    assert!(by_block.coverage() > 0.85, "{}", by_block.coverage());
}
