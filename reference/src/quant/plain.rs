//! F32, F16 and BF16: every number for itself.

use half::slice::HalfFloatSliceExt;
use half::{bf16, f16};

/// Numbers converted at a time: bytes have no alignment, so they pass through
/// a buffer that has.
const BUFFER: usize = 512;

pub(super) fn f32_from(bytes: &[u8], out: &mut [f32]) {
    for (bytes, out) in bytes.as_chunks().0.iter().zip(out) {
        *out = f32::from_le_bytes(*bytes);
    }
}

pub(super) fn f16_from(bytes: &[u8], out: &mut [f32]) {
    let mut buffer = [f16::ZERO; BUFFER];
    for (bytes, out) in bytes.chunks(2 * BUFFER).zip(out.chunks_mut(BUFFER)) {
        let (pairs, _) = bytes.as_chunks();
        for (bits, pair) in buffer.iter_mut().zip(pairs) {
            *bits = f16::from_le_bytes(*pair);
        }
        buffer[..out.len()].convert_to_f32_slice(out);
    }
}

pub(super) fn bf16_from(bytes: &[u8], out: &mut [f32]) {
    for (&[low, high], out) in bytes.as_chunks().0.iter().zip(out) {
        *out = f32::from_le_bytes([0, 0, low, high]);
    }
}

pub(super) fn f32_into(values: &[f32], out: &mut [u8]) {
    for (value, out) in values.iter().zip(out.as_chunks_mut().0) {
        *out = value.to_le_bytes();
    }
}

pub(super) fn f16_into(values: &[f32], out: &mut [u8]) {
    let mut buffer = [f16::ZERO; BUFFER];
    for (values, out) in values.chunks(BUFFER).zip(out.chunks_mut(2 * BUFFER)) {
        buffer[..values.len()].convert_from_f32_slice(values);
        for (bits, out) in buffer.iter().zip(out.as_chunks_mut().0) {
            *out = bits.to_le_bytes();
        }
    }
}

pub(super) fn bf16_into(values: &[f32], out: &mut [u8]) {
    for (value, out) in values.iter().zip(out.as_chunks_mut().0) {
        *out = bf16::from_f32(*value).to_le_bytes();
    }
}
