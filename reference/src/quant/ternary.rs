//! TQ1_0 and TQ2_0: numbers −1, 0 and 1 under one scale for 256.
//!
//! ```text
//! tq1_0  qs:[u8; 48] qh:[u8; 4] d:f16   five numbers a byte, in qh four
//! tq2_0  qs:[u8; 64] d:f16              four numbers a byte, two bits each
//! ```
//!
//! A byte of TQ1_0 holds `⌈256 · t / 243⌉` of a number `t` of five ternary
//! digits; multiplying by three moves the first into the bits above the byte.

use super::f16_at;

pub(super) fn tq1_0(block: &[u8; 54], out: &mut [f32; 256]) {
    let d = f16_at(block, 52);
    let mut at = 0;
    for (bytes, digits) in [(&block[..32], 5), (&block[32..48], 5), (&block[48..52], 4)] {
        for digit in 0..digits {
            for &byte in bytes {
                let rest = byte.wrapping_mul(3u8.pow(digit));
                let trit = ((u16::from(rest) * 3) >> 8) as i8;
                out[at] = d * f32::from(trit - 1);
                at += 1;
            }
        }
    }
}

pub(super) fn tq2_0(block: &[u8; 66], out: &mut [f32; 256]) {
    let d = f16_at(block, 64);
    for (half, out) in out.as_chunks_mut::<128>().0.iter_mut().enumerate() {
        for (pair, out) in out.as_chunks_mut::<32>().0.iter_mut().enumerate() {
            for (out, &q) in out.iter_mut().zip(&block[32 * half..]) {
                *out = d * f32::from((q >> (2 * pair) & 3) as i8 - 1);
            }
        }
    }
}
