//! `harness worker`: one cell in a process of its own.
//!
//! The engine is a guest here. Standard output is taken away from it, since the
//! parent reads events there; what the engine prints goes to standard error,
//! whose end is kept as evidence.

use std::cell::Cell as Shared;
use std::fs::File;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::panic::{self, AssertUnwindSafe};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use anyhow::{Context, Result, anyhow, ensure};
use engine::{
    ArtifactSource, Calls, EngineError, EngineOptions, EngineSpec, FailureKind, ModelArtifact,
    Predictions,
};
use reports::Work;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::{Errno, fcntl_dupfd_cloexec};
use rustix::process::{Signal, kill_current_process_group};
use rustix::stdio;
use suites::{Cell, Input, Measurement, Sample, Suite, SuiteError};

use super::conformance::{self, Conformance};
use super::protocol::{Event, Job, Messages, VERSION};
use crate::config::find_suite;
use crate::engines::Engines;
use crate::exit::Exit;
use crate::model;
use crate::plan::EMBEDDED;

/// Samples sent together.
const BATCH: usize = 1024;

/// How often the parent is told of progress, at most.
const TICK: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 200_000_000,
};

/// Runs the cell that comes by standard input.
pub(crate) fn worker(engines: &Engines) -> Result<Exit> {
    // What a program started by the engine inherits is neither of the two pipes.
    let null = File::open("/dev/null").context("cannot open /dev/null")?;
    // Whoever ends this worker ends its group.
    remote::share_process_group();
    let lifeline = fcntl_dupfd_cloexec(stdio::stdin(), 3)?;
    let events = fcntl_dupfd_cloexec(stdio::stdout(), 3)?;
    stdio::dup2_stdin(&null)?;
    stdio::dup2_stdout(stdio::stderr())?;
    let parent = Arc::new(Parent(Mutex::new(events.into())));
    parent.tell(&Event::Started { version: VERSION });

    let job: Option<Job> = Messages::new(File::from(lifeline.try_clone()?)).next()?;
    let job = job.context("no job came")?;
    let pulse = Arc::new(Pulse::default());
    thread::spawn({
        let (parent, pulse) = (Arc::clone(&parent), Arc::clone(&pulse));
        move || attend(&lifeline, &parent, &pulse)
    });
    let last = match run(engines, &job, &parent, &pulse) {
        Ok(event) => event,
        Err(error) => Event::Refused {
            message: format!("{error:#}"),
        },
    };
    parent.tell(&last);
    Ok(Exit::Passed)
}

/// Where events go.
struct Parent(Mutex<File>);

impl Parent {
    fn tell(&self, event: &Event) {
        let written = serde_json::to_vec(event)
            .map_err(Into::into)
            .and_then(|mut line| {
                line.push(b'\n');
                let mut stream = self.0.lock().unwrap_or_else(PoisonError::into_inner);
                stream.write_all(&line)
            });
        if written.is_err() {
            end();
        }
    }
}

/// What the measuring thread has done so far. It only adds to counters, which
/// costs it nothing worth measuring; [`attend`] looks at them from time to time.
#[derive(Default)]
struct Pulse {
    opens: AtomicU64,
    calls: Arc<Calls>,
    done: AtomicU64,
    total: AtomicU64,
}

impl Pulse {
    fn work(&self) -> Work {
        Work {
            workers: 1,
            opens: self.opens.load(Relaxed),
            sessions: self.calls.sessions.load(Relaxed),
            extends: self.calls.extends.load(Relaxed),
            tokens: self.calls.tokens.load(Relaxed),
        }
    }

    /// Steps done, and in all.
    fn steps(&self) -> (u64, u64) {
        (self.done.load(Relaxed), self.total.load(Relaxed))
    }
}

/// Passes on that the measuring thread got on, and nothing while it did not: a
/// hang must look like one. Ends everything when the parent is gone, which shows
/// at the other end of the pipe however it died.
fn attend(lifeline: &OwnedFd, parent: &Parent, pulse: &Pulse) {
    let mut told = (pulse.steps(), pulse.work());
    loop {
        match poll(&mut [PollFd::new(lifeline, PollFlags::IN)], Some(&TICK)) {
            Ok(0) | Err(Errno::INTR) => {}
            // Nothing is sent behind the job.
            Ok(_) => match rustix::io::read(lifeline, &mut [0; 4096]) {
                Ok(1..) | Err(Errno::INTR) => {}
                Ok(0) | Err(_) => end(),
            },
            Err(_) => end(),
        }
        let now = (pulse.steps(), pulse.work());
        if now != told {
            let (done, total) = now.0;
            parent.tell(&Event::Progress { done, total });
            told = now;
        }
    }
}

/// Nobody listens any more: ends this process and every one that the engine
/// started.
fn end() -> ! {
    // The group is this worker's own, unless it was started by hand.
    let _ = kill_current_process_group(Signal::KILL);
    std::process::exit(Exit::EngineFailed as i32)
}

fn run(engines: &Engines, job: &Job, parent: &Parent, pulse: &Pulse) -> Result<Event> {
    ensure!(
        job.version == VERSION,
        "the program was replaced during the run; start it again"
    );
    let spec: EngineSpec = job.engine.parse()?;
    let engine = engines.find(&spec)?;
    let artifact = ModelArtifact::from(&job.model);
    let conformance = Conformance {
        engine,
        options: &spec.options,
        model: &artifact,
    };
    let suite: &dyn Suite = match job.suite.as_str() {
        conformance::NAME => &conformance,
        name => find_suite(name)?,
    };
    let reader = ModelArtifact::from(&job.reader);
    let tokenizer = model::tokenizer(&reader)?;

    let keeps_logits = Shared::new(false);
    let open = |options: &EngineOptions| {
        parent.tell(&Event::Opening);
        let opened = engine.open(&artifact, options);
        parent.tell(&Event::Opened);
        pulse.opens.fetch_add(1, Relaxed);
        opened.map(|model| {
            keeps_logits.set(model.predictions() != Predictions::Logits);
            engine::checked(model, Arc::clone(&pulse.calls))
        })
    };
    #[cfg(feature = "dhat-heap")]
    let _profile =
        crate::heap::profile(&job.artifacts.join(format!("{}.dhat-heap.json", job.stem)));
    let known = engine.describe().options;
    let variant = |key: &str, value: &str| {
        known.iter().any(|option| option.key == key).then(|| {
            let mut changed = spec.options.clone();
            changed.set(key, value);
            open(&changed)
        })
    };
    let mut batch = Vec::new();
    let mut cell = Cell {
        open: &|| open(&spec.options),
        variant: &variant,
        input: Input {
            tokenizer: &*tokenizer,
            defaults: EMBEDDED,
            model_sha256: &reader.sha256,
            settings: &job.settings,
        },
        role: job.role,
        candidates: job.candidates,
        engine: &job.engine_name,
        model_path: match &artifact.source {
            ArtifactSource::Path(path) => Some(path),
            ArtifactSource::Embedded(_) => None,
        },
        model_sha256: &artifact.sha256,
        model_bytes: artifact.size_bytes,
        shard: job.shard.parse().map_err(|why| anyhow!("shard: {why}"))?,
        scratch: &job.scratch,
        artifacts: (&job.artifacts, &job.stem),
        progress: &|done, total| {
            pulse.done.store(done, Relaxed);
            pulse.total.store(total, Relaxed);
        },
        samples: &mut |sample| {
            batch.push(sample);
            if batch.len() >= BATCH {
                flush(&mut batch, parent);
            }
        },
    };
    // A panic is a finding, with a message that an abort would not have.
    let result = panic::catch_unwind(AssertUnwindSafe(|| suite.run(&mut cell)));
    flush(&mut batch, parent);
    finding(result, keeps_logits.get(), pulse.work())
}

fn flush(batch: &mut Vec<Sample>, parent: &Parent) {
    if !batch.is_empty() {
        let samples = std::mem::take(batch);
        parent.tell(&Event::Samples { samples });
    }
}

fn finding(
    result: thread::Result<Result<Vec<Measurement>, SuiteError>>,
    keeps_logits: bool,
    work: Work,
) -> Result<Event> {
    Ok(match result {
        Ok(Ok(measurements)) => Event::Done { measurements, work },
        // Which suites can do without is found out by trying.
        Ok(Err(SuiteError::Engine(error)))
            if keeps_logits && error.kind() == FailureKind::Unsupported =>
        {
            Event::Skipped {
                why: chain(&error),
                work,
            }
        }
        Ok(Err(SuiteError::Engine(error))) => Event::Failed {
            kind: error.kind(),
            message: chain(&error),
            work,
        },
        Ok(Err(error)) => return Err(error.into()),
        Err(payload) => {
            let message = payload
                .downcast_ref::<String>()
                .map(String::as_str)
                .or_else(|| payload.downcast_ref::<&str>().copied())
                .unwrap_or("no message");
            Event::Failed {
                kind: FailureKind::Crash,
                message: format!("panicked: {message}"),
                work,
            }
        }
    })
}

/// An error and its causes on one line.
pub(crate) fn chain(error: &EngineError) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}
