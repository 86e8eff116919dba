//! GGML blocks, decoded 32 weights at a time into registers.
//!
//! One definition serves matrix products with one token, where the weights go
//! straight into a dot product, and with many, where they go to a tile in the
//! cache. Values equal PyPI `gguf`'s bit for bit: products and sums are rounded
//! apart, in its order.

use super::simd::{Codes, LANES, Simd};

/// A storage type that kernels can read.
pub(super) trait Block: 'static {
    /// Weights in a block, a multiple of 32.
    const LEN: usize;
    /// Its bytes.
    const BYTES: usize;
    /// Whether 16 significant bits hold every weight: a scale has 11, and a
    /// product the bits of both factors.
    #[cfg_attr(not(target_arch = "x86_64"), allow(dead_code))] // AMX asks.
    const FITS_16_BITS: bool;

    /// Weights `32 · part …` of a block.
    ///
    /// # Safety
    /// See [`Simd`]; `block` points at [`BYTES`](Self::BYTES) bytes and `part`
    /// is below `LEN / 32`.
    unsafe fn decode<S: Simd>(block: *const u8, part: usize) -> S::V;

    /// Adds the products of those weights and `x`. The same sum as that of
    /// decoded weights but for rounding: a scale that 32 weights share is
    /// multiplied once.
    ///
    /// # Safety
    /// As for [`decode`](Self::decode).
    #[inline(always)]
    unsafe fn accumulate<S: Simd>(block: *const u8, part: usize, x: S::V, sum: S::Sum) -> S::Sum {
        // SAFETY: the caller's.
        unsafe { S::add_products(Self::decode::<S>(block, part), x, sum) }
    }
}

/// Bytes between the weights in use and those being fetched.
const PREFETCH: usize = 4096;

static UNSIGNED: Codes = Codes::from(0);
static FROM_MINUS_8: Codes = Codes::from(-8);
static FROM_MINUS_16: Codes = Codes::from(-16);
/// GGML's `kvalues_iq4nl`.
static IQ4: Codes = Codes::new([
    -127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113,
]);

/// Bit `at` of 32 bytes.
///
/// # Safety
/// See [`Simd`]; 32 bytes at `bytes`.
#[inline(always)]
unsafe fn bit<S: Simd>(bytes: *const u8, at: usize) -> S::V {
    // SAFETY: the caller's.
    unsafe {
        match at {
            0 => S::load_field::<0>(bytes, 1),
            1 => S::load_field::<1>(bytes, 1),
            2 => S::load_field::<2>(bytes, 1),
            3 => S::load_field::<3>(bytes, 1),
            4 => S::load_field::<4>(bytes, 1),
            5 => S::load_field::<5>(bytes, 1),
            6 => S::load_field::<6>(bytes, 1),
            _ => S::load_field::<7>(bytes, 1),
        }
    }
}

/// Bits `2 · at` and the next of 32 bytes.
///
/// # Safety
/// See [`Simd`]; 32 bytes at `bytes`.
#[inline(always)]
unsafe fn two_bits<S: Simd>(bytes: *const u8, at: usize) -> S::V {
    // SAFETY: the caller's.
    unsafe {
        match at {
            0 => S::load_field::<0>(bytes, 3),
            1 => S::load_field::<2>(bytes, 3),
            2 => S::load_field::<4>(bytes, 3),
            _ => S::load_field::<6>(bytes, 3),
        }
    }
}

/// Low (0) or high (1) nibbles of 32 bytes.
///
/// # Safety
/// See [`Simd`]; 32 bytes at `bytes`.
#[inline(always)]
unsafe fn nibble<S: Simd>(bytes: *const u8, at: usize) -> S::V {
    // SAFETY: the caller's.
    unsafe {
        match at {
            0 => S::load_field::<0>(bytes, 15),
            _ => S::load_field::<4>(bytes, 15),
        }
    }
}

/// Nibbles with a fifth bit each, which adds 16.
///
/// # Safety
/// See [`Simd`]; 4 bytes at `high`, 16 at `low`.
#[inline(always)]
unsafe fn fifth<S: Simd>(high: *const u8, low: *const u8, codes: &'static Codes) -> S::V {
    // SAFETY: the caller's.
    unsafe {
        let bits = high.cast::<u32>().read_unaligned().to_le();
        S::add_where(bits, S::load_nibbles(low, codes), 16.0)
    }
}

/// Scale of group `part` of an IQ4_XS block.
///
/// # Safety
/// See [`Simd`]; `block` holds a block.
#[inline(always)]
unsafe fn iq4_scale<S: Simd>(block: *const u8, part: usize) -> f32 {
    // SAFETY: 2 bytes of high bits at 2, 4 of low bits at 4.
    let (high, low) = unsafe {
        (
            block.add(2).cast::<u16>().read_unaligned().to_le(),
            block.add(4 + part / 2).read(),
        )
    };
    let low = low >> (4 * (part % 2)) & 15;
    let high = (high >> (2 * part) & 3) as u8;
    // SAFETY: the caller's.
    unsafe { half::<S>(block, 0) * (f32::from(low | high << 4) - 32.0) }
}

/// # Safety
/// `block` has two bytes at `at`; see [`Simd`].
#[inline(always)]
unsafe fn half<S: Simd>(block: *const u8, at: usize) -> f32 {
    // SAFETY: the caller's.
    unsafe { S::f16(block.add(at).cast::<u16>().read_unaligned().to_le()) }
}

macro_rules! block {
    (
        $(#[$doc:meta])* $name:ident $len:literal $bytes:literal $fits:literal,
        |$s:ident, $b:ident, $part:ident| $decode:expr
        $(, |$x:ident, $sum:ident| $accumulate:expr)?
    ) => {
        $(#[$doc])*
        pub(super) struct $name;

        impl Block for $name {
            const LEN: usize = $len;
            const BYTES: usize = $bytes;
            const FITS_16_BITS: bool = $fits;

            #[inline(always)]
            unsafe fn decode<$s: Simd>($b: *const u8, $part: usize) -> $s::V {
                // SAFETY: all offsets lie within the block.
                unsafe { $decode }
            }

            $(
                #[inline(always)]
                unsafe fn accumulate<$s: Simd>(
                    $b: *const u8,
                    $part: usize,
                    $x: $s::V,
                    $sum: $s::Sum,
                ) -> $s::Sum {
                    // SAFETY: as above.
                    unsafe { $accumulate }
                }
            )?
        }
    };
}

block!(
    /// Plain floats.
F32 32 128 false, |S, b, _part| S::load(b.cast())
);
block!(
    /// IEEE half precision.
F16 32 64 true, |S, b, _part| S::load_f16(b)
);
block!(
    /// The upper half of an f32.
Bf16 32 64 true, |S, b, _part| S::load_bf16(b)
);
block!(
    /// `d · (q − 8)`.
Q4_0 32 18 true,
    |S, b, _part| S::mul(S::load_nibbles(b.add(2), &FROM_MINUS_8), S::splat(half::<S>(b, 0))),
    |x, sum| S::add_scaled_products(S::load_nibbles(b.add(2), &FROM_MINUS_8), x, half::<S>(b, 0), sum)
);
block!(
    /// `d · q + m`.
Q4_1 32 20 false,
    |S, b, _part| {
        let scaled = S::mul(S::load_nibbles(b.add(4), &UNSIGNED), S::splat(half::<S>(b, 0)));
        S::add(scaled, S::splat(half::<S>(b, 2)))
    },
    |x, sum| {
        let q = S::load_nibbles(b.add(4), &UNSIGNED);
        let sum = S::add_scaled_products(q, x, half::<S>(b, 0), sum);
        S::add_scaled(x, half::<S>(b, 2), sum)
    }
);
block!(
    /// `d · (q − 16)`, the fifth bits apart.
Q5_0 32 22 true,
    |S, b, _part| S::mul(fifth::<S>(b.add(2), b.add(6), &FROM_MINUS_16), S::splat(half::<S>(b, 0))),
    |x, sum| {
        let q = fifth::<S>(b.add(2), b.add(6), &FROM_MINUS_16);
        S::add_scaled_products(q, x, half::<S>(b, 0), sum)
    }
);
block!(
    /// `d · q + m`, the fifth bits apart.
Q5_1 32 24 false,
    |S, b, _part| {
        let q = fifth::<S>(b.add(4), b.add(8), &UNSIGNED);
        S::add(S::mul(q, S::splat(half::<S>(b, 0))), S::splat(half::<S>(b, 2)))
    },
    |x, sum| {
        let q = fifth::<S>(b.add(4), b.add(8), &UNSIGNED);
        let sum = S::add_scaled_products(q, x, half::<S>(b, 0), sum);
        S::add_scaled(x, half::<S>(b, 2), sum)
    }
);
block!(
    /// `d · q`.
Q8_0 32 34 false,
    |S, b, _part| S::mul(S::load_i8(b.add(2)), S::splat(half::<S>(b, 0))),
    |x, sum| S::add_scaled_products(S::load_i8(b.add(2)), x, half::<S>(b, 0), sum)
);
block!(
    /// `d · code(q)`.
Iq4Nl 32 18 false,
    |S, b, _part| S::mul(S::load_nibbles(b.add(2), &IQ4), S::splat(half::<S>(b, 0))),
    |x, sum| S::add_scaled_products(S::load_nibbles(b.add(2), &IQ4), x, half::<S>(b, 0), sum)
);
block!(
    /// 8 groups of 32 with 6-bit scales, `code(q)` as in IQ4_NL.
Iq4Xs 256 136 false,
    |S, b, part| S::mul(S::load_nibbles(b.add(8 + 16 * part), &IQ4), S::splat(iq4_scale::<S>(b, part))),
    |x, sum| S::add_scaled_products(
        S::load_nibbles(b.add(8 + 16 * part), &IQ4), x, iq4_scale::<S>(b, part), sum
    )
);
block!(
    /// 16 groups of 16 with 4-bit scales and minima.
Q2K 256 84 false, |S, b, part| {
        let (d, min) = (half::<S>(b, 80), half::<S>(b, 82));
        let bytes = b.add(16 + 32 * (part / 4));
        let q = two_bits::<S>(bytes, part % 4);
        let [low, high] = [b.add(2 * part).read(), b.add(2 * part + 1).read()];
        let scale = S::splat_halves(d * f32::from(low & 15), d * f32::from(high & 15));
        let min = S::splat_halves(min * f32::from(low >> 4), min * f32::from(high >> 4));
        S::sub(S::mul(q, scale), min)
    }
);
block!(
    /// 16 groups of 16 with 6-bit scales; the third bits apart, and inverted.
Q3K 256 110 false, |S, b, part| {
        let d = half::<S>(b, 108);
        let bytes = b.add(32 + 32 * (part / 4));
        let q = two_bits::<S>(bytes, part % 4);
        let high = bit::<S>(b, part);
        let q = S::add(q, S::mul(S::sub(high, S::splat(1.0)), S::splat(4.0)));
        let scale = |group: usize| {
            // 12 bytes at 96: 4 low bits of 16 scales, then their 2 high bits.
            let (low, high) = (b.add(96 + group % 8).read(), b.add(104 + group % 4).read());
            let bits = low >> (4 * (group / 8)) & 15 | (high >> (2 * (group / 4)) & 3) << 4;
            d * (f32::from(bits) - 32.0)
        };
        S::mul(q, S::splat_halves(scale(2 * part), scale(2 * part + 1)))
    }
);

/// 6-bit scale and minimum of group `part` of a Q4_K or Q5_K block.
///
/// # Safety
/// `block` holds the 12 packed bytes at 4.
#[inline(always)]
unsafe fn scale_min(block: *const u8, part: usize) -> (f32, f32) {
    // SAFETY: the caller's.
    let byte = |i: usize| unsafe { block.add(4 + i).read() };
    let (scale, min) = if part < 4 {
        (byte(part) & 63, byte(part + 4) & 63)
    } else {
        (
            byte(part + 4) & 15 | byte(part - 4) >> 6 << 4,
            byte(part + 4) >> 4 | byte(part) >> 6 << 4,
        )
    };
    (f32::from(scale), f32::from(min))
}

block!(
    /// 8 groups of 32 with 6-bit scales and minima.
Q4K 256 144 false, |S, b, part| {
        let (d, dmin) = (half::<S>(b, 0), half::<S>(b, 2));
        let (scale, min) = scale_min(b, part);
        let bytes = b.add(16 + 32 * (part / 2));
        let q = nibble::<S>(bytes, part % 2);
        S::sub(S::mul(q, S::splat(d * scale)), S::splat(dmin * min))
    },
    |x, sum| {
        let (d, dmin) = (half::<S>(b, 0), half::<S>(b, 2));
        let (scale, min) = scale_min(b, part);
        let bytes = b.add(16 + 32 * (part / 2));
        let q = nibble::<S>(bytes, part % 2);
        S::add_scaled(x, -dmin * min, S::add_scaled_products(q, x, d * scale, sum))
    }
);
block!(
    /// As Q4_K, the fifth bits apart.
Q5K 256 176 false, |S, b, part| {
        let (d, dmin) = (half::<S>(b, 0), half::<S>(b, 2));
        let (scale, min) = scale_min(b, part);
        let bytes = b.add(48 + 32 * (part / 2));
        let low = nibble::<S>(bytes, part % 2);
        let high = b.add(16);
        let high = bit::<S>(high, part);
        let q = S::fma(high, S::splat(16.0), low);
        S::sub(S::mul(q, S::splat(d * scale)), S::splat(dmin * min))
    }
);
block!(
    /// 16 groups of 16 with 8-bit scales; the two high bits apart.
Q6K 256 210 false, |S, b, part| {
        let d = half::<S>(b, 208);
        let low = b.add(64 * (part / 4) + 32 * (part % 2));
        let high = b.add(128 + 32 * (part / 4));
        let low = nibble::<S>(low, part % 4 / 2);
        let high = two_bits::<S>(high, part % 4);
        let q = S::sub(S::fma(high, S::splat(16.0), low), S::splat(32.0));
        let scale = |group: usize| d * f32::from(b.add(192 + group).cast::<i8>().read());
        S::mul(q, S::splat_halves(scale(2 * part), scale(2 * part + 1)))
    }
);

/// `Σ w · x` of `R` rows that lie one behind the other. Several at a time keep
/// more additions in flight and read `x` less often.
///
/// # Safety
/// See [`Simd`]; each row holds `len` weights in blocks of `B`, a tail that
/// fills no block only where blocks are single values; `x` holds `len` floats.
#[inline(always)]
pub(super) unsafe fn dot<S: Simd, B: Block, const R: usize>(
    rows: *const u8,
    row_bytes: usize,
    x: *const f32,
    len: usize,
) -> [f32; R] {
    // SAFETY: the caller's.
    unsafe {
        let mut sums = [S::zero_sum(); R];
        let blocks = len / B::LEN;
        for block in 0..blocks {
            // As many lines as the rows' blocks take, in the order of memory:
            // the rows are too short, and too many are read at once, for the
            // processor to see ahead by itself.
            let ahead = rows.wrapping_add(block * R * B::BYTES + PREFETCH);
            for line in 0..(R * B::BYTES).div_ceil(64) {
                S::prefetch(ahead.wrapping_add(64 * line));
            }
            for part in 0..B::LEN / LANES {
                let x = S::load(x.add(block * B::LEN + part * LANES));
                for (r, sum) in sums.iter_mut().enumerate() {
                    let bytes = rows.add(r * row_bytes + block * B::BYTES);
                    *sum = B::accumulate::<S>(bytes, part, x, *sum);
                }
            }
        }
        let mut totals = [0f32; R];
        let done = blocks * B::LEN;
        for (r, total) in totals.iter_mut().enumerate() {
            *total = S::total(sums[r]);
            if done < len {
                let tail = rows.add(r * row_bytes + blocks * B::BYTES);
                let tail = decode_tail::<S, B>(tail, len - done);
                for (index, weight) in tail[..len - done].iter().enumerate() {
                    *total += weight * x.add(done + index).read();
                }
            }
        }
        totals
    }
}

/// Writes the weights `start..start + len` of a row; `start` is a multiple of
/// the block.
///
/// # Safety
/// See [`dot`]; `out` has room for `len` floats.
#[inline(always)]
pub(super) unsafe fn decode_row<S: Simd, B: Block>(
    row: *const u8,
    start: usize,
    len: usize,
    out: *mut f32,
) {
    // SAFETY: the caller's.
    unsafe {
        let row = row.add(start / B::LEN * B::BYTES);
        let blocks = len / B::LEN;
        for block in 0..blocks {
            for part in 0..B::LEN / LANES {
                let weights = B::decode::<S>(row.add(block * B::BYTES), part);
                S::store(out.add(block * B::LEN + part * LANES), weights);
            }
        }
        let done = blocks * B::LEN;
        if done < len {
            let tail = decode_tail::<S, B>(row.add(blocks * B::BYTES), len - done);
            std::ptr::copy_nonoverlapping(tail.as_ptr(), out.add(done), len - done);
        }
    }
}

/// The first `len ≤ 32` values at `values`, the beginning of a block.
///
/// # Safety
/// See [`dot`].
#[inline(always)]
pub(super) unsafe fn decode_part<S: Simd, B: Block>(values: *const u8, len: usize) -> S::V {
    // SAFETY: the caller's.
    unsafe {
        if len == LANES {
            B::decode::<S>(values, 0)
        } else {
            S::load(decode_tail::<S, B>(values, len).as_ptr())
        }
    }
}

/// The `len < 32` values that fill no block; only types of single values have
/// such rows.
///
/// # Safety
/// See [`dot`].
#[inline(always)]
unsafe fn decode_tail<S: Simd, B: Block>(values: *const u8, len: usize) -> [f32; LANES] {
    // SAFETY: a block of single values has `BYTES / LEN` bytes each, and 128 at
    // most.
    unsafe {
        let mut bytes = [0u8; 128];
        std::ptr::copy_nonoverlapping(values, bytes.as_mut_ptr(), len * (B::BYTES / B::LEN));
        let mut floats = [0f32; LANES];
        S::store(floats.as_mut_ptr(), B::decode::<S>(bytes.as_ptr(), 0));
        floats
    }
}
