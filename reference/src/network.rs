//! The tensors of a decoder, by name and shape, for every architecture.
//!
//! Both decoders are built from this one table; they differ in what they make
//! of a matrix.

use engine::EngineError;

use crate::hyperparameters::{Hyperparameters, Positions};
use crate::rope::Ropes;
use crate::weights::{StoredMatrix, Weights};

/// All weights of a decoder whose matrices are `M`.
///
/// ```
/// use engine::{ModelArtifact, NumberFormat};
/// use harness_reference::Source;
/// use harness_reference::decoder::{Hyperparameters, Network, Weights};
///
/// let source = Source::open(&ModelArtifact::embedded(fixtures::MODEL_NAME, fixtures::MODEL))?;
/// let weights = Weights::new(&source, NumberFormat::F32);
/// let network = Network::load(Hyperparameters::read(&source)?, &weights, Ok)?;
/// assert_eq!(network.blocks.len(), 5);
/// // The embedding serves as the head too.
/// assert!(network.head.is_none());
/// # Ok::<(), engine::EngineError>(())
/// ```
pub struct Network<M> {
    /// What the metadata says.
    pub shape: Hyperparameters,
    /// Rotations; `None` when positions are learned.
    pub ropes: Option<Ropes>,
    /// `[vocab, hidden]`.
    pub embedding: M,
    /// `[context, hidden]`, when positions are learned.
    pub positions: Option<M>,
    /// In order.
    pub blocks: Vec<Block<M>>,
    /// Before the head.
    pub output_norm: Norm,
    /// `[vocab, hidden]`; the embedding serves when `None`.
    pub head: Option<M>,
    /// Added to the logits.
    pub head_bias: Option<Vec<f32>>,
}

/// A matrix `[outputs, inputs]` and what is added to its product.
///
/// ```
/// use engine::{ModelArtifact, NumberFormat};
/// use harness_reference::Source;
/// use harness_reference::decoder::{Hyperparameters, Network, Weights};
///
/// let source = Source::open(&ModelArtifact::embedded(fixtures::MODEL_NAME, fixtures::MODEL))?;
/// let weights = Weights::new(&source, NumberFormat::F32);
/// let network = Network::load(Hyperparameters::read(&source)?, &weights, Ok)?;
/// // Four heads of 64 over two of keys and values; Llama has no biases.
/// let block = &network.blocks[0];
/// assert_eq!((block.query.weight.rows, block.key.weight.rows), (4 * 64, 2 * 64));
/// assert!(block.query.bias.is_none());
/// # Ok::<(), engine::EngineError>(())
/// ```
pub struct Linear<M> {
    /// `[outputs, inputs]`.
    pub weight: M,
    /// `[outputs]`.
    pub bias: Option<Vec<f32>>,
}

/// Weights of a normalisation.
///
/// ```
/// use engine::{ModelArtifact, NumberFormat};
/// use harness_reference::Source;
/// use harness_reference::decoder::{Hyperparameters, Network, Weights};
///
/// let source = Source::open(&ModelArtifact::embedded(fixtures::MODEL_NAME, fixtures::MODEL))?;
/// let weights = Weights::new(&source, NumberFormat::F32);
/// let network = Network::load(Hyperparameters::read(&source)?, &weights, Ok)?;
/// let norm = &network.output_norm;
/// assert_eq!(norm.weight.len(), network.shape.config.hidden);
/// assert!(norm.bias.is_none());
/// # Ok::<(), engine::EngineError>(())
/// ```
pub struct Norm {
    /// Factors, one a feature.
    pub weight: Vec<f32>,
    /// What is added behind them.
    pub bias: Option<Vec<f32>>,
}

/// One transformer block.
///
/// ```
/// use engine::{ModelArtifact, NumberFormat};
/// use harness_reference::Source;
/// use harness_reference::decoder::{Hyperparameters, Network, Weights};
///
/// let source = Source::open(&ModelArtifact::embedded(fixtures::MODEL_NAME, fixtures::MODEL))?;
/// let weights = Weights::new(&source, NumberFormat::F32);
/// let network = Network::load(Hyperparameters::read(&source)?, &weights, Ok)?;
/// let block = &network.blocks[0];
/// assert!(block.ffn_norm.is_some() && block.gate.is_some());
/// // Queries and keys are normalised by Qwen 3 and Gemma 3, not by Llama.
/// assert!(block.query_norm.is_none());
/// # Ok::<(), engine::EngineError>(())
/// ```
pub struct Block<M> {
    /// Before attention.
    pub attention_norm: Norm,
    /// `[heads · head_dim, hidden]`.
    pub query: Linear<M>,
    /// `[kv_heads · head_dim, hidden]`.
    pub key: Linear<M>,
    /// `[kv_heads · head_dim, hidden]`.
    pub value: Linear<M>,
    /// Over a head's dimensions, both or none.
    pub query_norm: Option<Norm>,
    /// See `query_norm`.
    pub key_norm: Option<Norm>,
    /// `[hidden, heads · head_dim]`.
    pub output: Linear<M>,
    /// Of attention's output.
    pub attention_post_norm: Option<Norm>,
    /// `None` when attention and feed forward share their input.
    pub ffn_norm: Option<Norm>,
    /// `[feed_forward, hidden]`.
    pub gate: Option<Linear<M>>,
    /// `[feed_forward, hidden]`.
    pub up: Linear<M>,
    /// `[hidden, feed_forward]`.
    pub down: Linear<M>,
    /// Of the feed forward's output.
    pub ffn_post_norm: Option<Norm>,
}

impl<M> Network<M> {
    /// Loads every tensor, checking its shape against the metadata; `make`
    /// turns a stored matrix into the decoder's.
    ///
    /// # Errors
    /// [`FailureKind::Load`](engine::FailureKind::Load) for tensors that are missing or have another
    /// shape, [`FailureKind::Unsupported`](engine::FailureKind::Unsupported) for some that nobody
    /// asked for, and those of `make`.
    ///
    /// ```
    /// use engine::{FailureKind, ModelArtifact, NumberFormat};
    /// use harness_reference::Source;
    /// use harness_reference::decoder::{Hyperparameters, Network, Weights};
    ///
    /// let source = Source::open(&ModelArtifact::embedded(fixtures::MODEL_NAME, fixtures::MODEL))?;
    /// let mut shape = Hyperparameters::read(&source)?;
    /// shape.config.feed_forward = 1024;
    /// // An engine would hand every matrix to its device where this hands it back.
    /// let network = Network::load(shape, &Weights::new(&source, NumberFormat::F32), Ok);
    /// assert!(network.is_err_and(|error| error.kind() == FailureKind::Load));
    /// # Ok::<(), engine::EngineError>(())
    /// ```
    pub fn load(
        shape: Hyperparameters,
        weights: &Weights<'_>,
        make: impl Fn(StoredMatrix) -> Result<M, EngineError>,
    ) -> Result<Self, EngineError> {
        let c = &shape.config;
        let loader = Loader { weights, make };
        let ropes = match &shape.positions {
            Positions::Rope(parameters) => Some(Ropes::load(parameters, &shape, weights)?),
            Positions::Learned => None,
        };
        let positions = match &shape.positions {
            Positions::Rope(_) => None,
            Positions::Learned => {
                let stored = weights.matrix("position_embd.weight", None, c.hidden)?;
                if stored.rows < c.context {
                    return Err(Weights::missing_rows(
                        "position_embd.weight",
                        stored.rows,
                        c.context,
                    ));
                }
                Some((loader.make)(stored)?)
            }
        };
        let blocks = (0..c.layers)
            .map(|index| loader.block(index, &shape))
            .collect::<Result<_, _>>()?;
        let head = weights.matrix_optional("output.weight", Some(c.vocab), c.hidden)?;
        let network = Self {
            ropes,
            embedding: (loader.make)(weights.matrix(
                "token_embd.weight",
                Some(c.vocab),
                c.hidden,
            )?)?,
            positions,
            blocks,
            output_norm: loader.norm("output_norm", c.hidden)?,
            head: head.map(&loader.make).transpose()?,
            head_bias: weights.vector_optional("output.bias", c.vocab)?,
            shape,
        };
        weights.refuse_unasked()?;
        Ok(network)
    }
}

/// Loads layers by name; `make` turns a stored matrix into the network's.
pub(crate) struct Loader<'a, F> {
    pub(crate) weights: &'a Weights<'a>,
    pub(crate) make: F,
}

impl<M, F: Fn(StoredMatrix) -> Result<M, EngineError>> Loader<'_, F> {
    fn block(&self, index: usize, shape: &Hyperparameters) -> Result<Block<M>, EngineError> {
        let c = &shape.config;
        let (hidden, inner) = (c.hidden, c.feed_forward);
        let (q_dim, kv_dim) = (c.heads * c.head_dim, c.kv_heads * c.head_dim);
        let name = |part: &str| format!("blk.{index}.{part}");
        let norm_if = |wanted: bool, part: &str, len: usize| {
            wanted.then(|| self.norm(&name(part), len)).transpose()
        };
        let [query, key, value] =
            match self.fused(&name("attn_qkv"), [q_dim, kv_dim, kv_dim], hidden)? {
                Some(parts) => parts,
                None => [
                    self.linear(&name("attn_q"), q_dim, hidden)?,
                    self.linear(&name("attn_k"), kv_dim, hidden)?,
                    self.linear(&name("attn_v"), kv_dim, hidden)?,
                ],
            };
        let (gate, up) = if !shape.gated {
            (None, self.linear(&name("ffn_up"), inner, hidden)?)
        } else if self.weights.has(&name("ffn_gate.weight")) {
            let gate = self.linear(&name("ffn_gate"), inner, hidden)?;
            (Some(gate), self.linear(&name("ffn_up"), inner, hidden)?)
        } else {
            match self.fused(&name("ffn_up"), [inner, inner], hidden)? {
                Some([gate, up]) => (Some(gate), up),
                None => return Err(Weights::missing(&name("ffn_gate.weight"))),
            }
        };
        Ok(Block {
            attention_norm: self.norm(&name("attn_norm"), hidden)?,
            query,
            key,
            value,
            query_norm: norm_if(shape.qk_norm, "attn_q_norm", c.head_dim)?,
            key_norm: norm_if(shape.qk_norm, "attn_k_norm", c.head_dim)?,
            output: self.linear(&name("attn_output"), hidden, q_dim)?,
            attention_post_norm: norm_if(shape.post_norms, "post_attention_norm", hidden)?,
            ffn_norm: norm_if(!shape.parallel_residual, "ffn_norm", hidden)?,
            gate,
            up,
            down: self.linear(&name("ffn_down"), hidden, inner)?,
            ffn_post_norm: norm_if(shape.post_norms, "post_ffw_norm", hidden)?,
        })
    }

    pub(crate) fn norm(&self, name: &str, len: usize) -> Result<Norm, EngineError> {
        Ok(Norm {
            weight: self.weights.vector(&format!("{name}.weight"), len)?,
            bias: self.weights.vector_optional(&format!("{name}.bias"), len)?,
        })
    }

    pub(crate) fn linear(
        &self,
        name: &str,
        outputs: usize,
        inputs: usize,
    ) -> Result<Linear<M>, EngineError> {
        let stored = self
            .weights
            .matrix(&format!("{name}.weight"), Some(outputs), inputs)?;
        Ok(Linear {
            weight: (self.make)(stored)?,
            bias: self
                .weights
                .vector_optional(&format!("{name}.bias"), outputs)?,
        })
    }

    /// Matrices stored as one above the other, if they are.
    fn fused<const N: usize>(
        &self,
        name: &str,
        outputs: [usize; N],
        inputs: usize,
    ) -> Result<Option<[Linear<M>; N]>, EngineError> {
        let total = outputs.iter().sum();
        let stored =
            self.weights
                .matrix_optional(&format!("{name}.weight"), Some(total), inputs)?;
        let Some(stored) = stored else {
            return Ok(None);
        };
        let bias = self
            .weights
            .vector_optional(&format!("{name}.bias"), total)?;
        let mut start = 0;
        let mut parts = Vec::with_capacity(N);
        for rows in outputs {
            let range = start..start + rows;
            start += rows;
            parts.push(Linear {
                weight: (self.make)(stored.row_range(range.clone()))?,
                bias: bias.as_ref().map(|bias| bias[range].to_vec()),
            });
        }
        Ok(parts.try_into().ok())
    }
}
