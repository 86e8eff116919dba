//! What statistics cost, at the sizes that runs and histories have.
//!
//! ```text
//! cargo bench -p harness-stats --bench statistics [-- FILTER]
//! ```
#![allow(clippy::unwrap_used, missing_docs)] // A benchmark may panic.

mod inputs;

use std::time::Duration;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use harness_stats::{
    Alternative, Block, BootstrapOptions, ChangePointOptions, PermutationOptions,
    bootstrap_interval, e_divisive, hodges_lehmann, mann_whitney, mean, median, pelt,
    quantile_interval, ratio_interval, ratio_test, sign_flips, theil_sen, warm_up,
};

use inputs::times;

/// Intervals of one sample.
fn intervals(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("interval");
    for n in [100, 1_000] {
        let samples = times(n, 1e6, 0);
        let mut sorted = samples.clone();
        sorted.sort_by(f64::total_cmp);
        group.bench_function(BenchmarkId::new("quantile", n), |bencher| {
            bencher.iter(|| quantile_interval(&sorted, 0.5, 0.95).unwrap());
        });
        let options = BootstrapOptions::default();
        group.bench_function(BenchmarkId::new("bootstrap-mean", n), |bencher| {
            bencher.iter(|| bootstrap_interval(&samples, mean, options).unwrap());
        });
        group.bench_function(BenchmarkId::new("bootstrap-median", n), |bencher| {
            bencher.iter(|| bootstrap_interval(&samples, median, options).unwrap());
        });
        let places: Vec<f64> = (0..n).map(|i| i as f64).collect();
        group.bench_function(BenchmarkId::new("theil-sen", n), |bencher| {
            bencher.iter(|| theil_sen(&places, &samples, 0.95).unwrap());
        });
    }
}

/// Two samples, or pairs of them.
fn comparisons(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("comparison");
    for n in [10, 100, 1_000] {
        let (base, head) = (times(n, 1e6, 0), times(n, 1.1e6, 1));
        group.bench_function(BenchmarkId::new("mann-whitney", n), |bencher| {
            bencher.iter(|| mann_whitney(&base, &head, Alternative::TwoSided).unwrap());
        });
        group.bench_function(BenchmarkId::new("hodges-lehmann", n), |bencher| {
            bencher.iter(|| hodges_lehmann(&base, &head, 0.95).unwrap());
        });
    }
    // Ten pairs of runs of a hundred figures.
    let pairs = |figure| times(10, 1.0, figure).into_iter().map(|x| Some(x - 1.02));
    let figures: Vec<Vec<Option<f64>>> = (0..100).map(|figure| pairs(figure).collect()).collect();
    group.bench_function("sign-flips/100x10", |bencher| {
        bencher.iter(|| sign_flips(&figures, 0.05).unwrap());
    });
}

/// Tokens in blocks: a perplexity and what became of it.
fn blocks(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("blocks");
    for n in [100, 1_000] {
        let of = |numerator| Block {
            numerator,
            denominator: 512.0,
        };
        let blocks: Vec<Block> = times(n, 1.3e3, 0).into_iter().map(of).collect();
        group.bench_function(BenchmarkId::new("bootstrap", n), |bencher| {
            bencher.iter(|| ratio_interval(&blocks, BootstrapOptions::default()).unwrap());
        });
        group.bench_function(BenchmarkId::new("t-test", n), |bencher| {
            bencher.iter(|| ratio_test(&blocks).unwrap());
        });
    }
}

/// Series over time: of nights without a change, and with one in the middle.
fn series(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("change-points");
    let options = ChangePointOptions::default();
    let steady = times(365, 1e6, 0);
    let mut shifted = steady.clone();
    shifted[180..].iter_mut().for_each(|time| *time *= 1.05);
    for (name, series) in [("none", &steady), ("one", &shifted)] {
        group.bench_function(BenchmarkId::new("pelt/365", name), |bencher| {
            bencher.iter(|| pelt(series, options).unwrap());
        });
        group.bench_function(BenchmarkId::new("e-divisive/365", name), |bencher| {
            bencher.iter(|| e_divisive(series, options).unwrap());
        });
    }
    group.bench_function("warm-up/365", |bencher| {
        bencher.iter(|| warm_up(&steady, PermutationOptions::default()).unwrap());
    });
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_millis(800));
    targets = intervals, comparisons, blocks, series
}
criterion_main!(benches);
