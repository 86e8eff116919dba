//! What engines and models say of themselves.

use serde::{Deserialize, Serialize};

use crate::NumberFormat;

/// An engine's description of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct EngineInfo {
    /// Id used in engine specs.
    pub id: String,
    /// Version of the implementation.
    pub version: String,
    /// What it computes on, e.g. `cpu`.
    pub device: String,
    /// One line for `harness engines`.
    pub about: String,
    /// Whether it can run on this machine.
    pub availability: Availability,
    /// Optional powers it has.
    pub capabilities: Vec<Capability>,
    /// Options it takes in a spec.
    pub options: Vec<OptionHelp>,
}

impl EngineInfo {
    /// Takes away the powers that the engine [lacks](crate::Engine::lacking) with a model.
    pub fn lose(&mut self, lacking: &[(Capability, String)]) {
        self.capabilities
            .retain(|power| !lacking.iter().any(|(lost, _)| lost == power));
    }
}

/// Whether an engine can run on this machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "available", content = "why")]
pub enum Availability {
    /// It can.
    Yes,
    /// It cannot, because of this.
    No(String),
}

/// Optional powers, declared by engines and required by suites.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Capability {
    /// Every logit of a row, not only those of the likeliest tokens. Rows of an engine
    /// without it are [completed](crate::Logits::completed): what they say of the best
    /// token is its own, the rest is not to be compared.
    FullLogits,
    /// Logits of every appended position, not only of the last.
    AllLogits,
    /// Several sessions of one model at the same time.
    ConcurrentSessions,
    /// [`Session::kv`](crate::Session::kv) tells what the cache occupies.
    KvUsage,
    /// [`Session::extend_tapped`](crate::Session::extend_tapped) hands over
    /// intermediate tensors.
    Taps,
    /// [`Model::embed`](crate::Model::embed) turns texts into vectors.
    Embeddings,
    /// [`Model::score`](crate::Model::score) tells log-probabilities where there are no
    /// logits; what a model tells is [its own](crate::Model::predictions) to say.
    Scores,
    /// [`Model::generate`](crate::Model::generate) continues a prompt by itself.
    Generation,
    /// [`Model::kernels`](crate::Model::kernels) computes single operations.
    Kernels,
    /// [`Model::placement`](crate::Model::placement) tells which device each operation is
    /// planned for.
    Placement,
}

/// One option of an engine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct OptionHelp {
    /// Key in the spec.
    pub key: &'static str,
    /// Value when it is not given.
    pub default: &'static str,
    /// What it does and which values it takes.
    pub help: &'static str,
}

/// Shape of a transformer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ModelConfig {
    /// Architecture name as GGUF spells it, e.g. `llama`.
    pub architecture: String,
    /// Transformer blocks.
    pub layers: usize,
    /// Width of the residual stream.
    pub hidden: usize,
    /// Width of the feed-forward inner layer.
    pub feed_forward: usize,
    /// Query heads.
    pub heads: usize,
    /// Key/value heads; fewer than `heads` under grouped-query attention.
    pub kv_heads: usize,
    /// Dimensions of one head.
    pub head_dim: usize,
    /// Token ids are `0..vocab`.
    pub vocab: usize,
    /// Longest context, in tokens.
    pub context: usize,
    /// Number of weights, tied ones counted once.
    pub parameters: u64,
}

impl ModelConfig {
    /// Bytes that keys and values of one token occupy over all layers, by
    /// theory: `2 · layers · kv_heads · head_dim · bytes`.
    #[must_use]
    pub fn kv_bytes_per_token(&self, element_bytes: usize) -> u64 {
        (2 * self.layers * self.kv_heads * self.head_dim * element_bytes) as u64
    }
}

/// The number formats an engine computes with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Numerics {
    /// How the two-dimensional weights are stored.
    pub weights: NumberFormat,
    /// What activations are rounded to between operations.
    pub activations: NumberFormat,
    /// How keys and values are stored.
    pub kv: NumberFormat,
}

/// What a session's KV cache occupies.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct KvUsage {
    /// One entry a layer, in order.
    pub layers: Vec<KvLayer>,
}

/// KV cache of one layer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct KvLayer {
    /// Bytes set aside.
    pub reserved_bytes: u64,
    /// Bytes that hold keys and values of tokens in the context.
    pub used_bytes: u64,
    /// What happens to tokens that are no longer needed.
    pub policy: EvictionPolicy,
    /// Where those bytes are, when they are in this process.
    pub ranges: Vec<AddressRange>,
}

/// What a KV cache does with tokens as the context grows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "policy")]
pub enum EvictionPolicy {
    /// Every token is kept.
    None,
    /// Only the latest are kept, in a ring.
    Window {
        /// How many.
        tokens: usize,
    },
}

/// A span of this process's address space.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct AddressRange {
    /// First byte.
    pub start: usize,
    /// Length in bytes.
    pub bytes: usize,
}

impl KvUsage {
    /// Bytes set aside, all layers together.
    #[must_use]
    pub fn reserved_bytes(&self) -> u64 {
        self.layers.iter().map(|layer| layer.reserved_bytes).sum()
    }

    /// Bytes in use, all layers together.
    #[must_use]
    pub fn used_bytes(&self) -> u64 {
        self.layers.iter().map(|layer| layer.used_bytes).sum()
    }
}
