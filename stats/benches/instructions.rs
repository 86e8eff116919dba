//! Instructions and heap that statistics take; see `reference/benches/instructions.rs`.
//!
//! ```text
//! cargo bench -p harness-stats --bench instructions
//! ```
#![allow(clippy::unwrap_used, missing_docs)] // A benchmark may panic.

mod inputs;
#[path = "../../reference/benches/valgrind/mod.rs"]
mod valgrind;

use std::hint::black_box;

use gungraun::Dhat;
use gungraun::prelude::*;
use harness_stats::{
    Alternative, Block, BootstrapOptions, ChangePoint, ChangePointOptions, Estimate, MannWhitney,
    bootstrap_interval, hodges_lehmann, mann_whitney, median, pelt, ratio_interval,
};

use inputs::times;

type Sides = (Vec<f64>, Vec<f64>);

fn sides(n: usize) -> Sides {
    (times(n, 1e6, 0), times(n, 1.1e6, 1))
}

#[library_benchmark(setup = sides)]
#[bench::runs(10)]
#[bench::samples(1_000)]
fn mann_whitney_u((base, head): Sides) -> MannWhitney {
    mann_whitney(black_box(&base), black_box(&head), Alternative::TwoSided).unwrap()
}

#[library_benchmark(setup = sides)]
#[bench::samples(300)]
fn hodges_lehmann_shift((base, head): Sides) -> Estimate {
    hodges_lehmann(black_box(&base), black_box(&head), 0.95).unwrap()
}

fn sample(n: usize) -> Vec<f64> {
    times(n, 1e6, 0)
}

#[library_benchmark(setup = sample)]
#[bench::samples(100)]
fn bootstrap_median(samples: Vec<f64>) -> Estimate {
    bootstrap_interval(black_box(&samples), median, BootstrapOptions::default()).unwrap()
}

fn windows(n: usize) -> Vec<Block> {
    let of = |numerator| Block {
        numerator,
        denominator: 512.0,
    };
    times(n, 1.3e3, 0).into_iter().map(of).collect()
}

#[library_benchmark(setup = windows)]
#[bench::windows(100)]
fn block_bootstrap(blocks: Vec<Block>) -> Estimate {
    ratio_interval(black_box(&blocks), BootstrapOptions::default()).unwrap()
}

#[library_benchmark(setup = sample)]
#[bench::nights(100)]
fn change_points(series: Vec<f64>) -> Vec<ChangePoint> {
    pelt(black_box(&series), ChangePointOptions::default()).unwrap()
}

library_benchmark_group!(
    name = statistics,
    benchmarks = [
        mann_whitney_u,
        hodges_lehmann_shift,
        bootstrap_median,
        block_bootstrap,
        change_points
    ]
);

fn main() {
    // Declares a `main` of its own, here in the body.
    gungraun::main!(
        config = LibraryBenchmarkConfig::default().tool(Dhat::default()),
        library_benchmark_groups = statistics
    );
    valgrind::run(main);
}
