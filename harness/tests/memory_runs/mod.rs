//! Running the binary and reading its record, for the tests of `kv`, `memory` and `soak`.
#![allow(dead_code)] // Each test program uses a part.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

/// Runs, expecting exit `code`.
#[track_caller]
pub(crate) fn ends(folder: &Path, arguments: &[&str], code: i32) -> Output {
    let output = Command::new(assert_cmd::cargo::cargo_bin!("harness"))
        .current_dir(folder)
        .args(arguments)
        .output()
        .unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {error}");
    assert!(!error.contains("panicked"), "{error}");
    output
}

pub(crate) fn record(folder: &Path, run: &str) -> Value {
    serde_json::from_str(&fs::read_to_string(folder.join(run).join("run.json")).unwrap()).unwrap()
}

#[track_caller]
pub(crate) fn metric<'a>(cell: &'a Value, name: &str) -> &'a Value {
    let metrics = cell["metrics"].as_array().unwrap();
    let named = metrics.iter().find(|metric| metric["name"] == name);
    named.unwrap_or_else(|| panic!("no {name}"))
}

/// Index and value of one metric's samples.
pub(crate) fn samples(
    folder: &Path,
    run: &str,
    engine: &str,
    case: &str,
    metric: &str,
) -> Vec<(u64, f64)> {
    let path = folder.join(run).join("samples.csv");
    let rows = csv::Reader::from_path(path).unwrap().into_records();
    rows.map(Result::unwrap)
        .filter(|row| (&row[2], &row[3], &row[4]) == (case, engine, metric))
        .map(|row| (row[6].parse().unwrap(), row[7].parse().unwrap()))
        .collect()
}
