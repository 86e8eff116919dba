//! AVX-512: two registers of 16.

// Every block here passes on the trait's own contract.
#![allow(clippy::undocumented_unsafe_blocks)]

use std::arch::x86_64::*;

use super::{Codes, F16_TO_F32, Simd};

/// AVX-512 F, BW, DQ, VL and F16C.
#[derive(Clone, Copy)]
pub(in crate::fast) struct Avx512;

/// One expression per register. Closures would do, but could fail to be inlined
/// where the instructions are enabled.
macro_rules! both {
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
        ]
    };
}

impl Simd for Avx512 {
    type V = [__m512; 2];
    type Sum = __m512;

    // 24 of 32 registers accumulate.
    const ROWS: usize = 12;

    #[inline(always)]
    unsafe fn splat(x: f32) -> Self::V {
        unsafe { [_mm512_set1_ps(x); 2] }
    }

    #[inline(always)]
    unsafe fn splat_halves(low: f32, high: f32) -> Self::V {
        unsafe { [_mm512_set1_ps(low), _mm512_set1_ps(high)] }
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self::V {
        unsafe { both!(i => _mm512_loadu_ps(from.add(16 * i))) }
    }

    #[inline(always)]
    unsafe fn store(to: *mut f32, v: Self::V) {
        unsafe {
            _mm512_storeu_ps(to, v[0]);
            _mm512_storeu_ps(to.add(16), v[1]);
        }
    }

    #[inline(always)]
    unsafe fn add(a: Self::V, b: Self::V) -> Self::V {
        unsafe { both!(i => _mm512_add_ps(a[i], b[i])) }
    }

    #[inline(always)]
    unsafe fn sub(a: Self::V, b: Self::V) -> Self::V {
        unsafe { both!(i => _mm512_sub_ps(a[i], b[i])) }
    }

    #[inline(always)]
    unsafe fn mul(a: Self::V, b: Self::V) -> Self::V {
        unsafe { both!(i => _mm512_mul_ps(a[i], b[i])) }
    }

    #[inline(always)]
    unsafe fn div(a: Self::V, b: Self::V) -> Self::V {
        unsafe { both!(i => _mm512_div_ps(a[i], b[i])) }
    }

    #[inline(always)]
    unsafe fn sqrt(a: Self::V) -> Self::V {
        unsafe { both!(i => _mm512_sqrt_ps(a[i])) }
    }

    #[inline(always)]
    unsafe fn max(a: Self::V, b: Self::V) -> Self::V {
        unsafe { both!(i => _mm512_max_ps(a[i], b[i])) }
    }

    #[inline(always)]
    unsafe fn min(a: Self::V, b: Self::V) -> Self::V {
        unsafe { both!(i => _mm512_min_ps(a[i], b[i])) }
    }

    #[inline(always)]
    unsafe fn fma(a: Self::V, b: Self::V, c: Self::V) -> Self::V {
        unsafe { both!(i => _mm512_fmadd_ps(a[i], b[i], c[i])) }
    }

    #[inline(always)]
    unsafe fn round(a: Self::V) -> Self::V {
        const NEAREST: i32 = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;
        unsafe { both!(i => _mm512_roundscale_ps::<NEAREST>(a[i])) }
    }

    #[inline(always)]
    unsafe fn scale(a: Self::V, n: Self::V) -> Self::V {
        unsafe { both!(i => _mm512_scalef_ps(a[i], n[i])) }
    }

    #[inline(always)]
    unsafe fn where_le(a: Self::V, b: Self::V, x: Self::V, y: Self::V) -> Self::V {
        unsafe {
            both!(i => {
                let le = _mm512_cmp_ps_mask::<_CMP_LE_OQ>(a[i], b[i]);
                _mm512_mask_blend_ps(le, y[i], x[i])
            })
        }
    }

    #[inline(always)]
    unsafe fn sum(a: Self::V) -> f32 {
        unsafe { _mm512_reduce_add_ps(_mm512_add_ps(a[0], a[1])) }
    }

    #[inline(always)]
    unsafe fn zero_sum() -> Self::Sum {
        unsafe { _mm512_setzero_ps() }
    }

    #[inline(always)]
    unsafe fn add_products(a: Self::V, b: Self::V, sum: Self::Sum) -> Self::Sum {
        unsafe { _mm512_fmadd_ps(a[1], b[1], _mm512_fmadd_ps(a[0], b[0], sum)) }
    }

    #[inline(always)]
    unsafe fn add_scaled_products(a: Self::V, b: Self::V, scale: f32, sum: Self::Sum) -> Self::Sum {
        unsafe {
            let products = _mm512_fmadd_ps(a[1], b[1], _mm512_mul_ps(a[0], b[0]));
            _mm512_fmadd_ps(products, _mm512_set1_ps(scale), sum)
        }
    }

    #[inline(always)]
    unsafe fn add_scaled(a: Self::V, scale: f32, sum: Self::Sum) -> Self::Sum {
        unsafe { _mm512_fmadd_ps(_mm512_add_ps(a[0], a[1]), _mm512_set1_ps(scale), sum) }
    }

    #[inline(always)]
    unsafe fn total(sum: Self::Sum) -> f32 {
        unsafe { _mm512_reduce_add_ps(sum) }
    }

    #[inline(always)]
    unsafe fn largest(a: Self::V) -> f32 {
        unsafe { _mm512_reduce_max_ps(_mm512_max_ps(a[0], a[1])) }
    }

    #[inline(always)]
    unsafe fn prefetch(at: *const u8) {
        unsafe { _mm_prefetch::<_MM_HINT_T1>(at.cast()) }
    }

    #[inline(always)]
    unsafe fn f16(bits: u16) -> f32 {
        F16_TO_F32[usize::from(bits)]
    }

    #[inline(always)]
    unsafe fn load_f16(from: *const u8) -> Self::V {
        unsafe { both!(i => _mm512_cvtph_ps(_mm256_loadu_si256(from.add(32 * i).cast()))) }
    }

    #[inline(always)]
    unsafe fn load_bf16(from: *const u8) -> Self::V {
        unsafe {
            both!(i => {
                let wide = _mm512_cvtepu16_epi32(_mm256_loadu_si256(from.add(32 * i).cast()));
                _mm512_castsi512_ps(_mm512_slli_epi32::<16>(wide))
            })
        }
    }

    #[inline(always)]
    unsafe fn load_i8(from: *const u8) -> Self::V {
        unsafe {
            both!(i => {
                let bytes = _mm_loadu_si128(from.add(16 * i).cast());
                _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(bytes))
            })
        }
    }

    #[inline(always)]
    unsafe fn load_nibbles(from: *const u8, codes: &'static Codes) -> Self::V {
        unsafe {
            // The permutation looks at the low four bits of each index only.
            let codes = _mm512_loadu_ps(codes.floats.as_ptr());
            let low = _mm512_cvtepu8_epi32(_mm_loadu_si128(from.cast()));
            let high = _mm512_srli_epi32::<4>(low);
            [
                _mm512_permutexvar_ps(low, codes),
                _mm512_permutexvar_ps(high, codes),
            ]
        }
    }

    #[inline(always)]
    unsafe fn load_field<const SHIFT: i32>(from: *const u8, mask: u8) -> Self::V {
        unsafe {
            let bytes = _mm256_loadu_si256(from.cast());
            // Bits that cross into a neighbouring byte are masked away.
            let shifted = _mm256_srl_epi16(bytes, _mm_cvtsi32_si128(SHIFT));
            let field = _mm256_and_si256(shifted, _mm256_set1_epi8(mask.cast_signed()));
            let halves = [
                _mm256_castsi256_si128(field),
                _mm256_extracti128_si256::<1>(field),
            ];
            both!(i => _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(halves[i])))
        }
    }

    #[inline(always)]
    unsafe fn add_where(bits: u32, a: Self::V, x: f32) -> Self::V {
        unsafe {
            let x = _mm512_set1_ps(x);
            both!(i => _mm512_mask_add_ps(a[i], (bits >> (16 * i)) as u16, a[i], x))
        }
    }
}
