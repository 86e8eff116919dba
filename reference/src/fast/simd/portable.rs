//! Plain loops over arrays, for any processor.

// Every block here passes on the trait's own contract.
#![allow(clippy::undocumented_unsafe_blocks)]

use half::{bf16, f16};

use super::{Codes, LANES, Simd};

/// No special instructions.
#[derive(Clone, Copy)]
pub(in crate::fast) struct Portable;

#[inline(always)]
fn each(f: impl Fn(usize) -> f32) -> [f32; LANES] {
    std::array::from_fn(f)
}

impl Simd for Portable {
    type V = [f32; LANES];
    type Sum = [f32; LANES];

    const ROWS: usize = 1;

    #[inline(always)]
    unsafe fn splat(x: f32) -> Self::V {
        [x; LANES]
    }

    #[inline(always)]
    unsafe fn splat_halves(low: f32, high: f32) -> Self::V {
        each(|i| if i < LANES / 2 { low } else { high })
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self::V {
        unsafe { from.cast::<Self::V>().read_unaligned() }
    }

    #[inline(always)]
    unsafe fn store(to: *mut f32, v: Self::V) {
        unsafe { to.cast::<Self::V>().write_unaligned(v) }
    }

    #[inline(always)]
    unsafe fn add(a: Self::V, b: Self::V) -> Self::V {
        each(|i| a[i] + b[i])
    }

    #[inline(always)]
    unsafe fn sub(a: Self::V, b: Self::V) -> Self::V {
        each(|i| a[i] - b[i])
    }

    #[inline(always)]
    unsafe fn mul(a: Self::V, b: Self::V) -> Self::V {
        each(|i| a[i] * b[i])
    }

    #[inline(always)]
    unsafe fn div(a: Self::V, b: Self::V) -> Self::V {
        each(|i| a[i] / b[i])
    }

    #[inline(always)]
    unsafe fn sqrt(a: Self::V) -> Self::V {
        each(|i| a[i].sqrt())
    }

    #[inline(always)]
    unsafe fn max(a: Self::V, b: Self::V) -> Self::V {
        each(|i| if a[i] > b[i] { a[i] } else { b[i] })
    }

    #[inline(always)]
    unsafe fn min(a: Self::V, b: Self::V) -> Self::V {
        each(|i| if a[i] < b[i] { a[i] } else { b[i] })
    }

    #[inline(always)]
    unsafe fn fma(a: Self::V, b: Self::V, c: Self::V) -> Self::V {
        each(|i| a[i] * b[i] + c[i])
    }

    #[inline(always)]
    unsafe fn round(a: Self::V) -> Self::V {
        each(|i| a[i].round_ties_even())
    }

    #[inline(always)]
    unsafe fn scale(a: Self::V, n: Self::V) -> Self::V {
        each(|i| a[i] * f32::from_bits(((n[i] as i32 + 127) as u32) << 23))
    }

    #[inline(always)]
    unsafe fn where_le(a: Self::V, b: Self::V, x: Self::V, y: Self::V) -> Self::V {
        each(|i| if a[i] <= b[i] { x[i] } else { y[i] })
    }

    #[inline(always)]
    unsafe fn sum(a: Self::V) -> f32 {
        a.iter().sum()
    }

    #[inline(always)]
    unsafe fn zero_sum() -> Self::Sum {
        [0.0; LANES]
    }

    #[inline(always)]
    unsafe fn add_products(a: Self::V, b: Self::V, sum: Self::Sum) -> Self::Sum {
        each(|i| a[i] * b[i] + sum[i])
    }

    #[inline(always)]
    unsafe fn add_scaled_products(a: Self::V, b: Self::V, scale: f32, sum: Self::Sum) -> Self::Sum {
        each(|i| scale * (a[i] * b[i]) + sum[i])
    }

    #[inline(always)]
    unsafe fn add_scaled(a: Self::V, scale: f32, sum: Self::Sum) -> Self::Sum {
        each(|i| scale * a[i] + sum[i])
    }

    #[inline(always)]
    unsafe fn total(sum: Self::Sum) -> f32 {
        sum.iter().sum()
    }

    #[inline(always)]
    unsafe fn largest(a: Self::V) -> f32 {
        a.into_iter().fold(f32::NEG_INFINITY, f32::max)
    }

    #[inline(always)]
    unsafe fn prefetch(_at: *const u8) {
        // There is no portable way to ask.
    }

    #[inline(always)]
    unsafe fn f16(bits: u16) -> f32 {
        f16::from_bits(bits).to_f32()
    }

    #[inline(always)]
    unsafe fn load_f16(from: *const u8) -> Self::V {
        let bits: [u16; LANES] = unsafe { from.cast::<[u16; LANES]>().read_unaligned() };
        each(|i| f16::from_bits(bits[i]).to_f32())
    }

    #[inline(always)]
    unsafe fn load_bf16(from: *const u8) -> Self::V {
        let bits: [u16; LANES] = unsafe { from.cast::<[u16; LANES]>().read_unaligned() };
        each(|i| bf16::from_bits(bits[i]).to_f32())
    }

    #[inline(always)]
    unsafe fn load_i8(from: *const u8) -> Self::V {
        let bytes: [i8; LANES] = unsafe { from.cast::<[i8; LANES]>().read() };
        each(|i| f32::from(bytes[i]))
    }

    #[inline(always)]
    unsafe fn load_nibbles(from: *const u8, codes: &'static Codes) -> Self::V {
        let bytes: [u8; LANES / 2] = unsafe { from.cast::<[u8; LANES / 2]>().read() };
        each(|i| {
            let byte = bytes[i % (LANES / 2)];
            codes.floats[usize::from(if i < LANES / 2 { byte & 15 } else { byte >> 4 })]
        })
    }

    #[inline(always)]
    unsafe fn load_field<const SHIFT: i32>(from: *const u8, mask: u8) -> Self::V {
        let bytes: [u8; LANES] = unsafe { from.cast::<[u8; LANES]>().read() };
        each(|i| f32::from(bytes[i] >> SHIFT & mask))
    }

    #[inline(always)]
    unsafe fn add_where(bits: u32, a: Self::V, x: f32) -> Self::V {
        each(|i| a[i] + x * (bits >> i & 1) as f32)
    }
}
