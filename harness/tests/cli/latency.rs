//! Suite `latency` through the real binary on the real fixture. Nothing here asserts a time.

use std::fs;
use std::path::Path;

use tempfile::TempDir;

use crate::support::{ends, metric, record};

const QUICK: [&str; 6] = [
    "run",
    "--suite",
    "latency",
    "--quick",
    "--engine",
    "reference",
];

/// Samples of the baseline in the order of their indices.
fn samples(folder: &Path, run: &str, case: &str, metric: &str) -> Vec<f64> {
    let mut reader = csv::Reader::from_path(folder.join(run).join("samples.csv")).unwrap();
    let rows = reader.records().map(Result::unwrap);
    let ours = rows.filter(|row| &row[2] == case && &row[4] == metric);
    let mut values: Vec<(u64, f64)> = ours
        .map(|row| {
            assert_eq!(&row[5], "ns");
            (row[6].parse().unwrap(), row[7].parse().unwrap())
        })
        .collect();
    values.sort_by_key(|&(index, _)| index);
    values.into_iter().map(|(_, value)| value).collect()
}

#[test]
fn figures_rest_on_the_samples_that_were_kept() {
    let folder = TempDir::new().unwrap();
    ends(folder.path(), &[&QUICK[..], &["--out", "r"]].concat(), 0);
    let record = record(folder.path(), "r");
    let cell = &record["cells"][0];

    for name in [
        "load.load_warm_ns",
        "load.load_to_first_token_warm_ns",
        "prompt_32.prefill_tok_per_s",
        "prompt_128.ttft_max_ns",
        "session.session_open_p50_ns",
        "decode.tpot_ns",
        "decode.decode_tok_per_s",
        "context.itl_at_251_ns",
        "closed_loop.requests_per_s",
        "open_loop.offered_per_s",
        "open_loop.queue_max_ns",
        "concurrent.tok_per_s",
        "overhead.lap_ns",
        "overhead.clock_resolution_ns",
    ] {
        let value = metric(cell, &format!("latency.{name}"))["value"].as_f64();
        assert!(value.is_some_and(|value| value >= 0.0), "{name}: {value:?}");
    }

    // Each percentile has its interval, or is withheld and says why.
    let metrics = cell["metrics"].as_array().unwrap();
    let mut withheld = 0;
    for metric in metrics {
        let name = metric["name"].as_str().unwrap();
        if metric["value"].is_null() {
            withheld += 1;
            assert_eq!(metric["verdict"], "skip", "{name}");
            assert!(metric["why"].as_str().is_some_and(|why| !why.is_empty()));
        } else if ["_p25_", "_p50_", "_p90_", "_p95_", "_p99_", "_p999_"]
            .iter()
            .any(|part| name.contains(part) && !name.contains("session") && !name.contains("wake"))
        {
            let bound = |end: &str| metric[end].as_f64().unwrap();
            let value = metric["value"].as_f64().unwrap();
            assert!(
                bound("ci_low") <= value && value <= bound("ci_high"),
                "{name}"
            );
        }
    }
    assert!(withheld > 0);
    // 0.15 s have no 3,688 tokens.
    let rare = metric(cell, "latency.decode.itl_p999_ns");
    assert!(rare["why"].as_str().unwrap().contains("which needs 3688"));
    let cold = metric(cell, "latency.load.load_cold_ns");
    assert!(
        cold["why"]
            .as_str()
            .unwrap()
            .contains("linked into the program")
    );
    let valid = metric(cell, "latency.decode.valid");
    assert_eq!(valid["value"] == 1.0, valid["why"].is_null(), "{valid}");

    // Sixteen tokens a request; the figures leave out the warm-up, the samples do not.
    let itl = samples(folder.path(), "r", "decode", "itl_ns");
    let tpot = samples(folder.path(), "r", "decode", "tpot_ns");
    assert_eq!(itl.len(), 16 * tpot.len());
    for (tokens, mean) in itl.chunks(16).zip(&tpot) {
        assert!((tokens.iter().sum::<f64>() / 16.0 - mean).abs() < 1e-3);
    }
    let warm = metric(cell, "latency.decode.warm_up_requests")["value"]
        .as_f64()
        .unwrap();
    let mut steady = itl[16 * warm as usize..].to_vec();
    steady.sort_by(f64::total_cmp);
    let longest = metric(cell, "latency.decode.itl_max_ns");
    assert_eq!(longest["value"].as_f64(), steady.last().copied());
    assert_eq!(longest["n"], steady.len());
    let middle = metric(cell, "latency.decode.itl_p50_ns");
    if let Some(value) = middle["value"].as_f64() {
        let half = steady.len() / 2;
        let median = match steady.len() % 2 {
            0 => (steady[half - 1] + steady[half]) / 2.0,
            _ => steady[half],
        };
        assert!((value - median).abs() < 1e-3, "{value} {median}");
    }
    let histogram = folder.path().join("r/artifacts/latency-0.decode.itl.hgrm");
    let total = format!("Total count    = {:>12}", steady.len());
    assert!(fs::read_to_string(histogram).unwrap().contains(&total));

    // A response is what it waited and what it took.
    let of = |metric| samples(folder.path(), "r", "open_loop", metric);
    let parts: Vec<f64> = of("queue_ns")
        .iter()
        .zip(of("service_ns"))
        .map(|(queue, service)| queue + service)
        .collect();
    assert_eq!(of("response_ns"), parts);
}

#[test]
fn engines_are_held_against_the_baseline() {
    let folder = TempDir::new().unwrap();
    let more = ["--engine", "reference:weights=q4_0", "--out", "r"];
    ends(folder.path(), &[&QUICK[..], &more].concat(), 0);
    let record = record(folder.path(), "r");
    let ratio = metric(&record["cells"][1], "latency.decode.tpot_ratio");
    assert!(ratio["why"].as_str().is_some(), "{ratio}");
    assert!(
        record["cells"][0]["metrics"]
            .as_array()
            .unwrap()
            .iter()
            .all(|metric| metric["name"] != "latency.decode.tpot_ratio")
    );
}

#[test]
fn a_withheld_figure_passes_no_gate() {
    let folder = TempDir::new().unwrap();
    let gate = ["--gate", "latency.decode.itl_p999_ns <= 1e15"];
    let output = ends(folder.path(), &[&QUICK[..], &gate].concat(), 1);
    let table = String::from_utf8(output.stdout).unwrap();
    assert!(table.contains("too few"), "{table}");
}

#[test]
fn a_prompt_beyond_the_context_is_withheld() {
    let folder = TempDir::new().unwrap();
    let more = ["--set", "latency.prompts=8,100000", "--out", "r"];
    ends(folder.path(), &[&QUICK[..], &more].concat(), 0);
    let record = record(folder.path(), "r");
    let long = metric(&record["cells"][0], "latency.prompt_100000.ttft_p50_ns");
    assert_eq!(long["verdict"], "skip");
    assert!(long["why"].as_str().unwrap().contains("context"));
}

#[test]
fn a_file_is_opened_cold_or_the_reason_is_told() {
    let folder = TempDir::new().unwrap();
    let model = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../fixtures/model/harness-fixture-f16.gguf"
    );
    fs::copy(model, folder.path().join("m.gguf")).unwrap();
    let more = ["--model", "m.gguf", "--out", "r"];
    ends(folder.path(), &[&QUICK[..], &more].concat(), 0);
    let record = record(folder.path(), "r");
    let cold = metric(&record["cells"][0], "latency.load.load_cold_ns");
    match cold["value"].is_null() {
        // A file system in memory keeps its pages.
        true => assert!(cold["why"].as_str().unwrap().contains("page")),
        false => assert!(!samples(folder.path(), "r", "load", "load_cold_ns").is_empty()),
    }
}

#[test]
fn unusable_settings_are_refused_before_anything_runs() {
    let folder = TempDir::new().unwrap();
    for (setting, word) in [
        ("prompts=0", "tokens"),
        ("prompts=", "tokens"),
        ("prompts=100000", "context"),
        ("decode_tokens=0", "from 1"),
        ("duration_s=-1", "from 0"),
        ("duration_s=nan", "from 0"),
        ("max_duration_s=0.01", "from 0.05"),
        ("target_ci_pct=101", "to 100"),
        ("percentile=100", "99.99"),
        ("arrivals=uniform", "poisson"),
        ("rate_per_s=-3", "from 0"),
        ("concurrency=0", "from 1"),
        ("seed=x", "seed"),
        ("text=/nonexistent", "nonexistent"),
        ("speed=9", "speed"),
    ] {
        let set = format!("latency.{setting}");
        let more = ["--set", &set, "--out", "r"];
        let output = ends(folder.path(), &[&QUICK[..], &more].concat(), 2);
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(error.contains(word), "{setting}: {error}");
        let _ = fs::remove_dir_all(folder.path().join("r"));
    }
}
