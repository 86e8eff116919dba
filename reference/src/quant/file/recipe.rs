//! Which tensor is stored as what.

use engine::NumberFormat;

use super::row;
use crate::gguf::{GgmlType, TensorInfo};
use crate::quant::{fitting, ggml_type};

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

#[derive(Clone, Copy, Debug)]
pub(super) enum Step {
    Copy,
    Store(GgmlType),
    Simulate(NumberFormat),
}

impl Step {
    pub(super) fn stored(self, tensor: &TensorInfo) -> GgmlType {
        match self {
            Step::Copy => tensor.ggml_type,
            Step::Store(ty) => ty,
            Step::Simulate(_) => GgmlType::F16,
        }
    }
}

/// What `recipe` makes of `tensor` in a model whose head is the embedding if
/// `tied`.
pub(super) fn step(tensor: &TensorInfo, recipe: &Recipe, tied: bool) -> Step {
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

/// llama.cpp's number for a file whose matrices are mostly of `format`
/// (`llama_ftype` in llama.h); simulated schemes are stored as f16.
pub(super) fn file_type(format: NumberFormat) -> u32 {
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
