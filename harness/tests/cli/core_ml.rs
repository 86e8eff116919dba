//! Core ML packages with the real binary: checked, and held against the reference.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};

use tempfile::TempDir;

fn tiny(name: &str) -> String {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../coreml/tests/packages");
    folder.join(format!("tiny{name}")).display().to_string()
}

fn harness(arguments: &[&str]) -> Output {
    let folder = TempDir::new().unwrap();
    Command::new(assert_cmd::cargo::cargo_bin!("harness"))
        .current_dir(folder.path())
        .args(arguments)
        .output()
        .unwrap()
}

fn told(output: &Output) -> String {
    let both = [&output.stdout[..], &output.stderr].concat();
    String::from_utf8_lossy(&both).into_owned()
}

fn parity(engine: &str, package: &str) -> Output {
    let reference = format!("{engine}:model={}", tiny(".gguf"));
    let reference = match engine.split_once(':') {
        None => reference,
        Some(_) => format!("{engine},model={}", tiny(".gguf")),
    };
    let candidate = format!("coreml-interp:model={}", tiny(package));
    harness(&[
        "run",
        "--suite",
        "parity",
        "--engine",
        &reference,
        "--engine",
        &candidate,
        "--set",
        "parity.ctx=60",
        "--set",
        "parity.windows=5",
    ])
}

#[test]
fn a_converted_model_computes_what_its_source_does() {
    for (engine, package) in [
        ("reference", "-fp16.mlpackage"),
        ("reference:weights=palette4-g16", "-multi.mlpackage"),
    ] {
        let output = parity(engine, package);
        assert_eq!(
            output.status.code(),
            Some(0),
            "{package}: {}",
            told(&output)
        );
    }
}

#[test]
fn packages_of_other_converters_are_read_with_the_tokenizer_of_their_source() {
    for package in ["-apple.mlpackage", "-anemll.mlpackage"] {
        let named = format!("{package},tokenizer={}", tiny(".gguf"));
        let output = parity("reference", &named);
        assert_eq!(
            output.status.code(),
            Some(0),
            "{package}: {}",
            told(&output)
        );
        let output = parity("reference", package);
        assert_eq!(output.status.code(), Some(2), "{}", told(&output));
        assert!(told(&output).contains("tokenizer="), "{}", told(&output));
        let output = harness(&["model", "verify", &tiny(package)]);
        assert_eq!(output.status.code(), Some(0), "{}", told(&output));
        assert!(told(&output).contains("no vocabulary"), "{}", told(&output));
    }
}

#[test]
fn embeddings_are_skipped_where_the_package_has_none() {
    let folder = TempDir::new().unwrap();
    let lines = folder.path().join("lines.txt");
    fs::write(&lines, "The rain in Spain.\nA lazy dog.\nSix of one.\n").unwrap();
    let text = format!("embedding.text={}", lines.display());
    let reference = format!("reference:model={}", tiny(".gguf"));
    for (package, skipped) in [("-fp16.mlpackage", true), ("-multi.mlpackage", false)] {
        let candidate = format!("coreml-interp:model={}", tiny(package));
        let engines = ["--engine", &reference, "--engine", &candidate];
        let words = ["run", "--suite", "embedding", "--quick", "--out", "out"];
        let texts = ["--set", &text, "--gate", "embedding.cosine_min >= -1"];
        let output = harness(&[&words[..], &engines, &texts].concat());
        let seen = told(&output);
        assert_eq!(seen.contains("no function `encode`"), skipped, "{seen}");
        assert_ne!(output.status.code(), Some(3), "{seen}");
        assert_ne!(output.status.code(), Some(2), "{seen}");
    }
}

#[test]
#[cfg(not(target_os = "macos"))]
fn core_ml_is_listed_and_refused_where_there_is_none() {
    let text = told(&harness(&["engines"]));
    assert!(
        text.contains("no, because Core ML is part of macOS"),
        "{text}"
    );
    let output = harness(&["run", "--suite", "parity", "--engine", "coreml"]);
    assert_eq!(output.status.code(), Some(2), "{}", told(&output));
    assert!(
        told(&output).contains("cannot run here"),
        "{}",
        told(&output)
    );
}

#[test]
fn parity_sees_the_lost_update() {
    let output = parity("reference", "-defect.mlpackage");
    assert_eq!(output.status.code(), Some(1), "{}", told(&output));
}

#[test]
fn verify_passes_the_sound_and_names_the_lost_update() {
    for package in ["-fp16.mlpackage", "-multi.mlpackage"] {
        let output = harness(&["model", "verify", &tiny(package)]);
        assert_eq!(output.status.code(), Some(0), "{}", told(&output));
        assert!(told(&output).contains("is sound"));
    }
    let output = harness(&["model", "verify", &tiny("-defect.mlpackage")]);
    assert_eq!(output.status.code(), Some(2));
    assert!(
        told(&output).contains("update is lost"),
        "{}",
        told(&output)
    );
}

#[test]
fn inspect_tells_functions_states_and_weights() {
    let output = harness(&["model", "inspect", &tiny("-multi.mlpackage")]);
    let text = told(&output);
    assert_eq!(output.status.code(), Some(0), "{text}");
    for word in [
        "function prefill",
        "function decode",
        "k_cache_1",
        "palette of uint4",
        "1 × 4",
    ] {
        assert!(text.contains(word), "no `{word}` in\n{text}");
    }
    let output = harness(&[
        "model",
        "inspect",
        &tiny("-fp16.mlpackage"),
        "--format",
        "json",
    ]);
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(json["functions"][0]["operations"]["write_state"], 4);
}

#[test]
fn bad_input_is_told_with_exit_2() {
    let folder = TempDir::new().unwrap();
    let empty = folder.path().join("empty.mlpackage");
    fs::create_dir(&empty).unwrap();
    let bare = folder.path().join("bare.mlmodel");
    fs::write(&bare, [0xff; 40]).unwrap();
    let out = folder.path().join("out.mlpackage");
    let (empty, bare, out) = (
        empty.to_str().unwrap(),
        bare.to_str().unwrap(),
        out.to_str().unwrap(),
    );
    for (arguments, word) in [
        (&["model", "verify", empty][..], "Manifest.json"),
        (&["model", "inspect", bare], "specification"),
        (
            &[
                "model",
                "convert",
                "--to",
                "coreml",
                "--out",
                out,
                "--python",
                "/no/python",
            ],
            "coremltools",
        ),
    ] {
        let output = harness(arguments);
        assert_eq!(
            output.status.code(),
            Some(2),
            "{arguments:?}: {}",
            told(&output)
        );
        assert!(told(&output).contains(word), "{}", told(&output));
    }
    assert!(!PathBuf::from(out).exists());
}
