//! The transformer in plain candle operations, `kernels=plain`.
//!
//! This is the ground truth, so it is written to be checked by eye rather than
//! to be fast: weights are dequantized to f32, and every operation of the
//! architecture is a few candle operations on whole tensors. Everything is
//! computed in f32: matrix products accumulate in f32 with fused multiply-add
//! (the order over `K` is that of the `gemm` crate's blocks, independent of the
//! number of threads), softmax subtracts the row maximum and sums in f32, norms
//! sum squares in f32. What the `activations` option rounds is the result of
//! every operation but three: attention scores, softmax probabilities and
//! logits stay in f32, as in the engines that compute in half precision with
//! f32 accumulation.

#[cfg(test)]
mod tests;

use std::ops::Range;

use candle_core::{D, DType, Device, Result, Tensor};
use engine::{EngineError, NumberFormat, TapPoint, TokenId};

use crate::cache::{Cache, LayerCache, Rows};
use crate::fault::Fault;
use crate::hyperparameters::{Activation, Hyperparameters, NormKind};
use crate::network::{Block, Linear, Network, Norm};
use crate::rope::Rope;
use crate::tap::Taps;
use crate::weights::{StoredMatrix, Weights};

/// A decoder of candle tensors, each `[outputs, inputs]` as in the file.
pub(crate) struct PlainDecoder {
    network: Network<Tensor>,
    activations: NumberFormat,
    /// A mistake to make, and the layer to make it in.
    fault: Option<(usize, Fault)>,
}

impl PlainDecoder {
    pub(crate) fn load(
        shape: Hyperparameters,
        weights: &Weights<'_>,
        activations: NumberFormat,
        fault: Option<(usize, Fault)>,
        device: &Device,
    ) -> std::result::Result<Self, EngineError> {
        let network = Network::load(shape, weights, |matrix| {
            tensor(&matrix, device).map_err(crate::failed)
        })?;
        Ok(Self {
            network,
            activations,
            fault,
        })
    }

    pub(crate) fn shape(&self) -> &Hyperparameters {
        &self.network.shape
    }

    /// Appends `tokens` to `cache` and writes the logits of the last ones, as
    /// many as fit `logits`, row after row.
    pub(crate) fn forward(
        &self,
        tokens: &[TokenId],
        cache: &mut Cache,
        logits: &mut [f32],
        taps: &mut Taps<'_>,
    ) -> Result<()> {
        let hidden = self.hidden(tokens, cache, taps)?;
        let wanted = logits.len() / self.shape().config.vocab;
        if wanted > 0 {
            let hidden = hidden.narrow(0, tokens.len() - wanted, wanted)?;
            logits.copy_from_slice(&self.logits(&hidden)?.flatten_all()?.to_vec1::<f32>()?);
        }
        Ok(())
    }

    /// Appends `tokens` to `cache` and writes their final hidden states, row after
    /// row.
    pub(crate) fn hidden_states(
        &self,
        tokens: &[TokenId],
        cache: &mut Cache,
        states: &mut [f32],
    ) -> Result<()> {
        let mut taps = Taps::NONE;
        let hidden = self.hidden(tokens, cache, &mut taps)?;
        states.copy_from_slice(&hidden.flatten_all()?.to_vec1::<f32>()?);
        Ok(())
    }

    /// The final hidden states `[n, hidden]`, normalised.
    fn hidden(&self, tokens: &[TokenId], cache: &mut Cache, taps: &mut Taps<'_>) -> Result<Tensor> {
        let network = &self.network;
        let start = cache.len();
        let ids = Tensor::from_slice(tokens, tokens.len(), network.embedding.device())?;
        let embedded = network.embedding.index_select(&ids, 0)?;
        let mut stream = self.round((embedded * f64::from(self.shape().embedding_scale))?)?;
        if let Some(positions) = &network.positions {
            stream = self.round((stream + positions.narrow(0, start, tokens.len())?)?)?;
        }
        taps.enter(start, None);
        tap(taps, TapPoint::Embedding, &stream)?;
        for (index, block) in network.blocks.iter().enumerate() {
            taps.enter(start, Some(index));
            let normed = self.norm(&stream, &block.attention_norm)?;
            tap(taps, TapPoint::AttentionNorm, &normed)?;
            let mut attention = self.attention(block, index, &normed, cache, taps)?;
            tap(taps, TapPoint::AttentionOutput, &attention)?;
            if let Some(norm) = &block.attention_post_norm {
                attention = self.norm(&attention, norm)?;
                tap(taps, TapPoint::AttentionPostNorm, &attention)?;
            }
            let with_attention = self.round((&stream + attention)?)?;
            tap(taps, TapPoint::AttentionResidual, &with_attention)?;
            let mut input = normed;
            if let Some(norm) = &block.ffn_norm {
                input = self.norm(&with_attention, norm)?;
                tap(taps, TapPoint::FfnNorm, &input)?;
            }
            let mut fed = self.feed_forward(block, &input, taps)?;
            tap(taps, TapPoint::FfnOutput, &fed)?;
            if let Some(norm) = &block.ffn_post_norm {
                fed = self.norm(&fed, norm)?;
                tap(taps, TapPoint::FfnPostNorm, &fed)?;
            }
            stream = self.round((with_attention + fed)?)?;
            tap(taps, TapPoint::Residual, &stream)?;
        }
        cache.advance(tokens.len());
        let hidden = self.norm(&stream, &network.output_norm)?;
        taps.enter(start, None);
        tap(taps, TapPoint::FinalNorm, &hidden)?;
        Ok(hidden)
    }

    /// Logits `[n, vocab]` of hidden states `[n, hidden]`.
    fn logits(&self, hidden: &Tensor) -> Result<Tensor> {
        let head = self
            .network
            .head
            .as_ref()
            .unwrap_or(&self.network.embedding);
        let logits = hidden.matmul(&head.t()?)?;
        let logits = match &self.network.head_bias {
            Some(bias) => logits.broadcast_add(&vector(bias, hidden.device())?)?,
            None => logits,
        };
        softcap(logits, self.shape().logit_softcap)
    }

    fn norm(&self, x: &Tensor, norm: &Norm) -> Result<Tensor> {
        self.round(normalise(x, self.shape().norm, norm)?)
    }

    fn linear(&self, x: &Tensor, linear: &Linear<Tensor>) -> Result<Tensor> {
        let product = x.matmul(&linear.weight.t()?)?;
        self.round(match &linear.bias {
            Some(bias) => product.broadcast_add(&vector(bias, x.device())?)?,
            None => product,
        })
    }

    /// Grouped-query causal attention over the cache and the new tokens.
    fn attention(
        &self,
        block: &Block<Tensor>,
        layer: usize,
        x: &Tensor,
        cache: &mut Cache,
        taps: &mut Taps<'_>,
    ) -> Result<Tensor> {
        let shape = self.shape();
        let c = &shape.config;
        let (n, start) = (x.dim(0)?, cache.len());
        let faulty = |fault| self.fault == Some((layer, fault));
        let split = |x: Tensor, heads| x.reshape((n, heads, c.head_dim))?.transpose(0, 1);
        let mut query = split(self.linear(x, &block.query)?, c.heads)?;
        let mut key = split(self.linear(x, &block.key)?, c.kv_heads)?;
        let value = self.linear(x, &block.value)?;
        tap(taps, TapPoint::Query, &query)?;
        tap(taps, TapPoint::Key, &key)?;
        tap(taps, TapPoint::Value, &value)?;
        if let (Some(query_norm), Some(key_norm)) = (&block.query_norm, &block.key_norm) {
            query = self.norm(&query, query_norm)?;
            key = self.norm(&key, key_norm)?;
            tap(taps, TapPoint::QueryNorm, &query)?;
            tap(taps, TapPoint::KeyNorm, &key)?;
        }
        if let Some(ropes) = &self.network.ropes {
            let mut rope = ropes.of(shape.layers[layer].local_rope).clone();
            if faulty(Fault::RopeBase) {
                rope = rope.with_base_times(50.0);
            }
            query = self.round(rotate(&query, &rope, start)?)?;
            key = self.round(rotate(&key, &rope, start)?)?;
            tap(taps, TapPoint::QueryRope, &query)?;
            tap(taps, TapPoint::KeyRope, &key)?;
        }
        let key = key.transpose(0, 1)?.reshape((n, c.kv_heads * c.head_dim))?;
        let rewritten = start < cache.high();
        let cached = cache.layer_mut(layer);
        let stale = usize::from(faulty(Fault::StaleKv) && rewritten);
        append(cached, start, stale, &key, &value)?;
        let seen = cached.visible(start).start..start + n;
        let total = seen.len();
        let context = |rows: &Rows| {
            gather(cached, rows, seen.clone(), x.device())?
                .reshape((total, c.kv_heads, c.head_dim))?
                .transpose(0, 1)?
                .contiguous()
        };
        let (keys, values) = (context(&cached.keys)?, context(&cached.values)?);

        // The query heads of one group are stacked so that each group is one
        // product against its shared keys: [kv_heads, group · n, head_dim].
        let group = c.heads / c.kv_heads;
        if faulty(Fault::SwappedHeads) {
            query = swap_first_and_last(&query)?;
        }
        let scale = match faulty(Fault::NoScale) {
            true => 1.0,
            false => shape.attention_scale,
        };
        let query = (query * f64::from(scale))?.contiguous()?.reshape((
            c.kv_heads,
            group * n,
            c.head_dim,
        ))?;
        let ahead = usize::from(faulty(Fault::MaskOffByOne));
        let scores = softcap(
            query.matmul(&keys.transpose(1, 2)?)?,
            shape.attention_softcap,
        )?
        .reshape((c.kv_heads, group, n, total))?
        .broadcast_add(&mask(cached, start, n, seen, ahead)?.to_device(x.device())?)?;
        let weights = softmax(&scores)?.reshape((c.kv_heads, group * n, total))?;
        let mixed = weights
            .matmul(&values)?
            .reshape((c.heads, n, c.head_dim))?
            .transpose(0, 1)?
            .reshape((n, c.heads * c.head_dim))?;
        let mixed = self.round(mixed)?;
        tap(taps, TapPoint::AttentionMix, &mixed)?;
        self.linear(&mixed, &block.output)
    }

    /// `down(act(gate(x)) · up(x))` (Shazeer 2020), or `down(act(up(x)))`.
    fn feed_forward(
        &self,
        block: &Block<Tensor>,
        x: &Tensor,
        taps: &mut Taps<'_>,
    ) -> Result<Tensor> {
        let activate = |x: Tensor| match self.shape().activation {
            Activation::Silu => x.silu(),
            Activation::GeluTanh => x.gelu(),
        };
        let up = self.linear(x, &block.up)?;
        let inner = match &block.gate {
            Some(gate) => (activate(self.linear(x, gate)?)? * up)?,
            None => activate(up)?,
        };
        let inner = self.round(inner)?;
        tap(taps, TapPoint::FfnInner, &inner)?;
        self.linear(&inner, &block.down)
    }

    fn round(&self, x: Tensor) -> Result<Tensor> {
        round(x, self.activations)
    }
}

/// Rounds to what the engine was told to compute with.
pub(crate) fn round(x: Tensor, activations: NumberFormat) -> Result<Tensor> {
    match activations {
        NumberFormat::F16 => x.to_dtype(DType::F16)?.to_dtype(DType::F32),
        NumberFormat::Bf16 => x.to_dtype(DType::BF16)?.to_dtype(DType::F32),
        _ => Ok(x),
    }
}

pub(crate) fn tensor(matrix: &StoredMatrix, device: &Device) -> Result<Tensor> {
    Tensor::from_vec(
        matrix.to_f32().map_err(candle_core::Error::wrap)?,
        (matrix.rows, matrix.columns),
        device,
    )
}

pub(crate) fn vector(values: &[f32], device: &Device) -> Result<Tensor> {
    Tensor::from_slice(values, values.len(), device)
}

/// Hands over `x`, `[n, width]` or by heads `[heads, n, head_dim]`.
fn tap(taps: &mut Taps<'_>, point: TapPoint, x: &Tensor) -> Result<()> {
    if taps.wanted() {
        let x = match x.rank() {
            3 => x.transpose(0, 1)?.flatten_from(1)?,
            _ => x.clone(),
        };
        taps.give(point, x.dim(1)?, &x.flatten_all()?.to_vec1::<f32>()?);
    }
    Ok(())
}

/// Stores keys and values `[n, kv_heads · head_dim]` of the tokens from `start`, but
/// for the first `stale`.
fn append(
    cache: &mut LayerCache,
    start: usize,
    stale: usize,
    keys: &Tensor,
    values: &Tensor,
) -> Result<()> {
    let (keys, values) = (keys.to_vec2::<f32>()?, values.to_vec2::<f32>()?);
    for (index, (key, value)) in keys.iter().zip(&values).enumerate().skip(stale) {
        let slot = cache.slot(start + index);
        cache.keys.write(slot, key);
        cache.values.write(slot, value);
    }
    Ok(())
}

/// Rows of `positions` as `[n, kv_heads · head_dim]`.
fn gather(
    cache: &LayerCache,
    rows: &Rows,
    positions: Range<usize>,
    device: &Device,
) -> Result<Tensor> {
    let (n, width) = (positions.len(), rows.width());
    let mut values = vec![0f32; n * width];
    for (position, row) in positions.zip(values.chunks_exact_mut(width)) {
        rows.read(cache.slot(position), 0..width, row);
    }
    Tensor::from_vec(values, (n, width), device)
}

/// `[n, seen]`: 0 where the token at `start + i` looks, and `ahead` further, −∞
/// elsewhere.
fn mask(
    cache: &LayerCache,
    start: usize,
    n: usize,
    seen: Range<usize>,
    ahead: usize,
) -> Result<Tensor> {
    let mask: Vec<f32> = (start..start + n)
        .flat_map(|position| {
            let visible = cache.visible(position);
            let visible = visible.start..visible.end + ahead;
            seen.clone()
                .map(move |other| match visible.contains(&other) {
                    true => 0.0,
                    false => f32::NEG_INFINITY,
                })
        })
        .collect();
    Tensor::from_vec(mask, (n, seen.len()), &Device::Cpu)
}

/// Normalises the last dimension.
pub(crate) fn normalise(x: &Tensor, kind: NormKind, norm: &Norm) -> Result<Tensor> {
    let x = match kind {
        NormKind::Rms { .. } => x.clone(),
        NormKind::Layer { .. } => x.broadcast_sub(&x.mean_keepdim(D::Minus1)?)?,
    };
    let (NormKind::Rms { epsilon } | NormKind::Layer { epsilon }) = kind;
    let scale = (x.sqr()?.mean_keepdim(D::Minus1)? + f64::from(epsilon))?.sqrt()?;
    let scaled = x
        .broadcast_div(&scale)?
        .broadcast_mul(&vector(&norm.weight, x.device())?)?;
    match &norm.bias {
        Some(bias) => scaled.broadcast_add(&vector(bias, x.device())?),
        None => Ok(scaled),
    }
}

/// `c · tanh(x / c)` (Gemma 2).
fn softcap(x: Tensor, cap: Option<f32>) -> Result<Tensor> {
    match cap.map(f64::from) {
        Some(cap) => (x / cap)?.tanh()? * cap,
        None => Ok(x),
    }
}

pub(crate) fn softmax(x: &Tensor) -> Result<Tensor> {
    let exp = x.broadcast_sub(&x.max_keepdim(D::Minus1)?)?.exp()?;
    exp.broadcast_div(&exp.sum_keepdim(D::Minus1)?)
}

/// `[heads, n, head_dim]` with its first and last heads exchanged.
fn swap_first_and_last(x: &Tensor) -> Result<Tensor> {
    let mut order: Vec<u32> = (0..x.dim(0)? as u32).collect();
    let last = order.len() - 1;
    order.swap(0, last);
    x.contiguous()?
        .index_select(&Tensor::new(order, x.device())?, 0)
}

/// Rotates `x` `[heads, n, head_dim]` whose first token is at `start`.
fn rotate(x: &Tensor, rope: &Rope, start: usize) -> Result<Tensor> {
    let (_, n, head_dim) = x.dims3()?;
    let pairs = rope.dims / 2;
    let (cos, sin): (Vec<f32>, Vec<f32>) = (start..start + n)
        .flat_map(|position| (0..pairs).map(move |pair| rope.angle(pair, position)))
        .unzip();
    let cos = Tensor::from_vec(cos, (n, pairs), x.device())?;
    let sin = Tensor::from_vec(sin, (n, pairs), x.device())?;
    let select = |pick: fn((usize, usize)) -> usize| {
        let dims: Vec<u32> = (0..pairs)
            .map(|pair| pick(rope.pair(pair)) as u32)
            .collect();
        x.contiguous()?
            .index_select(&Tensor::new(dims, x.device())?, 2)
    };
    let (a, b) = (select(|pair| pair.0)?, select(|pair| pair.1)?);
    let turned = Tensor::cat(
        &[
            (a.broadcast_mul(&cos)? - b.broadcast_mul(&sin)?)?,
            (a.broadcast_mul(&sin)? + b.broadcast_mul(&cos)?)?,
            x.narrow(2, rope.dims, head_dim - rope.dims)?,
        ],
        2,
    )?;
    // `turned` holds first dimensions, second dimensions, unrotated ones.
    let mut order = vec![0u32; head_dim];
    for pair in 0..pairs {
        let (first, second) = rope.pair(pair);
        (order[first], order[second]) = (pair as u32, (pairs + pair) as u32);
    }
    for (dim, place) in order.iter_mut().enumerate().skip(rope.dims) {
        *place = dim as u32;
    }
    turned
        .contiguous()?
        .index_select(&Tensor::new(order, x.device())?, 2)
}
