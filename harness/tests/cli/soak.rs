//! Suite `soak` through the real binary on the real fixture.

use crate::support::{ends, metric, record, samples};
use tempfile::TempDir;

#[test]
fn cycles_are_counted_and_kept() {
    let folder = TempDir::new().unwrap();
    let arguments = [
        "run",
        "--suite",
        "soak",
        "--set",
        "soak.cycles=30",
        "--set",
        "soak.duration_s=0",
        "--engine",
        "reference",
        "--out",
        "r",
    ];
    ends(folder.path(), &arguments, 0);
    let record = record(folder.path(), "r");
    let cell = &record["cells"][0];
    assert_eq!(metric(cell, "soak.cycles.count")["value"], 30.0);
    let low = metric(cell, "soak.cycles.leak_low_bytes");
    assert_eq!(low["verdict"], "pass");
    let leak = metric(cell, "soak.cycles.leak_bytes");
    assert!(leak["ci_low"].as_f64() <= leak["value"].as_f64());
    assert_eq!(low["value"], leak["ci_low"]);
    for name in [
        "committed_bytes",
        "decode_ns",
        "prefill_ns",
        "session_ns",
        "suspicious",
    ] {
        let kept = samples(folder.path(), "r", "reference", "cycles", name);
        assert_eq!(kept.len(), 30, "{name}");
    }
    // Suspicious cycles are said to be so.
    let suspicious = metric(cell, "soak.cycles.suspicious");
    assert_eq!(suspicious["value"] == 0.0, suspicious["why"].is_null());
}

#[test]
fn the_model_can_be_reopened_each_time() {
    let folder = TempDir::new().unwrap();
    let arguments = [
        "run",
        "--suite",
        "soak",
        "--quick",
        "--set",
        "soak.cycles=10",
        "--set",
        "soak.duration_s=0",
        "--set",
        "soak.reopen_model=true",
        "--engine",
        "reference",
        "--out",
        "r",
    ];
    ends(folder.path(), &arguments, 0);
    let opened = samples(folder.path(), "r", "reference", "cycles", "open_ns");
    assert_eq!(opened.len(), 9, "the first was open already");
}

#[test]
fn bad_settings_end_before_anything_is_opened() {
    let folder = TempDir::new().unwrap();
    for (setting, word) in [
        ("soak.cycles=5", "cycles"),
        ("soak.cycles=18446744073709551615", "cycles"),
        ("soak.decode_tokens=18446744073709551615", "decode_tokens"),
        ("soak.duration_s=0", "duration_s"),
        ("soak.duration_s=NaN", "duration_s"),
        ("soak.decode_tokens=0", "decode_tokens"),
        ("soak.reopen_model=1", "reopen_model"),
        ("soak.max_leak_bytes=x", "max_leak_bytes"),
        ("soak.prompt_tokens=1000000", "context of"),
    ] {
        let arguments = [
            "run",
            "--suite",
            "soak",
            "--set",
            setting,
            "--engine",
            "reference",
        ];
        let output = ends(folder.path(), &arguments, 2);
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(error.contains(word), "{setting}: {error}");
    }
}
