//! One token at a time.

use engine::{TapPoint, TokenId};

use super::FastDecoder;
use super::attention::AttendOne;
use super::matrix::{Lanes, Matrix};
use super::simd::LANES;
use super::steps::{PerWorker, Shared, over_rows};
use super::taps::{self, Branch};
use crate::cache::Cache;
use crate::hyperparameters::Hyperparameters;
use crate::network::{Block, Linear, Norm};
use crate::tap::Taps;

/// Parts that a product is cut into per thread: enough that one thread held up
/// by the system does not hold up the others.
const PARTS_PER_THREAD: usize = 3;

/// Activations of one token.
pub(super) struct VectorBuffers {
    stream: Vector,
    normed: Vector,
    query: Vector,
    key: Vector,
    value: Vector,
    mixed: Vector,
    delta: Vector,
    gate: Vector,
    up: Vector,
    /// Attention scores of one head.
    scores: PerWorker<Vec<Lanes>>,
    /// Rotation at the token's position, of global and of local layers.
    angles: [Vec<(f32, f32)>; 2],
}

/// Floats on whole cache lines.
struct Vector {
    lanes: Vec<Lanes>,
    len: usize,
}

impl Vector {
    fn new(len: usize) -> Self {
        Self {
            lanes: Lanes::zeros(len.div_ceil(LANES)),
            len,
        }
    }

    fn as_slice(&self) -> &[f32] {
        &Lanes::flatten(&self.lanes)[..self.len]
    }

    fn as_mut_slice(&mut self) -> &mut [f32] {
        &mut Lanes::flatten_mut(&mut self.lanes)[..self.len]
    }

    /// With the padding to whole vectors.
    fn padded(&self) -> &[f32] {
        Lanes::flatten(&self.lanes)
    }

    fn padded_mut(&mut self) -> &mut [f32] {
        Lanes::flatten_mut(&mut self.lanes)
    }

    fn give(&self, taps: &mut Taps<'_>, point: TapPoint) {
        taps.give(point, self.len, self.as_slice());
    }
}

impl VectorBuffers {
    pub(super) fn new(shape: &Hyperparameters, threads: usize) -> Self {
        let c = &shape.config;
        let (q_dim, kv_dim) = (c.heads * c.head_dim, c.kv_heads * c.head_dim);
        Self {
            stream: Vector::new(c.hidden),
            normed: Vector::new(c.hidden),
            query: Vector::new(q_dim),
            key: Vector::new(kv_dim),
            value: Vector::new(kv_dim),
            mixed: Vector::new(q_dim),
            delta: Vector::new(c.hidden),
            gate: Vector::new(c.feed_forward),
            up: Vector::new(c.feed_forward),
            scores: PerWorker::new(threads, || Lanes::zeros(c.context.div_ceil(LANES))),
            angles: [false, true].map(|_| vec![(0.0, 0.0); c.head_dim / 2]),
        }
    }

    /// The hidden state that [`FastDecoder::project`] turns into logits.
    pub(super) fn normed_mut(&mut self) -> &mut [f32] {
        self.normed.as_mut_slice()
    }
}

impl FastDecoder {
    /// Appends `token` to `cache`, with its logits if they are asked for.
    pub(super) fn forward_token(
        &self,
        token: TokenId,
        cache: &mut Cache,
        buffers: &mut VectorBuffers,
        logits: Option<&mut [f32]>,
        taps: &mut Taps<'_>,
    ) {
        let network = &self.network;
        let position = cache.len();
        self.embed(
            token,
            position,
            buffers.stream.as_mut_slice(),
            buffers.delta.as_mut_slice(),
        );
        if let Some(ropes) = &network.ropes {
            for (local, angles) in [false, true].into_iter().zip(&mut buffers.angles) {
                let rope = ropes.of(local);
                for (pair, angle) in angles[..rope.dims / 2].iter_mut().enumerate() {
                    *angle = rope.angle(pair, position);
                }
            }
        }
        taps.enter(position, None);
        buffers.stream.give(taps, TapPoint::Embedding);
        for (layer, block) in network.blocks.iter().enumerate() {
            taps.enter(position, Some(layer));
            self.norm(
                buffers.stream.as_slice(),
                &block.attention_norm,
                buffers.normed.as_mut_slice(),
            );
            buffers.normed.give(taps, TapPoint::AttentionNorm);
            self.attend(block, layer, position, cache, buffers, taps);
            // A layer's keys and values are all that is needed of the last
            // layer when no logits are.
            if logits.is_none() && layer + 1 == network.blocks.len() {
                break;
            }
            let VectorBuffers {
                stream,
                normed,
                mixed,
                delta,
                gate,
                up,
                ..
            } = buffers;
            self.matvec(&[(&block.output, mixed)], [delta]);
            let post_norm = block.attention_post_norm.as_ref();
            self.add_to_stream(post_norm, taps::ATTENTION, delta, stream, taps);
            if let Some(norm) = &block.ffn_norm {
                self.norm(stream.as_slice(), norm, normed.as_mut_slice());
                normed.give(taps, TapPoint::FfnNorm);
            }
            self.feed_forward(block, normed, gate, up, delta, taps);
            let post_norm = block.ffn_post_norm.as_ref();
            self.add_to_stream(post_norm, taps::FEED_FORWARD, delta, stream, taps);
        }
        cache.advance(1);
        if let Some(logits) = logits {
            self.norm(
                buffers.stream.as_slice(),
                &network.output_norm,
                buffers.normed.as_mut_slice(),
            );
            taps.enter(position, None);
            buffers.normed.give(taps, TapPoint::FinalNorm);
            self.project(buffers, logits);
        }
    }

    /// Logits of the normalised hidden state in `buffers`.
    pub(super) fn project(&self, buffers: &VectorBuffers, logits: &mut [f32]) {
        let head = self.head();
        self.rows_of(&[(head, buffers.normed.as_slice())], &[Shared::new(logits)]);
        if let Some(bias) = &self.network.head_bias {
            add(logits, bias);
        }
        if let Some(cap) = self.shape().logit_softcap {
            // SAFETY: the kernel takes any slice.
            unsafe { (self.kernels.softcap)(logits, cap) };
        }
    }

    /// Embedding of `token` at `position`; `scratch` is as long as it.
    pub(super) fn embed(
        &self,
        token: TokenId,
        position: usize,
        out: &mut [f32],
        scratch: &mut [f32],
    ) {
        // SAFETY: rows are as long as the hidden state, and `extend` has checked
        // the token.
        unsafe { (self.kernels.decode)(&self.network.embedding, token as usize, out) };
        let scale = self.shape().embedding_scale;
        out.iter_mut().for_each(|value| *value *= scale);
        self.round(out);
        if let Some(positions) = &self.network.positions {
            // SAFETY: there is a row for every position of the context.
            unsafe { (self.kernels.decode)(positions, position, scratch) };
            add(out, scratch);
            self.round(out);
        }
    }

    /// `out = norm(x)`.
    fn norm(&self, x: &[f32], norm: &Norm, out: &mut [f32]) {
        // SAFETY: one float a feature on both sides.
        unsafe {
            (self.kernels.norm_vector)(
                x.as_ptr(),
                &norm.weight,
                norm.bias.as_deref(),
                self.shape().norm,
                out.as_mut_ptr(),
            );
        }
        self.round(out);
    }

    fn norm_in_place(&self, x: &mut [f32], norm: &Norm) {
        // SAFETY: as above; the kernel takes the same place for both.
        unsafe {
            let at = x.as_mut_ptr();
            let bias = norm.bias.as_deref();
            (self.kernels.norm_vector)(at, &norm.weight, bias, self.shape().norm, at);
        }
        self.round(x);
    }

    fn add_to_stream(
        &self,
        post_norm: Option<&Norm>,
        [output, normed, sum]: Branch,
        delta: &mut Vector,
        stream: &mut Vector,
        taps: &mut Taps<'_>,
    ) {
        delta.give(taps, output);
        if let Some(norm) = post_norm {
            self.norm_in_place(delta.as_mut_slice(), norm);
            delta.give(taps, normed);
        }
        add(stream.as_mut_slice(), delta.as_slice());
        self.round(stream.as_mut_slice());
        stream.give(taps, sum);
    }

    /// Stores the token's keys and values, and mixes those it sees.
    fn attend(
        &self,
        block: &Block<Matrix>,
        layer: usize,
        position: usize,
        cache: &mut Cache,
        buffers: &mut VectorBuffers,
        taps: &mut Taps<'_>,
    ) {
        let shape = self.shape();
        let c = &shape.config;
        let VectorBuffers {
            normed,
            query,
            key,
            value,
            mixed,
            scores,
            angles,
            ..
        } = buffers;
        self.matvec(
            &[
                (&block.query, normed),
                (&block.key, normed),
                (&block.value, normed),
            ],
            [&mut *query, &mut *key, &mut *value],
        );
        query.give(taps, TapPoint::Query);
        key.give(taps, TapPoint::Key);
        value.give(taps, TapPoint::Value);
        for (vector, norm) in [
            (&mut *query, &block.query_norm),
            (&mut *key, &block.key_norm),
        ] {
            for head in vector.as_mut_slice().chunks_exact_mut(c.head_dim) {
                if let Some(norm) = norm {
                    self.norm_in_place(head, norm);
                }
            }
        }
        if block.query_norm.is_some() {
            query.give(taps, TapPoint::QueryNorm);
            key.give(taps, TapPoint::KeyNorm);
        }
        if let Some(ropes) = &self.network.ropes {
            let local = shape.layers[layer].local_rope;
            let rope = ropes.of(local);
            for vector in [&mut *query, &mut *key] {
                for head in vector.as_mut_slice().chunks_exact_mut(c.head_dim) {
                    for (pair, &(cos, sin)) in angles[usize::from(local)][..rope.dims / 2]
                        .iter()
                        .enumerate()
                    {
                        let (first, second) = rope.pair(pair);
                        let (a, b) = (head[first], head[second]);
                        head[first] = a * cos - b * sin;
                        head[second] = a * sin + b * cos;
                    }
                }
                self.round(vector.as_mut_slice());
            }
            query.give(taps, TapPoint::QueryRope);
            key.give(taps, TapPoint::KeyRope);
        }
        let cached = cache.layer_mut(layer);
        let slot = cached.slot(position);
        cached.keys.write(slot, key.as_slice());
        cached.values.write(slot, value.as_slice());

        let cached = &*cached;
        let group = c.heads / c.kv_heads;
        let out = Shared::new(mixed.as_mut_slice());
        let query = query.as_slice();
        self.pool.run(c.heads, &|worker, head| {
            let at = head * c.head_dim;
            // SAFETY: each head has its own part of the output, each worker its
            // own scores, and every visible position has been stored.
            unsafe {
                let task = AttendOne {
                    head: self.cached_head(layer, head / group, cached),
                    query: query[at..].as_ptr(),
                    out: out.part(at, c.head_dim).as_mut_ptr(),
                    position,
                };
                (self.kernels.attend_one)(&task, scores.get(worker));
            }
        });
        self.round(mixed.as_mut_slice());
        mixed.give(taps, TapPoint::AttentionMix);
    }

    fn feed_forward(
        &self,
        block: &Block<Matrix>,
        x: &Vector,
        gate: &mut Vector,
        up: &mut Vector,
        out: &mut Vector,
        taps: &mut Taps<'_>,
    ) {
        let gated = block.gate.as_ref().map(|weights| (weights, gate));
        let gate = match gated {
            Some((weights, gate)) => {
                self.matvec(&[(weights, x), (&block.up, x)], [gate, up]);
                Some(&*gate)
            }
            None => {
                self.matvec(&[(&block.up, x)], [up]);
                None
            }
        };
        // SAFETY: both are padded to whole vectors.
        unsafe {
            let gate = gate.map(Vector::padded);
            (self.kernels.activate)(self.shape().activation, gate, up.padded_mut());
        }
        self.round(up.as_mut_slice());
        up.give(taps, TapPoint::FfnInner);
        self.matvec(&[(&block.down, up)], [out]);
    }

    /// Several products in one parallel step, with biases.
    fn matvec<const N: usize>(
        &self,
        products: &[(&Linear<Matrix>, &Vector); N],
        mut outs: [&mut Vector; N],
    ) {
        let matrices = products.map(|(linear, x)| (&linear.weight, x.as_slice()));
        let shared = outs.each_mut().map(|out| Shared::new(out.as_mut_slice()));
        self.rows_of(&matrices, &shared);
        for ((linear, _), out) in products.iter().zip(outs) {
            if let Some(bias) = &linear.bias {
                add(out.as_mut_slice(), bias);
            }
            self.round(out.as_mut_slice());
        }
    }

    fn rows_of<const N: usize>(&self, products: &[(&Matrix, &[f32]); N], outs: &[Shared<f32>; N]) {
        let rows = products.map(|(matrix, _)| matrix.rows);
        let parts = self.pool.threads() * PARTS_PER_THREAD;
        // Rows in fours share the reading of `x`.
        let most = rows
            .iter()
            .sum::<usize>()
            .div_ceil(parts)
            .next_multiple_of(4);
        over_rows(&self.pool, &rows, most, &|_, job, rows| {
            // SAFETY: parts are disjoint; `x` has a float for every column.
            unsafe {
                let (matrix, x) = products[job];
                let out = outs[job].part(rows.start, rows.len());
                (self.kernels.matvec)(matrix, rows, x.as_ptr(), out.as_mut_ptr());
            }
        });
    }
}

fn add(to: &mut [f32], x: &[f32]) {
    for (to, x) in to.iter_mut().zip(x) {
        *to += x;
    }
}
