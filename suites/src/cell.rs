//! What a suite is given.

use std::io;
use std::path::{Path, PathBuf};

use engine::{EngineError, Model, Tokenizer};

use crate::logits_file::LogitsFileError;
use crate::{Sample, SettingError, Settings, TextError};

/// One engine to be put through one suite.
pub struct Cell<'a> {
    /// The opened model.
    pub model: &'a dyn Model,
    /// Opens the same engine once more with one option changed.
    pub variant: Variant<'a>,
    /// What the engine is asked to read.
    pub input: Input<'a>,
    /// Whether this engine sets the mark or is held to it.
    pub role: Role,
    /// Folder that the cells of a run share, for what the baseline leaves to
    /// the engines held against it. It is gone after the run.
    pub scratch: &'a Path,
    /// Folder for what is to be kept with the record, and the stem that names
    /// this engine in it.
    pub artifacts: (&'a Path, &'a str),
    /// Told of progress: steps done, steps in all.
    pub progress: &'a dyn Fn(u64, u64),
    /// Takes raw samples as they are made.
    pub samples: &'a mut dyn FnMut(Sample),
}

/// Opens an engine once more with option `.0` set to `.1`; `None` when it has
/// no such option.
pub type Variant<'a> = &'a dyn Fn(&str, &str) -> Option<Result<Box<dyn Model>, EngineError>>;

/// What every engine of a run is asked to read, and how.
#[derive(Clone, Copy)]
pub struct Input<'a> {
    /// The model's tokenizer.
    pub tokenizer: &'a dyn Tokenizer,
    /// Text to use where the settings name none.
    pub default_text: &'a str,
    /// The suite's settings.
    pub settings: &'a Settings,
}

/// Part an engine plays in a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Others are held against it. Its cell runs first.
    Baseline,
    /// It is held against the baseline.
    Candidate,
}

/// Why a cell has no result.
#[derive(Debug, thiserror::Error)]
pub enum SuiteError {
    /// The engine failed; a finding about the engine.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// A setting cannot be used.
    #[error(transparent)]
    Setting(#[from] SettingError),
    /// The text cannot be used.
    #[error(transparent)]
    Text(#[from] TextError),
    /// The shared folder cannot be used.
    #[error("cannot use {0}: {1}")]
    Scratch(PathBuf, io::Error),
    /// Logits could not be kept or read back.
    #[error(transparent)]
    Logits(#[from] LogitsFileError),
}
