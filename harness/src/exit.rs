//! Exit codes.

use std::process::ExitCode;

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Exit {
    /// All gates passed.
    Passed = 0,
    /// A gate failed.
    GateFailed = 1,
    /// Bad usage or bad input.
    BadInput = 2,
    /// An engine failed.
    EngineFailed = 3,
    /// Stopped by the user; the record so far is kept.
    Interrupted = 130,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        ExitCode::from(exit as u8)
    }
}
