//! Quantizers of Q2_K to Q6_K: a scale is sought for each sub-block, the scales
//! are quantized, and the codes taken anew under the scales as stored.
//! `quantize_row_*_ref` of ggml-quants.c.

use super::k_blocks::{q3_k_scale, scale_and_min};
use super::k_search::{
    Affine, Symmetric, Trials, ZERO, affine, coordinate_descent, nearest, symmetric,
};
use super::put_f16;

pub(super) fn q2_k(x: &[f32; 256], block: &mut [u8; 84]) {
    const TRIALS: Trials = Trials {
        first: -0.5,
        step: 0.1,
        steps: 15,
        absolute: true,
    };
    let (subs, _) = x.as_chunks::<16>();
    let mut fits: [Affine<16>; 16] =
        std::array::from_fn(|sub| affine(&subs[sub], &subs[sub].map(f32::abs), 3, &TRIALS));
    let max_scale = greatest(fits.iter().map(|fit| fit.scale));
    let max_min = greatest(fits.iter().map(|fit| fit.min));
    let code = |value: f32, max: f32| match max > 0.0 {
        true => nearest(15.0 / max * value) as u8,
        false => 0,
    };
    let d = put_f16(block, 80, max_scale / 15.0);
    let dmin = put_f16(block, 82, max_min / 15.0);
    for ((fit, x), packed) in fits.iter_mut().zip(subs).zip(&mut block[..16]) {
        let (scale, min) = (code(fit.scale, max_scale), code(fit.min, max_min));
        *packed = scale | min << 4;
        fit.codes = affine_codes(x, d * f32::from(scale & 15), dmin * f32::from(min), 3)
            .unwrap_or(fit.codes);
    }
    let codes = fits.map(|fit| fit.codes);
    put_two_bits(&mut block[16..80], codes.as_flattened());
}

pub(super) fn q3_k(x: &[f32; 256], block: &mut [u8; 110]) {
    let (subs, _) = x.as_chunks::<16>();
    let mut fits: [Symmetric<16>; 16] =
        std::array::from_fn(|sub| coordinate_descent(&subs[sub], 4));
    let max_scale = super::extreme(&fits.each_ref().map(|fit| fit.scale));
    block[96..108].fill(0);
    let mut d = 0.0;
    if max_scale != 0.0 {
        let inverse = -32.0 / max_scale;
        for (sub, fit) in fits.iter().enumerate() {
            let code = (nearest(inverse * fit.scale).clamp(-32, 31) + 32) as u8;
            block[96 + sub % 8] |= (code & 15) << (sub / 8 * 4);
            block[104 + sub % 4] |= code >> 4 << (sub / 4 * 2);
        }
        d = 1.0 / inverse;
    }
    let d = put_f16(block, 108, d);
    for (sub, (fit, x)) in fits.iter_mut().zip(subs).enumerate() {
        let scale = d * f32::from(q3_k_scale(&block[96..108], sub));
        fit.codes = symmetric_codes(x, scale, 4).unwrap_or(fit.codes);
    }
    let codes = fits.map(|fit| fit.codes);
    let codes = codes.as_flattened();
    put_high_bits(&mut block[..32], codes, 2);
    let low: [u8; 256] = std::array::from_fn(|n| codes[n] & 3);
    put_two_bits(&mut block[32..96], &low);
}

pub(super) fn q4_k(x: &[f32; 256], block: &mut [u8; 144]) {
    const TRIALS: Trials = Trials {
        first: -1.0,
        step: 0.1,
        steps: 20,
        absolute: false,
    };
    let codes = with_mins(x, &mut block[..16], 15, &TRIALS);
    put_nibble_pairs(&mut block[16..], &codes);
}

pub(super) fn q5_k(x: &[f32; 256], block: &mut [u8; 176]) {
    const TRIALS: Trials = Trials {
        first: -0.5,
        step: 0.1,
        steps: 15,
        absolute: false,
    };
    let codes = with_mins(x, &mut block[..16], 31, &TRIALS);
    put_high_bits(&mut block[16..48], &codes, 4);
    put_nibble_pairs(&mut block[48..], &codes);
}

/// Fills the `header` that q4_k and q5_k share, two scales and the packed
/// scales and minima, and returns the codes.
fn with_mins(x: &[f32; 256], header: &mut [u8], levels: u8, trials: &Trials) -> [u8; 256] {
    let (subs, _) = x.as_chunks::<32>();
    let mut fits: [Affine<32>; 8] = std::array::from_fn(|sub| {
        let x = &subs[sub];
        let mean_square = x.iter().fold(0.0, |sum, x| sum + x * x) / 32.0;
        let rms = mean_square.sqrt();
        affine(x, &x.map(|x| rms + x.abs()), levels, trials)
    });
    let max_scale = greatest(fits.iter().map(|fit| fit.scale));
    let max_min = greatest(fits.iter().map(|fit| fit.min));
    let code = |value: f32, max: f32| match max > 0.0 {
        true => (nearest(63.0 / max * value) as u8).min(63),
        false => 0,
    };
    let d = put_f16(header, 0, max_scale / 63.0);
    let dmin = put_f16(header, 2, max_min / 63.0);
    let packed = &mut header[4..16];
    for (sub, fit) in fits.iter().enumerate() {
        let (scale, min) = (code(fit.scale, max_scale), code(fit.min, max_min));
        if sub < 4 {
            packed[sub] = scale;
            packed[sub + 4] = min;
        } else {
            packed[sub + 4] = scale & 15 | (min & 15) << 4;
            packed[sub - 4] |= scale >> 4 << 6;
            packed[sub] |= min >> 4 << 6;
        }
    }
    for (sub, (fit, x)) in fits.iter_mut().zip(subs).enumerate() {
        let (scale, min) = scale_and_min(packed, sub);
        let (scale, min) = (d * f32::from(scale), dmin * f32::from(min));
        fit.codes = affine_codes(x, scale, min, levels).unwrap_or(fit.codes);
    }
    std::array::from_fn(|n| fits[n / 32].codes[n % 32])
}

pub(super) fn q6_k(x: &[f32; 256], block: &mut [u8; 210]) {
    let (subs, _) = x.as_chunks::<16>();
    let mut fits: [Symmetric<16>; 16] = std::array::from_fn(|sub| symmetric(&subs[sub], 32));
    let max_scale = super::extreme(&fits.each_ref().map(|fit| fit.scale));
    block.fill(0);
    if max_scale.abs() < ZERO {
        return;
    }
    let inverse = -128.0 / max_scale;
    let d = put_f16(block, 208, 1.0 / inverse);
    for (sub, (fit, x)) in fits.iter_mut().zip(subs).enumerate() {
        let scale = nearest(inverse * fit.scale).min(127) as i8;
        block[192 + sub] = scale as u8;
        fit.codes = symmetric_codes(x, d * f32::from(scale), 32).unwrap_or(fit.codes);
    }
    let codes = fits.map(|fit| fit.codes);
    for (half, codes) in codes.as_flattened().as_chunks::<128>().0.iter().enumerate() {
        for l in 0..32 {
            let [a, b, c, d] = [0, 32, 64, 96].map(|quarter| codes[quarter + l]);
            block[64 * half + l] = a & 15 | c << 4;
            block[64 * half + 32 + l] = b & 15 | d << 4;
            block[128 + 32 * half + l] = a >> 4 | b >> 4 << 2 | c >> 4 << 4 | d >> 4 << 6;
        }
    }
}

/// The greatest of `values`, zero at least: +0, where `f32::max` may take −0.
fn greatest(values: impl Iterator<Item = f32>) -> f32 {
    values.fold(0.0, |most, value| if value > most { value } else { most })
}

/// Codes of `x` under a scale and minimum as stored, none for a scale of zero:
/// then all codes mean the same.
fn affine_codes<const N: usize>(x: &[f32; N], scale: f32, min: f32, levels: u8) -> Option<[u8; N]> {
    (scale != 0.0).then(|| x.map(|x| nearest((x + min) / scale).clamp(0, i32::from(levels)) as u8))
}

fn symmetric_codes<const N: usize>(x: &[f32; N], scale: f32, zero: u8) -> Option<[u8; N]> {
    let zero = i32::from(zero);
    (scale != 0.0).then(|| x.map(|x| (nearest(x / scale).clamp(-zero, zero - 1) + zero) as u8))
}

/// Packs codes below four: numbers `j`, `j + 32`, `j + 64` and `j + 96` of a
/// half share a byte.
fn put_two_bits(bytes: &mut [u8], codes: &[u8]) {
    for (bytes, codes) in bytes.chunks_mut(32).zip(codes.chunks(128)) {
        for (l, byte) in bytes.iter_mut().enumerate() {
            *byte = codes[l] | codes[l + 32] << 2 | codes[l + 64] << 4 | codes[l + 96] << 6;
        }
    }
}

/// Packs the low four bits: numbers `j` and `j + 32` of 64 share a byte.
fn put_nibble_pairs(bytes: &mut [u8], codes: &[u8; 256]) {
    for (bytes, codes) in bytes.chunks_mut(32).zip(codes.chunks(64)) {
        for (l, byte) in bytes.iter_mut().enumerate() {
            *byte = codes[l] & 15 | codes[l + 32] << 4;
        }
    }
}

/// Packs bit `bit` of every code: that of number `32 n + j` is bit `n` of byte
/// `j`.
fn put_high_bits(bytes: &mut [u8], codes: &[u8], bit: u32) {
    bytes.fill(0);
    for (n, codes) in codes.chunks(32).enumerate() {
        for (byte, code) in bytes.iter_mut().zip(codes) {
            *byte |= (code >> bit & 1) << n;
        }
    }
}
