//! A model's metadata and tensors under GGUF's names, wherever they come from.

use std::collections::HashMap;

use engine::{ArtifactFormat, ArtifactSource, EngineError, FailureKind, ModelArtifact};

use crate::gguf::{GgmlType, GgufFile, Metadata, TensorInfo};
use crate::hf::Folder;
use bytes::Bytes;

/// An open model: a GGUF file, or a Hugging Face folder in GGUF's terms.
///
/// ```
/// use engine::ModelArtifact;
/// use harness_reference::Source;
///
/// let model = ModelArtifact::embedded(fixtures::MODEL_NAME, fixtures::MODEL);
/// let source = Source::open(&model)?;
/// let embedding = source.tensor("token_embd.weight").ok_or("no embedding")?;
/// assert_eq!(embedding.entry.shape, [4096, 256]);
/// assert_eq!(embedding.bytes.len(), embedding.entry.byte_len());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Source {
    files: Files,
    index: HashMap<String, usize>,
}

#[derive(Debug)]
enum Files {
    Gguf(GgufFile, Vec<TensorEntry>),
    HuggingFace(Folder),
}

/// What is known of a tensor without reading it.
///
/// ```
/// use harness_reference::TensorEntry;
/// use harness_reference::gguf::GgmlType;
///
/// let up = TensorEntry {
///     name: "blk.0.ffn_up.weight".into(),
///     ggml_type: GgmlType::Q4K,
///     shape: vec![768, 256],
/// };
/// assert_eq!(up.elements(), 768 * 256);
/// assert_eq!(up.byte_len(), 768 * 144);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorEntry {
    /// GGUF's name, e.g. `blk.0.attn_q.weight`.
    pub name: String,
    /// Storage type.
    pub ggml_type: GgmlType,
    /// Extents, outermost dimension first: a matrix that maps `n` inputs to `m`
    /// outputs is `[m, n]`. Their product fits a `usize`.
    pub shape: Vec<usize>,
}

/// A tensor and its data.
///
/// ```
/// use engine::ModelArtifact;
/// use harness_reference::Source;
///
/// let model = ModelArtifact::embedded(fixtures::MODEL_NAME, fixtures::MODEL);
/// let source = Source::open(&model)?;
/// let bytes = source.tensor("output_norm.weight").map(|norm| norm.bytes);
/// drop(source);
/// // The file stays mapped for as long as they are held.
/// assert_eq!(bytes.map(|bytes| bytes.len()), Some(256 * size_of::<f32>()));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Stored<'a> {
    /// Name, type and shape.
    pub entry: &'a TensorEntry,
    /// The data, part of the mapped file where that holds it as it is needed.
    /// Outlives the source.
    pub bytes: Bytes,
}

impl TensorEntry {
    /// Number of elements.
    ///
    /// ```
    /// use engine::ModelArtifact;
    /// use harness_reference::Source;
    ///
    /// let model = ModelArtifact::embedded(fixtures::MODEL_NAME, fixtures::MODEL);
    /// let source = Source::open(&model)?;
    /// let parameters: usize = source.tensors().iter().map(|tensor| tensor.elements()).sum();
    /// assert_eq!(parameters, 4_983_552);
    /// # Ok::<(), engine::EngineError>(())
    /// ```
    #[must_use]
    pub fn elements(&self) -> usize {
        self.shape.iter().product()
    }

    /// Bytes of the data.
    ///
    /// ```
    /// use engine::ModelArtifact;
    /// use harness_reference::Source;
    ///
    /// let model = ModelArtifact::embedded(fixtures::MODEL_NAME, fixtures::MODEL);
    /// let source = Source::open(&model)?;
    /// let embedding = source.entry("token_embd.weight").map(|entry| entry.byte_len());
    /// // Half precision.
    /// assert_eq!(embedding, Some(2 * 4096 * 256));
    /// # Ok::<(), engine::EngineError>(())
    /// ```
    #[must_use]
    pub fn byte_len(&self) -> usize {
        self.elements() / self.ggml_type.block_size() * self.ggml_type.block_bytes()
    }
}

impl From<&TensorInfo> for TensorEntry {
    fn from(tensor: &TensorInfo) -> Self {
        Self {
            name: tensor.name.clone(),
            ggml_type: tensor.ggml_type,
            // The reader has checked that their product fits.
            shape: tensor.dims.iter().rev().map(|&dim| dim as usize).collect(),
        }
    }
}

impl Source {
    /// Opens and validates the container of `model`.
    ///
    /// # Errors
    /// [`FailureKind::Load`] when it is malformed or incomplete,
    /// [`FailureKind::Unsupported`] for a well-formed model of a kind that is
    /// not read here.
    ///
    /// ```
    /// use engine::{FailureKind, ModelArtifact};
    /// use harness_reference::Source;
    ///
    /// let damaged = ModelArtifact::embedded("damaged", &fixtures::MODEL[..1000]);
    /// let refused = Source::open(&damaged).map_err(|error| error.kind());
    /// assert!(matches!(refused, Err(FailureKind::Load)));
    /// ```
    pub fn open(model: &ModelArtifact) -> Result<Self, EngineError> {
        let fault = |kind, why: String| EngineError::new(kind, format!("{model}: {why}"));
        let files = match (&model.source, model.format) {
            (ArtifactSource::Path(path), ArtifactFormat::HuggingFace) => {
                let folder = Folder::open(path);
                Files::HuggingFace(folder.map_err(|error| fault(error.kind(), error.to_string()))?)
            }
            (_, ArtifactFormat::CoreMl) => {
                let why = "is a Core ML package, which engine `coreml-interp` runs; GGUF files and \
                           Hugging Face folders are read here";
                return Err(fault(FailureKind::Unsupported, why.into()));
            }
            _ => {
                let file = GgufFile::open(model);
                let file = file.map_err(|error| fault(FailureKind::Load, error.to_string()))?;
                let entries = file.tensors().iter().map(TensorEntry::from).collect();
                Files::Gguf(file, entries)
            }
        };
        let mut this = Self {
            files,
            index: HashMap::new(),
        };
        let names = this.tensors().iter().map(|tensor| tensor.name.clone());
        this.index = names.zip(0..).collect();
        Ok(this)
    }

    /// Metadata under GGUF's keys. A folder has none of its tokenizer's.
    ///
    /// ```
    /// use engine::ModelArtifact;
    /// use harness_reference::Source;
    ///
    /// let model = ModelArtifact::embedded(fixtures::MODEL_NAME, fixtures::MODEL);
    /// let source = Source::open(&model)?;
    /// assert_eq!(source.metadata().get::<usize>("llama.context_length")?, 1024);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn metadata(&self) -> &Metadata {
        match &self.files {
            Files::Gguf(file, _) => file.metadata(),
            Files::HuggingFace(folder) => folder.metadata(),
        }
    }

    /// All tensors, in the order of the files.
    ///
    /// ```
    /// use engine::ModelArtifact;
    /// use harness_reference::Source;
    ///
    /// let model = ModelArtifact::embedded(fixtures::MODEL_NAME, fixtures::MODEL);
    /// let source = Source::open(&model)?;
    /// let matrices = source.tensors().iter().filter(|tensor| tensor.shape.len() == 2);
    /// // Seven a block, and the embedding.
    /// assert_eq!(matrices.count(), 5 * 7 + 1);
    /// # Ok::<(), engine::EngineError>(())
    /// ```
    #[must_use]
    pub fn tensors(&self) -> &[TensorEntry] {
        match &self.files {
            Files::Gguf(_, entries) => entries,
            Files::HuggingFace(folder) => folder.tensors(),
        }
    }

    /// What is known of the tensor called `name`.
    ///
    /// ```
    /// use engine::ModelArtifact;
    /// use harness_reference::Source;
    ///
    /// let model = ModelArtifact::embedded(fixtures::MODEL_NAME, fixtures::MODEL);
    /// let source = Source::open(&model)?;
    /// let shape = source.entry("blk.0.ffn_down.weight").map(|entry| &entry.shape[..]);
    /// assert_eq!(shape, Some(&[256, 768][..]));
    /// # Ok::<(), engine::EngineError>(())
    /// ```
    #[must_use]
    pub fn entry(&self, name: &str) -> Option<&TensorEntry> {
        self.index.get(name).map(|&at| &self.tensors()[at])
    }

    /// The tensor called `name`.
    ///
    /// ```
    /// use engine::ModelArtifact;
    /// use harness_reference::{Source, quant::dequantize};
    ///
    /// let model = ModelArtifact::embedded(fixtures::MODEL_NAME, fixtures::MODEL);
    /// let source = Source::open(&model)?;
    /// let norm = source.tensor("output_norm.weight").ok_or("no norm")?;
    /// let mut weights = vec![0.0; norm.entry.elements()];
    /// dequantize(norm.entry.ggml_type, &norm.bytes, &mut weights)?;
    /// assert!(weights.iter().all(|weight| *weight > 0.0));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn tensor(&self, name: &str) -> Option<Stored<'_>> {
        let &at = self.index.get(name)?;
        let bytes = match &self.files {
            Files::Gguf(file, _) => file.shared_data(&file.tensors()[at]),
            Files::HuggingFace(folder) => folder.bytes(at),
        };
        Some(Stored {
            entry: &self.tensors()[at],
            bytes,
        })
    }

    /// The folder, when it is one.
    pub(crate) fn folder(&self) -> Option<&Folder> {
        match &self.files {
            Files::Gguf(..) => None,
            Files::HuggingFace(folder) => Some(folder),
        }
    }
}
