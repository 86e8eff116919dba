//! GGUF, llama.cpp's single-file model format: a strict reader and a writer.
//!
//! ```text
//! "GGUF" version:u32 tensors:u64 keys:u64
//! keys × (name type:u32 value)
//! tensors × (name dimensions:u32 dimensions × u64 type:u32 offset:u64)
//! padding to the alignment, then the tensors' data, each at its offset
//! ```
//!
//! Numbers are little-endian, strings a `u64` length and UTF-8 bytes. Versions
//! 2 and 3 differ only in that 3 may be big-endian, which is refused here.
//!
//! Model files come from strangers, so nothing in one is taken on trust:
//! [`Header::parse`] either proves that every tensor lies within the file and
//! apart from the others, or says what is wrong and where.
//!
//! ```
//! use harness_reference::gguf::{GgmlType, Header, Metadata, Writer};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let mut metadata = Metadata::new();
//! metadata.set("general.architecture", "llama");
//! let mut writer = Writer::new(&metadata);
//! writer.declare("norm.weight", &[2], GgmlType::F32)?;
//! let mut body = writer.begin(Vec::new())?;
//! body.tensor(&[0; 8])?;
//! let file = body.finish()?;
//!
//! let header = Header::parse(&file)?;
//! assert_eq!(header.metadata().get::<&str>("general.architecture")?, "llama");
//! assert_eq!(header.tensors()[0].dims, [2]);
//! # Ok(())
//! # }
//! ```

mod convert;
mod cursor;
mod error;
mod metadata;
mod parse;
mod tensor;
mod types;
mod value;
mod write;

use bytes::Bytes;
use engine::{ArtifactSource, ModelArtifact};

use crate::map::map;

pub use convert::{FromValue, Mismatch};
pub use error::{GgufError, MetadataError};
pub use metadata::Metadata;
pub use parse::Header;
pub use tensor::TensorInfo;
pub use types::GgmlType;
pub use value::{Array, Value};
pub use write::{BodyWriter, WriteError, Writer};

/// An open GGUF file: its checked header and its bytes.
///
/// ```
/// use engine::ModelArtifact;
/// use harness_reference::gguf::GgufFile;
///
/// let model = ModelArtifact::embedded(fixtures::MODEL_NAME, fixtures::MODEL);
/// let file = GgufFile::open(&model)?;
/// let norm = file.tensor("output_norm.weight").ok_or("no norm")?;
/// assert_eq!(file.data(norm).len(), 256 * size_of::<f32>());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct GgufFile {
    header: Header,
    bytes: Bytes,
}

impl GgufFile {
    /// Opens `model`, mapping files into memory rather than reading them.
    ///
    /// # Errors
    /// [`GgufError`] when it cannot be read or is malformed.
    ///
    /// ```
    /// use engine::ModelArtifact;
    /// use harness_reference::gguf::{GgufError, GgufFile};
    ///
    /// let old = ModelArtifact::embedded("old", b"ggjt, the format before GGUF");
    /// assert!(matches!(GgufFile::open(&old), Err(GgufError::Magic(_))));
    /// ```
    pub fn open(model: &ModelArtifact) -> Result<Self, GgufError> {
        let bytes = match &model.source {
            ArtifactSource::Path(path) => map(path).map_err(|source| GgufError::Io {
                path: path.into(),
                source,
            })?,
            ArtifactSource::Embedded(bytes) => Bytes::from_static(bytes),
        };
        let header = Header::parse(&bytes)?;
        Ok(Self { header, bytes })
    }

    /// Everything but the data.
    ///
    /// ```
    /// use engine::ModelArtifact;
    /// use harness_reference::gguf::GgufFile;
    ///
    /// let model = ModelArtifact::embedded(fixtures::MODEL_NAME, fixtures::MODEL);
    /// assert_eq!(GgufFile::open(&model)?.header().version(), 3);
    /// # Ok::<(), harness_reference::gguf::GgufError>(())
    /// ```
    #[must_use]
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// Metadata.
    ///
    /// ```
    /// use engine::ModelArtifact;
    /// use harness_reference::gguf::GgufFile;
    ///
    /// let model = ModelArtifact::embedded(fixtures::MODEL_NAME, fixtures::MODEL);
    /// let file = GgufFile::open(&model)?;
    /// assert_eq!(file.metadata().get::<&str>("general.architecture")?, "llama");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn metadata(&self) -> &Metadata {
        self.header.metadata()
    }

    /// All tensors, in the order of the file.
    ///
    /// ```
    /// use engine::ModelArtifact;
    /// use harness_reference::gguf::GgufFile;
    ///
    /// let model = ModelArtifact::embedded(fixtures::MODEL_NAME, fixtures::MODEL);
    /// let file = GgufFile::open(&model)?;
    /// let bytes: usize = file.tensors().iter().map(|tensor| file.data(tensor).len()).sum();
    /// assert!(bytes < fixtures::MODEL.len());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn tensors(&self) -> &[TensorInfo] {
        self.header.tensors()
    }

    /// The tensor called `name`.
    ///
    /// ```
    /// use engine::ModelArtifact;
    /// use harness_reference::gguf::GgufFile;
    ///
    /// let model = ModelArtifact::embedded(fixtures::MODEL_NAME, fixtures::MODEL);
    /// let file = GgufFile::open(&model)?;
    /// // Embedding and head are one matrix in this model.
    /// assert!(file.tensor("token_embd.weight").is_some());
    /// assert!(file.tensor("output.weight").is_none());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn tensor(&self, name: &str) -> Option<&TensorInfo> {
        self.header.tensor(name)
    }

    /// The data of `tensor`, which must be one of this file's.
    ///
    /// # Panics
    /// When `tensor` comes from another file and lies outside this one.
    ///
    /// ```
    /// use engine::ModelArtifact;
    /// use harness_reference::gguf::GgufFile;
    /// use harness_reference::quant::dequantize;
    ///
    /// let model = ModelArtifact::embedded(fixtures::MODEL_NAME, fixtures::MODEL);
    /// let file = GgufFile::open(&model)?;
    /// let norm = file.tensor("output_norm.weight").ok_or("no norm")?;
    /// let mut weights = [0.0; 256];
    /// dequantize(norm.ggml_type, file.data(norm), &mut weights)?;
    /// assert!(weights.iter().all(|weight| *weight > 0.0));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn data(&self, tensor: &TensorInfo) -> &[u8] {
        &self.bytes[tensor.range()]
    }

    /// Like [`data`](Self::data), but keeps the file open for as long as it is
    /// held.
    ///
    /// # Panics
    /// When `tensor` comes from another file and lies outside this one.
    #[must_use]
    pub(crate) fn shared_data(&self, tensor: &TensorInfo) -> Bytes {
        self.bytes.slice(tensor.range())
    }
}
