//! Hyperparameters by the names that architectures have for them.

use engine::{EngineError, FailureKind, ModelConfig};

use super::{ARCHITECTURES, Layer, Pairing, RopeParameters, load, unsupported};
use crate::gguf::{Array, Metadata, Value};

/// Metadata under the keys of one architecture.
pub(crate) struct Reader<'a> {
    pub(crate) metadata: &'a Metadata,
    pub(crate) architecture: &'a str,
}

impl<'a> Reader<'a> {
    pub(super) fn new(metadata: &'a Metadata) -> Result<Self, EngineError> {
        let architecture = metadata.get::<&str>("general.architecture").map_err(load)?;
        if !ARCHITECTURES.contains(&architecture) {
            return Err(EngineError::new(
                FailureKind::Unsupported,
                format!(
                    "architecture `{architecture}` is not supported by the reference engine; it runs {}, \
                     and the encoder {}",
                    ARCHITECTURES.join(", "),
                    crate::encoder::ARCHITECTURE
                ),
            ));
        }
        Ok(Self {
            metadata,
            architecture,
        })
    }

    pub(crate) fn key(&self, name: &str) -> String {
        format!("{}.{name}", self.architecture)
    }

    /// A positive size that leaves room for products of four of its kind.
    pub(crate) fn size(&self, name: &str) -> Result<usize, EngineError> {
        let key = self.key(name);
        let value = self.metadata.get::<u64>(&key).map_err(load)?;
        match usize::try_from(value) {
            Ok(size) if (1..1 << 31).contains(&size) => Ok(size),
            _ => Err(EngineError::new(
                FailureKind::Load,
                format!("metadata `{key}` is {value}, which no model has"),
            )),
        }
    }

    pub(super) fn size_or(&self, name: &str, default: usize) -> Result<usize, EngineError> {
        match self.metadata.value(&self.key(name)) {
            Some(_) => self.size(name),
            None => Ok(default),
        }
    }

    pub(super) fn float(&self, name: &str) -> Result<Option<f64>, EngineError> {
        self.metadata.find::<f64>(&self.key(name)).map_err(load)
    }

    pub(crate) fn required_float(&self, name: &str) -> Result<f64, EngineError> {
        self.metadata.get::<f64>(&self.key(name)).map_err(load)
    }

    pub(super) fn float_or(&self, name: &str, default: f64) -> Result<f64, EngineError> {
        Ok(self.float(name)?.unwrap_or(default))
    }

    /// Refuses networks that share an architecture's name and are others.
    pub(super) fn refuse_variants(&self) -> Result<(), EngineError> {
        let experts = self.metadata.find::<u64>(&self.key("expert_count"));
        if experts.map_err(load)?.is_some_and(|count| count > 0) {
            return Err(unsupported("mixtures of experts".into()));
        }
        let causal = self.metadata.find::<bool>(&self.key("attention.causal"));
        if causal.map_err(load)? == Some(false) {
            return Err(unsupported("attention to later tokens".into()));
        }
        Ok(())
    }

    /// `1 / sqrt(head_dim)`, but for the largest Gemmas, whose files do not
    /// tell that theirs is `1 / sqrt(hidden / heads)`: llama.cpp goes by their
    /// number of layers.
    pub(super) fn attention_scale(&self, config: &ModelConfig) -> Result<f32, EngineError> {
        let divisor = match (self.architecture, config.layers) {
            ("gemma2", 46) | ("gemma3", 62) => config.hidden / config.heads,
            _ => config.head_dim,
        };
        let scale = self.float_or("attention.scale", (divisor as f64).sqrt().recip())?;
        Ok(scale as f32)
    }

    /// Which layers see a window only.
    pub(super) fn layers(&self, count: usize) -> Result<Vec<Layer>, EngineError> {
        let key = self.key("attention.sliding_window");
        // Files of models without a window may say 0.
        let window = self.metadata.find::<u64>(&key).map_err(load)?;
        let window = match (window, self.architecture) {
            (None, "gemma2") => Some(4096),
            (None | Some(0), _) => None,
            (Some(window), _) => Some(usize::try_from(window).unwrap_or(usize::MAX)),
        };
        let period = match self.architecture {
            "gemma2" => 2,
            "gemma3" => 6,
            _ => usize::MAX,
        };
        let every_nth = |period: usize| (0..count).map(|i| i % period < period - 1).collect();
        let local: Vec<bool> = match self
            .metadata
            .value(&self.key("attention.sliding_window_pattern"))
        {
            None => every_nth(period),
            Some(Value::Array(Array::Bool(pattern))) if pattern.len() == count => pattern.clone(),
            Some(_) => every_nth(self.size("attention.sliding_window_pattern")?),
        };
        let own_rope = self.architecture == "gemma3";
        let layer = |local: bool| Layer {
            window: window.filter(|_| local),
            local_rope: own_rope && local && window.is_some(),
        };
        Ok(local.into_iter().map(layer).collect())
    }

    pub(super) fn rope(&self, head_dim: usize) -> Result<RopeParameters, EngineError> {
        let scaling = self.key("rope.scaling.type");
        let scaling = self.metadata.find::<&str>(&scaling).map_err(load)?;
        let factor = match scaling {
            Some("none" | "longrope") => 1.0,
            // As in llama.cpp: linear unless the file says otherwise, the factor
            // also under its old name, and 0 for none.
            None | Some("linear") => match self.float("rope.scaling.factor")? {
                Some(factor) => factor,
                None => self.float_or("rope.scale_linear", 0.0)?,
            },
            Some(other) => return Err(unsupported(format!("RoPE scaling `{other}`"))),
        };
        let original = "rope.scaling.original_context_length";
        Ok(RopeParameters {
            pairing: match self.architecture {
                "llama" => Pairing::Neighbours,
                _ => Pairing::Halves,
            },
            dims: self.size_or("rope.dimension_count", head_dim)?,
            base: self.float_or("rope.freq_base", 10_000.0)?,
            factor: if factor == 0.0 { 1.0 } else { factor },
            local_base: match self.architecture {
                "gemma3" => Some(self.float_or("rope.freq_base_swa", 10_000.0)?),
                _ => None,
            },
            magnitude: self.float_or("rope.scaling.attn_factor", 1.0)?,
            original_context: match self.metadata.value(&self.key(original)) {
                Some(_) => Some(self.size(original)?),
                None => None,
            },
        })
    }
}
