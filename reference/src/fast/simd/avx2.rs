//! AVX2: four registers of 8.

// Every block here passes on the trait's own contract.
#![allow(clippy::undocumented_unsafe_blocks)]

use std::arch::x86_64::*;

use super::{Codes, F16_TO_F32, Simd};

/// AVX2, FMA and F16C.
#[derive(Clone, Copy)]
pub(in crate::fast) struct Avx2;

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
        ]
    };
}

impl Simd for Avx2 {
    type V = [__m256; 4];
    type Sum = __m256;

    // 12 of 16 registers accumulate.
    const ROWS: usize = 3;

    #[inline(always)]
    unsafe fn splat(x: f32) -> Self::V {
        unsafe { [_mm256_set1_ps(x); 4] }
    }

    #[inline(always)]
    unsafe fn splat_halves(low: f32, high: f32) -> Self::V {
        unsafe {
            let (low, high) = (_mm256_set1_ps(low), _mm256_set1_ps(high));
            [low, low, high, high]
        }
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self::V {
        unsafe { each!(i => _mm256_loadu_ps(from.add(8 * i))) }
    }

    #[inline(always)]
    unsafe fn store(to: *mut f32, v: Self::V) {
        unsafe {
            each!(i => _mm256_storeu_ps(to.add(8 * i), v[i]));
        }
    }

    #[inline(always)]
    unsafe fn add(a: Self::V, b: Self::V) -> Self::V {
        unsafe { each!(i => _mm256_add_ps(a[i], b[i])) }
    }

    #[inline(always)]
    unsafe fn sub(a: Self::V, b: Self::V) -> Self::V {
        unsafe { each!(i => _mm256_sub_ps(a[i], b[i])) }
    }

    #[inline(always)]
    unsafe fn mul(a: Self::V, b: Self::V) -> Self::V {
        unsafe { each!(i => _mm256_mul_ps(a[i], b[i])) }
    }

    #[inline(always)]
    unsafe fn div(a: Self::V, b: Self::V) -> Self::V {
        unsafe { each!(i => _mm256_div_ps(a[i], b[i])) }
    }

    #[inline(always)]
    unsafe fn sqrt(a: Self::V) -> Self::V {
        unsafe { each!(i => _mm256_sqrt_ps(a[i])) }
    }

    #[inline(always)]
    unsafe fn max(a: Self::V, b: Self::V) -> Self::V {
        unsafe { each!(i => _mm256_max_ps(a[i], b[i])) }
    }

    #[inline(always)]
    unsafe fn min(a: Self::V, b: Self::V) -> Self::V {
        unsafe { each!(i => _mm256_min_ps(a[i], b[i])) }
    }

    #[inline(always)]
    unsafe fn fma(a: Self::V, b: Self::V, c: Self::V) -> Self::V {
        unsafe { each!(i => _mm256_fmadd_ps(a[i], b[i], c[i])) }
    }

    #[inline(always)]
    unsafe fn round(a: Self::V) -> Self::V {
        const NEAREST: i32 = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;
        unsafe { each!(i => _mm256_round_ps::<NEAREST>(a[i])) }
    }

    #[inline(always)]
    unsafe fn scale(a: Self::V, n: Self::V) -> Self::V {
        unsafe {
            each!(i => {
                let exponent = _mm256_add_epi32(_mm256_cvtps_epi32(n[i]), _mm256_set1_epi32(127));
                let power = _mm256_castsi256_ps(_mm256_slli_epi32::<23>(exponent));
                _mm256_mul_ps(a[i], power)
            })
        }
    }

    #[inline(always)]
    unsafe fn where_le(a: Self::V, b: Self::V, x: Self::V, y: Self::V) -> Self::V {
        unsafe {
            each!(i => {
                let le = _mm256_cmp_ps::<_CMP_LE_OQ>(a[i], b[i]);
                _mm256_blendv_ps(y[i], x[i], le)
            })
        }
    }

    #[inline(always)]
    unsafe fn sum(a: Self::V) -> f32 {
        unsafe {
            let low = _mm256_add_ps(a[0], a[1]);
            Self::total(_mm256_add_ps(low, _mm256_add_ps(a[2], a[3])))
        }
    }

    #[inline(always)]
    unsafe fn zero_sum() -> Self::Sum {
        unsafe { _mm256_setzero_ps() }
    }

    #[inline(always)]
    unsafe fn add_products(a: Self::V, b: Self::V, sum: Self::Sum) -> Self::Sum {
        unsafe {
            let sum = _mm256_fmadd_ps(a[1], b[1], _mm256_fmadd_ps(a[0], b[0], sum));
            _mm256_fmadd_ps(a[3], b[3], _mm256_fmadd_ps(a[2], b[2], sum))
        }
    }

    #[inline(always)]
    unsafe fn add_scaled_products(a: Self::V, b: Self::V, scale: f32, sum: Self::Sum) -> Self::Sum {
        unsafe {
            let low = _mm256_fmadd_ps(a[1], b[1], _mm256_mul_ps(a[0], b[0]));
            let all = _mm256_fmadd_ps(a[3], b[3], _mm256_fmadd_ps(a[2], b[2], low));
            _mm256_fmadd_ps(all, _mm256_set1_ps(scale), sum)
        }
    }

    #[inline(always)]
    unsafe fn add_scaled(a: Self::V, scale: f32, sum: Self::Sum) -> Self::Sum {
        unsafe {
            let (low, high) = (_mm256_add_ps(a[0], a[1]), _mm256_add_ps(a[2], a[3]));
            _mm256_fmadd_ps(_mm256_add_ps(low, high), _mm256_set1_ps(scale), sum)
        }
    }

    #[inline(always)]
    unsafe fn total(eight: Self::Sum) -> f32 {
        unsafe {
            let four = _mm_add_ps(
                _mm256_castps256_ps128(eight),
                _mm256_extractf128_ps::<1>(eight),
            );
            let two = _mm_add_ps(four, _mm_movehl_ps(four, four));
            _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)))
        }
    }

    #[inline(always)]
    unsafe fn largest(a: Self::V) -> f32 {
        unsafe {
            let eight = _mm256_max_ps(_mm256_max_ps(a[0], a[1]), _mm256_max_ps(a[2], a[3]));
            let four = _mm_max_ps(
                _mm256_castps256_ps128(eight),
                _mm256_extractf128_ps::<1>(eight),
            );
            let two = _mm_max_ps(four, _mm_movehl_ps(four, four));
            _mm_cvtss_f32(_mm_max_ss(two, _mm_movehdup_ps(two)))
        }
    }

    #[inline(always)]
    unsafe fn prefetch(at: *const u8) {
        unsafe { _mm_prefetch::<_MM_HINT_T0>(at.cast()) }
    }

    #[inline(always)]
    unsafe fn f16(bits: u16) -> f32 {
        F16_TO_F32[usize::from(bits)]
    }

    #[inline(always)]
    unsafe fn load_f16(from: *const u8) -> Self::V {
        unsafe { each!(i => _mm256_cvtph_ps(_mm_loadu_si128(from.add(16 * i).cast()))) }
    }

    #[inline(always)]
    unsafe fn load_bf16(from: *const u8) -> Self::V {
        unsafe {
            each!(i => {
                let wide = _mm256_cvtepu16_epi32(_mm_loadu_si128(from.add(16 * i).cast()));
                _mm256_castsi256_ps(_mm256_slli_epi32::<16>(wide))
            })
        }
    }

    #[inline(always)]
    unsafe fn load_i8(from: *const u8) -> Self::V {
        unsafe {
            each!(i => {
                let bytes = _mm_loadl_epi64(from.add(8 * i).cast());
                _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(bytes))
            })
        }
    }

    #[inline(always)]
    unsafe fn load_nibbles(from: *const u8, codes: &'static Codes) -> Self::V {
        unsafe {
            let codes = _mm_loadu_si128(codes.bytes.as_ptr().cast());
            let bytes = _mm_loadu_si128(from.cast());
            let mask = _mm_set1_epi8(15);
            let low = _mm_shuffle_epi8(codes, _mm_and_si128(bytes, mask));
            let high = _mm_srli_epi16::<4>(bytes);
            let high = _mm_shuffle_epi8(codes, _mm_and_si128(high, mask));
            let eights = [
                low,
                _mm_srli_si128::<8>(low),
                high,
                _mm_srli_si128::<8>(high),
            ];
            each!(i => _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(eights[i])))
        }
    }

    #[inline(always)]
    unsafe fn load_field<const SHIFT: i32>(from: *const u8, mask: u8) -> Self::V {
        unsafe {
            let mask = _mm256_set1_epi32(i32::from(mask));
            each!(i => {
                let wide = _mm256_cvtepu8_epi32(_mm_loadl_epi64(from.add(8 * i).cast()));
                let shifted = _mm256_srl_epi32(wide, _mm_cvtsi32_si128(SHIFT));
                _mm256_cvtepi32_ps(_mm256_and_si256(shifted, mask))
            })
        }
    }

    #[inline(always)]
    unsafe fn add_where(bits: u32, a: Self::V, x: f32) -> Self::V {
        unsafe {
            let all = _mm256_set1_epi32(bits.cast_signed());
            let first = _mm256_setr_epi32(1, 2, 4, 8, 16, 32, 64, 128);
            let x = _mm256_set1_ps(x);
            each!(i => {
                let bit = _mm256_sll_epi32(first, _mm_cvtsi32_si128(8 * i as i32));
                let set = _mm256_cmpeq_epi32(_mm256_and_si256(all, bit), bit);
                _mm256_add_ps(a[i], _mm256_and_ps(_mm256_castsi256_ps(set), x))
            })
        }
    }
}
