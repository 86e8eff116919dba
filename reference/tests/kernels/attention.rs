//! Causal attention over one head of a cache.

use engine::NumberFormat;
use half::f16;
use harness_reference::gguf::GgmlType;
use harness_reference::kernels::{Head, Kernels};
use harness_reference::quant::{dequantize, quantize};
use proptest::prelude::*;

use crate::{Random, U, each_isa, gamma};

/// Keys or values of consecutive positions, and the ring that holds the last.
struct Rows {
    /// `[positions, dim]`, as the ring's format has them.
    exact: Vec<f32>,
    /// `[capacity, width]`.
    ring: Vec<u8>,
}

/// What a test chooses.
#[derive(Clone, Copy, Debug)]
struct Shape {
    format: NumberFormat,
    dim: usize,
    first: usize,
    tokens: usize,
    window: Option<usize>,
    /// Rows beside those that are seen.
    spare: usize,
    seed: u64,
}

impl Shape {
    fn end(&self) -> usize {
        self.first + self.tokens
    }

    fn visible(&self, position: usize) -> std::ops::Range<usize> {
        let end = position + 1;
        self.window.map_or(0, |window| end.saturating_sub(window))..end
    }

    /// Rows of the ring.
    fn capacity(&self) -> usize {
        self.end() - self.visible(self.first).start + self.spare
    }

    /// Heads before and behind this one.
    fn column(&self) -> usize {
        self.dim
    }

    fn width(&self) -> usize {
        3 * self.dim
    }

    fn ggml_type(&self) -> GgmlType {
        match self.format {
            NumberFormat::F16 => GgmlType::F16,
            NumberFormat::Q8_0 => GgmlType::Q8_0,
            _ => GgmlType::F32,
        }
    }

    /// Stores `values`, `[positions, dim]`, among NaN in the heads beside.
    fn store(&self, values: &[f32]) -> Rows {
        let ty = self.ggml_type();
        let (dim, head_bytes) = (self.dim, ty.row_bytes(self.dim).unwrap());
        let row_bytes = ty.row_bytes(self.width()).unwrap();
        let mut exact = vec![0.0; values.len()];
        // All bits set: NaN in f32, f16 and in the scale of q8_0.
        let mut ring = vec![0xFF; self.capacity() * row_bytes];
        for (position, row) in values.chunks_exact(dim).enumerate() {
            let at = position % self.capacity() * row_bytes + head_bytes;
            let bytes = &mut ring[at..at + head_bytes];
            match self.format {
                NumberFormat::F32 => bytes.copy_from_slice(&bytes_of(row, f32::to_le_bytes)),
                NumberFormat::F16 => {
                    bytes.copy_from_slice(&bytes_of(row, |x| f16::from_f32(x).to_le_bytes()));
                }
                _ => quantize(ty, row, dim, bytes).unwrap(),
            }
            dequantize(ty, bytes, &mut exact[position * dim..(position + 1) * dim]).unwrap();
        }
        Rows { exact, ring }
    }

    fn head<'a>(&self, keys: &'a Rows, values: &'a Rows) -> Head<'a> {
        Head {
            format: self.format,
            keys: &keys.ring,
            values: &values.ring,
            width: self.width(),
            column: self.column(),
            dim: self.dim,
            scale: 1.0 / (self.dim as f32).sqrt(),
            softcap: None,
            window: self.window,
        }
    }
}

fn bytes_of<const N: usize>(row: &[f32], bytes: impl Fn(f32) -> [u8; N]) -> Vec<u8> {
    row.iter().flat_map(|&x| bytes(x)).collect()
}

/// All queries at once, and one after the other.
fn attend(kernels: &Kernels, head: &Head<'_>, first: usize, queries: &[f32]) -> [Vec<f32>; 2] {
    let mut together = vec![f32::NAN; queries.len()];
    kernels.attend(head, first, queries, &mut together).unwrap();
    let mut apart = vec![f32::NAN; queries.len()];
    let rows = queries
        .chunks_exact(head.dim)
        .zip(apart.chunks_exact_mut(head.dim));
    for (index, (query, out)) in rows.enumerate() {
        kernels.attend(head, first + index, query, out).unwrap();
    }
    [together, apart]
}

fn shapes() -> impl Strategy<Value = Shape> {
    use NumberFormat::{F16, F32, Q8_0};
    let formats = prop::sample::select(vec![F32, F16, Q8_0]);
    let dims = prop_oneof![Just(64usize), Just(128), Just(256), 1usize..97];
    let tokens = prop_oneof![2 => 1usize..5, 2 => 30usize..36, 1 => 1usize..201];
    // Either side of the 64 keys that are scored together.
    let windows = prop_oneof![
        2 => Just(None),
        1 => (1usize..4).prop_map(Some),
        1 => (62usize..67).prop_map(Some),
        1 => (1usize..200).prop_map(Some),
    ];
    let first = prop_oneof![Just(0usize), 60usize..68, 0usize..300];
    (
        formats,
        dims,
        first,
        tokens,
        windows,
        0usize..5,
        any::<u64>(),
    )
        .prop_map(|(format, dim, first, tokens, window, spare, seed)| Shape {
            format,
            dim: match format {
                Q8_0 => dim.next_multiple_of(32),
                _ => dim,
            },
            first,
            tokens,
            window,
            spare,
            seed,
        })
}

/// Attention of one query in f64, and the largest error of each output.
///
/// A score is a sum of `dim` products with some roundings beside (a weight's
/// decoding, the scale): γ(dim + 8) of its magnitude; capped, it moves by no
/// more (the cap's slope is at most 1) and adds 4.5u of the cap and a rounding.
/// A weight e^(s − max) is then off by the score's error, by the rounded
/// difference (u·2S, S the largest |s|), once more where later maxima rescale
/// it, and by 5u for each exponential and its product: one for the weight and
/// one for every block, of which there are those of 64 keys and up to three cut
/// short. Numerator and denominator add up in chains of as many roundings as
/// there are keys, and 40 more across lanes. Common factors cancel. With weights
/// off by a relative δ, a weighted mean of v is off by at most 2δ/(1 − δ) of the
/// mean of |v|.
/// Weights below e^−87.3 count as 0: 10⁻³⁷ of the largest value a key.
fn expected(
    shape: &Shape,
    head: &Head<'_>,
    query: &[f32],
    position: usize,
    keys: &[f32],
    values: &[f32],
) -> Vec<(f64, f64)> {
    let dim = shape.dim;
    let visible = shape.visible(position);
    let count = visible.len();
    let (mut scores, mut score_error) = (Vec::new(), 0f64);
    for key in keys.chunks_exact(dim).take(visible.end).skip(visible.start) {
        let products = || {
            query
                .iter()
                .zip(key)
                .map(|(&q, &k)| f64::from(q) * f64::from(k))
        };
        let scale = f64::from(head.scale);
        let mut score = scale * products().sum::<f64>();
        let mut error = gamma(dim + 8) * scale * products().map(f64::abs).sum::<f64>();
        if let Some(cap) = head.softcap {
            let cap = f64::from(cap);
            score = cap * (score / cap).tanh();
            error += cap * 4.5 * U + U * score.abs();
        }
        scores.push(score);
        score_error = score_error.max(error);
    }
    let maximum = scores.iter().copied().fold(f64::MIN, f64::max);
    let size = scores.iter().map(|score| score.abs()).fold(0.0, f64::max);
    let blocks = count.div_ceil(64) + 3;
    let exponent = score_error + (4.0 * size + 4.0 * score_error) * U;
    let delta = exponent.exp_m1() + gamma(count + 6 * blocks + 40);
    assert!(delta < 0.5, "a bound that says nothing");
    let weights: Vec<f64> = scores.iter().map(|score| (score - maximum).exp()).collect();
    let total: f64 = weights.iter().sum();
    (0..dim)
        .map(|feature| {
            let (mut mean, mut magnitude, mut largest) = (0.0, 0.0, 0f64);
            for (weight, position) in weights.iter().zip(visible.clone()) {
                let value = f64::from(values[position * dim + feature]);
                mean += weight * value / total;
                magnitude += weight * value.abs() / total;
                largest = largest.max(value.abs());
            }
            let flushed = count as f64 * 1e-37 * largest;
            (mean, 2.0 * delta / (1.0 - delta) * magnitude + flushed)
        })
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    /// With equal scores every weight is e⁰ = 1 and outputs are means of small
    /// integers, whose sums are exact: one key too many or too few, at the
    /// edges of windows, blocks and the ring, changes them.
    #[test]
    fn equal_scores_give_exact_means(shape in shapes()) {
        let random = &mut Random(shape.seed);
        let len = shape.end() * shape.dim;
        let keys = shape.store(&random.floats(len, -1.0, 1.0));
        // 127 in every block makes q8_0 exact as well.
        let mut values = random.integers(len, -127, 127);
        values.iter_mut().step_by(16).for_each(|value| *value = 127.0);
        let values = shape.store(&values);
        let head = shape.head(&keys, &values);
        let queries = vec![0.0; shape.tokens * shape.dim];
        let mean = |position: usize, feature: usize| {
            let visible = shape.visible(position);
            let count = visible.len() as f32;
            visible.map(|p| values.exact[p * shape.dim + feature]).sum::<f32>() / count
        };
        let expected: Vec<f32> = (shape.first..shape.end())
            .flat_map(|position| (0..shape.dim).map(move |feature| (position, feature)))
            .map(|(position, feature)| mean(position, feature))
            .collect();
        each_isa(|kernels| {
            for out in attend(kernels, &head, shape.first, &queries) {
                assert_eq!(out, expected, "{}", kernels.name());
            }
        });
    }

    #[test]
    fn attention_is_within_its_roundings(
        shape in shapes(),
        size in -2i32..2,
        cap in prop_oneof![Just(None), (1f32..60.0).prop_map(Some)],
    ) {
        let random = &mut Random(shape.seed);
        let len = shape.end() * shape.dim;
        let keys = shape.store(&random.floats(len, -3.0, 3.0));
        let values = shape.store(&random.floats(len, -100.0, 100.0));
        let head = Head { softcap: cap, ..shape.head(&keys, &values) };
        let size = 10f32.powi(size);
        let queries = random.floats(shape.tokens * shape.dim, -size, size);
        let expected: Vec<_> = queries
            .chunks_exact(shape.dim)
            .zip(shape.first..)
            .flat_map(|(query, position)| {
                expected(&shape, &head, query, position, &keys.exact, &values.exact)
            })
            .collect();
        each_isa(|kernels| {
            for (way, out) in attend(kernels, &head, shape.first, &queries).iter().enumerate() {
                for (at, (&out, &(exact, bound))) in out.iter().zip(&expected).enumerate() {
                    let error = (f64::from(out) - exact).abs();
                    assert!(
                        error <= bound,
                        "{}, way {way}, {at}: {out} not {exact}, {error} > {bound}",
                        kernels.name(),
                    );
                }
            }
        });
    }
}

const PLAIN: Shape = Shape {
    format: NumberFormat::F32,
    dim: 40,
    first: 50,
    tokens: 70,
    window: Some(30),
    spare: 0,
    seed: 3,
};

/// Keys, values and queries above 0.
fn positive(shape: &Shape) -> [Vec<f32>; 3] {
    let random = &mut Random(shape.seed);
    let mut floats = |rows| random.floats(rows * shape.dim, 0.5, 1.0);
    [
        floats(shape.end()),
        floats(shape.end()),
        floats(shape.tokens),
    ]
}

#[test]
fn a_nan_key_reaches_all_that_see_it_and_nobody_else() {
    let shape = PLAIN;
    let [mut keys, values, queries] = positive(&shape);
    let bad = 80;
    keys[bad * shape.dim + 7] = f32::NAN;
    let (keys, values) = (shape.store(&keys), shape.store(&values));
    for softcap in [None, Some(20.0)] {
        let head = Head {
            softcap,
            ..shape.head(&keys, &values)
        };
        each_isa(|kernels| {
            for out in attend(kernels, &head, shape.first, &queries) {
                for (position, out) in (shape.first..).zip(out.chunks_exact(shape.dim)) {
                    let sees = shape.visible(position).contains(&bad);
                    let nan = out.iter().filter(|x| x.is_nan()).count();
                    let expected = if sees { shape.dim } else { 0 };
                    assert_eq!(nan, expected, "{}: {position}", kernels.name());
                }
            }
        });
    }
}

#[test]
fn a_nan_value_reaches_all_that_see_it() {
    let shape = PLAIN;
    let [keys, mut values, queries] = positive(&shape);
    let bad = 80;
    values[bad * shape.dim + 7] = f32::NAN;
    let (keys, values) = (shape.store(&keys), shape.store(&values));
    let head = shape.head(&keys, &values);
    each_isa(|kernels| {
        for (way, out) in attend(kernels, &head, shape.first, &queries)
            .iter()
            .enumerate()
        {
            for (position, out) in (shape.first..).zip(out.chunks_exact(shape.dim)) {
                let sees = shape.visible(position).contains(&bad);
                // In a panel others may get it too, as documented.
                assert!(out[7].is_nan() || !sees, "{}: {position}", kernels.name());
                assert!(
                    way == 0 || sees || out[7].is_finite(),
                    "{}: {position}",
                    kernels.name()
                );
                let others = out.iter().enumerate().filter(|&(at, _)| at != 7);
                assert!(
                    others.clone().all(|(_, x)| x.is_finite()),
                    "{}",
                    kernels.name()
                );
            }
        }
    });
}

/// A score of −∞ is a weight of 0: the key might as well not be there.
#[test]
fn minus_infinity_masks_a_key() {
    let shape = Shape {
        window: None,
        first: 1,
        ..PLAIN
    };
    let [mut keys, values, queries] = positive(&shape);
    let masked = [0, 20, 64];
    for position in masked {
        keys[position * shape.dim] = f32::NEG_INFINITY;
    }
    let (keys, values) = (shape.store(&keys), shape.store(&values));
    let head = shape.head(&keys, &values);
    let kept = |exact: &[f32], end: usize| -> Vec<f32> {
        let rows = exact.chunks_exact(shape.dim).take(end).enumerate();
        let rows = rows.filter(|(position, _)| !masked.contains(position));
        rows.flat_map(|(_, row)| row.to_vec()).collect()
    };
    each_isa(|kernels| {
        for out in attend(kernels, &head, shape.first, &queries) {
            let rows = queries
                .chunks_exact(shape.dim)
                .zip(out.chunks_exact(shape.dim));
            for (position, (query, out)) in (shape.first..).zip(rows) {
                let (keys, values) = (
                    kept(&keys.exact, position + 1),
                    kept(&values.exact, position + 1),
                );
                let last = keys.len() / shape.dim - 1;
                let expected = expected(&shape, &head, query, last, &keys, &values);
                for (&out, (exact, bound)) in out.iter().zip(expected) {
                    let error = (f64::from(out) - exact).abs();
                    assert!(error <= bound, "{}: {out} not {exact}", kernels.name());
                }
            }
        }
    });
}

/// Nothing to choose from is no zero.
#[test]
fn no_finite_score_is_nan() {
    let shape = Shape {
        window: None,
        first: 0,
        tokens: 3,
        ..PLAIN
    };
    let [keys, values, queries] = positive(&shape);
    for bad in [f32::NEG_INFINITY, f32::INFINITY] {
        let mut keys = keys.clone();
        keys.iter_mut().step_by(shape.dim).for_each(|x| *x = bad);
        let (keys, values) = (shape.store(&keys), shape.store(&values));
        let head = shape.head(&keys, &values);
        each_isa(|kernels| {
            for out in attend(kernels, &head, shape.first, &queries) {
                assert!(
                    out.iter().all(|x| x.is_nan()),
                    "{}: {out:?}",
                    kernels.name()
                );
            }
        });
    }
}

/// The largest score takes all, wherever it stands.
#[test]
fn a_needle_is_found_to_the_bit() {
    let shape = Shape {
        window: None,
        first: 149,
        tokens: 1,
        dim: 64,
        ..PLAIN
    };
    let [_, values, _] = positive(&shape);
    let values = shape.store(&values);
    for tokens in [1, 40] {
        for needle in 0..shape.end() - tokens {
            let mut keys = vec![0.0; shape.end() * shape.dim];
            keys[needle * shape.dim + 9] = 100.0;
            let keys = shape.store(&keys);
            let head = shape.head(&keys, &values);
            let mut queries = vec![0.0; tokens * shape.dim];
            queries
                .iter_mut()
                .skip(9)
                .step_by(shape.dim)
                .for_each(|x| *x = 10.0);
            let expected = values.exact[needle * shape.dim..][..shape.dim].repeat(tokens);
            each_isa(|kernels| {
                let mut out = vec![0.0; queries.len()];
                kernels
                    .attend(&head, shape.end() - tokens, &queries, &mut out)
                    .unwrap();
                assert_eq!(out, expected, "{}: {needle}", kernels.name());
            });
        }
    }
}
