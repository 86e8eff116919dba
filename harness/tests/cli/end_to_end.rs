//! The real binary on the real fixture.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use crate::support::{self, harness, text};

/// Runs, expecting bad input, of which nothing is left.
#[track_caller]
fn refused(folder: &Path, arguments: &[&str], word: &str) {
    support::refused(folder, arguments, word);
    assert!(
        !folder.join(".harness").exists(),
        "{arguments:?} left a record"
    );
}

#[test]
fn bisection_finds_nothing_where_nothing_is_wrong() {
    let folder = TempDir::new().unwrap();
    let output = harness(
        folder.path(),
        &[
            "run", "--suite", "parity", "--bisect", "--quick", "--out", "r", "--format", "json",
        ],
    );
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let record: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(record["provenance"]["settings"]["parity"]["bisect"], "true");
    let cells = record["cells"].as_array().unwrap();
    let found = |cell: &Value| {
        let mut metrics = cell["metrics"].as_array().unwrap().iter();
        let metric = metrics.find(|metric| metric["name"] == "parity.bisect.guilty_stages");
        metric.map(|metric| (metric["value"].as_f64(), metric["verdict"].clone()))
    };
    assert_eq!(found(&cells[0]), None, "the baseline accuses nobody");
    for cell in &cells[1..] {
        assert_eq!(found(cell), Some((Some(0.0), "pass".into())));
    }
    let samples = fs::read_to_string(folder.path().join("r/samples.csv")).unwrap();
    assert!(samples.contains(",bisect.blk.0.q_rope,"));
    refused(
        folder.path(),
        &["run", "--suite", "perplexity", "--bisect"],
        "--suite parity",
    );
}

/// The fixture as a file, after `change`.
fn model(folder: &Path, name: &str, change: impl FnOnce(&mut Vec<u8>)) -> String {
    let mut bytes = fixtures::MODEL.to_vec();
    change(&mut bytes);
    let path = folder.join(name);
    fs::write(&path, bytes).unwrap();
    path.display().to_string()
}

#[test]
fn parity_on_the_embedded_model_passes_and_is_recorded() {
    let folder = TempDir::new().unwrap();
    let output = harness(
        folder.path(),
        &[
            "run", "--suite", "parity", "--quick", "--out", "r", "--format", "json",
        ],
    );
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let printed: Value = serde_json::from_slice(&output.stdout).unwrap();
    let record = fs::read_to_string(folder.path().join("r/run.json")).unwrap();
    let record: Value = serde_json::from_str(&record).unwrap();
    assert_eq!(printed, record, "--format json prints the record");

    let provenance = &record["provenance"];
    let sha256 = engine::sha256_hex(fixtures::MODEL);
    assert_eq!(provenance["models"][0]["sha256"], sha256);
    assert_eq!(provenance["models"][0]["quantization"], "f16");
    assert_eq!(provenance["baseline"], "reference");
    assert_eq!(provenance["settings"]["parity"]["windows"], "4");
    assert!(provenance["ended"].is_string());
    assert!(provenance["machine"]["state_at_end"].is_object());

    let specs: Vec<&str> = record["cells"]
        .as_array()
        .unwrap()
        .iter()
        .map(|cell| cell["engine"]["spec"].as_str().unwrap())
        .collect();
    for weights in ["f16", "q8_0", "q4_k"] {
        assert!(specs.iter().any(|spec| spec.contains(weights)), "{specs:?}");
    }

    // Raw samples add up to the figures.
    let metric = |name: &str| {
        let cell = &record["cells"][3];
        assert_eq!(cell["engine"]["spec"], "reference:weights=q4_k");
        cell["metrics"]
            .as_array()
            .unwrap()
            .iter()
            .find(|metric| metric["name"] == name)
            .unwrap()["value"]
            .as_f64()
            .unwrap()
    };
    let mut kl = Vec::new();
    let mut reader = csv::Reader::from_path(folder.path().join("r/samples.csv")).unwrap();
    for row in reader.records() {
        let row = row.unwrap();
        if &row[3] == "reference:weights=q4_k" && &row[4] == "kl" {
            kl.push(row[7].parse::<f64>().unwrap());
        }
    }
    assert_eq!(kl.len(), 4 * 128, "one sample a position");
    let mean = kl.iter().sum::<f64>() / kl.len() as f64;
    assert!((mean / metric("parity.teacher_forced.kl_mean") - 1.0).abs() < 1e-12);
    assert!(mean > 0.0, "q4_k cannot be lossless");
}

#[test]
fn two_bit_weights_fail_a_named_gate() {
    let folder = TempDir::new().unwrap();
    let output = harness(
        folder.path(),
        &[
            "run",
            "--suite",
            "parity",
            "--quick",
            "--engine",
            "reference:weights=q2_k",
        ],
    );
    assert_eq!(output.status.code(), Some(1), "{}", text(&output.stderr));
    let table = text(&output.stdout);
    assert!(
        table.contains("FAIL  reference:weights=q2_k  parity.teacher_forced."),
        "{table}"
    );
}

#[test]
fn one_flipped_bit_in_a_weight_fails_a_gate() {
    let folder = TempDir::new().unwrap();
    // The top exponent bit of a weight in the middle of the file: 0.02 becomes
    // about a thousand, or 4 becomes tiny.
    let path = model(folder.path(), "flipped.gguf", |bytes| {
        let at = (bytes.len() / 2) | 1;
        bytes[at] ^= 0x40;
    });
    let output = harness(
        folder.path(),
        &[
            "run",
            "--suite",
            "parity",
            "--quick",
            "--engine",
            &format!("reference:model={path}"),
        ],
    );
    assert_eq!(output.status.code(), Some(1), "{}", text(&output.stdout));
}

#[test]
fn every_format_is_well_formed() {
    let folder = TempDir::new().unwrap();
    for (format, word) in [
        ("csv", "schema,suite,engine"),
        ("junit", "<testsuites"),
        ("markdown", "### parity"),
    ] {
        let output = harness(
            folder.path(),
            &[
                "run",
                "--suite",
                "parity",
                "--quick",
                "--engine",
                "reference:weights=q8_0",
                "--format",
                format,
            ],
        );
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        assert!(
            text(&output.stdout).contains(word),
            "{}",
            text(&output.stdout)
        );
    }
}

#[test]
fn bad_usage_is_exit_2() {
    let folder = TempDir::new().unwrap();
    let run = |more: &[&'static str]| [&["run", "--suite", "parity"], more].concat();
    for (arguments, word) in [
        (vec!["run"], "no suite named"),
        (vec!["run", "--suite", "partiy"], "partiy"),
        (run(&["--engine", "nope"]), "nope"),
        (run(&["--engine", "reference:wieghts=q4_0"]), "wieghts"),
        (run(&["--engine", "reference:weights=q9"]), "q9"),
        (run(&["--engine", ""]), "names no engine"),
        (run(&["--set", "parity.ctx=1"]), "ctx"),
        (run(&["--set", "parity.windos=1"]), "windos"),
        (run(&["--set", "nonsense"]), "nonsense"),
        (
            run(&["--set", "parity.text=/nonexistent.txt"]),
            "/nonexistent.txt",
        ),
        (run(&["--gate", "parity.kl_mean < 1"]), "parity.kl_mean < 1"),
        (run(&["--config", "/nonexistent.toml"]), "/nonexistent.toml"),
        (run(&["--model", "/nonexistent.gguf"]), "/nonexistent.gguf"),
        (run(&["--format", "yaml"]), "yaml"),
        (
            vec!["model", "inspect", "/nonexistent.gguf"],
            "/nonexistent.gguf",
        ),
    ] {
        refused(folder.path(), &arguments, word);
    }
}

#[test]
fn broken_texts_are_exit_2() {
    let folder = TempDir::new().unwrap();
    let file = |name: &str, bytes: &[u8]| {
        fs::write(folder.path().join(name), bytes).unwrap();
        format!("parity.text={name}")
    };
    for (setting, word) in [
        (file("latin1.txt", b"caf\xe9"), "byte 3"),
        (file("empty.txt", b""), "0 tokens"),
        (file("short.txt", b"too short"), "fewer than one window"),
    ] {
        refused(
            folder.path(),
            &["run", "--suite", "parity", "--set", &setting],
            word,
        );
    }
}

// Offsets of u64 fields in a GGUF header.
const TENSOR_COUNT: usize = 8;
const METADATA_COUNT: usize = 16;
const FIRST_KEY_LENGTH: usize = 24;

#[test]
fn damaged_models_are_exit_2() {
    let folder = TempDir::new().unwrap();
    let whole = fixtures::MODEL.len();
    // Every cut that is a multiple of 4 KiB is tried on the parser in the
    // reference crate; here a dozen go through the whole program.
    for part in 0..12 {
        let cut = (whole * part / 12) & !4095;
        let path = model(folder.path(), "cut.gguf", |bytes| bytes.truncate(cut));
        refused(
            folder.path(),
            &["run", "--suite", "parity", "--model", &path],
            "cut.gguf",
        );
    }
    // Counts and lengths that no file could hold.
    for at in [TENSOR_COUNT, METADATA_COUNT, FIRST_KEY_LENGTH] {
        for value in [u64::MAX, 1 << 62, 1 << 40, 1 << 32] {
            let path = model(folder.path(), "absurd.gguf", |bytes| {
                bytes[at..at + 8].copy_from_slice(&value.to_le_bytes());
            });
            refused(folder.path(), &["model", "inspect", &path], "absurd.gguf");
        }
    }
    let path = folder.path().join("text.gguf");
    fs::write(&path, "not a model").unwrap();
    refused(
        folder.path(),
        &[
            "run",
            "--suite",
            "parity",
            "--model",
            path.to_str().unwrap(),
        ],
        "GGUF",
    );
}

#[test]
fn a_record_is_never_overwritten() {
    let folder = TempDir::new().unwrap();
    fs::create_dir(folder.path().join("r")).unwrap();
    fs::write(folder.path().join("r/run.json"), "mine").unwrap();
    refused(
        folder.path(),
        &["run", "--suite", "parity", "--out", "r"],
        "already holds a run record",
    );
    assert_eq!(
        fs::read_to_string(folder.path().join("r/run.json")).unwrap(),
        "mine"
    );
}

#[test]
fn an_interrupted_run_keeps_its_record() {
    let folder = TempDir::new().unwrap();
    let mut child = Command::new(assert_cmd::cargo::cargo_bin!("harness"))
        .current_dir(folder.path())
        .args([
            "run",
            "--suite",
            "parity",
            "--out",
            "r",
            "--set",
            "parity.windows=300",
        ])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let record = folder.path().join("r/run.json");
    while !record.exists() {
        assert!(
            child.try_wait().unwrap().is_none(),
            "it ended before it could be interrupted"
        );
        thread::sleep(Duration::from_millis(5));
    }
    let id = child.id().to_string();
    assert!(
        Command::new("kill")
            .args(["-INT", &id])
            .status()
            .unwrap()
            .success()
    );
    assert_eq!(child.wait().unwrap().code(), Some(130));
    let kept: Value = serde_json::from_str(&fs::read_to_string(record).unwrap()).unwrap();
    assert!(kept["provenance"]["ended"].is_null());
    let names: Vec<String> = fs::read_dir(folder.path().join("r"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert!(
        !names.iter().any(|name| name.starts_with("scratch")),
        "{names:?}"
    );
}

#[test]
fn logits_can_be_kept() {
    let folder = TempDir::new().unwrap();
    let output = harness(
        folder.path(),
        &[
            "run",
            "--suite",
            "parity",
            "--engine",
            "reference",
            "--out",
            "r",
            "--quick",
            "--set",
            "parity.windows=1",
            "--set",
            "parity.save_logits=true",
        ],
    );
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let logits = fs::read(folder.path().join("r/artifacts/parity-0.logits.npy")).unwrap();
    assert!(logits.starts_with(b"\x93NUMPY\x01\x00"));
    assert_eq!(logits.len(), 128 + 4 * 128 * 4096);
    let tokens = fs::read(folder.path().join("r/artifacts/parity-0.tokens.npy")).unwrap();
    assert_eq!(tokens.len(), 128 + 4 * 128);
}

#[test]
fn lists_and_models_are_shown() {
    let folder = TempDir::new().unwrap();
    for (arguments, word) in [
        (vec!["engines"], "available here: yes"),
        (vec!["engines", "--format", "json"], "\"id\": \"reference\""),
        (vec!["suites"], "parity.ctx"),
        (vec!["suites", "--format", "json"], "\"default\": \"256\""),
        (vec!["machine"], "fingerprint"),
        (vec!["machine", "--format", "json"], "memory_bytes"),
        (vec!["model", "inspect"], "llama.block_count = 5"),
        (
            vec!["model", "inspect", "--format", "json"],
            "\"blk.0.attn_q.weight\"",
        ),
        (vec!["model", "verify"], "is sound"),
        (vec!["completions", "bash"], "_harness"),
    ] {
        let output = harness(folder.path(), &arguments);
        assert_eq!(
            output.status.code(),
            Some(0),
            "{arguments:?}: {}",
            text(&output.stderr)
        );
        assert!(
            text(&output.stdout).contains(word),
            "{arguments:?}: {}",
            text(&output.stdout)
        );
    }
}

#[test]
fn a_reader_who_has_left_is_no_error() {
    for arguments in [&["completions", "zsh"][..], &["man"], &["suites"]] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let mut command = Command::new(assert_cmd::cargo::cargo_bin!("harness"));
        let output = command.args(arguments).stdout(writer).output().unwrap();
        assert_eq!(text(&output.stderr), "", "{arguments:?}");
        assert_eq!(output.status.code(), Some(0), "{arguments:?}");
    }
}

#[test]
fn verify_refuses_another_hash_and_a_nan() {
    let folder = TempDir::new().unwrap();
    let output = harness(folder.path(), &["model", "verify", "--sha256", "00"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(
        text(&output.stderr).contains("not 00"),
        "{}",
        text(&output.stderr)
    );
    let path = model(folder.path(), "nan.gguf", |bytes| {
        let at = (bytes.len() / 2) & !1;
        bytes[at..at + 2].copy_from_slice(&0x7e00u16.to_le_bytes());
    });
    let output = harness(folder.path(), &["model", "verify", &path]);
    assert_eq!(output.status.code(), Some(2));
    assert!(
        text(&output.stderr).contains("NaN or infinity"),
        "{}",
        text(&output.stderr)
    );
    // As an engine, the same file is a finding about the engine.
    let spec = format!("reference:model={path}");
    let output = harness(
        folder.path(),
        &["run", "--suite", "parity", "--quick", "--engine", &spec],
    );
    assert_eq!(output.status.code(), Some(3), "{}", text(&output.stdout));
    assert!(
        text(&output.stdout).contains("numerics"),
        "{}",
        text(&output.stdout)
    );
}

#[test]
fn a_gate_that_nothing_answers_to_does_not_pass() {
    let folder = TempDir::new().unwrap();
    let gate = "parity.no_such_metric == 0";
    let output = harness(
        folder.path(),
        &[
            "run", "--suite", "parity", "--quick", "--gate", gate, "--out", "r",
        ],
    );
    let error = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{error}");
    assert!(error.contains(gate), "{error}");
}
