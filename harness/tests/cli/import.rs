//! `harness history import --from`, on what criterion 0.8 and gungraun 0.20 really left.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;
use tempfile::TempDir;

use crate::support::{self, harness, prints};

/// Runs it, expecting exit 2, a message that holds `word`, and nothing left behind.
#[track_caller]
fn refused(folder: &Path, arguments: &[&str], word: &str) {
    support::refused(folder, arguments, word);
    assert!(!folder.join(".harness/history.db").exists(), "{word}");
    let runs = fs::read_dir(folder.join(".harness/runs"));
    assert_eq!(runs.map_or(0, Iterator::count), 0, "{word}");
}

/// A copy of the results of `tool`, to be damaged.
fn results(folder: &Path, tool: &str) -> PathBuf {
    let vectors = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/benchmarks");
    let to = folder.join(tool);
    copy(&vectors.join(tool), &to);
    to
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let (from, to) = {
            let entry = entry.unwrap();
            (entry.path(), to.join(entry.file_name()))
        };
        match from.is_dir() {
            true => copy(&from, &to),
            false => drop(fs::copy(&from, &to).unwrap()),
        }
    }
}

/// Files below `folder` that are called `name`.
fn named(folder: &Path, name: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(named(&path, name));
        } else if path.ends_with(name) {
            found.push(path);
        }
    }
    found.sort();
    found
}

fn json(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

/// The metrics of the only cell of the record in `run`.
fn metrics(run: &Path) -> Vec<Value> {
    let record = json(&run.join("run.json"));
    assert_eq!(record["cells"].as_array().unwrap().len(), 1);
    record["cells"][0]["metrics"].as_array().unwrap().clone()
}

fn import(tool: &str) -> [&str; 5] {
    ["history", "import", "--from", tool, tool]
}

#[test]
fn medians_are_criterions_own() {
    let folder = TempDir::new().unwrap();
    let folder = folder.path();
    let criterion = results(folder, "criterion");
    let said = prints(
        folder,
        &[&import("criterion")[..], &["--out", "run"]].concat(),
    );
    assert_eq!(said, "run: added\n");
    let metrics = metrics(&folder.join("run"));
    let files = named(&criterion, "new/benchmark.json");
    assert!(files.len() >= 2);
    let samples = fs::read_to_string(folder.join("run/samples.csv")).unwrap();
    let mut rows = 0;
    for file in files {
        let id = json(&file)["full_id"].as_str().unwrap().to_owned();
        let name = format!("criterion.{id}.wall_ns");
        let ours = metrics.iter().find(|m| m["name"] == name.as_str()).unwrap();
        let sample = json(&file.with_file_name("sample.json"));
        let count = sample["times"].as_array().unwrap().len();
        assert_eq!(ours["n"], count);
        rows += 2 * count;
        // Its estimates are read by no one else, and made by another program.
        let estimates = json(&file.with_file_name("estimates.json"));
        let theirs = estimates["median"]["point_estimate"].as_f64().unwrap();
        let value = ours["value"].as_f64().unwrap();
        // Both are quotients and at most one sum in f64: a few roundings.
        assert!(
            (value - theirs).abs() <= 4.0 * f64::EPSILON * theirs,
            "{id}"
        );
        let ci = |end: &str| ours[end].as_f64().unwrap();
        assert!(ci("ci_low") <= value && value <= ci("ci_high"), "{id}");
        assert_eq!(
            (&ours["unit"], &ours["better"]),
            (&"ns".into(), &"lower".into())
        );
    }
    assert_eq!(samples.lines().count(), 1 + rows);
}

#[test]
fn counts_are_gungrauns_own() {
    let folder = TempDir::new().unwrap();
    let folder = folder.path();
    let gungraun = results(folder, "gungraun");
    prints(
        folder,
        &[&import("gungraun")[..], &["--out", "run"]].concat(),
    );
    let metrics = metrics(&folder.join("run"));
    let files = named(&gungraun, "summary.json");
    assert!(files.len() >= 2);
    for file in &files {
        let summary = json(file);
        let path = summary["module_path"].as_str().unwrap().replace("::", "/");
        let package = summary["package_dir"].as_str().unwrap();
        let id = summary["id"].as_str().unwrap();
        for profile in summary["profiles"].as_array().unwrap() {
            let (event, name) = match profile["tool"].as_str().unwrap() {
                "Callgrind" => ("Ir", "instructions"),
                "DHAT" => ("AtTGmaxBytes", "heap_peak_bytes"),
                other => panic!("{other}"),
            };
            let name = format!("gungraun.{package}/{path}/{id}.{name}");
            let ours = metrics.iter().find(|m| m["name"] == name.as_str());
            let theirs = &profile["data"]["total"]["metrics"][event]["values"]["new"];
            let ours = ours.unwrap_or_else(|| panic!("no {name}"));
            assert_eq!(ours["value"].as_f64(), theirs.as_f64(), "{name}");
            assert_eq!(ours["basis"], "exact");
        }
    }
    let record = json(&folder.join("run/run.json"));
    let started = files.iter().map(|file| {
        let started = json(file)["started_at"].as_str().unwrap().to_owned();
        started.parse::<jiff::Timestamp>().unwrap()
    });
    let run_started: jiff::Timestamp = record["provenance"]["started"]
        .as_str()
        .unwrap()
        .parse()
        .unwrap();
    assert_eq!(run_started, started.min().unwrap());
}

#[test]
fn what_is_there_already_is_left_alone_and_all_of_it_is_shown() {
    let folder = TempDir::new().unwrap();
    let folder = folder.path();
    for tool in ["criterion", "gungraun"] {
        results(folder, tool);
        let said = prints(folder, &import(tool));
        assert!(said.ends_with(": added\n"), "{said}");
        let again = prints(folder, &import(tool));
        assert_eq!(again, said.replace("added", "already there"));
    }
    let runs: Vec<Value> =
        serde_json::from_str(&prints(folder, &["history", "list", "--format", "json"])).unwrap();
    assert_eq!(runs.len(), 2);
    let said = prints(folder, &["report", "--out", "site"]);
    assert!(said.contains("2 runs"), "{said}");
    let run = fs::read_dir(folder.join(".harness/runs")).unwrap().next();
    let run = run.unwrap().unwrap().path();
    let run = run.to_str().unwrap();
    let said = prints(folder, &["compare", run, run, "--all"]);
    assert!(said.contains("no change"), "{said}");
}

#[test]
fn results_of_another_code_have_another_place() {
    let folder = TempDir::new().unwrap();
    let folder = folder.path();
    let criterion = results(folder, "criterion");
    let arguments = [&import("criterion")[..], &["--out", "run"]].concat();
    prints(folder, &arguments);
    let sample = named(&criterion, "sample.json").remove(0);
    let text = fs::read_to_string(&sample).unwrap();
    let mut value: Value = serde_json::from_str(&text).unwrap();
    value["times"][0] = 12345.0.into();
    fs::write(&sample, value.to_string()).unwrap();
    let before = fs::read(folder.join("run/run.json")).unwrap();
    let output = harness(folder, &arguments);
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("choose another folder"));
    assert_eq!(fs::read(folder.join("run/run.json")).unwrap(), before);
}

#[test]
fn damaged_and_foreign_files_are_named_and_nothing_is_imported() {
    let folder = TempDir::new().unwrap();
    let folder = folder.path();
    refused(folder, &import("criterion"), "cannot read criterion");
    fs::create_dir(folder.join("criterion")).unwrap();
    refused(folder, &import("criterion"), "run `cargo bench` first");
    fs::create_dir(folder.join("gungraun")).unwrap();
    refused(folder, &import("gungraun"), "--save-summary=json");

    let criterion = results(folder, "criterion");
    let sample = named(&criterion, "new/sample.json").remove(1);
    let whole = fs::read(&sample).unwrap();
    for cut in [0, 1, whole.len() / 2, whole.len() - 1] {
        fs::write(&sample, &whole[..cut]).unwrap();
        refused(
            folder,
            &import("criterion"),
            "sample.json is no result of criterion",
        );
    }
    fs::write(&sample, [0xff, 0xfe]).unwrap();
    refused(folder, &import("criterion"), "sample.json");
    fs::remove_file(&sample).unwrap();
    refused(folder, &import("criterion"), "sample.json");
    fs::write(&sample, &whole).unwrap();
    let twice = criterion.join("twice");
    copy(sample.parent().unwrap(), &twice.join("new"));
    refused(folder, &import("criterion"), "rename one of them");
    fs::remove_dir_all(&twice).unwrap();

    let summary = named(&results(folder, "gungraun"), "summary.json").remove(0);
    let whole = fs::read_to_string(&summary).unwrap();
    fs::write(&summary, &whole[..whole.len() / 2]).unwrap();
    refused(
        folder,
        &import("gungraun"),
        "summary.json is no result of gungraun",
    );
    fs::write(
        &summary,
        whole.replace(r#""version":"7""#, r#""version":"8""#),
    )
    .unwrap();
    refused(folder, &import("gungraun"), "its schema is 8, not 7");
    fs::write(
        &summary,
        whole.replace(r#""started_at":"2"#, r#""started_at":"x2"#),
    )
    .unwrap();
    refused(folder, &import("gungraun"), "started_at");
    refused(
        folder,
        &["history", "import", "criterion", "--out", "x"],
        "--from",
    );
}
