//! What a round trip through a format may do to any numbers at all, from the
//! format's definition.
#![allow(clippy::unwrap_used)] // Fixture code of a test may panic.

use engine::NumberFormat;
use harness_reference::quant::round_trip_rows;
use proptest::prelude::*;

fn through(values: &[f32], row: usize, format: NumberFormat) -> Vec<f32> {
    let mut values = values.to_vec();
    round_trip_rows(&mut values, row, format).unwrap();
    values
}

/// Rows that share a magnitude from 2⁻³⁰ to 2¹⁵ but for zeros and outliers.
fn rows(numbers: usize) -> impl Strategy<Value = Vec<f32>> {
    let number = prop_oneof![
        8 => -1.0f32..1.0,
        1 => Just(0.0),
        1 => -1e-3f32..1e-3,
    ];
    (prop::collection::vec(number, numbers), -30i32..15).prop_map(|(values, exponent)| {
        let scale = 2f32.powi(exponent);
        values.into_iter().map(|value| value * scale).collect()
    })
}

/// Half a unit in the last place of the f16 next to `x`: a relative 2⁻¹¹, or
/// half of the least subnormal, 2⁻²⁴.
fn f16_error(x: f64) -> f64 {
    (x.abs() * 2f64.powi(-11)).max(2f64.powi(-25))
}

/// The largest error that a block with these extremes may suffer.
///
/// A code is the nearest level under the exact step `d`, hence `d / 2` off, and
/// the step stored as f16 moves level `q` by `q` times its rounding error. In
/// the symmetric types the extreme lies on the most negative code, so that its
/// opposite, if as large, is one level short: a whole `d`. f32 arithmetic adds a
/// few units of 2⁻²⁴ of the extreme.
fn block_bound(format: NumberFormat, block: &[f32]) -> f64 {
    let min = f64::from(block.iter().copied().fold(f32::MAX, f32::min));
    let max = f64::from(block.iter().copied().fold(f32::MIN, f32::max));
    let most = f64::max(max, -min);
    let symmetric = |levels: f64| most / levels + levels * f16_error(most / levels);
    let affine = |steps: f64| {
        let step = (max - min) / steps;
        0.5 * step + steps * f16_error(step) + f16_error(min)
    };
    let arithmetic = most * 2f64.powi(-20);
    arithmetic
        + match format {
            NumberFormat::F16 => f16_error(most),
            NumberFormat::Bf16 => most * 2f64.powi(-8),
            NumberFormat::Q4_0 => symmetric(8.0),
            NumberFormat::Q5_0 => symmetric(16.0),
            NumberFormat::Q4_1 => affine(15.0),
            NumberFormat::Q5_1 => affine(31.0),
            // Both extremes have a code: half a step.
            NumberFormat::Q8_0 => 0.5 * most / 127.0 + 127.0 * f16_error(most / 127.0),
            // The weight, its quotient by the scale and the product are f16 too;
            // the quotient, below 8, is off by 2⁻⁹ of a step.
            NumberFormat::Int4B32 => {
                let step = most / 7.0;
                (0.5 + 2f64.powi(-9)) * step + 9.0 * f16_error(step) + 2.0 * f16_error(most)
            }
            other => unreachable!("{other} searches for its scale"),
        }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn no_number_moves_further_than_its_block_allows(values in rows(128)) {
        for format in [
            NumberFormat::F16,
            NumberFormat::Bf16,
            NumberFormat::Q8_0,
            NumberFormat::Q5_1,
            NumberFormat::Q5_0,
            NumberFormat::Q4_1,
            NumberFormat::Q4_0,
            NumberFormat::Int4B32,
        ] {
            let back = through(&values, 64, format);
            for (block, back) in values.chunks(32).zip(back.chunks(32)) {
                let bound = block_bound(format, block);
                for (&x, &y) in block.iter().zip(back) {
                    let error = f64::from((x - y).abs());
                    prop_assert!(error <= bound, "{format}: {x} became {y}, bound {bound}");
                }
            }
        }
    }

    /// Zero is a level of q6_k and q3_k, so the nearest level is no further from
    /// a number than zero is.
    #[test]
    fn symmetric_k_quants_never_more_than_double_a_number(values in rows(512)) {
        for format in [NumberFormat::Q6K, NumberFormat::Q3K] {
            for (&x, &y) in values.iter().zip(&through(&values, 256, format)) {
                // A quotient rounded in f32 may tip a tie by 2⁻²².
                let bound = f64::from(x.abs()) * (1.0 + 2f64.powi(-20));
                prop_assert!(f64::from((x - y).abs()) <= bound, "{format}: {x} became {y}");
            }
        }
    }

    /// Scales adapt: doubling all numbers doubles the result, to the bit, while
    /// the f16 scales stay normal. Here they do: every 16 numbers reach 0.95, and
    /// the least scale, 1/128 of 1/32 of that in q6_k, is above f16's least
    /// normal 2⁻¹⁴.
    #[test]
    fn doubling_doubles(mut values in prop::collection::vec(-1.0f32..1.0, 256), exponent in 0i32..12) {
        for block in values.chunks_mut(16) {
            block[3] = 0.9;
            block[7] = -0.95;
        }
        let factor = 2f32.powi(exponent);
        let scaled: Vec<f32> = values.iter().map(|value| value * factor).collect();
        for format in NumberFormat::ALL {
            let subnormal = match format {
                NumberFormat::F16 => values.iter().any(|value| value.abs() < 2f32.powi(-14)),
                // Its levels are f16, and the mean of numbers about zero may be
                // as small as any.
                NumberFormat::Palette4G16 => true,
                _ => false,
            };
            if subnormal {
                continue;
            }
            let back: Vec<f32> =
                through(&values, 256, format).iter().map(|value| value * factor).collect();
            prop_assert_eq!(through(&scaled, 256, format), back, "{}", format);
        }
    }

    /// The best 16 levels are at least as good as 16 even ones across the range,
    /// which miss no number by more than half a step; rounding weights and means
    /// to f16 adds its own error, once each.
    #[test]
    fn palettes_beat_even_levels(values in rows(16 * 24)) {
        let back = through(&values, 24, NumberFormat::Palette4G16);
        let min = f64::from(values.iter().copied().fold(f32::MAX, f32::min));
        let max = f64::from(values.iter().copied().fold(f32::MIN, f32::max));
        let bound = (max - min) / 32.0 + 2.0 * f16_error(max.abs().max(min.abs()));
        let square = |(&x, &y): (&f32, &f32)| f64::from(x - y).powi(2);
        let mean = values.iter().zip(&back).map(square).sum::<f64>() / values.len() as f64;
        prop_assert!(mean.sqrt() <= bound * (1.0 + 1e-6), "{} above {bound}", mean.sqrt());
        let mut levels: Vec<u32> = back.iter().map(|value| value.to_bits()).collect();
        levels.sort_unstable();
        levels.dedup();
        prop_assert!(levels.len() <= 16);
    }
}

#[test]
fn zeros_stay_zero() {
    for format in NumberFormat::ALL {
        let back = through(&[0.0; 512], 256, format);
        assert!(back.iter().all(|&value| value == 0.0), "{format}");
    }
}
