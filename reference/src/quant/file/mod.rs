//! Model files from one type to another, a tensor at a time.
//!
//! The choices are those of llama.cpp's `llama-quantize`: norms, biases and
//! other vectors, routers and position tables stay as they are; the head (or
//! the embedding that stands in for it) is stored as Q6_K unless
//! [`Recipe::pure`] or a type of its own says otherwise. Left out are the
//! mixtures of `llama-quantize`, which for K-quants and IQ4 stores some layers'
//! values and down projections finer: every other matrix has the type asked
//! for.
//!
//! ```
//! use engine::{ModelArtifact, NumberFormat};
//! use harness_reference::gguf::GgufFile;
//! use harness_reference::quant::file::{Plan, Recipe};
//!
//! let model = ModelArtifact::embedded(fixtures::MODEL_NAME, fixtures::MODEL);
//! let file = GgufFile::open(&model)?;
//! let recipe = Recipe {
//!     format: NumberFormat::Int4B32,
//!     output: None,
//!     token_embedding: None,
//!     pure: false,
//! };
//! // GGUF has no type for Core ML's schemes: values pass through them into f16.
//! Plan::new(&file, &recipe)?.write(std::io::sink(), |tensor| {
//!     assert_eq!(tensor.simulated.is_some(), !tensor.name.contains("norm"));
//! })?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod recipe;

use std::io::Write;

use engine::NumberFormat;

use super::{QuantError, core_ml, dequantize, quantize, round_trip_rows};
use crate::gguf::{GgmlType, GgufFile, Metadata, TensorInfo, WriteError, Writer};
use recipe::{Step, file_type, step};

pub use super::distortion::Distortion;
pub use recipe::Recipe;

/// Keys that describe how the weights are stored.
const FILE_TYPE: &str = "general.file_type";
const QUANTIZATION_VERSION: &str = "general.quantization_version";
/// GGML's block layouts have been the same since version 2.
const VERSION: u32 = 2;

/// A model file that cannot be made.
///
/// ```
/// use engine::{ModelArtifact, NumberFormat};
/// use harness_reference::gguf::{GgufFile, Metadata, Writer};
/// use harness_reference::quant::file::{FileError, Plan, Recipe};
///
/// let mut metadata = Metadata::new();
/// metadata.set("split.count", 3u32);
/// let part = Writer::new(&metadata).begin(Vec::new())?.finish()?;
/// let part = GgufFile::open(&ModelArtifact::embedded("part", part.leak()))?;
/// let recipe = Recipe {
///     format: NumberFormat::Q8_0,
///     output: None,
///     token_embedding: None,
///     pure: false,
/// };
/// assert!(matches!(Plan::new(&part, &recipe), Err(FileError::Split(3))));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// One of several files.
    #[error(
        "this file is one of {0} that make up a model; join them first with \
         `llama-gguf-split --merge`"
    )]
    Split(u64),
    /// Metadata that no model has.
    #[error("{0}")]
    Metadata(#[from] crate::gguf::MetadataError),
    /// A tensor that cannot be read or stored.
    #[error("tensor `{tensor}`: {source}")]
    Tensor {
        /// Which tensor.
        tensor: String,
        /// What is wrong with it.
        source: QuantError,
    },
    /// The result cannot be written.
    #[error("{0}")]
    Write(#[from] WriteError),
}

/// What becomes of a tensor.
///
/// ```
/// use engine::{ModelArtifact, NumberFormat};
/// use harness_reference::gguf::GgufFile;
/// use harness_reference::quant::file::{Plan, Recipe};
///
/// let model = ModelArtifact::embedded(fixtures::MODEL_NAME, fixtures::MODEL);
/// let file = GgufFile::open(&model)?;
/// let recipe = Recipe {
///     format: NumberFormat::Q8_0,
///     output: None,
///     token_embedding: None,
///     pure: false,
/// };
/// let mut reports = Vec::new();
/// Plan::new(&file, &recipe)?.write(std::io::sink(), |report| reports.push(report))?;
/// let gate = reports.iter().find(|report| report.name == "blk.0.ffn_gate.weight");
/// let gate = gate.ok_or("no gate")?;
/// assert_eq!((gate.from.name(), gate.to.name(), gate.bits_per_weight), ("f16", "q8_0", 8.5));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct TensorReport {
    /// Its name.
    pub name: String,
    /// Numbers in it.
    pub numbers: usize,
    /// Its type before.
    pub from: GgmlType,
    /// Its type in the new file.
    pub to: GgmlType,
    /// The scheme of Core ML that its values have passed through, if any.
    pub simulated: Option<NumberFormat>,
    /// Storage cost; of the simulated scheme if there is one.
    pub bits_per_weight: f64,
    /// What the change costs; `None` where the bytes are copied.
    pub error: Option<Distortion>,
}

/// What is to be done to every tensor of a file.
///
/// ```
/// use engine::{ModelArtifact, NumberFormat};
/// use harness_reference::gguf::GgufFile;
/// use harness_reference::quant::file::{Plan, Recipe};
///
/// let model = ModelArtifact::embedded(fixtures::MODEL_NAME, fixtures::MODEL);
/// let file = GgufFile::open(&model)?;
/// let recipe = Recipe {
///     format: NumberFormat::Q8_0,
///     output: None,
///     token_embedding: None,
///     pure: false,
/// };
/// let smaller = Plan::new(&file, &recipe)?.write(Vec::new(), |_| ())?;
/// // 8.5 bits a weight in place of 16.
/// assert!((0.5..0.6).contains(&(smaller.len() as f64 / fixtures::MODEL.len() as f64)));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Plan<'a> {
    file: &'a GgufFile,
    metadata: Metadata,
    steps: Vec<Step>,
}

impl<'a> Plan<'a> {
    /// Chooses a type for every tensor of `file`.
    ///
    /// # Errors
    /// [`FileError::Split`] for a part of a model, and [`FileError::Metadata`].
    ///
    /// ```
    /// use engine::{ModelArtifact, NumberFormat};
    /// use harness_reference::gguf::GgufFile;
    /// use harness_reference::quant::file::{Plan, Recipe};
    ///
    /// let model = ModelArtifact::embedded(fixtures::MODEL_NAME, fixtures::MODEL);
    /// let file = GgufFile::open(&model)?;
    /// let recipe = Recipe {
    ///     format: NumberFormat::Q8_0,
    ///     output: None,
    ///     token_embedding: None,
    ///     pure: false,
    /// };
    /// let plan = Plan::new(&file, &recipe)?;
    /// assert_eq!(plan.tensors(), file.tensors().len());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn new(file: &'a GgufFile, recipe: &Recipe) -> Result<Self, FileError> {
        match file.metadata().find::<u64>("split.count")? {
            None | Some(0 | 1) => {}
            Some(parts) => return Err(FileError::Split(parts)),
        }
        let mut metadata = file.metadata().clone();
        metadata.set(QUANTIZATION_VERSION, VERSION);
        metadata.set(FILE_TYPE, file_type(recipe.format));
        let tied = file.tensor("output.weight").is_none();
        let steps = file
            .tensors()
            .iter()
            .map(|tensor| step(tensor, recipe, tied))
            .collect();
        Ok(Self {
            file,
            metadata,
            steps,
        })
    }

    /// The first tensor that would be quantized a second time.
    ///
    /// ```
    /// use engine::{ModelArtifact, NumberFormat};
    /// use harness_reference::gguf::GgufFile;
    /// use harness_reference::quant::file::{Plan, Recipe};
    ///
    /// let model = ModelArtifact::embedded(fixtures::MODEL_NAME, fixtures::MODEL);
    /// let file = GgufFile::open(&model)?;
    /// let recipe = Recipe {
    ///     format: NumberFormat::Q8_0,
    ///     output: None,
    ///     token_embedding: None,
    ///     pure: false,
    /// };
    /// let smaller = Plan::new(&file, &recipe)?.write(Vec::new(), |_| ())?;
    /// let smaller = GgufFile::open(&ModelArtifact::embedded("smaller", smaller.leak()))?;
    /// let again = Recipe { format: NumberFormat::Q4_0, ..recipe };
    /// assert!(Plan::new(&file, &again)?.quantized_twice().is_none());
    /// assert!(Plan::new(&smaller, &again)?.quantized_twice().is_some());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn quantized_twice(&self) -> Option<&TensorInfo> {
        let plain = [GgmlType::F32, GgmlType::F16, GgmlType::Bf16];
        let mut tensors = self.file.tensors().iter().zip(&self.steps);
        tensors
            .find(|(tensor, step)| {
                !matches!(step, Step::Copy) && !plain.contains(&tensor.ggml_type)
            })
            .map(|(tensor, _)| tensor)
    }

    /// Number of tensors.
    #[must_use]
    pub fn tensors(&self) -> usize {
        self.steps.len()
    }

    /// Writes the new file into `sink` and tells `each` of every tensor. Holds
    /// the numbers of one tensor at a time.
    ///
    /// # Errors
    /// [`FileError::Tensor`] for a type that is not read, and for NaN and other
    /// numbers that the new type has no room for; [`FileError::Write`].
    ///
    /// ```
    /// use engine::{ModelArtifact, NumberFormat};
    /// use harness_reference::gguf::GgufFile;
    /// use harness_reference::quant::file::{Plan, Recipe};
    ///
    /// let model = ModelArtifact::embedded(fixtures::MODEL_NAME, fixtures::MODEL);
    /// let file = GgufFile::open(&model)?;
    /// let recipe = Recipe {
    ///     format: NumberFormat::Q8_0,
    ///     output: None,
    ///     token_embedding: None,
    ///     pure: false,
    /// };
    /// let mut copied = 0;
    /// let written = Plan::new(&file, &recipe)?.write(Vec::new(), |report| {
    ///     copied += usize::from(report.error.is_none());
    /// })?;
    /// // Norms: two a block, and one before the head.
    /// assert_eq!(copied, 5 * 2 + 1);
    /// assert!(written.starts_with(b"GGUF"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn write<W: Write>(
        &self,
        sink: W,
        mut each: impl FnMut(TensorReport),
    ) -> Result<W, FileError> {
        let mut writer = Writer::new(&self.metadata);
        for (tensor, step) in self.file.tensors().iter().zip(&self.steps) {
            writer.declare(&tensor.name, &tensor.dims, step.stored(tensor))?;
        }
        let mut body = writer.begin(sink)?;
        for (tensor, &step) in self.file.tensors().iter().zip(&self.steps) {
            let (bytes, error) =
                self.convert(tensor, step)
                    .map_err(|source| FileError::Tensor {
                        tensor: tensor.name.clone(),
                        source,
                    })?;
            body.tensor(bytes.as_deref().unwrap_or(self.file.data(tensor)))?;
            each(report(tensor, step, error));
        }
        Ok(body.finish()?)
    }

    /// New bytes of `tensor` and what they cost; none where nothing changes.
    fn convert(
        &self,
        tensor: &TensorInfo,
        step: Step,
    ) -> Result<(Option<Vec<u8>>, Option<Distortion>), QuantError> {
        if matches!(step, Step::Copy) {
            return Ok((None, None));
        }
        let to = step.stored(tensor);
        let row = row(tensor);
        let mut before = vec![0.0; numbers(tensor)];
        dequantize(tensor.ggml_type, self.file.data(tensor), &mut before)?;
        let mut after = before.clone();
        if let Step::Simulate(format) = step {
            round_trip_rows(&mut after, row, format)?;
        }
        let bytes = after.len() / to.block_size() * to.block_bytes();
        let mut bytes = vec![0; bytes];
        quantize(to, &after, row, &mut bytes)?;
        dequantize(to, &bytes, &mut after)?;
        Ok((Some(bytes), Some(Distortion::between(&before, &after))))
    }
}

fn report(tensor: &TensorInfo, step: Step, error: Option<Distortion>) -> TensorReport {
    let to = step.stored(tensor);
    let stored_bits = to.block_bytes() as f64 * 8.0 / to.block_size() as f64;
    let (row, rows) = (row(tensor), numbers(tensor) / row(tensor));
    // What a scheme cannot divide stays f16, and is no simulation.
    let (simulated, bits_per_weight) = match step {
        Step::Simulate(format @ NumberFormat::Palette4G16)
            if rows.is_multiple_of(core_ml::GROUP) =>
        {
            (Some(format), core_ml::palette_bits_per_weight(row))
        }
        Step::Simulate(format @ NumberFormat::Int4B32) if row.is_multiple_of(core_ml::BLOCK) => {
            (Some(format), format.bits_per_weight())
        }
        _ => (None, stored_bits),
    };
    TensorReport {
        name: tensor.name.clone(),
        numbers: numbers(tensor),
        from: tensor.ggml_type,
        to,
        simulated,
        bits_per_weight,
        error,
    }
}

/// Numbers in `tensor`; the reader has checked that they fit a `usize`.
fn numbers(tensor: &TensorInfo) -> usize {
    tensor.dims.iter().product::<u64>() as usize
}

/// Numbers in a row of `tensor`.
fn row(tensor: &TensorInfo) -> usize {
    tensor.dims.first().map_or(1, |&dim| dim as usize)
}
