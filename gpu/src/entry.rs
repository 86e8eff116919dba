//! Single kernels, for the suite `kernels`.

use std::time::Instant;

use engine::{EngineError, KernelCall, KernelTime, Kernels, NumberFormat, PreparedKernel, Roof};

use crate::device::Device;
use crate::fault;
use crate::ops::{
    Cache, Heads, NormWeights, ProductStyle, Put, Scores, Stored, Tokens, Turn, partial_values,
};
use crate::record::{Recorder, Workspace};
use crate::shader::Weights;
use crate::tensor::{Matrix, Rows};

impl Kernels for Device {
    fn prepare(&self, call: &KernelCall<'_>) -> Result<Box<dyn PreparedKernel + '_>, EngineError> {
        let prepared = match *call {
            KernelCall::Product {
                format,
                weights,
                rows,
                columns,
                x,
                operands,
            } => {
                let matrix = self.matrix(format, weights, (rows, columns))?;
                self.product(matrix, x, operands)
            }
            KernelCall::Attention { .. } => self.attention(call),
            KernelCall::RmsNorm { epsilon, weight, x } => self.rms_norm(epsilon, weight, x),
            KernelCall::Rope { dim, x, cos, sin } => self.rope(dim, x, cos, sin),
            KernelCall::Swiglu { gate, up } => self.swiglu(gate, up),
            KernelCall::Softmax { width, x } => {
                let rows = whole_rows(x.len(), width)?;
                let input = self.upload("x", bytemuck::cast_slice(x))?;
                let out = Rows::new(self, "y", 1, x.len())?;
                self.prepared(out, 1, move |recorder, out| {
                    recorder.softmax(&input, &out.buffer, (rows, width))
                })
            }
            KernelCall::Top { count, width, x } => self.top(count, width, x),
        };
        Ok(Box::new(prepared?))
    }

    fn roofs(&self) -> Result<Vec<Roof<'_>>, EngineError> {
        self.measure_roofs()
    }
}

impl Device {
    /// A kernel that `record` tells how to run; its result is the first `rows` of `out`.
    pub(crate) fn prepared<'a>(
        &'a self,
        out: Rows,
        rows: usize,
        record: impl Fn(&mut Recorder<'_>, &Rows) -> Result<(), EngineError> + 'a,
    ) -> Result<Prepared<'a>, EngineError> {
        let clock = self.powers.tick_ns.map(|_| {
            self.wgpu.create_query_set(&wgpu::QuerySetDescriptor {
                label: Some("clock"),
                ty: wgpu::QueryType::Timestamp,
                count: 2,
            })
        });
        Ok(Prepared {
            device: self,
            workspace: Workspace::default(),
            record: Box::new(record),
            out,
            rows,
            indices: false,
            clock,
        })
    }

    fn matrix(
        &self,
        format: NumberFormat,
        bytes: &[u8],
        (rows, columns): (usize, usize),
    ) -> Result<Matrix, EngineError> {
        let weights = Weights::ALL
            .into_iter()
            .find(|weights| weights.name() == format.name())
            .ok_or_else(|| fault::unsupported(format!("no kernel reads {format}")))?;
        let fits = columns.is_multiple_of(weights.block())
            && bytes.len() == rows * columns / weights.block() * weights.block_bytes();
        if !fits || rows == 0 || columns == 0 {
            return Err(EngineError::invalid(format!(
                "{} bytes are no {rows} rows of {columns} numbers in {format}",
                bytes.len()
            )));
        }
        Matrix::upload(self, "weights", weights, (rows, columns), bytes)
    }

    fn product(
        &self,
        matrix: Matrix,
        x: &[f32],
        operands: NumberFormat,
    ) -> Result<Prepared<'_>, EngineError> {
        let count = whole_rows(x.len(), matrix.columns)?;
        let input = Rows::holding(self, "x", x, matrix.columns)?;
        let out = Rows::new(self, "y", count, matrix.rows)?;
        let style = ProductStyle {
            half: operands == NumberFormat::F16,
            choice: None,
        };
        self.tune(matrix.weights, style.half)?;
        self.prepared(out, count, move |recorder, out| {
            let (x, y) = (Tokens::first(&input, count), Tokens::first(out, count));
            recorder.product(&matrix, x, None, y, Put::Store, style)
        })
    }

    fn attention(&self, call: &KernelCall<'_>) -> Result<Prepared<'_>, EngineError> {
        let &KernelCall::Attention {
            heads,
            kv_heads,
            dim,
            start,
            scale,
            queries,
            keys,
            values,
            kv,
        } = call
        else {
            return Err(EngineError::invalid("no call of attention"));
        };
        if dim % 4 != 0 || kv_heads == 0 || heads % kv_heads != 0 {
            return Err(fault::unsupported(format!(
                "{heads} heads over {kv_heads} of {dim} dimensions"
            )));
        }
        let heads = Heads {
            count: heads,
            kv: kv_heads,
            dim,
        };
        let tokens = whole_rows(queries.len(), heads.count * dim)?;
        if keys.len() != (start + tokens) * kv_heads * dim || values.len() != keys.len() {
            return Err(EngineError::invalid("keys and values of other lengths"));
        }
        let half = match kv {
            NumberFormat::F32 => false,
            NumberFormat::F16 => true,
            other => {
                return Err(fault::unsupported(format!(
                    "no kernel keeps keys in {other}"
                )));
            }
        };
        let cached = |values: &[f32]| match half {
            false => self.upload("cache", bytemuck::cast_slice(values)),
            true => {
                let values: Vec<u16> = values
                    .iter()
                    .map(|&value| half::f16::from_f32(value).to_bits())
                    .collect();
                self.upload("cache", bytemuck::cast_slice(&values))
            }
        };
        let (keys, values) = (cached(keys)?, cached(values)?);
        let input = Rows::holding(self, "queries", queries, heads.count * dim)?;
        let out = Rows::new(self, "mix", tokens, heads.count * dim)?;
        let partial = self.storage("parts", 4 * partial_values(heads) as u64)?;
        let scores = Scores {
            scale,
            cap: 0.0,
            window: None,
        };
        self.prepared(out, tokens, move |recorder, out| {
            let cache = Cache {
                keys: &keys,
                values: &values,
                half,
            };
            recorder.attend(
                &input,
                &cache,
                heads,
                scores,
                (start, tokens),
                (out, &partial),
            )
        })
    }

    fn rms_norm(
        &self,
        epsilon: f32,
        weight: &[f32],
        x: &[f32],
    ) -> Result<Prepared<'_>, EngineError> {
        let tokens = whole_rows(x.len(), weight.len())?;
        let input = Rows::holding(self, "x", x, weight.len())?;
        let out = Rows::new(self, "y", tokens, weight.len())?;
        let norm = NormWeights {
            weight: self.upload("weight", bytemuck::cast_slice(weight))?,
            bias: None,
            layer: false,
            epsilon,
        };
        self.prepared(out, tokens, move |recorder, out| {
            recorder.norm(&norm, &input, out, (tokens, 1), Put::Store)
        })
    }

    fn rope(
        &self,
        dim: usize,
        x: &[f32],
        cos: &[f32],
        sin: &[f32],
    ) -> Result<Prepared<'_>, EngineError> {
        let tokens = whole_rows(cos.len(), dim / 2)?;
        let width = x.len() / tokens;
        let whole = width.is_multiple_of(dim) && width.is_multiple_of(4);
        if sin.len() != cos.len() || width * tokens != x.len() || !whole {
            return Err(EngineError::invalid("heads and angles do not fit"));
        }
        let angles: Vec<[f32; 2]> = cos.iter().zip(sin).map(|(&cos, &sin)| [cos, sin]).collect();
        let angles = self.upload("angles", bytemuck::cast_slice(&angles))?;
        let input = Rows::holding(self, "x", x, width)?;
        let out = Rows::new(self, "y", tokens, width)?;
        self.prepared(out, tokens, move |recorder, out| {
            let turn = Turn {
                rotated: dim,
                halves: true,
                angles: &angles,
            };
            let to = Stored {
                buffer: &out.buffer,
                first: 0,
                stride: out.stride,
                half: false,
            };
            recorder.rope(&input, tokens, dim, turn, to)
        })
    }

    fn swiglu(&self, gate: &[f32], up: &[f32]) -> Result<Prepared<'_>, EngineError> {
        if gate.len() != up.len() || up.is_empty() {
            return Err(EngineError::invalid("gate and up of other lengths"));
        }
        let gate = Rows::holding(self, "gate", gate, up.len())?;
        let up = Rows::holding(self, "up", up, up.len())?;
        let out = Rows::new(self, "inner", 1, up.width)?;
        self.prepared(out, 1, move |recorder, out| {
            recorder.activate(Some(&gate), &up, false, 1, out)
        })
    }

    fn top(&self, count: usize, width: usize, x: &[f32]) -> Result<Prepared<'_>, EngineError> {
        let rows = whole_rows(x.len(), width)?;
        if count == 0 || count > width {
            return Err(EngineError::invalid(format!("{count} of {width} values")));
        }
        let input = self.upload("x", bytemuck::cast_slice(x))?;
        let out = Rows::new(self, "indices", 1, rows * count)?;
        let prepared = self.prepared(out, 1, move |recorder, out| {
            recorder.top(&input, &out.buffer, (rows, width), count)
        });
        Ok(Prepared {
            indices: true,
            ..prepared?
        })
    }
}

fn whole_rows(len: usize, width: usize) -> Result<usize, EngineError> {
    match len.checked_div(width) {
        Some(rows) if rows > 0 && rows * width == len => Ok(rows),
        _ => Err(EngineError::invalid(format!(
            "{len} values are no whole rows of {width}"
        ))),
    }
}

type Record<'a> = Box<dyn Fn(&mut Recorder<'_>, &Rows) -> Result<(), EngineError> + 'a>;

/// A kernel whose operands are on the device.
pub(crate) struct Prepared<'a> {
    device: &'a Device,
    workspace: Workspace,
    record: Record<'a>,
    out: Rows,
    /// Rows of `out` that hold the result.
    rows: usize,
    /// The result is indices.
    indices: bool,
    clock: Option<wgpu::QuerySet>,
}

impl PreparedKernel for Prepared<'_> {
    fn run(&mut self) -> Result<Vec<f32>, EngineError> {
        let mut recorder = Recorder::new(self.device, &mut self.workspace);
        (self.record)(&mut recorder, &self.out)?;
        let Rows { width, stride, .. } = self.out;
        let mut padded = vec![0f32; self.rows * stride];
        recorder.finish_and_read(&self.out.buffer, 0, &mut padded)?;
        let values = padded.chunks(stride).flat_map(|row| &row[..width]);
        Ok(match self.indices {
            false => values.copied().collect(),
            true => values.map(|value| value.to_bits() as f32).collect(),
        })
    }

    fn time(&mut self, runs: u32) -> Result<KernelTime, EngineError> {
        let start = Instant::now();
        let mut recorder = Recorder::timed(self.device, &mut self.workspace, self.clock.as_ref());
        for _ in 0..runs {
            (self.record)(&mut recorder, &self.out)?;
        }
        let (Some(clock), Some(tick_ns)) = (&self.clock, self.device.powers.tick_ns) else {
            recorder.finish()?;
            return Ok(KernelTime {
                total_ns: start.elapsed().as_nanos() as f64,
                by_device: false,
            });
        };
        use wgpu::BufferUsages as U;
        let resolved = self
            .device
            .buffer("clock", 16, U::QUERY_RESOLVE | U::COPY_SRC)?;
        let staging = self.device.buffer("clock", 16, U::MAP_READ | U::COPY_DST)?;
        let [before, behind] = recorder.finish_with_clock(clock, &resolved, &staging)?;
        Ok(KernelTime {
            total_ns: behind.saturating_sub(before) as f64 * tick_ns,
            by_device: true,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::adapter::Backend;
    use crate::device::Opening;
    use crate::tuning::{Choice, LANES, Many, TILES};

    fn device() -> Option<Device> {
        let backend = Backend::ALL.into_iter().find(|backend| backend.is_here())?;
        match Device::open(backend, &Opening::default()) {
            Ok(device) => Some(device),
            Err(error) => {
                let needed = std::env::var_os("HARNESS_NEEDS_GPU").is_some();
                assert!(!needed, "{error}");
                eprintln!("skipped: {error}");
                None
            }
        }
    }

    /// Whole numbers, so that any order of sums gives the same bits.
    fn product(device: &Device, tokens: usize) -> Vec<f32> {
        let whole = |count: usize, modulus: usize| -> Vec<f32> {
            (0..count).map(|i| (i * 7 % modulus) as f32).collect()
        };
        let (rows, columns) = (37, 12);
        let (weights, x) = (whole(rows * columns, 11), whole(tokens * columns, 5));
        let call = KernelCall::Product {
            format: NumberFormat::F32,
            weights: bytemuck::cast_slice(&weights),
            rows,
            columns,
            x: &x,
            operands: NumberFormat::F32,
        };
        device.prepare(&call).unwrap().run().unwrap()
    }

    #[test]
    fn a_matrix_in_parts_gives_the_same_product() {
        let Some(mut device) = device() else { return };
        // Bindings of 26 rows of twelve f32: the matrix has two parts, five tokens' outputs fit.
        let whole = [1, 5].map(|tokens| product(&device, tokens));
        device.powers.binding_bytes = 26 * 12 * 4;
        let bytes = [0; 37 * 12 * 4];
        let matrix = Matrix::upload(&device, "m", Weights::F32, (37, 12), &bytes).unwrap();
        assert_eq!(matrix.parts.len(), 2);
        assert_eq!([1, 5].map(|tokens| product(&device, tokens)), whole);
    }

    #[test]
    fn every_choice_gives_the_same_product() {
        let Some(device) = device() else { return };
        let whole = [1, 70].map(|tokens| product(&device, tokens));
        let lanes = LANES.map(|lanes| (lanes, Many::Cooperative));
        let tiles = TILES.map(|tile| (LANES[0], Many::Tile(tile)));
        for (lanes, many) in lanes.into_iter().chain(tiles) {
            device
                .tuning
                .set(Weights::F32, false, Choice { lanes, many });
            let again = [1, 70].map(|tokens| product(&device, tokens));
            assert!(again == whole, "{lanes} {many:?}");
        }
    }

    #[test]
    fn roofs_do_their_work() {
        let Some(device) = device() else { return };
        let roofs = device.roofs().unwrap();
        assert!(roofs.iter().any(|roof| roof.flop > 0.0));
        assert!(roofs.iter().any(|roof| roof.bytes > 0.0));
        for mut roof in roofs {
            let values = roof.kernel.run().unwrap();
            assert!(
                values.iter().all(|&value| value == roof.expected),
                "{}: {} instead of {}",
                roof.name,
                values[0],
                roof.expected
            );
        }
    }

    #[test]
    fn what_does_not_fit_is_out_of_memory() {
        let Some(device) = device() else { return };
        let error = device.storage("a cache", u64::MAX / 2).unwrap_err();
        assert_eq!(error.kind(), engine::FailureKind::OutOfMemory, "{error}");
        assert!(error.to_string().contains("a cache needs"), "{error}");
    }

    #[test]
    fn a_lost_device_is_told_and_stays_lost() {
        let Some(device) = device() else { return };
        device.faults.lose("a test");
        for _ in 0..2 {
            let error = device.wait().unwrap_err();
            assert_eq!(error.kind(), engine::FailureKind::Device, "{error}");
        }
    }
}
