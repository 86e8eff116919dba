//! NEON: eight registers of 4.

// Every block here passes on the trait's own contract.
#![allow(clippy::undocumented_unsafe_blocks)]

use std::arch::aarch64::*;

use half::f16;
use half::slice::HalfFloatSliceExt;

use super::{Codes, LANES, Simd};

/// NEON, which every 64-bit ARM has.
#[derive(Clone, Copy)]
pub(in crate::fast) struct Neon;

/// One expression per register. Closures would do, but could fail to be inlined
/// where the instructions are enabled.
macro_rules! each {
    ($i:ident => $body:expr) => {
        [
            {
                let $i = 0usize;
                $body
            },
            {
                let $i = 1usize;
                $body
            },
            {
                let $i = 2usize;
                $body
            },
            {
                let $i = 3usize;
                $body
            },
            {
                let $i = 4usize;
                $body
            },
            {
                let $i = 5usize;
                $body
            },
            {
                let $i = 6usize;
                $body
            },
            {
                let $i = 7usize;
                $body
            },
        ]
    };
}

/// All registers added up.
macro_rules! fold {
    ($a:expr) => {{
        let a = $a;
        let low = vaddq_f32(vaddq_f32(a[0], a[1]), vaddq_f32(a[2], a[3]));
        let high = vaddq_f32(vaddq_f32(a[4], a[5]), vaddq_f32(a[6], a[7]));
        vaddq_f32(low, high)
    }};
}

/// Products, added up in two chains.
macro_rules! products {
    ($a:expr, $b:expr) => {{
        let (a, b) = ($a, $b);
        let (mut even, mut odd) = (vmulq_f32(a[0], b[0]), vmulq_f32(a[1], b[1]));
        even = vfmaq_f32(even, a[2], b[2]);
        odd = vfmaq_f32(odd, a[3], b[3]);
        even = vfmaq_f32(even, a[4], b[4]);
        odd = vfmaq_f32(odd, a[5], b[5]);
        even = vfmaq_f32(even, a[6], b[6]);
        odd = vfmaq_f32(odd, a[7], b[7]);
        vaddq_f32(even, odd)
    }};
}

/// 16 signed bytes as floats.
macro_rules! widen_i8 {
    ($bytes:expr) => {{
        let bytes: int8x16_t = $bytes;
        let (low, high) = (vmovl_s8(vget_low_s8(bytes)), vmovl_high_s8(bytes));
        [
            vcvtq_f32_s32(vmovl_s16(vget_low_s16(low))),
            vcvtq_f32_s32(vmovl_high_s16(low)),
            vcvtq_f32_s32(vmovl_s16(vget_low_s16(high))),
            vcvtq_f32_s32(vmovl_high_s16(high)),
        ]
    }};
}

/// 16 unsigned bytes as floats.
macro_rules! widen_u8 {
    ($bytes:expr) => {{
        let bytes: uint8x16_t = $bytes;
        let (low, high) = (vmovl_u8(vget_low_u8(bytes)), vmovl_high_u8(bytes));
        [
            vcvtq_f32_u32(vmovl_u16(vget_low_u16(low))),
            vcvtq_f32_u32(vmovl_high_u16(low)),
            vcvtq_f32_u32(vmovl_u16(vget_low_u16(high))),
            vcvtq_f32_u32(vmovl_high_u16(high)),
        ]
    }};
}

impl Simd for Neon {
    type V = [float32x4_t; 8];
    type Sum = float32x4_t;

    // 24 of 32 registers accumulate; the panel's eight take the rest.
    const ROWS: usize = 3;

    #[inline(always)]
    unsafe fn splat(x: f32) -> Self::V {
        unsafe { [vdupq_n_f32(x); 8] }
    }

    #[inline(always)]
    unsafe fn splat_halves(low: f32, high: f32) -> Self::V {
        unsafe {
            let (low, high) = (vdupq_n_f32(low), vdupq_n_f32(high));
            [low, low, low, low, high, high, high, high]
        }
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self::V {
        unsafe { each!(i => vld1q_f32(from.add(4 * i))) }
    }

    #[inline(always)]
    unsafe fn store(to: *mut f32, v: Self::V) {
        unsafe {
            each!(i => vst1q_f32(to.add(4 * i), v[i]));
        }
    }

    #[inline(always)]
    unsafe fn add(a: Self::V, b: Self::V) -> Self::V {
        unsafe { each!(i => vaddq_f32(a[i], b[i])) }
    }

    #[inline(always)]
    unsafe fn sub(a: Self::V, b: Self::V) -> Self::V {
        unsafe { each!(i => vsubq_f32(a[i], b[i])) }
    }

    #[inline(always)]
    unsafe fn mul(a: Self::V, b: Self::V) -> Self::V {
        unsafe { each!(i => vmulq_f32(a[i], b[i])) }
    }

    #[inline(always)]
    unsafe fn div(a: Self::V, b: Self::V) -> Self::V {
        unsafe { each!(i => vdivq_f32(a[i], b[i])) }
    }

    #[inline(always)]
    unsafe fn sqrt(a: Self::V) -> Self::V {
        unsafe { each!(i => vsqrtq_f32(a[i])) }
    }

    #[inline(always)]
    unsafe fn max(a: Self::V, b: Self::V) -> Self::V {
        unsafe { each!(i => vmaxq_f32(a[i], b[i])) }
    }

    #[inline(always)]
    unsafe fn min(a: Self::V, b: Self::V) -> Self::V {
        unsafe { each!(i => vminq_f32(a[i], b[i])) }
    }

    #[inline(always)]
    unsafe fn fma(a: Self::V, b: Self::V, c: Self::V) -> Self::V {
        unsafe { each!(i => vfmaq_f32(c[i], a[i], b[i])) }
    }

    #[inline(always)]
    unsafe fn round(a: Self::V) -> Self::V {
        unsafe { each!(i => vrndnq_f32(a[i])) }
    }

    #[inline(always)]
    unsafe fn scale(a: Self::V, n: Self::V) -> Self::V {
        unsafe {
            each!(i => {
                let exponent = vaddq_s32(vcvtq_s32_f32(n[i]), vdupq_n_s32(127));
                vmulq_f32(a[i], vreinterpretq_f32_s32(vshlq_n_s32::<23>(exponent)))
            })
        }
    }

    #[inline(always)]
    unsafe fn where_le(a: Self::V, b: Self::V, x: Self::V, y: Self::V) -> Self::V {
        unsafe { each!(i => vbslq_f32(vcleq_f32(a[i], b[i]), x[i], y[i])) }
    }

    #[inline(always)]
    unsafe fn sum(a: Self::V) -> f32 {
        unsafe { Self::total(fold!(a)) }
    }

    #[inline(always)]
    unsafe fn zero_sum() -> Self::Sum {
        unsafe { vdupq_n_f32(0.0) }
    }

    #[inline(always)]
    unsafe fn add_products(a: Self::V, b: Self::V, sum: Self::Sum) -> Self::Sum {
        unsafe { vaddq_f32(sum, products!(a, b)) }
    }

    #[inline(always)]
    unsafe fn add_scaled_products(a: Self::V, b: Self::V, scale: f32, sum: Self::Sum) -> Self::Sum {
        unsafe { vfmaq_n_f32(sum, products!(a, b), scale) }
    }

    #[inline(always)]
    unsafe fn add_scaled(a: Self::V, scale: f32, sum: Self::Sum) -> Self::Sum {
        unsafe { vfmaq_n_f32(sum, fold!(a), scale) }
    }

    #[inline(always)]
    unsafe fn total(sum: Self::Sum) -> f32 {
        unsafe { vaddvq_f32(sum) }
    }

    #[inline(always)]
    unsafe fn largest(a: Self::V) -> f32 {
        unsafe {
            let low = vmaxq_f32(vmaxq_f32(a[0], a[1]), vmaxq_f32(a[2], a[3]));
            let high = vmaxq_f32(vmaxq_f32(a[4], a[5]), vmaxq_f32(a[6], a[7]));
            vmaxvq_f32(vmaxq_f32(low, high))
        }
    }

    #[inline(always)]
    unsafe fn prefetch(_at: *const u8) {
        // The intrinsic is not stable; the processors of interest prefetch well.
    }

    #[inline(always)]
    unsafe fn f16(bits: u16) -> f32 {
        f16::from_bits(bits).to_f32()
    }

    #[inline(always)]
    unsafe fn load_f16(from: *const u8) -> Self::V {
        // The intrinsic takes a type that is not stable yet; `half` has the
        // instruction.
        unsafe {
            let halves: [f16; LANES] = from.cast::<[f16; LANES]>().read_unaligned();
            let mut floats = [0f32; LANES];
            halves.convert_to_f32_slice(&mut floats);
            Self::load(floats.as_ptr())
        }
    }

    #[inline(always)]
    unsafe fn load_bf16(from: *const u8) -> Self::V {
        unsafe {
            each!(i => {
                let bits = vld1_u8(from.add(8 * i));
                vreinterpretq_f32_u32(vshll_n_u16::<16>(vreinterpret_u16_u8(bits)))
            })
        }
    }

    #[inline(always)]
    unsafe fn load_i8(from: *const u8) -> Self::V {
        unsafe {
            let low = widen_i8!(vld1q_s8(from.cast()));
            let high = widen_i8!(vld1q_s8(from.add(16).cast()));
            [
                low[0], low[1], low[2], low[3], high[0], high[1], high[2], high[3],
            ]
        }
    }

    #[inline(always)]
    unsafe fn load_nibbles(from: *const u8, codes: &'static Codes) -> Self::V {
        unsafe {
            let codes = vld1q_s8(codes.bytes.as_ptr());
            let bytes = vld1q_u8(from);
            let low = widen_i8!(vqtbl1q_s8(codes, vandq_u8(bytes, vdupq_n_u8(15))));
            let high = widen_i8!(vqtbl1q_s8(codes, vshrq_n_u8::<4>(bytes)));
            [
                low[0], low[1], low[2], low[3], high[0], high[1], high[2], high[3],
            ]
        }
    }

    #[inline(always)]
    unsafe fn load_field<const SHIFT: i32>(from: *const u8, mask: u8) -> Self::V {
        unsafe {
            let (shift, mask) = (vdupq_n_s8(-(SHIFT as i8)), vdupq_n_u8(mask));
            let low = widen_u8!(vandq_u8(vshlq_u8(vld1q_u8(from), shift), mask));
            let high = widen_u8!(vandq_u8(vshlq_u8(vld1q_u8(from.add(16)), shift), mask));
            [
                low[0], low[1], low[2], low[3], high[0], high[1], high[2], high[3],
            ]
        }
    }

    #[inline(always)]
    unsafe fn add_where(bits: u32, a: Self::V, x: f32) -> Self::V {
        const FIRST: [u32; 4] = [1, 2, 4, 8];
        unsafe {
            let first = vld1q_u32(FIRST.as_ptr());
            let x = vreinterpretq_u32_f32(vdupq_n_f32(x));
            each!(i => {
                let set = vtstq_u32(vdupq_n_u32(bits >> (4 * i)), first);
                vaddq_f32(a[i], vreinterpretq_f32_u32(vandq_u32(set, x)))
            })
        }
    }
}
