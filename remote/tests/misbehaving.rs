//! Programs that break the protocol: each must be named for what it does, within bounds of
//! time and memory, and leave nothing behind.
#![allow(clippy::unwrap_used)] // Fixture code of a test may panic.
#![allow(missing_docs)]

mod support;

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use engine::{Engine, EngineError, FailureKind, Model, Want};
use harness_remote::Stdio;

/// Long enough for a sound answer on a busy machine.
const SHORT_S: u32 = 10;

fn open(fault: &str, options: &str) -> Result<Box<dyn Model>, EngineError> {
    let spec = support::spec(
        "tests/engines/misbehaving.py",
        &format!("' {fault}{options}"),
    );
    Stdio.open(&support::model(), &spec.options)
}

/// What becomes of two tokens.
fn extend(fault: &str, options: &str) -> EngineError {
    let model = open(fault, options).unwrap();
    let mut session = model.session().unwrap();
    let error = session.extend(&[1, 2], Want::All).unwrap_err();
    // The same again from an engine that is not spoken to any more.
    let again = session.extend(&[1, 2], Want::All).unwrap_err();
    if fault != "nan" {
        assert_eq!(
            (again.kind(), again.to_string()),
            (error.kind(), error.to_string())
        );
    }
    error
}

fn assert_fails(fault: &str, options: &str, kind: FailureKind, words: &str) {
    let error = extend(fault, options);
    assert_eq!(error.kind(), kind, "{fault}: {error}");
    assert!(error.to_string().contains(words), "{fault}: {error}");
    assert!(error.to_string().len() < 2000, "{fault}: {error}");
}

#[test]
fn what_breaks_the_protocol_is_told() {
    for (fault, words) in [
        ("wrong_shape", "15 logits are no rows of 16"),
        ("wrong_length", "a context of 3 tokens instead of 2"),
        ("no_base64", "logits: base64"),
        ("no_logits", "no logits"),
        ("impossible_time", "compute_ns"),
        ("unknown_error", "`bad_mood` is no kind of error"),
        ("lies_full_logits", "declares full_logits and gives top"),
        ("lies_all_logits", "1 rows of logits instead of 2"),
        ("invalid_utf8", r"\xff"),
        ("no_json", "`loading model ... 100%` is no reply"),
        ("out_of_order", "request 5 was answered when 4 was asked"),
        ("untold_taps", "a tap that was not asked for"),
        ("closes_pipes", "runs on"),
    ] {
        assert_fails(fault, "", FailureKind::Protocol, words);
    }
}

#[test]
fn a_second_answer_shows_at_the_next_request() {
    let model = open("answers_twice", "").unwrap();
    let mut session = model.session().unwrap();
    session.extend(&[1], Want::Last).unwrap();
    let error = session.extend(&[1], Want::Last).unwrap_err();
    assert_eq!(error.kind(), FailureKind::Protocol, "{error}");
    assert!(
        error.to_string().contains("request 4 was answered when 5"),
        "{error}"
    );
}

#[test]
fn who_dies_has_crashed() {
    for (fault, words) in [
        (
            "closes_early",
            "exit code 0; its last words: no more of this",
        ),
        ("segv", "killed by SIGSEGV"),
        ("half_line_and_end", "exit code 3"),
    ] {
        assert_fails(fault, "", FailureKind::Crash, words);
    }
}

#[test]
fn late_answers_are_not_waited_for() {
    let timeout = format!(",timeout_s={SHORT_S}");
    std::thread::scope(|scope| {
        for fault in ["late", "half_line", "trickle", "floods_stderr_for_ever"] {
            let timeout = &timeout;
            scope.spawn(move || assert_fails(fault, timeout, FailureKind::Timeout, "timeout_s"));
        }
        scope.spawn(|| {
            let error = open("silent", &timeout).err().unwrap();
            assert_eq!(error.kind(), FailureKind::Timeout, "{error}");
        });
        scope.spawn(|| {
            // It reads nothing while it sleeps, and this is more than a pipe holds.
            let model = open("deaf", &timeout).unwrap();
            let mut session = model.session().unwrap();
            let error = session.truncate(0).unwrap_err();
            assert_eq!(error.kind(), FailureKind::Timeout, "{error}");
        });
    });
}

#[test]
fn a_request_that_is_taken_back_costs_no_engine() {
    let spec = support::spec(
        "tests/engines/cancels.py",
        &format!("',timeout_s={SHORT_S}"),
    );
    let model = Stdio.open(&support::model(), &spec.options).unwrap();
    let mut session = model.session().unwrap();
    session.extend(&[0, 0], Want::None).unwrap();
    let error = session.extend(&[1], Want::Last).unwrap_err();
    assert_eq!(error.kind(), FailureKind::Timeout, "{error}");
    assert_eq!(session.len(), 2);
    session.extend(&[0], Want::Last).unwrap();
    assert_eq!(session.len(), 3);
}

#[test]
fn memory_stays_bounded() {
    let before = peak_bytes();
    assert_fails(
        "huge_line",
        "",
        FailureKind::Protocol,
        "a line of more than",
    );
    // 64 MiB of noise harm nobody.
    let model = open("floods_stderr", "").unwrap();
    model.session().unwrap().extend(&[1], Want::Last).unwrap();
    let model = open("taps_without_end", "").unwrap();
    let mut session = model.session().unwrap();
    let error = session.extend_tapped(&[1], &mut |_| {}).unwrap_err();
    assert!(error.to_string().contains("taps without end"), "{error}");
    let error = open("absurd_vocab", "").err().unwrap();
    assert!(error.to_string().contains("vocab cannot be"), "{error}");
    if let (Some(before), Some(after)) = (before, peak_bytes()) {
        // Far less than what came, far more than a line and what other tests hold.
        assert!(after - before < 128 << 20, "{} bytes more", after - before);
    }
}

#[test]
fn a_greeting_must_be_one() {
    for (fault, kind, words) in [
        ("chatty", FailureKind::Protocol, "`Welcome!` is no reply"),
        ("old", FailureKind::Protocol, "it speaks protocol 0"),
        (
            "dies_at_once",
            FailureKind::Crash,
            "No module named 'torch'",
        ),
        (
            "none,colour=red",
            FailureKind::InvalidInput,
            "no option `colour`",
        ),
    ] {
        let error = open(fault, "").err().unwrap();
        assert_eq!(error.kind(), kind, "{fault}: {error}");
        assert!(error.to_string().contains(words), "{fault}: {error}");
    }
    let spec: engine::EngineSpec = "stdio:command=/nonexistent/engine -x".parse().unwrap();
    let error = Stdio.probe(&spec.options).unwrap_err();
    assert_eq!(error.kind(), FailureKind::InvalidInput);
    assert!(error.to_string().contains("/nonexistent/engine"), "{error}");
}

#[test]
fn sound_lines_may_come_in_pieces() {
    let model = open("small_pieces", "").unwrap();
    let mut session = model.session().unwrap();
    assert_eq!(session.extend(&[1, 2], Want::All).unwrap().rows(), 2);
}

#[test]
fn nothing_is_left_behind() {
    let folder = tempfile::tempdir().unwrap();
    std::thread::scope(|scope| {
        for fault in ["forks_and_dies", "forks_and_hangs", "forks", "stubborn"] {
            let file = folder.path().join(fault);
            scope.spawn(move || {
                let mut options = format!(" '{}'", file.display());
                if fault == "forks_and_hangs" {
                    options += &format!(",timeout_s={SHORT_S}");
                }
                let model = open(fault, &options).unwrap();
                let mut session = model.session().unwrap();
                let result = session.extend(&[1], Want::Last);
                let kind = result.as_ref().err().map(EngineError::kind);
                let expected = match fault {
                    "forks_and_dies" => Some(FailureKind::Crash),
                    "forks_and_hangs" => Some(FailureKind::Timeout),
                    _ => None,
                };
                assert_eq!(kind, expected, "{fault}: {result:?}");
                drop(session);
                drop(model);
                for pid in fs::read_to_string(&file).unwrap().split_whitespace() {
                    assert!(is_gone(pid), "{fault}: process {pid} is still there");
                }
            });
        }
    });
}

/// Whether the process has ended; a zombie that nobody has waited for has.
fn is_gone(pid: &str) -> bool {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let gone = match Path::new("/proc/self").exists() {
            // Behind the name, which is in brackets.
            true => fs::read_to_string(format!("/proc/{pid}/stat")).map_or(true, |stat| {
                stat.rsplit(") ").next().unwrap().starts_with('Z')
            }),
            false => {
                let ps = std::process::Command::new("ps")
                    .args(["-o", "stat=", "-p", pid])
                    .output();
                let stat = String::from_utf8(ps.unwrap().stdout).unwrap();
                stat.trim().is_empty() || stat.starts_with('Z')
            }
        };
        // SIGKILL was sent, but the kernel takes its time.
        if gone || Instant::now() > deadline {
            return gone;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn peak_bytes() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kib << 10)
}
