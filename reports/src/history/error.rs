//! What can go wrong with a history.

use std::io;
use std::path::PathBuf;

/// A history that cannot be used, or something that cannot enter it.
///
/// ```
/// use harness_reports::history::{History, HistoryError};
///
/// let folder = tempfile::tempdir()?;
/// let path = folder.path().join("notes.db");
/// std::fs::write(&path, "no database at all, though long enough for one")?;
/// let other = History::open(&format!("sqlite:{}", path.display()));
/// assert!(matches!(other, Err(HistoryError::Foreign(_))));
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug, thiserror::Error)]
pub enum HistoryError {
    /// The address makes no sense. Passwords are left out.
    #[error(
        "`{url}` names no history: {why}; \
         write sqlite:PATH or postgres://USER:PASSWORD@HOST/DATABASE"
    )]
    Url {
        /// What was given.
        url: String,
        /// What is wrong with it.
        why: String,
    },
    /// Nothing is there yet.
    #[error("there is no history at {0}; `harness history add RUN` starts one")]
    Missing(String),
    /// Something else is there.
    #[error("{0} holds something else than a history; choose another place")]
    Foreign(String),
    /// A later version of this program has been there.
    #[error("{at} has schema {found}, and this program knows none beyond {known}; update harness")]
    Newer {
        /// Which history.
        at: String,
        /// Its schema.
        found: i64,
        /// The last schema known here.
        known: i64,
    },
    /// SQLite refuses.
    #[error("the history cannot be used")]
    Sqlite(#[from] rusqlite::Error),
    /// PostgreSQL refuses.
    #[error("the history cannot be used")]
    Postgres(#[from] postgres::Error),
    /// The run has not come to its end.
    #[error("{0} was cut off before its end; complete it with `harness run --resume`, then add it")]
    Unfinished(PathBuf),
    /// A run holds what a history cannot.
    #[error("{folder} cannot be kept: {why}")]
    Unfit {
        /// The run's folder.
        folder: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// The store contradicts itself.
    #[error("the history is damaged: {0}; restore it from an export")]
    Damaged(String),
    /// A table to be imported is not what an export writes.
    #[error("{path}, line {line}: {why}; nothing was imported")]
    Malformed {
        /// Which file.
        path: PathBuf,
        /// Which line of it, from 1.
        line: u64,
        /// What is wrong with it.
        why: String,
    },
    /// A file refuses.
    #[error("cannot use {path}: {source}")]
    Io {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl HistoryError {
    pub(super) fn io(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { path, source }
    }
}
