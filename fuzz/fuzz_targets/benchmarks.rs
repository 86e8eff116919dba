//! Any text as a result of criterion or gungraun: figures that are numbers, or a refusal.

#![no_main]

use libfuzzer_sys::fuzz_target;

#[allow(dead_code, unreachable_pub)]
#[path = "../../reports/src/import/criterion.rs"]
mod criterion;
#[allow(dead_code, unreachable_pub)]
#[path = "../../reports/src/import/gungraun.rs"]
mod gungraun;

fuzz_target!(|text: &str| {
    if let Ok(counts) = gungraun::counts(text) {
        assert!(!counts.figures.is_empty());
        assert!(counts.figures.iter().all(|figure| figure.value >= 0.0));
    }
    // Two files in one, with a line between them.
    let (benchmark, sample) = text.split_once("\n--\n").unwrap_or((text, ""));
    let Ok(named) = criterion::benchmark(benchmark) else {
        return;
    };
    if let Ok(timing) = criterion::timing(named, sample) {
        assert!(timing.wall_ns().iter().all(|time| *time > 0.0 && time.is_finite()));
    }
});
