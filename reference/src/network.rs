//! The tensors of a decoder, by name and shape, for every architecture.
//!
//! Both decoders are built from this one table; they differ in what they make
//! of a matrix.

use engine::EngineError;

use crate::hyperparameters::{Hyperparameters, Positions};
use crate::rope::Ropes;
use crate::weights::{StoredMatrix, Weights};

/// All weights of a decoder whose matrices are `M`.
pub(crate) struct Network<M> {
    pub(crate) shape: Hyperparameters,
    /// `None` when positions are learned.
    pub(crate) ropes: Option<Ropes>,
    /// `[vocab, hidden]`.
    pub(crate) embedding: M,
    /// `[context, hidden]`, when positions are learned.
    pub(crate) positions: Option<M>,
    pub(crate) blocks: Vec<Block<M>>,
    pub(crate) output_norm: Norm,
    /// `[vocab, hidden]`; the embedding serves when `None`.
    pub(crate) head: Option<M>,
    pub(crate) head_bias: Option<Vec<f32>>,
}

/// A matrix `[outputs, inputs]` and what is added to its product.
pub(crate) struct Linear<M> {
    pub(crate) weight: M,
    pub(crate) bias: Option<Vec<f32>>,
}

/// Weights of a normalisation.
pub(crate) struct Norm {
    pub(crate) weight: Vec<f32>,
    pub(crate) bias: Option<Vec<f32>>,
}

/// One transformer block.
pub(crate) struct Block<M> {
    pub(crate) attention_norm: Norm,
    pub(crate) query: Linear<M>,
    pub(crate) key: Linear<M>,
    pub(crate) value: Linear<M>,
    /// Over a head's dimensions, both or none.
    pub(crate) query_norm: Option<Norm>,
    pub(crate) key_norm: Option<Norm>,
    pub(crate) output: Linear<M>,
    pub(crate) attention_post_norm: Option<Norm>,
    /// `None` when attention and feed forward share their input.
    pub(crate) ffn_norm: Option<Norm>,
    pub(crate) gate: Option<Linear<M>>,
    pub(crate) up: Linear<M>,
    pub(crate) down: Linear<M>,
    pub(crate) ffn_post_norm: Option<Norm>,
}

impl<M> Network<M> {
    /// Loads every tensor, checking its shape against the metadata; `make`
    /// turns a stored matrix into the decoder's.
    pub(crate) fn load(
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
