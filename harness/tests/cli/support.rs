//! Running the binary, and reading what it leaves.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

/// Runs `harness` in `folder`, whatever history the caller's shell names.
pub(crate) fn harness(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(assert_cmd::cargo::cargo_bin!("harness"))
        .current_dir(folder)
        .env_remove("HARNESS_HISTORY")
        .args(arguments)
        .output()
        .unwrap()
}

/// Runs, expecting exit `code`.
#[track_caller]
pub(crate) fn ends(folder: &Path, arguments: &[&str], code: i32) -> Output {
    let output = harness(folder, arguments);
    let error = text(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {error}");
    assert!(!error.contains("panicked"), "{error}");
    output
}

/// Runs, expecting success; what it prints.
#[track_caller]
pub(crate) fn prints(folder: &Path, arguments: &[&str]) -> String {
    text(&ends(folder, arguments, 0).stdout)
}

/// Runs, expecting bad input: exit 2, a message that holds `word`, nothing on standard output.
#[track_caller]
pub(crate) fn refused(folder: &Path, arguments: &[&str], word: &str) {
    let output = ends(folder, arguments, 2);
    let error = text(&output.stderr);
    assert!(error.contains(word), "{arguments:?}: {error}");
    assert!(output.stdout.is_empty(), "{arguments:?}");
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

pub(crate) fn permissions(path: &Path) -> fs::Permissions {
    fs::metadata(path).unwrap().permissions()
}

/// The record in folder `run`.
pub(crate) fn record(folder: &Path, run: &str) -> Value {
    serde_json::from_str(&fs::read_to_string(folder.join(run).join("run.json")).unwrap()).unwrap()
}

/// What two runs of the same thing have in common, whole or in shards.
pub(crate) fn lasting(record: Value) -> Value {
    let mut record = timeless(record);
    let provenance = record["provenance"].as_object_mut().unwrap();
    provenance.remove("shards");
    for cell in record["cells"].as_array_mut().unwrap() {
        cell.as_object_mut().unwrap().remove("work");
    }
    record.as_object_mut().unwrap().remove("telemetry");
    record
}

/// A record without how it was asked for, when it was made, and what the machine did meanwhile.
pub(crate) fn timeless(mut record: Value) -> Value {
    let provenance = record["provenance"].as_object_mut().unwrap();
    for key in ["command_line", "started", "ended"] {
        provenance.remove(key);
    }
    let machine = provenance["machine"].as_object_mut().unwrap();
    for key in ["state_at_start", "state_at_end", "warnings"] {
        machine.remove(key);
    }
    for cell in record["cells"].as_array_mut().unwrap() {
        let cell = cell.as_object_mut().unwrap();
        cell.remove("started");
        cell.remove("wall_s");
    }
    record
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
