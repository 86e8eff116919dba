//! What can be wrong with a package.

use std::io;
use std::path::PathBuf;

/// A package that cannot be read or is not sound.
///
/// ```
/// use std::path::Path;
///
/// use harness_coreml::Package;
///
/// // A folder that is no package.
/// let error = Package::open(Path::new("tests/packages")).err();
/// assert!(error.is_some_and(|error| error.to_string().contains("Manifest.json")));
/// ```
#[derive(Debug, thiserror::Error)]
pub enum PackageError {
    /// A file cannot be read.
    #[error("cannot read {path}: {source}")]
    Io {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// `Manifest.json` is damaged or leads nowhere.
    #[error("Manifest.json: {0}")]
    Manifest(String),
    /// The model file is no specification of an ML Program.
    #[error("model specification: {0}")]
    Specification(String),
    /// The program breaks a rule of the language.
    #[error("{place}: {problem}")]
    Program {
        /// Function, operation, value.
        place: String,
        /// What is wrong there.
        problem: String,
    },
    /// Sound, and beyond what is known here.
    #[error("{place}: {problem}")]
    Unsupported {
        /// Function and operation.
        place: String,
        /// What is not known.
        problem: String,
    },
    /// A weight is not where the program says.
    #[error("weights {file} at byte {offset}: {problem}")]
    Weights {
        /// As the program names it.
        file: String,
        /// Of the weight's metadata.
        offset: u64,
        /// What is wrong there.
        problem: String,
    },
}

impl PackageError {
    pub(crate) fn program(place: impl Into<String>, problem: impl Into<String>) -> Self {
        Self::Program {
            place: place.into(),
            problem: problem.into(),
        }
    }
}
