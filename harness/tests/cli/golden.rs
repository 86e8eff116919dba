//! `harness golden` and the suite `golden` through the real binary on the real fixture.

use std::fs;
use std::path::Path;
use std::process::Output;

use serde_json::Value;
use tempfile::TempDir;

use crate::support::{harness, text};

const PROMPTS: &str = r#"{"id": "walk", "prompt": "She had not walked far when"}
{"id": "drawn", "prompt": "It was", "sampling": "temperature=0.9,top_k=40,top_p=0.95,seed=5"}
{"id": "short", "prompt": "The", "max_tokens": 4, "stop": [" the"]}
"#;

/// Runs, expecting exit `code`; what it says on standard output and error.
#[track_caller]
fn ends(folder: &Path, arguments: &[&str], code: i32) -> (String, String) {
    let output = harness(folder, arguments);
    let (said, error) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(
        output.status.code(),
        Some(code),
        "{arguments:?}: {said}{error}"
    );
    assert!(!error.contains("panicked"), "{error}");
    (said, error)
}

/// A folder with transcripts in `goldens/`.
fn recorded() -> TempDir {
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join("p.jsonl"), PROMPTS).unwrap();
    let record = [
        "golden",
        "record",
        "--prompts",
        "p.jsonl",
        "--out",
        "goldens",
        "--max-tokens",
        "12",
    ];
    ends(folder.path(), &record, 0);
    folder
}

/// Makes `change` to the transcript `id`.
fn change(folder: &Path, id: &str, change: impl FnOnce(&mut Value)) {
    let path = folder.join("goldens").join(format!("{id}.json"));
    let mut value: Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
    change(&mut value);
    fs::write(path, value.to_string()).unwrap();
}

#[test]
fn what_was_recorded_is_said_again() {
    let folder = recorded();
    let (_, error) = ends(
        folder.path(),
        &["golden", "verify", "goldens", "--out", "r"],
        0,
    );
    assert!(error.contains("record: r"), "{error}");
    let run = fs::read_to_string(folder.path().join("r/run.json")).unwrap();
    let run: Value = serde_json::from_str(&run).unwrap();
    let metrics = run["cells"][0]["metrics"].as_array().unwrap();
    let value = |name: &str| metrics.iter().find(|m| m["name"] == name).unwrap()["value"].as_f64();
    assert_eq!(value("golden.all.exact"), Some(1.0));
    assert_eq!(value("golden.all.agreement"), Some(1.0));
    assert_eq!(value("golden.drawn.matched"), Some(12.0));
    // Kernels of another kind round otherwise, and formats flip ties: no more than that.
    let engines = [
        "--engine",
        "reference:kernels=plain",
        "--engine",
        "reference:weights=q8_0",
    ];
    ends(
        folder.path(),
        &[&["golden", "verify", "goldens"], &engines[..]].concat(),
        0,
    );
    let (shown, _) = ends(folder.path(), &["golden", "show", "goldens"], 0);
    assert!(
        shown.contains("── walk ──") && shown.contains("temperature=0.9"),
        "{shown}"
    );
}

#[test]
fn a_flipped_token_fails_and_is_named() {
    for (id, position) in [("walk", 5), ("drawn", 3), ("short", 0)] {
        let folder = recorded();
        change(folder.path(), id, |transcript| {
            let step = &mut transcript["steps"][position]["token"];
            *step = (step.as_u64().unwrap() + 1).into();
        });
        let (said, _) = ends(folder.path(), &["golden", "verify", "goldens"], 1);
        let place = format!("prompt `{id}` position {position}: ");
        assert!(said.contains(&place), "{said}");
    }
}

#[test]
fn a_near_tie_is_told_from_a_fault() {
    let folder = recorded();
    let goldens = folder.path().join("goldens");
    // The closest of all greedy choices: where q4_0's noise is larger than that margin,
    // the runner-up is as good an answer, and in f32 it is not.
    let text = fs::read_to_string(goldens.join("walk.json")).unwrap();
    let walk: Value = serde_json::from_str(&text).unwrap();
    let margin = |step: &Value| step["margin"].as_f64().unwrap();
    let steps = walk["steps"].as_array().unwrap();
    let (position, step) = steps
        .iter()
        .enumerate()
        .min_by(|a, b| margin(a.1).total_cmp(&margin(b.1)))
        .unwrap();
    // An engine that takes the runner-up there is one whose transcript says so: its
    // best two change places.
    change(folder.path(), "walk", |transcript| {
        let step = &mut transcript["steps"][position];
        let (best, second) = (step["top"][0][0].clone(), step["top"][1][0].clone());
        step["token"] = second.clone();
        step["top"][0][0] = second;
        step["top"][1][0] = best;
        transcript["steps"]
            .as_array_mut()
            .unwrap()
            .truncate(position + 1);
        transcript["max_tokens"] = (position + 1).into();
    });
    let verify = ["golden", "verify", "goldens/walk.json", "--format", "json"];
    let count = |engine: &str| {
        let output = harness(
            folder.path(),
            &[&verify[..], &["--engine", engine]].concat(),
        );
        let run: Value = serde_json::from_str(&text_of(&output)).unwrap();
        let metrics = run["cells"][0]["metrics"].as_array().unwrap().clone();
        let value = |name: &str| {
            let metric = metrics.iter().find(|m| m["name"] == name);
            metric.unwrap()["value"].as_f64().unwrap()
        };
        (
            value("golden.all.near_ties"),
            value("golden.all.noise_floor"),
        )
    };
    let (near_ties, floor) = count("reference");
    assert!(
        floor < margin(step),
        "in f32 {} is no near-tie",
        margin(step)
    );
    assert_eq!(near_ties, 0.0);
    let (near_ties, floor) = count("reference:weights=q4_0");
    assert!(
        margin(step) < floor,
        "{} is a near-tie of q4_0",
        margin(step)
    );
    // Where q4_0 takes the runner-up itself, there is nothing to disagree about.
    assert!(near_ties <= (position + 1) as f64);
    let code = |engine: &str| {
        let arguments = [&verify[..], &["--engine", engine]].concat();
        harness(folder.path(), &arguments).status.code()
    };
    assert_eq!(code("reference"), Some(1));
    assert_eq!(code("reference:weights=q4_0"), Some(0));
}

fn text_of(output: &Output) -> String {
    text(&output.stdout)
}

#[test]
fn nothing_is_overwritten_unasked() {
    let folder = recorded();
    let path = folder.path().join("goldens/short.json");
    fs::write(&path, "mine").unwrap();
    let again = [
        "golden",
        "record",
        "--prompts",
        "p.jsonl",
        "--out",
        "goldens",
    ];
    let (_, error) = ends(folder.path(), &again, 2);
    assert!(error.contains("--force"), "{error}");
    assert_eq!(fs::read_to_string(&path).unwrap(), "mine");
    ends(folder.path(), &[&again[..], &["--force"]].concat(), 0);
    assert_ne!(fs::read_to_string(&path).unwrap(), "mine");
}

#[test]
fn a_converted_model_answers_within_the_noise_of_its_format() {
    let folder = recorded();
    fs::write(folder.path().join("f16.gguf"), fixtures::MODEL).unwrap();
    ends(
        folder.path(),
        &[
            "model",
            "quantize",
            "f16.gguf",
            "q8_0.gguf",
            "--type",
            "q8_0",
        ],
        0,
    );
    let verify = ["golden", "verify", "goldens", "--model", "q8_0.gguf"];
    let (_, error) = ends(folder.path(), &verify, 2);
    assert!(error.contains("recorded from another model"), "{error}");
    ends(
        folder.path(),
        &[&verify[..], &["--other-model", "q8_0"]].concat(),
        0,
    );
}

#[test]
fn malformed_files_are_refused() {
    let folder = recorded();
    let path = folder.path().join("goldens/walk.json");
    let whole = fs::read(&path).unwrap();
    let whole_text = text(&whole);
    let replaced = |from: &str, to: &str| whole_text.replacen(from, to, 1).into_bytes();
    let sha = format!("\"model_sha256\": \"{}\"", "0".repeat(64));
    let other_model = {
        let start = whole_text.find("\"model_sha256\"").unwrap();
        [&whole_text[..start], &sha, &whole_text[start + sha.len()..]].concat()
    };
    for (bytes, why) in [
        (whole[..whole.len() / 2].to_vec(), "walk.json line "),
        (Vec::new(), "walk.json line 1"),
        (b"\xff\xfe".to_vec(), "walk.json line 1: not UTF-8"),
        (replaced("\"schema\": 1", "\"schema\": 9"), "schema 9"),
        (replaced("\"token\": ", "\"token\": 99999"), "step 0: token"),
        (
            replaced("\"id\": \"walk\"", "\"id\": \"short\""),
            "walk.json: id `short` is that of",
        ),
        (other_model.into_bytes(), "recorded from another model"),
    ] {
        fs::write(&path, &bytes).unwrap();
        let (said, error) = ends(folder.path(), &["golden", "verify", "goldens"], 2);
        assert!(said.is_empty(), "{said}");
        assert!(error.contains(why), "{why}: {error}");
        assert_eq!(fs::read(&path).unwrap(), bytes);
    }
    assert!(!folder.path().join(".harness").exists());
    fs::create_dir(folder.path().join("empty")).unwrap();
    for (path, why) in [("nowhere", "nowhere"), ("empty", "no transcripts")] {
        let (_, error) = ends(folder.path(), &["golden", "verify", path], 2);
        assert!(error.contains(why), "{error}");
    }
}

#[test]
fn malformed_prompts_are_refused() {
    let folder = TempDir::new().unwrap();
    for (prompts, why) in [
        (
            "{\"id\": \"a\", \"prompt\": \"x\"}\n{\"id\": \"a\", \"prompt\": \"y\"}",
            "line 2",
        ),
        ("\n{\"id\": \"a\"", "line 2"),
        ("", "no prompt"),
        (
            "{\"id\": \"a\", \"messages\": [{\"role\": \"user\", \"content\": \"x\"}]}",
            "chat template",
        ),
    ] {
        fs::write(folder.path().join("p.jsonl"), prompts).unwrap();
        let record = [
            "golden",
            "record",
            "--prompts",
            "p.jsonl",
            "--out",
            "goldens",
        ];
        let (_, error) = ends(folder.path(), &record, 2);
        assert!(error.contains("p.jsonl") && error.contains(why), "{error}");
        assert!(!folder.path().join("goldens").exists());
    }
    for (option, value) in [("--sampling", "hot"), ("--stop", ""), ("--max-tokens", "0")] {
        ends(
            folder.path(),
            &["golden", "record", "--out", "g", option, value],
            2,
        );
    }
}

#[test]
fn the_baselines_answers_serve_where_none_were_recorded() {
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join("p.jsonl"), PROMPTS).unwrap();
    let run = [
        "run",
        "--suite",
        "golden",
        "--quick",
        "--set",
        "golden.prompts=p.jsonl",
    ];
    let engines = [
        "--engine",
        "reference",
        "--engine",
        "reference:weights=q4_0",
        "--format",
        "csv",
    ];
    let (said, _) = ends(folder.path(), &[&run[..], &engines].concat(), 0);
    assert!(said.contains("golden.drawn.unexplained"), "{said}");
}
