//! Lines to and from another program, within bounds of time and length.
//!
//! Neither direction ever blocks for longer than the deadline given, whatever the other side
//! does or leaves undone: both ends are non-blocking and waited for with `poll`.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::{Errno, ioctl_fionbio, read, write};

/// What is read at once: what a pipe holds.
const CHUNK_BYTES: usize = 64 << 10;

/// How often it is looked whether a silent program is still there.
const LOOK: Duration = Duration::from_millis(100);

/// Both pipes of another program.
pub(super) struct Pipes {
    /// `None` once it is closed.
    to: Option<OwnedFd>,
    from: OwnedFd,
    chunk: Box<[u8]>,
    buffer: Vec<u8>,
    /// Bytes of `buffer` that belong to lines handed out already.
    taken: usize,
}

/// How long to wait.
#[derive(Clone, Copy)]
pub(super) struct Until<'a> {
    pub(super) deadline: Instant,
    /// Whether the program has ended: somebody else may hold its end of the pipes.
    pub(super) gone: &'a dyn Fn() -> bool,
}

/// Why there is no line.
#[derive(Debug, thiserror::Error)]
pub(super) enum Broken {
    #[error("no answer in time")]
    Late,
    #[error("it closed its pipes")]
    Closed,
    #[error("it closed its pipes in the middle of a line")]
    CutOff,
    #[error("a line of more than {0} bytes, which is more than the answer can take")]
    TooLong(usize),
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl Pipes {
    /// Takes over the pipe that the program reads, and the one that it writes.
    ///
    /// # Errors
    /// When they cannot be made non-blocking.
    pub(super) fn new(to: OwnedFd, from: OwnedFd) -> io::Result<Self> {
        ioctl_fionbio(&to, true)?;
        ioctl_fionbio(&from, true)?;
        Ok(Self {
            to: Some(to),
            from,
            chunk: vec![0; CHUNK_BYTES].into(),
            buffer: Vec::new(),
            taken: 0,
        })
    }

    /// Writes `bytes`.
    pub(super) fn send(&mut self, mut bytes: &[u8], until: Until<'_>) -> Result<(), Broken> {
        let to = self.to.as_ref().ok_or(Broken::Closed)?;
        while !bytes.is_empty() {
            match write(to, bytes) {
                Ok(written) => bytes = &bytes[written..],
                Err(Errno::AGAIN) => wait(to, PollFlags::OUT, until)?,
                Err(Errno::INTR) => {}
                Err(Errno::PIPE) => return Err(Broken::Closed),
                Err(error) => return Err(Broken::Io(error.into())),
            }
        }
        Ok(())
    }

    /// Tells the program that nothing more will come.
    pub(super) fn close(&mut self) {
        self.to = None;
    }

    /// The next line, without its end, of at most `limit` bytes.
    pub(super) fn line(&mut self, limit: usize, until: Until<'_>) -> Result<&[u8], Broken> {
        self.buffer.drain(..self.taken);
        self.taken = 0;
        let mut searched = 0;
        let end = loop {
            if let Some(at) = memchr::memchr(b'\n', &self.buffer[searched..]) {
                break searched + at;
            }
            searched = self.buffer.len();
            if searched > limit {
                return Err(Broken::TooLong(limit));
            }
            match read(&self.from, &mut *self.chunk) {
                Ok(0) if self.buffer.is_empty() => return Err(Broken::Closed),
                Ok(0) => return Err(Broken::CutOff),
                Ok(n) => self.buffer.extend_from_slice(&self.chunk[..n]),
                Err(Errno::AGAIN) => wait(&self.from, PollFlags::IN, until)?,
                Err(Errno::INTR) => {}
                Err(error) => return Err(Broken::Io(error.into())),
            }
            // A trickle is late too.
            if Instant::now() >= until.deadline {
                return Err(Broken::Late);
            }
        };
        if end > limit {
            return Err(Broken::TooLong(limit));
        }
        self.taken = end + 1;
        Ok(&self.buffer[..end])
    }
}

/// Waits until something can be done with `pipe`, or nothing ever will.
fn wait(pipe: impl AsFd, what: PollFlags, until: Until<'_>) -> Result<(), Broken> {
    let mut gone = false;
    loop {
        let left = until.deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(Broken::Late);
        }
        // One look more: what it said before it ended is in the pipe already.
        let patience = if gone { Duration::ZERO } else { left.min(LOOK) };
        let patience = Timespec::try_from(patience).map_err(io::Error::other)?;
        match poll(&mut [PollFd::new(&pipe, what)], Some(&patience)) {
            Ok(0) if gone => return Err(Broken::Closed),
            Ok(0) => gone = (until.gone)(),
            Ok(_) => return Ok(()),
            Err(Errno::INTR) => {}
            Err(error) => return Err(Broken::Io(error.into())),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{PipeReader, PipeWriter, Write, pipe};
    use std::thread;

    use super::*;

    /// Pipes to nobody, and the end that they are fed at.
    fn pipes() -> (Pipes, PipeWriter, PipeReader) {
        let (theirs, ours) = pipe().unwrap();
        let (read, write) = pipe().unwrap();
        (Pipes::new(ours.into(), read.into()).unwrap(), write, theirs)
    }

    fn within(patience: Duration) -> Until<'static> {
        Until {
            deadline: Instant::now() + patience,
            gone: &|| false,
        }
    }

    fn soon() -> Until<'static> {
        within(Duration::from_secs(20))
    }

    #[test]
    fn lines_come_whole_however_they_are_cut() {
        let (mut pipes, mut feed, _theirs) = pipes();
        let long = "x".repeat(3 * CHUNK_BYTES);
        let text = format!("a\n\nbc\n{long}\nd");
        let feeder = thread::spawn(move || {
            for piece in text.as_bytes().chunks(CHUNK_BYTES / 3 + 1) {
                feed.write_all(piece).unwrap();
            }
        });
        for expected in ["a", "", "bc", &long] {
            let line = pipes.line(long.len(), soon()).unwrap();
            assert_eq!(line, expected.as_bytes());
        }
        assert!(matches!(pipes.line(9, soon()), Err(Broken::CutOff)));
        feeder.join().unwrap();
        assert!(matches!(pipes.line(9, soon()), Err(Broken::CutOff)));
    }

    #[test]
    fn a_line_without_end_is_given_up_early() {
        let (mut pipes, mut feed, _theirs) = pipes();
        let feeder = thread::spawn(move || {
            let piece = [b'x'; 4096];
            // 64 MiB, or until nobody reads.
            (0..1 << 14)
                .take_while(|_| feed.write_all(&piece).is_ok())
                .count()
        });
        assert!(matches!(
            pipes.line(100_000, soon()),
            Err(Broken::TooLong(100_000))
        ));
        assert!(pipes.buffer.capacity() <= 1 << 20);
        drop(pipes);
        assert!(feeder.join().unwrap() < 1 << 10);
    }

    #[test]
    fn silence_and_deafness_end() {
        let (mut pipes, _feed, theirs) = pipes();
        let (now, shortly) = (within(Duration::ZERO), Duration::from_millis(20));
        assert!(matches!(pipes.line(9, now), Err(Broken::Late)));
        assert!(matches!(pipes.line(9, within(shortly)), Err(Broken::Late)));
        let ended = Until {
            gone: &|| true,
            ..soon()
        };
        assert!(matches!(pipes.line(9, ended), Err(Broken::Closed)));
        // More than the pipe holds, and nobody reads it.
        let much = vec![b'x'; 4 << 20];
        assert!(matches!(
            pipes.send(&much, within(shortly)),
            Err(Broken::Late)
        ));
        drop(theirs);
        assert!(matches!(pipes.send(b"x", soon()), Err(Broken::Closed)));
        pipes.close();
        assert!(matches!(pipes.send(b"x", soon()), Err(Broken::Closed)));
    }
}
