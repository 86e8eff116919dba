//! Standard output.

use std::io::{ErrorKind, Write};

use anyhow::{Context, Result};

/// Writes to standard output, all of it and at once. A reader who has left, as `head` does, has read enough: that
/// is no error, and the exit code stays that of the verdict.
pub(crate) fn emit(text: impl AsRef<[u8]>) -> Result<()> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_ref()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        written => written.context("cannot write to standard output"),
    }
}
