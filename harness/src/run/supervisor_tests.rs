//! Workers that misbehave in every way that a shell can.

use std::fs;
use std::thread;

use engine::ModelArtifact;
use suites::Role;

use super::*;

fn job() -> Job {
    let model = ModelArtifact {
        name: "none".into(),
        source: engine::ArtifactSource::Embedded(&[]),
        format: engine::ArtifactFormat::Gguf,
        sha256: String::new(),
        size_bytes: 0,
    };
    Job {
        version: VERSION,
        suite: "parity".into(),
        settings: suites::Settings::default(),
        engine: "reference".into(),
        engine_name: "reference".into(),
        model: (&model).into(),
        reader: (&model).into(),
        role: Role::Baseline,
        candidates: 0,
        shard: "1/1".into(),
        scratch: "".into(),
        artifacts: "".into(),
        stem: String::new(),
    }
}

fn limits() -> Limits {
    Limits::new(
        Some(Duration::from_secs(20)),
        Some(Duration::from_secs(5)),
        Some(1 << 30),
    )
}

fn shell(script: &str, limits: &Limits, interrupt: &Interrupt) -> Result<Observed> {
    let mut command = Command::new("sh");
    let started = r#"echo '{"event":"started","version":1}'; "#;
    command.args(["-c", &format!("{started}{script}")]);
    observe(command, &job(), limits, interrupt, &|_, _| {})
}

fn failed(script: &str, limits: &Limits) -> Failure {
    match shell(script, limits, &Interrupt::default())
        .unwrap()
        .outcome
    {
        Outcome::Failed(failure) => failure,
        Outcome::Completed(_) => panic!("{script}: completed"),
        Outcome::Skipped(_) => panic!("{script}: skipped"),
        Outcome::Interrupted => panic!("{script}: interrupted"),
    }
}

const WORK: &str = r#""work":{"workers":1,"opens":1,"sessions":2,"extends":3,"tokens":4}"#;

#[test]
fn a_worker_that_says_done_is_done() {
    let script = format!(
        r#"echo '{{"event":"samples","samples":[{{"case":"c","metric":"m","unit":"1","index":0,"value":"inf"}}]}}'
           echo '{{"event":"done","measurements":[],{WORK}}}'"#
    );
    let observed = shell(&script, &limits(), &Interrupt::default()).unwrap();
    assert!(matches!(observed.outcome, Outcome::Completed(_)));
    assert_eq!(observed.samples[0].value, f64::INFINITY);
    assert_eq!(observed.work.tokens, 4);
}

#[test]
fn dying_after_the_last_figure_is_a_failure() {
    let script = format!(r#"echo '{{"event":"done","measurements":[],{WORK}}}'; kill -SEGV $$"#);
    let failure = failed(&script, &limits());
    assert_eq!(failure.kind, "crash");
    assert!(failure.message.contains("SIGSEGV"), "{}", failure.message);
}

#[test]
fn every_death_is_told_apart() {
    for (script, kind, word) in [
        ("kill -SEGV $$", "crash", "SIGSEGV"),
        ("kill -ABRT $$", "crash", "SIGABRT"),
        ("kill -KILL $$", "crash", "SIGKILL"),
        ("exit 0", "crash", "exit code 0"),
        ("exit 7", "crash", "exit code 7"),
        ("echo 'so long' >&2; exit 1", "crash", "so long"),
        (
            "echo 'memory allocation of 99 bytes failed' >&2; kill -ABRT $$",
            "out of memory",
            "99 bytes",
        ),
        // Half a line: it died in the middle of a word.
        ("printf '{\"event\":'; kill -BUS $$", "crash", "SIGBUS"),
        ("printf '{\"event\":'", "protocol", "cut off"),
        ("echo hello; sleep 60", "protocol", "hello"),
        (
            "echo '{\"event\":\"started\",\"version\":1}'",
            "protocol",
            "out of turn",
        ),
        (
            "head -c 5000000 /dev/zero; sleep 60",
            "protocol",
            "more than",
        ),
        ("yes", "protocol", "`y`"),
    ] {
        let failure = failed(script, &limits());
        assert_eq!(failure.kind, kind, "{script}: {}", failure.message);
        assert!(
            failure.message.contains(word),
            "{script}: {}",
            failure.message
        );
    }
}

#[test]
fn limits_are_kept() {
    let short = Duration::from_millis(300);
    let stall = Limits {
        stall: short,
        ..limits()
    };
    let failure = failed("sleep 60", &stall);
    assert_eq!(failure.kind, "timeout");
    assert!(failure.message.contains("--stall"), "{}", failure.message);

    // It gets on, but to no end.
    let budget = Limits {
        budget: short,
        ..limits()
    };
    let script =
        r#"while true; do echo '{"event":"progress","done":1,"total":2}'; sleep 0.05; done"#;
    let failure = failed(script, &budget);
    assert_eq!(failure.kind, "timeout");
    assert!(failure.message.contains("--budget"), "{}", failure.message);

    let memory = Limits {
        memory: 20_000_000,
        ..limits()
    };
    let failure = failed(
        "x=$(head -c 40000000 /dev/zero | tr '\\0' x); sleep 60",
        &memory,
    );
    assert_eq!(failure.kind, "out of memory");
    assert_eq!(failure.evidence.unwrap().signal.as_deref(), Some("SIGTERM"));
}

#[test]
fn a_deaf_worker_and_its_children_are_killed() {
    let folder = tempfile::tempdir().unwrap();
    let ids = folder.path().join("ids");
    let script = format!(
        "trap '' TERM; sh -c \"trap '' TERM; sleep 60\" & echo $! $$ > {}; while true; do sleep 1; done",
        ids.display()
    );
    let stall = Limits {
        stall: Duration::from_secs(1),
        ..limits()
    };
    let failure = failed(&script, &stall);
    assert_eq!(failure.evidence.unwrap().signal.as_deref(), Some("SIGKILL"));
    for id in fs::read_to_string(ids).unwrap().split_whitespace() {
        let alive = || {
            let id = rustix::process::Pid::from_raw(id.parse().unwrap()).unwrap();
            rustix::process::test_kill_process(id).is_ok()
        };
        // A child of the worker's is waited for by init, whenever it gets to it.
        let gone = (0..500).any(|_| {
            thread::sleep(Duration::from_millis(10));
            !alive() || is_zombie(id)
        });
        assert!(gone, "{id} lives on");
    }
}

fn is_zombie(id: &str) -> bool {
    let status = fs::read_to_string(format!("/proc/{id}/status"));
    status.is_ok_and(|status| status.contains("State:\tZ"))
}

#[test]
fn an_interrupt_stops_it() {
    let interrupt = Interrupt::default();
    interrupt.set();
    let observed = shell("sleep 60", &limits(), &interrupt).unwrap();
    assert!(matches!(observed.outcome, Outcome::Interrupted));
}

#[test]
fn unusable_input_is_no_failure() {
    let script = r#"echo '{"event":"refused","message":"no such text"}'"#;
    let error = shell(script, &limits(), &Interrupt::default())
        .err()
        .unwrap();
    assert_eq!(error.to_string(), "no such text");
}

#[test]
fn another_version_is_refused() {
    let mut command = Command::new("sh");
    command.args(["-c", r#"echo '{"event":"started","version":99}'"#]);
    let observed = observe(
        command,
        &job(),
        &limits(),
        &Interrupt::default(),
        &|_, _| {},
    );
    let error = observed.err().unwrap().to_string();
    assert!(error.contains("version 99"), "{error}");
}
