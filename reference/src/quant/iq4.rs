//! IQ4_NL and IQ4_XS: codes into a fixed table of 16 levels, denser about zero.
//!
//! ```text
//! iq4_nl  d:f16 qs:[u8; 16]                                   x = d · LEVELS[q]
//! iq4_xs  d:f16 scales_h:u16 scales_l:[u8; 4] qs:[u8; 128]    x = d·(s − 32) · LEVELS[q]
//! ```
//!
//! IQ4_XS has sub-blocks of 32; the low four bits of their scales are in
//! `scales_l`, the high two in `scales_h`. The quantizer is GGML's
//! `quantize_row_iq4_nl_impl` with seven trials to either side.

use super::k_search::{ZERO, nearest};
use super::{extreme, f16_at, inverse, put_f16};

const LEVELS: [i8; 16] = [
    -127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113,
];
const TRIALS: i8 = 7;

pub(super) fn iq4_nl(block: &[u8; 18], out: &mut [f32; 32]) {
    sub_block(f16_at(block, 0), &block[2..], out);
}

pub(super) fn iq4_xs(block: &[u8; 136], out: &mut [f32; 256]) {
    let d = f16_at(block, 0);
    let high = u16::from_le_bytes([block[2], block[3]]);
    for (sub, out) in out.as_chunks_mut::<32>().0.iter_mut().enumerate() {
        let low = block[4 + sub / 2] >> (sub % 2 * 4) & 15;
        let scale = (low | ((high >> (2 * sub) & 3) as u8) << 4) as i8 - 32;
        sub_block(d * f32::from(scale), &block[8 + 16 * sub..], out);
    }
}

fn sub_block(d: f32, qs: &[u8], out: &mut [f32; 32]) {
    let (low, high) = out.split_at_mut(16);
    for ((&q, low), high) in qs.iter().zip(low).zip(high) {
        *low = d * f32::from(LEVELS[usize::from(q & 15)]);
        *high = d * f32::from(LEVELS[usize::from(q >> 4)]);
    }
}

pub(super) fn quantize_iq4_nl(x: &[f32; 32], block: &mut [u8; 18]) {
    let scale = search(x);
    put_f16(block, 0, scale);
    put_codes(x, inverse(scale), &mut block[2..]);
}

pub(super) fn quantize_iq4_xs(x: &[f32; 256], block: &mut [u8; 136]) {
    let (subs, _) = x.as_chunks::<32>();
    let scales: [f32; 8] = std::array::from_fn(|sub| search(&subs[sub]));
    let d = -extreme(&scales) / 32.0;
    put_f16(block, 0, d);
    block[2..8].fill(0);
    let mut high = 0u16;
    for (sub, (x, scale)) in subs.iter().zip(scales).enumerate() {
        let code = nearest(inverse(d) * scale).clamp(-32, 31);
        put_codes(x, inverse(d * code as f32), &mut block[8 + 16 * sub..]);
        let code = (code + 32) as u8;
        block[4 + sub / 2] |= (code & 15) << (sub % 2 * 4);
        high |= u16::from(code >> 4) << (2 * sub);
    }
    block[2..4].copy_from_slice(&high.to_le_bytes());
}

fn put_codes(x: &[f32; 32], inverse: f32, qs: &mut [u8]) {
    let codes = x.map(|x| closest(inverse * x) as u8);
    for (j, q) in qs[..16].iter_mut().enumerate() {
        *q = codes[j] | codes[j + 16] << 4;
    }
}

/// The scale of least squared error, weighted by x², among 15 that put the
/// extreme near the outermost level.
fn search(x: &[f32; 32]) -> f32 {
    let extreme = extreme(x);
    if extreme.abs() < ZERO {
        return 0.0;
    }
    let sums = |inverse: f32| {
        let (mut sum_qx, mut sum_q2) = (0.0, 0.0);
        for &x in x {
            let q = f32::from(LEVELS[closest(inverse * x)]);
            let w = x * x;
            sum_qx += w * q * x;
            sum_q2 += w * q * q;
        }
        (sum_qx, sum_q2)
    };
    let outermost = f32::from(LEVELS[0]);
    let (sum_qx, sum_q2) = sums(1.0 / (-extreme / outermost));
    let mut scale = if sum_q2 > 0.0 { sum_qx / sum_q2 } else { 0.0 };
    let mut best = scale * sum_qx;
    for trial in -TRIALS..=TRIALS {
        let (sum_qx, sum_q2) = sums((f32::from(trial) + outermost) / extreme);
        if sum_q2 > 0.0 && sum_qx * sum_qx > best * sum_q2 {
            scale = sum_qx / sum_q2;
            best = scale * sum_qx;
        }
    }
    scale
}

/// Index of the level closest to `x`, the upper one of two as close.
fn closest(x: f32) -> usize {
    let above = LEVELS.partition_point(|&level| f32::from(level) <= x);
    if above == 0 {
        return 0;
    }
    if above == LEVELS.len() {
        return LEVELS.len() - 1;
    }
    let (lower, upper) = (f32::from(LEVELS[above - 1]), f32::from(LEVELS[above]));
    if x - lower < upper - x {
        above - 1
    } else {
        above
    }
}
