//! `harness compare` of two revisions in a history, on planted copies of a real record.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::planted::{TIME, compare, each, night, postgres};
use crate::support::harness;

const PPL: &str = "perplexity.llama_cpp.ppl";

/// Eight runs of a commit, with a time and a perplexity multiplied.
fn eight(folder: &Path, url: &str, (first, revision): (usize, &str), factor: f64) {
    let mut runs = Vec::new();
    for i in 0..8 {
        let name = format!("{revision}-{i}");
        runs.push(night(folder, &name, (first + i, revision), |run| {
            each(run, TIME, |metric| {
                metric["value"] = json!(1e6 * factor * (1.0 + i as f64 / 1e3));
            });
            for end in ["value", "ci_low", "ci_high"] {
                each(run, PPL, |metric| {
                    metric[end] = json!(metric[end].as_f64().unwrap() * factor);
                });
            }
        }));
    }
    let add = ["history", "add", "--history", url];
    let names: Vec<&str> = runs.iter().map(String::as_str).collect();
    let output = harness(folder, &[&add[..], &names].concat());
    assert_eq!(output.status.code(), Some(0), "{output:?}");
}

fn two_commits(folder: &Path, url: &str) {
    eight(folder, url, (0, "abc1"), 1.0);
    eight(folder, url, (8, "abd2"), 1.1);
}

fn row(folder: &Path, arguments: &[&str], name: &str) -> Value {
    let output = harness(
        folder,
        &[&["compare"], arguments, &["--format", "json"]].concat(),
    );
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    let mut rows = found["rows"].as_array().unwrap().iter();
    let of = |row: &&Value| row["metric"] == name && row["cell"].as_str().unwrap().contains("q8_0");
    rows.find(of).unwrap().clone()
}

fn two_commits_are_told_apart(url: &str) {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    two_commits(folder, url);
    let text = compare(folder, &["--history", url, "abc1", "abd"], 1);
    assert!(text.contains(TIME) && text.contains("+10"), "{text}");
    let better = compare(folder, &["--history", url, "abd", "abc1"], 0);
    assert!(better.contains(" improved"), "{better}");

    let arguments = ["--history", url, "abc1", "abd2"];
    let time = row(folder, &arguments, TIME);
    assert_eq!(
        (&time["method"], &time["base_runs"]),
        (&json!("runs"), &json!(8))
    );
    // Where the samples still are, tokens are paired; these are the same on both sides.
    let paired = row(folder, &arguments, PPL);
    assert_eq!(paired["method"], "paired_blocks");
    assert_eq!(paired["shift"], 0.0);
    // Where they are gone, there are the intervals of both.
    for entry in fs::read_dir(folder).unwrap().flatten() {
        if entry.file_name().to_string_lossy().starts_with("ab") {
            fs::remove_dir_all(entry.path()).unwrap();
        }
    }
    let alone = row(folder, &arguments, PPL);
    assert_eq!(alone["method"], "intervals");
    let why = alone["why"].as_str().unwrap();
    assert!(
        why.contains("as if independent") && why.contains("abc1-0"),
        "{why}"
    );

    // Parts.
    let part = [&arguments[..], &["--metric", "latency.*", "--all"]].concat();
    let text = compare(folder, &part, 1);
    assert!(!text.contains("perplexity."), "{text}");
    let none = [&arguments[..], &["--engine", "metal"]].concat();
    let text = compare(folder, &none, 2);
    assert!(text.contains("nothing in it is of a commit"), "{text}");
}

#[test]
fn two_commits_are_told_apart_on_sqlite() {
    let folder = tempfile::tempdir().unwrap();
    two_commits_are_told_apart(&format!("sqlite:{}/h.db", folder.path().display()));
}

#[test]
fn two_commits_are_told_apart_on_postgresql() {
    if let Some(url) = postgres("revisions") {
        two_commits_are_told_apart(&url);
    }
}

#[test]
fn a_run_is_held_against_a_commit_of_the_projects_history() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    two_commits(folder, "sqlite:.harness/history.db");
    night(folder, "mine", (20, "eee"), |_| ());
    // No --history, and a folder on one side: one run cannot tell a time, and says so.
    let text = compare(folder, &["abc1", "mine", "--all"], 0);
    assert!(text.contains("8 against 1 runs cannot tell"), "{text}");
    compare(folder, &["abc1", "abd2"], 1);
}

#[test]
fn runs_made_otherwise_are_left_out() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let url = "sqlite:h.db";
    two_commits(folder, url);
    let quick = night(folder, "quick", (30, "abd2"), |run| {
        run["provenance"]["settings"]["latency"]["requests"] = json!("1");
    });
    let machine = night(folder, "machine", (31, "abd2"), |run| {
        run["provenance"]["machine"]["fingerprint"] = json!("elsewhere");
    });
    let add = ["history", "add", "--history", url, &quick, &machine];
    assert_eq!(harness(folder, &add).status.code(), Some(0));
    let arguments = ["--history", url, "abc1", "abd2"];
    let text = compare(folder, &arguments, 1);
    assert!(
        text.contains("latency/reference:weights=q8_0: 0 runs of BASE and 1 of HEAD are left out"),
        "{text}"
    );
    assert_eq!(row(folder, &arguments, TIME)["head_runs"], 8);

    // Both commits on both machines: which, nobody can know.
    let other = night(folder, "other", (32, "abc1"), |run| {
        run["provenance"]["machine"]["fingerprint"] = json!("elsewhere");
    });
    let add = ["history", "add", "--history", url, &other];
    assert_eq!(harness(folder, &add).status.code(), Some(0));
    let text = compare(folder, &arguments, 2);
    assert!(
        text.contains("--machine") && text.contains("elsewhere (1 runs against 1)"),
        "{text}"
    );
    compare(
        folder,
        &[&arguments[..], &["--machine", "elsewhere"]].concat(),
        0,
    );
}

#[test]
fn what_names_no_commit_is_refused_with_those_that_could_be_meant() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let url = "sqlite:h.db";
    two_commits(folder, url);
    for (arguments, words) in [
        (
            vec!["--history", url, "ab", "abd2"],
            "several revisions, write more of one: abd200000000 (8 runs, main, 2020-11-01), abc100000000",
        ),
        (
            vec!["--history", url, "abc1", "fff"],
            "no run of revision `fff`; the newest are: abd2",
        ),
        (
            vec!["--history", url, "abc1-dirty", "abd2"],
            "the commit as it is; write abc100000000 to",
        ),
        (vec!["--history", url, "abc1,abc10", "abd2"], "given twice"),
        (
            vec!["--history", "sqlite:none.db", "abc1", "abd2"],
            "no history at sqlite:none.db",
        ),
        (
            vec!["abc1", "abd2"],
            "no history at sqlite:.harness/history.db",
        ),
        (
            vec!["--history", url, "--branch", "none", "abc1", "abd2"],
            "nothing in it is of a commit",
        ),
        (
            vec!["--history", url, "a", "b", "--", "--suite", "kv"],
            "cannot be used with",
        ),
    ] {
        let text = compare(folder, &arguments, 2);
        assert!(text.contains(words), "{arguments:?}: {text}");
    }
    assert!(!folder.join(".harness").exists());
}
