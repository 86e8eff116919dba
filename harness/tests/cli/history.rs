//! `harness history`, on records of real runs.

use std::fs;

use serde_json::Value;
use tempfile::TempDir;

use crate::support::{prints, refused};

#[test]
fn runs_are_kept_listed_and_moved() {
    let folder = TempDir::new().unwrap();
    let folder = folder.path();
    let run = ["run", "--suite", "parity", "--quick", "--engine"];
    for (engine, out) in [("reference", "one"), ("reference:weights=q8_0", "two")] {
        prints(folder, &[&run[..], &[engine, "--out", out]].concat());
    }
    refused(
        folder,
        &["history", "list"],
        "no history at sqlite:.harness/history.db",
    );
    // One that is no record: nothing is added, nothing is made.
    refused(
        folder,
        &["history", "add", "one", "three"],
        "three/run.json",
    );
    assert!(!folder.join(".harness").exists());

    let said = prints(folder, &["history", "add", "one", "two", "one"]);
    assert_eq!(said, "one: added\ntwo: added\none: already there\n");
    let json = |arguments: &[&str]| -> Vec<Value> {
        let text = prints(
            folder,
            &[&["history", "list", "--format", "json"], arguments].concat(),
        );
        serde_json::from_str(&text).unwrap()
    };
    let runs = json(&[]);
    assert_eq!(runs.len(), 2);
    let path = folder.canonicalize().unwrap().join("one");
    assert_eq!(runs[0]["folder"], path.to_str().unwrap());
    assert_eq!(runs[0]["gates_failed"], 0);
    assert_eq!(json(&["--engine", "reference:weights=q8_0"]).len(), 1);
    assert_eq!(json(&["--branch", "none"]).len(), 0);

    // Every metric that a record holds is there, with the same bits.
    let record: Value =
        serde_json::from_slice(&fs::read(folder.join("two/run.json")).unwrap()).unwrap();
    let points = json(&["--metric", "*"]);
    let of_two = |points: &[Value]| -> usize {
        points
            .iter()
            .filter(|point| point["run"] == runs[1]["run"])
            .count()
    };
    let mut count = 0;
    for cell in record["cells"].as_array().unwrap() {
        for metric in cell["metrics"].as_array().unwrap() {
            count += 1;
            assert!(points.iter().any(|point| {
                point["metric"] == metric["name"]
                    && point["engine"] == cell["engine"]["spec"]
                    && point["value"] == metric["value"]
                    && point["verdict"] == metric["verdict"]
                    && point["run"] == runs[1]["run"]
            }));
        }
    }
    assert_eq!(of_two(&points), count);

    let csv = prints(
        folder,
        &["history", "list", "--metric", "*kl_mean", "--format", "csv"],
    );
    assert!(csv.starts_with("metric,engine,model,"), "{csv}");
    assert!(prints(folder, &["history", "list"]).contains("reference:weights=q8_0"));

    prints(folder, &["history", "export", "--out", "csv"]);
    let other = ["--history", "sqlite:other/history.db"];
    let said = prints(
        folder,
        &[&["history", "import", "csv"], &other[..]].concat(),
    );
    assert_eq!(said, "2 runs added, 0 already there\n");
    prints(
        folder,
        &[&["history", "export", "--out", "csv2"], &other[..]].concat(),
    );
    for name in ["runs.csv", "cells.csv", "points.csv"] {
        let read = |copy: &str| fs::read(folder.join(copy).join(name)).unwrap();
        assert!(read("csv") == read("csv2"), "{name}");
    }
    refused(
        folder,
        &["history", "export", "--out", "csv"],
        "exists already",
    );

    refused(folder, &["history", "prune"], "--keep-days");
    let said = prints(folder, &["history", "prune", "--keep-last", "1"]);
    assert_eq!(said, "1 runs deleted\n");
    assert_eq!(json(&[]).len(), 1);
}

#[test]
fn what_cannot_be_used_is_refused() {
    let folder = TempDir::new().unwrap();
    let folder = folder.path();
    fs::write(folder.join("text"), "text ".repeat(1000)).unwrap();
    for (url, word) in [
        ("nowhere", "names no history"),
        ("mysql://a:secret@b/c", "a:***@b"),
        ("sqlite:text", "something else than a history"),
        ("sqlite:missing.db", "no history at"),
        (
            "postgres://a:secret@127.0.0.1:1/b",
            "the history cannot be used",
        ),
    ] {
        refused(folder, &["history", "list", "--history", url], word);
    }
    assert_eq!(fs::read_dir(folder).unwrap().count(), 1);
}
