//! Model files from one type to another, a tensor at a time.
//!
//! The choices are those of llama.cpp's `llama-quantize`: norms, biases and
//! other vectors, routers and position tables stay as they are; the head (or
//! the embedding that stands in for it) is stored as Q6_K unless
//! [`Recipe::pure`] or a type of its own says otherwise. Left out are the
//! mixtures of `llama-quantize`, which for K-quants and IQ4 stores some layers'
//! values and down projections finer: every other matrix has the type asked
//! for.

use std::io::Write;

use engine::NumberFormat;

pub use super::distortion::Distortion;
use super::{QuantError, core_ml, dequantize, fitting, ggml_type, quantize, round_trip_rows};
use crate::gguf::{GgmlType, GgufFile, Metadata, TensorInfo, WriteError, Writer};

/// Keys that describe how the weights are stored.
const FILE_TYPE: &str = "general.file_type";
const QUANTIZATION_VERSION: &str = "general.quantization_version";
/// GGML's block layouts have been the same since version 2.
const VERSION: u32 = 2;

/// Parts of names of matrices that are never quantized, from
/// `tensor_allows_quantization` in llama.cpp.
const KEPT: [&str; 25] = [
    "_norm.weight",
    "ffn_gate_inp.weight",
    "altup",
    "laurel",
    "per_layer_model_proj",
    "position_embd",
    "token_types.weight",
    "ssm_conv1d",
    "shortconv.conv.weight",
    "indexer.k_proj.weight",
    "indexer.q_proj.weight",
    "attn_rel_b.weight",
    "time_mix_first.weight",
    "time_mix_w0.weight",
    "time_mix_w1.weight",
    "time_mix_w2.weight",
    "time_mix_v0.weight",
    "time_mix_v1.weight",
    "time_mix_v2.weight",
    "time_mix_a0.weight",
    "time_mix_a1.weight",
    "time_mix_a2.weight",
    "time_mix_g1.weight",
    "time_mix_g2.weight",
    "time_mix_decay_w",
];

/// What to store as what.
///
/// ```
/// use engine::{ModelArtifact, NumberFormat};
/// use harness_reference::gguf::GgufFile;
/// use harness_reference::quant::file::{Plan, Recipe};
///
/// let model = ModelArtifact::embedded(fixtures::MODEL_NAME, fixtures::MODEL);
/// let file = GgufFile::open(&model)?;
/// // The embedding, which is the head too, stays as it is.
/// let recipe = Recipe {
///     format: NumberFormat::Q8_0,
///     output: None,
///     token_embedding: Some(NumberFormat::F16),
///     pure: false,
/// };
/// Plan::new(&file, &recipe)?.write(std::io::sink(), |tensor| {
///     let kept = tensor.name == "token_embd.weight" || tensor.name.contains("norm");
///     assert_eq!(tensor.error.is_none(), kept);
/// })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Recipe {
    /// The format of matrices.
    pub format: NumberFormat,
    /// The format of the head, `output.weight`.
    pub output: Option<NumberFormat>,
    /// The format of the embedding, `token_embd.weight`.
    pub token_embedding: Option<NumberFormat>,
    /// Whether head and embedding have the format of the other matrices.
    pub pure: bool,
}

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

#[derive(Clone, Copy, Debug)]
enum Step {
    Copy,
    Store(GgmlType),
    Simulate(NumberFormat),
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

impl Step {
    fn stored(self, tensor: &TensorInfo) -> GgmlType {
        match self {
            Step::Copy => tensor.ggml_type,
            Step::Store(ty) => ty,
            Step::Simulate(_) => GgmlType::F16,
        }
    }
}

/// What `recipe` makes of `tensor` in a model whose head is the embedding if
/// `tied`.
fn step(tensor: &TensorInfo, recipe: &Recipe, tied: bool) -> Step {
    let matrix = tensor.dims.iter().skip(1).any(|&dim| dim > 1);
    let weight = tensor.name.ends_with("weight") && !is_table(tensor.ggml_type);
    if !matrix || !weight || KEPT.iter().any(|part| tensor.name.contains(part)) {
        return Step::Copy;
    }
    let embedding = tensor.name == "token_embd.weight";
    let head = tensor.name == "output.weight" || embedding && tied;
    let own = if embedding {
        recipe.token_embedding
    } else {
        None
    }
    .or(if head { recipe.output } else { None });
    let format = own.unwrap_or(match recipe.format {
        format if !head || recipe.pure => format,
        // Wider formats are as fine; the schemes of Core ML are their own.
        format @ (NumberFormat::F32
        | NumberFormat::F16
        | NumberFormat::Bf16
        | NumberFormat::Q8_0
        | NumberFormat::Palette4G16
        | NumberFormat::Int4B32) => format,
        _ => NumberFormat::Q6K,
    });
    match ggml_type(format) {
        None => Step::Simulate(format),
        Some(ty) => match fitting(ty, row(tensor)) {
            same if same == tensor.ggml_type => Step::Copy,
            ty => Step::Store(ty),
        },
    }
}

/// Whether a tensor of type `ty` holds something else than weights.
fn is_table(ty: GgmlType) -> bool {
    matches!(
        ty,
        GgmlType::I8 | GgmlType::I16 | GgmlType::I32 | GgmlType::I64 | GgmlType::F64
    )
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

/// llama.cpp's number for a file whose matrices are mostly of `format`
/// (`llama_ftype` in llama.h); simulated schemes are stored as f16.
fn file_type(format: NumberFormat) -> u32 {
    match format {
        NumberFormat::F32 => 0,
        NumberFormat::F16 | NumberFormat::Palette4G16 | NumberFormat::Int4B32 => 1,
        NumberFormat::Q4_0 => 2,
        NumberFormat::Q4_1 => 3,
        NumberFormat::Q8_0 => 7,
        NumberFormat::Q5_0 => 8,
        NumberFormat::Q5_1 => 9,
        NumberFormat::Q2K => 10,
        // Of the mixtures of K-quants, the `_S`.
        NumberFormat::Q3K => 11,
        NumberFormat::Q4K => 14,
        NumberFormat::Q5K => 16,
        NumberFormat::Q6K => 18,
        NumberFormat::Iq4Nl => 25,
        NumberFormat::Iq4Xs => 30,
        NumberFormat::Bf16 => 32,
    }
}
