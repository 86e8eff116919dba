//! Requests and replies, one after the other.

use std::io;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use engine::{EngineError, FailureKind};

use crate::process::{Group, Process};

use super::ending::{manner, on_one_line};
use super::message::{Ask, Reply, Request, TapLine};
use super::pipes::{Broken, Pipes, Until};

/// Longest line, in bytes, of a reply without numbers, and what any reply may be longer than
/// its numbers.
pub(super) const LINE_BYTES: usize = 1 << 20;

/// How long an engine may take to give up a request, and to end when it is told to.
const GOODBYE: Duration = Duration::from_secs(2);

/// How long it may take to die once it has closed its pipes.
const DEATH: Duration = Duration::from_secs(1);

/// What a clock may be wrong by.
const CLOCK: Duration = Duration::from_millis(1);

static SHARED_GROUP: AtomicBool = AtomicBool::new(false);

/// Says that this process and all it starts are in a process group that somebody else will
/// end. From now on engines are started in that group and not in one of their own, which
/// would outlive a process that is killed.
///
/// A worker that its supervisor kills with its whole group leaves no engine behind:
///
/// ```
/// use engine::{Engine, EngineOptions, FailureKind};
/// use harness_remote::{Stdio, share_process_group};
///
/// share_process_group();
/// let mut options = EngineOptions::default();
/// options.set("command", "false"); // Ends at once, and says nothing.
/// let failed = Stdio.probe(&options).map_err(|error| error.kind());
/// assert_eq!(failed, Err(FailureKind::Crash));
/// ```
pub fn share_process_group() {
    SHARED_GROUP.store(true, Ordering::Relaxed);
}

/// A program that is spoken to.
pub(super) struct Connection {
    pipes: Pipes,
    program: Process,
    last_id: u64,
    pub(super) timeout: Duration,
    /// Whether a request can be taken back.
    pub(super) cancels: bool,
    /// What has ended the conversation: every later request fails of it too.
    broken: Option<(FailureKind, String)>,
}

/// What a reply may be, and what comes before it.
pub(super) struct Expected<'a> {
    /// Bytes of a line.
    pub(super) limit: usize,
    /// Takes intermediate tensors, where these were asked for.
    pub(super) on_tap: Option<OnTap<'a>>,
}

/// Takes one tensor, or tells what is wrong with it.
pub(super) type OnTap<'a> = &'a mut dyn FnMut(TapLine<'_>) -> Result<(), String>;

impl Expected<'_> {
    /// A reply without numbers to speak of.
    pub(super) const SHORT: Self = Self {
        limit: LINE_BYTES,
        on_tap: None,
    };

    /// A reply with so many 32-bit floats in base64.
    pub(super) fn floats(count: usize) -> Self {
        Self {
            limit: count
                .saturating_mul(4)
                .div_ceil(3)
                .saturating_mul(4)
                .saturating_add(LINE_BYTES),
            on_tap: None,
        }
    }
}

/// Why a request came to nothing.
enum Failure {
    Broken(Broken),
    /// It answered something that the protocol does not allow.
    Protocol(String),
    /// It said no.
    Refused(EngineError),
    Cancelled,
}

impl From<Broken> for Failure {
    fn from(broken: Broken) -> Self {
        Self::Broken(broken)
    }
}

impl Connection {
    /// Starts `command`.
    ///
    /// # Errors
    /// [`FailureKind::InvalidInput`] when there is no such program.
    pub(super) fn start(command: Command, timeout: Duration) -> Result<Self, EngineError> {
        let name = command.get_program().to_string_lossy().into_owned();
        let group = match SHARED_GROUP.load(Ordering::Relaxed) {
            true => Group::Shared,
            false => Group::Own,
        };
        let start = || {
            let (program, to, from) = Process::start(command, group)?;
            Ok((program, Pipes::new(to.into(), from.into())?))
        };
        let (program, pipes) = start().map_err(|error: io::Error| {
            EngineError::invalid(format!("cannot start `{name}`: {error}")).caused_by(error)
        })?;
        Ok(Self {
            pipes,
            program,
            last_id: 0,
            timeout,
            cancels: false,
            broken: None,
        })
    }

    /// Sends a request, and makes `read` of its reply what it was sent for.
    ///
    /// # Errors
    /// What the engine refuses it with; [`FailureKind::Protocol`] for what is no reply to it,
    /// or if `read` says so; [`FailureKind::Timeout`] and [`FailureKind::Crash`]. But for
    /// refusals, and requests that it has given up, the engine is ended.
    pub(super) fn ask<T>(
        &mut self,
        ask: Ask<'_>,
        mut expected: Expected<'_>,
        read: impl FnOnce(Reply<'_>) -> Result<T, String>,
    ) -> Result<T, EngineError> {
        if let Some((kind, message)) = &self.broken {
            return Err(EngineError::new(*kind, message.clone()));
        }
        match self.exchange(ask, &mut expected, read) {
            Ok(value) => Ok(value),
            Err(Failure::Refused(error)) => Err(error),
            Err(Failure::Broken(Broken::Late)) if self.gives_up() => Err(self.late()),
            Err(Failure::Cancelled) => {
                Err(self.end(Failure::Protocol("it gave up a request unasked".into())))
            }
            Err(failure) => Err(self.end(failure)),
        }
    }

    fn exchange<T>(
        &mut self,
        ask: Ask<'_>,
        expected: &mut Expected<'_>,
        read: impl FnOnce(Reply<'_>) -> Result<T, String>,
    ) -> Result<T, Failure> {
        let begun = Instant::now();
        let deadline = begun + self.timeout;
        self.last_id += 1;
        let id = self.last_id;
        self.send(&Request { id, ask }, deadline)?;
        loop {
            let gone = &|| self.program.gone_within(Duration::ZERO);
            let line = self.pipes.line(expected.limit, Until { deadline, gone })?;
            let reply = parse(line, id)?;
            if let Some(tap) = reply.tap {
                let on_tap = expected.on_tap.as_mut();
                let on_tap = on_tap
                    .ok_or("a tap that was not asked for")
                    .map_err(protocol)?;
                on_tap(tap).map_err(protocol)?;
                continue;
            }
            if let Some(refusal) = reply.error {
                if refusal.is_cancelled() {
                    return Err(Failure::Cancelled);
                }
                let kind = refusal.failure_kind().ok_or_else(|| {
                    protocol(format!("`{}` is no kind of error", brief(&refusal.kind)))
                })?;
                let message = brief(&refusal.message);
                return Err(Failure::Refused(EngineError::new(kind, message)));
            }
            let waited = begun.elapsed();
            let computed = reply.compute_ns.map(Duration::from_nanos);
            if computed.is_some_and(|computed| computed > waited + CLOCK) {
                return Err(protocol(format!(
                    "compute_ns says {computed:?}, but the reply came after {waited:?}"
                )));
            }
            return read(reply).map_err(protocol);
        }
    }

    fn send(&mut self, request: &Request<'_>, deadline: Instant) -> Result<(), Failure> {
        let mut line = serde_json::to_vec(request).map_err(protocol)?;
        line.push(b'\n');
        let gone = &|| self.program.gone_within(Duration::ZERO);
        Ok(self.pipes.send(&line, Until { deadline, gone })?)
    }

    /// Takes back the last request. Whether the engine did as it was told, and is as it was
    /// before.
    fn gives_up(&mut self) -> bool {
        if !self.cancels {
            return false;
        }
        let target = self.last_id;
        let deadline = Instant::now() + GOODBYE;
        let cancel = Request {
            id: target,
            ask: Ask::Cancel { target },
        };
        if self.send(&cancel, deadline).is_err() {
            return false;
        }
        let gone = &|| self.program.gone_within(Duration::ZERO);
        let line = self.pipes.line(LINE_BYTES, Until { deadline, gone });
        let Ok(reply) = line
            .map_err(Failure::from)
            .and_then(|line| parse(line, target))
        else {
            return false;
        };
        reply.error.is_some_and(|refusal| refusal.is_cancelled())
    }

    fn late(&self) -> EngineError {
        let message = format!("no answer within {:?} (option timeout_s)", self.timeout);
        EngineError::new(FailureKind::Timeout, message)
    }

    /// Ends the engine, for it cannot be understood any more.
    fn end(&mut self, failure: Failure) -> EngineError {
        let (kind, message) = match failure {
            Failure::Broken(Broken::Late) => (FailureKind::Timeout, self.late().to_string()),
            Failure::Broken(broken @ (Broken::Closed | Broken::CutOff)) => {
                let dies = self.program.gone_within(DEATH);
                match self.program.end(Duration::ZERO) {
                    Some(status) if dies => (FailureKind::Crash, manner(status)),
                    _ => (FailureKind::Protocol, format!("{broken} and runs on")),
                }
            }
            Failure::Broken(broken) => (FailureKind::Protocol, broken.to_string()),
            Failure::Protocol(why) => (FailureKind::Protocol, why),
            Failure::Cancelled | Failure::Refused(_) => {
                (FailureKind::Protocol, "it spoke out of turn".into())
            }
        };
        self.program.end(Duration::ZERO);
        let words = on_one_line(&self.program.last_words());
        let words = words.map(|words| format!("; its last words: {words}"));
        let message = format!("{message}{}", words.unwrap_or_default());
        self.broken = Some((kind, message.clone()));
        EngineError::new(kind, message)
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        if self.broken.is_none() {
            let shutdown = Request {
                id: self.last_id + 1,
                ask: Ask::Shutdown,
            };
            // If it does not read this, it will see the end of its input.
            let _ = self.send(&shutdown, Instant::now() + GOODBYE);
            self.pipes.close();
            self.program.end(GOODBYE);
        }
    }
}

/// The reply in `line`, if it is the one to request `id`.
fn parse(line: &[u8], id: u64) -> Result<Reply<'_>, Failure> {
    let excerpt = || {
        const LONGEST: usize = 80;
        line[..line.len().min(LONGEST)].escape_ascii().to_string()
    };
    let reply = Reply::parse(line)
        .map_err(|error| protocol(format!("`{}` is no reply: {error}", excerpt())))?;
    match (reply.id, &reply.error) {
        (Some(answered), _) if answered == id => Ok(reply),
        (None, Some(refusal)) => Err(protocol(format!(
            "it could not read request {id}: {}",
            brief(&refusal.message)
        ))),
        (Some(answered), _) => Err(protocol(format!(
            "request {answered} was answered when {id} was asked"
        ))),
        (None, None) => Err(protocol(format!("`{}` has no id", excerpt()))),
    }
}

fn protocol(why: impl ToString) -> Failure {
    Failure::Protocol(why.to_string())
}

/// Words of an engine, fit to be printed.
fn brief(text: &str) -> String {
    const LONGEST: usize = 1000;
    let line = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    line.take(LONGEST).collect()
}
