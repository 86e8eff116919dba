//! A worker process as its parent sees it: events, last words, death.
//!
//! Nothing a worker does can block its parent: every stream is read by a thread
//! of its own and within bounds, and every wait has an end.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use reports::Evidence;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};

use super::protocol::{Event, Job, Messages, Violation};

/// How much of its standard error is kept.
const TAIL_BYTES: usize = 8 << 10;

/// What is left to a process group between SIGTERM and SIGKILL.
const GRACE: Duration = Duration::from_millis(500);

/// How long the kernel may take to end a process that got SIGKILL.
const KERNEL: Duration = Duration::from_secs(5);

/// A running worker, in a process group of its own.
pub(crate) struct Worker {
    child: Child,
    events: Receiver<Result<Event, Violation>>,
    tail: Arc<Mutex<VecDeque<u8>>>,
    /// Ends when nobody can write to standard error any more.
    listener: JoinHandle<()>,
    /// When this is closed, the worker ends itself and its group.
    _lifeline: Option<ChildStdin>,
    ended: bool,
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
    pub(crate) fn start(mut command: Command, job: &Job) -> io::Result<Self> {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .spawn()?;
        let mut lifeline = child.stdin.take();
        let mut line = serde_json::to_vec(job)?;
        line.push(b'\n');
        if let Some(pipe) = &mut lifeline {
            // It fits the pipe's buffer. If the worker is dead already, that will show.
            let _ = pipe.write_all(&line);
        }
        let (sender, events) = sync_channel(64);
        if let Some(stream) = child.stdout.take() {
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
        }
        let tail = Arc::new(Mutex::new(VecDeque::new()));
        let listener = thread::spawn({
            let (stream, tail) = (child.stderr.take(), Arc::clone(&tail));
            move || {
                if let Some(stream) = stream {
                    listen(stream, &tail);
                }
            }
        });
        Ok(Self {
            child,
            events,
            tail,
            listener,
            _lifeline: lifeline,
            ended: false,
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
        machine::charged_bytes(self.child.id())
    }

    /// Waits at most `patience` for it to end by itself, then ends it, and in any
    /// case whatever it has started.
    pub(crate) fn end(mut self, patience: Duration) -> Ending {
        if !self.gone_within(patience) {
            self.signal(Signal::TERM);
            self.gone_within(GRACE);
        }
        let status = self.sweep();
        // Unless a process that left the group holds the other end.
        let deadline = Instant::now() + GRACE;
        while !self.listener.is_finished() && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(1));
        }
        let mut tail = self.tail.lock().unwrap_or_else(PoisonError::into_inner);
        Ending {
            status,
            evidence: Evidence {
                signal: status.and_then(|status| status.signal()).map(signal_name),
                exit_code: status.and_then(|status| status.code()),
                stderr_tail: String::from_utf8_lossy(tail.make_contiguous()).into_owned(),
            },
        }
    }

    /// Kills the whole group and takes the exit status. The group's number cannot
    /// have been given to another as long as the worker is not waited for.
    fn sweep(&mut self) -> Option<ExitStatus> {
        self.ended = true;
        self.signal(Signal::KILL);
        match self.gone_within(KERNEL) {
            true => self.child.wait().ok(),
            false => None,
        }
    }

    fn signal(&self, signal: Signal) {
        // Fails when nobody is left, which is what is wanted.
        let _ = kill_process_group(self.pid(), signal);
    }

    fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// Whether the worker has ended, waiting at most `patience`. It is left to be
    /// waited for.
    fn gone_within(&self, patience: Duration) -> bool {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        let deadline = Instant::now() + patience;
        let mut pause = Duration::from_micros(100);
        loop {
            // An error means that there is nothing to wait for.
            if !matches!(waitid(WaitId::Pid(self.pid()), options), Ok(None)) {
                return true;
            }
            if Instant::now() >= deadline {
                return false;
            }
            thread::sleep(pause);
            pause = (2 * pause).min(Duration::from_millis(10));
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        if !self.ended {
            self.sweep();
        }
    }
}

/// Keeps the last of what comes.
fn listen(mut stream: impl Read, tail: &Mutex<VecDeque<u8>>) {
    let mut buffer = [0; TAIL_BYTES];
    loop {
        let read = match stream.read(&mut buffer) {
            Ok(0) => break,
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(_) => break,
        };
        let mut tail = tail.lock().unwrap_or_else(PoisonError::into_inner);
        tail.extend(&buffer[..read]);
        let surplus = tail.len().saturating_sub(TAIL_BYTES);
        tail.drain(..surplus);
    }
}

/// Signals that end processes; their numbers depend on the system.
fn signal_name(number: i32) -> String {
    let known = [
        (Signal::ABORT, "SIGABRT"),
        (Signal::ALARM, "SIGALRM"),
        (Signal::BUS, "SIGBUS"),
        (Signal::FPE, "SIGFPE"),
        (Signal::HUP, "SIGHUP"),
        (Signal::ILL, "SIGILL"),
        (Signal::INT, "SIGINT"),
        (Signal::KILL, "SIGKILL"),
        (Signal::PIPE, "SIGPIPE"),
        (Signal::QUIT, "SIGQUIT"),
        (Signal::SEGV, "SIGSEGV"),
        (Signal::SYS, "SIGSYS"),
        (Signal::TERM, "SIGTERM"),
        (Signal::TRAP, "SIGTRAP"),
        (Signal::USR1, "SIGUSR1"),
        (Signal::USR2, "SIGUSR2"),
        (Signal::XCPU, "SIGXCPU"),
        (Signal::XFSZ, "SIGXFSZ"),
    ];
    let name = known.iter().find(|(signal, _)| signal.as_raw() == number);
    name.map_or_else(|| format!("signal {number}"), |(_, name)| (*name).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_last_words_are_kept() {
        let tail = Mutex::new(VecDeque::new());
        let mut words = vec![b'a'; 10 * TAIL_BYTES];
        words.extend(b"the end");
        listen(&words[..], &tail);
        let mut tail = tail.into_inner().unwrap();
        assert_eq!(tail.len(), TAIL_BYTES);
        assert!(tail.make_contiguous().ends_with(b"aathe end"));
    }
}
