//! The operations of a decoder, each one dispatch or a few.

use engine::EngineError;

use crate::record::Recorder;
use crate::shader::Shader;
use crate::tensor::{Matrix, Rows};
use crate::tuning::{Choice, Many};

/// Workgroups that one dimension of a dispatch may have, on every device.
const MOST_GROUPS: usize = 65_535;
/// Threads of a workgroup in the kernels that say so themselves.
const THREADS: usize = 64;
/// Outputs that a workgroup of `matvec.wgsl` makes.
const MATVEC_ROWS: usize = 4;
/// Positions that a part of split attention has at least, and the most parts.
const LEAST_SPAN: usize = 128;
pub(crate) const MOST_PARTS: usize = 32;

/// What a product leaves in its output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Put {
    /// The product alone.
    Store,
    /// The product and what was there.
    Add,
}

/// Some tokens of `Rows`.
#[derive(Clone, Copy)]
pub(crate) struct Tokens<'a> {
    pub(crate) rows: &'a Rows,
    pub(crate) first: usize,
    pub(crate) count: usize,
}

impl<'a> Tokens<'a> {
    /// The first `count` ones of `rows`.
    pub(crate) fn first(rows: &'a Rows, count: usize) -> Self {
        Self {
            rows,
            first: 0,
            count,
        }
    }
}

/// How a product rounds and tiles.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ProductStyle {
    /// Operands of products with many tokens are rounded to f16.
    pub(crate) half: bool,
    /// What is fastest here, unless something else is tried.
    pub(crate) choice: Option<Choice>,
}

/// A norm's weights.
pub(crate) struct NormWeights {
    pub(crate) weight: wgpu::Buffer,
    pub(crate) bias: Option<wgpu::Buffer>,
    /// Subtracts the mean.
    pub(crate) layer: bool,
    pub(crate) epsilon: f32,
}

/// Heads of queries, and of the keys and values that groups of them share.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Heads {
    pub(crate) count: usize,
    pub(crate) kv: usize,
    pub(crate) dim: usize,
}

/// Keys and values of one layer, `[positions, kv_heads · dim]`.
pub(crate) struct Cache<'a> {
    pub(crate) keys: &'a wgpu::Buffer,
    pub(crate) values: &'a wgpu::Buffer,
    /// f16, else f32.
    pub(crate) half: bool,
}

/// What attention makes of scores.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scores {
    pub(crate) scale: f32,
    /// 0 for none.
    pub(crate) cap: f32,
    /// Positions that a query sees.
    pub(crate) window: Option<usize>,
}

impl Recorder<'_> {
    fn lanes(&self) -> [(&'static str, u32); 1] {
        [("LANES", 64)]
    }

    /// `y[t] = matrix · x[t] + bias`.
    pub(crate) fn product(
        &mut self,
        matrix: &Matrix,
        x: Tokens<'_>,
        bias: Option<&wgpu::Buffer>,
        y: Tokens<'_>,
        put: Put,
        style: ProductStyle,
    ) -> Result<(), EngineError> {
        let flags = u32::from(bias.is_some()) + if put == Put::Add { 2 } else { 0 };
        let weights = matrix.weights;
        let half = style.half;
        let choice = (style.choice).unwrap_or_else(|| self.device.tuning.choice(weights, half));
        let [across, down] = choice.many.tile();
        let powers = &self.device.powers;
        let cooperative = powers
            .matrices
            .iter()
            .find(|matrix| choice.many == Many::Cooperative && matrix.half == half);
        let (kernel, [rows_a_group, tokens_a_group]) = if x.count == 1 {
            let shader = Shader::Matvec {
                weights,
                subgroups: powers.subgroups,
            };
            let kernel = self.device.kernel(shader, &[("LANES", choice.lanes)])?;
            (kernel, [MATVEC_ROWS, 1])
        } else if let Some(&matrix) = cooperative {
            let shader = Shader::GemmCoop { weights, matrix };
            let span = 4 * matrix.side as usize;
            let constants = [("SUBGROUP", powers.subgroup_lanes)];
            (self.device.kernel(shader, &constants)?, [span, span])
        } else {
            let shader = Shader::Gemm { weights, half };
            let kernel = self
                .device
                .kernel(shader, &[("ACROSS", across), ("DOWN", down)])?;
            (kernel, [4 * across as usize, 4 * down as usize])
        };
        for part in &matrix.parts {
            let groups = part.rows.div_ceil(rows_a_group);
            let mut parameters = vec![
                part.rows as u32,
                part.first_row as u32,
                matrix.row_halves as u32,
                matrix.chunks() as u32,
            ];
            let x_first = (x.first * x.rows.stride / 4) as u32;
            let y_first = (y.first * y.rows.stride) as u32;
            let groups = if x.count == 1 {
                parameters.extend([x_first, y_first, flags]);
                spread(groups)
            } else {
                let strides = [x.rows.stride / 4, y.rows.stride].map(|stride| stride as u32);
                parameters.extend([x.count as u32, x_first, strides[0]]);
                parameters.extend([y_first, strides[1], flags]);
                [groups as u32, x.count.div_ceil(tokens_a_group) as u32, 1]
            };
            let buffers = [
                &part.buffer,
                &x.rows.buffer,
                bias.unwrap_or(&self.device.nothing),
                &y.rows.buffer,
            ];
            self.dispatch(&kernel, &buffers, &parameters, groups);
        }
        Ok(())
    }

    /// Normalises each of `per_token` parts of a token.
    pub(crate) fn norm(
        &mut self,
        norm: &NormWeights,
        x: &Rows,
        y: &Rows,
        (tokens, per_token): (usize, usize),
        put: Put,
    ) -> Result<(), EngineError> {
        let shader = Shader::Norm {
            subgroups: self.device.powers.subgroups,
        };
        let kernel = self.device.kernel(shader, &self.lanes())?;
        let flags = u32::from(norm.layer)
            + if norm.bias.is_some() { 2 } else { 0 }
            + if put == Put::Add { 4 } else { 0 };
        let parameters = [
            (tokens * per_token) as u32,
            (x.width / per_token) as u32,
            per_token as u32,
            x.stride as u32,
            y.stride as u32,
            norm.epsilon.to_bits(),
            flags,
        ];
        let bias = norm.bias.as_ref().unwrap_or(&self.device.nothing);
        let buffers = [&x.buffer, &norm.weight, bias, &y.buffer];
        self.dispatch(&kernel, &buffers, &parameters, spread(tokens * per_token));
        Ok(())
    }

    /// Stores `tokens` of `x`, heads of `dim`, into `out` from value `first` on, `stride` apart, the
    /// first `rotated` dimensions of each head turned by `angles`.
    pub(crate) fn rope(
        &mut self,
        x: &Rows,
        tokens: usize,
        dim: usize,
        turn: Turn<'_>,
        out: Stored<'_>,
    ) -> Result<(), EngineError> {
        let kernel = self.device.kernel(Shader::Rope { half: out.half }, &[])?;
        let parameters = [
            tokens,
            x.width,
            dim,
            turn.rotated,
            usize::from(turn.halves),
            x.stride,
            out.stride,
            out.first,
        ]
        .map(|value| value as u32);
        let buffers = [&x.buffer, turn.angles, out.buffer];
        let threads = tokens * x.width / 2;
        self.dispatch(
            &kernel,
            &buffers,
            &parameters,
            spread(threads.div_ceil(THREADS)),
        );
        Ok(())
    }

    /// Causal attention of `tokens` queries at positions from `start` on over `cache`, which holds
    /// theirs too. `partial` is for [`partial_rows`](Self::partial_values) values.
    pub(crate) fn attend(
        &mut self,
        queries: &Rows,
        cache: &Cache<'_>,
        heads: Heads,
        scores: Scores,
        (start, tokens): (usize, usize),
        (out, partial): (&Rows, &wgpu::Buffer),
    ) -> Result<(), EngineError> {
        let group = heads.count / heads.kv;
        let fours = heads.dim / 4;
        let window = scores.window.unwrap_or(usize::MAX).min(u32::MAX as usize);
        let seen = (start + tokens).min(window.saturating_add(tokens - 1));
        // One token gives a workgroup a head little to do; parts of its positions are more.
        let span = match tokens {
            1 => seen.div_ceil(MOST_PARTS).max(LEAST_SPAN),
            _ => seen,
        };
        let parts = seen.div_ceil(span);
        let [rows, keys] = self.attention_tile(fours, tokens * group)?;
        let constants = [
            ("DIM", fours as u32),
            ("ROWS", rows),
            ("KEYS", keys),
            ("LANES", 64),
        ];
        let kernel = self
            .device
            .kernel(Shader::Attention { half: cache.half }, &constants)?;
        let parameters = [
            start as u32,
            tokens as u32,
            span as u32,
            parts as u32,
            group as u32,
            heads.kv as u32,
            (queries.stride / 4) as u32,
            (out.stride / 4) as u32,
            window as u32,
            scores.scale.to_bits(),
            scores.cap.to_bits(),
        ];
        let to = if parts == 1 { &out.buffer } else { partial };
        let buffers = [&queries.buffer, cache.keys, cache.values, to];
        let tiles = (tokens * group).div_ceil(rows as usize) as u32;
        let groups = [tiles, heads.kv as u32, parts as u32];
        self.dispatch(&kernel, &buffers, &parameters, groups);
        if parts > 1 {
            let kernel = self
                .device
                .kernel(Shader::Merge, &[("DIM", fours as u32)])?;
            let parameters = [heads.count, parts, out.stride / 4].map(|value| value as u32);
            let groups = [heads.count as u32, tokens as u32, 1];
            self.dispatch(&kernel, &[partial, &out.buffer], &parameters, groups);
        }
        Ok(())
    }

    /// Rows and positions of an attention tile that workgroup memory has room for.
    fn attention_tile(&self, fours: usize, rows: usize) -> Result<[u32; 2], EngineError> {
        let bytes = |rows: usize, keys: usize| {
            16 * (2 * rows * fours + keys * (fours + 1) + rows) + 4 * rows * keys
        };
        let most = self.device.powers.workgroup_bytes as usize;
        let rows = rows.next_power_of_two().min(16);
        [
            (rows, 64),
            (rows, 32),
            (rows, 16),
            (rows.min(8), 16),
            (rows.min(4), 8),
            (1, 4),
        ]
        .into_iter()
        .find(|&(rows, keys)| bytes(rows, keys) <= most)
        .map(|(rows, keys)| [rows as u32, keys as u32])
        .ok_or_else(|| {
            crate::fault::unsupported(format!(
                "heads of {} dimensions do not fit the {most} bytes of workgroup memory of {}",
                4 * fours,
                self.device.name
            ))
        })
    }

    /// Rows of `table` by the tokens' ids, times `scale`; or by their positions from `start` on,
    /// added.
    pub(crate) fn embed(
        &mut self,
        table: &Matrix,
        ids: &wgpu::Buffer,
        (start, tokens): (Option<usize>, usize),
        scale: f32,
        out: &Rows,
    ) -> Result<(), EngineError> {
        let shader = Shader::Embed {
            weights: table.weights,
        };
        let kernel = self.device.kernel(shader, &[])?;
        for part in &table.parts {
            let parameters = [
                tokens as u32,
                part.rows as u32,
                part.first_row as u32,
                table.row_halves as u32,
                table.chunks() as u32,
                (out.stride / 4) as u32,
                start.unwrap_or(0) as u32,
                u32::from(start.is_some()),
                scale.to_bits(),
            ];
            let groups = spread((tokens * table.chunks()).div_ceil(THREADS));
            self.dispatch(
                &kernel,
                &[&part.buffer, ids, &out.buffer],
                &parameters,
                groups,
            );
        }
        Ok(())
    }

    /// `out = act(gate) · up`, or `act(up)`.
    pub(crate) fn activate(
        &mut self,
        gate: Option<&Rows>,
        up: &Rows,
        gelu: bool,
        tokens: usize,
        out: &Rows,
    ) -> Result<(), EngineError> {
        let kernel = self.device.kernel(Shader::Glu, &[])?;
        let fours = tokens * up.stride / 4;
        let flags = u32::from(gate.is_some()) + if gelu { 2 } else { 0 };
        let gate = gate.map_or(&up.buffer, |gate| &gate.buffer);
        let groups = spread(fours.div_ceil(THREADS));
        self.dispatch(
            &kernel,
            &[gate, &up.buffer, &out.buffer],
            &[fours as u32, flags],
            groups,
        );
        Ok(())
    }

    /// Softmax of each row of `x`, `[rows, width]` without gaps.
    pub(crate) fn softmax(
        &mut self,
        x: &wgpu::Buffer,
        y: &wgpu::Buffer,
        (rows, width): (usize, usize),
    ) -> Result<(), EngineError> {
        let shader = Shader::Softmax {
            subgroups: self.device.powers.subgroups,
        };
        let kernel = self.device.kernel(shader, &self.lanes())?;
        self.dispatch(&kernel, &[x, y], &[rows as u32, width as u32], spread(rows));
        Ok(())
    }

    /// Indices of the `count` largest values of each row of `x`, `[rows, width]` without gaps.
    pub(crate) fn top(
        &mut self,
        x: &wgpu::Buffer,
        indices: &wgpu::Buffer,
        (rows, width): (usize, usize),
        count: usize,
    ) -> Result<(), EngineError> {
        let kernel = self.device.kernel(Shader::Top, &self.lanes())?;
        let parameters = [rows, width, count].map(|value| value as u32);
        self.dispatch(&kernel, &[x, indices], &parameters, [rows as u32, 1, 1]);
        Ok(())
    }
}

/// Rotation of heads.
#[derive(Clone, Copy)]
pub(crate) struct Turn<'a> {
    /// Leading dimensions that rotate; none only stores.
    pub(crate) rotated: usize,
    /// Pairs are `i` and `i + rotated / 2`, else neighbours.
    pub(crate) halves: bool,
    /// Cosines and sines, `[tokens, rotated / 2, 2]`.
    pub(crate) angles: &'a wgpu::Buffer,
}

/// Where rows go.
#[derive(Clone, Copy)]
pub(crate) struct Stored<'a> {
    pub(crate) buffer: &'a wgpu::Buffer,
    /// First value, and the distance of rows.
    pub(crate) first: usize,
    pub(crate) stride: usize,
    /// As f16, else f32.
    pub(crate) half: bool,
}

/// Values that the parts of one token's attention need.
pub(crate) fn partial_values(heads: Heads) -> usize {
    heads.count * MOST_PARTS * (heads.dim + 4)
}

/// Workgroups in two dimensions, where one does not hold them.
pub(crate) fn spread(groups: usize) -> [u32; 3] {
    let across = groups.clamp(1, MOST_GROUPS);
    [across as u32, groups.div_ceil(across).max(1) as u32, 1]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn workgroups_suffice_and_fit(groups in 0usize..1 << 31) {
            let [across, down, deep] = spread(groups);
            prop_assert!(across as usize <= MOST_GROUPS && down as usize <= MOST_GROUPS);
            let dispatched = across as usize * down as usize * deep as usize;
            prop_assert!(dispatched >= groups && dispatched < groups + across as usize + 1);
        }
    }
}
