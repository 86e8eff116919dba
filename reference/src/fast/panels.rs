//! Many tokens at once, in panels of 32.

use engine::{TapPoint, TokenId};

use super::attention::AttendPanel;
use super::kernels::split_lanes;
use super::matrix::{Lanes, Matrix, Panels};
use super::product::{Output, Scratch, TILE_ROWS};
use super::simd::LANES;
use super::steps::{PerWorker, Shared, over_rows};
use super::taps::{self, Branch, Step, give_panels};
use super::{FastDecoder, Workspace};
use crate::cache::Cache;
use crate::hyperparameters::Hyperparameters;
use crate::network::{Block, Linear, Norm};
use crate::rope::Rope;
use crate::tap::Taps;

/// Parts that a product is cut into per thread, if its rows are that many.
const PARTS_PER_THREAD: usize = 3;

/// Activations of a piece of a prompt.
pub(super) struct PanelBuffers {
    stream: Panels,
    normed: Panels,
    query: Panels,
    key: Panels,
    value: Panels,
    mixed: Panels,
    delta: Panels,
    gate: Panels,
    up: Panels,
    /// Keys and values token by token, on their way to the cache.
    key_rows: Vec<f32>,
    value_rows: Vec<f32>,
    /// One token's features, on their way to or from a panel.
    rows: PerWorker<[Vec<f32>; 2]>,
    work: Work,
    /// Rotation of every token, of global and of local layers.
    angles: [Angles; 2],
}

/// What products need beyond their operands.
struct Work {
    scratch: PerWorker<Scratch>,
    /// Panels as the kernel takes them, where it splits them.
    split: Vec<Lanes>,
}

/// Cosines and sines in panels of one feature a pair.
struct Angles {
    cos: Panels,
    sin: Panels,
    pairs: Vec<(usize, usize)>,
}

impl PanelBuffers {
    /// For pieces of at most `piece` tokens; `splits` says that products take
    /// split panels.
    pub(super) fn new(shape: &Hyperparameters, piece: usize, threads: usize, splits: bool) -> Self {
        let c = &shape.config;
        let (q_dim, kv_dim) = (c.heads * c.head_dim, c.kv_heads * c.head_dim);
        let count = piece.min(c.context).div_ceil(LANES);
        let panels = |features| Panels::new(count, features);
        let widest = c.hidden.max(q_dim).max(c.feed_forward);
        Self {
            stream: panels(c.hidden),
            normed: panels(c.hidden),
            query: panels(q_dim),
            key: panels(kv_dim),
            value: panels(kv_dim),
            mixed: panels(q_dim),
            delta: panels(c.hidden),
            gate: panels(c.feed_forward),
            up: panels(c.feed_forward),
            key_rows: vec![0.0; count * LANES * kv_dim],
            value_rows: vec![0.0; count * LANES * kv_dim],
            rows: PerWorker::new(threads, || [vec![0.0; c.hidden], vec![0.0; c.hidden]]),
            work: Work {
                scratch: PerWorker::new(threads, || Scratch::new(count)),
                split: match splits {
                    true => Lanes::zeros(count * split_lanes(widest)),
                    false => Vec::new(),
                },
            },
            angles: [false, true].map(|_| Angles {
                cos: panels(c.head_dim / 2),
                sin: panels(c.head_dim / 2),
                pairs: Vec::with_capacity(c.head_dim / 2),
            }),
        }
    }

    /// Copies the normalised features of `token`.
    fn normed_token(&self, token: usize, out: &mut [f32]) {
        let features = self.normed.panel(token / LANES);
        for (to, lanes) in out.iter_mut().zip(features) {
            *to = lanes.0[token % LANES];
        }
    }
}

/// The first of some panels, for tasks that only read them.
#[derive(Clone, Copy)]
struct Input(*const f32);

// SAFETY: nobody writes what is behind it while tasks run.
unsafe impl Sync for Input {}

impl Input {
    fn get(self) -> *const f32 {
        self.0
    }
}

/// What becomes of a product before the stream takes it.
struct Addition<'a> {
    linear: &'a Linear<Matrix>,
    post_norm: Option<&'a Norm>,
    points: Branch,
}

/// What stays the same through the layers of a piece.
#[derive(Clone, Copy)]
struct Piece {
    /// Position of the first token.
    start: usize,
    tokens: usize,
    panels: usize,
}

impl FastDecoder {
    /// Appends `tokens` to `cache` and writes the logits of the last ones, as
    /// many as fit `logits`.
    pub(super) fn forward_panels(
        &self,
        tokens: &[TokenId],
        cache: &mut Cache,
        workspace: &mut Workspace,
        logits: &mut [f32],
        taps: &mut Taps<'_>,
    ) {
        let wanted = logits.len() / self.shape().config.vocab;
        let buffers = &mut workspace.panels;
        let piece = self.through_blocks(tokens, cache, buffers, wanted, taps);
        match wanted {
            0 => {}
            1 => {
                // One row: the panel's other 31 would be computed in vain.
                let last = tokens.len() - 1;
                let panel = last / LANES;
                self.norm_panels(
                    &self.network.output_norm,
                    panel..panel + 1,
                    &buffers.stream,
                    &mut buffers.normed,
                );
                buffers.normed_token(last, workspace.vector.normed_mut());
                self.project(&workspace.vector, logits);
            }
            _ => self.project_panels(tokens.len() - wanted, piece, buffers, logits, taps),
        }
    }

    /// Appends `tokens` to `cache` and writes their final hidden states, row after
    /// row.
    pub(crate) fn hidden_states(
        &self,
        tokens: &[TokenId],
        cache: &mut Cache,
        workspace: &mut Workspace,
        states: &mut [f32],
    ) {
        let buffers = &mut workspace.panels;
        let mut taps = Taps::NONE;
        let piece = self.through_blocks(tokens, cache, buffers, tokens.len(), &mut taps);
        self.norm_panels(
            &self.network.output_norm,
            0..piece.panels,
            &buffers.stream,
            &mut buffers.normed,
        );
        let hidden = self.shape().config.hidden;
        for (token, state) in states.chunks_exact_mut(hidden).enumerate() {
            buffers.normed_token(token, state);
        }
    }

    /// Appends `tokens` to `cache`, and leaves the residual stream of the last
    /// `wanted` behind the last block.
    fn through_blocks(
        &self,
        tokens: &[TokenId],
        cache: &mut Cache,
        buffers: &mut PanelBuffers,
        wanted: usize,
        taps: &mut Taps<'_>,
    ) -> Piece {
        let network = &self.network;
        let piece = Piece {
            start: cache.len(),
            tokens: tokens.len(),
            panels: tokens.len().div_ceil(LANES),
        };
        self.embed_panels(tokens, piece, buffers);
        self.turn(piece, buffers);
        taps.enter(piece.start, None);
        give_panels(taps, TapPoint::Embedding, &buffers.stream, piece.tokens);
        for (layer, block) in network.blocks.iter().enumerate() {
            taps.enter(piece.start, Some(layer));
            self.norm_panels(
                &block.attention_norm,
                0..piece.panels,
                &buffers.stream,
                &mut buffers.normed,
            );
            give_panels(taps, TapPoint::AttentionNorm, &buffers.normed, piece.tokens);
            self.store_keys(block, layer, piece, cache, buffers, taps);
            // Behind the last layer's keys and values, only the panels whose
            // logits are wanted matter.
            let from = match layer + 1 == network.blocks.len() {
                true if wanted == 0 => break,
                true => (tokens.len() - wanted) / LANES,
                false => 0,
            };
            let live = from..piece.panels;
            self.mix(layer, piece, from, cache, buffers);
            give_panels(taps, TapPoint::AttentionMix, &buffers.mixed, piece.tokens);
            let PanelBuffers {
                stream,
                normed,
                mixed,
                delta,
                gate,
                up,
                work,
                ..
            } = buffers;
            self.products([&block.output], mixed, [delta], live.clone(), work);
            let attention = Addition {
                linear: &block.output,
                post_norm: block.attention_post_norm.as_ref(),
                points: taps::ATTENTION,
            };
            self.add_to_stream_panels(&attention, piece, live.clone(), delta, stream, taps);
            if let Some(norm) = &block.ffn_norm {
                self.norm_panels(norm, live.clone(), stream, normed);
                give_panels(taps, TapPoint::FfnNorm, normed, piece.tokens);
            }
            match &block.gate {
                Some(weights) => {
                    self.products([weights, &block.up], normed, [gate, up], live.clone(), work);
                }
                None => self.products([&block.up], normed, [up], live.clone(), work),
            }
            self.activate_panels(block, live.clone(), gate, up);
            give_panels(taps, TapPoint::FfnInner, up, piece.tokens);
            self.products([&block.down], up, [delta], live.clone(), work);
            let fed = Addition {
                linear: &block.down,
                post_norm: block.ffn_post_norm.as_ref(),
                points: taps::FEED_FORWARD,
            };
            self.add_to_stream_panels(&fed, piece, live, delta, stream, taps);
        }
        taps.enter(piece.start, None);
        cache.advance(tokens.len());
        piece
    }

    fn embed_panels(&self, tokens: &[TokenId], piece: Piece, buffers: &mut PanelBuffers) {
        let PanelBuffers { stream, rows, .. } = buffers;
        let features = stream.features();
        let out = Shared::new(stream.first_mut(piece.panels));
        self.pool.run(piece.panels, &|worker, panel| {
            // SAFETY: one panel a task, one pair of rows a worker.
            let (out, [row, scratch]) =
                unsafe { (out.part(panel * features, features), rows.get(worker)) };
            let first = panel * LANES;
            for lane in 0..LANES {
                match tokens.get(first + lane) {
                    Some(&token) => self.embed(token, piece.start + first + lane, row, scratch),
                    // Lanes behind the last token; nobody reads what becomes of
                    // them, but zeros keep them from becoming slow subnormals.
                    None => row.fill(0.0),
                }
                for (out, &value) in out.iter_mut().zip(&*row) {
                    out.0[lane] = value;
                }
            }
        });
    }

    /// Cosines and sines of every position.
    fn turn(&self, piece: Piece, buffers: &mut PanelBuffers) {
        let Some(ropes) = &self.network.ropes else {
            return;
        };
        for (local, angles) in [false, true].into_iter().zip(&mut buffers.angles) {
            let rope: &Rope = ropes.of(local);
            angles.pairs.clear();
            angles
                .pairs
                .extend((0..rope.dims / 2).map(|pair| rope.pair(pair)));
            let features = angles.cos.features();
            let cos = Shared::new(angles.cos.first_mut(piece.panels));
            let sin = Shared::new(angles.sin.first_mut(piece.panels));
            self.pool.run(piece.panels, &|_, panel| {
                // SAFETY: one panel a task.
                let (cos, sin) = unsafe {
                    (
                        cos.part(panel * features, features),
                        sin.part(panel * features, features),
                    )
                };
                for pair in 0..rope.dims / 2 {
                    for lane in 0..LANES {
                        let position = piece.start + panel * LANES + lane;
                        (cos[pair].0[lane], sin[pair].0[lane]) = rope.angle(pair, position);
                    }
                }
            });
        }
    }

    fn norm_panels(
        &self,
        norm: &Norm,
        panels: std::ops::Range<usize>,
        x: &Panels,
        out: &mut Panels,
    ) {
        let features = out.features();
        let out = Shared::new(out.first_mut(panels.end));
        self.pool.run(panels.len(), &|_, task| {
            let panel = panels.start + task;
            // SAFETY: one panel a task, with a lane for every feature.
            unsafe {
                let out = out.part(panel * features, features);
                self.norm_lanes(norm, x.panel(panel).as_ptr().cast(), out);
            }
        });
    }

    /// # Safety
    /// `x` holds as many lanes as `out`; it may be the same place.
    unsafe fn norm_lanes(&self, norm: &Norm, x: *const f32, out: &mut [Lanes]) {
        let to = out.as_mut_ptr().cast();
        // SAFETY: the caller's.
        unsafe {
            (self.kernels.norm_panel)(x, &norm.weight, norm.bias.as_deref(), self.shape().norm, to);
        }
        self.round(Lanes::flatten_mut(out));
    }

    /// Computes queries, keys and values, and stores the latter two.
    fn store_keys(
        &self,
        block: &Block<Matrix>,
        layer: usize,
        piece: Piece,
        cache: &mut Cache,
        buffers: &mut PanelBuffers,
        taps: &mut Taps<'_>,
    ) {
        let shape = self.shape();
        let head_dim = shape.config.head_dim;
        let PanelBuffers {
            normed,
            query,
            key,
            value,
            key_rows,
            value_rows,
            work,
            angles,
            ..
        } = buffers;
        let linears = [&block.query, &block.key, &block.value];
        self.products(
            linears,
            normed,
            [&mut *query, &mut *key, &mut *value],
            0..piece.panels,
            work,
        );

        let angles = &angles[usize::from(shape.layers[layer].local_rope)];
        let kv_dim = key.features();
        let q_dim = query.features();
        for steps in taps::passes(taps) {
            let queries = Shared::new(query.first_mut(piece.panels));
            let keys = Shared::new(key.first_mut(piece.panels));
            let values = Shared::new(value.first_mut(piece.panels));
            let key_out = Shared::new(&mut key_rows[..]);
            let value_out = Shared::new(&mut value_rows[..]);
            self.pool.run(piece.panels, &|_, panel| {
                // SAFETY: one panel a task, and its tokens' rows.
                let (query, key, value, key_rows, value_rows) = unsafe {
                    (
                        queries.part(panel * q_dim, q_dim),
                        keys.part(panel * kv_dim, kv_dim),
                        values.part(panel * kv_dim, kv_dim),
                        key_out.part(panel * LANES * kv_dim, LANES * kv_dim),
                        value_out.part(panel * LANES * kv_dim, LANES * kv_dim),
                    )
                };
                if steps.contains(&Step::Bias) {
                    self.finish(&block.query, query);
                    self.finish(&block.key, key);
                    self.finish(&block.value, value);
                }
                for (lanes, norm) in [(query, &block.query_norm), (&mut *key, &block.key_norm)] {
                    for head in lanes.chunks_exact_mut(head_dim) {
                        let at: *mut f32 = head.as_mut_ptr().cast();
                        // SAFETY: a head's lanes, in place; pairs lie within it.
                        unsafe {
                            if let Some(norm) = norm
                                && steps.contains(&Step::Norm)
                            {
                                self.norm_lanes(norm, at, head);
                            }
                            if self.network.ropes.is_some() && steps.contains(&Step::Last) {
                                let (cos, sin) = (angles.cos.panel(panel), angles.sin.panel(panel));
                                (self.kernels.rotate_panel)(at, &angles.pairs, cos, sin);
                                self.round(Lanes::flatten_mut(head));
                            }
                        }
                    }
                }
                if !steps.contains(&Step::Last) {
                    return;
                }
                for (lanes, rows) in [(key, key_rows), (value, value_rows)] {
                    for (lane, row) in rows.chunks_exact_mut(kv_dim).enumerate() {
                        for (to, from) in row.iter_mut().zip(&*lanes) {
                            *to = from.0[lane];
                        }
                    }
                }
            });
            let tokens = piece.tokens;
            match steps.last() {
                Some(Step::Bias) => {
                    give_panels(taps, TapPoint::Query, query, tokens);
                    give_panels(taps, TapPoint::Key, key, tokens);
                    give_panels(taps, TapPoint::Value, value, tokens);
                }
                Some(Step::Norm) if block.query_norm.is_some() => {
                    give_panels(taps, TapPoint::QueryNorm, query, tokens);
                    give_panels(taps, TapPoint::KeyNorm, key, tokens);
                }
                Some(Step::Last) if self.network.ropes.is_some() => {
                    give_panels(taps, TapPoint::QueryRope, query, tokens);
                    give_panels(taps, TapPoint::KeyRope, key, tokens);
                }
                _ => {}
            }
        }
        let cached = cache.layer_mut(layer);
        let rows = key_rows
            .chunks_exact(kv_dim)
            .zip(value_rows.chunks_exact(kv_dim));
        for (index, (key, value)) in rows.take(piece.tokens).enumerate() {
            let slot = cached.slot(piece.start + index);
            cached.keys.write(slot, key);
            cached.values.write(slot, value);
        }
    }

    /// Attention of every head over the cache.
    fn mix(
        &self,
        layer: usize,
        piece: Piece,
        from: usize,
        cache: &Cache,
        buffers: &mut PanelBuffers,
    ) {
        let c = &self.shape().config;
        let cached = cache.layer(layer);
        let group = c.heads / c.kv_heads;
        let PanelBuffers {
            query, mixed, work, ..
        } = buffers;
        let features = mixed.features();
        let out = Shared::new(mixed.first_mut(piece.panels));
        let live = piece.panels - from;
        self.pool.run(live * c.heads, &|worker, task| {
            // Later panels see more keys; the longest tasks go first.
            let (panel, head) = (piece.panels - 1 - task / c.heads, task % c.heads);
            let at = head * c.head_dim;
            let first = panel * LANES;
            // SAFETY: one head of one panel a task; every visible position has
            // been stored.
            unsafe {
                let out = out.part(panel * features + at, c.head_dim);
                let task = AttendPanel {
                    head: self.cached_head(layer, head / group, cached),
                    queries: query.panel(panel)[at..].as_ptr().cast(),
                    out: out.as_mut_ptr().cast(),
                    first: piece.start + first,
                    queries_len: LANES.min(piece.tokens - first),
                };
                (self.kernels.attend_panel)(&task, work.scratch.get(worker));
                self.round(Lanes::flatten_mut(out));
            }
        });
    }

    fn activate_panels(
        &self,
        block: &Block<Matrix>,
        panels: std::ops::Range<usize>,
        gate: &mut Panels,
        up: &mut Panels,
    ) {
        let features = up.features();
        let gates = Shared::new(gate.first_mut(panels.end));
        let ups = Shared::new(up.first_mut(panels.end));
        self.pool.run(panels.len(), &|_, task| {
            let start = (panels.start + task) * features;
            // SAFETY: one panel a task.
            let (gate, up) = unsafe { (gates.part(start, features), ups.part(start, features)) };
            self.finish(&block.up, up);
            let gate = block.gate.as_ref().map(|linear| {
                self.finish(linear, gate);
                Lanes::flatten(gate)
            });
            let up = Lanes::flatten_mut(up);
            // SAFETY: whole lanes of the same number of features.
            unsafe { (self.kernels.activate)(self.shape().activation, gate, up) };
            self.round(up);
        });
    }

    fn add_to_stream_panels(
        &self,
        addition: &Addition<'_>,
        piece: Piece,
        panels: std::ops::Range<usize>,
        delta: &mut Panels,
        stream: &mut Panels,
        taps: &mut Taps<'_>,
    ) {
        let features = stream.features();
        let [output, normed, sum] = addition.points;
        for steps in taps::passes(taps) {
            let deltas = Shared::new(delta.first_mut(panels.end));
            let streams = Shared::new(stream.first_mut(panels.end));
            self.pool.run(panels.len(), &|_, task| {
                let start = (panels.start + task) * features;
                // SAFETY: one panel a task.
                let (delta, stream) =
                    unsafe { (deltas.part(start, features), streams.part(start, features)) };
                if steps.contains(&Step::Bias) {
                    self.finish(addition.linear, delta);
                }
                if let Some(norm) = addition.post_norm
                    && steps.contains(&Step::Norm)
                {
                    let at = delta.as_ptr().cast();
                    // SAFETY: the same lanes on both sides.
                    unsafe { self.norm_lanes(norm, at, delta) };
                }
                if steps.contains(&Step::Last) {
                    let stream = Lanes::flatten_mut(stream);
                    for (to, x) in stream.iter_mut().zip(Lanes::flatten(delta)) {
                        *to += x;
                    }
                    self.round(stream);
                }
            });
            match steps.last() {
                Some(Step::Bias) => give_panels(taps, output, delta, piece.tokens),
                Some(Step::Norm) if addition.post_norm.is_some() => {
                    give_panels(taps, normed, delta, piece.tokens);
                }
                Some(Step::Last) => give_panels(taps, sum, stream, piece.tokens),
                _ => {}
            }
        }
    }

    /// Adds the bias of a product of one panel.
    fn finish(&self, linear: &Linear<Matrix>, lanes: &mut [Lanes]) {
        if let Some(bias) = &linear.bias {
            for (lanes, bias) in lanes.iter_mut().zip(bias) {
                lanes.0.iter_mut().for_each(|value| *value += bias);
            }
        }
        self.round(Lanes::flatten_mut(lanes));
    }

    /// Several products with the same panels in one parallel step, without their
    /// biases.
    fn products<const N: usize>(
        &self,
        linears: [&Linear<Matrix>; N],
        x: &Panels,
        outs: [&mut Panels; N],
        panels: std::ops::Range<usize>,
        work: &mut Work,
    ) {
        let outs = outs.map(|out| {
            let features = out.features();
            (Shared::new(out.first_mut(panels.end)), features)
        });
        let rows = linears.map(|linear| linear.weight.rows);
        let Work { scratch, split } = work;
        let x = Input(self.split(x, panels.clone(), split));
        over_rows(
            &self.pool,
            &rows,
            self.tile_rows(&rows),
            &|worker, job, rows| {
                let (out, features) = outs[job];
                // SAFETY: each task has rows, hence features, of its own, and each
                // worker its scratch.
                unsafe {
                    let out = Output::Panels {
                        to: out.as_ptr().add(panels.start * features).cast(),
                        features,
                    };
                    let (matrix, scratch) = (&linears[job].weight, scratch.get(worker));
                    (self.kernels.gemm)(matrix, rows, x.get(), panels.len(), out, scratch);
                }
            },
        );
    }

    /// Panels as the kernel of products takes them.
    fn split(&self, x: &Panels, panels: std::ops::Range<usize>, split: &mut [Lanes]) -> *const f32 {
        let Some(kernel) = self.kernels.split else {
            return x.panel(panels.start).as_ptr().cast();
        };
        let lanes = split_lanes(x.features());
        let out = Shared::new(&mut split[..panels.len() * lanes]);
        self.pool.run(panels.len(), &|_, task| {
            // SAFETY: one panel a task.
            unsafe {
                let out = out.part(task * lanes, lanes);
                let x = x.panel(panels.start + task);
                kernel(x.as_ptr().cast(), x.len(), out.as_mut_ptr());
            }
        });
        out.as_ptr().cast_const().cast()
    }

    /// Logits of all but the first `skip` tokens.
    fn project_panels(
        &self,
        skip: usize,
        piece: Piece,
        buffers: &mut PanelBuffers,
        logits: &mut [f32],
        taps: &mut Taps<'_>,
    ) {
        let live = skip / LANES..piece.panels;
        let PanelBuffers {
            stream,
            normed,
            work,
            ..
        } = buffers;
        self.norm_panels(&self.network.output_norm, live.clone(), stream, normed);
        give_panels(taps, TapPoint::FinalNorm, normed, piece.tokens);
        let head = self.head();
        let vocab = head.rows;
        let Work { scratch, split } = work;
        let x = Input(self.split(normed, live.clone(), split));
        let out = Shared::new(&mut *logits);
        over_rows(
            &self.pool,
            &[vocab],
            self.tile_rows(&[vocab]),
            &|worker, _, rows| {
                // SAFETY: each task writes columns of its own, and has its worker's
                // scratch.
                unsafe {
                    let out = Output::Rows {
                        to: out.as_ptr(),
                        stride: vocab,
                        skip: skip % LANES,
                        tokens: piece.tokens - skip,
                    };
                    let scratch = scratch.get(worker);
                    (self.kernels.gemm)(head, rows, x.get(), live.len(), out, scratch);
                }
            },
        );
        let cap = self.shape().logit_softcap;
        if cap.is_none() && self.network.head_bias.is_none() {
            return;
        }
        let out = Shared::new(&mut *logits);
        self.pool.run(piece.tokens - skip, &|_, token| {
            // SAFETY: one row a task.
            let row = unsafe { out.part(token * vocab, vocab) };
            if let Some(bias) = &self.network.head_bias {
                row.iter_mut().zip(bias).for_each(|(to, bias)| *to += bias);
            }
            if let Some(cap) = cap {
                // SAFETY: the kernel takes any slice.
                unsafe { (self.kernels.softcap)(row, cap) };
            }
        });
    }

    /// Rows of a tile: all a tile holds, fewer where that leaves threads idle.
    fn tile_rows(&self, rows: &[usize]) -> usize {
        let parts = self.pool.threads() * PARTS_PER_THREAD;
        let even = rows.iter().sum::<usize>().div_ceil(parts);
        // Whole steps of the kernels that there are.
        let step = if self.kernels.split.is_some() { 32 } else { 12 };
        even.next_multiple_of(step).min(TILE_ROWS)
    }
}
