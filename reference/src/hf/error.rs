//! What can be wrong with a Hugging Face model folder.

use std::io;
use std::path::PathBuf;

use engine::FailureKind;

/// A folder that cannot be read as a model.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HfError {
    /// A file cannot be opened, read or mapped.
    #[error("cannot read {path}: {source}")]
    Io {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file is no JSON, or not of the kind it should be.
    #[error("{path}: {source}")]
    Json {
        /// Which file.
        path: PathBuf,
        /// What is wrong, and in which line and column.
        source: serde_json::Error,
    },
    /// A weight file whose header breaks the format's rules.
    #[error("{path} is no sound safetensors file: {source}; download it again")]
    Header {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        source: safetensors::SafeTensorError,
    },
    /// A file that the index names is not there.
    #[error("{index} names `{shard}`, which the folder does not hold; download it")]
    MissingShard {
        /// The index.
        index: PathBuf,
        /// The weight file.
        shard: String,
    },
    /// An index and the weight files that it names contradict each other.
    #[error("{index}: {why}; download the index and the weight files again")]
    Index {
        /// The index.
        index: PathBuf,
        /// The contradiction.
        why: String,
    },
    /// Which of several weight files make the model cannot be told.
    #[error(
        "{0} holds several safetensors files, neither `model.safetensors` nor \
         `model.safetensors.index.json` among them; download the index"
    )]
    NoIndex(PathBuf),
    /// `config.json` lacks a value, or holds one that no model can have.
    #[error("config.json: {0}")]
    Config(String),
    /// A tensor that cannot be what its name says.
    #[error("tensor `{name}`: {why}")]
    Tensor {
        /// Its name in the folder.
        name: String,
        /// What is wrong with it.
        why: String,
    },
    /// A well-formed model of a kind that is not read here.
    #[error("{0}")]
    Unsupported(String),
}

impl HfError {
    /// The class of failure that this is for the caller of an engine.
    pub(crate) fn kind(&self) -> FailureKind {
        match self {
            HfError::Unsupported(_) => FailureKind::Unsupported,
            _ => FailureKind::Load,
        }
    }
}
