//! Suite `kv` on an engine whose flaws are known.
#![allow(clippy::unwrap_used)] // Fixture code of a test may panic.

mod support;

use engine::FailureKind;
use harness_suites::SuiteError;
use support::{Fake, Flaw, Outcome, run};

const TOKEN_BYTES: f64 = 4.0 * 256.0;

fn kv(fake: Fake) -> Outcome {
    run("kv", fake, &[("ctx", "600")])
}

fn flawed(flaw: Flaw) -> Outcome {
    kv(Fake {
        flaw,
        ..Fake::default()
    })
}

#[test]
fn a_sound_cache_passes_every_gate() {
    let outcome = flawed(Flaw::None);
    assert_eq!(outcome.failed(), Vec::<String>::new());
    let value = |case: &str, metric: &str| outcome.figure(case, metric).value;
    assert_eq!(value("growth", "used_over_theory"), 1.0);
    assert_eq!(value("growth", "used_bytes"), 600.0 * TOKEN_BYTES);
    assert_eq!(value("growth", "reserved_bytes"), 1024.0 * TOKEN_BYTES);
    assert_eq!(value("growth", "theory_bytes_per_token_layer"), 256.0);
    assert!(value("growth", "resident_bytes") >= 600.0 * TOKEN_BYTES);
    // 15 of 30 steps remain in use, all pages stay.
    assert_eq!(value("truncate", "released_bytes"), 0.0);
    assert!(value("truncate", "idle_resident_bytes") >= 300.0 * TOKEN_BYTES);
    assert!(outcome.figure("evict", "nmse").why.is_some());
}

#[test]
fn samples_follow_the_context() {
    let outcome = flawed(Flaw::None);
    let series = |case: &str, metric: &str| -> Vec<(u64, f64)> {
        let of = |sample: &&harness_suites::Sample| sample.case == case && sample.metric == metric;
        let samples = outcome.samples.iter().filter(of);
        samples.map(|sample| (sample.index, sample.value)).collect()
    };
    let used = series("growth", "used_bytes");
    assert_eq!(used.len(), 31);
    assert!(
        used.iter()
            .all(|&(len, bytes)| bytes == len as f64 * TOKEN_BYTES)
    );
    let resident = series("growth", "resident_bytes");
    for (&(len, used), &(_, resident)) in used.iter().zip(&resident) {
        assert!(resident >= used, "{resident} of {used} at {len}");
    }
    assert!(resident[0].1 < resident[30].1);
    for layer in 0..4 {
        assert_eq!(
            series(&format!("layer_{layer}"), "used_bytes")[30],
            (600, 600.0 * 256.0)
        );
    }
}

#[test]
fn each_flaw_fails_its_gate() {
    for (flaw, gates) in [
        (Flaw::Eager, vec!["growth.excess_bytes"]),
        (
            Flaw::Miscounts,
            vec!["growth.used_over_theory", "truncate.used_over_theory"],
        ),
        (
            Flaw::StaleAfterTruncation,
            vec!["truncate.differing_logits"],
        ),
    ] {
        assert_eq!(flawed(flaw).failed(), gates, "{flaw:?}");
    }
}

#[test]
fn a_broken_promise_is_the_engines_failure() {
    match flawed(Flaw::Silent).result {
        Err(SuiteError::Engine(error)) => assert_eq!(error.kind(), FailureKind::Protocol),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_cache_elsewhere_has_no_residency() {
    let outcome = flawed(Flaw::Elsewhere);
    assert_eq!(outcome.failed(), Vec::<String>::new());
    assert_eq!(outcome.figure("growth", "used_over_theory").value, 1.0);
    for metric in ["resident_bytes", "missing_bytes", "excess_bytes"] {
        let figure = outcome.figure("growth", metric);
        assert!(figure.value.is_nan() && figure.gate.is_none(), "{metric}");
        assert!(figure.why.as_ref().unwrap().contains("does not say where"));
    }
    assert!(
        outcome
            .samples
            .iter()
            .all(|sample| sample.metric != "resident_bytes")
    );
}

#[test]
fn a_ring_is_held_against_a_cache_that_keeps_everything() {
    let outcome = kv(Fake {
        window: Some(128),
        ..Fake::default()
    });
    assert_eq!(outcome.failed(), Vec::<String>::new());
    assert_eq!(
        outcome.figure("growth", "used_bytes").value,
        128.0 * TOKEN_BYTES
    );
    assert_eq!(outcome.figure("evict", "evicting_layers").value, 4.0);
    assert_eq!(outcome.figure("evict", "nmse").value, 0.0);
    // 600 tokens on whole pages, less 128 tokens on whole pages.
    let saved = outcome.figure("evict", "saved_resident_bytes").value;
    assert!(saved >= 470.0 * TOKEN_BYTES, "{saved}");
    assert!(outcome.figure("truncate", "differing_logits").why.is_some());
    assert_eq!(outcome.figure("clear", "differing_logits").value, 0.0);

    // A window that forgets what the engine looks at.
    let short = kv(Fake {
        window: Some(32),
        ..Fake::default()
    });
    assert_eq!(short.failed(), ["evict.nmse"]);
}

/// Pages of files can go out without swap.
#[cfg(target_os = "linux")]
#[test]
fn a_cache_that_was_paged_out_computes_the_same() {
    let outcome = kv(Fake {
        in_files: true,
        ..Fake::default()
    });
    assert_eq!(outcome.failed(), Vec::<String>::new());
    let out = outcome.figure("pressure", "cache_paged_out_bytes");
    assert!(out.value > 0.0 || out.why.is_some(), "{out:?}");
    assert_eq!(outcome.figure("pressure", "differing_logits").value, 0.0);
}

#[test]
fn unusable_settings_are_refused() {
    for (key, value) in [
        ("ctx", "1"),
        ("ctx", "x"),
        ("step", "0"),
        ("step", "400"),
        ("ctx", "1025"),
    ] {
        let outcome = run("kv", Fake::default(), &[(key, value)]);
        match outcome.result {
            Err(SuiteError::Setting(error)) => assert!(error.to_string().contains(key), "{error}"),
            other => panic!("{key}={value}: {other:?}"),
        }
    }
}
