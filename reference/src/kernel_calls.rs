//! The kernels behind the seam's calls, for the suite `kernels`.

use std::time::Instant;

use bytes::Bytes;
use engine::{
    EngineError, FailureKind, KernelCall, KernelTime, Kernels, NumberFormat, PreparedKernel,
};
use half::f16;
use half::slice::HalfFloatSliceExt;

use crate::fast::entry::{self, Head, KernelError, Matrix};
use crate::hyperparameters::{Activation, NormKind, Pairing};
use crate::quant;

impl Kernels for entry::Kernels {
    fn prepare(&self, call: &KernelCall<'_>) -> Result<Box<dyn PreparedKernel + '_>, EngineError> {
        let kernels = *self;
        Ok(match *call {
            KernelCall::Product {
                format,
                weights,
                rows,
                columns,
                x,
                ..
            } => {
                let ggml_type = quant::ggml_type(format)
                    .ok_or_else(|| unsupported(&format!("no kernel reads {format}")))?;
                let bytes = Bytes::copy_from_slice(weights);
                let matrix = Matrix::new(ggml_type, rows, columns, bytes).map_err(refused)?;
                let x = x.to_vec();
                let len = x.len() / columns * rows;
                ready(len, move |out| kernels.product(&matrix, &x, out))
            }
            KernelCall::Attention { .. } => Attention::new(call)?.ready(kernels),
            KernelCall::RmsNorm { epsilon, weight, x } => {
                let (weight, x) = (weight.to_vec(), x.to_vec());
                ready(x.len(), move |out| {
                    out.copy_from_slice(&x);
                    kernels.norm(NormKind::Rms { epsilon }, &weight, None, out)
                })
            }
            KernelCall::Rope { dim, x, cos, sin } => {
                let (x, cos, sin) = (x.to_vec(), cos.to_vec(), sin.to_vec());
                let tokens = 2 * cos.len() / dim;
                ready(x.len(), move |out| {
                    by_head(&x, tokens, dim, out, |_, head| {
                        kernels.rotate(Pairing::Halves, head, dim, &cos, &sin)
                    })
                })
            }
            KernelCall::Swiglu { gate, up } => {
                let (gate, up) = (gate.to_vec(), up.to_vec());
                ready(up.len(), move |out| {
                    out.copy_from_slice(&up);
                    kernels.activate(Activation::Silu, Some(&gate), out)
                })
            }
            KernelCall::Softmax { .. } | KernelCall::Top { .. } => {
                return Err(unsupported(
                    "softmax is part of attention here, and top of sampling",
                ));
            }
        })
    }
}

/// Operands of attention as the kernels take them.
struct Attention {
    format: NumberFormat,
    heads: usize,
    kv_heads: usize,
    dim: usize,
    start: usize,
    scale: f32,
    queries: Vec<f32>,
    keys: Vec<u8>,
    values: Vec<u8>,
}

impl Attention {
    fn new(call: &KernelCall<'_>) -> Result<Self, EngineError> {
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
            return Err(unsupported("no attention"));
        };
        let stored = |values: &[f32]| match kv {
            NumberFormat::F16 => {
                let mut halves = vec![f16::ZERO; values.len()];
                halves.convert_from_f32_slice(values);
                bytemuck::cast_slice(&halves).to_vec()
            }
            _ => bytemuck::cast_slice(values).to_vec(),
        };
        Ok(Self {
            format: kv,
            heads,
            kv_heads,
            dim,
            start,
            scale,
            queries: queries.to_vec(),
            keys: stored(keys),
            values: stored(values),
        })
    }

    fn ready<'a>(self, kernels: entry::Kernels) -> Box<dyn PreparedKernel + 'a> {
        let tokens = self.queries.len() / (self.heads * self.dim);
        ready(self.queries.len(), move |out| {
            by_head(&self.queries, tokens, self.dim, out, |head, queries| {
                let kv = Head {
                    format: self.format,
                    keys: &self.keys,
                    values: &self.values,
                    width: self.kv_heads * self.dim,
                    column: head * self.kv_heads / self.heads * self.dim,
                    dim: self.dim,
                    scale: self.scale,
                    softcap: None,
                    window: None,
                };
                let asked = queries.to_vec();
                kernels.attend(&kv, self.start, &asked, queries)
            })
        })
    }
}

/// Has `each` change every head of `x`, `[tokens, heads, dim]`, as `[tokens, dim]`, into `out`.
fn by_head(
    x: &[f32],
    tokens: usize,
    dim: usize,
    out: &mut [f32],
    mut each: impl FnMut(usize, &mut [f32]) -> Result<(), KernelError>,
) -> Result<(), KernelError> {
    let width = x.len() / tokens;
    let mut rows = vec![0f32; tokens * dim];
    for head in 0..width / dim {
        let at = |token: usize| token * width + head * dim..token * width + (head + 1) * dim;
        for (token, row) in rows.chunks_exact_mut(dim).enumerate() {
            row.copy_from_slice(&x[at(token)]);
        }
        each(head, &mut rows)?;
        for (token, row) in rows.chunks_exact(dim).enumerate() {
            out[at(token)].copy_from_slice(row);
        }
    }
    Ok(())
}

/// A kernel that fills `len` values.
fn ready<'a>(
    len: usize,
    compute: impl Fn(&mut [f32]) -> Result<(), KernelError> + 'a,
) -> Box<dyn PreparedKernel + 'a> {
    Box::new(Ready {
        out: vec![0.0; len],
        compute,
    })
}

struct Ready<F> {
    out: Vec<f32>,
    compute: F,
}

impl<F: Fn(&mut [f32]) -> Result<(), KernelError>> PreparedKernel for Ready<F> {
    fn run(&mut self) -> Result<Vec<f32>, EngineError> {
        (self.compute)(&mut self.out).map_err(refused)?;
        Ok(self.out.clone())
    }

    fn time(&mut self, runs: u32) -> Result<KernelTime, EngineError> {
        let start = Instant::now();
        for _ in 0..runs {
            (self.compute)(std::hint::black_box(&mut self.out)).map_err(refused)?;
        }
        Ok(KernelTime {
            total_ns: start.elapsed().as_nanos() as f64,
            by_device: false,
        })
    }
}

fn refused(error: KernelError) -> EngineError {
    let kind = match error {
        KernelError::Shape(_) => FailureKind::Unsupported,
        _ => FailureKind::InvalidInput,
    };
    EngineError::new(kind, error.to_string())
}

fn unsupported(why: &str) -> EngineError {
    EngineError::new(FailureKind::Unsupported, why)
}
