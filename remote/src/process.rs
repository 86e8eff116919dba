//! A program that nothing is trusted to: how it is started, what its last words were, how it
//! ends.
//!
//! Nothing it does can block whoever started it: its standard error is read by a thread and
//! within bounds, and every wait has an end.
//!
//! ```
//! use std::io::{BufRead, BufReader};
//! use std::process::Command;
//! use std::time::Duration;
//! use harness_remote::process::{Group, Process};
//!
//! let mut command = Command::new("sh");
//! command.args(["-c", "trap 'echo I stay >&2' TERM; echo ready; while :; do sleep 0.1; done"]);
//! let (mut program, _input, output) = Process::start(command, Group::Own)?;
//! BufReader::new(output).read_line(&mut String::new())?;
//! assert!(program.end(Duration::ZERO).is_some(), "but SIGKILL ends it");
//! assert!(program.last_words().ends_with("I stay\n"));
//! # Ok::<(), std::io::Error>(())
//! ```

use std::collections::VecDeque;
use std::io::{self, Read};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::process::{
    Pid, Signal, WaitId, WaitIdOptions, kill_process, kill_process_group, waitid,
};

/// How much of its standard error is kept.
const TAIL_BYTES: usize = 8 << 10;

/// What is left to it between SIGTERM and SIGKILL.
const GRACE: Duration = Duration::from_millis(500);

/// How long the kernel may take to end a process that got SIGKILL.
const KERNEL: Duration = Duration::from_secs(5);

/// Which process group a program is started in.
///
/// With a group of its own goes what a program has left running, which would hold its pipes open:
///
/// ```
/// use std::io::Read;
/// use std::process::Command;
/// use std::time::Duration;
/// use harness_remote::process::{Group, Process};
///
/// let mut command = Command::new("sh");
/// command.args(["-c", "sleep 100 & echo started"]);
/// let (mut program, _, mut output) = Process::start(command, Group::Own)?;
/// let status = program.end(Duration::from_secs(10));
/// assert!(status.is_some_and(|status| status.success()));
///
/// let mut text = String::new();
/// output.read_to_string(&mut text)?; // Ends, for nobody can write any more.
/// assert_eq!(text, "started\n");
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    /// One of its own, which is ended with it: whatever it has started goes too.
    Own,
    /// That of its parent, which somebody else will end.
    Shared,
}

/// A running program. It is ended when this is dropped.
///
/// ```
/// use std::io::{BufRead, BufReader, Write};
/// use std::process::Command;
/// use std::time::Duration;
/// use harness_remote::process::{Group, Process};
///
/// let (mut program, mut input, output) = Process::start(Command::new("cat"), Group::Own)?;
/// writeln!(input, "hello")?;
/// let mut line = String::new();
/// BufReader::new(output).read_line(&mut line)?;
/// assert_eq!(line, "hello\n");
///
/// drop(input); // All is read: it ends by itself.
/// let status = program.end(Duration::from_secs(10));
/// assert!(status.is_some_and(|status| status.success()));
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct Process {
    child: Child,
    group: Group,
    tail: Arc<Mutex<VecDeque<u8>>>,
    /// Ends when nobody can write to standard error any more.
    listener: JoinHandle<()>,
    ended: bool,
}

impl Process {
    /// Starts `command`, with pipes to its standard input and from its standard output.
    ///
    /// # Errors
    /// Those of [`Command::spawn`].
    ///
    /// ```
    /// use std::process::Command;
    /// use harness_remote::process::{Group, Process};
    ///
    /// let missing = Process::start(Command::new("/no/such/program"), Group::Own);
    /// assert!(missing.is_err_and(|error| error.kind() == std::io::ErrorKind::NotFound));
    /// ```
    pub fn start(
        mut command: Command,
        group: Group,
    ) -> io::Result<(Self, ChildStdin, ChildStdout)> {
        if group == Group::Own {
            command.process_group(0);
        }
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        let streams = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let (Some(to), Some(from), Some(words)) = streams else {
            return Err(io::Error::other("no pipes"));
        };
        let tail = Arc::new(Mutex::new(VecDeque::new()));
        let listener = thread::spawn({
            let tail = Arc::clone(&tail);
            move || listen(words, &tail)
        });
        let process = Self {
            child,
            group,
            tail,
            listener,
            ended: false,
        };
        Ok((process, to, from))
    }

    /// Its number.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Whether it has ended, waiting at most `patience`. It is left to be waited for.
    ///
    /// ```
    /// use std::process::Command;
    /// use std::time::Duration;
    /// use harness_remote::process::{Group, Process};
    ///
    /// let (program, input, _output) = Process::start(Command::new("cat"), Group::Own)?;
    /// assert!(!program.gone_within(Duration::ZERO), "it waits for input");
    /// drop(input);
    /// assert!(program.gone_within(Duration::from_secs(10)));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[must_use]
    pub fn gone_within(&self, patience: Duration) -> bool {
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

    /// Waits at most `patience` for it to end by itself, then ends it, and in any case all
    /// that is in a group of its own. `None` if even SIGKILL did not end it, or if it was
    /// ended before.
    ///
    /// What does not end by itself is ended by a signal:
    ///
    /// ```
    /// use std::os::unix::process::ExitStatusExt;
    /// use std::process::Command;
    /// use std::time::Duration;
    /// use harness_remote::process::{Group, Process, signal_name};
    ///
    /// let (mut program, _input, _output) = Process::start(Command::new("cat"), Group::Own)?;
    /// let signal = program.end(Duration::ZERO).and_then(|status| status.signal());
    /// assert_eq!(signal.map(signal_name).as_deref(), Some("SIGTERM"));
    /// assert_eq!(program.end(Duration::ZERO), None, "it was ended before");
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn end(&mut self, patience: Duration) -> Option<ExitStatus> {
        if self.ended {
            return None;
        }
        self.ended = true;
        if !self.gone_within(patience) {
            self.signal(Signal::TERM);
            let _ = self.gone_within(GRACE);
        }
        // Its number, and its group's, is its own as long as it is not waited for.
        self.signal(Signal::KILL);
        match self.gone_within(KERNEL) {
            true => self.child.wait().ok(),
            false => None,
        }
    }

    /// The last that it wrote to standard error; all of it once it has [ended](Self::end).
    ///
    /// ```
    /// use std::process::Command;
    /// use std::time::Duration;
    /// use harness_remote::process::{Group, Process};
    ///
    /// let mut command = Command::new("sh");
    /// command.args(["-c", "echo 'out of memory' >&2; exit 3"]);
    /// let (mut program, _input, _output) = Process::start(command, Group::Own)?;
    /// let status = program.end(Duration::from_secs(10));
    /// assert_eq!(status.and_then(|status| status.code()), Some(3));
    /// assert_eq!(program.last_words(), "out of memory\n");
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[must_use]
    pub fn last_words(&self) -> String {
        // Unless a process that left the group holds the other end.
        let deadline = Instant::now() + GRACE;
        while self.ended && !self.listener.is_finished() && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(1));
        }
        let mut tail = self.tail.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(tail.make_contiguous()).into_owned()
    }

    fn signal(&self, signal: Signal) {
        // Fails when nobody is left, which is what is wanted.
        let _ = match self.group {
            Group::Own => kill_process_group(self.pid(), signal),
            Group::Shared => kill_process(self.pid(), signal),
        };
    }

    fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.end(Duration::ZERO);
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

/// What the signal that ended a process is called; numbers depend on the system.
///
/// ```
/// use harness_remote::process::signal_name;
///
/// assert_eq!(signal_name(9), "SIGKILL");
/// assert_eq!(signal_name(77), "signal 77");
/// ```
#[must_use]
pub fn signal_name(number: i32) -> String {
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
