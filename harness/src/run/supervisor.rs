//! Runs one cell in a worker and tells what came of it.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use engine::FailureKind;
use reports::{Failure, Work};
use suites::{Measurement, Sample};

use super::interrupt::Interrupt;
use super::limits::Limits;
use super::process::{Ending, Incoming, Worker};
use super::protocol::{Event, Job, VERSION, Violation};

/// How often limits and interrupts are looked at.
const POLL: Duration = Duration::from_millis(50);

/// How long a worker that has told its result may take to end: its engine lets go
/// of devices and files.
const GOODBYE: Duration = Duration::from_secs(10);

/// How long a worker may take to die once it has stopped talking.
const DEATH: Duration = Duration::from_secs(2);

/// What came of a cell.
pub(crate) struct Observed {
    pub(crate) outcome: Outcome,
    pub(crate) samples: Vec<Sample>,
    pub(crate) work: Work,
}

pub(crate) enum Outcome {
    Completed(Vec<Measurement>),
    /// The engine failed.
    Failed(Failure),
    /// The model keeps the logits that the suite needs.
    Skipped(String),
    /// The user does not want to know any more.
    Interrupted,
}

/// Why watching a worker came to an end.
enum Stop {
    Done(Vec<Measurement>),
    Failed(FailureKind, String),
    Skipped(String),
    Refused(String),
    Ended,
    Violation(Violation),
    /// A limit was hit; the worker is still there.
    Limit(FailureKind, String),
    Interrupted,
}

/// Runs `job` within `limits`, passing steps done and steps in all to `progress`.
///
/// # Errors
/// When no worker can be started, or the input is unusable.
pub(crate) fn supervise(
    job: &Job,
    limits: &Limits,
    interrupt: &Interrupt,
    progress: &dyn Fn(u64, u64),
) -> Result<Observed> {
    let mut command = this_program()?;
    // What a killed engine leaves among the temporary files goes with the run.
    let scratch = std::path::absolute(&job.scratch).context("cannot find the scratch folder")?;
    command.env("TMPDIR", scratch);
    observe(command, job, limits, interrupt, progress)
}

/// This very program, even if its file was replaced in the meantime.
fn this_program() -> Result<Command> {
    let running = Path::new("/proc/self/exe");
    let mut command = match running.exists() {
        true => Command::new(running),
        false => Command::new(std::env::current_exe().context("cannot find this program")?),
    };
    command.arg("worker");
    Ok(command)
}

fn observe(
    command: Command,
    job: &Job,
    limits: &Limits,
    interrupt: &Interrupt,
    progress: &dyn Fn(u64, u64),
) -> Result<Observed> {
    let oom_kills = oom_kills();
    let worker = Worker::start(command, job).context("cannot start a worker process")?;
    let mut watch = Watch {
        samples: Vec::new(),
        work: Work {
            workers: 1,
            ..Work::default()
        },
        opening: false,
        started: false,
    };
    let stop = watch.until_stop(&worker, job, limits, interrupt, progress);
    let patience = match &stop {
        Stop::Done(_) | Stop::Failed(..) | Stop::Skipped(_) | Stop::Refused(_) => GOODBYE,
        Stop::Ended => DEATH,
        Stop::Violation(Violation::CutOff) => DEATH,
        Stop::Violation(_) | Stop::Limit(..) | Stop::Interrupted => Duration::ZERO,
    };
    let ending = worker.end(patience);
    let outcome = match stop {
        Stop::Refused(message) => bail!(message),
        Stop::Interrupted => Outcome::Interrupted,
        Stop::Done(measurements) if ending.is_clean() => Outcome::Completed(measurements),
        Stop::Failed(kind, message) => Outcome::Failed(failure(kind, message, None)),
        Stop::Skipped(why) => Outcome::Skipped(why),
        Stop::Limit(kind, message) => Outcome::Failed(failure(kind, message, Some(ending))),
        Stop::Violation(violation)
            if !matches!(violation, Violation::CutOff) || ending.is_clean() =>
        {
            let message = format!("the worker's output is no protocol: {violation}");
            Outcome::Failed(failure(FailureKind::Protocol, message, Some(ending)))
        }
        Stop::Done(_) => Outcome::Failed(death("after its last figure, ", ending, oom_kills)),
        Stop::Ended | Stop::Violation(_) => Outcome::Failed(death("", ending, oom_kills)),
    };
    Ok(Observed {
        outcome,
        samples: watch.samples,
        work: watch.work,
    })
}

/// What is known of a worker while it runs.
struct Watch {
    samples: Vec<Sample>,
    /// Told at the end: of a worker that dies only that it was there. What it had
    /// told until then would be a matter of luck.
    work: Work,
    opening: bool,
    started: bool,
}

impl Watch {
    fn until_stop(
        &mut self,
        worker: &Worker,
        job: &Job,
        limits: &Limits,
        interrupt: &Interrupt,
        progress: &dyn Fn(u64, u64),
    ) -> Stop {
        let start = Instant::now();
        let mut last_sign = start;
        let mut next_look = start;
        loop {
            if interrupt.is_set() {
                return Stop::Interrupted;
            }
            match worker.next(POLL) {
                Incoming::Silence => {}
                Incoming::End => return Stop::Ended,
                Incoming::Violation(violation) => return Stop::Violation(violation),
                Incoming::Event(event) => {
                    last_sign = Instant::now();
                    if let Some(stop) = self.take(event, progress) {
                        return stop;
                    }
                }
            }
            let now = Instant::now();
            if now - start > limits.budget {
                let budget = limits.budget;
                return Stop::Limit(
                    FailureKind::Timeout,
                    format!("not done within the budget of {budget:?} (--budget)"),
                );
            }
            let silence = limits.silence(self.opening, job.model.size_bytes());
            if now - last_sign > silence {
                let what = match self.opening {
                    true => "opening the model",
                    false => "a sign of progress",
                };
                return Stop::Limit(
                    FailureKind::Timeout,
                    format!("{silence:?} without {what} (--stall)"),
                );
            }
            if now >= next_look {
                next_look = now + POLL;
                if let Some(bytes) = worker.charged_bytes()
                    && bytes > limits.memory
                {
                    let most = limits.memory;
                    return Stop::Limit(
                        FailureKind::OutOfMemory,
                        format!("{bytes} bytes of memory; the limit is {most} (--memory-limit)"),
                    );
                }
            }
        }
    }

    fn take(&mut self, event: Event, progress: &dyn Fn(u64, u64)) -> Option<Stop> {
        let begins = matches!(event, Event::Started { .. });
        if begins == self.started {
            let why = "it speaks out of turn".into();
            let line = format!("{event:?}").chars().take(60).collect();
            return Some(Stop::Violation(Violation::Malformed { line, why }));
        }
        match event {
            Event::Started { version: VERSION } => self.started = true,
            Event::Started { version } => {
                return Some(Stop::Refused(format!(
                    "the worker speaks version {version} and not {VERSION}: the program was \
                     replaced during the run; start it again"
                )));
            }
            Event::Opening => self.opening = true,
            Event::Opened => self.opening = false,
            Event::Progress { done, total } => progress(done, total),
            Event::Samples { mut samples } => self.samples.append(&mut samples),
            Event::Done { measurements, work } => {
                self.work = work;
                return Some(Stop::Done(measurements));
            }
            Event::Failed {
                kind,
                message,
                work,
            } => {
                self.work = work;
                return Some(Stop::Failed(kind, message));
            }
            Event::Skipped { why, work } => {
                self.work = work;
                return Some(Stop::Skipped(why));
            }
            Event::Refused { message } => return Some(Stop::Refused(message)),
        }
        None
    }
}

impl Ending {
    fn is_clean(&self) -> bool {
        self.status.is_some_and(|status| status.success())
    }
}

fn failure(kind: FailureKind, message: String, ending: Option<Ending>) -> Failure {
    Failure {
        kind: kind.to_string(),
        message,
        evidence: ending.map(|ending| ending.evidence),
    }
}

/// A worker that ended out of turn.
fn death(when: &str, ending: Ending, oom_kills_before: Option<u64>) -> Failure {
    let evidence = &ending.evidence;
    let killed = evidence.signal.as_deref() == Some("SIGKILL");
    let kind = if killed && oom_kills() > oom_kills_before || allocation_failed(evidence) {
        FailureKind::OutOfMemory
    } else {
        FailureKind::Crash
    };
    let how = match (&evidence.signal, evidence.exit_code) {
        (Some(signal), _) => format!("killed by {signal}"),
        (None, Some(code)) => format!("ended out of turn, exit code {code}"),
        (None, None) => "cannot be killed".into(),
    };
    let words = evidence.stderr_tail.lines().rev().map(str::trim);
    let words = words.into_iter().find(|line| !line.is_empty());
    let words = words.map(|line| {
        let line: String = line.chars().take(200).collect();
        format!("; last words: {line}")
    });
    let message = format!("{when}{how}{}", words.unwrap_or_default());
    failure(kind, message, Some(ending))
}

/// How often Linux has killed for want of memory since it started, in this
/// machine or any container on it.
fn oom_kills() -> Option<u64> {
    let text = fs::read_to_string("/proc/vmstat").ok()?;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("oom_kill "))?;
    line.trim().parse().ok()
}

/// Whether it aborted since it was refused memory: what the standard libraries of
/// Rust and C++ say then.
fn allocation_failed(evidence: &reports::Evidence) -> bool {
    let said = |words| evidence.stderr_tail.contains(words);
    evidence.signal.as_deref() == Some("SIGABRT")
        && (said("memory allocation of ") || said("std::bad_alloc"))
}

#[cfg(test)]
#[path = "supervisor_tests.rs"]
mod tests;
