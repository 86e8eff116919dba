//! Suite `memory` through the real binary on the real fixture.

use crate::support::{ends, metric, record, samples};
use tempfile::TempDir;

const RUN: [&str; 5] = ["run", "--suite", "memory", "--quick", "--out"];

#[test]
fn a_model_in_a_file_is_mapped_and_its_cache_is_private() {
    let folder = TempDir::new().unwrap();
    std::fs::write(folder.path().join("model.gguf"), fixtures::MODEL).unwrap();
    let more = ["r", "--model", "model.gguf", "--engine", "reference"];
    ends(folder.path(), &[&RUN[..], &more].concat(), 0);
    let record = record(folder.path(), "r");
    let cell = &record["cells"][0];
    let value = |name: &str| metric(cell, &format!("memory.{name}"))["value"].as_f64();

    assert_eq!(value("load.file_bytes"), Some(fixtures::MODEL.len() as f64));
    assert!(value("run.peak_rss_bytes") >= value("load.peak_rss_bytes"));
    assert!(!samples(folder.path(), "r", "reference", "load", "rss_bytes").is_empty());
    if cfg!(target_os = "linux") {
        assert_eq!(value("load.phys_footprint_bytes"), None);
        for kind in ["rss_bytes", "pss_bytes", "private_bytes"] {
            assert!(value(&format!("load.{kind}")).unwrap() > 0.0, "{kind}");
        }
        // Each token is a row of keys and values in every layer; pages come and go whole.
        let growth = value("decode.growth_per_token_bytes").unwrap();
        let cache = value("decode.kv_used_per_token_bytes").unwrap();
        assert!(
            growth > cache / 2.0 && growth < cache * 2.0,
            "{growth} for {cache}"
        );
        // More sessions hold more, and closing them gives it back.
        let session = value("sessions.growth_per_session_bytes").unwrap();
        let held = value("closed.held_after_trim_bytes").unwrap();
        assert!(session > 64.0 * cache, "{session}");
        assert!(held < session, "{held} after sessions of {session}");
    }
}

#[test]
fn a_limit_is_a_gate() {
    let folder = TempDir::new().unwrap();
    let limited = |limit: &str, code| {
        let setting = format!("memory.max_rss_mib={limit}");
        let more = [limit, "--set", &setting, "--engine", "reference"];
        ends(folder.path(), &[&RUN[..], &more].concat(), code)
    };
    limited("4096", 0);
    let table = String::from_utf8(limited("2", 1).stdout).unwrap();
    assert!(
        table.contains("FAIL  reference  memory.run.peak_rss_bytes"),
        "{table}"
    );
}

#[test]
fn bad_settings_end_before_anything_is_opened() {
    let folder = TempDir::new().unwrap();
    for (setting, word) in [
        ("memory.sessions=0", "sessions"),
        ("memory.sessions=18446744073709551615", "sessions"),
        ("memory.prompt_tokens=18446744073709551615", "prompt_tokens"),
        ("memory.prompt_tokens=0", "prompt_tokens"),
        ("memory.max_rss_mib=-1", "max_rss_mib"),
        ("memory.max_rss_mib=99999999999999999", "max_rss_mib"),
        ("memory.ctx=5", "ctx"),
        ("memory.decode_tokens=1000000", "context of"),
    ] {
        let arguments = [
            "run",
            "--suite",
            "memory",
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
