//! Single kernels on plain slices, for tests and benchmarks of one operation.
//!
//! As in the engine, one token is a vector and several are panels of 32: the
//! number of tokens in a call decides which kernel runs. Everything is row-major
//! and runs on the calling thread. Lengths are checked, values are not: NaN and
//! infinities go through the arithmetic.
//!
//! ```
//! use harness_reference::gguf::GgmlType;
//! use harness_reference::kernels::{Kernels, Matrix};
//!
//! # fn main() -> Result<(), harness_reference::kernels::KernelError> {
//! let identity: Vec<u8> = [1f32, 0.0, 0.0, 1.0].iter().flat_map(|x| x.to_le_bytes()).collect();
//! let matrix = Matrix::new(GgmlType::F32, 2, 2, identity)?;
//! let mut out = [0.0; 2];
//! Kernels::best().product(&matrix, &[3.0, 4.0], &mut out)?;
//! assert_eq!(out, [3.0, 4.0]);
//! # Ok(())
//! # }
//! ```

mod arguments;

use super::attention::{AttendOne, AttendPanel};
use super::kernels::{Kernels as Table, split_lanes};
use super::matrix::Lanes;
use super::product::{Output, Scratch, TILE_ROWS};
use super::simd::{Isa, LANES};
use arguments::{Result, check, rows_of};

pub use crate::hyperparameters::{Activation, NormKind, Pairing};
pub use arguments::{Head, KernelError, Matrix};

/// The kernels of one instruction set.
///
/// ```
/// use harness_reference::kernels::Kernels;
///
/// // What a function computes does not depend on the processor but for rounding.
/// for name in Kernels::available() {
///     let mut x = [0.0, 1e9];
///     Kernels::named(name)?.softcap(&mut x, 30.0);
///     assert_eq!(x, [0.0, 30.0]);
/// }
/// # Ok::<(), harness_reference::kernels::KernelError>(())
/// ```
#[derive(Clone, Copy)]
pub struct Kernels {
    isa: Isa,
    table: Table,
}

impl Kernels {
    /// Names of the instruction sets that this processor has, best first:
    /// `avx512`, `avx2`, `neon`, `portable`.
    ///
    /// ```
    /// use harness_reference::kernels::Kernels;
    ///
    /// assert_eq!(Kernels::available().last(), Some(&"portable"));
    /// ```
    #[must_use]
    pub fn available() -> Vec<&'static str> {
        Isa::available().into_iter().map(Isa::name).collect()
    }

    /// The first of those, which the engine takes by itself.
    ///
    /// ```
    /// use harness_reference::kernels::Kernels;
    ///
    /// assert_eq!(Kernels::best().name(), Kernels::available()[0]);
    /// ```
    #[must_use]
    pub fn best() -> Self {
        Self::of(Isa::available()[0])
    }

    /// Those of the instruction set `name`.
    ///
    /// # Errors
    /// [`KernelError::Unavailable`].
    ///
    /// ```
    /// use harness_reference::kernels::{KernelError, Kernels};
    ///
    /// assert_eq!(Kernels::named("portable")?.name(), "portable");
    /// assert!(matches!(Kernels::named("mmx"), Err(KernelError::Unavailable { .. })));
    /// # Ok::<(), KernelError>(())
    /// ```
    pub fn named(name: &str) -> Result<Self> {
        let available = Isa::available();
        let isa = available.into_iter().find(|isa| isa.name() == name);
        isa.map(Self::of)
            .ok_or_else(|| KernelError::Unavailable { name: name.into() })
    }

    pub(crate) fn of(isa: Isa) -> Self {
        Self {
            isa,
            table: Table::of(isa),
        }
    }

    /// Name of the instruction set.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.isa.name()
    }

    /// Decodes `matrix[row]` into `out`, `[columns]`.
    ///
    /// # Errors
    /// [`KernelError::Length`], and [`KernelError::Shape`] for a row that is
    /// not there.
    ///
    /// ```
    /// use harness_reference::gguf::GgmlType;
    /// use harness_reference::kernels::{Kernels, Matrix};
    ///
    /// let rows: [f32; 4] = [1.0, 2.0, 3.0, 4.0];
    /// let matrix = Matrix::new(GgmlType::F32, 2, 2, rows.map(f32::to_le_bytes).concat())?;
    /// let mut row = [0.0; 2];
    /// Kernels::best().decode_row(&matrix, 1, &mut row)?;
    /// assert_eq!(row, [3.0, 4.0]);
    /// # Ok::<(), harness_reference::kernels::KernelError>(())
    /// ```
    pub fn decode_row(&self, matrix: &Matrix, row: usize, out: &mut [f32]) -> Result<()> {
        check("out", out.len(), matrix.columns())?;
        if row >= matrix.rows() {
            return Err(KernelError::Shape(format!(
                "no row {row} in a matrix of {}",
                matrix.rows()
            )));
        }
        // SAFETY: the row is there and `out` as long as it; `Isa` vouches for
        // the instructions, here and below.
        unsafe { (self.table.decode)(&matrix.0, row, out) };
        Ok(())
    }

    /// `out[t] = matrix · x[t]` of `x`, `[tokens, columns]`, and `out`,
    /// `[tokens, rows]`.
    ///
    /// # Errors
    /// [`KernelError::Length`].
    ///
    /// ```
    /// use harness_reference::gguf::GgmlType;
    /// use harness_reference::kernels::{Kernels, Matrix};
    ///
    /// let rows: [f32; 4] = [1.0, 2.0, 3.0, 4.0];
    /// let matrix = Matrix::new(GgmlType::F32, 2, 2, rows.map(f32::to_le_bytes).concat())?;
    /// // Two tokens, of two features each.
    /// let mut out = [0.0; 4];
    /// Kernels::best().product(&matrix, &[1.0, 0.0, 1.0, 1.0], &mut out)?;
    /// assert_eq!(out, [1.0, 3.0, 3.0, 7.0]);
    /// # Ok::<(), harness_reference::kernels::KernelError>(())
    /// ```
    pub fn product(&self, matrix: &Matrix, x: &[f32], out: &mut [f32]) -> Result<()> {
        let (rows, columns) = (matrix.rows(), matrix.columns());
        let tokens = rows_of("x", x.len(), columns)?;
        check("out", out.len(), tokens * rows)?;
        if tokens == 1 {
            // SAFETY: a float for every column and row.
            unsafe { (self.table.matvec)(&matrix.0, 0..rows, x.as_ptr(), out.as_mut_ptr()) };
            return Ok(());
        }
        let panels = tokens.div_ceil(LANES);
        let x = self.as_gemm_takes(pack(x, columns), columns);
        let mut scratch = Scratch::new(panels);
        for start in (0..rows).step_by(TILE_ROWS) {
            let part = start..rows.min(start + TILE_ROWS);
            let to = Output::Rows {
                to: out.as_mut_ptr(),
                stride: rows,
                skip: 0,
                tokens,
            };
            let x = x.as_ptr().cast();
            // SAFETY: panels hold all tokens, `out` their rows, the scratch
            // memory a tile of all panels.
            unsafe { (self.table.gemm)(&matrix.0, part, x, panels, to, &mut scratch) };
        }
        Ok(())
    }

    /// Panels of `features` as the kernel of products takes them.
    fn as_gemm_takes(&self, panels: Vec<Lanes>, features: usize) -> Vec<Lanes> {
        let Some(split) = self.table.split else {
            return panels;
        };
        let lanes = split_lanes(features);
        let mut out = Lanes::zeros(panels.len() / features * lanes);
        for (panel, out) in panels
            .chunks_exact(features)
            .zip(out.chunks_exact_mut(lanes))
        {
            // SAFETY: a lane a feature, and what `split` makes of them.
            unsafe { split(panel.as_ptr().cast(), features, out.as_mut_ptr()) };
        }
        out
    }

    /// Normalises each token of `x`, `[tokens, features]`, in place; `weight`
    /// and `bias` are `[features]`.
    ///
    /// # Errors
    /// [`KernelError::Length`], and [`KernelError::Shape`] without features.
    ///
    /// ```
    /// use harness_reference::kernels::{Kernels, NormKind};
    ///
    /// // Mean 2 and deviation 1.
    /// let mut x = [1.0, 3.0];
    /// let kind = NormKind::Layer { epsilon: 0.0 };
    /// Kernels::best().norm(kind, &[10.0, 10.0], Some(&[0.5, 0.5]), &mut x)?;
    /// assert_eq!(x, [-9.5, 10.5]);
    /// # Ok::<(), harness_reference::kernels::KernelError>(())
    /// ```
    pub fn norm(
        &self,
        kind: NormKind,
        weight: &[f32],
        bias: Option<&[f32]>,
        x: &mut [f32],
    ) -> Result<()> {
        let features = weight.len();
        let tokens = rows_of("x", x.len(), features)?;
        check("bias", bias.map_or(features, <[f32]>::len), features)?;
        if tokens == 1 {
            let at = x.as_mut_ptr();
            // SAFETY: a float a feature; the kernel takes one place for both.
            unsafe { (self.table.norm_vector)(at, weight, bias, kind, at) };
            return Ok(());
        }
        let mut lanes = pack(x, features);
        for panel in lanes.chunks_exact_mut(features) {
            let at: *mut f32 = panel.as_mut_ptr().cast();
            // SAFETY: as above, of lanes.
            unsafe { (self.table.norm_panel)(at, weight, bias, kind, at) };
        }
        unpack(&lanes, features, x);
        Ok(())
    }

    /// Rotates the pairs of each token of `x`, `[tokens, dim]`, in place:
    /// `(a, b) → (a·cos − b·sin, a·sin + b·cos)`. `cos` and `sin` are
    /// `[tokens, pairs]`; dimensions from `2 · pairs` on stay as they are.
    ///
    /// # Errors
    /// [`KernelError::Length`], and [`KernelError::Shape`] for more pairs than
    /// a head has.
    ///
    /// ```
    /// use harness_reference::kernels::{Kernels, Pairing};
    ///
    /// // One pair in a head of four dimensions; the others stay.
    /// let mut x = [3.0, 4.0, 5.0, 6.0];
    /// Kernels::best().rotate(Pairing::Neighbours, &mut x, 4, &[0.0], &[1.0])?;
    /// assert_eq!(x, [-4.0, 3.0, 5.0, 6.0]);
    /// # Ok::<(), harness_reference::kernels::KernelError>(())
    /// ```
    pub fn rotate(
        &self,
        pairing: Pairing,
        x: &mut [f32],
        dim: usize,
        cos: &[f32],
        sin: &[f32],
    ) -> Result<()> {
        let tokens = rows_of("x", x.len(), dim)?;
        if tokens == 0 {
            return check("cos", cos.len(), 0).and_then(|()| check("sin", sin.len(), 0));
        }
        let pairs = cos.len() / tokens;
        check("cos", cos.len(), pairs * tokens)?;
        check("sin", sin.len(), cos.len())?;
        if pairs == 0 || 2 * pairs > dim {
            return Err(KernelError::Shape(format!(
                "{pairs} pairs in heads of {dim} dimensions"
            )));
        }
        let places: Vec<_> = (0..pairs).map(|pair| pairing.pair(pair, pairs)).collect();
        let (mut lanes, cos, sin) = (pack(x, dim), pack(cos, pairs), pack(sin, pairs));
        let angles = cos.chunks_exact(pairs).zip(sin.chunks_exact(pairs));
        for (panel, (cos, sin)) in lanes.chunks_exact_mut(dim).zip(angles) {
            // SAFETY: pairs lie within the head.
            unsafe { (self.table.rotate_panel)(panel.as_mut_ptr().cast(), &places, cos, sin) };
        }
        unpack(&lanes, dim, x);
        Ok(())
    }

    /// Causal attention of queries at positions `first …` over one head:
    /// `queries` and `out` are `[tokens, dim]`, and the head holds every
    /// position that they see, their own included.
    ///
    /// Queries of a panel share its rows of values: one that is not finite at a
    /// position that only some of them see makes the others NaN too, as `0 · ∞`.
    ///
    /// # Errors
    /// [`KernelError::Length`], and [`KernelError::Shape`] for a head that is
    /// not in the rows, in no format of caches, or without what is seen.
    ///
    /// ```
    /// use engine::NumberFormat;
    /// use harness_reference::kernels::{Head, Kernels};
    ///
    /// let values = [1f32, 2.0, 3.0, 6.0].map(f32::to_le_bytes).concat();
    /// let head = Head {
    ///     format: NumberFormat::F32,
    ///     keys: &[0; 16],
    ///     values: &values,
    ///     width: 2,
    ///     column: 0,
    ///     dim: 2,
    ///     scale: 1.0,
    ///     softcap: None,
    ///     window: Some(1),
    /// };
    /// let mut out = [0.0; 2];
    /// // A window of one: a token sees itself only.
    /// Kernels::best().attend(&head, 1, &[1.0, 1.0], &mut out)?;
    /// assert_eq!(out, [3.0, 6.0]);
    /// # Ok::<(), harness_reference::kernels::KernelError>(())
    /// ```
    pub fn attend(
        &self,
        head: &Head<'_>,
        first: usize,
        queries: &[f32],
        out: &mut [f32],
    ) -> Result<()> {
        let dim = head.dim;
        let tokens = rows_of("queries", queries.len(), dim)?;
        check("out", out.len(), queries.len())?;
        let head = head.checked(first, tokens)?;
        if tokens == 1 {
            let mut scores = vec![Lanes::ZERO; (first + 1).div_ceil(LANES)];
            let task = AttendOne {
                head,
                query: queries.as_ptr(),
                out: out.as_mut_ptr(),
                position: first,
            };
            // SAFETY: a head's floats on both sides, scores for all positions.
            unsafe { (self.table.attend_one)(&task, &mut scores) };
            return Ok(());
        }
        let packed = pack(queries, dim);
        let mut mixed = vec![Lanes::ZERO; packed.len()];
        let mut scratch = Scratch::new(1);
        let panels = packed.chunks_exact(dim).zip(mixed.chunks_exact_mut(dim));
        for (panel, (queries, out)) in panels.enumerate() {
            let task = AttendPanel {
                head,
                queries: queries.as_ptr().cast(),
                out: out.as_mut_ptr().cast(),
                first: first + panel * LANES,
                queries_len: LANES.min(tokens - panel * LANES),
            };
            // SAFETY: a head's lanes on both sides; the positions are held.
            unsafe { (self.table.attend_panel)(&task, &mut scratch) };
        }
        unpack(&mixed, dim, out);
        Ok(())
    }

    /// `up = act(gate) · up`, or `up = act(up)` when there is no gate.
    ///
    /// # Errors
    /// [`KernelError::Length`].
    ///
    /// ```
    /// use harness_reference::kernels::{Activation, Kernels};
    ///
    /// let mut up = [2.0, 2.0];
    /// Kernels::best().activate(Activation::Silu, Some(&[0.0, 100.0]), &mut up)?;
    /// assert_eq!(up, [0.0, 200.0]);
    /// # Ok::<(), harness_reference::kernels::KernelError>(())
    /// ```
    pub fn activate(
        &self,
        activation: Activation,
        gate: Option<&[f32]>,
        up: &mut [f32],
    ) -> Result<()> {
        check("gate", gate.map_or(up.len(), <[f32]>::len), up.len())?;
        let (whole, tail) = up.split_at_mut(up.len() / LANES * LANES);
        let gates = gate.map(|gate| gate.split_at(whole.len()));
        let padded = |part: &[f32]| {
            let mut padded = [0f32; LANES];
            padded[..part.len()].copy_from_slice(part);
            padded
        };
        let (mut up, gate) = (padded(tail), gates.map(|(_, gate)| padded(gate)));
        // SAFETY: whole vectors of the same length.
        unsafe {
            (self.table.activate)(activation, gates.map(|(gate, _)| gate), whole);
            (self.table.activate)(activation, gate.as_ref().map(|gate| &gate[..]), &mut up);
        }
        tail.copy_from_slice(&up[..tail.len()]);
        Ok(())
    }

    /// `x = cap · tanh(x / cap)`.
    ///
    /// ```
    /// use harness_reference::kernels::Kernels;
    ///
    /// let mut logits = [1.0, -1e6];
    /// Kernels::best().softcap(&mut logits, 30.0);
    /// assert!((logits[0] - 30.0 * (1f32 / 30.0).tanh()).abs() < 1e-4);
    /// assert_eq!(logits[1], -30.0);
    /// ```
    pub fn softcap(&self, x: &mut [f32], cap: f32) {
        // SAFETY: the kernel takes any slice.
        unsafe { (self.table.softcap)(x, cap) };
    }
}

/// Rows of tokens as panels; lanes behind the last token are zero.
fn pack(rows: &[f32], features: usize) -> Vec<Lanes> {
    let panels = (rows.len() / features).div_ceil(LANES);
    let mut lanes = vec![Lanes::ZERO; panels * features];
    for (token, row) in rows.chunks_exact(features).enumerate() {
        let panel = &mut lanes[token / LANES * features..];
        for (to, &value) in panel.iter_mut().zip(row) {
            to.0[token % LANES] = value;
        }
    }
    lanes
}

/// The reverse of [`pack`].
fn unpack(lanes: &[Lanes], features: usize, rows: &mut [f32]) {
    for (token, row) in rows.chunks_exact_mut(features).enumerate() {
        let panel = &lanes[token / LANES * features..];
        for (to, from) in row.iter_mut().zip(panel) {
            *to = from.0[token % LANES];
        }
    }
}
