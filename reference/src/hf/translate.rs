//! From `config.json` to GGUF metadata.

use super::HfError;
use super::config::{Config, Rope};
use super::family::{Family, Heads};
use super::rope::{self, Made};
use crate::gguf::Metadata;

/// A configuration in GGUF's terms.
#[derive(Debug)]
pub(super) struct Translation {
    pub(super) metadata: Metadata,
    pub(super) heads: Heads,
    /// Tensors that GGUF has in place of numbers in `config.json`.
    pub(super) made: Vec<Made>,
}

pub(super) fn translate(family: &Family, config: &Config) -> Result<Translation, HfError> {
    if config.quantization_config.is_some() {
        return Err(HfError::Unsupported(
            "config.json: quantized weights are not supported; \
             use the folder they were quantized from"
                .into(),
        ));
    }
    let mut translator = Translator::new(family, config)?;
    match family.architecture {
        "gpt2" => translator.gpt2()?,
        "phi2" => translator.phi2()?,
        "phi3" => translator.phi3()?,
        "bert" => translator.bert()?,
        "gemma" | "gemma2" | "gemma3" => translator.gemma()?,
        _ => translator.llama_like()?,
    }
    translator.check_activation()?;
    Ok(Translation {
        metadata: translator.metadata,
        heads: translator.heads,
        made: translator.made,
    })
}

struct Translator<'a> {
    family: &'a Family,
    config: &'a Config,
    rope: Rope,
    metadata: Metadata,
    made: Vec<Made>,
    heads: Heads,
    hidden: u32,
    head_dim: u32,
    context: u32,
}

impl<'a> Translator<'a> {
    /// Sets what every family has.
    fn new(family: &'a Family, config: &'a Config) -> Result<Self, HfError> {
        let hidden = size("hidden_size", config.hidden_size, None)?;
        let layers = size("num_hidden_layers", config.num_hidden_layers, None)?;
        // Google's files of Gemma 3 leave these out.
        let gemma = |default| (family.architecture == "gemma3").then_some(default);
        let query = size("num_attention_heads", config.num_attention_heads, gemma(8))?;
        let key = size(
            "num_key_value_heads",
            config.num_key_value_heads,
            gemma(4).or(Some(query)),
        )?;
        let own_dim = match family.architecture {
            "gemma" | "gemma2" | "gemma3" => Some(256),
            "qwen3" => Some(128),
            _ => Some((hidden / query).max(1)),
        };
        let head_dim = size("head_dim", config.head_dim, own_dim)?;
        let context = size(
            "max_position_embeddings",
            config.max_position_embeddings,
            gemma(131_072),
        )?;
        let rope = config.rope();
        if !family.rope.contains(&rope.kind()) {
            return Err(HfError::Unsupported(format!(
                "config.json: RoPE scaling `{}` of {} is not supported; supported: {}",
                rope.kind(),
                family.model_type,
                family.rope.join(", ")
            )));
        }
        let mut this = Self {
            family,
            config,
            rope,
            metadata: Metadata::new(),
            made: Vec::new(),
            heads: Heads {
                layers,
                query,
                key,
                tied: config.tie_word_embeddings.unwrap_or(family.tied),
            },
            hidden,
            head_dim,
            context,
        };
        this.metadata
            .set("general.architecture", family.architecture);
        this.set("block_count", layers);
        this.set("context_length", context);
        this.set("embedding_length", hidden);
        this.set("attention.head_count", query);
        Ok(this)
    }

    fn set(&mut self, key: &str, value: impl Into<crate::gguf::Value>) {
        let key = format!("{}.{key}", self.family.architecture);
        self.metadata.set(key, value);
    }

    fn feed_forward(&mut self, default: Option<u32>) -> Result<(), HfError> {
        let given = self.config.intermediate_size;
        let inner = size("intermediate_size", given, default)?;
        self.set("feed_forward_length", inner);
        Ok(())
    }

    fn rms_norm(&mut self, default: f64) -> Result<(), HfError> {
        let epsilon = float("rms_norm_eps", self.config.rms_norm_eps, default)?;
        self.set("attention.layer_norm_rms_epsilon", epsilon);
        Ok(())
    }

    fn layer_norm(&mut self, default: f64) -> Result<(), HfError> {
        let epsilon = float("layer_norm_eps", self.config.layer_norm_eps, default)?;
        self.set("attention.layer_norm_epsilon", epsilon);
        Ok(())
    }

    fn rope_base(&mut self, default: f64) -> Result<(), HfError> {
        let base = float("rope_theta", self.rope.rope_theta, default)?;
        self.set("rope.freq_base", base);
        Ok(())
    }

    fn head_dims(&mut self) {
        self.set("attention.key_length", self.head_dim);
        self.set("attention.value_length", self.head_dim);
    }

    fn linear_scaling(&mut self) -> Result<(), HfError> {
        if self.rope.kind() == "linear" {
            let missing = || HfError::Config("linear RoPE scaling has no factor".into());
            let factor = self.rope.factor.ok_or_else(missing)?;
            let factor = float("RoPE scaling factor", Some(factor), factor)?;
            self.set("rope.scaling.type", "linear");
            self.set("rope.scaling.factor", factor);
        }
        Ok(())
    }

    /// Dimensions of a head that turn, as llama.cpp's converter rounds them.
    fn rotated_dims(&self, default: f64) -> Result<u32, HfError> {
        let part = self.rope.partial_rotary_factor.unwrap_or(default);
        if !(0.0..=1.0).contains(&part) {
            return Err(HfError::Config(format!("partial_rotary_factor is {part}")));
        }
        Ok((part * f64::from(self.hidden)) as u32 / self.heads.query)
    }

    fn llama_like(&mut self) -> Result<(), HfError> {
        self.feed_forward(None)?;
        self.rms_norm(1e-6)?;
        self.rope_base(10_000.0)?;
        self.linear_scaling()?;
        self.set("attention.head_count_kv", self.heads.key);
        if self.config.head_dim.is_some() || self.family.architecture == "qwen3" {
            self.head_dims();
        }
        if self.family.architecture == "llama" {
            let vocabulary = size("vocab_size", self.config.vocab_size, Some(32_000))?;
            self.set("vocab_size", vocabulary);
            self.set("rope.dimension_count", self.head_dim);
        }
        if self.rope.kind() == "llama3" {
            self.made.push(rope::llama3(&self.rope, self.head_dim)?);
        }
        match self.family.model_type {
            "mistral" => {
                if let Some(window) = self.window(Some(4096))? {
                    self.set("attention.sliding_window", window);
                }
                Ok(())
            }
            _ if self.config.use_sliding_window == Some(true) => self.check_no_window(),
            _ => Ok(()),
        }
    }

    fn gemma(&mut self) -> Result<(), HfError> {
        let architecture = self.family.architecture;
        self.feed_forward(None)?;
        self.rms_norm(1e-6)?;
        self.rope_base(if architecture == "gemma3" { 1e6 } else { 1e4 })?;
        self.linear_scaling()?;
        self.set("attention.head_count_kv", self.heads.key);
        self.head_dims();
        if self.config.use_bidirectional_attention == Some(true) {
            return Err(HfError::Unsupported(
                "config.json: bidirectional attention is not supported".into(),
            ));
        }
        match architecture {
            "gemma2" => {
                self.soft_cap("attn_logit_softcapping", Some(50.0))?;
                self.soft_cap("final_logit_softcapping", Some(30.0))?;
                // Every other layer, the first one included.
                self.check_layers(|layer| layer % 2 == 0)?;
            }
            "gemma3" => {
                let local = self.config.local_rope_theta();
                let local = float("rope_local_base_freq", local, 10_000.0)?;
                self.set("rope.freq_base_swa", local);
                self.soft_cap("attn_logit_softcapping", None)?;
                self.soft_cap("final_logit_softcapping", None)?;
                // All but every sixth.
                self.check_layers(|layer| layer % 6 != 5)?;
                let pattern = self.config.sliding_window_pattern;
                if let Some(other) = pattern.filter(|&pattern| pattern != 6) {
                    return Err(HfError::Unsupported(format!(
                        "config.json: sliding_window_pattern is {other}, which GGUF cannot say; \
                         readers take it to be 6"
                    )));
                }
            }
            _ => return Ok(()),
        }
        if let Some(window) = self.window(Some(4096))? {
            self.set("attention.sliding_window", window);
        }
        self.check_scale()
    }

    fn phi2(&mut self) -> Result<(), HfError> {
        self.feed_forward(None)?;
        self.layer_norm(1e-5)?;
        self.rope_base(10_000.0)?;
        self.set("attention.head_count_kv", self.heads.key);
        let dims = self.rotated_dims(0.5)?;
        self.set("rope.dimension_count", dims);
        Ok(())
    }

    fn phi3(&mut self) -> Result<(), HfError> {
        self.feed_forward(None)?;
        self.rms_norm(1e-5)?;
        self.rope_base(10_000.0)?;
        self.set("attention.head_count_kv", self.heads.key);
        let dims = self.rotated_dims(1.0)?;
        self.set("rope.dimension_count", dims);
        // Zero is how files of Phi-4 say that there is none.
        let window = self.window(None)?.unwrap_or(0);
        self.set("attention.sliding_window", window);
        let given = self.rope.original_max_position_embeddings;
        let original = size("original_max_position_embeddings", given, Some(4096))?;
        self.set("rope.scaling.original_context_length", original);
        if matches!(self.rope.kind(), "longrope" | "su") {
            let metadata = &mut self.metadata;
            let made = rope::longrope(&self.rope, self.context, original, dims, metadata)?;
            self.made.extend(made);
        }
        Ok(())
    }

    fn gpt2(&mut self) -> Result<(), HfError> {
        self.feed_forward(self.hidden.checked_mul(4))?;
        self.layer_norm(1e-5)?;
        let unscaled = self.config.scale_attn_weights == Some(false);
        if unscaled || self.config.scale_attn_by_inverse_layer_idx == Some(true) {
            return Err(HfError::Unsupported(
                "config.json: only attention scaled by the root of the head's width is supported"
                    .into(),
            ));
        }
        Ok(())
    }

    fn bert(&mut self) -> Result<(), HfError> {
        self.feed_forward(None)?;
        self.layer_norm(1e-12)?;
        let positions = self.config.position_embedding_type.as_deref();
        if let Some(other) = positions.filter(|&kind| kind != "absolute") {
            return Err(HfError::Unsupported(format!(
                "config.json: position_embedding_type `{other}` is not supported; supported: absolute"
            )));
        }
        if self.config.is_decoder == Some(true) {
            return Err(HfError::Unsupported(
                "config.json: a bert that is a decoder is not supported".into(),
            ));
        }
        self.set("attention.causal", false);
        Ok(())
    }

    fn window(&self, default: Option<u32>) -> Result<Option<u32>, HfError> {
        let window = self.config.sliding_window.unwrap_or(default);
        window
            .map(|window| size("sliding_window", Some(window), None))
            .transpose()
    }

    fn soft_cap(&mut self, name: &str, default: Option<f64>) -> Result<(), HfError> {
        let given = match name {
            "attn_logit_softcapping" => self.config.attn_logit_softcapping,
            _ => self.config.final_logit_softcapping,
        };
        if let Some(cap) = given.unwrap_or(default) {
            let cap = float(name, Some(cap), cap)?;
            self.set(name, cap);
        }
        Ok(())
    }

    /// Refuses Qwen's window on the later layers, of which GGUF has no word.
    fn check_no_window(&self) -> Result<(), HfError> {
        let without = self.config.max_window_layers.unwrap_or(28);
        if self.config.layer_types.is_none() && without < self.heads.layers {
            return Err(HfError::Unsupported(format!(
                "config.json: layers from {without} on attend to a window, which GGUF cannot say \
                 of a {} model",
                self.family.architecture
            )));
        }
        self.check_layers(|_| false)
    }

    /// Refuses layers that attend to a window where GGUF's reader would not have
    /// them do so, or the other way round.
    fn check_layers(&self, windowed: impl Fn(usize) -> bool) -> Result<(), HfError> {
        let types = self.config.layer_types.as_deref().unwrap_or_default();
        let other = |(layer, ty): (usize, &String)| {
            let expected = match windowed(layer) {
                true => "sliding_attention",
                false => "full_attention",
            };
            ty != expected
        };
        match types.iter().enumerate().position(other) {
            None => Ok(()),
            Some(layer) => Err(HfError::Unsupported(format!(
                "config.json: layer {layer} is of type `{}`, which GGUF cannot say of a {} model",
                types[layer], self.family.architecture
            ))),
        }
    }

    /// Refuses attention that is scaled in a way GGUF's readers do not guess:
    /// by the root of the head's width, or in the 27B models of what the hidden
    /// width leaves each head.
    fn check_scale(&self) -> Result<(), HfError> {
        let layers_of_27b = if self.family.architecture == "gemma2" {
            46
        } else {
            62
        };
        let expected = match self.heads.layers == layers_of_27b {
            true => self.hidden / self.heads.query,
            false => self.head_dim,
        };
        match self.config.query_pre_attn_scalar {
            Some(scalar) if scalar != f64::from(expected) => Err(HfError::Unsupported(format!(
                "config.json: query_pre_attn_scalar is {scalar}, which GGUF cannot say; \
                 readers take it to be {expected}"
            ))),
            _ => Ok(()),
        }
    }

    fn check_activation(&self) -> Result<(), HfError> {
        let given = [&self.config.hidden_activation, &self.config.hidden_act];
        match given.into_iter().flatten().next() {
            Some(name) if !self.family.activations.contains(&name.as_str()) => {
                Err(HfError::Unsupported(format!(
                    "config.json: activation `{name}` of {} is not supported; supported: {}",
                    self.family.model_type,
                    self.family.activations.join(", ")
                )))
            }
            _ => Ok(()),
        }
    }
}

/// A positive size, `default` where the file has none.
fn size(name: &str, given: Option<u32>, default: Option<u32>) -> Result<u32, HfError> {
    match given.or(default) {
        Some(0) => Err(HfError::Config(format!("{name} is 0"))),
        Some(size) => Ok(size),
        None => Err(HfError::Config(format!("there is no {name}"))),
    }
}

/// A positive number as GGUF stores it.
fn float(name: &str, given: Option<f64>, default: f64) -> Result<f32, HfError> {
    let value = given.unwrap_or(default) as f32;
    if value.is_finite() && value >= 0.0 {
        Ok(value)
    } else {
        Err(HfError::Config(format!("{name} is {value}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn translated(text: &str) -> Result<Translation, HfError> {
        let config = Config::parse(text.as_bytes()).unwrap();
        translate(Family::named(&config.model_type)?, &config)
    }

    fn refusal(more: &str) -> String {
        let text = format!(
            r#"{{"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
                 "intermediate_size": 96, "max_position_embeddings": 32, {more}}}"#
        );
        translated(&text).unwrap_err().to_string()
    }

    #[test]
    fn what_gguf_cannot_say_is_refused() {
        for (more, why) in [
            (
                r#""model_type": "llama", "rope_scaling": {"type": "yarn"}"#,
                "`yarn`",
            ),
            (r#""model_type": "llama", "hidden_act": "relu""#, "`relu`"),
            (
                r#""model_type": "llama", "quantization_config": {}"#,
                "quantized",
            ),
            (
                r#""model_type": "qwen2", "use_sliding_window": true,
                   "layer_types": ["full_attention", "sliding_attention"]"#,
                "layer 1",
            ),
            (
                r#""model_type": "qwen3", "use_sliding_window": true, "max_window_layers": 1"#,
                "from 1 on",
            ),
            (
                r#""model_type": "gemma3_text", "sliding_window_pattern": 2"#,
                "sliding_window_pattern is 2",
            ),
            (
                r#""model_type": "llama", "rope_scaling":
                   {"rope_type": "llama3", "low_freq_factor": 4, "high_freq_factor": 4}"#,
                "high_freq_factor",
            ),
            (
                r#""model_type": "phi3", "original_max_position_embeddings": 1, "rope_scaling":
                   {"type": "su", "long_factor": [1, 1, 1, 1, 1, 1, 1, 1],
                    "short_factor": [1, 1, 1, 1, 1, 1, 1, 1]}"#,
                "attention factor",
            ),
            (
                r#""model_type": "gemma2", "layer_types": ["full_attention"]"#,
                "layer 0",
            ),
            (
                r#""model_type": "gemma3_text", "query_pre_attn_scalar": 168"#,
                "168",
            ),
            (
                r#""model_type": "phi", "partial_rotary_factor": 1.5"#,
                "1.5",
            ),
            (
                r#""model_type": "phi3", "rope_scaling": {"type": "longrope"}"#,
                "long_factor",
            ),
            (
                r#""model_type": "llama", "rope_scaling": {"type": "linear"}"#,
                "factor",
            ),
            (r#""model_type": "llama", "rope_theta": -1"#, "rope_theta"),
            (
                r#""model_type": "llama", "num_key_value_heads": 0"#,
                "num_key_value_heads",
            ),
            (
                r#""model_type": "gpt2", "scale_attn_weights": false"#,
                "attention",
            ),
        ] {
            let text = refusal(more);
            assert!(text.contains(why), "{more}: {text}");
        }
    }

    #[test]
    fn sparse_files_of_gemma_3_are_filled_in() {
        let text = r#"{"model_type": "gemma3", "text_config": {"hidden_size": 2560,
            "intermediate_size": 10240, "model_type": "gemma3_text", "num_hidden_layers": 34,
            "rope_scaling": {"factor": 8.0, "rope_type": "linear"}, "sliding_window": 1024}}"#;
        let metadata = translated(text).unwrap().metadata;
        let size = |key: &str| metadata.get::<u32>(&format!("gemma3.{key}")).unwrap();
        assert_eq!(size("attention.head_count"), 8);
        assert_eq!(size("attention.head_count_kv"), 4);
        assert_eq!(size("attention.key_length"), 256);
        assert_eq!(size("context_length"), 131_072);
        assert_eq!(metadata.get::<f32>("gemma3.rope.freq_base"), Ok(1e6));
        assert_eq!(metadata.get::<f32>("gemma3.rope.freq_base_swa"), Ok(1e4));
        assert_eq!(metadata.get::<f32>("gemma3.rope.scaling.factor"), Ok(8.0));
    }
}
