//! Matrix products on Intel's AMX tiles, exact to f32.
//!
//! Tiles multiply bf16, so every f32 is written as a sum of three:
//! `x = h + m + l`, each the rounded rest of the one before. A bf16 has 8
//! significant bits and each rest is at most half a unit of the last, so three
//! hold all 24 bits of an f32. Of the nine products the six
//! `hh + hm + hl + mh + mm + lh` are taken; the largest left out, `ml` and `lm`,
//! are below `2⁻²⁴` of `x · y`, a rounding error of f32. Weights that 16 bits
//! hold have no third part. Sums are f32 in the tiles. (The idea is that of Henry, Tang & Heinecke 2019.)

use std::arch::asm;
use std::arch::x86_64::*;
use std::ops::Range;
use std::sync::OnceLock;

use super::blocks::Block;
use super::matrix::{Lanes, Matrix, with_block};
use super::product::{Output, Scratch, TILE_ROWS, store_rows};
use super::simd::{Avx512, LANES, Simd};

/// bf16 parts of a float.
const PARTS: usize = 3;

/// Columns that are split at once; they and the panel's stay in the second-level
/// cache.
const COLUMNS: usize = 768;

/// Bytes from one row of a part to the next: whole cache lines, and an odd
/// number of them.
const ROW_BYTES: usize = 2 * COLUMNS + 64;

/// Bytes from one part of the rows to the next.
const PART_BYTES: usize = TILE_ROWS * ROW_BYTES;

/// Lanes that the parts of a tile of rows take.
pub(super) const SCRATCH_LANES: usize = PARTS * PART_BYTES / size_of::<Lanes>();

/// Bytes from one pair of features of a split panel to the next: for each part
/// 32 tokens of two bf16.
const PAIR_BYTES: usize = PARTS * 128;

/// Lanes that a split panel of so many features takes.
pub(super) fn split_lanes(features: usize) -> usize {
    features.next_multiple_of(LANES) / 2 * PAIR_BYTES / size_of::<Lanes>()
}

/// Whether the processor has AMX with bf16 and the system lets this process use
/// it.
pub(super) fn available() -> bool {
    static AVAILABLE: OnceLock<bool> = OnceLock::new();
    *AVAILABLE
        .get_or_init(|| is_x86_feature_detected!("avx512bf16") && has_tiles() && asks_for_tiles())
}

/// CPUID 7.0, EDX: bit 22 AMX-BF16, bit 24 AMX-TILE.
fn has_tiles() -> bool {
    let has_leaf_7 = __cpuid(0).eax >= 7;
    has_leaf_7 && __cpuid_count(7, 0).edx & (1 << 22 | 1 << 24) == (1 << 22 | 1 << 24)
}

/// Linux hands out the state of tiles, 8 KiB a thread, only to those who ask.
#[cfg(target_os = "linux")]
fn asks_for_tiles() -> bool {
    const ARCH_PRCTL: i64 = 158;
    const ARCH_REQ_XCOMP_PERM: i64 = 0x1023;
    const XFEATURE_XTILEDATA: i64 = 18;
    let result: i64;
    // SAFETY: a system call that takes no pointers and, but for this permission,
    // changes nothing; it clobbers rcx and r11.
    unsafe {
        asm!(
            "syscall",
            inlateout("rax") ARCH_PRCTL => result,
            in("rdi") ARCH_REQ_XCOMP_PERM,
            in("rsi") XFEATURE_XTILEDATA,
            lateout("rcx") _,
            lateout("r11") _,
            options(nostack),
        );
    }
    result == 0
}

#[cfg(not(target_os = "linux"))]
fn asks_for_tiles() -> bool {
    false
}

/// Splits the features of a panel: `out` holds, for every pair of features and
/// each part, 32 tokens of two bf16. Features are padded with zeros to a
/// multiple of 32.
///
/// # Safety
/// Needs AVX-512 with BF16; `x` holds a lane a feature, `out`
/// [`split_lanes`] lanes.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,avx2,fma,f16c")]
pub(super) unsafe fn split(x: *const f32, features: usize, out: *mut Lanes) {
    let out: *mut u8 = out.cast();
    for pair in 0..features.next_multiple_of(LANES) / 2 {
        for half in 0..2 {
            // SAFETY: 16 tokens of the panel and of the output.
            unsafe {
                let feature = |index: usize| match index < features {
                    true => x.add(index * LANES + half * 16),
                    false => ZEROS.0.as_ptr(),
                };
                let mut rest = [
                    _mm512_loadu_ps(feature(2 * pair)),
                    _mm512_loadu_ps(feature(2 * pair + 1)),
                ];
                for part in 0..PARTS {
                    let rounded = rest.map(|rest| bf16_rounded(rest));
                    // The pair's second feature in the upper half of 32 bits.
                    let pairs = _mm512_or_si512(
                        _mm512_srli_epi32::<16>(_mm512_castps_si512(rounded[0])),
                        _mm512_castps_si512(rounded[1]),
                    );
                    let at = out.add(pair * PAIR_BYTES + part * 128 + half * 64);
                    _mm512_storeu_si512(at.cast(), pairs);
                    rest = [
                        _mm512_sub_ps(rest[0], rounded[0]),
                        _mm512_sub_ps(rest[1], rounded[1]),
                    ];
                }
            }
        }
    }
}

static ZEROS: Lanes = Lanes::ZERO;

/// The nearest bf16 of each float, as a float.
#[target_feature(enable = "avx512f,avx512bf16")]
#[inline]
fn bf16_rounded(x: __m512) -> __m512 {
    // SAFETY: the same 256 bits under another name.
    let bits: __m256i = unsafe { std::mem::transmute(_mm512_cvtneps_pbh(x)) };
    _mm512_castsi512_ps(_mm512_slli_epi32::<16>(_mm512_cvtepu16_epi32(bits)))
}

/// `matrix[rows] · x` as [`product::gemm`](super::product::gemm), with `x` a
/// number of panels that [`split`] has split.
///
/// # Safety
/// As there; [`available`] has said yes.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,avx2,fma,f16c")]
pub(super) unsafe fn gemm(
    matrix: &Matrix,
    rows: Range<usize>,
    x: *const f32,
    panels: usize,
    out: Output,
    scratch: &mut Scratch,
) {
    let x: *const u8 = x.cast();
    let weights: *mut u8 = scratch.tile.as_mut_ptr().cast();
    let sums: *mut f32 = scratch.lanes.as_mut_ptr().cast();
    let (to, features) = match out {
        // SAFETY: the matrix's rows lie within the output's features.
        Output::Panels { to, features } => (unsafe { to.add(rows.start * LANES) }, features),
        Output::Rows { .. } => (sums, TILE_ROWS),
    };
    let columns = matrix.columns;
    let panel_bytes = split_lanes(columns) * size_of::<Lanes>();
    let bytes = matrix.row_range(rows.clone());
    let count = rows.len();
    // SAFETY: the caller's contract; scratch holds `TILE_ROWS` rows in parts.
    unsafe {
        configure();
        with_block!(matrix.format, B => {
            let three = !B::FITS_16_BITS;
            let part = columns
                .div_ceil(columns.div_ceil(COLUMNS))
                .next_multiple_of(B::LEN);
            for start in (0..columns).step_by(part) {
                let len = part.min(columns - start);
                for (row, bytes) in bytes.chunks_exact(matrix.row_bytes).enumerate() {
                    split_row::<B>(bytes.as_ptr(), start, len, weights.add(row * ROW_BYTES));
                }
                let steps = len.div_ceil(LANES);
                for panel in 0..panels {
                    let x = x.add(panel * panel_bytes + start / 2 * PAIR_BYTES);
                    let to = to.add(panel * features * LANES);
                    for row in (0..count).step_by(32) {
                        let weights = weights.add(row * ROW_BYTES);
                        let to = to.add(row * LANES);
                        if row + 32 <= count {
                            multiply(weights, x, to, steps, start > 0, three);
                            continue;
                        }
                        // Tiles are whole; the rows behind the last are stale.
                        let mut spare = [Lanes::ZERO; 32];
                        let spare: *mut f32 = spare.as_mut_ptr().cast();
                        let live = (count - row) * LANES;
                        std::ptr::copy_nonoverlapping(to, spare, live);
                        multiply(weights, x, spare, steps, start > 0, three);
                        std::ptr::copy_nonoverlapping(spare, to, live);
                    }
                }
            }
        });
        release();
        store_rows(sums, rows, out);
    }
}

/// Splits the weights `start..start + len` of a row, padded with zeros to a
/// multiple of 32.
///
/// # Safety
/// As for [`blocks::decode_row`](super::blocks::decode_row); `out` holds a row
/// of each part.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,avx2,fma,f16c")]
#[inline]
unsafe fn split_row<B: Block>(row: *const u8, start: usize, len: usize, out: *mut u8) {
    // SAFETY: the caller's.
    unsafe {
        let row = row.add(start / B::LEN * B::BYTES);
        for at in (0..len).step_by(LANES) {
            let block = row.add(at / B::LEN * B::BYTES);
            let mut rest = match len - at < LANES {
                true => super::blocks::decode_part::<Avx512, B>(block, len - at),
                false => B::decode::<Avx512>(block, at % B::LEN / LANES),
            };
            for part in 0..PARTS {
                let rounded = rest.map(|rest| bf16_rounded(rest));
                let bits = _mm512_cvtne2ps_pbh(rest[1], rest[0]);
                let to = out.add(part * PART_BYTES + 2 * at);
                _mm512_storeu_si512(to.cast(), std::mem::transmute::<__m512bh, __m512i>(bits));
                rest = Avx512::sub(rest, rounded);
            }
        }
    }
}

/// `out[r][t] = Σ_k w[r][k] · x[k][t]` for 32 rows, 32 tokens and `32 · steps`
/// columns, added to what `out` holds if `accumulate`; the third part of `w` is
/// left out unless `three_parts`.
///
/// # Safety
/// Tiles are configured; `w` points at the first part of 32 rows, `x` at a split
/// panel, `out` at 32 lanes.
#[inline]
unsafe fn multiply(
    w: *const u8,
    x: *const u8,
    out: *mut f32,
    steps: usize,
    accumulate: bool,
    three_parts: bool,
) {
    // SAFETY: reads and writes what the caller vouches for. No compiled code uses
    // tile registers, so that they need not be declared.
    unsafe {
        if accumulate {
            asm!(
                "tileloadd tmm0, [{c} + {row}]",
                "tileloadd tmm1, [{c} + {row} + 64]",
                "tileloadd tmm2, [{c} + {row} + 2048]",
                "tileloadd tmm3, [{c} + {row} + 2112]",
                c = in(reg) out,
                row = in(reg) 128usize,
                options(nostack, preserves_flags, readonly),
            );
        } else {
            asm!(
                "tilezero tmm0",
                "tilezero tmm1",
                "tilezero tmm2",
                "tilezero tmm3",
                options(nostack, preserves_flags, nomem),
            );
        }
        // tmm4 and tmm5 hold a part of rows 0–15 and 16–31, tmm6 and tmm7 a part
        // of tokens 0–15 and 16–31.
        macro_rules! steps {
            ($($rest:literal)*) => {
                asm!(
                    "2:",
                    // h · h
                    "tileloadd tmm4, [{w} + {wr}]",
                    "tileloadd tmm5, [{w} + {wr} + {lower}]",
                    "tileloadd tmm6, [{x} + {xr}]",
                    "tileloadd tmm7, [{x} + {xr} + 64]",
                    "tdpbf16ps tmm0, tmm4, tmm6",
                    "tdpbf16ps tmm1, tmm4, tmm7",
                    "tdpbf16ps tmm2, tmm5, tmm6",
                    "tdpbf16ps tmm3, tmm5, tmm7",
                    // h · m
                    "tileloadd tmm6, [{x} + {xr} + 128]",
                    "tileloadd tmm7, [{x} + {xr} + 192]",
                    "tdpbf16ps tmm0, tmm4, tmm6",
                    "tdpbf16ps tmm1, tmm4, tmm7",
                    "tdpbf16ps tmm2, tmm5, tmm6",
                    "tdpbf16ps tmm3, tmm5, tmm7",
                    // h · l
                    "tileloadd tmm6, [{x} + {xr} + 256]",
                    "tileloadd tmm7, [{x} + {xr} + 320]",
                    "tdpbf16ps tmm0, tmm4, tmm6",
                    "tdpbf16ps tmm1, tmm4, tmm7",
                    "tdpbf16ps tmm2, tmm5, tmm6",
                    "tdpbf16ps tmm3, tmm5, tmm7",
                    // m · m
                    "tileloadd tmm4, [{w} + {wr} + {part}]",
                    "tileloadd tmm5, [{w} + {wr} + {part} + {lower}]",
                    "tileloadd tmm6, [{x} + {xr} + 128]",
                    "tileloadd tmm7, [{x} + {xr} + 192]",
                    "tdpbf16ps tmm0, tmm4, tmm6",
                    "tdpbf16ps tmm1, tmm4, tmm7",
                    "tdpbf16ps tmm2, tmm5, tmm6",
                    "tdpbf16ps tmm3, tmm5, tmm7",
                    // m · h
                    "tileloadd tmm6, [{x} + {xr}]",
                    "tileloadd tmm7, [{x} + {xr} + 64]",
                    "tdpbf16ps tmm0, tmm4, tmm6",
                    "tdpbf16ps tmm1, tmm4, tmm7",
                    "tdpbf16ps tmm2, tmm5, tmm6",
                    "tdpbf16ps tmm3, tmm5, tmm7",
                    $($rest,)*
                    "add {w}, 64",
                    "add {x}, {step}",
                    "dec {n}",
                    "jnz 2b",
                    w = inout(reg) w => _,
                    x = inout(reg) x => _,
                    n = inout(reg) steps => _,
                    wr = in(reg) ROW_BYTES,
                    xr = in(reg) PAIR_BYTES,
                    lower = const 16 * ROW_BYTES,
                    part = const PART_BYTES,
                    step = const 16 * PAIR_BYTES,
                    options(nostack, readonly),
                );
            };
        }
        if three_parts {
            steps!(
                // l · h
                "tileloadd tmm4, [{w} + {wr} + 2 * {part}]"
                "tileloadd tmm5, [{w} + {wr} + 2 * {part} + {lower}]"
                "tdpbf16ps tmm0, tmm4, tmm6"
                "tdpbf16ps tmm1, tmm4, tmm7"
                "tdpbf16ps tmm2, tmm5, tmm6"
                "tdpbf16ps tmm3, tmm5, tmm7"
            );
        } else {
            steps!();
        }
        asm!(
            "tilestored [{c} + {row}], tmm0",
            "tilestored [{c} + {row} + 64], tmm1",
            "tilestored [{c} + {row} + 2048], tmm2",
            "tilestored [{c} + {row} + 2112], tmm3",
            c = in(reg) out,
            row = in(reg) 128usize,
            options(nostack, preserves_flags),
        );
    }
}

/// Eight tiles of 16 rows of 64 bytes.
///
/// # Safety
/// [`available`] has said yes.
unsafe fn configure() {
    #[repr(C, align(64))]
    struct Config {
        palette: u8,
        start_row: u8,
        reserved: [u8; 14],
        column_bytes: [u16; 16],
        rows: [u8; 16],
    }
    let used =
        |value: u16| std::array::from_fn::<u16, 16, _>(|tile| if tile < 8 { value } else { 0 });
    let config = Config {
        palette: 1,
        start_row: 0,
        reserved: [0; 14],
        column_bytes: used(64),
        rows: used(16).map(|rows| rows as u8),
    };
    // SAFETY: reads the 64 bytes of a valid configuration.
    unsafe {
        asm!("ldtilecfg [{}]", in(reg) &raw const config, options(nostack, preserves_flags, readonly));
    }
}

/// Gives the tiles back, so that the system need not save them.
///
/// # Safety
/// As for [`configure`].
unsafe fn release() {
    // SAFETY: touches tile registers only.
    unsafe { asm!("tilerelease", options(nostack, preserves_flags, nomem)) }
}
