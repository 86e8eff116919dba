//! Suite `soak` on an engine that leaks and on one that does not.
//!
//! One test in a program of its own: tests that run beside it would allocate too.
#![allow(clippy::unwrap_used)] // Fixture code of a test may panic.

mod support;

use harness_suites::SuiteError;
use support::{Fake, Flaw, run};

const CYCLES: [(&str, &str); 2] = [("cycles", "200"), ("duration_s", "0")];

#[test]
fn leaks_are_found_and_health_is_not_doubted() {
    let leaking = |bytes| Fake {
        flaw: Flaw::Leaks(bytes),
        ..Fake::default()
    };
    let outcome = run("soak", leaking(64 << 10), &CYCLES);
    assert_eq!(outcome.failed(), ["cycles.leak_low_bytes"]);
    let leak = outcome.figure("cycles", "leak_bytes");
    // The allocator adds a header and rounds up.
    assert!((leak.value / 65_536.0 - 1.0).abs() < 0.02, "{}", leak.value);
    let interval = leak.interval.unwrap();
    assert!(interval.low <= leak.value && leak.value <= interval.high);

    let outcome = run("soak", leaking(0), &CYCLES);
    assert_eq!(outcome.failed(), Vec::<String>::new());
    let cycles = |metric: &str| {
        outcome
            .samples
            .iter()
            .filter(|s| s.metric == metric)
            .count()
    };
    assert_eq!((cycles("committed_bytes"), cycles("decode_ns")), (200, 200));
    assert_eq!((cycles("suspicious"), cycles("open_ns")), (200, 0));

    // A limit of one's own, and the model opened anew.
    let more = [
        CYCLES[0],
        CYCLES[1],
        ("max_leak_bytes", "100000"),
        ("reopen_model", "true"),
    ];
    let outcome = run("soak", leaking(64 << 10), &more);
    assert_eq!(outcome.failed(), Vec::<String>::new());
    let opened = outcome.samples.iter().filter(|s| s.metric == "open_ns");
    assert_eq!(opened.count(), 199);

    for (key, value) in [
        ("cycles", "3"),
        ("duration_s", "-1"),
        ("duration_s", "0"),
        ("duration_s", "inf"),
        ("prompt_tokens", "0"),
        ("prompt_tokens", "1020"),
        ("reopen_model", "maybe"),
    ] {
        match run("soak", leaking(0), &[(key, value)]).result {
            Err(SuiteError::Setting(error)) => assert!(error.to_string().contains(key), "{error}"),
            other => panic!("{key}={value}: {other:?}"),
        }
    }
}
