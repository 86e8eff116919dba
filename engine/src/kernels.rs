//! The operations that an engine computes with, one at a time.

use crate::{EngineError, NumberFormat};

/// One operation of a transformer and its operands, all row-major.
#[derive(Clone, Copy, Debug)]
pub enum KernelCall<'a> {
    /// `y[t] = W · x[t]`, `[tokens, rows]`: one token is a matrix-vector product.
    Product {
        /// How `weights` are stored: f32, f16, or a block format in GGML's layout.
        format: NumberFormat,
        /// `[rows, columns]`.
        weights: &'a [u8],
        /// Outputs.
        rows: usize,
        /// Inputs.
        columns: usize,
        /// `[tokens, columns]`.
        x: &'a [f32],
        /// What the kernel may round operands to before it multiplies; it sums in f32.
        operands: NumberFormat,
    },
    /// Causal grouped-query attention of the queries at positions `start …`, `[tokens, heads, dim]`:
    /// softmax of `scale · q · k` over all positions up to the query's own, times values.
    Attention {
        /// Query heads; each `heads / kv_heads` in a row share keys and values.
        heads: usize,
        /// Key/value heads.
        kv_heads: usize,
        /// Dimensions of a head.
        dim: usize,
        /// Position of the first query.
        start: usize,
        /// Factor of the scores.
        scale: f32,
        /// `[tokens, heads, dim]`.
        queries: &'a [f32],
        /// `[start + tokens, kv_heads, dim]`.
        keys: &'a [f32],
        /// `[start + tokens, kv_heads, dim]`.
        values: &'a [f32],
        /// How keys and values are kept: f32 or f16.
        kv: NumberFormat,
    },
    /// `x / sqrt(mean(x²) + epsilon) · weight` of each row.
    RmsNorm {
        /// Added to the mean of squares.
        epsilon: f32,
        /// `[width]`.
        weight: &'a [f32],
        /// `[tokens, width]`.
        x: &'a [f32],
    },
    /// Each head's halves rotated, `(a, b) → (a·cos − b·sin, a·sin + b·cos)` with pairs `i` and
    /// `i + dim / 2`.
    Rope {
        /// Dimensions of a head.
        dim: usize,
        /// `[tokens, heads, dim]`.
        x: &'a [f32],
        /// `[tokens, dim / 2]`.
        cos: &'a [f32],
        /// `[tokens, dim / 2]`.
        sin: &'a [f32],
    },
    /// `gate · σ(gate) · up`.
    Swiglu {
        /// Any length.
        gate: &'a [f32],
        /// As long.
        up: &'a [f32],
    },
    /// `exp(x − max) / Σ exp(x − max)` of each row.
    Softmax {
        /// Length of a row.
        width: usize,
        /// `[rows, width]`.
        x: &'a [f32],
    },
    /// Indices, as floats, of each row's largest values, largest first and the lower of equals
    /// first, `[rows, count]`.
    Top {
        /// How many.
        count: usize,
        /// Length of a row.
        width: usize,
        /// `[rows, width]`.
        x: &'a [f32],
    },
}

/// Kernels of engines with [`Capability::Kernels`](crate::Capability::Kernels).
pub trait Kernels {
    /// Brings the operands of `call` to where the kernel reads them.
    ///
    /// # Errors
    /// [`FailureKind::Unsupported`](crate::FailureKind::Unsupported) when no kernel computes it,
    /// [`FailureKind::InvalidInput`](crate::FailureKind::InvalidInput) when lengths do not fit.
    fn prepare(&self, call: &KernelCall<'_>) -> Result<Box<dyn PreparedKernel + '_>, EngineError>;

    /// Kernels that show the most that the device can do; the default has none.
    ///
    /// # Errors
    /// Those of the device.
    fn roofs(&self) -> Result<Vec<Roof<'_>>, EngineError> {
        Ok(Vec::new())
    }
}

/// A kernel that does one thing and nothing else, as fast as the device can: a roof over what any
/// kernel can reach (Williams, Waterman and Patterson, *Roofline*, 2009).
pub struct Roof<'a> {
    /// What it does, e.g. `multiply_add.f32`.
    pub name: String,
    /// Operands of its products. A kernel that may round its operands to these can get as far.
    pub operands: NumberFormat,
    /// Multiplications and additions of a run.
    pub flop: f64,
    /// Bytes that a run reads and writes.
    pub bytes: f64,
    /// Every value of its result, which no kernel has that leaves out some of the work.
    pub expected: f32,
    /// The kernel.
    pub kernel: Box<dyn PreparedKernel + 'a>,
}

/// A kernel and its operands.
pub trait PreparedKernel {
    /// Computes, and hands over the result.
    ///
    /// # Errors
    /// Those of the device.
    fn run(&mut self) -> Result<Vec<f32>, EngineError>;

    /// Computes `runs` times, one after the other, and drops the results.
    ///
    /// # Errors
    /// Those of the device.
    fn time(&mut self, runs: u32) -> Result<KernelTime, EngineError>;
}

/// How long runs of a kernel took.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct KernelTime {
    /// All runs together.
    pub total_ns: f64,
    /// By the device's clock, around the kernels alone; else by the host's, around the call.
    pub by_device: bool,
}
