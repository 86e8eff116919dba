//! Matrix products with one token and with panels of them.

use std::ops::Range;

use super::blocks::{self, Block};
use super::matrix::{Lanes, Matrix, with_block};
use super::simd::{LANES, Simd};

/// Columns of a matrix that are decoded into a tile at once: 12 rows of them
/// and the panel's part stay in the first-level cache.
const TILE_COLUMNS: usize = 256;

/// Floats from one row of a tile to the next. Not a power of two, so that the
/// rows of a column do not compete for the same cache sets; a constant, so that
/// the rows are reached by constant offsets.
pub(super) const TILE_STRIDE: usize = TILE_COLUMNS + 16;

/// Rows of a tile, few enough for a second-level cache of 256 KiB.
pub(super) const TILE_ROWS: usize = 96;

/// Scratch memory of one thread.
pub(super) struct Scratch {
    /// `TILE_ROWS` by `TILE_STRIDE`: decoded weights, or keys and values.
    pub(super) tile: Vec<Lanes>,
    /// `TILE_ROWS` features of every panel: products on their way to rows, or
    /// attention scores.
    pub(super) lanes: Vec<Lanes>,
}

/// Room for a tile of floats, or of their parts.
fn tile_lanes() -> usize {
    let floats = TILE_ROWS * TILE_STRIDE / LANES;
    #[cfg(target_arch = "x86_64")]
    let floats = floats.max(super::amx::SCRATCH_LANES);
    floats
}

impl Scratch {
    pub(super) fn new(panels: usize) -> Self {
        Self {
            tile: Lanes::zeros(tile_lanes()),
            lanes: Lanes::zeros(TILE_ROWS * panels),
        }
    }
}

/// Where the products of a matrix go.
#[derive(Clone, Copy)]
pub(super) enum Output {
    /// To panels of `features` lanes, from the first feature on.
    Panels { to: *mut f32, features: usize },
    /// To one row of `stride` floats for each of the last `tokens` of `skip +
    /// tokens` tokens.
    Rows {
        to: *mut f32,
        stride: usize,
        skip: usize,
        tokens: usize,
    },
}

/// `matrix[rows] · x` for at most [`TILE_ROWS`] rows and `panels` panels of
/// `matrix.columns` features.
///
/// # Safety
/// See [`Simd`]; `x` and `out` hold as many floats as their shapes say, and no
/// other thread writes the same rows.
#[inline(always)]
pub(super) unsafe fn gemm<S: Simd>(
    matrix: &Matrix,
    rows: Range<usize>,
    x: *const f32,
    panels: usize,
    out: Output,
    scratch: &mut Scratch,
) {
    let tile: *mut f32 = scratch.tile.as_mut_ptr().cast();
    let sums: *mut f32 = scratch.lanes.as_mut_ptr().cast();
    let (to, features) = match out {
        // SAFETY: the matrix's rows lie within the output's features.
        Output::Panels { to, features } => (unsafe { to.add(rows.start * LANES) }, features),
        Output::Rows { .. } => (sums, TILE_ROWS),
    };
    let columns = matrix.columns;
    // Parts of equal length, so that no short one wastes the stores of its sums.
    let parts = columns.div_ceil(TILE_COLUMNS);
    let bytes = matrix.row_range(rows.clone());
    with_block!(matrix.format, B => {
        let part = columns.div_ceil(parts).next_multiple_of(B::LEN);
        for start in (0..columns).step_by(part) {
            let len = part.min(columns - start);
            // SAFETY: the caller's contract; tile and sums hold `TILE_ROWS`.
            unsafe {
                for (row, bytes) in bytes.chunks_exact(matrix.row_bytes).enumerate() {
                    let tile = tile.add(row * TILE_STRIDE);
                    blocks::decode_row::<S, B>(bytes.as_ptr(), start, len, tile);
                }
                for panel in 0..panels {
                    let x = x.add((panel * columns + start) * LANES);
                    let to = to.add(panel * features * LANES);
                    multiply::<S, TILE_STRIDE, 1>(rows.len(), len, tile, x, to, start > 0);
                }
            }
        }
    });
    // SAFETY: as above.
    unsafe { store_rows(sums, rows, out) };
}

/// Turns the products of `rows`, in panels of [`TILE_ROWS`] features at `sums`,
/// into rows of `out`, if it asks for rows.
///
/// # Safety
/// Pointers hold what their shapes say.
pub(super) unsafe fn store_rows(sums: *const f32, rows: Range<usize>, out: Output) {
    let Output::Rows {
        to,
        stride,
        skip,
        tokens,
    } = out
    else {
        return;
    };
    for token in 0..tokens {
        let (panel, lane) = ((skip + token) / LANES, (skip + token) % LANES);
        for (index, row) in rows.clone().enumerate() {
            // SAFETY: the caller's.
            unsafe {
                let sum = sums.add((panel * TILE_ROWS + index) * LANES + lane).read();
                to.add(token * stride + row).write(sum);
            }
        }
    }
}

/// `out[r] = Σ_k w(r, k) · x[k]` for `rows` rows of lanes, added to what `out`
/// holds if `accumulate`; `w(r, k)` is at `r · R_STRIDE + k · K_STRIDE`.
///
/// # Safety
/// See [`Simd`]; pointers hold what the strides reach.
#[inline(always)]
pub(super) unsafe fn multiply<S: Simd, const R_STRIDE: usize, const K_STRIDE: usize>(
    rows: usize,
    len: usize,
    w: *const f32,
    x: *const f32,
    out: *mut f32,
    accumulate: bool,
) {
    let mut row = 0;
    while row < rows {
        let step = S::ROWS.min(rows - row);
        // SAFETY: the caller's.
        unsafe {
            let (w, out) = (w.add(row * R_STRIDE), out.add(row * LANES));
            macro_rules! step {
                ($($n:literal)*) => {
                    match step {
                        $($n => block::<S, $n, R_STRIDE, K_STRIDE>(len, w, x, out, accumulate),)*
                        _ => unreachable!("no implementation has more rows"),
                    }
                };
            }
            step!(1 2 3 4 5 6 7 8 9 10 11 12);
        }
        row += step;
    }
}

/// [`multiply`] for `R` rows, whose sums stay in registers.
///
/// # Safety
/// See [`multiply`].
#[inline(always)]
unsafe fn block<S: Simd, const R: usize, const R_STRIDE: usize, const K_STRIDE: usize>(
    len: usize,
    w: *const f32,
    x: *const f32,
    out: *mut f32,
    accumulate: bool,
) {
    // More rows than registers are never asked for, but would be compiled.
    if R > S::ROWS {
        return;
    }
    // SAFETY: the caller's.
    unsafe {
        let mut sums = [S::splat(0.0); R];
        if accumulate {
            for (r, sum) in sums.iter_mut().enumerate() {
                *sum = S::load(out.add(r * LANES));
            }
        }
        for k in 0..len {
            let x = S::load(x.add(k * LANES));
            let w = w.add(k * K_STRIDE);
            for (r, sum) in sums.iter_mut().enumerate() {
                *sum = S::fma(S::splat(w.add(r * R_STRIDE).read()), x, *sum);
            }
        }
        for (r, sum) in sums.into_iter().enumerate() {
            S::store(out.add(r * LANES), sum);
        }
    }
}

/// `out[i] = matrix[rows.start + i] · x`.
///
/// # Safety
/// See [`Simd`]; `x` holds `matrix.columns` floats, `out` one a row.
#[inline(always)]
pub(super) unsafe fn matvec<S: Simd>(
    matrix: &Matrix,
    rows: Range<usize>,
    x: *const f32,
    out: *mut f32,
) {
    let (bytes, row_bytes) = (matrix.row_range(rows.clone()).as_ptr(), matrix.row_bytes);
    with_block!(matrix.format, B => {
        let (mut row, end) = (0, rows.len());
        // SAFETY: the caller's contract, and the matrix's own shape.
        unsafe {
            while row + 4 <= end {
                let at = bytes.add(row * row_bytes);
                let sums = blocks::dot::<S, B, 4>(at, row_bytes, x, matrix.columns);
                out.add(row).cast::<[f32; 4]>().write_unaligned(sums);
                row += 4;
            }
            while row < end {
                let at = bytes.add(row * row_bytes);
                let [sum] = blocks::dot::<S, B, 1>(at, row_bytes, x, matrix.columns);
                out.add(row).write(sum);
                row += 1;
            }
        }
    });
}

/// `out = matrix[row]`.
///
/// # Safety
/// See [`Simd`]; `out` holds `matrix.columns` floats.
#[inline(always)]
pub(super) unsafe fn decode<S: Simd>(matrix: &Matrix, row: usize, out: &mut [f32]) {
    let bytes = matrix.row_range(row..row + 1).as_ptr();
    with_block!(matrix.format, B => {
        // SAFETY: the caller's contract, and the matrix's own shape.
        unsafe { blocks::decode_row::<S, B>(bytes, 0, matrix.columns, out.as_mut_ptr()) }
    });
}
