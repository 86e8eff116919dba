//! `harness compare` through the real binary, on a real record and planted changes of it.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::planted::{TIME, compare, copy, each, record};
use crate::support::harness;

/// Eight runs, each a little off the others, with one time multiplied.
fn times(folder: &Path, name: &str, factor: f64) -> String {
    let one = |i: u32| {
        copy(folder, &format!("{name}{i}"), |run| {
            each(run, TIME, |metric| {
                metric["value"] = json!(1e6 * factor * (1.0 + f64::from(i) / 1e3));
            });
        })
    };
    (0..8).map(one).collect::<Vec<_>>().join(",")
}

#[test]
fn a_record_has_not_changed_against_itself() {
    let text = compare(record(), &["run", "run"], 0);
    assert!(text.contains("0 regressed, 0 improved"), "{text}");
    let json = compare(record(), &["run", "run", "--format", "json"], 0);
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["schema"], 1);
    let rows = json["rows"].as_array().unwrap();
    let ppl = rows
        .iter()
        .find(|row| row["metric"] == "perplexity.llama_cpp.ppl");
    assert_eq!(ppl.unwrap()["outcome"], "no_change");
}

#[test]
fn a_planted_slowdown_is_named_and_ends_with_1() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let (base, head) = (times(folder, "a", 1.0), times(folder, "b", 1.1));
    let text = compare(folder, &[&base, &head], 1);
    assert!(text.contains(TIME) && text.contains("+10"), "{text}");
    let text = compare(folder, &[&head, &base], 0);
    assert!(text.contains(" improved") && text.contains(TIME), "{text}");
    let text = compare(folder, &[&base, &head, "--threshold-pct", "20"], 0);
    assert!(text.contains("0 regressed"), "{text}");

    let (first, rest) = base.split_once(',').unwrap();
    let mut repeated = vec![first, head.as_str()];
    for run in rest.split(',') {
        repeated.extend(["--base", run]);
    }
    compare(folder, &repeated, 1);

    // Every format tells.
    let junit = compare(folder, &[&base, &head, "--format", "junit"], 1);
    assert!(junit.contains("<failure message=\"regressed"), "{junit}");
    let csv = compare(folder, &[&base, &head, "--format", "csv"], 1);
    let rows = csv::Reader::from_reader(csv.as_bytes()).into_records();
    let regressed = rows
        .map(Result::unwrap)
        .filter(|row| &row[20] == "regressed");
    assert!(regressed.count() > 0);
    let markdown = compare(folder, &[&base, &head, "--format", "markdown"], 1);
    assert!(markdown.contains("<details>\n") || markdown.contains("<details><summary>"));
}

#[test]
fn a_planted_loss_of_quality_shows_in_one_run() {
    let folder = tempfile::tempdir().unwrap();
    let base = copy(folder.path(), "a", |_| ());
    let head = copy(folder.path(), "b", |run| {
        // exp of 0.02 more nats a token.
        each(run, "perplexity.llama_cpp.ppl", |metric| {
            metric["value"] = json!(metric["value"].as_f64().unwrap() * 0.02f64.exp());
        });
    });
    let path = folder.path().join("b/samples.csv");
    let mut rows = Vec::new();
    for line in fs::read_to_string(&path).unwrap().lines() {
        match line.rsplit_once(',') {
            Some((head, value)) if head.contains(",nll,") => {
                let value: f64 = value.parse().unwrap();
                // The windows differ a little.
                let window: u64 = head.rsplit(',').next().unwrap().parse().unwrap();
                rows.push(format!(
                    "{head},{}",
                    value + 0.0199 + (window / 256 % 3) as f64 * 1e-4
                ));
            }
            _ => rows.push(line.into()),
        }
    }
    let text = rows.join("\n") + "\n";
    fs::write(&path, &text).unwrap();
    let json = folder.path().join("b/run.json");
    let mut run: Value = serde_json::from_str(&fs::read_to_string(&json).unwrap()).unwrap();
    run["samples_bytes"] = json!(text.len());
    fs::write(&json, run.to_string()).unwrap();
    let text = compare(folder.path(), &[&base, &head], 1);
    assert!(
        text.contains("perplexity.llama_cpp.ppl") && text.contains("+2.0"),
        "{text}"
    );
}

#[test]
fn what_cannot_be_compared_says_why() {
    let folder = tempfile::tempdir().unwrap();
    let base = copy(folder.path(), "a", |_| ());
    let mut count = 0;
    let mut reason = |change: fn(&mut Value), words: &str| {
        count += 1;
        let head = copy(folder.path(), &format!("b{count}"), change);
        let text = compare(folder.path(), &[&base, &head, "--format", "csv"], 0);
        assert!(text.contains(words), "no {words} in {text}");
    };
    reason(
        |run| run["cells"][0]["model_sha256"] = json!("ff"),
        "other models",
    );
    reason(
        |run| run["provenance"]["settings"]["perplexity"]["ctx"] = json!("9"),
        "perplexity.ctx is 256 and 9",
    );
    reason(
        |run| run["provenance"]["machine"]["fingerprint"] = json!("other"),
        "other machines",
    );
    reason(
        |run| each(run, TIME, |metric| metric["value"] = json!(1.0)),
        "1 against 1 runs cannot tell",
    );
    reason(
        |run| drop(run["cells"].as_array_mut().unwrap().remove(0)),
        "HEAD has no such cell",
    );
}

#[test]
fn runs_are_made_in_turn_and_compared() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let make = [
        "a", "b", "--runs", "2", "--alpha", "0.6", "--format", "json", "--",
    ];
    let run = [
        "--suite",
        "kv",
        "--quick",
        "--engine",
        "reference:weights=q8_0",
    ];
    let output = harness(folder, &[&["compare"], &make[..], &run].concat());
    assert!(matches!(output.status.code(), Some(0 | 1)), "{output:?}");
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    let started = |side: &str, i: usize| found[side][i]["started"].as_str().unwrap().to_owned();
    let order = [
        started("base", 0),
        started("head", 0),
        started("head", 1),
        started("base", 1),
    ];
    assert!(order.is_sorted(), "{order:?}");
    assert_eq!(found["turns"], 2);
    // Folders of records stand for the records, and runs are never made over others.
    compare(folder, &["a", "a", "--format", "json"], 0);
    let again = compare(folder, &[&make[..], &run].concat(), 2);
    assert!(again.contains("a is there already"), "{again}");
    let bad = compare(folder, &["c", "d", "--", "--suite", "nothing"], 2);
    assert!(bad.contains("no suite `nothing`"), "{bad}");
    fs::create_dir(folder.join("empty")).unwrap();
    let empty = compare(folder, &["a", "empty"], 2);
    assert!(empty.contains("holds none"), "{empty}");
}

#[test]
fn bad_input_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let base = copy(folder.path(), "a", |_| ());
    let newer = copy(folder.path(), "newer", |run| run["schema"] = json!(99));
    for (arguments, words) in [
        (vec!["a", newer.as_str()], "a newer harness wrote it"),
        (vec!["a,a", "a"], "given twice"),
        (vec!["a", "nowhere"], "nowhere"),
        (vec!["a", "a", "--alpha", "2"], "--alpha"),
        (vec!["a", "a", "--threshold-pct", "-1"], "threshold"),
        (vec![base.as_str()], "<HEAD>"),
        (vec!["a", "a", "a"], "unexpected argument"),
        (vec!["a,,a", "a"], "no name"),
    ] {
        let text = compare(folder.path(), &arguments, 2);
        assert!(text.contains(words), "{arguments:?}: {text}");
    }
}
