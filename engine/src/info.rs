//! What engines and models say of themselves.

use serde::{Deserialize, Serialize};

use crate::NumberFormat;

/// An engine's description of itself.
///
/// ```
/// use harness_engine::{Availability, Capability, EngineInfo};
///
/// let info = EngineInfo {
///     id: "mine".into(),
///     version: "1.2".into(),
///     device: "cpu".into(),
///     about: "plain loops".into(),
///     availability: Availability::Yes,
///     capabilities: vec![Capability::FullLogits],
///     options: Vec::new(),
/// };
/// let line = format!("{} {} on {}: {}", info.id, info.version, info.device, info.about);
/// assert_eq!(line, "mine 1.2 on cpu: plain loops");
/// ```
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
    ///
    /// ```
    /// # mod successor { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/examples/successor/engine.rs")); }
    /// use harness_engine::{Capability, Engine};
    /// use successor::Successor;
    ///
    /// let mut info = Successor.describe();
    /// info.lose(&[(Capability::KvUsage, "its cache is elsewhere".into())]);
    /// assert!(!info.capabilities.contains(&Capability::KvUsage));
    /// ```
    pub fn lose(&mut self, lacking: &[(Capability, String)]) {
        self.capabilities
            .retain(|power| !lacking.iter().any(|(lost, _)| lost == power));
    }
}

/// Whether an engine can run on this machine.
///
/// ```
/// use harness_engine::Availability;
///
/// let devices: [&str; 0] = [];
/// let availability = match devices {
///     [] => Availability::No("no GPU was found".into()),
///     _ => Availability::Yes,
/// };
/// assert_ne!(availability, Availability::Yes);
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "available", content = "why")]
pub enum Availability {
    /// It can.
    Yes,
    /// It cannot, because of this.
    No(String),
}

/// Optional powers, declared by engines and required by suites.
///
/// A suite asks before it starts:
///
/// ```
/// # mod successor { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/examples/successor/engine.rs")); }
/// use harness_engine::{Capability, Engine};
/// use successor::Successor;
///
/// let has = Successor.describe().capabilities;
/// let needs = [Capability::FullLogits, Capability::Taps];
/// let missing = needs.iter().find(|power| !has.contains(power));
/// assert_eq!(missing, Some(&Capability::Taps));
/// ```
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
///
/// As `harness engines` prints it, and [`Engine::validate`](crate::Engine::validate) knows it:
///
/// ```
/// use harness_engine::{EngineSpec, OptionHelp};
///
/// const OPTIONS: [OptionHelp; 1] =
///     [OptionHelp { key: "threads", default: "1", help: "threads that multiply" }];
///
/// let spec: EngineSpec = "mine:thread=2".parse()?;
/// let known = OPTIONS.map(|option| option.key);
/// assert!(spec.options.refuse_unknown("mine", &known).is_err());
/// # Ok::<(), harness_engine::SpecError>(())
/// ```
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
///
/// ```
/// use harness_engine::ModelConfig;
///
/// let llama_3_2_1b = ModelConfig {
///     architecture: "llama".into(),
///     layers: 16,
///     hidden: 2048,
///     feed_forward: 8192,
///     heads: 32,
///     kv_heads: 8,
///     head_dim: 64,
///     vocab: 128_256,
///     context: 131_072,
///     parameters: 1_235_814_400,
/// };
/// // Grouped-query attention: four query heads share a key/value head.
/// assert_eq!(llama_3_2_1b.heads / llama_3_2_1b.kv_heads, 4);
/// // A full context of keys and values in f16.
/// let bytes = llama_3_2_1b.kv_bytes_per_token(2) * llama_3_2_1b.context as u64;
/// assert_eq!(bytes, 4 << 30);
/// ```
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
    ///
    /// ```
    /// # mod successor { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/examples/successor/engine.rs")); }
    /// use harness_engine::{Engine, EngineOptions, ModelArtifact};
    /// use successor::Successor;
    ///
    /// let artifact = ModelArtifact::embedded("nothing", b"");
    /// let model = Successor.open(&artifact, &EngineOptions::default())?;
    /// // One layer, one head of one dimension, and two values of four bytes.
    /// assert_eq!(model.config().kv_bytes_per_token(4), 8);
    /// # Ok::<(), harness_engine::EngineError>(())
    /// ```
    #[must_use]
    pub fn kv_bytes_per_token(&self, element_bytes: usize) -> u64 {
        (2 * self.layers * self.kv_heads * self.head_dim * element_bytes) as u64
    }
}

/// The number formats an engine computes with.
///
/// ```
/// use harness_engine::{NumberFormat, Numerics};
///
/// // Weights of four bits that are expanded for the product, as most engines do.
/// let numerics = Numerics {
///     weights: NumberFormat::Q4_0,
///     activations: NumberFormat::F32,
///     kv: NumberFormat::F16,
/// };
/// assert!(numerics.weights.bits_per_weight() < numerics.kv.bits_per_weight());
/// ```
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
///
/// ```
/// use harness_engine::{EvictionPolicy, KvLayer, KvUsage};
///
/// let layer = |used_bytes, policy| KvLayer { reserved_bytes: 4096, used_bytes, policy, ranges: vec![] };
/// // 100 tokens of 16 bytes; the second layer keeps the last 64 alone.
/// let kv = KvUsage {
///     layers: vec![
///         layer(1600, EvictionPolicy::None),
///         layer(1024, EvictionPolicy::Window { tokens: 64 }),
///     ],
/// };
/// assert_eq!((kv.used_bytes(), kv.reserved_bytes()), (2624, 8192));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct KvUsage {
    /// One entry a layer, in order.
    pub layers: Vec<KvLayer>,
}

/// KV cache of one layer.
///
/// ```
/// use harness_engine::{AddressRange, EvictionPolicy, KvLayer};
///
/// let cache = vec![0_f32; 2 * 64 * 32]; // Keys and values of 64 tokens, 32 dimensions each.
/// let layer = KvLayer {
///     reserved_bytes: (cache.len() * 4) as u64,
///     used_bytes: 2 * 10 * 32 * 4,
///     policy: EvictionPolicy::None,
///     ranges: vec![AddressRange { start: cache.as_ptr() as usize, bytes: cache.len() * 4 }],
/// };
/// assert_eq!(layer.used_bytes as f64 / layer.reserved_bytes as f64, 10.0 / 64.0);
/// ```
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
///
/// ```
/// use harness_engine::EvictionPolicy;
///
/// let kept = |policy, context: usize| match policy {
///     EvictionPolicy::None => context,
///     EvictionPolicy::Window { tokens } => context.min(tokens),
/// };
/// assert_eq!(kept(EvictionPolicy::Window { tokens: 1024 }, 5000), 1024);
/// ```
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
///
/// With it, the harness asks the kernel how much of a cache is in physical memory:
///
/// ```
/// use harness_engine::AddressRange;
///
/// let keys = [0_u16; 512];
/// let range = AddressRange { start: keys.as_ptr() as usize, bytes: size_of_val(&keys) };
/// assert_eq!(range.bytes, 1024);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct AddressRange {
    /// First byte.
    pub start: usize,
    /// Length in bytes.
    pub bytes: usize,
}

impl KvUsage {
    /// Bytes set aside, all layers together.
    ///
    /// What a cache of pages wastes, it has reserved and does not use:
    ///
    /// ```
    /// use harness_engine::{EvictionPolicy, KvLayer, KvUsage};
    ///
    /// let layer = KvLayer {
    ///     reserved_bytes: 64 << 10,
    ///     used_bytes: 48 << 10,
    ///     policy: EvictionPolicy::None,
    ///     ranges: Vec::new(),
    /// };
    /// let kv = KvUsage { layers: vec![layer; 16] };
    /// assert_eq!(kv.reserved_bytes() - kv.used_bytes(), 16 * (16 << 10));
    /// ```
    #[must_use]
    pub fn reserved_bytes(&self) -> u64 {
        self.layers.iter().map(|layer| layer.reserved_bytes).sum()
    }

    /// Bytes in use, all layers together.
    ///
    /// Held against theory:
    ///
    /// ```
    /// # mod successor { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/examples/successor/engine.rs")); }
    /// use harness_engine::{Engine, EngineOptions, ModelArtifact, Want};
    /// use successor::Successor;
    ///
    /// let artifact = ModelArtifact::embedded("nothing", b"");
    /// let model = Successor.open(&artifact, &EngineOptions::default())?;
    /// let mut session = model.session()?;
    /// session.extend(&[1, 2, 3], Want::None)?;
    /// // Of each token a key and a value in f32; this engine keeps less.
    /// let theory = session.len() as u64 * model.config().kv_bytes_per_token(4);
    /// assert!(session.kv().is_some_and(|kv| kv.used_bytes() < theory));
    /// # Ok::<(), harness_engine::EngineError>(())
    /// ```
    #[must_use]
    pub fn used_bytes(&self) -> u64 {
        self.layers.iter().map(|layer| layer.used_bytes).sum()
    }
}
