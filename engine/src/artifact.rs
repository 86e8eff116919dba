//! Model files, identified by their content.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::folder;

/// A model on disk or inside this binary, with the hash that names it.
///
/// ```
/// use harness_engine::{ArtifactFormat, ModelArtifact};
///
/// let model = ModelArtifact::embedded("tiny", b"GGUF\x03\0\0\0");
/// assert_eq!((model.format, model.size_bytes), (ArtifactFormat::Gguf, 8));
/// // Records name a model by its content: the same bytes are the same model.
/// assert_eq!(model.sha256, ModelArtifact::embedded("copy", b"GGUF\x03\0\0\0").sha256);
/// assert_eq!(model.to_string(), "tiny (embedded)");
/// ```
#[derive(Clone, Debug)]
pub struct ModelArtifact {
    /// Short name for reports.
    pub name: String,
    /// Where the bytes are.
    pub source: ArtifactSource,
    /// How they are laid out.
    pub format: ArtifactFormat,
    /// SHA-256 of the bytes, lower-case hex. For a folder, of a list of its
    /// files; see [`from_path`](Self::from_path).
    pub sha256: String,
    /// Number of bytes, of all files together.
    pub size_bytes: u64,
}

/// Where a model's bytes are.
///
/// An engine reads either:
///
/// ```
/// use std::{fs, io};
/// use harness_engine::{ArtifactSource, ModelArtifact};
///
/// fn bytes(model: &ModelArtifact) -> io::Result<Vec<u8>> {
///     match &model.source {
///         ArtifactSource::Path(path) => fs::read(path),
///         ArtifactSource::Embedded(bytes) => Ok(bytes.to_vec()),
///     }
/// }
///
/// assert_eq!(bytes(&ModelArtifact::embedded("tiny", b"GGUF"))?, b"GGUF");
/// # Ok::<(), io::Error>(())
/// ```
#[derive(Clone, Debug)]
pub enum ArtifactSource {
    /// A file or folder.
    Path(PathBuf),
    /// Bytes linked into the program.
    Embedded(&'static [u8]),
}

/// Container formats: folders are Hugging Face's, files tell by their first bytes.
///
/// ```
/// use harness_engine::{ArtifactFormat, EngineError, FailureKind, ModelArtifact};
///
/// /// What an engine says that reads one format.
/// fn gguf_only(model: &ModelArtifact) -> Result<(), EngineError> {
///     match model.format {
///         ArtifactFormat::Gguf => Ok(()),
///         other => Err(EngineError::new(
///             FailureKind::Unsupported,
///             format!("{model} is {}; this engine reads GGUF", other.name()),
///         )),
///     }
/// }
///
/// let model = ModelArtifact { format: ArtifactFormat::CoreMl, ..ModelArtifact::embedded("tiny", b"") };
/// let error = gguf_only(&model).map_err(|error| error.to_string());
/// assert_eq!(error, Err("tiny (embedded) is core_ml; this engine reads GGUF".into()));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ArtifactFormat {
    /// llama.cpp's single-file format.
    Gguf,
    /// A folder with `config.json`, weights in `*.safetensors` and
    /// `tokenizer.json`.
    HuggingFace,
    /// A Core ML package (`.mlpackage`), or its bare model file (`.mlmodel`).
    CoreMl,
}

impl ArtifactFormat {
    /// Name in run records.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            ArtifactFormat::Gguf => "gguf",
            ArtifactFormat::HuggingFace => "hugging_face",
            ArtifactFormat::CoreMl => "core_ml",
        }
    }
}

/// A model file that cannot be taken in.
///
/// ```
/// use std::path::Path;
/// use harness_engine::{ArtifactError, ModelArtifact};
///
/// let missing = ModelArtifact::from_path(Path::new("no/such.gguf"));
/// assert!(matches!(missing, Err(ArtifactError::Io { .. })));
/// // Without a `config.json` it is no Hugging Face folder either.
/// let folder = ModelArtifact::from_path(Path::new(env!("CARGO_MANIFEST_DIR")));
/// assert!(matches!(folder, Err(ArtifactError::Incomplete { .. })));
/// ```
#[derive(Debug, thiserror::Error)]
pub enum ArtifactError {
    /// The file cannot be read.
    #[error("cannot read model {path}: {source}")]
    Io {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file is of no format known here.
    #[error(
        "{0} is no model file known here: expected GGUF (it would begin with the bytes `GGUF`), \
         a Hugging Face folder, or a Core ML package (NAME.mlpackage)"
    )]
    UnknownFormat(PathBuf),
    /// The folder lacks what makes it a model.
    #[error(
        "{path} is no Hugging Face model folder: it has no {missing}; \
         download the model again with every file of its repository"
    )]
    Incomplete {
        /// Which folder.
        path: PathBuf,
        /// What it should hold.
        missing: &'static str,
    },
    /// A file whose name cannot stand in the list that is hashed.
    #[error("{0:?} has a name that is no plain text; rename it")]
    FileName(PathBuf),
}

impl ModelArtifact {
    /// Opens and hashes the model file or folder at `path`.
    ///
    /// A folder's hash is that of a text with one line for each file that the
    /// model consists of, sorted by name: the file's SHA-256 in hex, its length
    /// in bytes, and its name, with single spaces between and a newline after.
    /// These files are `chat_template.jinja`, `config.json`,
    /// `generation_config.json`, `model.safetensors.index.json`, `tokenizer.json`,
    /// `tokenizer_config.json` as far as they exist, and every `*.safetensors`. A
    /// Core ML package consists of all its files, named by their paths in it.
    ///
    /// # Errors
    /// [`ArtifactError`] when it cannot be read or is of no known format.
    ///
    /// ```
    /// use std::fs;
    /// use harness_engine::{ArtifactFormat, ModelArtifact};
    ///
    /// let path = std::env::temp_dir().join(format!("tiny-{}.gguf", std::process::id()));
    /// fs::write(&path, b"GGUF\x03\0\0\0")?;
    /// let model = ModelArtifact::from_path(&path);
    /// fs::remove_file(&path)?;
    ///
    /// let model = model?;
    /// assert_eq!(model.format, ArtifactFormat::Gguf);
    /// assert_eq!(model.sha256, harness_engine::sha256_hex(b"GGUF\x03\0\0\0"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn from_path(path: &Path) -> Result<Self, ArtifactError> {
        let io = |source| ArtifactError::Io {
            path: path.into(),
            source,
        };
        let core_ml = |end| path.extension().is_some_and(|extension| extension == end);
        if path.is_dir() && core_ml("mlpackage") {
            let (sha256, size_bytes) = folder::digest_package(path)?;
            return Ok(Self {
                name: stem(path),
                source: ArtifactSource::Path(path.into()),
                format: ArtifactFormat::CoreMl,
                sha256,
                size_bytes,
            });
        }
        if path.is_dir() {
            let (sha256, size_bytes) = folder::digest(path)?;
            return Ok(Self {
                name: folder::name(path),
                source: ArtifactSource::Path(path.into()),
                format: ArtifactFormat::HuggingFace,
                sha256,
                size_bytes,
            });
        }
        let mut file = File::open(path).map_err(io)?;
        if !file.metadata().map_err(io)?.is_file() {
            return Err(io(io::Error::other("not a regular file")));
        }
        if core_ml("mlmodel") {
            let mut hasher = Sha256::new();
            let size_bytes = copy_into(&mut hasher, &mut file).map_err(io)?;
            return Ok(Self {
                name: stem(path),
                source: ArtifactSource::Path(path.into()),
                format: ArtifactFormat::CoreMl,
                sha256: hex(&hasher.finalize()),
                size_bytes,
            });
        }
        let mut magic = [0; 4];
        match file.read_exact(&mut magic) {
            Ok(()) if &magic == b"GGUF" => {}
            Ok(()) => return Err(ArtifactError::UnknownFormat(path.into())),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                return Err(ArtifactError::UnknownFormat(path.into()));
            }
            Err(error) => return Err(io(error)),
        }
        let mut hasher = Sha256::new();
        hasher.update(magic);
        let size_bytes = 4 + copy_into(&mut hasher, &mut file).map_err(io)?;
        Ok(Self {
            name: stem(path),
            source: ArtifactSource::Path(path.into()),
            format: ArtifactFormat::Gguf,
            sha256: hex(&hasher.finalize()),
            size_bytes,
        })
    }

    /// A GGUF linked into the program.
    ///
    /// With `include_bytes!` a program brings its model along:
    ///
    /// ```
    /// use harness_engine::ModelArtifact;
    ///
    /// static MODEL: &[u8] = b"GGUF\x03\0\0\0";
    /// assert_eq!(ModelArtifact::embedded("tiny", MODEL).name, "tiny");
    /// ```
    #[must_use]
    pub fn embedded(name: &str, bytes: &'static [u8]) -> Self {
        Self {
            name: name.into(),
            source: ArtifactSource::Embedded(bytes),
            format: ArtifactFormat::Gguf,
            sha256: sha256_hex(bytes),
            size_bytes: bytes.len() as u64,
        }
    }
}

impl fmt::Display for ModelArtifact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.source {
            ArtifactSource::Path(path) => write!(f, "{}", path.display()),
            ArtifactSource::Embedded(_) => write!(f, "{} (embedded)", self.name),
        }
    }
}

/// The file's name without its end.
fn stem(path: &Path) -> String {
    path.file_stem().map_or_else(
        || path.display().to_string(),
        |stem| stem.to_string_lossy().into(),
    )
}

pub(crate) fn copy_into(hasher: &mut Sha256, file: &mut File) -> io::Result<u64> {
    // A megabyte at a time keeps the read syscalls out of the profile.
    let mut buffer = vec![0; 1 << 20];
    let mut total = 0;
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(total),
            n => {
                hasher.update(&buffer[..n]);
                total += n as u64;
            }
        }
    }
}

/// SHA-256 of `bytes` as lower-case hex.
///
/// ```
/// let empty = harness_engine::sha256_hex(b"");
/// assert_eq!(&empty[..16], "e3b0c44298fc1c14");
/// assert_eq!(empty.len(), 64);
/// ```
#[must_use]
pub fn sha256_hex(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

pub(crate) fn hex(digest: &[u8]) -> String {
    use fmt::Write;
    digest
        .iter()
        .fold(String::with_capacity(64), |mut text, byte| {
            // Writing to a String cannot fail.
            let _ = write!(text, "{byte:02x}");
            text
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hash_is_the_standard_one() {
        // FIPS 180-2, appendix B.1.
        assert_eq!(
            sha256_hex(b"abc"),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
    }

    #[test]
    fn missing_and_foreign_files_are_told_apart() {
        let missing = ModelArtifact::from_path(Path::new("/nonexistent/x.gguf")).unwrap_err();
        assert!(missing.to_string().contains("/nonexistent/x.gguf"));
        let foreign = ModelArtifact::from_path(Path::new(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/Cargo.toml"
        )));
        assert!(matches!(foreign, Err(ArtifactError::UnknownFormat(_))));
        let folder = ModelArtifact::from_path(Path::new(env!("CARGO_MANIFEST_DIR")));
        assert!(matches!(folder, Err(ArtifactError::Incomplete { .. })));
    }
}
