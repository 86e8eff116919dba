//! The noise model that gates are derived from, held to trained weights.
#![allow(clippy::unwrap_used)] // Fixture code of a test may panic.

use engine::tolerance::noise_to_signal;
use engine::{ModelArtifact, NumberFormat};
use harness_reference::gguf::{GgmlType, GgufFile};
use harness_reference::quant::{dequantize, round_trip_rows};

/// Measured noise over predicted noise must lie within half a bit of one: a
/// bit more or less is a factor of four in squared error, half a bit two.
const HALF_A_BIT: f64 = 2.0;

#[test]
fn predicted_noise_is_the_measured_one() {
    let model = ModelArtifact::embedded(fixtures::MODEL_NAME, fixtures::MODEL);
    let file = GgufFile::open(&model).unwrap();
    let matrices: Vec<(usize, Vec<f32>)> = file
        .tensors()
        .iter()
        .filter(|tensor| tensor.dims.len() == 2)
        .map(|tensor| {
            assert_eq!(tensor.ggml_type, GgmlType::F16);
            let mut values = vec![0.0; tensor.dims.iter().product::<u64>() as usize];
            dequantize(tensor.ggml_type, file.data(tensor), &mut values).unwrap();
            (tensor.dims[0] as usize, values)
        })
        .collect();
    assert!(matrices.len() > 30);
    for format in NumberFormat::ALL {
        // The stored values are f16 already, so these two are exact.
        if matches!(format, NumberFormat::F32 | NumberFormat::F16) {
            continue;
        }
        let (mut noise, mut signal) = (0.0, 0.0);
        for (row, before) in &matrices {
            let mut after = before.clone();
            round_trip_rows(&mut after, *row, format).unwrap();
            let moved = before.iter().zip(&after).map(|(a, b)| b - a);
            // Every matrix weighs the same, as it does in the derivation.
            noise += squares(moved) / squares(before.iter().copied());
            signal += 1.0;
        }
        let ratio = noise / signal / noise_to_signal(format);
        println!("{format:>5}: measured/predicted {ratio:.3}");
        assert!(
            (1.0 / HALF_A_BIT..HALF_A_BIT).contains(&ratio),
            "{format}: measured noise is {ratio:.3} of the predicted"
        );
    }
}

fn squares(values: impl Iterator<Item = f32>) -> f64 {
    values.map(|value| f64::from(value).powi(2)).sum()
}
