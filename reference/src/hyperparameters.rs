//! Shape of a model, read from GGUF metadata.

use engine::{EngineError, FailureKind, ModelConfig};

use crate::gguf::{GgufFile, MetadataError};

/// Architectures this decoder implements.
pub const ARCHITECTURES: [&str; 1] = ["llama"];

/// What the decoder needs beyond [`ModelConfig`].
#[derive(Clone, Debug)]
pub(crate) struct Hyperparameters {
    pub(crate) config: ModelConfig,
    /// Added to the mean square before the root.
    pub(crate) norm_epsilon: f64,
    /// Base of the rotary frequencies.
    pub(crate) rope_base: f64,
    /// Leading dimensions of a head that are rotated.
    pub(crate) rope_dims: usize,
    /// Positions are divided by this (linear RoPE scaling).
    pub(crate) rope_factor: f64,
}

impl Hyperparameters {
    pub(crate) fn read(file: &GgufFile) -> Result<Self, EngineError> {
        let metadata = file.metadata();
        let architecture = metadata.get::<&str>("general.architecture").map_err(load)?;
        if !ARCHITECTURES.contains(&architecture) {
            return Err(EngineError::new(
                FailureKind::Unsupported,
                format!(
                    "architecture `{architecture}` is not supported by the reference engine; it runs {}",
                    ARCHITECTURES.join(", ")
                ),
            ));
        }
        let key = |name: &str| format!("{architecture}.{name}");
        let size = |name: &str| size(file, &key(name));
        let size_or = |name: &str, default: usize| match metadata.value(&key(name)) {
            Some(_) => size(name),
            None => Ok(default),
        };
        let float_or = |name: &str, default: f64| {
            let found = metadata.find::<f64>(&key(name)).map_err(load)?;
            Ok::<_, EngineError>(found.unwrap_or(default))
        };

        let hidden = size("embedding_length")?;
        let heads = size("attention.head_count")?;
        let kv_heads = size_or("attention.head_count_kv", heads)?;
        let head_dim = size_or("attention.key_length", hidden / heads)?;
        let config = ModelConfig {
            architecture: architecture.into(),
            layers: size("block_count")?,
            hidden,
            feed_forward: size("feed_forward_length")?,
            heads,
            kv_heads,
            head_dim,
            vocab: vocabulary(file)?,
            context: size("context_length")?,
            parameters: file
                .tensors()
                .iter()
                .map(|tensor| tensor.dims.iter().product::<u64>())
                .sum(),
        };
        let scaling = metadata.find::<&str>(&key("rope.scaling.type"));
        let rope_factor = match scaling.map_err(load)? {
            None | Some("none") => 1.0,
            Some("linear") => float_or("rope.scaling.factor", 1.0)?,
            Some(other) => {
                return Err(EngineError::new(
                    FailureKind::Unsupported,
                    format!("RoPE scaling `{other}` is not supported by the reference engine"),
                ));
            }
        };
        let this = Self {
            config,
            norm_epsilon: float_or("attention.layer_norm_rms_epsilon", 1e-5)?,
            rope_base: float_or("rope.freq_base", 10_000.0)?,
            rope_dims: size_or("rope.dimension_count", head_dim)?,
            rope_factor,
        };
        this.check()?;
        Ok(this)
    }

    /// Refuses shapes no decoder could have; tensors are held against the rest
    /// as they are loaded.
    fn check(&self) -> Result<(), EngineError> {
        let c = &self.config;
        let problem = if !c.heads.is_multiple_of(c.kv_heads) {
            format!(
                "{} query heads do not divide into {} groups",
                c.heads, c.kv_heads
            )
        } else if !self.rope_dims.is_multiple_of(2) || self.rope_dims > c.head_dim {
            format!(
                "{} rotary dimensions in heads of {}",
                self.rope_dims, c.head_dim
            )
        } else if !(self.rope_base > 0.0 && self.rope_factor > 0.0 && self.norm_epsilon >= 0.0) {
            "RoPE base, RoPE factor and norm epsilon must be positive".into()
        } else {
            return Ok(());
        };
        Err(EngineError::new(FailureKind::Load, problem))
    }
}

/// A positive size that leaves room for products of four of its kind.
fn size(file: &GgufFile, key: &str) -> Result<usize, EngineError> {
    let value = file.metadata().get::<u64>(key).map_err(load)?;
    match usize::try_from(value) {
        Ok(size) if (1..1 << 31).contains(&size) => Ok(size),
        _ => Err(EngineError::new(
            FailureKind::Load,
            format!("metadata `{key}` is {value}, which no model has"),
        )),
    }
}

fn vocabulary(file: &GgufFile) -> Result<usize, EngineError> {
    let missing = || {
        EngineError::new(
            FailureKind::Load,
            "the model has no tensor `token_embd.weight`",
        )
    };
    let embedding = file.tensor("token_embd.weight").ok_or_else(missing)?;
    match embedding.dims.get(1).map(|&rows| usize::try_from(rows)) {
        Some(Ok(rows)) => Ok(rows),
        _ => Err(EngineError::new(
            FailureKind::Load,
            "`token_embd.weight` is no matrix",
        )),
    }
}

fn load(error: MetadataError) -> EngineError {
    EngineError::new(FailureKind::Load, error.to_string())
}
