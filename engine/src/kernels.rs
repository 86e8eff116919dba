//! The operations that an engine computes with, one at a time.

use crate::{EngineError, NumberFormat};

/// One operation of a transformer and its operands, all row-major.
///
/// What a suite computes by itself to hold a kernel against:
///
/// ```
/// use harness_engine::KernelCall;
///
/// fn expected(call: &KernelCall<'_>) -> Option<Vec<f64>> {
///     match *call {
///         KernelCall::RmsNorm { epsilon, weight, x } => Some(
///             x.chunks(weight.len())
///                 .flat_map(|row| {
///                     let square: f64 = row.iter().map(|&x| f64::from(x).powi(2)).sum();
///                     let scale = (square / row.len() as f64 + f64::from(epsilon)).sqrt().recip();
///                     row.iter().zip(weight).map(move |(&x, &w)| f64::from(x) * scale * f64::from(w))
///                 })
///                 .collect(),
///         ),
///         _ => None,
///     }
/// }
///
/// let call = KernelCall::RmsNorm { epsilon: 0.0, weight: &[1.0, 2.0], x: &[3.0, 3.0] };
/// assert_eq!(expected(&call), Some(vec![1.0, 2.0]));
/// ```
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
///
/// ```
/// use harness_engine::{EngineError, FailureKind, KernelCall, KernelTime, Kernels, PreparedKernel};
/// use std::time::Instant;
///
/// struct Cpu;
///
/// /// `gate · σ(gate) · up`, from copies of its operands.
/// struct Swiglu(Vec<(f32, f32)>);
///
/// impl Kernels for Cpu {
///     fn prepare(&self, call: &KernelCall<'_>) -> Result<Box<dyn PreparedKernel + '_>, EngineError> {
///         let KernelCall::Swiglu { gate, up } = *call else {
///             return Err(EngineError::new(FailureKind::Unsupported, "only SwiGLU"));
///         };
///         if gate.len() != up.len() {
///             return Err(EngineError::invalid("gate and up differ in length"));
///         }
///         Ok(Box::new(Swiglu(gate.iter().copied().zip(up.iter().copied()).collect())))
///     }
/// }
///
/// impl PreparedKernel for Swiglu {
///     fn run(&mut self) -> Result<Vec<f32>, EngineError> {
///         Ok(self.0.iter().map(|(gate, up)| gate / (1.0 + (-gate).exp()) * up).collect())
///     }
///
///     fn time(&mut self, runs: u32) -> Result<KernelTime, EngineError> {
///         let start = Instant::now();
///         for _ in 0..runs {
///             std::hint::black_box(self.run()?);
///         }
///         Ok(KernelTime { total_ns: start.elapsed().as_nanos() as f64, by_device: false })
///     }
/// }
///
/// let call = KernelCall::Swiglu { gate: &[0.0, 100.0], up: &[5.0, 5.0] };
/// assert_eq!(Cpu.prepare(&call)?.run()?, [0.0, 500.0]);
/// let softmax = KernelCall::Softmax { width: 1, x: &[0.0] };
/// assert!(Cpu.prepare(&softmax).is_err_and(|error| error.kind() == FailureKind::Unsupported));
/// # Ok::<(), EngineError>(())
/// ```
pub trait Kernels {
    /// Brings the operands of `call` to where the kernel reads them.
    ///
    /// # Errors
    /// [`FailureKind::Unsupported`](crate::FailureKind::Unsupported) when no kernel computes it,
    /// [`FailureKind::InvalidInput`](crate::FailureKind::InvalidInput) when lengths do not fit.
    ///
    /// What fits no kernel is refused before anything is computed:
    ///
    /// ```
    /// use harness_engine::{EngineError, KernelCall, Kernels, PreparedKernel};
    ///
    /// struct Cpu;
    ///
    /// impl Kernels for Cpu {
    ///     fn prepare(&self, call: &KernelCall<'_>) -> Result<Box<dyn PreparedKernel + '_>, EngineError> {
    ///         match *call {
    ///             KernelCall::Softmax { width, x } if width == 0 || x.len() % width != 0 => {
    ///                 Err(EngineError::invalid(format!("{} values in rows of {width}", x.len())))
    ///             }
    ///             // …
    /// #           _ => unimplemented!(),
    ///         }
    ///     }
    /// }
    ///
    /// let ragged = KernelCall::Softmax { width: 4, x: &[0.0; 6] };
    /// let error = Cpu.prepare(&ragged).map(drop).map_err(|error| error.to_string());
    /// assert_eq!(error, Err("6 values in rows of 4".into()));
    /// ```
    fn prepare(&self, call: &KernelCall<'_>) -> Result<Box<dyn PreparedKernel + '_>, EngineError>;

    /// Kernels that show the most that the device can do; the default has none.
    ///
    /// # Errors
    /// Those of the device.
    ///
    /// ```
    /// use harness_engine::{EngineError, KernelCall, Kernels, PreparedKernel};
    ///
    /// struct Cpu;
    ///
    /// impl Kernels for Cpu {
    ///     // …
    /// #   fn prepare(&self, _: &KernelCall<'_>) -> Result<Box<dyn PreparedKernel + '_>, EngineError> { unimplemented!() }
    /// }
    ///
    /// // Its kernels are timed, and held against nothing.
    /// assert!(Cpu.roofs()?.is_empty());
    /// # Ok::<(), EngineError>(())
    /// ```
    fn roofs(&self) -> Result<Vec<Roof<'_>>, EngineError> {
        Ok(Vec::new())
    }
}

/// A kernel that does one thing and nothing else, as fast as the device can: a roof over what any
/// kernel can reach (Williams, Waterman and Patterson, *Roofline*, 2009).
///
/// A copy shows what the memory can do:
///
/// ```
/// use harness_engine::{EngineError, KernelTime, NumberFormat, PreparedKernel, Roof};
///
/// struct Copy(Vec<f32>);
///
/// impl PreparedKernel for Copy {
///     fn run(&mut self) -> Result<Vec<f32>, EngineError> {
///         Ok(self.0.clone())
///     }
///     // …
/// #   fn time(&mut self, _: u32) -> Result<KernelTime, EngineError> { unimplemented!() }
/// }
///
/// let values = vec![1.0; 1 << 10];
/// let mut roof = Roof {
///     name: "copy.f32".into(),
///     operands: NumberFormat::F32,
///     flop: 0.0,
///     bytes: (2 * size_of_val(&values[..])) as f64,
///     expected: 1.0,
///     kernel: Box::new(Copy(values)),
/// };
/// let result = roof.kernel.run()?;
/// assert!(result.iter().all(|&value| value == roof.expected), "it left out some of the work");
/// # Ok::<(), EngineError>(())
/// ```
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
///
/// Once for its result, and many times for its speed:
///
/// ```
/// use harness_engine::{EngineError, KernelTime, PreparedKernel};
///
/// /// The result, and nanoseconds a run.
/// fn measure(kernel: &mut dyn PreparedKernel, runs: u32) -> Result<(Vec<f32>, f64), EngineError> {
///     let result = kernel.run()?;
///     let KernelTime { total_ns, .. } = kernel.time(runs)?;
///     Ok((result, total_ns / f64::from(runs)))
/// }
///
/// /// Takes two nanoseconds, always.
/// struct Constant;
///
/// impl PreparedKernel for Constant {
///     fn run(&mut self) -> Result<Vec<f32>, EngineError> {
///         Ok(vec![4.0])
///     }
///
///     fn time(&mut self, runs: u32) -> Result<KernelTime, EngineError> {
///         Ok(KernelTime { total_ns: 2.0 * f64::from(runs), by_device: true })
///     }
/// }
///
/// assert_eq!(measure(&mut Constant, 1000)?, (vec![4.0], 2.0));
/// # Ok::<(), EngineError>(())
/// ```
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
///
/// ```
/// use harness_engine::KernelTime;
///
/// let time = KernelTime { total_ns: 3e6, by_device: true };
/// // 100 products of a 1024 × 1024 matrix and a vector.
/// let flop = 100.0 * 2.0 * 1024.0 * 1024.0;
/// let gflop_per_s = flop / time.total_ns;
/// assert!((gflop_per_s - 69.9).abs() < 0.1);
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct KernelTime {
    /// All runs together.
    pub total_ns: f64,
    /// By the device's clock, around the kernels alone; else by the host's, around the call.
    pub by_device: bool,
}
