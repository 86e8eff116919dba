//! Q4_0, Q4_1, Q5_0, Q5_1, Q8_0 and Q8_1: blocks of 32 numbers under one scale
//! `d` and, in the `_1` types, a minimum `m`.
//!
//! ```text
//! q4_0  d:f16                qs:[u8; 16]   x = d·(q − 8)
//! q4_1  d:f16 m:f16          qs:[u8; 16]   x = d·q + m
//! q5_0  d:f16       qh:[u8; 4] qs:[u8; 16] x = d·(q − 16)
//! q5_1  d:f16 m:f16 qh:[u8; 4] qs:[u8; 16] x = d·q + m
//! q8_0  d:f16                qs:[i8; 32]   x = d·q
//! q8_1  d:f16 s:f16          qs:[i8; 32]   x = d·q, s = d·Σq
//! ```
//!
//! Low nibbles hold numbers 0 to 15, high nibbles 16 to 31; bit `j` of `qh` is
//! the fifth bit of number `j`. Quantizers put the number of largest magnitude
//! on the most negative code (`_0`) or both extremes on the outer codes (`_1`).

use super::{extreme, f16_at, inverse, put_f16};

pub(super) fn q4_0(block: &[u8; 18], out: &mut [f32; 32]) {
    let d = f16_at(block, 0);
    for j in 0..16 {
        let q = block[2 + j];
        out[j] = d * f32::from((q & 15) as i8 - 8);
        out[j + 16] = d * f32::from((q >> 4) as i8 - 8);
    }
}

pub(super) fn q4_1(block: &[u8; 20], out: &mut [f32; 32]) {
    let (d, m) = (f16_at(block, 0), f16_at(block, 2));
    for j in 0..16 {
        let q = block[4 + j];
        out[j] = d * f32::from(q & 15) + m;
        out[j + 16] = d * f32::from(q >> 4) + m;
    }
}

pub(super) fn q5_0(block: &[u8; 22], out: &mut [f32; 32]) {
    let d = f16_at(block, 0);
    let high = u32::from_le_bytes([block[2], block[3], block[4], block[5]]);
    for j in 0..16 {
        let q = block[6 + j];
        out[j] = d * f32::from((q & 15 | fifth(high, j)) as i8 - 16);
        out[j + 16] = d * f32::from((q >> 4 | fifth(high, j + 16)) as i8 - 16);
    }
}

pub(super) fn q5_1(block: &[u8; 24], out: &mut [f32; 32]) {
    let (d, m) = (f16_at(block, 0), f16_at(block, 2));
    let high = u32::from_le_bytes([block[4], block[5], block[6], block[7]]);
    for j in 0..16 {
        let q = block[8 + j];
        out[j] = d * f32::from(q & 15 | fifth(high, j)) + m;
        out[j + 16] = d * f32::from(q >> 4 | fifth(high, j + 16)) + m;
    }
}

pub(super) fn q8_0(block: &[u8; 34], out: &mut [f32; 32]) {
    let d = f16_at(block, 0);
    for (out, &q) in out.iter_mut().zip(&block[2..]) {
        *out = d * f32::from(q as i8);
    }
}

pub(super) fn q8_1(block: &[u8; 36], out: &mut [f32; 32]) {
    let d = f16_at(block, 0);
    for (out, &q) in out.iter_mut().zip(&block[4..]) {
        *out = d * f32::from(q as i8);
    }
}

/// Bit `j` of `high`, where it belongs in a code.
fn fifth(high: u32, j: usize) -> u8 {
    ((high >> j) as u8 & 1) << 4
}

pub(super) fn quantize_q4_0(x: &[f32; 32], block: &mut [u8; 18]) {
    let d = extreme(x) / -8.0;
    put_f16(block, 0, d);
    put_nibbles(&mut block[2..], &symmetric(x, d, 8));
}

pub(super) fn quantize_q4_1(x: &[f32; 32], block: &mut [u8; 20]) {
    let (codes, d, m) = affine(x, 15);
    put_f16(block, 0, d);
    put_f16(block, 2, m);
    put_nibbles(&mut block[4..], &codes);
}

pub(super) fn quantize_q5_0(x: &[f32; 32], block: &mut [u8; 22]) {
    let d = extreme(x) / -16.0;
    put_f16(block, 0, d);
    let codes = symmetric(x, d, 16);
    block[2..6].copy_from_slice(&fifths(&codes));
    put_nibbles(&mut block[6..], &codes);
}

pub(super) fn quantize_q5_1(x: &[f32; 32], block: &mut [u8; 24]) {
    let (codes, d, m) = affine(x, 31);
    put_f16(block, 0, d);
    put_f16(block, 2, m);
    block[4..8].copy_from_slice(&fifths(&codes));
    put_nibbles(&mut block[8..], &codes);
}

pub(super) fn quantize_q8_0(x: &[f32; 32], block: &mut [u8; 34]) {
    let d = extreme(x).abs() / 127.0;
    put_f16(block, 0, d);
    let inverse = inverse(d);
    for (q, x) in block[2..].iter_mut().zip(x) {
        *q = (x * inverse).round() as i8 as u8;
    }
}

/// Codes of `x / d` from 0 to `2·zero − 1`, `zero` standing for zero. Ties go
/// up, as truncation of the sum with a half has them.
fn symmetric(x: &[f32; 32], d: f32, zero: u8) -> [u8; 32] {
    let inverse = inverse(d);
    x.map(|x| ((x * inverse + (f32::from(zero) + 0.5)) as u8).min(2 * zero - 1))
}

/// Codes from 0 to `steps` between the extremes of `x`, the step and the least.
fn affine(x: &[f32; 32], steps: u8) -> ([u8; 32], f32, f32) {
    let min = x.iter().copied().fold(f32::MAX, f32::min);
    let max = x.iter().copied().fold(f32::MIN, f32::max);
    let d = (max - min) / f32::from(steps);
    let inverse = inverse(d);
    let codes = x.map(|x| (((x - min) * inverse + 0.5) as u8).min(steps));
    (codes, d, min)
}

fn put_nibbles(bytes: &mut [u8], codes: &[u8; 32]) {
    for (j, byte) in bytes.iter_mut().enumerate() {
        *byte = codes[j] & 15 | codes[j + 16] << 4;
    }
}

fn fifths(codes: &[u8; 32]) -> [u8; 4] {
    let bits = codes.iter().enumerate();
    bits.fold(0u32, |high, (j, code)| high | u32::from(code >> 4) << j)
        .to_le_bytes()
}
