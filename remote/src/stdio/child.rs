//! The program behind the pipes: how it is started, what its last words were, how it ends.

use std::collections::VecDeque;
use std::io::{self, Read};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{self, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::process::{
    Pid, Signal, WaitId, WaitIdOptions, kill_process, kill_process_group, waitid,
};

use super::pipes::Pipes;

/// How much of its standard error is kept.
const TAIL_BYTES: usize = 8 << 10;

/// Most of it that goes into a message.
const WORDS: usize = 400;

/// What is left to it between SIGTERM and SIGKILL.
const GRACE: Duration = Duration::from_millis(500);

/// How long the kernel may take to end a process that got SIGKILL.
const KERNEL: Duration = Duration::from_secs(5);

static SHARED_GROUP: AtomicBool = AtomicBool::new(false);

/// Says that this process and all it starts are in a process group that somebody else will
/// end. From now on engines are started in that group and not in one of their own, which
/// would outlive a process that is killed.
pub fn share_process_group() {
    SHARED_GROUP.store(true, Ordering::Relaxed);
}

/// A running program.
pub(super) struct Child {
    child: process::Child,
    own_group: bool,
    tail: Arc<Mutex<VecDeque<u8>>>,
    /// Ends when nobody can write to standard error any more.
    listener: JoinHandle<()>,
    ended: bool,
}

impl Child {
    /// Starts `command`.
    pub(super) fn start(mut command: Command) -> io::Result<(Self, Pipes)> {
        let own_group = !SHARED_GROUP.load(Ordering::Relaxed);
        if own_group {
            command.process_group(0);
        }
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        let streams = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let tail = Arc::new(Mutex::new(VecDeque::new()));
        let (Some(to), Some(from), Some(words)) = streams else {
            return Err(io::Error::other("no pipes"));
        };
        let listener = thread::spawn({
            let tail = Arc::clone(&tail);
            move || listen(words, &tail)
        });
        let child = Self {
            child,
            own_group,
            tail,
            listener,
            ended: false,
        };
        Ok((child, Pipes::new(to.into(), from.into())?))
    }

    /// Waits at most `patience` for it to end by itself, then ends it, with all that is in
    /// its process group. `None` if even SIGKILL did not end it.
    pub(super) fn end(&mut self, patience: Duration) -> Option<ExitStatus> {
        if self.ended {
            return None;
        }
        self.ended = true;
        if !self.gone_within(patience) {
            self.signal(Signal::TERM);
            self.gone_within(GRACE);
        }
        // Its number, and its group's, is its own as long as it is not waited for.
        self.signal(Signal::KILL);
        match self.gone_within(KERNEL) {
            true => self.child.wait().ok(),
            false => None,
        }
    }

    /// Whether it has ended. It is left to be waited for.
    pub(super) fn is_gone(&self) -> bool {
        self.gone_within(Duration::ZERO)
    }

    /// Whether it has ended, waiting at most `patience`.
    pub(super) fn gone_within(&self, patience: Duration) -> bool {
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

    /// The last that it wrote to standard error, on one line and fit to be printed.
    pub(super) fn last_words(&self) -> Option<String> {
        // Unless somebody else holds the other end.
        let deadline = Instant::now() + GRACE;
        while self.ended && !self.listener.is_finished() && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(1));
        }
        let mut tail = self.tail.lock().unwrap_or_else(PoisonError::into_inner);
        last_words(tail.make_contiguous())
    }

    fn signal(&self, signal: Signal) {
        // Fails when nobody is left, which is what is wanted.
        let _ = match self.own_group {
            true => kill_process_group(self.pid(), signal),
            false => kill_process(self.pid(), signal),
        };
    }

    fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        self.end(Duration::ZERO);
    }
}

/// How a program ended, for people.
pub(super) fn manner(status: ExitStatus) -> String {
    match (status.signal(), status.code()) {
        (Some(number), _) => {
            let known = [
                (Signal::ABORT, "SIGABRT"),
                (Signal::BUS, "SIGBUS"),
                (Signal::FPE, "SIGFPE"),
                (Signal::ILL, "SIGILL"),
                (Signal::INT, "SIGINT"),
                (Signal::KILL, "SIGKILL"),
                (Signal::SEGV, "SIGSEGV"),
                (Signal::TERM, "SIGTERM"),
            ];
            let name = known.iter().find(|(signal, _)| signal.as_raw() == number);
            let name = name.map_or_else(|| format!("signal {number}"), |(_, name)| (*name).into());
            format!("killed by {name}")
        }
        (None, Some(code)) => format!("ended out of turn, exit code {code}"),
        (None, None) => "ended out of turn".into(),
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

/// The last lines of `tail` as one, from the first whole one that fits.
fn last_words(tail: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(tail);
    let mut lines: Vec<&str> = Vec::new();
    let mut length = 0;
    for line in text
        .lines()
        .rev()
        .map(str::trim)
        .filter(|line| !line.is_empty())
    {
        length += line.chars().count();
        if length > WORDS && !lines.is_empty() {
            break;
        }
        lines.push(line);
    }
    lines.reverse();
    let words = lines.join(" | ");
    let words: String = words
        .chars()
        .take(WORDS)
        .filter(|c| !c.is_control())
        .collect();
    (!words.is_empty()).then_some(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_last_words_are_kept() {
        let tail = Mutex::new(VecDeque::new());
        let mut words = vec![b'a'; 10 * TAIL_BYTES];
        words.extend(b"\nthe\n\n end\xff\x1b\n");
        listen(&words[..], &tail);
        let mut tail = tail.into_inner().unwrap();
        assert_eq!(tail.len(), TAIL_BYTES);
        let words = last_words(tail.make_contiguous()).unwrap();
        assert_eq!(words, "the | end\u{fffd}");
        assert_eq!(last_words(b" \n"), None);
        assert_eq!(last_words(&[b'a'; 1000]).unwrap().len(), WORDS);
    }
}
