//! Files that cannot be used.

use std::io;
use std::path::{Path, PathBuf};

use crate::chat::ChatError;

/// Transcripts or prompts that cannot be used.
///
/// ```
/// use harness_suites::golden::Prompt;
///
/// let lines = "{\"id\": \"a\", \"prompt\": \"x\"}\n{\"id\": \"a\", \"prompt\": \"y\"}\n";
/// let error = Prompt::parse("prompts.jsonl".as_ref(), lines).map_err(|error| error.to_string());
/// assert_eq!(error, Err("prompts.jsonl line 2: id `a` is that of line 1 already".into()));
/// ```
#[derive(Debug, thiserror::Error)]
pub enum GoldenError {
    /// The file or folder cannot be read or written.
    #[error("cannot use {path}: {source}")]
    Io {
        /// Which one.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A line is not what it should be.
    #[error("{path} line {line}: {why}")]
    Line {
        /// Which file.
        path: PathBuf,
        /// Which line, from 1.
        line: usize,
        /// What is wrong with it.
        why: String,
    },
    /// A file is well-formed but cannot be used.
    #[error("{path}: {why}")]
    File {
        /// Which file.
        path: PathBuf,
        /// Why not.
        why: String,
    },
    /// A prompt cannot be put to the model.
    #[error("{path}: prompt `{id}`: {why}")]
    Prompt {
        /// The file it is from.
        path: PathBuf,
        /// Which prompt.
        id: String,
        /// Why.
        why: ChatError,
    },
}

impl GoldenError {
    /// What is wrong with `path` as a whole.
    pub(super) fn file(path: &Path, why: impl Into<String>) -> Self {
        Self::File {
            path: path.into(),
            why: why.into(),
        }
    }

    /// What is wrong in one line of `path`.
    pub(super) fn line(path: &Path, line: usize, why: impl Into<String>) -> Self {
        Self::Line {
            path: path.into(),
            line,
            why: why.into(),
        }
    }

    pub(super) fn io(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { path, source }
    }

    /// `error` of the text that begins in line `first` of `path`.
    pub(super) fn json(path: &Path, first: usize, error: &serde_json::Error) -> Self {
        // The message ends with a place of its own.
        let message = error.to_string();
        let why = message.split(" at line ").next().unwrap_or_default();
        let line = first + error.line().saturating_sub(1);
        Self::line(path, line, format!("{why} (column {})", error.column()))
    }
}

/// Refuses what cannot be part of the names of files and metrics.
pub(super) fn check_id(id: &str) -> Result<(), String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    if (1..=100).contains(&id.len()) && id.chars().all(plain) && id != super::ALL {
        return Ok(());
    }
    Err(format!(
        "id {id:?}: an id names a file and a metric; use 1 to 100 letters, digits, - and _, \
         and not `{}`",
        super::ALL
    ))
}

/// The text of `path`.
pub(super) fn read(path: &Path) -> Result<String, GoldenError> {
    let bytes = std::fs::read(path).map_err(GoldenError::io(path))?;
    String::from_utf8(bytes).map_err(|error| {
        let offset = error.utf8_error().valid_up_to();
        let before = &error.as_bytes()[..offset];
        let line = 1 + before.iter().filter(|&&byte| byte == b'\n').count();
        GoldenError::line(path, line, format!("not UTF-8 from byte {offset} on"))
    })
}
