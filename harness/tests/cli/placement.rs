//! Suite `placement` through the command line, on the engine that pretends a plan.

use std::fs;
use std::path::Path;
use std::process::Output;

use assert_cmd::Command;
use serde_json::Value;

fn run(folder: &Path, arguments: &[&str]) -> (Output, Value) {
    let mut command = Command::cargo_bin("harness").unwrap();
    command
        .current_dir(folder)
        .args(["run", "--suite", "placement", "--out", "out"]);
    let output = command.args(arguments).output().unwrap();
    let record = fs::read_to_string(folder.join("out/run.json")).unwrap();
    (output, serde_json::from_str(&record).unwrap())
}

fn metric<'a>(record: &'a Value, name: &str) -> &'a Value {
    let cells = record["cells"].as_array().unwrap();
    let mut metrics = cells
        .iter()
        .flat_map(|cell| cell["metrics"].as_array().unwrap());
    metrics.find(|metric| metric["name"] == name).unwrap()
}

#[test]
fn shares_are_gated_and_the_fallen_are_listed() {
    let folder = tempfile::tempdir().unwrap();
    let faulty = [
        "--engine",
        "faulty:off_ane=2",
        "--baseline",
        "faulty:off_ane=2",
    ];
    for (bound, code) in [("0.75", 0), ("0.76", 1)] {
        let gate = format!("placement.ane_share >= {bound}");
        let gated = [&faulty[..], &["--gate", &gate]].concat();
        let (output, record) = run(folder.path(), &gated);
        assert_eq!(output.status.code(), Some(code), "{output:?}");
        let share = metric(&record, "placement.main.ane_share");
        // Six of eight operations, which cost 33 of 36 parts.
        assert_eq!(share["value"], 0.75);
        let cost = &metric(&record, "placement.main.ane_cost_share")["value"];
        assert!((cost.as_f64().unwrap() - 33.0 / 36.0).abs() < 1e-9);
        let off = metric(&record, "placement.main.off_ane");
        assert!(off["why"].as_str().unwrap().contains("layer_norm"), "{off}");
        let table = fs::read_to_string(
            folder
                .path()
                .join("out/artifacts/placement-0.placement.csv"),
        );
        let fallen = table.unwrap();
        let fallen = fallen.lines().filter(|line| line.contains(",cpu,")).count();
        assert_eq!(off["value"], fallen as f64);
        fs::remove_dir_all(folder.path().join("out")).unwrap();
    }
}

#[test]
fn an_engine_without_a_plan_is_skipped_with_the_reason() {
    let folder = tempfile::tempdir().unwrap();
    let (output, record) = run(
        folder.path(),
        &["--engine", "reference", "--engine", "faulty"],
    );
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let cells = record["cells"].as_array().unwrap();
    assert_eq!(cells[0]["status"]["is"], "skipped", "{}", cells[0]);
    let text = cells[0].to_string();
    assert!(text.contains("lacks the capability Placement"), "{text}");
    assert_eq!(metric(&record, "placement.main.ane_share")["value"], 1.0);
}
