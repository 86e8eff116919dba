//! Vectors of 32 floats on whatever the processor has.
//!
//! 32 is the length of a GGML block and of a panel of tokens, so kernels are
//! written once over [`Simd::V`] and never ask how wide a register is. Which
//! instructions stand behind it is decided at run time, see [`Isa`].

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(target_arch = "aarch64")]
mod neon;
mod portable;

#[cfg(target_arch = "x86_64")]
pub(super) use avx2::Avx2;
#[cfg(target_arch = "x86_64")]
pub(super) use avx512::Avx512;
#[cfg(target_arch = "aarch64")]
pub(super) use neon::Neon;
pub(super) use portable::Portable;

/// Floats in a vector.
pub(super) const LANES: usize = 32;

/// Operations on 32 floats.
///
/// # Safety
/// All functions need the instructions that the implementing type is named for,
/// and pointers to as many readable (or writable) elements as their
/// documentation says, at any alignment.
pub(super) trait Simd: Copy + 'static {
    /// 32 floats.
    type V: Copy;

    /// One register, which sums of products are folded into.
    type Sum: Copy;

    /// Rows of a matrix whose products with a panel fit the registers.
    const ROWS: usize;

    unsafe fn splat(x: f32) -> Self::V;
    /// `low` in lanes 0–15, `high` in lanes 16–31.
    unsafe fn splat_halves(low: f32, high: f32) -> Self::V;
    /// Reads 32 floats.
    unsafe fn load(from: *const f32) -> Self::V;
    /// Writes 32 floats.
    unsafe fn store(to: *mut f32, v: Self::V);

    unsafe fn add(a: Self::V, b: Self::V) -> Self::V;
    unsafe fn sub(a: Self::V, b: Self::V) -> Self::V;
    unsafe fn mul(a: Self::V, b: Self::V) -> Self::V;
    unsafe fn div(a: Self::V, b: Self::V) -> Self::V;
    unsafe fn sqrt(a: Self::V) -> Self::V;
    /// The larger of each pair; NaN in `b` comes through.
    unsafe fn max(a: Self::V, b: Self::V) -> Self::V;
    /// The smaller of each pair; NaN in `b` comes through.
    unsafe fn min(a: Self::V, b: Self::V) -> Self::V;
    /// `a · b + c`, rounded once where the processor can.
    unsafe fn fma(a: Self::V, b: Self::V, c: Self::V) -> Self::V;
    /// To the nearest integer, ties to even.
    unsafe fn round(a: Self::V) -> Self::V;
    /// `a · 2^n` for integral `n` in −126…128, where 128 may give infinity.
    unsafe fn scale(a: Self::V, n: Self::V) -> Self::V;
    /// `x` where `a ≤ b`, else `y`.
    unsafe fn where_le(a: Self::V, b: Self::V, x: Self::V, y: Self::V) -> Self::V;
    /// Sum of all lanes.
    unsafe fn sum(a: Self::V) -> f32;

    unsafe fn zero_sum() -> Self::Sum;
    /// `a · b`, folded and added to `sum`.
    unsafe fn add_products(a: Self::V, b: Self::V, sum: Self::Sum) -> Self::Sum;
    /// `scale · (a · b)`, folded before it is scaled, and added to `sum`.
    unsafe fn add_scaled_products(a: Self::V, b: Self::V, scale: f32, sum: Self::Sum) -> Self::Sum;
    /// `scale · a`, folded before it is scaled, and added to `sum`.
    unsafe fn add_scaled(a: Self::V, scale: f32, sum: Self::Sum) -> Self::Sum;
    /// The sum itself.
    unsafe fn total(sum: Self::Sum) -> f32;

    /// Largest of all lanes.
    unsafe fn largest(a: Self::V) -> f32;

    /// Asks for the cache line at `at`, which need not exist.
    unsafe fn prefetch(at: *const u8);

    /// The float of an f16's bits.
    unsafe fn f16(bits: u16) -> f32;
    /// Reads 32 f16.
    unsafe fn load_f16(from: *const u8) -> Self::V;
    /// Reads 32 bf16.
    unsafe fn load_bf16(from: *const u8) -> Self::V;
    /// Reads 32 signed bytes.
    unsafe fn load_i8(from: *const u8) -> Self::V;
    /// Reads 16 bytes: what `codes` says for their low nibbles, then for their
    /// high ones.
    unsafe fn load_nibbles(from: *const u8, codes: &'static Codes) -> Self::V;
    /// Reads 32 bytes: the bits of each above `SHIFT` that are in `mask`.
    unsafe fn load_field<const SHIFT: i32>(from: *const u8, mask: u8) -> Self::V;
    /// `a + x` in the lanes whose bit is set, else `a`.
    unsafe fn add_where(bits: u32, a: Self::V, x: f32) -> Self::V;
}

/// What the 16 values of a nibble stand for.
pub(super) struct Codes {
    bytes: [i8; 16],
    floats: [f32; 16],
}

impl Codes {
    pub(super) const fn new(bytes: [i8; 16]) -> Self {
        let mut floats = [0.0; 16];
        let mut i = 0;
        while i < 16 {
            floats[i] = bytes[i] as f32;
            i += 1;
        }
        Self { bytes, floats }
    }

    /// `first`, `first + 1` …
    pub(super) const fn from(first: i8) -> Self {
        let mut bytes = [0; 16];
        let mut i = 0;
        while i < 16 {
            bytes[i] = first + i as i8;
            i += 1;
        }
        Self::new(bytes)
    }
}

/// Every f16 as a float. A load and no arithmetic: the ports that convert are
/// those that multiply, and a block of 32 weights has one or two scales.
#[cfg(target_arch = "x86_64")]
#[allow(long_running_const_eval)] // 65,536 conversions, a fraction of a second.
static F16_TO_F32: [f32; 1 << 16] = {
    let mut table = [0.0; 1 << 16];
    let mut bits = 0;
    while bits < table.len() {
        table[bits] = half::f16::from_bits(bits as u16).to_f32_const();
        bits += 1;
    }
    table
};

/// `e^x`, within 2 units in the last place up to 88.37, where it may begin to
/// overflow to infinity; 0 below −87.3, where the result would be subnormal. NaN
/// stays NaN.
///
/// Cody–Waite reduction to `|r| ≤ ln 2 / 2` and the Taylor polynomial of degree
/// 7, whose remainder there is below `(ln 2 / 2)⁸ / 8! < 2⁻²⁷`.
///
/// # Safety
/// See [`Simd`].
#[inline(always)]
pub(super) unsafe fn exp<S: Simd>(x: S::V) -> S::V {
    // ln 2 in two parts, the first with trailing zeros so that `n · HIGH` is exact.
    const LN2_HIGH: f32 = 0.693_145_75;
    const LN2_LOW: f32 = 1.428_606_8e-6;
    const TAYLOR: [f32; 6] = [1.0 / 720.0, 1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5, 1.0];
    // SAFETY: the caller vouches for the instructions; nothing is read or written.
    unsafe {
        let lowest = S::splat(-87.3);
        // The order of operands lets NaN through. 89 overflows as it should.
        let clamped = S::min(S::splat(89.0), S::max(lowest, x));
        let n = S::round(S::mul(clamped, S::splat(std::f32::consts::LOG2_E)));
        let r = S::fma(n, S::splat(-LN2_HIGH), clamped);
        let r = S::fma(n, S::splat(-LN2_LOW), r);
        let mut sum = S::splat(1.0 / 5040.0);
        for coefficient in TAYLOR {
            sum = S::fma(sum, r, S::splat(coefficient));
        }
        let exp = S::scale(S::fma(sum, r, S::splat(1.0)), n);
        S::where_le(x, lowest, S::splat(0.0), exp)
    }
}

/// `tanh x = 1 − 2 / (e^{2x} + 1)`, within 2⁻²² absolutely.
///
/// # Safety
/// See [`Simd`].
#[inline(always)]
pub(super) unsafe fn tanh<S: Simd>(x: S::V) -> S::V {
    // SAFETY: as for `exp`.
    unsafe {
        let one = S::splat(1.0);
        let exp = exp::<S>(S::add(x, x));
        S::sub(one, S::div(S::splat(2.0), S::add(exp, one)))
    }
}

/// Instruction sets that kernels are compiled for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Isa {
    /// AVX-512, and AMX tiles for products with many tokens.
    #[cfg(target_arch = "x86_64")]
    Amx,
    #[cfg(target_arch = "x86_64")]
    Avx512,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    #[cfg(target_arch = "aarch64")]
    Neon,
    Portable,
}

impl Isa {
    /// All, best first.
    const ALL: &[Self] = &[
        #[cfg(target_arch = "x86_64")]
        Isa::Amx,
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512,
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2,
        #[cfg(target_arch = "aarch64")]
        Isa::Neon,
        Isa::Portable,
    ];

    /// All that this processor has, best first.
    pub(crate) fn available() -> Vec<Self> {
        let here = Self::ALL.iter().filter(|isa| isa.is_here());
        here.copied().collect()
    }

    fn is_here(self) -> bool {
        match self {
            #[cfg(target_arch = "x86_64")]
            Isa::Amx => Isa::Avx512.is_here() && crate::fast::amx::available(),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => {
                is_x86_feature_detected!("avx512f")
                    && is_x86_feature_detected!("avx512bw")
                    && is_x86_feature_detected!("avx512dq")
                    && is_x86_feature_detected!("avx512vl")
                    && is_x86_feature_detected!("f16c")
            }
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => {
                is_x86_feature_detected!("avx2")
                    && is_x86_feature_detected!("fma")
                    && is_x86_feature_detected!("f16c")
            }
            #[cfg(target_arch = "aarch64")]
            Isa::Neon => true,
            Isa::Portable => true,
        }
    }

    /// Name in the engine's `kernels` option.
    pub(crate) fn name(self) -> &'static str {
        match self {
            #[cfg(target_arch = "x86_64")]
            Isa::Amx => "amx",
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => "avx512",
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => "avx2",
            #[cfg(target_arch = "aarch64")]
            Isa::Neon => "neon",
            Isa::Portable => "portable",
        }
    }
}

#[cfg(test)]
mod tests;
