//! The noise model that gates are derived from, held to trained weights.
#![allow(clippy::unwrap_used)] // Fixture code of a test may panic.

use candle_core::quantized::GgmlDType;
use candle_core::quantized::ggml_file::qtensor_from_ggml;
use candle_core::{Device, Tensor};
use engine::tolerance::noise_to_signal;
use engine::{ModelArtifact, NumberFormat};
use harness_reference::gguf::{GgmlType, GgufFile};
use harness_reference::round_trip;

/// Measured noise over predicted noise must lie within half a bit of one: a
/// bit more or less is a factor of four in squared error, half a bit two.
const HALF_A_BIT: f64 = 2.0;

#[test]
fn predicted_noise_is_the_measured_one() {
    let model = ModelArtifact::embedded(fixtures::MODEL_NAME, fixtures::MODEL);
    let file = GgufFile::open(&model).unwrap();
    let matrices: Vec<Tensor> = file
        .tensors()
        .iter()
        .filter(|tensor| tensor.dims.len() == 2)
        .map(|tensor| {
            assert_eq!(tensor.ggml_type, GgmlType::F16);
            let shape = tensor.dims.iter().rev().map(|&dim| dim as usize).collect();
            qtensor_from_ggml(GgmlDType::F16, file.data(tensor), shape, &Device::Cpu)
                .unwrap()
                .dequantize(&Device::Cpu)
                .unwrap()
        })
        .collect();
    assert!(matrices.len() > 30);
    for format in NumberFormat::ALL {
        // The stored values are f16 already, so these two are exact.
        if matches!(format, NumberFormat::F32 | NumberFormat::F16) {
            continue;
        }
        let (mut noise, mut signal) = (0.0, 0.0);
        for matrix in &matrices {
            let rounded = round_trip(matrix, format).unwrap();
            let sum = |t: Tensor| {
                t.sqr()
                    .unwrap()
                    .sum_all()
                    .unwrap()
                    .to_scalar::<f32>()
                    .unwrap()
            };
            // Every matrix weighs the same, as it does in the derivation.
            noise += f64::from(sum((rounded - matrix).unwrap())) / f64::from(sum(matrix.clone()));
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
