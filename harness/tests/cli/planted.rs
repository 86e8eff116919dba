//! A real record, and changed copies of it.

use std::fs;
use std::path::Path;
use std::sync::OnceLock;

use serde_json::Value;
use tempfile::TempDir;

use crate::support::harness;

pub(crate) const TIME: &str = "latency.decode.itl_p50_ns";

/// Standard output of a comparison that ends with `code`.
#[track_caller]
pub(crate) fn compare(folder: &Path, arguments: &[&str], code: i32) -> String {
    let output = harness(folder, &[&["compare"], arguments].concat());
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {error}");
    assert!(!error.contains("panicked"), "{error}");
    String::from_utf8(output.stdout).unwrap() + &error
}

/// What makes the record.
pub(crate) const RUN: [&str; 10] = [
    "run",
    "--suite",
    "perplexity",
    "--suite",
    "latency",
    "--quick",
    "--engine",
    "reference:weights=q8_0",
    "--set",
    "perplexity.chunks=6",
];

/// A record of suites perplexity and latency, made once for all tests.
pub(crate) fn record() -> &'static Path {
    static RECORD: OnceLock<TempDir> = OnceLock::new();
    let folder = RECORD.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        let output = harness(folder.path(), &[&RUN[..], &["--out", "run"]].concat());
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        folder
    });
    folder.path()
}

/// A copy of the record under `name`, its `run.json` changed.
pub(crate) fn copy(to: &Path, name: &str, change: impl FnOnce(&mut Value)) -> String {
    let (from, to) = (record().join("run"), to.join(name));
    fs::create_dir(&to).unwrap();
    fs::copy(from.join("samples.csv"), to.join("samples.csv")).unwrap();
    let text = fs::read_to_string(from.join("run.json")).unwrap();
    let mut run: Value = serde_json::from_str(&text).unwrap();
    change(&mut run);
    fs::write(to.join("run.json"), run.to_string()).unwrap();
    name.into()
}

/// Every metric of the record with this name.
pub(crate) fn each(run: &mut Value, name: &str, mut change: impl FnMut(&mut Value)) {
    let mut found = false;
    for cell in run["cells"].as_array_mut().unwrap() {
        for metric in cell["metrics"].as_array_mut().unwrap() {
            if metric["name"] == name {
                change(metric);
                found = true;
            }
        }
    }
    assert!(found, "no {name}");
}

/// A copy that began on a day of November 2020, at a commit of branch main.
pub(crate) fn night(
    to: &Path,
    name: &str,
    (day, revision): (usize, &str),
    change: impl FnOnce(&mut Value),
) -> String {
    copy(to, name, |run| {
        let provenance = &mut run["provenance"];
        let time = |minute: usize| {
            let (day, hour) = (1 + day / 24, day % 24);
            format!("2020-11-{day:02}T{hour:02}:{minute:02}:00Z")
        };
        provenance["started"] = time(0).into();
        provenance["ended"] = time(9).into();
        provenance["project"] = serde_json::json!({
            "revision": format!("{revision:0<40}"), "branch": "main", "dirty": false,
        });
        change(run);
    })
}

/// A database of its own on the server for tests, if there is one (`scripts/with-postgres`).
pub(crate) fn postgres(name: &str) -> Option<String> {
    let Ok(server) = std::env::var("HARNESS_TEST_POSTGRES") else {
        eprintln!("not run: HARNESS_TEST_POSTGRES is not set (see scripts/with-postgres)");
        return None;
    };
    let name = format!("{name}_{}", std::process::id());
    ::postgres::Client::connect(&format!("{server}/postgres"), ::postgres::NoTls)
        .unwrap()
        .batch_execute(&format!("CREATE DATABASE {name}"))
        .unwrap();
    Some(format!("{server}/{name}"))
}
