//! The model families, and what GGUF calls their tensors.
//!
//! Names and changes of values are those of llama.cpp's `conversion/` and
//! `gguf-py/gguf/tensor_mapping.py`.

use super::HfError;
use super::transform::Transform;

/// What sets a family apart on the way to GGUF.
#[derive(Debug)]
pub(super) struct Family {
    /// `model_type` of `config.json`.
    pub(super) model_type: &'static str,
    /// GGUF's name for the architecture.
    pub(super) architecture: &'static str,
    /// Activation functions that the architecture stands for.
    pub(super) activations: &'static [&'static str],
    /// Kinds of RoPE scaling that GGUF can say of this architecture.
    pub(super) rope: &'static [&'static str],
    /// Whether the head is the embedding when `config.json` does not say.
    pub(super) tied: bool,
    /// Whether rotary pairs are interleaved in GGUF.
    interleaved: bool,
    /// What RMS norms multiply by beyond their weight.
    norm_offset: u8,
    /// Hugging Face's and GGUF's names of what stands outside of blocks.
    outside: Names,
    /// The same within blocks.
    block: Names,
    /// Matrices of a block that are stored transposed.
    transposed: &'static [&'static str],
}

type Names = &'static [(&'static str, &'static str)];

const OUTSIDE: Names = &[
    ("embed_tokens", "token_embd"),
    ("norm", "output_norm"),
    ("lm_head", "output"),
];

const LLAMA: Names = &[
    ("input_layernorm", "attn_norm"),
    ("self_attn.q_proj", "attn_q"),
    ("self_attn.k_proj", "attn_k"),
    ("self_attn.v_proj", "attn_v"),
    ("self_attn.o_proj", "attn_output"),
    ("post_attention_layernorm", "ffn_norm"),
    ("mlp.gate_proj", "ffn_gate"),
    ("mlp.up_proj", "ffn_up"),
    ("mlp.down_proj", "ffn_down"),
    // Qwen 3 alone has these two.
    ("self_attn.q_norm", "attn_q_norm"),
    ("self_attn.k_norm", "attn_k_norm"),
];

const GEMMA2: Names = &[
    ("input_layernorm", "attn_norm"),
    ("self_attn.q_proj", "attn_q"),
    ("self_attn.k_proj", "attn_k"),
    ("self_attn.v_proj", "attn_v"),
    ("self_attn.o_proj", "attn_output"),
    ("post_attention_layernorm", "post_attention_norm"),
    ("pre_feedforward_layernorm", "ffn_norm"),
    ("post_feedforward_layernorm", "post_ffw_norm"),
    ("mlp.gate_proj", "ffn_gate"),
    ("mlp.up_proj", "ffn_up"),
    ("mlp.down_proj", "ffn_down"),
    // Gemma 3 alone has these two.
    ("self_attn.q_norm", "attn_q_norm"),
    ("self_attn.k_norm", "attn_k_norm"),
];

const LLAMA_FAMILY: Family = Family {
    model_type: "llama",
    architecture: "llama",
    activations: &["silu"],
    rope: &["default", "linear", "llama3"],
    tied: false,
    interleaved: true,
    norm_offset: 0,
    outside: OUTSIDE,
    block: LLAMA,
    transposed: &[],
};

const QWEN2_FAMILY: Family = Family {
    model_type: "qwen2",
    architecture: "qwen2",
    rope: &["default", "linear"],
    interleaved: false,
    ..LLAMA_FAMILY
};

const GEMMA2_FAMILY: Family = Family {
    model_type: "gemma2",
    architecture: "gemma2",
    activations: &["gelu_pytorch_tanh"],
    rope: &["default"],
    tied: true,
    norm_offset: 1,
    block: GEMMA2,
    ..QWEN2_FAMILY
};

const GEMMA3_FAMILY: Family = Family {
    model_type: "gemma3",
    architecture: "gemma3",
    rope: &["default", "linear"],
    ..GEMMA2_FAMILY
};

static ALL: [Family; 12] = [
    LLAMA_FAMILY,
    Family {
        model_type: "mistral",
        rope: &["default", "linear"],
        ..LLAMA_FAMILY
    },
    QWEN2_FAMILY,
    Family {
        model_type: "qwen3",
        architecture: "qwen3",
        ..QWEN2_FAMILY
    },
    Family {
        model_type: "gemma",
        architecture: "gemma",
        // The first files say `gelu` and mean the other one (transformers PR 29402).
        activations: &["gelu_pytorch_tanh", "gelu"],
        block: LLAMA,
        ..GEMMA2_FAMILY
    },
    GEMMA2_FAMILY,
    GEMMA3_FAMILY,
    Family {
        model_type: "gemma3_text",
        ..GEMMA3_FAMILY
    },
    Family {
        model_type: "phi3",
        architecture: "phi3",
        rope: &["default", "longrope", "su"],
        block: &[
            ("input_layernorm", "attn_norm"),
            ("self_attn.qkv_proj", "attn_qkv"),
            ("self_attn.o_proj", "attn_output"),
            ("post_attention_layernorm", "ffn_norm"),
            ("mlp.gate_up_proj", "ffn_up"),
            ("mlp.down_proj", "ffn_down"),
        ],
        ..QWEN2_FAMILY
    },
    Family {
        model_type: "phi",
        architecture: "phi2",
        activations: &["gelu_new"],
        rope: &["default"],
        outside: &[
            ("embed_tokens", "token_embd"),
            ("final_layernorm", "output_norm"),
            ("lm_head", "output"),
        ],
        block: &[
            ("input_layernorm", "attn_norm"),
            ("self_attn.q_proj", "attn_q"),
            ("self_attn.k_proj", "attn_k"),
            ("self_attn.v_proj", "attn_v"),
            ("self_attn.dense", "attn_output"),
            ("mlp.fc1", "ffn_up"),
            ("mlp.fc2", "ffn_down"),
        ],
        ..QWEN2_FAMILY
    },
    Family {
        model_type: "gpt2",
        architecture: "gpt2",
        activations: &["gelu_new"],
        rope: &["default"],
        tied: true,
        outside: &[
            ("wte", "token_embd"),
            ("wpe", "position_embd"),
            ("ln_f", "output_norm"),
            ("lm_head", "output"),
        ],
        block: &[
            ("ln_1", "attn_norm"),
            ("attn.c_attn", "attn_qkv"),
            ("attn.c_proj", "attn_output"),
            ("ln_2", "ffn_norm"),
            ("mlp.c_fc", "ffn_up"),
            ("mlp.c_proj", "ffn_down"),
        ],
        transposed: &["attn_qkv", "attn_output", "ffn_up", "ffn_down"],
        ..QWEN2_FAMILY
    },
    Family {
        model_type: "bert",
        architecture: "bert",
        activations: &["gelu"],
        rope: &["default"],
        outside: &[
            ("embeddings.word_embeddings", "token_embd"),
            ("embeddings.position_embeddings", "position_embd"),
            ("embeddings.token_type_embeddings", "token_types"),
            ("embeddings.LayerNorm", "token_embd_norm"),
        ],
        block: &[
            ("attention.self.query", "attn_q"),
            ("attention.self.key", "attn_k"),
            ("attention.self.value", "attn_v"),
            ("attention.output.dense", "attn_output"),
            ("attention.output.LayerNorm", "attn_output_norm"),
            ("intermediate.dense", "ffn_up"),
            ("output.dense", "ffn_down"),
            ("output.LayerNorm", "layer_output_norm"),
        ],
        ..QWEN2_FAMILY
    },
];

/// What becomes of a tensor.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// It is served under GGUF's `name`.
    Served { name: String, transform: Transform },
    /// No hidden state depends on it, nor a logit.
    Left,
}

/// Sizes on which tensors are laid out.
#[derive(Clone, Copy, Debug)]
pub(super) struct Heads {
    pub(super) layers: u32,
    pub(super) query: u32,
    pub(super) key: u32,
    pub(super) tied: bool,
}

impl Family {
    /// The family that `model_type` names.
    pub(super) fn named(model_type: &str) -> Result<&'static Self, HfError> {
        ALL.iter()
            .find(|family| family.model_type == model_type)
            .ok_or_else(|| {
                let known: Vec<&str> = ALL.iter().map(|family| family.model_type).collect();
                HfError::Unsupported(format!(
                    "config.json: model type `{model_type}` is not supported; supported: {}",
                    known.join(", ")
                ))
            })
    }

    /// What becomes of the tensor that Hugging Face calls `name`.
    ///
    /// # Errors
    /// When GGUF has no place for it: leaving weights out would change the model.
    pub(super) fn fate(&self, name: &str, rank: usize, heads: Heads) -> Result<Fate, HfError> {
        let head = heads.tied && name.ends_with("lm_head.weight");
        let encoder = self.architecture == "bert";
        if is_of_no_decoder(name) || head || (encoder && is_of_no_encoder(name)) {
            return Ok(Fate::Left);
        }
        let unplaced = || {
            HfError::Unsupported(format!(
                "tensor `{name}` has no place in the {} architecture",
                self.architecture
            ))
        };
        let local = without_prefix(name);
        let (path, suffix) = local.rsplit_once('.').ok_or_else(unplaced)?;
        if !matches!(suffix, "weight" | "bias") {
            return Err(unplaced());
        }
        let in_block = ["layers.", "h.", "encoder.layer."]
            .into_iter()
            .find_map(|list| path.strip_prefix(list))
            .and_then(|rest| rest.split_once('.'));
        let (part, name) = match in_block {
            None => {
                let part = renamed(self.outside, path).ok_or_else(unplaced)?;
                (part, format!("{part}.{suffix}"))
            }
            Some((index, path)) => {
                let index: u32 = index.parse().map_err(|_| unplaced())?;
                if index >= heads.layers {
                    let why = format!("config.json has {} layers", heads.layers);
                    let name = name.into();
                    return Err(HfError::Tensor { name, why });
                }
                let part = renamed(self.block, path).ok_or_else(unplaced)?;
                (part, format!("blk.{index}.{part}.{suffix}"))
            }
        };
        let transform = self.transform(part, rank, heads);
        Ok(Fate::Served { name, transform })
    }

    fn transform(&self, part: &str, rank: usize, heads: Heads) -> Transform {
        let vector = rank == 1;
        match part {
            "attn_q" | "attn_k" if self.interleaved => Transform::Interleave {
                heads: if part == "attn_q" {
                    heads.query
                } else {
                    heads.key
                } as usize,
                widen: vector,
            },
            _ if part.ends_with("norm") => Transform::Widen {
                add: self.norm_offset,
            },
            // llama.cpp's kernels add positions in f32.
            "position_embd" | "token_types" => Transform::Widen { add: 0 },
            _ if vector => Transform::Widen { add: 0 },
            _ if self.transposed.contains(&part) => Transform::Transpose,
            _ => Transform::Keep,
        }
    }
}

fn renamed(names: Names, path: &str) -> Option<&'static str> {
    names
        .iter()
        .find(|(theirs, _)| *theirs == path)
        .map(|&(_, ours)| ours)
}

/// `name` from the decoder's own root.
fn without_prefix(name: &str) -> &str {
    // Gemma 3 with eyes: `language_model.model.` of old, `model.language_model.` now.
    [
        "model.",
        "transformer.",
        "language_model.",
        "model.",
        "bert.",
    ]
    .into_iter()
    .fold(name, |name, prefix| {
        name.strip_prefix(prefix).unwrap_or(name)
    })
}

/// Masks and tables that old checkpoints hold, and the parts that see.
fn is_of_no_decoder(name: &str) -> bool {
    let buffer = [".attn.bias", ".attn.masked_bias", ".rotary_emb.inv_freq"];
    let vision = ["vision_tower.", "multi_modal_projector."];
    let local = name.strip_prefix("model.").unwrap_or(name);
    buffer.iter().any(|end| name.ends_with(end)) || vision.iter().any(|v| local.starts_with(v))
}

/// What BERT was trained with behind its encoder, and a table.
fn is_of_no_encoder(name: &str) -> bool {
    let local = name.strip_prefix("bert.").unwrap_or(name);
    let others = ["embeddings.position_ids", "pooler.", "cls."];
    others.iter().any(|start| local.starts_with(start))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADS: Heads = Heads {
        layers: 2,
        query: 4,
        key: 2,
        tied: true,
    };

    fn fate(model_type: &str, name: &str, rank: usize) -> Fate {
        let family = Family::named(model_type).unwrap();
        family.fate(name, rank, HEADS).unwrap()
    }

    fn served(name: &str, transform: Transform) -> Fate {
        let name = name.into();
        Fate::Served { name, transform }
    }

    #[test]
    fn names_and_changes_are_ggufs() {
        assert_eq!(
            fate("llama", "model.layers.1.self_attn.k_proj.bias", 1),
            served(
                "blk.1.attn_k.bias",
                Transform::Interleave {
                    heads: 2,
                    widen: true
                }
            )
        );
        assert_eq!(
            fate("gemma3", "language_model.model.norm.weight", 1),
            served("output_norm.weight", Transform::Widen { add: 1 })
        );
        let gpt2 = served("blk.0.attn_qkv.weight", Transform::Transpose);
        assert_eq!(fate("gpt2", "h.0.attn.c_attn.weight", 2), gpt2);
        assert_eq!(fate("gpt2", "transformer.h.0.attn.c_attn.weight", 2), gpt2);
        assert_eq!(
            fate("bert", "bert.encoder.layer.1.output.LayerNorm.bias", 1),
            served("blk.1.layer_output_norm.bias", Transform::Widen { add: 0 })
        );
    }

    #[test]
    fn what_no_decoder_needs_is_left() {
        for name in [
            "lm_head.weight",
            "h.0.attn.bias",
            "transformer.h.1.attn.masked_bias",
        ] {
            assert_eq!(fate("gpt2", name, 2), Fate::Left);
        }
        let eyes = "model.vision_tower.encoder.layers.0.weight";
        assert_eq!(fate("gemma3", eyes, 2), Fate::Left);
        assert_eq!(fate("bert", "bert.pooler.dense.weight", 2), Fate::Left);
        assert_eq!(fate("bert", "embeddings.position_ids", 2), Fate::Left);
        // A bias is not.
        assert_eq!(
            fate("gpt2", "h.0.attn.c_attn.bias", 1),
            served("blk.0.attn_qkv.bias", Transform::Widen { add: 0 })
        );
    }

    #[test]
    fn what_has_no_place_is_refused() {
        let llama = Family::named("llama").unwrap();
        for (name, what) in [
            ("model.layers.0.mlp.experts.0.w1.weight", "has no place"),
            ("model.layers.2.input_layernorm.weight", "2 layers"),
            ("model.layers.x.input_layernorm.weight", "has no place"),
            ("model.norm.scale", "has no place"),
            ("norm", "has no place"),
        ] {
            let error = llama.fate(name, 2, HEADS).unwrap_err().to_string();
            assert!(error.contains(what) && error.contains(name), "{error}");
        }
        let error = Family::named("mamba").unwrap_err().to_string();
        assert!(error.contains("`mamba`") && error.contains("gemma3_text"));
    }
}
