//! Workers, faults, interrupts and `--resume` through the real binary.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

use crate::support::{ends, refused, timeless};

const PARITY: [&str; 7] = [
    "run",
    "--suite",
    "parity",
    "--quick",
    "--set",
    "parity.windows=2",
    "--out=r",
];

fn command(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(assert_cmd::cargo::cargo_bin!("harness"));
    command.current_dir(folder).args(arguments);
    command
}

fn start(folder: &Path, arguments: &[&str]) -> Child {
    command(folder, arguments)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

fn record(folder: &Path) -> Value {
    serde_json::from_str(&fs::read_to_string(folder.join("r/run.json")).unwrap()).unwrap()
}

fn cells(record: &Value) -> &Vec<Value> {
    record["cells"].as_array().unwrap()
}

fn cell<'a>(record: &'a Value, name: &str) -> &'a Value {
    let named = cells(record).iter().find(|cell| cell["cell"] == name);
    named.unwrap_or_else(|| panic!("no cell {name}"))
}

#[track_caller]
fn wait_for(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !condition() {
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// Waits until the record in `folder` has `count` cells.
#[track_caller]
fn wait_for_cells(folder: &Path, child: &mut Child, count: usize) {
    wait_for("cells", || {
        assert!(child.try_wait().unwrap().is_none(), "it ended by itself");
        let text = fs::read_to_string(folder.join("r/run.json")).unwrap_or_default();
        serde_json::from_str(&text).is_ok_and(|record| cells(&record).len() >= count)
    });
}

/// The processes that `parent` has started.
fn children(parent: u32) -> Vec<String> {
    let output = Command::new("ps").args(["-A", "-o", "ppid=,pid="]).output();
    let text = String::from_utf8(output.unwrap().stdout).unwrap();
    let pairs = text.lines().filter_map(|line| line.trim().split_once(' '));
    pairs
        .filter(|(ppid, _)| ppid.parse() == Ok(parent))
        .map(|(_, pid)| pid.trim().to_owned())
        .collect()
}

/// Whether the process is gone, but for someone to wait for it.
fn is_gone(pid: &str) -> bool {
    let output = Command::new("ps").args(["-o", "stat=", "-p", pid]).output();
    let state = String::from_utf8(output.unwrap().stdout).unwrap();
    state.trim().is_empty() || state.starts_with('Z')
}

fn signal(child: &Child, name: &str) {
    let id = child.id().to_string();
    assert!(
        Command::new("kill")
            .args([name, &id])
            .status()
            .unwrap()
            .success()
    );
}

#[test]
fn every_fault_is_classified_and_the_others_go_on() {
    let folder = TempDir::new().unwrap();
    let faults = [
        ("segv", "crash", "SIGSEGV"),
        ("abort", "crash", "SIGABRT"),
        ("panic", "crash", "the fault that was asked for"),
        ("exit", "crash", "exit code 0"),
        ("hang", "timeout", "--stall"),
        ("slow", "timeout", "--stall"),
        ("nan", "numerics", "NaN or infinite"),
        ("inf", "numerics", "NaN or infinite"),
        ("wrong_shape", "protocol", "logits instead of"),
        ("garbage", "protocol", "no protocol"),
        ("oom", "out of memory", "--memory-limit"),
        ("refuse", "load", "refused"),
    ];
    let specs: Vec<String> = faults
        .iter()
        .map(|(mode, ..)| format!("--engine=faulty:after=1,delay_ms=1000,mode={mode}"))
        .collect();
    let mut arguments = PARITY.to_vec();
    arguments.extend(["--stall=8s", "--memory-limit=300MiB", "--engine=reference"]);
    arguments.extend(specs.iter().map(String::as_str));
    // What leaks in a cell is for the suite to find that looks for it.
    arguments.extend([
        "--engine=faulty:mode=leak",
        "--engine=reference:weights=q8_0",
    ]);
    let output = ends(folder.path(), &arguments, 3);
    assert!(String::from_utf8_lossy(&output.stdout).contains("12 engine failures"));

    let record = record(folder.path());
    assert_eq!(cells(&record).len(), faults.len() + 3);
    for (mode, kind, word) in faults {
        let name = format!("parity/faulty:after=1,delay_ms=1000,mode={mode}");
        let status = &cell(&record, &name)["status"];
        assert_eq!(status["is"], "failed", "{mode}: {status}");
        assert_eq!(status["kind"], kind, "{mode}: {status}");
        let message = status["message"].as_str().unwrap();
        assert!(message.contains(word), "{mode}: {message}");
    }
    for spec in ["reference", "faulty:mode=leak", "reference:weights=q8_0"] {
        let cell = cell(&record, &format!("parity/{spec}"));
        assert_eq!(cell["status"]["is"], "completed", "{spec}");
        assert!(cell["work"]["tokens"].as_u64().unwrap() > 2 * 128, "{spec}");
    }
    let evidence = |mode: &str| {
        let name = format!("parity/faulty:after=1,delay_ms=1000,mode={mode}");
        cell(&record, &name)["status"]["evidence"].clone()
    };
    assert_eq!(evidence("segv")["signal"], "SIGSEGV");
    assert_eq!(evidence("exit")["exit_code"], 0);
    // What the engine prints goes here and not into the protocol.
    let printed = evidence("garbage")["stderr_tail"].to_string();
    assert!(printed.contains('\u{fffd}'), "{printed}");

    let failures = &record["telemetry"]["failures"];
    assert_eq!(
        (&failures["crash"], &failures["timeout"]),
        (&4.into(), &2.into())
    );
    assert_eq!(record["telemetry"]["work"]["workers"], 15);
}

#[test]
fn an_engine_that_overran_its_time_is_left_out_and_replaced() {
    let folder = TempDir::new().unwrap();
    let arguments = [
        &PARITY[..],
        &[
            "--suite=perplexity",
            "--set=perplexity.chunks=2",
            "--stall=3s",
            "--engine=faulty:mode=hang",
            "--fallback=reference:weights=q8_0",
        ],
    ]
    .concat();
    let output = ends(folder.path(), &arguments, 3);
    let table = String::from_utf8(output.stdout).unwrap();
    assert!(
        table.contains("reference:weights=q8_0 for faulty:mode=hang"),
        "{table}"
    );
    let record = record(folder.path());
    let status = |name: &str| {
        cell(&record, name)["status"]["is"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    for suite in ["parity", "perplexity"] {
        assert_eq!(status(&format!("{suite}/reference")), "completed");
        let name = format!("{suite}/reference:weights=q8_0 for faulty:mode=hang");
        assert_eq!(status(&name), "completed");
        assert_eq!(cell(&record, &name)["stands_in_for"], "faulty:mode=hang");
    }
    assert_eq!(status("parity/faulty:mode=hang"), "failed");
    let left_out = &cell(&record, "perplexity/faulty:mode=hang")["status"];
    let why = left_out["why"].as_str().unwrap();
    assert!(
        why.contains("circuit breaker") && why.contains("overran"),
        "{why}"
    );
}

#[test]
fn a_fallback_takes_over_from_the_baseline() {
    let folder = TempDir::new().unwrap();
    let engines = [
        "--baseline=faulty:mode=segv",
        "--engine=reference:weights=q8_0",
    ];
    let alone = [&PARITY[..], &engines].concat();
    ends(folder.path(), &alone, 3);
    let skipped = record(folder.path());
    assert_eq!(cells(&skipped)[1]["status"]["is"], "skipped");

    fs::remove_dir_all(folder.path().join("r")).unwrap();
    let arguments = [&alone[..], &["--fallback=reference"]].concat();
    ends(folder.path(), &arguments, 3);
    let record = record(folder.path());
    let names: Vec<&str> = cells(&record)
        .iter()
        .map(|cell| cell["cell"].as_str().unwrap())
        .collect();
    assert_eq!(
        names,
        [
            "parity/faulty:mode=segv",
            "parity/reference for faulty:mode=segv",
            "parity/reference:weights=q8_0",
        ]
    );
    assert_eq!(cells(&record)[2]["status"]["is"], "completed");
    refused(
        folder.path(),
        &[&alone[..6], &["--fallback=reference", "--shard=1/2"]].concat(),
        "shards",
    );
}

const HANG: [&str; 1] = ["--engine=faulty:mode=hang"];

#[test]
fn an_interrupt_keeps_what_is_finished_and_ends_the_worker() {
    for name in ["-INT", "-TERM"] {
        let folder = TempDir::new().unwrap();
        let mut child = start(folder.path(), &[&PARITY[..], &HANG].concat());
        wait_for_cells(folder.path(), &mut child, 1);
        wait_for("a worker", || !children(child.id()).is_empty());
        let workers = children(child.id());
        signal(&child, name);
        assert_eq!(child.wait().unwrap().code(), Some(130), "{name}");
        wait_for("its end", || workers.iter().all(|pid| is_gone(pid)));
        let record = record(folder.path());
        assert_eq!(cells(&record).len(), 1);
        assert!(record["provenance"]["ended"].is_null());
    }
}

#[test]
fn no_worker_outlives_its_parent() {
    let folder = TempDir::new().unwrap();
    let mut child = start(folder.path(), &[&PARITY[..], &HANG].concat());
    wait_for_cells(folder.path(), &mut child, 1);
    wait_for("a worker", || !children(child.id()).is_empty());
    let workers = children(child.id());
    child.kill().unwrap();
    child.wait().unwrap();
    wait_for("their end", || workers.iter().all(|pid| is_gone(pid)));
}

#[test]
fn two_processes_cannot_write_one_record() {
    let folder = TempDir::new().unwrap();
    let mut child = start(folder.path(), &[&PARITY[..], &HANG].concat());
    wait_for_cells(folder.path(), &mut child, 1);
    let resume = [&PARITY[..6], &HANG, &["--resume=r"]].concat();
    refused(folder.path(), &resume, "being written");
    child.kill().unwrap();
    child.wait().unwrap();
}

/// What two runs of the same thing have in common.
fn lasting(record: Value) -> Value {
    let mut record = timeless(record);
    let provenance = record["provenance"].as_object_mut().unwrap();
    provenance.remove("resumed");
    for cell in record["cells"].as_array_mut().unwrap() {
        if let Some(work) = cell.get_mut("work") {
            work.as_object_mut().unwrap().remove("workers");
        }
    }
    let telemetry = record["telemetry"]["work"].as_object_mut().unwrap();
    telemetry.remove("workers");
    record
}

const TWO_SUITES: [&str; 10] = [
    "run",
    "--suite=parity",
    "--suite=perplexity",
    "--quick",
    "--set=parity.windows=2",
    "--set=perplexity.chunks=3",
    "--engine=reference",
    "--engine=reference:weights=q8_0",
    "--engine=faulty:mode=segv",
    "--engine=reference:weights=q4_0",
];

#[test]
fn a_resumed_run_leaves_what_a_whole_one_does() {
    let whole = TempDir::new().unwrap();
    ends(whole.path(), &[&TWO_SUITES[..], &["--out=r"]].concat(), 3);
    let samples = |folder: &Path| fs::read(folder.join("r/samples.csv")).unwrap();
    for count in [0, 1, 3, 5, 6] {
        let folder = TempDir::new().unwrap();
        let mut child = start(folder.path(), &[&TWO_SUITES[..], &["--out=r"]].concat());
        wait_for_cells(folder.path(), &mut child, count);
        child.kill().unwrap();
        child.wait().unwrap();
        // Half a row of the next cell.
        let path = folder.path().join("r/samples.csv");
        let cut_off = [&samples(folder.path())[..], b"parity/ref"].concat();
        fs::write(path, cut_off).unwrap();

        let resume = [&TWO_SUITES[..], &["--resume=r"]].concat();
        ends(folder.path(), &resume, 3);
        assert!(
            samples(folder.path()) == samples(whole.path()),
            "{count}: samples differ"
        );
        let resumed = record(folder.path());
        assert_eq!(
            resumed["provenance"]["resumed"].as_array().unwrap().len(),
            1
        );
        assert_eq!(
            lasting(resumed.clone()),
            lasting(record(whole.path())),
            "{count}"
        );
        let left: Vec<_> = fs::read_dir(folder.path().join("r")).unwrap().collect();
        assert_eq!(left.len(), 2, "{left:?}");

        // There is nothing more to do, and nothing is done.
        ends(folder.path(), &resume, 3);
        assert_eq!(record(folder.path()), resumed);
    }
}

#[test]
fn another_run_is_not_resumed() {
    let folder = TempDir::new().unwrap();
    ends(
        folder.path(),
        &[&PARITY[..], &["--engine=reference"]].concat(),
        0,
    );
    let before = record(folder.path());
    let like = |more: &[&'static str]| [&PARITY[..6], more, &["--resume=r"]].concat();
    let same = "--engine=reference";
    for (arguments, word) in [
        (
            like(&["--engine=reference:weights=q8_0"]),
            "choice of engines",
        ),
        (like(&[same, "--suite=perplexity"]), "choice of suites"),
        (like(&[same, "--set=parity.ctx=32"]), "value of a setting"),
        (
            like(&[same, "--gate=parity.kl_mean <= 1"]),
            "choice of gates",
        ),
        (
            like(&[same, "--fallback=reference:weights=q8_0"]),
            "fallback",
        ),
        (like(&[same, "--shard=1/2"]), "shard"),
        (like(&[same, "--out=s"]), "--out"),
        (
            [&PARITY[..6], &[same, "--resume=nowhere"]].concat(),
            "nowhere",
        ),
    ] {
        refused(folder.path(), &arguments, word);
    }
    assert_eq!(record(folder.path()), before);
}

#[test]
fn limits_are_read() {
    let folder = TempDir::new().unwrap();
    for (limit, word) in [
        ("--budget=soon", "soon"),
        ("--stall=0", "some time"),
        ("--memory-limit=much", "much"),
    ] {
        refused(folder.path(), &[&PARITY[..], &[limit]].concat(), word);
    }
    fs::write(folder.path().join("harness.toml"), "budget = \"1ms\"").unwrap();
    ends(folder.path(), &PARITY, 3);
    let record = record(folder.path());
    let status = &cells(&record)[0]["status"];
    assert_eq!(status["kind"], "timeout");
    assert!(
        status["message"].as_str().unwrap().contains("1ms"),
        "{status}"
    );
}

#[test]
fn a_worker_without_a_job_says_so() {
    let folder = TempDir::new().unwrap();
    let mut worker = command(folder.path(), &["worker"]);
    let output = worker.stdin(Stdio::null()).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("no job"));
}
