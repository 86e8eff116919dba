//! A worker process as its parent sees it: events, last words, death.

use std::io::{self, Write};
use std::os::unix::process::ExitStatusExt;
use std::process::{ChildStdin, Command, ExitStatus};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::thread;
use std::time::Duration;

use remote::process::{Group, Process, signal_name};
use reports::Evidence;

use super::protocol::{Event, Job, Messages, Violation};

/// A running worker, in a process group of its own.
pub(crate) struct Worker {
    process: Process,
    events: Receiver<Result<Event, Violation>>,
    /// When this is closed, the worker ends itself and its group.
    _lifeline: ChildStdin,
}

/// What came from a worker.
pub(crate) enum Incoming {
    Event(Event),
    Violation(Violation),
    /// Nothing, for as long as was asked.
    Silence,
    /// There will be no more.
    End,
}

/// How a worker ended.
pub(crate) struct Ending {
    /// `None` if even SIGKILL did not end it.
    pub(crate) status: Option<ExitStatus>,
    pub(crate) evidence: Evidence,
}

impl Worker {
    /// Starts `command` as a worker and hands it the job.
    pub(crate) fn start(command: Command, job: &Job) -> io::Result<Self> {
        let (process, mut lifeline, stream) = Process::start(command, Group::Own)?;
        let mut line = serde_json::to_vec(job)?;
        line.push(b'\n');
        // It fits the pipe's buffer. If the worker is dead already, that will show.
        let _ = lifeline.write_all(&line);
        let (sender, events) = sync_channel(64);
        let mut messages = Messages::new(stream);
        thread::spawn(move || {
            loop {
                let message = match messages.next() {
                    Ok(Some(event)) => Ok(event),
                    Ok(None) => break,
                    Err(violation) => Err(violation),
                };
                let last = message.is_err();
                if sender.send(message).is_err() || last {
                    break;
                }
            }
        });
        Ok(Self {
            process,
            events,
            _lifeline: lifeline,
        })
    }

    /// What comes next, waiting at most `patience`.
    pub(crate) fn next(&self, patience: Duration) -> Incoming {
        match self.events.recv_timeout(patience) {
            Ok(Ok(event)) => Incoming::Event(event),
            Ok(Err(violation)) => Incoming::Violation(violation),
            Err(RecvTimeoutError::Timeout) => Incoming::Silence,
            Err(RecvTimeoutError::Disconnected) => Incoming::End,
        }
    }

    /// Memory that it holds, as far as the system tells.
    pub(crate) fn charged_bytes(&self) -> Option<u64> {
        machine::charged_bytes(self.process.id())
    }

    /// Waits at most `patience` for it to end by itself, then ends it, and in any
    /// case whatever it has started.
    pub(crate) fn end(mut self, patience: Duration) -> Ending {
        let status = self.process.end(patience);
        Ending {
            status,
            evidence: Evidence {
                signal: status.and_then(|status| status.signal()).map(signal_name),
                exit_code: status.and_then(|status| status.code()),
                stderr_tail: self.process.last_words(),
            },
        }
    }
}
