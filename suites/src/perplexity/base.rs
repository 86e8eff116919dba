//! The baseline's logits on disk: for the candidates of this run, and if the
//! user names a file, for runs to come.
//!
//! A kept file is lossless f32 ([`LogitsFile`]'s layout, one long window). Beside
//! it, `FILE.json` says which model, engine and tokens it is of, and has a hash
//! of every piece; a file of anything else is refused, never overwritten.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use engine::{Logits, sha256_hex};
use serde::{Deserialize, Serialize};

use super::windows::Window;
use crate::logits_file::{LogitsFile, LogitsFileError, LogitsWriter};
use crate::{Cell, SuiteError};

/// What a file of logits is of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Identity {
    model_sha256: String,
    /// Id, version and options.
    engine: String,
    /// SHA-256 over the tokens of all windows.
    tokens_sha256: String,
    rows: usize,
    vocab: usize,
}

#[derive(Serialize, Deserialize)]
struct Label {
    of: Identity,
    /// SHA-256 of the logits of each piece, as little-endian f32.
    pieces: Vec<String>,
}

/// Where the baseline's logits are, or will be.
pub(super) struct Place {
    path: PathBuf,
    of: Identity,
    /// Whether the file outlives the run.
    kept: bool,
}

impl Place {
    /// In the file the user named, one for each shard, or else in the run's
    /// scratch folder.
    pub(super) fn new(cell: &Cell<'_>, vocab: usize, named: &str, windows: &[Window]) -> Self {
        let whole = cell.shard.count() == 1;
        let path = match named {
            "" => cell.scratch.join("perplexity-baseline.npy"),
            path if whole => path.into(),
            path => {
                let (index, count) = (cell.shard.index() + 1, cell.shard.count());
                format!("{path}.{index}-of-{count}").into()
            }
        };
        let mut tokens = Vec::new();
        for window in windows {
            for ids in [&window.context, &window.targets] {
                tokens.extend((ids.len() as u64).to_le_bytes());
                tokens.extend(ids.iter().flat_map(|id| id.to_le_bytes()));
            }
        }
        Self {
            path,
            of: Identity {
                model_sha256: cell.model_sha256.into(),
                engine: cell.engine.into(),
                tokens_sha256: sha256_hex(&tokens),
                rows: windows.iter().map(|window| window.targets.len()).sum(),
                vocab,
            },
            kept: !named.is_empty(),
        }
    }

    /// Whether the file outlives the run.
    pub(super) fn kept(&self) -> bool {
        self.kept
    }

    /// Opens it for a candidate, whose baseline has just been through it.
    pub(super) fn open(&self) -> Result<LogitsFile, LogitsFileError> {
        LogitsFile::open(&self.path, 1, self.of.rows, self.of.vocab)
    }

    /// The same for one that may not know how wide rows are.
    pub(super) fn open_as_wide_as_it_is(&self) -> Result<LogitsFile, LogitsFileError> {
        LogitsFile::open_as_wide_as_it_is(&self.path, 1, self.of.rows)
    }

    /// What an earlier run kept; `None` if there is nothing yet.
    pub(super) fn kept_before(&self) -> Result<Option<Kept>, SuiteError> {
        if !self.kept || !self.path.exists() {
            return Ok(None);
        }
        let label = beside(&self.path, "json");
        let text = fs::read(&label).map_err(|source| LogitsFileError::new(&label, source))?;
        let label: Label = serde_json::from_slice(&text)
            .map_err(|error| LogitsFileError::new(&label, error.into()))?;
        let (found, wanted) = (&label.of, &self.of);
        let differing = [
            ("another model", found.model_sha256 == wanted.model_sha256),
            (
                "another engine or other options of it",
                found.engine == wanted.engine,
            ),
            ("other tokens", found.tokens_sha256 == wanted.tokens_sha256),
            ("another shape", found == wanted),
        ];
        if let Some((what, _)) = differing.iter().find(|(_, same)| !same) {
            let why = format!("it belongs to {what}; name another file, or delete it");
            return Err(LogitsFileError::new(&self.path, io::Error::other(why)).into());
        }
        Ok(Some(Kept {
            file: self.open()?,
            path: self.path.clone(),
            pieces: label.pieces.into_iter(),
        }))
    }

    /// Starts the file.
    pub(super) fn create(self) -> Result<Keeper, LogitsFileError> {
        // Under another name until it is whole.
        let draft = beside(&self.path, "part");
        Ok(Keeper {
            writer: LogitsWriter::create(&draft, 1, self.of.rows, self.of.vocab)?,
            draft,
            pieces: Vec::new(),
            place: self,
        })
    }
}

/// Writes the baseline's logits.
pub(super) struct Keeper {
    place: Place,
    writer: LogitsWriter,
    draft: PathBuf,
    pieces: Vec<String>,
}

impl Keeper {
    pub(super) fn push(&mut self, logits: &Logits) -> Result<(), LogitsFileError> {
        if self.place.kept {
            self.pieces.push(hash(logits));
        }
        self.writer.push(logits)
    }

    pub(super) fn finish(self) -> Result<(), LogitsFileError> {
        self.writer.finish()?;
        let path = &self.place.path;
        if self.place.kept {
            let label = Label {
                of: self.place.of,
                pieces: self.pieces,
            };
            let beside = beside(path, "json");
            serde_json::to_vec(&label)
                .map_err(io::Error::from)
                .and_then(|text| fs::write(&beside, text))
                .map_err(|source| LogitsFileError::new(&beside, source))?;
        }
        fs::rename(&self.draft, path).map_err(|source| LogitsFileError::new(path, source))
    }
}

/// Logits of an earlier run.
pub(super) struct Kept {
    file: LogitsFile,
    path: PathBuf,
    pieces: std::vec::IntoIter<String>,
}

impl Kept {
    /// The next piece, `count` rows from `first` on.
    pub(super) fn piece(&mut self, first: usize, count: usize) -> Result<Logits, LogitsFileError> {
        let logits = self.file.rows(first, count)?;
        if self
            .pieces
            .next()
            .is_some_and(|piece| piece == hash(&logits))
        {
            return Ok(logits);
        }
        let why = format!("its rows from {first} on are not what was written; delete it");
        Err(LogitsFileError::new(&self.path, io::Error::other(why)))
    }
}

fn hash(logits: &Logits) -> String {
    let bytes: Vec<u8> = logits
        .values()
        .iter()
        .flat_map(|value| value.to_le_bytes())
        .collect();
    sha256_hex(&bytes)
}

fn beside(path: &Path, extension: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(extension);
    name.into()
}
