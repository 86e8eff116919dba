//! Engines that are other programs, and `harness conformance`, through the real binary.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

use crate::support::ends;

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

fn minimal() -> String {
    format!("stdio:command=python3 '{ROOT}/scripts/engines/minimal.py'")
}

fn misbehaving(rest: &str) -> String {
    format!("stdio:command=python3 '{ROOT}/remote/tests/engines/misbehaving.py' {rest}")
}

fn conformance(engine: &str, code: i32) -> Value {
    let folder = TempDir::new().unwrap();
    let arguments = ["conformance", "--format=json", "--engine", engine];
    serde_json::from_slice(&ends(folder.path(), &arguments, code).stdout).unwrap()
}

/// The only cell of a run of `suite`.
fn cell(folder: &Path, suite: &str, engine: &str, rest: &[&str], code: i32) -> Value {
    let own = ["--suite", suite, "--engine", engine, "--baseline", engine];
    let arguments = [&["run", "--quick", "--out=r"], &own[..], rest].concat();
    ends(folder, &arguments, code);
    let record = fs::read_to_string(folder.join("r/run.json")).unwrap();
    let record: Value = serde_json::from_str(&record).unwrap();
    let [cell] = &record["cells"].as_array().unwrap()[..] else {
        panic!("{record}");
    };
    cell.clone()
}

#[test]
fn sound_engines_conform() {
    for (engine, least) in [("reference", 20), (&*minimal(), 12)] {
        let report = conformance(engine, 0);
        assert_eq!(report["passed"], true, "{report}");
        let checks = report["checks"].as_array().unwrap();
        let passed = checks.iter().filter(|check| check["outcome"] == "pass");
        assert!(passed.count() >= least, "{report}");
    }
    let folder = TempDir::new().unwrap();
    let output = ends(folder.path(), &["conformance", "--engine", &minimal()], 0);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("minimal 1 on cpu"), "{text}");
    assert!(text.contains("12 passed, 0 failed, "), "{text}");
}

#[test]
fn broken_promises_and_deaths_are_findings() {
    let report = conformance("faulty:mode=nan", 1);
    let checks = report["checks"].as_array().unwrap();
    let finite = checks.iter().find(|check| check["name"] == "logits_finite");
    assert_eq!(finite.unwrap()["outcome"], "fail", "{report}");
    let report = conformance("faulty:mode=segv", 3);
    assert_eq!(report["failure"]["kind"], "crash", "{report}");
    let report = conformance(&misbehaving("dies_at_once"), 3);
    assert_eq!(report["failure"]["kind"], "crash", "{report}");
    let message = report["failure"]["message"].as_str().unwrap();
    assert!(message.contains("No module named 'torch'"), "{message}");
}

#[test]
fn what_another_program_does_is_recorded() {
    for (fault, kind) in [("closes_early", "crash"), ("no_json", "protocol")] {
        let folder = TempDir::new().unwrap();
        let cell = cell(folder.path(), "latency", &misbehaving(fault), &[], 3);
        assert_eq!(cell["status"]["kind"], kind, "{cell}");
    }
}

#[test]
fn a_worker_takes_its_engines_with_it() {
    let folder = TempDir::new().unwrap();
    let pids = folder.path().join("pids");
    let engine = misbehaving(&format!("forks_and_hangs '{}'", pids.display()));
    let cell = cell(folder.path(), "latency", &engine, &["--stall=10s"], 3);
    assert_eq!(cell["status"]["kind"], "timeout", "{cell}");
    for pid in fs::read_to_string(&pids).unwrap().split_whitespace() {
        assert!(is_gone(pid), "process {pid} is still there");
    }
}

#[test]
fn latency_tells_transport_from_computing() {
    let folder = TempDir::new().unwrap();
    let cell = cell(folder.path(), "latency", &minimal(), &[], 0);
    assert_eq!(cell["engine"]["version"], "minimal 1", "{cell}");
    let metrics = cell["metrics"].as_array().unwrap();
    let value = |name: &str| {
        let named = metrics.iter().find(|metric| metric["name"] == name);
        named.unwrap_or_else(|| panic!("no {name}"))["value"]
            .as_f64()
            .unwrap()
    };
    let engine = value("latency.decode.engine_itl_p50_ns");
    let transport = value("latency.decode.transport_p50_ns");
    assert!(engine > 0.0 && transport > 0.0, "{engine} {transport}");
    assert!(value("latency.decode.itl_p50_ns") > engine);
    assert!(value("latency.prompt_32.engine_ttft_p50_ns") > 0.0);
}

#[test]
fn suites_that_need_all_logits_leave_out_who_has_none() {
    let folder = TempDir::new().unwrap();
    let engine = format!("stdio:command=python3 '{ROOT}/remote/tests/engines/top.py'");
    let cell = cell(folder.path(), "parity", &engine, &[], 0);
    let why = cell["status"]["why"].as_str().unwrap();
    assert!(why.contains("FullLogits"), "{why}");
}

#[test]
fn unusable_specs_are_refused_before_anything_runs() {
    let folder = TempDir::new().unwrap();
    for (engine, words) in [
        ("stdio".to_owned(), "no program to start"),
        ("stdio:command=/nonexistent/engine".into(), "cannot start"),
        ("stdio:command='x".into(), "a quote is not closed"),
        ("stdio:command=x,y".into(), "a comma within a value"),
        (minimal() + ",colour=red", "no option `colour`"),
        (minimal() + ",timeout_s=0", "timeout_s=0"),
    ] {
        for command in [&["run", "--suite", "golden"][..], &["conformance"]] {
            let arguments = [command, &["--engine", &engine]].concat();
            let output = ends(folder.path(), &arguments, 2);
            let error = String::from_utf8(output.stderr).unwrap();
            assert!(error.contains(words), "{engine}: {error}");
        }
    }
    assert!(!folder.path().join(".harness").exists());
}

/// Whether the process has ended; a zombie that nobody has waited for has.
fn is_gone(pid: &str) -> bool {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let ps = ["-o", "stat=", "-p", pid];
        let stat = match fs::read_to_string(format!("/proc/{pid}/stat")) {
            // Behind the name, which is in brackets.
            Ok(stat) => stat.rsplit(") ").next().unwrap().to_owned(),
            Err(_) if Path::new("/proc/self").exists() => String::new(),
            Err(_) => {
                let output = Command::new("ps").args(ps).output().unwrap();
                String::from_utf8(output.stdout).unwrap()
            }
        };
        let gone = stat.trim().is_empty() || stat.starts_with('Z');
        if gone || Instant::now() > deadline {
            return gone;
        }
        thread::sleep(Duration::from_millis(10));
    }
}
