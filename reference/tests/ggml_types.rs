//! GGML's types against vectors from PyPI `gguf` and ggml itself
//! (`scripts/oracles/ggml_vectors.py` writes and describes them).
#![allow(clippy::unwrap_used)] // Fixture code of a test may panic.

use std::fs;
use std::path::Path;

use harness_reference::gguf::GgmlType;
use harness_reference::quant::{QuantError, dequantize, quantize};

/// Numbers in random blocks, which stand before the quantized rows.
const RANDOM: usize = 4 * 256;
const ROW: usize = 256;

const TYPES: [GgmlType; 20] = [
    GgmlType::F32,
    GgmlType::F16,
    GgmlType::Bf16,
    GgmlType::Q4_0,
    GgmlType::Q4_1,
    GgmlType::Q5_0,
    GgmlType::Q5_1,
    GgmlType::Q8_0,
    GgmlType::Q8_1,
    GgmlType::Q2K,
    GgmlType::Q3K,
    GgmlType::Q4K,
    GgmlType::Q5K,
    GgmlType::Q6K,
    GgmlType::Q8K,
    GgmlType::Iq4Nl,
    GgmlType::Iq4Xs,
    GgmlType::Tq1_0,
    GgmlType::Tq2_0,
    GgmlType::Mxfp4,
];

/// Read only: GGML's activations, and types for models trained in them.
const NOT_WRITTEN: [GgmlType; 5] = [
    GgmlType::Q8_1,
    GgmlType::Q8K,
    GgmlType::Tq1_0,
    GgmlType::Tq2_0,
    GgmlType::Mxfp4,
];

fn read(name: &str) -> Vec<u8> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/ggml");
    fs::read(folder.join(name)).unwrap()
}

fn floats(name: &str) -> Vec<f32> {
    let bytes = read(name);
    let (words, rest) = bytes.as_chunks();
    assert!(rest.is_empty());
    words.iter().map(|&word| f32::from_le_bytes(word)).collect()
}

#[test]
fn dequantized_to_the_bit() {
    for ty in TYPES {
        let blocks = read(&format!("{ty}.blocks"));
        let expected = floats(&format!("{ty}.f32"));
        // One byte off any alignment.
        let mut shifted = vec![0; blocks.len() + 1];
        shifted[1..].copy_from_slice(&blocks);
        let mut values = vec![0.0; expected.len()];
        dequantize(ty, &shifted[1..], &mut values).unwrap();
        for (at, (value, expected)) in values.iter().zip(&expected).enumerate() {
            assert_eq!(
                value.to_bits(),
                expected.to_bits(),
                "{ty}, number {at}: {value} against {expected}"
            );
        }
    }
}

/// Nothing is gained by another choice of codes than ggml's, and equal bytes
/// leave no error ratio to bound.
#[test]
fn quantized_to_the_byte() {
    let values = floats("inputs.f32");
    for ty in TYPES.into_iter().filter(|ty| !NOT_WRITTEN.contains(ty)) {
        let blocks = read(&format!("{ty}.blocks"));
        let expected = &blocks[ty.row_bytes(RANDOM).unwrap()..];
        let mut bytes = vec![0; ty.row_bytes(values.len()).unwrap()];
        quantize(ty, &values, ROW, &mut bytes).unwrap();
        for (row, (ours, theirs)) in bytes
            .chunks(ty.row_bytes(ROW).unwrap())
            .zip(expected.chunks(ty.row_bytes(ROW).unwrap()))
            .enumerate()
        {
            assert_eq!(ours, theirs, "{ty}, row {row}");
        }
    }
}

#[test]
fn threads_leave_the_result_alone() {
    // More than one thread's share, which tiles of the inputs make up.
    let tile = floats("inputs.f32");
    let values = tile.repeat(100);
    for ty in [GgmlType::F16, GgmlType::Q4_0, GgmlType::Q6K] {
        let mut bytes = vec![0; ty.row_bytes(values.len()).unwrap()];
        quantize(ty, &values, ROW, &mut bytes).unwrap();
        let mut one = vec![0; ty.row_bytes(tile.len()).unwrap()];
        quantize(ty, &tile, ROW, &mut one).unwrap();
        assert_eq!(bytes, one.repeat(100), "{ty}");
        let mut back = vec![0.0; values.len()];
        dequantize(ty, &bytes, &mut back).unwrap();
        let mut once = vec![0.0; tile.len()];
        dequantize(ty, &one, &mut once).unwrap();
        assert_eq!(back, once.repeat(100), "{ty}");
    }
}

#[test]
fn what_does_not_fit_is_refused() {
    let mut bytes = [0; 18];
    let mut values = [0.0; 32];
    assert_eq!(
        dequantize(GgmlType::Iq2Xxs, &bytes, &mut values),
        Err(QuantError::NotRead(GgmlType::Iq2Xxs))
    );
    assert!(matches!(
        dequantize(GgmlType::Q4_0, &bytes[1..], &mut values),
        Err(QuantError::Length { bytes: 17, .. })
    ));
    assert!(matches!(
        dequantize(GgmlType::Q4_0, &bytes, &mut values[1..]),
        Err(QuantError::Length { numbers: 31, .. })
    ));
    assert_eq!(
        quantize(GgmlType::Tq1_0, &values, 32, &mut bytes),
        Err(QuantError::NotWritten(GgmlType::Tq1_0))
    );
    for row in [0, 16, 33, 64] {
        assert!(
            matches!(
                quantize(GgmlType::Q4_0, &values, row, &mut bytes),
                Err(QuantError::Row { .. })
            ),
            "rows of {row}"
        );
    }
    for bad in [f32::NAN, f32::NEG_INFINITY, 65505.0] {
        values[7] = bad;
        assert!(
            matches!(
                quantize(GgmlType::Q4_0, &values, 32, &mut bytes),
                Err(QuantError::Value { index: 7, .. })
            ),
            "{bad}"
        );
    }
}
