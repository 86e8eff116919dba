//! How engines fail. Reports count failures by [`FailureKind`].

use std::error::Error;
use std::fmt;

use serde::{Deserialize, Serialize};

/// The taxonomy of engine failures.
///
/// A failure is a finding, and what becomes of it depends on its kind:
///
/// ```
/// use harness_engine::FailureKind;
///
/// let verdict = |kind| match kind {
///     FailureKind::Unsupported => "skipped, with the reason",
///     FailureKind::InvalidInput => "the caller's fault",
///     _ => "a failure, counted by its kind",
/// };
/// assert_eq!(verdict(FailureKind::Unsupported), "skipped, with the reason");
/// assert_eq!(FailureKind::OutOfMemory.to_string(), "out of memory");
/// ```
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
///
/// ```
/// use std::error::Error;
/// use harness_engine::{EngineError, FailureKind};
///
/// let why = std::io::Error::other("device busy");
/// let error = EngineError::new(FailureKind::Device, "the GPU is gone; reconnect it").caused_by(why);
/// assert_eq!(error.kind(), FailureKind::Device);
/// assert_eq!(error.to_string(), "the GPU is gone; reconnect it");
/// assert!(error.source().is_some_and(|cause| cause.to_string() == "device busy"));
/// ```
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct EngineError {
    kind: FailureKind,
    message: String,
    source: Option<Box<dyn Error + Send + Sync>>,
}

impl EngineError {
    /// A failure of `kind`.
    ///
    /// ```
    /// use harness_engine::{EngineError, FailureKind};
    ///
    /// fn reserve(bytes: u64, free: u64) -> Result<(), EngineError> {
    ///     if bytes > free {
    ///         return Err(EngineError::new(
    ///             FailureKind::OutOfMemory,
    ///             format!("a KV cache of {bytes} bytes, and {free} are free; set a shorter context"),
    ///         ));
    ///     }
    ///     Ok(())
    /// }
    ///
    /// let failed = reserve(2048, 1024).map_err(|error| error.kind());
    /// assert_eq!(failed, Err(FailureKind::OutOfMemory));
    /// ```
    pub fn new(kind: FailureKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            source: None,
        }
    }

    /// Keeps the error that caused this one.
    ///
    /// ```
    /// use std::error::Error;
    /// use harness_engine::{EngineError, FailureKind};
    ///
    /// let parsed = "q4_9".parse::<u32>().map_err(|why| {
    ///     EngineError::new(FailureKind::Load, "layer count is no number").caused_by(why)
    /// });
    /// assert!(parsed.is_err_and(|error| error.source().is_some()));
    /// ```
    #[must_use]
    pub fn caused_by(mut self, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// Shorthand for [`FailureKind::InvalidInput`].
    ///
    /// ```
    /// use harness_engine::{EngineError, FailureKind};
    ///
    /// let error = EngineError::invalid("at least one token is needed");
    /// assert_eq!(error.kind(), FailureKind::InvalidInput);
    /// ```
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(FailureKind::InvalidInput, message)
    }

    /// Which class of failure this is.
    ///
    /// ```
    /// use harness_engine::{EngineError, FailureKind};
    ///
    /// let error = EngineError::new(FailureKind::Timeout, "no answer within 240 s");
    /// // Worth another try, which a bad option is not.
    /// assert!(matches!(error.kind(), FailureKind::Timeout | FailureKind::Device));
    /// ```
    #[must_use]
    pub fn kind(&self) -> FailureKind {
        self.kind
    }
}
