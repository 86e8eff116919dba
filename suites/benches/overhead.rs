//! What measuring a token costs: a request to a session that does nothing, with and
//! without the stopwatch.
//!
//! ```text
//! cargo bench -p harness-suites --bench overhead
//! ```
//!
//! The difference over 1,000 is the cost of a token in nanoseconds.
#![allow(clippy::unwrap_used, missing_docs)] // A benchmark may panic.

mod idle;

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use harness_suites::latency::{Laps, MonotonicClock, request};

use idle::{Idle, TOKENS, bare};

fn overhead(criterion: &mut Criterion) {
    let answer = vec![0; TOKENS];
    let mut group = criterion.benchmark_group("tokens");
    group.throughput(Throughput::Elements(TOKENS as u64));
    group.bench_function("bare", |bench| {
        bench.iter(|| bare(black_box(&mut Idle(0)), &answer));
    });
    group.bench_function("timed", |bench| {
        let clock = MonotonicClock::start();
        let mut laps = Laps::new(&clock, 1 + TOKENS);
        bench.iter(|| request(black_box(&mut Idle(0)), &[0], &answer, 1, &mut laps).unwrap());
    });
    group.finish();
}

criterion_group!(benches, overhead);
criterion_main!(benches);
