//! Core ML's weight compressions against coremltools
//! (`scripts/oracles/core_ml_vectors.py` writes and describes the vectors).
#![allow(clippy::unwrap_used)] // Fixture code of a test may panic.

use std::fs;
use std::path::Path;

use engine::NumberFormat;
use harness_reference::gguf::GgmlType;
use harness_reference::quant::{QuantError, dequantize, round_trip_rows};

const COLUMNS: usize = 640;
const SMALL: usize = 64;

fn read(name: &str) -> Vec<f32> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/core_ml");
    let bytes = fs::read(folder.join(format!("{name}.f16"))).unwrap();
    let mut values = vec![0.0; bytes.len() / 2];
    dequantize(GgmlType::F16, &bytes, &mut values).unwrap();
    values
}

fn through(mut values: Vec<f32>, row: usize, format: NumberFormat) -> Vec<f32> {
    round_trip_rows(&mut values, row, format).unwrap();
    values
}

fn squared_error(a: &[f32], b: &[f32]) -> f64 {
    let square = |(a, b): (&f32, &f32)| f64::from(a - b).powi(2);
    a.iter().zip(b).map(square).sum()
}

#[test]
fn int4_is_what_coremltools_makes() {
    let ours = through(read("weights"), COLUMNS, NumberFormat::Int4B32);
    assert_eq!(ours, read("int4"));
}

#[test]
fn palettes_are_what_coremltools_makes() {
    let ours = through(read("weights"), COLUMNS, NumberFormat::Palette4G16);
    assert_eq!(ours, read("palette"));
}

#[test]
fn small_palettes_are_no_worse_than_scikit_learns() {
    let weights: Vec<f32> = read("weights")
        .chunks(COLUMNS)
        .flat_map(|row| row[..SMALL].to_vec())
        .collect();
    let ours = squared_error(
        &through(weights.clone(), SMALL, NumberFormat::Palette4G16),
        &weights,
    );
    let theirs = squared_error(&read("small"), &weights);
    println!("squared error: ours {ours:.3e}, scikit-learn's {theirs:.3e}");
    assert!(ours <= theirs, "{ours} against {theirs}");
}

#[test]
fn what_groups_do_not_divide_stays_f16() {
    let weights = read("weights");
    // 31 rows are no groups of 16; 16 numbers are no block of 32.
    let odd = weights[..31 * COLUMNS].to_vec();
    assert_eq!(
        through(odd.clone(), COLUMNS, NumberFormat::Palette4G16),
        odd
    );
    assert_eq!(through(odd.clone(), 16, NumberFormat::Int4B32), odd);
}

#[test]
fn what_f16_scales_cannot_hold_is_refused() {
    for format in [NumberFormat::Palette4G16, NumberFormat::Int4B32] {
        let mut values = vec![1.0; 512];
        values[3] = 40_000.0;
        let refused = round_trip_rows(&mut values, 32, format);
        assert!(
            matches!(refused, Err(QuantError::Value { index: 3, .. })),
            "{refused:?}"
        );
    }
}
