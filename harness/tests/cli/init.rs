//! `harness init`, `harness man`, and what a run tells on the way.

use std::fs;

use tempfile::tempdir;

use crate::support::{harness, permissions};

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

#[test]
fn what_init_writes_is_run_and_not_replaced() {
    let folder = tempdir().unwrap();
    let made = harness(folder.path(), &["init", "--action", "me/harness@abc"]);
    assert_eq!(made.status.code(), Some(0));
    let workflow = folder.path().join(".github/workflows/harness.yml");
    assert!(
        fs::read_to_string(&workflow)
            .unwrap()
            .contains("uses: me/harness@abc\n")
    );

    let file = folder.path().join("harness.toml");
    let plain = folder.path().join("plain");
    fs::write(&plain, "").unwrap();
    for made in [&file, &workflow] {
        assert_eq!(permissions(made), permissions(&plain), "{made:?}");
    }

    fs::write(&file, "suites = [\"kv\"]\n").unwrap();
    let again = harness(folder.path(), &["init"]);
    assert_eq!(again.status.code(), Some(2));
    assert!(
        text(&again.stderr).contains("--force"),
        "{}",
        text(&again.stderr)
    );
    assert_eq!(fs::read_to_string(&file).unwrap(), "suites = [\"kv\"]\n");

    assert_eq!(
        harness(folder.path(), &["init", "--force"]).status.code(),
        Some(0)
    );
    let run = harness(
        folder.path(),
        &[
            "run",
            "--quick",
            "--engine",
            "reference",
            "--format",
            "json",
        ],
    );
    assert_eq!(run.status.code(), Some(0), "{}", text(&run.stderr));
    let record: serde_json::Value = serde_json::from_slice(&run.stdout).unwrap();
    let cells = record["cells"].as_array().unwrap();
    let suites: Vec<_> = cells
        .iter()
        .map(|cell| cell["suite"].as_str().unwrap())
        .collect();
    assert_eq!(
        suites,
        ["parity", "perplexity"],
        "those that the file names"
    );
}

#[test]
fn one_of_two_files_is_enough_to_stop() {
    let folder = tempdir().unwrap();
    let workflows = folder.path().join(".github/workflows");
    fs::create_dir_all(&workflows).unwrap();
    fs::write(workflows.join("harness.yml"), "mine").unwrap();
    assert_eq!(harness(folder.path(), &["init"]).status.code(), Some(2));
    assert!(!folder.path().join("harness.toml").exists());
}

#[test]
fn every_command_that_is_shown_has_a_page() {
    let folder = tempdir().unwrap();
    let man = harness(folder.path(), &["man", "--out", "pages"]);
    assert_eq!(man.status.code(), Some(0));
    let page = |name: &str| folder.path().join("pages").join(name);
    for name in ["harness.1", "harness-run.1", "harness-history-add.1"] {
        let text = fs::read_to_string(page(name)).unwrap();
        assert!(text.contains(".SH NAME"), "{name}");
    }
    assert!(
        !page("harness-worker.1").exists(),
        "workers are nobody's business"
    );
}

#[test]
fn a_run_tells_as_much_as_is_asked_for() {
    let folder = tempdir().unwrap();
    let run = |flag: &str| {
        let output = harness(
            folder.path(),
            &[
                "run",
                "--suite=parity",
                "--quick",
                "--engine=reference",
                flag,
            ],
        );
        assert_eq!(output.status.code(), Some(0));
        text(&output.stderr).to_owned()
    };
    assert_eq!(run("--quiet"), "");
    let told = run("--verbose");
    assert!(
        told.contains("[1/1] parity/reference: completed after "),
        "{told}"
    );
    assert!(told.contains("harness report --runs "), "{told}");
}
