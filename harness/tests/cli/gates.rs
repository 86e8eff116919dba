//! `harness run --history`: real runs against a planted past.

use std::fs;
use std::path::Path;
use std::process::Output;

use serde_json::{Value, json};

use crate::planted::{RUN, TIME, each, night, postgres};
use crate::support::harness;

const PPL: &str = "perplexity.llama_cpp.ppl";

/// As many runs as are needed, in which a token took about `time` and perplexity was so many times
/// what it is.
fn plant(folder: &Path, url: &str, nights: usize, time: f64, perplexity: f64) {
    let mut names = Vec::new();
    for i in 0..nights {
        let revision = format!("{:x}", 0xa00 + i);
        names.push(night(folder, &format!("n{i}"), (i, &revision), |run| {
            let wobble = 1.0 + (i * 7 % 11) as f64 / 1e3;
            // All times: what is real would not fit among them.
            for cell in run["cells"].as_array_mut().unwrap() {
                let metrics = cell["metrics"].as_array_mut().unwrap();
                metrics
                    .retain(|metric| metric["name"] == TIME || metric["basis"] != json!("machine"));
            }
            each(run, TIME, |metric| metric["value"] = json!(time * wobble));
            each(run, PPL, |metric| {
                metric["value"] = json!(metric["value"].as_f64().unwrap() * perplexity);
            });
            run["provenance"]["project"]["branch"] = Value::Null;
            // However busy it is now, nobody knows how busy it was then.
            let state = &mut run["provenance"]["machine"]["state_at_start"];
            state["load_average_1min"] = Value::Null;
        }));
    }
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let output = harness(
        folder,
        &[&["history", "add", "--history", url], &names[..]].concat(),
    );
    assert_eq!(output.status.code(), Some(0), "{output:?}");
}

fn run(folder: &Path, arguments: &[&str]) -> Output {
    harness(folder, &[&RUN[..], arguments].concat())
}

fn said(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text + &String::from_utf8_lossy(&output.stderr)
}

fn figure(folder: &Path, name: &str) -> Value {
    let text = fs::read_to_string(folder.join("run.json")).unwrap();
    let record: Value = serde_json::from_str(&text).unwrap();
    let cells = record["cells"].as_array().unwrap().iter();
    let mut metrics = cells
        .filter(|cell| cell["cell"].as_str().unwrap().ends_with("q8_0"))
        .flat_map(|cell| cell["metrics"].as_array().unwrap());
    metrics
        .find(|metric| metric["name"] == name)
        .unwrap()
        .clone()
}

fn what_is_worse_than_its_past_fails(url: &str) {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    // No token takes a nanosecond; perplexity is what it was.
    plant(folder, url, 20, 1.0, 1.0);
    let output = run(folder, &["--history", url, "--out", "slow"]);
    let text = said(&output);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("20 runs before this one"), "{text}");
    assert!(text.contains("history: median 1.00"), "{text}");
    let time = figure(&folder.join("slow"), TIME);
    assert_eq!(time["verdict"], "fail");
    let why = time["why"].as_str().unwrap();
    assert!(why.contains("of 20 runs a000000000..a130000000"), "{why}");
    assert_eq!(figure(&folder.join("slow"), PPL)["verdict"], "pass");
    let record = fs::read_to_string(folder.join("slow/run.json")).unwrap();
    assert!(!record.contains("secret"), "a password in the record");
    // Going on with a record that is complete changes nothing.
    let again = run(folder, &["--history", url, "--resume", "slow"]);
    assert_eq!(again.status.code(), Some(1), "{}", said(&again));
}

#[test]
fn what_is_worse_than_its_past_fails_on_sqlite() {
    let folder = tempfile::tempdir().unwrap();
    what_is_worse_than_its_past_fails(&format!("sqlite:{}/h.db", folder.path().display()));
}

#[test]
fn what_is_worse_than_its_past_fails_on_postgresql() {
    if let Some(url) = postgres("gates") {
        let url = url.replace("harness@", "harness:secret@");
        what_is_worse_than_its_past_fails(&url);
    }
}

#[test]
fn a_configuration_names_the_history() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    // Every token takes less than 20 minutes; perplexity was 5 % better.
    plant(folder, "sqlite:h.db", 19, 1.2e12, 0.95);
    let configuration = "[history]\nurl = \"sqlite:h.db\"\nthreshold_pct = ";
    for (percent, code) in [(2, 1), (9, 0)] {
        fs::write(
            folder.join("harness.toml"),
            format!("{configuration}{percent}"),
        )
        .unwrap();
        let out = format!("run{percent}");
        let output = run(folder, &["--out", &out]);
        let text = said(&output);
        assert_eq!(output.status.code(), Some(code), "{text}");
        let ppl = figure(&folder.join(&out), PPL);
        assert_eq!(ppl["verdict"], if code == 1 { "fail" } else { "pass" });
        assert!(ppl["why"].as_str().unwrap().contains("now +5.3 %"), "{ppl}");
        assert_eq!(figure(&folder.join(&out), TIME)["verdict"], "pass");
    }
    // Of another branch there is no past.
    let output = run(folder, &["--history-branch", "main", "--out", "main"]);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    assert!(said(&output).contains("needs n >= 19: 0 runs recorded"));
}

#[test]
fn without_a_past_nothing_is_held_and_that_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let url = ["--history", "sqlite:h.db"];
    let output = run(folder, &[&url[..], &["--out", "first"]].concat());
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    assert!(said(&output).contains("history: there is none yet"));
    assert!(!folder.join("h.db").exists());

    plant(folder, url[1], 18, 1.0, 1.0);
    let output = run(folder, &[&url[..], &["--out", "early"]].concat());
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    let time = figure(&folder.join("early"), TIME);
    assert_eq!(time["verdict"], "info");
    assert!(
        time["why"]
            .as_str()
            .unwrap()
            .contains("needs n >= 19: 18 runs recorded")
    );

    // A mistake is found before anything is run.
    for (arguments, words) in [
        (&["--history", "nowhere"][..], "names no history"),
        (&["--history-branch", "main"], "belongs to --history"),
        (&["--config", "bad.toml"], "history.alpha"),
    ] {
        fs::write(folder.join("bad.toml"), "[history]\nalpha = 5\n").unwrap();
        let output = run(folder, &[arguments, &["--out", "none"]].concat());
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(said(&output).contains(words), "{}", said(&output));
        assert!(!folder.join("none").exists());
    }
}

#[test]
fn shards_are_held_once_they_are_merged() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    plant(folder, "sqlite:h.db", 6, 1.0, 0.95);
    let suite = [
        "run",
        "--suite",
        "perplexity",
        "--quick",
        "--engine",
        "reference:weights=q8_0",
        "--set",
        "perplexity.chunks=6",
        "--history",
        "sqlite:h.db",
    ];
    for shard in ["1/2", "2/2"] {
        let name = &shard[..1];
        let output = harness(
            folder,
            &[&suite[..], &["--shard", shard, "--out", name]].concat(),
        );
        assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    }
    let merge = [
        "merge",
        "1",
        "2",
        "--history",
        "sqlite:h.db",
        "--out",
        "whole",
    ];
    let output = harness(folder, &merge);
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    assert_eq!(figure(&folder.join("whole"), PPL)["verdict"], "fail");
}
