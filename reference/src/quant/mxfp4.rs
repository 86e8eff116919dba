//! MXFP4 of the OCP Microscaling Formats specification 1.0: 32 numbers of four
//! bits (E2M1) under a power of two (E8M0). Codes stand for twice their value
//! here, the scale for half of its own.

/// E2M1 values, doubled.
const VALUES: [i8; 16] = [0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12];

pub(super) fn mxfp4(block: &[u8; 17], out: &mut [f32; 32]) {
    let exponent = u32::from(block[0]);
    // Half of 2^(e − 127); the two least are subnormal.
    let d = f32::from_bits(match exponent {
        0 | 1 => 0x0020_0000 << exponent,
        _ => (exponent - 1) << 23,
    });
    for j in 0..16 {
        let q = block[1 + j];
        out[j] = d * f32::from(VALUES[usize::from(q & 15)]);
        out[j + 16] = d * f32::from(VALUES[usize::from(q >> 4)]);
    }
}
