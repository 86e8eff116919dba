//! `config.json`, as far as a decoder needs it.
//!
//! Families write the same thing under different names, and transformers 5
//! moved what concerns RoPE into `rope_parameters`; either is read. Values that
//! a file leaves out are those of the family's class in transformers.

use std::fs;
use std::path::Path;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};

use super::HfError;

/// Reads the JSON file at `path` as a `T`.
pub(super) fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T, HfError> {
    let text = fs::read(path).map_err(|source| HfError::Io {
        path: path.into(),
        source,
    })?;
    serde_json::from_slice(&text).map_err(|source| HfError::Json {
        path: path.into(),
        source,
    })
}

/// The outermost level: a model of several modalities keeps its language model's
/// configuration one level down.
#[derive(Deserialize)]
struct Outer {
    model_type: Option<String>,
    text_config: Option<serde_json::Value>,
}

/// Configuration of a decoder.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Config {
    pub(super) model_type: String,

    #[serde(alias = "n_embd")]
    pub(super) hidden_size: Option<u32>,
    #[serde(alias = "n_inner")]
    pub(super) intermediate_size: Option<u32>,
    #[serde(alias = "n_layer")]
    pub(super) num_hidden_layers: Option<u32>,
    #[serde(alias = "n_head")]
    pub(super) num_attention_heads: Option<u32>,
    pub(super) num_key_value_heads: Option<u32>,
    pub(super) head_dim: Option<u32>,
    #[serde(alias = "n_positions")]
    pub(super) max_position_embeddings: Option<u32>,
    pub(super) vocab_size: Option<u32>,
    pub(super) tie_word_embeddings: Option<bool>,

    #[serde(alias = "activation_function")]
    pub(super) hidden_act: Option<String>,
    pub(super) hidden_activation: Option<String>,
    pub(super) rms_norm_eps: Option<f64>,
    #[serde(alias = "layer_norm_epsilon")]
    pub(super) layer_norm_eps: Option<f64>,

    /// `Some(None)` is the file's own null: no window.
    #[serde(deserialize_with = "present")]
    pub(super) sliding_window: Option<Option<u32>>,
    pub(super) use_sliding_window: Option<bool>,
    pub(super) max_window_layers: Option<u32>,
    pub(super) sliding_window_pattern: Option<u32>,
    pub(super) layer_types: Option<Vec<String>>,
    #[serde(deserialize_with = "present")]
    pub(super) attn_logit_softcapping: Option<Option<f64>>,
    #[serde(deserialize_with = "present")]
    pub(super) final_logit_softcapping: Option<Option<f64>>,
    pub(super) query_pre_attn_scalar: Option<f64>,
    pub(super) use_bidirectional_attention: Option<bool>,
    pub(super) scale_attn_weights: Option<bool>,
    pub(super) scale_attn_by_inverse_layer_idx: Option<bool>,

    pub(super) position_embedding_type: Option<String>,
    pub(super) is_decoder: Option<bool>,

    rope_theta: Option<f64>,
    rope_local_base_freq: Option<f64>,
    partial_rotary_factor: Option<f64>,
    original_max_position_embeddings: Option<u32>,
    rope_scaling: Option<Rope>,
    rope_parameters: Option<Rope>,

    pub(super) quantization_config: Option<serde_json::Value>,
}

/// Parameters of rotary embeddings.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Rope {
    rope_type: Option<String>,
    /// What `rope_type` was called before transformers 4.43.
    r#type: Option<String>,
    pub(super) rope_theta: Option<f64>,
    pub(super) partial_rotary_factor: Option<f64>,
    pub(super) original_max_position_embeddings: Option<u32>,
    pub(super) factor: Option<f64>,
    pub(super) low_freq_factor: Option<f64>,
    pub(super) high_freq_factor: Option<f64>,
    pub(super) attention_factor: Option<f64>,
    pub(super) short_factor: Option<Vec<f64>>,
    pub(super) long_factor: Option<Vec<f64>>,
    full_attention: Option<Box<Rope>>,
    sliding_attention: Option<Box<Rope>>,
}

fn present<'de, T, D>(value: D) -> Result<Option<Option<T>>, D::Error>
where
    T: Deserialize<'de>,
    D: Deserializer<'de>,
{
    Option::deserialize(value).map(Some)
}

impl Config {
    /// Reads the text of a `config.json`.
    ///
    /// # Errors
    /// [`serde_json::Error`] when it is none, or a value is of the wrong type.
    pub(super) fn parse(text: &[u8]) -> serde_json::Result<Self> {
        let outer: Outer = serde_json::from_slice(text)?;
        match (outer.text_config, outer.model_type) {
            (Some(inner), Some(model_type)) => Ok(Config {
                model_type,
                ..serde_json::from_value(inner)?
            }),
            _ => serde_json::from_slice(text),
        }
    }

    /// RoPE of layers that attend to everything.
    pub(super) fn rope(&self) -> Rope {
        let given = self.rope_parameters.as_ref().or(self.rope_scaling.as_ref());
        let given = given.cloned().unwrap_or_default();
        let mut rope = given.full_attention.clone().map_or(given, |full| *full);
        rope.rope_theta = rope.rope_theta.or(self.rope_theta);
        rope.partial_rotary_factor = rope.partial_rotary_factor.or(self.partial_rotary_factor);
        rope.original_max_position_embeddings = rope
            .original_max_position_embeddings
            .or(self.original_max_position_embeddings);
        rope
    }

    /// Base of the frequencies in layers that attend to a window.
    pub(super) fn local_rope_theta(&self) -> Option<f64> {
        let local = self
            .rope_parameters
            .as_ref()
            .and_then(|rope| rope.sliding_attention.as_ref());
        local
            .and_then(|rope| rope.rope_theta)
            .or(self.rope_local_base_freq)
    }
}

impl Rope {
    /// The kind of scaling, `default` for none.
    pub(super) fn kind(&self) -> &str {
        let named = self.rope_type.as_deref().or(self.r#type.as_deref());
        named.unwrap_or("default")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(text: &str) -> Config {
        Config::parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn old_and_new_rope_are_one() {
        let old = config(
            r#"{"model_type": "llama", "rope_theta": 500000,
                "rope_scaling": {"type": "linear", "rope_type": "linear", "factor": 2}}"#,
        );
        let new = config(
            r#"{"model_type": "llama", "rope_parameters":
                {"rope_type": "linear", "factor": 2.0, "rope_theta": 500000.0}}"#,
        );
        for rope in [old.rope(), new.rope()] {
            assert_eq!(rope.kind(), "linear");
            assert_eq!(rope.factor, Some(2.0));
            assert_eq!(rope.rope_theta, Some(5e5));
        }
        assert_eq!(config(r#"{"rope_scaling": null}"#).rope().kind(), "default");
    }

    #[test]
    fn windows_have_a_rope_of_their_own() {
        let old = config(r#"{"rope_theta": 1e6, "rope_local_base_freq": 1e4}"#);
        let new = config(
            r#"{"rope_parameters": {"full_attention": {"rope_theta": 1e6},
                                    "sliding_attention": {"rope_theta": 1e4}}}"#,
        );
        for config in [old, new] {
            assert_eq!(config.rope().rope_theta, Some(1e6));
            assert_eq!(config.local_rope_theta(), Some(1e4));
        }
    }

    #[test]
    fn null_is_told_from_nothing() {
        assert_eq!(config("{}").sliding_window, None);
        let null = config(r#"{"sliding_window": null}"#);
        assert_eq!(null.sliding_window, Some(None));
        let some = config(r#"{"sliding_window": 7}"#);
        assert_eq!(some.sliding_window, Some(Some(7)));
    }

    #[test]
    fn text_models_within_others_are_found() {
        let inner = config(
            r#"{"model_type": "gemma3", "hidden_size": 1,
                "text_config": {"model_type": "gemma3_text", "hidden_size": 2}}"#,
        );
        assert_eq!(inner.model_type, "gemma3");
        assert_eq!(inner.hidden_size, Some(2));
    }

    #[test]
    fn values_of_another_type_are_refused_with_their_place() {
        let error = Config::parse(b"{\n\"hidden_size\": \"64\"}").unwrap_err();
        assert_eq!(error.line(), 2);
    }
}
