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

use std::hint::black_box;
use std::io::ErrorKind;
use std::process::Command;
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

/// The first program that these benchmarks need and the machine lacks.
fn missing() -> Option<&'static str> {
    let runner = option_env!("GUNGRAUN_RUNNER").unwrap_or("gungraun-runner");
    let absent = |program: &str| {
        let run = Command::new(program).arg("--version").output();
        run.is_err_and(|error| error.kind() == ErrorKind::NotFound)
    };
    let programs = [(runner, "gungraun-runner"), ("valgrind", "valgrind")];
    programs
        .into_iter()
        .find(|(program, _)| absent(program))
        .map(|(_, name)| name)
}

fn main() {
    // Declares a `main` of its own, here in the body.
    gungraun::main!(library_benchmark_groups = overhead);

    // Under Valgrind, where the runner calls us back, nothing is missing.
    let called_back = std::env::args().any(|argument| argument == "--gungraun-run");
    match missing().filter(|_| !called_back) {
        Some("valgrind") => eprintln!("no instructions counted: valgrind is not installed"),
        Some(_) => eprintln!(
            "no instructions counted: gungraun-runner is not installed; get it with\n    \
             cargo install gungraun-runner --version 0.20.0"
        ),
        None => main(),
    }
}
