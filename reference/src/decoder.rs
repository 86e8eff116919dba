//! The transformer itself, in plain candle operations.
//!
//! This is the ground truth, so it is written to be checked by eye rather than
//! to be fast. Everything is computed in f32: matrix products accumulate in
//! f32 with fused multiply-add (the order over `K` is that of the `gemm`
//! crate's blocks, independent of the number of threads), softmax subtracts the
//! row maximum and sums in f32, RMSNorm sums squares in f32. What the
//! `activations` option rounds is the result of every operation but three:
//! attention scores, softmax probabilities and logits stay in f32, as in the
//! engines that compute in half precision with f32 accumulation.

use candle_core::{D, DType, Device, Result, Tensor};
use engine::{EngineError, NumberFormat, TokenId};

use crate::cache::Cache;
use crate::hyperparameters::Hyperparameters;
use crate::weights::Weights;

/// Weights and constants of a Llama-family decoder.
pub(crate) struct Decoder {
    shape: Hyperparameters,
    activations: NumberFormat,
    embedding: Tensor,
    blocks: Vec<Block>,
    output_norm: Tensor,
    /// `[hidden, vocab]`; the embedding transposed when tied.
    head: Tensor,
    rope: Rope,
}

/// Matrices are `[inputs, outputs]`, the transpose of how GGUF stores them:
/// `gemm` packs its operands in that order, and packing a transposed one costs
/// more than the product itself.
struct Block {
    attention_norm: Tensor,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    output: Tensor,
    ffn_norm: Tensor,
    gate: Tensor,
    up: Tensor,
    down: Tensor,
}

impl Decoder {
    /// Loads every tensor, checking its shape against the metadata.
    pub(crate) fn load(
        shape: Hyperparameters,
        weights: &Weights<'_>,
        activations: NumberFormat,
    ) -> std::result::Result<Self, EngineError> {
        let c = &shape.config;
        let (hidden, inner) = (c.hidden, c.feed_forward);
        let (q_dim, kv_dim) = (c.heads * c.head_dim, c.kv_heads * c.head_dim);
        let embedding = weights.get("token_embd.weight", &[c.vocab, hidden])?;
        let head = weights
            .get_optional("output.weight", &[c.vocab, hidden])?
            .unwrap_or_else(|| embedding.clone());
        let head = transposed(&head)?;
        let mut blocks = Vec::new();
        for index in 0..c.layers {
            let get = |name: &str, shape: &[usize]| {
                weights.get(&format!("blk.{index}.{name}.weight"), shape)
            };
            let matrix = |name, outputs, inputs| transposed(&get(name, &[outputs, inputs])?);
            blocks.push(Block {
                attention_norm: get("attn_norm", &[hidden])?,
                query: matrix("attn_q", q_dim, hidden)?,
                key: matrix("attn_k", kv_dim, hidden)?,
                value: matrix("attn_v", kv_dim, hidden)?,
                output: matrix("attn_output", hidden, q_dim)?,
                ffn_norm: get("ffn_norm", &[hidden])?,
                gate: matrix("ffn_gate", inner, hidden)?,
                up: matrix("ffn_up", inner, hidden)?,
                down: matrix("ffn_down", hidden, inner)?,
            });
        }
        let output_norm = weights.get("output_norm.weight", &[hidden])?;
        let divisors = weights.get_optional("rope_freqs.weight", &[shape.rope_dims / 2])?;
        let rope = Rope::new(&shape, divisors.as_ref()).map_err(crate::failed)?;
        Ok(Self {
            shape,
            activations,
            embedding,
            blocks,
            output_norm,
            head,
            rope,
        })
    }

    pub(crate) fn hyperparameters(&self) -> &Hyperparameters {
        &self.shape
    }

    /// Appends `tokens` to `cache` and returns the final hidden states
    /// `[n, hidden]`, normalised and ready for [`logits`](Self::logits).
    pub(crate) fn forward(&self, tokens: &[TokenId], cache: &mut Cache) -> Result<Tensor> {
        let ids = Tensor::from_slice(tokens, tokens.len(), &Device::Cpu)?;
        let mut stream = self.round(self.embedding.index_select(&ids, 0)?)?;
        for (index, block) in self.blocks.iter().enumerate() {
            let normed = self.norm(&stream, &block.attention_norm)?;
            let attention = self.attention(block, index, &normed, cache)?;
            stream = self.round((stream + attention)?)?;
            let normed = self.norm(&stream, &block.ffn_norm)?;
            stream = self.round((&stream + self.feed_forward(block, &normed)?)?)?;
        }
        cache.advance(tokens.len());
        self.norm(&stream, &self.output_norm)
    }

    /// Logits `[n, vocab]` of hidden states `[n, hidden]`.
    pub(crate) fn logits(&self, hidden: &Tensor) -> Result<Tensor> {
        hidden.matmul(&self.head)
    }

    /// `x / sqrt(mean(x²) + ε) · w` (Zhang & Sennrich 2019).
    fn norm(&self, x: &Tensor, weight: &Tensor) -> Result<Tensor> {
        let mean_square = x.sqr()?.mean_keepdim(D::Minus1)?;
        let scale = (mean_square + self.shape.norm_epsilon)?.sqrt()?;
        self.round(x.broadcast_div(&scale)?.broadcast_mul(weight)?)
    }

    fn linear(&self, x: &Tensor, weight: &Tensor) -> Result<Tensor> {
        self.round(x.matmul(weight)?)
    }

    /// Grouped-query causal attention over the cache and the new tokens.
    fn attention(&self, block: &Block, layer: usize, x: &Tensor, cache: &Cache) -> Result<Tensor> {
        let c = &self.shape.config;
        let (n, start) = (x.dim(0)?, cache.len());
        let split = |x: Tensor, heads| x.reshape((n, heads, c.head_dim))?.transpose(0, 1);
        let query = split(self.linear(x, &block.query)?, c.heads)?;
        let key = split(self.linear(x, &block.key)?, c.kv_heads)?;
        let value = split(self.linear(x, &block.value)?, c.kv_heads)?;
        let query = self.round(self.rope.apply(&query, start)?)?;
        let key = self.round(self.rope.apply(&key, start)?)?;
        let (keys, values) = cache.append(layer, &key, &value)?;

        // The query heads of one group are stacked so that each group is one
        // product against its shared keys: [kv_heads, group · n, head_dim].
        let group = c.heads / c.kv_heads;
        let query = (query * (c.head_dim as f64).sqrt().recip())?
            .contiguous()?
            .reshape((c.kv_heads, group * n, c.head_dim))?;
        let scores = query.matmul(&keys.transpose(1, 2)?)?;
        let total = start + n;
        let scores = scores
            .reshape((c.kv_heads, group, n, total))?
            .broadcast_add(&causal_mask(n, start)?)?;
        let weights = softmax(&scores)?.reshape((c.kv_heads, group * n, total))?;
        let mixed = weights
            .matmul(&values.contiguous()?)?
            .reshape((c.heads, n, c.head_dim))?
            .transpose(0, 1)?
            .reshape((n, c.heads * c.head_dim))?;
        self.linear(&self.round(mixed)?, &block.output)
    }

    /// `down(silu(gate(x)) · up(x))` (Shazeer 2020).
    fn feed_forward(&self, block: &Block, x: &Tensor) -> Result<Tensor> {
        let gate = self.linear(x, &block.gate)?.silu()?;
        let inner = self.round((gate * self.linear(x, &block.up)?)?)?;
        self.linear(&inner, &block.down)
    }

    fn round(&self, x: Tensor) -> Result<Tensor> {
        match self.activations {
            NumberFormat::F16 => x.to_dtype(DType::F16)?.to_dtype(DType::F32),
            NumberFormat::Bf16 => x.to_dtype(DType::BF16)?.to_dtype(DType::F32),
            _ => Ok(x),
        }
    }
}

fn transposed(matrix: &Tensor) -> std::result::Result<Tensor, EngineError> {
    matrix
        .t()
        .and_then(|view| view.contiguous())
        .map_err(crate::failed)
}

/// `[n, start + n]`: 0 where row `i` may look (columns up to `start + i`), −∞
/// elsewhere.
fn causal_mask(n: usize, start: usize) -> Result<Tensor> {
    let total = start + n;
    let mask: Vec<f32> = (0..n)
        .flat_map(|row| {
            (0..total).map(move |column| {
                if column <= start + row {
                    0.0
                } else {
                    f32::NEG_INFINITY
                }
            })
        })
        .collect();
    Tensor::from_vec(mask, (n, total), &Device::Cpu)
}

fn softmax(x: &Tensor) -> Result<Tensor> {
    let exp = x.broadcast_sub(&x.max_keepdim(D::Minus1)?)?.exp()?;
    exp.broadcast_div(&exp.sum_keepdim(D::Minus1)?)
}

/// Rotary position embedding on interleaved pairs, the order in which GGUF
/// stores `llama` weights (Su et al. 2021).
struct Rope {
    dims: usize,
    /// Angle per position of each pair, f64 so that long contexts stay exact.
    frequencies: Vec<f64>,
}

impl Rope {
    fn new(shape: &Hyperparameters, divisors: Option<&Tensor>) -> Result<Self> {
        let pairs = shape.rope_dims / 2;
        let divisors = match divisors {
            Some(tensor) => tensor.to_vec1::<f32>()?,
            None => vec![1.0; pairs],
        };
        let frequencies = divisors
            .iter()
            .enumerate()
            .map(|(pair, &divisor)| {
                let exponent = -2.0 * pair as f64 / shape.rope_dims as f64;
                shape.rope_base.powf(exponent) / shape.rope_factor / f64::from(divisor)
            })
            .collect();
        Ok(Self {
            dims: shape.rope_dims,
            frequencies,
        })
    }

    /// Rotates `x` `[heads, n, head_dim]` whose first token is at `start`.
    fn apply(&self, x: &Tensor, start: usize) -> Result<Tensor> {
        let (heads, n, head_dim) = x.dims3()?;
        let pairs = self.dims / 2;
        let angles = |f: fn(f64) -> f64| {
            let table: Vec<f32> = (start..start + n)
                .flat_map(|position| {
                    self.frequencies
                        .iter()
                        .map(move |frequency| f(position as f64 * frequency) as f32)
                })
                .collect();
            Tensor::from_vec(table, (n, pairs), &Device::Cpu)
        };
        let (cos, sin) = (angles(f64::cos)?, angles(f64::sin)?);
        let rotated = x
            .narrow(2, 0, self.dims)?
            .contiguous()?
            .reshape((heads, n, pairs, 2))?;
        let even = rotated.narrow(3, 0, 1)?.squeeze(3)?;
        let odd = rotated.narrow(3, 1, 1)?.squeeze(3)?;
        let new_even = (even.broadcast_mul(&cos)? - odd.broadcast_mul(&sin)?)?;
        let new_odd = (even.broadcast_mul(&sin)? + odd.broadcast_mul(&cos)?)?;
        let rotated = Tensor::stack(&[new_even, new_odd], 3)?.reshape((heads, n, self.dims))?;
        if self.dims == head_dim {
            return Ok(rotated);
        }
        let rest = x.narrow(2, self.dims, head_dim - self.dims)?;
        Tensor::cat(&[rotated, rest], 2)
    }
}
