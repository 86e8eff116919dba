//! Q2_K to Q6_K and Q8_K: 256 numbers in sub-blocks of 16 or 32, whose scales
//! and minima are codes under scales `d` and `dmin` of the whole.
//!
//! ```text
//! q2_k  scales:[u8; 16] qs:[u8; 64] d:f16 dmin:f16            x = d·s·q − dmin·m
//! q3_k  hmask:[u8; 32] qs:[u8; 64] scales:[u8; 12] d:f16      x = d·(s − 32)·(q − 4)
//! q4_k  d:f16 dmin:f16 scales:[u8; 12] qs:[u8; 128]           x = d·s·q − dmin·m
//! q5_k  d:f16 dmin:f16 scales:[u8; 12] qh:[u8; 32] qs:[u8; 128]
//! q6_k  ql:[u8; 128] qh:[u8; 64] scales:[i8; 16] d:f16        x = d·s·(q − 32)
//! q8_k  d:f32 qs:[i8; 256] bsums:[i16; 16]                    x = d·q
//! ```
//!
//! Sub-blocks of q2_k, q3_k and q6_k have 16 numbers, of q4_k and q5_k 32.

use super::f16_at;

pub(super) fn q2_k(block: &[u8; 84], out: &mut [f32; 256]) {
    let (d, dmin) = (f16_at(block, 80), f16_at(block, 82));
    for (sub, out) in out.as_chunks_mut::<16>().0.iter_mut().enumerate() {
        let codes = block[sub];
        let scale = d * f32::from(codes & 15);
        let min = dmin * f32::from(codes >> 4);
        let (at, shift) = two_bits(sub);
        for (out, &q) in out.iter_mut().zip(&block[16 + at..]) {
            *out = scale * f32::from(q >> shift & 3) - min;
        }
    }
}

pub(super) fn q3_k(block: &[u8; 110], out: &mut [f32; 256]) {
    let d = f16_at(block, 108);
    for (sub, out) in out.as_chunks_mut::<16>().0.iter_mut().enumerate() {
        let scale = d * f32::from(q3_k_scale(&block[96..108], sub));
        let (at, shift) = two_bits(sub);
        let high = &block[16 * (sub % 2)..];
        for ((out, &q), &high) in out.iter_mut().zip(&block[32 + at..]).zip(high) {
            let third = (high >> (sub / 2) & 1) << 2;
            *out = scale * f32::from((q >> shift & 3 | third) as i8 - 4);
        }
    }
}

/// Where the two-bit codes of sub-block `sub` start, and at which bit: each
/// byte holds numbers `j`, `j + 32`, `j + 64` and `j + 96` of a half.
fn two_bits(sub: usize) -> (usize, usize) {
    (sub / 8 * 32 + sub % 2 * 16, sub % 8 / 2 * 2)
}

/// The scale of sub-block `sub` among the packed ones: four low bits in the
/// first eight bytes, two high bits in the last four.
pub(super) fn q3_k_scale(packed: &[u8], sub: usize) -> i8 {
    let low = packed[sub % 8] >> (sub / 8 * 4) & 15;
    let high = packed[8 + sub % 4] >> (sub / 4 * 2) & 3;
    (low | high << 4) as i8 - 32
}

pub(super) fn q4_k(block: &[u8; 144], out: &mut [f32; 256]) {
    let (d, dmin) = (f16_at(block, 0), f16_at(block, 2));
    for (sub, out) in out.as_chunks_mut::<32>().0.iter_mut().enumerate() {
        let (scale, min) = scale_and_min(&block[4..16], sub);
        let (scale, min) = (d * f32::from(scale), dmin * f32::from(min));
        let shift = sub % 2 * 4;
        for (out, &q) in out.iter_mut().zip(&block[16 + sub / 2 * 32..]) {
            *out = scale * f32::from(q >> shift & 15) - min;
        }
    }
}

pub(super) fn q5_k(block: &[u8; 176], out: &mut [f32; 256]) {
    let (d, dmin) = (f16_at(block, 0), f16_at(block, 2));
    for (sub, out) in out.as_chunks_mut::<32>().0.iter_mut().enumerate() {
        let (scale, min) = scale_and_min(&block[4..16], sub);
        let (scale, min) = (d * f32::from(scale), dmin * f32::from(min));
        let shift = sub % 2 * 4;
        let low = &block[48 + sub / 2 * 32..];
        for ((out, &q), &high) in out.iter_mut().zip(low).zip(&block[16..48]) {
            let fifth = (high >> sub & 1) << 4;
            *out = scale * f32::from(q >> shift & 15 | fifth) - min;
        }
    }
}

/// Scale and minimum of sub-block `sub` of q4_k and q5_k, six bits each: those
/// of the last four are split between the last four bytes and the high bits of
/// the first eight.
pub(super) fn scale_and_min(packed: &[u8], sub: usize) -> (u8, u8) {
    if sub < 4 {
        return (packed[sub] & 63, packed[sub + 4] & 63);
    }
    let low = packed[sub + 4];
    (
        low & 15 | packed[sub - 4] >> 6 << 4,
        low >> 4 | packed[sub] >> 6 << 4,
    )
}

pub(super) fn q6_k(block: &[u8; 210], out: &mut [f32; 256]) {
    let d = f16_at(block, 208);
    for (sub, out) in out.as_chunks_mut::<16>().0.iter_mut().enumerate() {
        let scale = d * f32::from(block[192 + sub] as i8);
        // Numbers of a half in quarters of 32: the first two in low nibbles.
        let (half, quarter, side) = (sub / 8, sub % 8 / 2, sub % 2);
        let low = &block[64 * half + 32 * (quarter % 2) + 16 * side..];
        let high = &block[128 + 32 * half + 16 * side..];
        for ((out, &low), &high) in out.iter_mut().zip(low).zip(high) {
            let q = low >> (quarter / 2 * 4) & 15 | (high >> (2 * quarter) & 3) << 4;
            *out = scale * f32::from(q as i8 - 32);
        }
    }
}

pub(super) fn q8_k(block: &[u8; 292], out: &mut [f32; 256]) {
    let d = f32::from_le_bytes([block[0], block[1], block[2], block[3]]);
    for (out, &q) in out.iter_mut().zip(&block[4..260]) {
        *out = d * f32::from(q as i8);
    }
}
