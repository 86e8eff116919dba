//! Shape of a model, read from metadata under GGUF's keys.

mod reader;

use engine::{EngineError, FailureKind, ModelConfig};

use crate::gguf::MetadataError;
use crate::source::Source;

pub(crate) use reader::Reader;

/// Architectures this engine implements, as GGUF spells them.
pub const ARCHITECTURES: [&str; 9] = [
    "llama", "qwen2", "qwen3", "gemma", "gemma2", "gemma3", "phi2", "phi3", "gpt2",
];

/// What a decoder needs to know beyond [`ModelConfig`].
///
/// ```
/// use engine::ModelArtifact;
/// use harness_reference::Source;
/// use harness_reference::decoder::Hyperparameters;
///
/// let model = ModelArtifact::embedded(fixtures::MODEL_NAME, fixtures::MODEL);
/// let source = Source::open(&model)?;
/// let shape = Hyperparameters::read(&source)?;
/// assert_eq!((shape.config.heads, shape.config.head_dim), (4, 64));
/// assert_eq!(shape.attention_scale, 1.0 / 8.0);
/// assert!(shape.gated && !shape.parallel_residual);
/// # Ok::<(), engine::EngineError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Hyperparameters {
    /// Layers, heads, vocabulary, context.
    pub config: ModelConfig,
    /// Kind of every norm.
    pub norm: NormKind,
    /// How it knows where a token stands.
    pub(crate) positions: Positions,
    /// One entry a layer.
    pub layers: Vec<Layer>,
    /// Embeddings are multiplied by this.
    pub embedding_scale: f32,
    /// Queries are multiplied by this.
    pub attention_scale: f32,
    /// Attention scores pass `c · tanh(x / c)`.
    pub attention_softcap: Option<f32>,
    /// Logits pass `c · tanh(x / c)`.
    pub logit_softcap: Option<f32>,
    /// Of the feed forward.
    pub activation: Activation,
    /// Feed forward has a gate: `down(act(gate(x)) · up(x))`, not `down(act(up(x)))`.
    pub gated: bool,
    /// Attention and feed forward read the same normalised input.
    pub parallel_residual: bool,
    /// Queries and keys are normalised head by head.
    pub qk_norm: bool,
    /// The outputs of attention and feed forward are normalised too.
    pub post_norms: bool,
}

/// Normalisation over the features of a token.
///
/// ```
/// use harness_reference::kernels::{Kernels, NormKind};
///
/// let (mut rms, mut layer) = ([1.0, 7.0], [1.0, 7.0]);
/// let kernels = Kernels::best();
/// // The root of the mean of 1 and 49 is 5; 4 is the mean, 3 the deviation.
/// kernels.norm(NormKind::Rms { epsilon: 0.0 }, &[1.0; 2], None, &mut rms)?;
/// kernels.norm(NormKind::Layer { epsilon: 0.0 }, &[1.0; 2], None, &mut layer)?;
/// assert!((rms[1] - 1.4).abs() < 1e-6 && (layer[1] - 1.0).abs() < 1e-6);
/// # Ok::<(), harness_reference::kernels::KernelError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum NormKind {
    /// `x / sqrt(mean(x²) + ε) · w` (Zhang & Sennrich 2019).
    Rms {
        /// Added to the mean of squares.
        epsilon: f32,
    },
    /// `(x − mean) / sqrt(var + ε) · w + b` (Ba et al. 2016).
    Layer {
        /// Added to the variance.
        epsilon: f32,
    },
}

/// How the decoder knows where a token stands.
#[derive(Clone, Debug)]
pub(crate) enum Positions {
    /// Rotary embeddings of queries and keys.
    Rope(RopeParameters),
    /// A learned vector per position, added to the embedding.
    Learned,
}

/// Rotary embeddings as metadata describes them.
#[derive(Clone, Debug)]
pub(crate) struct RopeParameters {
    /// Which dimensions rotate together.
    pub(crate) pairing: Pairing,
    /// Leading dimensions of a head that are rotated.
    pub(crate) dims: usize,
    /// Base of the frequencies.
    pub(crate) base: f64,
    /// Positions are divided by this (linear scaling).
    pub(crate) factor: f64,
    /// Base of the layers with a local window, which are never scaled.
    pub(crate) local_base: Option<f64>,
    /// Cosines and sines are multiplied by this.
    pub(crate) magnitude: f64,
    /// The context that the short factors of LongRoPE were trained for.
    pub(crate) original_context: Option<usize>,
}

/// Dimensions of a head that rotate together.
///
/// ```
/// use harness_reference::kernels::{Kernels, Pairing};
///
/// // The first of two pairs turns by 90°.
/// let (cos, sin) = ([0.0, 1.0], [1.0, 0.0]);
/// let (mut neighbours, mut halves) = ([1.0, 0.0, 0.0, 0.0], [1.0, 0.0, 0.0, 0.0]);
/// Kernels::best().rotate(Pairing::Neighbours, &mut neighbours, 4, &cos, &sin)?;
/// Kernels::best().rotate(Pairing::Halves, &mut halves, 4, &cos, &sin)?;
/// assert_eq!(neighbours, [0.0, 1.0, 0.0, 0.0]);
/// assert_eq!(halves, [0.0, 0.0, 1.0, 0.0]);
/// # Ok::<(), harness_reference::kernels::KernelError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pairing {
    /// `2i` and `2i + 1`.
    Neighbours,
    /// `i` and `i + dims / 2`.
    Halves,
}

impl Pairing {
    /// The two dimensions of pair `pair` of `pairs`.
    pub(crate) fn pair(self, pair: usize, pairs: usize) -> (usize, usize) {
        match self {
            Pairing::Neighbours => (2 * pair, 2 * pair + 1),
            Pairing::Halves => (pair, pair + pairs),
        }
    }
}

/// What differs between layers.
///
/// ```
/// use engine::ModelArtifact;
/// use harness_reference::Source;
/// use harness_reference::decoder::Hyperparameters;
///
/// let model = ModelArtifact::embedded(fixtures::MODEL_NAME, fixtures::MODEL);
/// let source = Source::open(&model)?;
/// let shape = Hyperparameters::read(&source)?;
/// assert!(shape.layers.iter().all(|layer| layer.window.is_none()));
/// # Ok::<(), engine::EngineError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layer {
    /// Tokens a token may look at, itself included; all when `None`.
    pub window: Option<usize>,
    /// Rotates with the base of local layers, where a model has two.
    pub local_rope: bool,
}

/// Nonlinearity of the feed-forward block.
///
/// ```
/// use harness_reference::kernels::{Activation, Kernels};
///
/// // Both let large numbers through and little of negative ones.
/// for activation in [Activation::Silu, Activation::GeluTanh] {
///     let mut x = [-1.0, 0.0, 100.0];
///     Kernels::best().activate(activation, None, &mut x)?;
///     assert!(x[0] > -0.3 && x[1..] == [0.0, 100.0]);
/// }
/// # Ok::<(), harness_reference::kernels::KernelError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// `x · σ(x)`.
    Silu,
    /// `x · Φ(x)` by tanh (Hendrycks & Gimpel 2016), as all models here were trained.
    GeluTanh,
}

impl Hyperparameters {
    /// Reads the metadata of `source`.
    ///
    /// # Errors
    /// [`FailureKind::Load`] for metadata that is missing or no model has,
    /// [`FailureKind::Unsupported`] for architectures that are not in [`ARCHITECTURES`].
    ///
    /// ```
    /// use engine::{FailureKind, ModelArtifact};
    /// use harness_reference::Source;
    /// use harness_reference::decoder::Hyperparameters;
    /// use harness_reference::gguf::{Metadata, Writer};
    ///
    /// let mut metadata = Metadata::new();
    /// metadata.set("general.architecture", "mamba");
    /// let file = Writer::new(&metadata).begin(Vec::new())?.finish()?;
    /// let source = Source::open(&ModelArtifact::embedded("mamba", file.leak()))?;
    /// let refused = Hyperparameters::read(&source).map_err(|error| error.kind());
    /// assert!(matches!(refused, Err(FailureKind::Unsupported)));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn read(source: &Source) -> Result<Self, EngineError> {
        let reader = Reader::new(source.metadata())?;
        let architecture = reader.architecture;
        let gemma = matches!(architecture, "gemma" | "gemma2" | "gemma3");
        let layer_norm = matches!(architecture, "phi2" | "gpt2");
        reader.refuse_variants()?;

        let hidden = reader.size("embedding_length")?;
        let heads = reader.size("attention.head_count")?;
        let kv_heads = reader.size_or("attention.head_count_kv", heads)?;
        let head_dim = reader.size_or("attention.key_length", hidden / heads)?;
        let value_dim = reader.size_or("attention.value_length", hidden / heads)?;
        if value_dim != head_dim {
            return Err(unsupported(format!(
                "values of {value_dim} dimensions beside keys of {head_dim}"
            )));
        }
        let config = ModelConfig {
            architecture: architecture.into(),
            layers: reader.size("block_count")?,
            hidden,
            feed_forward: reader.size("feed_forward_length")?,
            heads,
            kv_heads,
            head_dim,
            vocab: vocabulary(source)?,
            context: reader.size("context_length")?,
            parameters: source
                .tensors()
                .iter()
                .map(|tensor| tensor.elements() as u64)
                .sum(),
        };
        let layers = reader.layers(config.layers)?;
        let this = Self {
            norm: if layer_norm {
                NormKind::Layer {
                    epsilon: reader.required_float("attention.layer_norm_epsilon")? as f32,
                }
            } else {
                NormKind::Rms {
                    epsilon: reader.required_float("attention.layer_norm_rms_epsilon")? as f32,
                }
            },
            positions: if architecture == "gpt2" {
                Positions::Learned
            } else {
                Positions::Rope(reader.rope(head_dim)?)
            },
            layers,
            embedding_scale: if gemma { (hidden as f32).sqrt() } else { 1.0 },
            attention_scale: reader.attention_scale(&config)?,
            attention_softcap: match architecture {
                "gemma2" => Some(reader.float_or("attn_logit_softcapping", 50.0)? as f32),
                _ => None,
            },
            logit_softcap: match architecture {
                "gemma2" => Some(reader.float_or("final_logit_softcapping", 30.0)? as f32),
                // Files of models without a cap may say 0.
                "gemma3" => reader
                    .float("final_logit_softcapping")?
                    .filter(|&cap| cap != 0.0)
                    .map(|cap| cap as f32),
                _ => None,
            },
            activation: if gemma || layer_norm {
                Activation::GeluTanh
            } else {
                Activation::Silu
            },
            gated: !layer_norm,
            parallel_residual: architecture == "phi2",
            qk_norm: matches!(architecture, "qwen3" | "gemma3"),
            post_norms: matches!(architecture, "gemma2" | "gemma3"),
            config,
        };
        this.check()?;
        Ok(this)
    }

    /// Refuses shapes no decoder could have; tensors are held against the rest
    /// as they are loaded.
    fn check(&self) -> Result<(), EngineError> {
        let c = &self.config;
        let positive = |value: f32| value.is_finite() && value > 0.0;
        let (NormKind::Rms { epsilon } | NormKind::Layer { epsilon }) = self.norm;
        let problem = if !c.heads.is_multiple_of(c.kv_heads) {
            format!(
                "{} query heads do not divide into {} groups",
                c.heads, c.kv_heads
            )
        } else if !(epsilon.is_finite() && epsilon >= 0.0 && positive(self.attention_scale)) {
            "norm epsilon and attention scale must be positive numbers".into()
        } else if [self.attention_softcap, self.logit_softcap]
            .into_iter()
            .flatten()
            .any(|cap| !positive(cap))
        {
            "soft caps must be positive numbers".into()
        } else if let Positions::Rope(rope) = &self.positions {
            return rope.check(c.head_dim);
        } else {
            return Ok(());
        };
        Err(EngineError::new(FailureKind::Load, problem))
    }
}

impl RopeParameters {
    fn check(&self, head_dim: usize) -> Result<(), EngineError> {
        let positive = |value: f64| value.is_finite() && value > 0.0;
        let numbers = [self.base, self.factor, self.magnitude];
        let problem = if !self.dims.is_multiple_of(2) || self.dims > head_dim {
            format!("{} rotary dimensions in heads of {head_dim}", self.dims)
        } else if !numbers.into_iter().chain(self.local_base).all(positive) {
            "RoPE bases, factor and magnitude must be positive numbers".into()
        } else {
            return Ok(());
        };
        Err(EngineError::new(FailureKind::Load, problem))
    }
}

pub(crate) fn vocabulary(source: &Source) -> Result<usize, EngineError> {
    let fault = |why: &str| EngineError::new(FailureKind::Load, why);
    match source.entry("token_embd.weight").map(|entry| &*entry.shape) {
        Some(&[rows, _]) => Ok(rows),
        Some(_) => Err(fault("`token_embd.weight` is no matrix")),
        None => Err(fault("the model has no tensor `token_embd.weight`")),
    }
}

pub(crate) fn unsupported(what: String) -> EngineError {
    EngineError::new(
        FailureKind::Unsupported,
        format!("the reference engine does not support {what}"),
    )
}

pub(crate) fn load(error: MetadataError) -> EngineError {
    EngineError::new(FailureKind::Load, error.to_string())
}
