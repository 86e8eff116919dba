//! Matrices in every storage type, times one vector and many.

use half::{bf16, f16};
use harness_reference::gguf::GgmlType;
use harness_reference::kernels::{Kernels, Matrix};
use harness_reference::quant::dequantize;
use proptest::prelude::*;

use crate::{Random, each_isa, gamma};

/// Those that kernels read, and one that is expanded for them.
const TYPES: [GgmlType; 16] = [
    GgmlType::F32,
    GgmlType::F16,
    GgmlType::Bf16,
    GgmlType::Q4_0,
    GgmlType::Q4_1,
    GgmlType::Q5_0,
    GgmlType::Q5_1,
    GgmlType::Q8_0,
    GgmlType::Q2K,
    GgmlType::Q3K,
    GgmlType::Q4K,
    GgmlType::Q5K,
    GgmlType::Q6K,
    GgmlType::Iq4Nl,
    GgmlType::Iq4Xs,
    GgmlType::Tq2_0,
];

/// Where a block's f16 scale stands, and its f16 minimum with the largest
/// factor that the block multiplies it by.
fn scales(ty: GgmlType) -> (Option<usize>, Option<(usize, f64)>) {
    match ty {
        GgmlType::F32 | GgmlType::F16 | GgmlType::Bf16 => (None, None),
        GgmlType::Q4_0 | GgmlType::Q5_0 | GgmlType::Q8_0 => (Some(0), None),
        GgmlType::Iq4Nl | GgmlType::Iq4Xs => (Some(0), None),
        GgmlType::Q4_1 | GgmlType::Q5_1 => (Some(0), Some((2, 1.0))),
        GgmlType::Q2K => (Some(80), Some((82, 15.0))),
        GgmlType::Q3K => (Some(108), None),
        GgmlType::Q4K | GgmlType::Q5K => (Some(0), Some((2, 63.0))),
        GgmlType::Q6K => (Some(208), None),
        GgmlType::Tq2_0 => (Some(64), None),
        other => unreachable!("{other}"),
    }
}

/// Random codes under scales from `scale`; single numbers are `number`'s.
fn blocks(
    ty: GgmlType,
    numbers: usize,
    random: &mut Random,
    scale: fn(&mut Random) -> f32,
    number: fn(&mut Random) -> f32,
) -> Vec<u8> {
    let mut single = |bytes: fn(f32) -> Vec<u8>| -> Vec<u8> {
        (0..numbers).flat_map(|_| bytes(number(random))).collect()
    };
    match ty {
        GgmlType::F32 => return single(|x| x.to_le_bytes().into()),
        GgmlType::F16 => return single(|x| f16::from_f32(x).to_le_bytes().into()),
        GgmlType::Bf16 => return single(|x| bf16::from_f32(x).to_le_bytes().into()),
        _ => {}
    }
    let mut bytes = random.bytes(ty.row_bytes(numbers).unwrap());
    let (d, min) = scales(ty);
    for block in bytes.chunks_exact_mut(ty.block_bytes()) {
        for at in d.into_iter().chain(min.map(|(at, _)| at)) {
            let scale = f16::from_f32(scale(random));
            block[at..at + 2].copy_from_slice(&scale.to_le_bytes());
        }
    }
    bytes
}

/// What a weight's roundings are relative to. Types with a minimum compute
/// `d·q + m` or its product with x in parts, so errors are those of
/// `|d·q| + |m| ≤ |w| + 2|m|`.
fn magnitudes(ty: GgmlType, bytes: &[u8], weights: &[f32]) -> Vec<f64> {
    let (_, min) = scales(ty);
    let minimum = |block: &[u8]| {
        min.map_or(0.0, |(at, factor)| {
            f16::from_le_bytes([block[at], block[at + 1]])
                .to_f64()
                .abs()
                * factor
        })
    };
    bytes
        .chunks_exact(ty.block_bytes())
        .zip(weights.chunks_exact(ty.block_size()))
        .flat_map(|(block, weights)| {
            let m = minimum(block);
            weights.iter().map(move |&w| f64::from(w).abs() + 2.0 * m)
        })
        .collect()
}

/// A type, rows, columns in whole blocks, tokens, and a seed.
fn shapes() -> impl Strategy<Value = (GgmlType, usize, usize, usize, u64)> {
    // One row and token, fewer and more than the registers, a tile and a panel hold.
    let rows = prop_oneof![1usize..14, 90usize..100, Just(200usize)];
    let tokens = prop_oneof![3 => Just(1usize), 2 => 2usize..36, 1 => 60usize..100];
    let columns = prop_oneof![4 => 1usize..600, 1 => 3500usize..4097];
    (0..TYPES.len(), rows, columns, tokens, any::<u64>()).prop_map(
        |(ty, rows, columns, tokens, seed)| {
            let ty = TYPES[ty];
            let columns = columns.next_multiple_of(ty.block_size()).min(4096);
            // A large matrix is nothing that a small one is not.
            let rows = if columns * tokens > 100_000 {
                rows.min(13)
            } else {
                rows
            };
            (ty, rows, columns, tokens, seed)
        },
    )
}

struct Case {
    matrix: Matrix,
    weights: Vec<f32>,
    magnitudes: Vec<f64>,
}

fn case(ty: GgmlType, rows: usize, columns: usize, bytes: Vec<u8>) -> Case {
    let mut weights = vec![0.0; rows * columns];
    dequantize(ty, &bytes, &mut weights).unwrap();
    Case {
        magnitudes: magnitudes(ty, &bytes, &weights),
        matrix: Matrix::new(ty, rows, columns, bytes).unwrap(),
        weights,
    }
}

/// `Σ w·x` in f64, and of the magnitudes.
fn dot(weights: &[f32], magnitudes: &[f64], x: &[f32]) -> (f64, f64) {
    let mut sums = (0.0, 0.0);
    for ((&w, m), &x) in weights.iter().zip(magnitudes).zip(x) {
        sums.0 += f64::from(w) * f64::from(x);
        sums.1 += m * f64::from(x).abs();
    }
    sums
}

fn multiply(kernels: &Kernels, matrix: &Matrix, x: &[f32], tokens: usize) -> Vec<f32> {
    let mut out = vec![f32::NAN; tokens * matrix.rows()];
    kernels.product(matrix, x, &mut out).unwrap();
    out
}

/// Roundings that one product may go through in a sum of `columns`.
///
/// With many tokens a sum is one chain of as many additions, each fused with
/// its product or behind it. With one token 4 lanes or more add up in chains of
/// their own: at most 4 additions for every 32 columns, then up to 31 across
/// lanes and 31 of a tail; never more than there are columns. 8 more are those
/// of the weight, its scale and the products with both.
///
/// AMX adds six products of parts for each of f32, and leaves out parts that
/// are worth 4 roundings more.
fn roundings(columns: usize, tokens: usize, kernels: &str) -> usize {
    let chain = if tokens > 1 && kernels == "amx" {
        6 * columns + 4
    } else if tokens > 1 {
        columns
    } else {
        columns.min(columns / 8 + 62)
    };
    chain + 8
}

/// Weights under a scale and a minimum of 1, times inputs of −1, 0 and 1.
fn check_integers(ty: GgmlType, rows: usize, columns: usize, tokens: usize, seed: u64) {
    let random = &mut Random(seed);
    let bytes = blocks(
        ty,
        rows * columns,
        random,
        |_| 1.0,
        |r| r.integer(-127, 127),
    );
    let case = case(ty, rows, columns, bytes);
    let x = random.integers(tokens * columns, -1, 1);
    let mut expected = Vec::new();
    for x in x.chunks_exact(columns) {
        for row in case.weights.chunks_exact(columns) {
            expected.push(row.iter().zip(x).map(|(w, x)| w * x).sum::<f32>());
        }
    }
    each_isa(|kernels| {
        let out = multiply(kernels, &case.matrix, &x, tokens);
        assert_eq!(
            out,
            expected,
            "{ty}, {}, {rows} rows of {columns}, {tokens} tokens",
            kernels.name()
        );
    });
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    #[test]
    fn rows_are_decoded_to_the_bit((ty, rows, columns, _, seed) in shapes()) {
        let random = &mut Random(seed);
        // One byte off any alignment.
        let mut bytes = vec![0];
        bytes.extend(blocks(ty, rows * columns, random, |r| r.wide(), |r| r.wide()));
        let bytes = bytes::Bytes::from(bytes).slice(1..);
        let mut weights = vec![0.0; rows * columns];
        dequantize(ty, &bytes, &mut weights).unwrap();
        let matrix = Matrix::new(ty, rows, columns, bytes).unwrap();
        each_isa(|kernels| {
            let mut out = vec![f32::NAN; columns];
            for (row, expected) in weights.chunks_exact(columns).enumerate() {
                kernels.decode_row(&matrix, row, &mut out).unwrap();
                for (at, (x, y)) in out.iter().zip(expected).enumerate() {
                    let name = kernels.name();
                    assert_eq!(x.to_bits(), y.to_bits(), "{ty}, {name}, {row}, {at}: {x} not {y}");
                }
            }
        });
    }

    /// Weights are integers, at most 32 · 127 of them (the K types' largest
    /// scale and code), and so are the inputs, −1, 0 and 1: every sum is below
    /// 4096 · 4096 = 2²⁴, where f32 has all integers. Parts of them, before a
    /// minimum is taken off, are as well.
    #[test]
    fn products_of_integers_are_exact((ty, rows, columns, tokens, seed) in shapes()) {
        check_integers(ty, rows, columns, tokens, seed);
    }

    #[test]
    fn products_are_within_their_roundings((ty, rows, columns, tokens, seed) in shapes()) {
        let random = &mut Random(seed);
        let scale = |random: &mut Random| random.float(-0.1, 0.1);
        let bytes = blocks(ty, rows * columns, random, scale, |r| r.wide());
        let case = case(ty, rows, columns, bytes);
        let x = random.wides(tokens * columns);
        each_isa(|kernels| {
            let gamma = gamma(roundings(columns, tokens, kernels.name()));
            let out = multiply(kernels, &case.matrix, &x, tokens);
            for (token, (x, out)) in
                x.chunks_exact(columns).zip(out.chunks_exact(rows)).enumerate()
            {
                for (row, &out) in out.iter().enumerate() {
                    let at = row * columns..(row + 1) * columns;
                    let (sum, size) = dot(&case.weights[at.clone()], &case.magnitudes[at], x);
                    let error = (f64::from(out) - sum).abs();
                    assert!(
                        error <= gamma * size,
                        "{ty}, {}, row {row}, token {token}: {out} not {sum}, {:.2} of the bound",
                        kernels.name(),
                        error / (gamma * size),
                    );
                }
            }
        });
    }
}

/// As long as any model's rows.
#[test]
fn long_rows_are_exact() {
    for ty in [
        GgmlType::F16,
        GgmlType::Q8_0,
        GgmlType::Q4_0,
        GgmlType::Q4_1,
    ] {
        check_integers(ty, 3, 28672, 1, 6);
        check_integers(ty, 3, 28672, 33, 7);
    }
}

/// Rows of single numbers may end anywhere in a vector of 32.
#[test]
fn rows_of_every_length_are_exact() {
    for ty in [GgmlType::F32, GgmlType::F16, GgmlType::Bf16] {
        for columns in 1..=100 {
            check_integers(ty, 5, columns, 1, 4);
            check_integers(ty, 2, columns, 2, 5);
        }
    }
}

/// Those of the token alone whose input is not finite.
#[test]
fn what_is_not_finite_stays_in_its_token() {
    for ty in TYPES {
        let (rows, columns) = (5, 256);
        let bytes = blocks(ty, rows * columns, &mut Random(2), |_| 1.0, |_| 1.0);
        let matrix = Matrix::new(ty, rows, columns, bytes).unwrap();
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            for tokens in [1, 3] {
                let mut x = vec![1.0; tokens * columns];
                x[77] = bad;
                each_isa(|kernels| {
                    let out = multiply(kernels, &matrix, &x, tokens);
                    for (at, out) in out.iter().enumerate() {
                        // Zero weights turn infinities into NaN.
                        let finite = at >= rows;
                        assert_eq!(out.is_finite(), finite, "{ty}, {}: {at}", kernels.name());
                        assert!(finite || !bad.is_nan() || out.is_nan());
                    }
                });
            }
        }
    }
}
