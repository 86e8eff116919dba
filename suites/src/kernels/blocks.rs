//! Matrices in GGML's layouts: random or whole numbers, and what they mean in f64.
//!
//! Written from the layouts alone, so that neither an engine's quantizer nor its dequantizer is
//! its own judge.

use engine::NumberFormat;
use rand::RngExt;
use rand_chacha::ChaCha8Rng;

/// Formats that matrices are made in here.
pub(super) const FORMATS: [NumberFormat; 5] = [
    NumberFormat::F32,
    NumberFormat::F16,
    NumberFormat::Q8_0,
    NumberFormat::Q4_0,
    NumberFormat::Q4K,
];

/// Numbers of a block and its bytes.
pub(super) fn block(format: NumberFormat) -> (usize, usize) {
    match format {
        NumberFormat::F16 => (1, 2),
        NumberFormat::Q8_0 => (32, 34),
        NumberFormat::Q4_0 => (32, 18),
        NumberFormat::Q4K => (256, 144),
        _ => (1, 4),
    }
}

/// What the numbers of a matrix are like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Numbers {
    /// Every code and scale that occurs.
    Random,
    /// Small whole numbers, whose sums f32 holds exactly.
    Whole,
}

/// `count` numbers, whole blocks.
pub(super) fn bytes(
    format: NumberFormat,
    count: usize,
    numbers: Numbers,
    rng: &mut ChaCha8Rng,
) -> Vec<u8> {
    let (size, block_bytes) = block(format);
    let whole = numbers == Numbers::Whole;
    let scale = |rng: &mut ChaCha8Rng| match whole {
        true => f16_bits(1.0),
        // 2⁻⁷ to 2⁻⁵ with random digits.
        false => rng.random_range(8u16..10) << 10 | rng.random_range(0..1024),
    };
    let mut out = Vec::with_capacity(count / size * block_bytes);
    for _ in 0..count / size {
        match format {
            NumberFormat::F16 => {
                let bits = match whole {
                    true => f16_bits(f64::from(rng.random_range(-8i8..=8))),
                    // Up to ±2.
                    false => {
                        rng.random_range(0..16u16) << 10 | rng.random_range(0..1024) | sign(rng)
                    }
                };
                out.extend(bits.to_le_bytes());
            }
            NumberFormat::Q8_0 | NumberFormat::Q4_0 => {
                out.extend(scale(rng).to_le_bytes());
                let codes = block_bytes - 2;
                out.extend((0..codes).map(|_| match (format, whole) {
                    (NumberFormat::Q8_0, true) => rng.random_range(-8i8..=8) as u8,
                    _ => rng.random::<u8>(),
                }));
            }
            NumberFormat::Q4K => {
                out.extend(scale(rng).to_le_bytes());
                out.extend(scale(rng).to_le_bytes());
                out.extend((0..12).map(|index| match (whole, index) {
                    // Scales and minima up to 3; the last four bytes hold one of each.
                    (true, 0..8) => rng.random_range(0u8..4),
                    (true, _) => rng.random_range(0u8..4) | rng.random_range(0u8..4) << 4,
                    _ => rng.random::<u8>(),
                }));
                out.extend((0..128).map(|_| rng.random::<u8>()));
            }
            _ => {
                let value: f32 = match whole {
                    true => f32::from(rng.random_range(-8i8..=8)),
                    false => rng.random_range(-2.0..2.0),
                };
                out.extend(value.to_le_bytes());
            }
        }
    }
    out
}

fn sign(rng: &mut ChaCha8Rng) -> u16 {
    u16::from(rng.random::<bool>()) << 15
}

/// Number `index` of `bytes`, and the magnitude of what it is computed from.
pub(super) fn number(format: NumberFormat, bytes: &[u8], index: usize) -> (f64, f64) {
    let (size, block_bytes) = block(format);
    let block = &bytes[index / size * block_bytes..][..block_bytes];
    let at = index % size;
    let half = |byte: usize| f16_value(u16::from_le_bytes([block[byte], block[byte + 1]]));
    let value = match format {
        NumberFormat::F16 => half(0),
        NumberFormat::Q8_0 => half(0) * f64::from(block[2 + at] as i8),
        NumberFormat::Q4_0 => {
            let code = block[2 + at % 16] >> (at / 16 * 4) & 15;
            half(0) * (f64::from(code) - 8.0)
        }
        NumberFormat::Q4K => {
            let (sub, scales) = (at / 32, &block[4..16]);
            // Six bits each: of the first four whole, of the others four bits and two.
            let (scale, least) = match sub {
                0..4 => (scales[sub] & 63, scales[sub + 4] & 63),
                _ => (
                    scales[sub + 4] & 15 | scales[sub - 4] >> 6 << 4,
                    scales[sub + 4] >> 4 | scales[sub] >> 6 << 4,
                ),
            };
            let code = block[16 + sub / 2 * 32 + at % 32] >> (sub % 2 * 4) & 15;
            let scaled = half(0) * f64::from(scale) * f64::from(code);
            let least = half(2) * f64::from(least);
            return (scaled - least, scaled.abs() + least.abs());
        }
        _ => {
            let bytes = [block[0], block[1], block[2], block[3]];
            f64::from(f32::from_le_bytes(bytes))
        }
    };
    (value, value.abs())
}

/// The value of f16 `bits`, which are finite.
fn f16_value(bits: u16) -> f64 {
    let (exponent, digits) = (i32::from(bits >> 10 & 31), f64::from(bits & 1023));
    let magnitude = match exponent {
        0 => digits * 2f64.powi(-24),
        _ => (1024.0 + digits) * 2f64.powi(exponent - 25),
    };
    if bits >> 15 == 1 {
        -magnitude
    } else {
        magnitude
    }
}

/// The bits of `value`, a whole number of at most eleven binary digits.
fn f16_bits(value: f64) -> u16 {
    if value == 0.0 {
        return 0;
    }
    let exponent = value.abs().log2().floor();
    let digits = (value.abs() / exponent.exp2() - 1.0) * 1024.0;
    u16::from(value < 0.0) << 15 | ((exponent as u16 + 15) << 10) | digits as u16
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;

    #[test]
    fn halves_have_their_ieee_values() {
        // IEEE 754-2019, table 3.5: the extremes of binary16.
        assert_eq!(f16_value(0x3c00), 1.0);
        assert_eq!(f16_value(0xc000), -2.0);
        assert_eq!(f16_value(0x7bff), 65504.0);
        assert_eq!(f16_value(0x0400), 2f64.powi(-14));
        assert_eq!(f16_value(0x0001), 2f64.powi(-24));
        for value in [-8.0, -1.0, 0.0, 1.0, 3.0, 7.0, 1023.0] {
            assert_eq!(f16_value(f16_bits(value)), value);
        }
    }

    #[test]
    fn whole_numbers_are_whole() {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        for format in FORMATS {
            let bytes = bytes(format, 512, Numbers::Whole, &mut rng);
            for index in 0..512 {
                let (value, _) = number(format, &bytes, index);
                assert_eq!(value.fract(), 0.0, "{format}");
                assert!(value.abs() <= 256.0, "{format} {value}");
            }
        }
    }
}
