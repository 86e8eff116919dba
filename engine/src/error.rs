//! How engines fail. Reports count failures by [`FailureKind`].

use std::error::Error;
use std::fmt;

use serde::{Deserialize, Serialize};

/// The taxonomy of engine failures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureKind {
    /// The model could not be read.
    Load,
    /// The model or request is well-formed, but this engine cannot do it.
    Unsupported,
    /// The caller broke the contract: bad option, token id or length.
    InvalidInput,
    /// Memory ran out, or a set limit was reached.
    OutOfMemory,
    /// No answer within the time allowed.
    Timeout,
    /// NaN or infinite logits.
    Numerics,
    /// The engine answered something its protocol does not allow.
    Protocol,
    /// The engine died: a signal, an abort, an unexpected exit code.
    Crash,
    /// The device failed: lost, reset, missing.
    Device,
}

impl FailureKind {
    /// Every kind.
    pub const ALL: [Self; 9] = [
        Self::Load,
        Self::Unsupported,
        Self::InvalidInput,
        Self::OutOfMemory,
        Self::Timeout,
        Self::Numerics,
        Self::Protocol,
        Self::Crash,
        Self::Device,
    ];
}

impl fmt::Display for FailureKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            FailureKind::Load => "load",
            FailureKind::Unsupported => "unsupported",
            FailureKind::InvalidInput => "invalid input",
            FailureKind::OutOfMemory => "out of memory",
            FailureKind::Timeout => "timeout",
            FailureKind::Numerics => "numerics",
            FailureKind::Protocol => "protocol",
            FailureKind::Crash => "crash",
            FailureKind::Device => "device",
        })
    }
}

/// A classified failure with a message meant for the person who runs the
/// engine: what was wrong, where, and what to do next.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct EngineError {
    kind: FailureKind,
    message: String,
    source: Option<Box<dyn Error + Send + Sync>>,
}

impl EngineError {
    /// A failure of `kind`.
    pub fn new(kind: FailureKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            source: None,
        }
    }

    /// Keeps the error that caused this one.
    #[must_use]
    pub fn caused_by(mut self, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// Shorthand for [`FailureKind::InvalidInput`].
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(FailureKind::InvalidInput, message)
    }

    /// Which class of failure this is.
    #[must_use]
    pub fn kind(&self) -> FailureKind {
        self.kind
    }
}
