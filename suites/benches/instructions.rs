//! Instructions that measuring a token takes, counted by Valgrind's Callgrind: a number
//! that does not depend on what else the machine does.
//!
//! ```text
//! cargo install gungraun-runner --version 0.20.0
//! cargo bench -p harness-suites --bench instructions
//! ```
//!
//! The difference between `timed` and `bare` over 1,000 is the cost of a token. The
//! clock is one that counts its readings: Valgrind has no vDSO, and what a real one
//! takes is the benchmark `overhead`'s to tell.
#![allow(clippy::unwrap_used, missing_docs)] // A benchmark may panic.

mod idle;
#[path = "../../reference/benches/valgrind/mod.rs"]
mod valgrind;

use std::hint::black_box;
use std::sync::atomic::{AtomicU64, Ordering};

use engine::Logits;
use gungraun::prelude::*;
use harness_suites::latency::{Clock, Laps, request};

use idle::{Idle, TOKENS};

struct Counter(AtomicU64);

impl Clock for Counter {
    fn now_ns(&self) -> u64 {
        self.0.fetch_add(1, Ordering::Relaxed)
    }

    fn wait_until(&self, _: u64) {}
}

#[library_benchmark]
#[bench::tokens(vec![0; TOKENS])]
fn bare(answer: Vec<u32>) -> Logits {
    idle::bare(black_box(&mut Idle(0)), &answer)
}

fn stopwatch() -> (Laps<'static>, Vec<u32>) {
    let clock: &'static Counter = Box::leak(Box::new(Counter(AtomicU64::new(0))));
    (Laps::new(clock, 1 + TOKENS), vec![0; TOKENS])
}

#[library_benchmark(setup = stopwatch)]
#[bench::tokens()]
fn timed((mut laps, answer): (Laps<'static>, Vec<u32>)) -> Laps<'static> {
    request(black_box(&mut Idle(0)), &[0], &answer, 1, &mut laps).unwrap();
    laps
}

library_benchmark_group!(name = overhead, benchmarks = [bare, timed]);

fn main() {
    // Declares a `main` of its own, here in the body.
    gungraun::main!(library_benchmark_groups = overhead);
    valgrind::run(main);
}
