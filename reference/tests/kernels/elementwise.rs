//! Norms, rotations, gated activations and soft caps.

use harness_reference::kernels::{Activation, NormKind, Pairing};
use proptest::prelude::*;

use crate::{Random, U, each_isa, gamma};

/// Tokens, features and a seed.
fn shapes() -> impl Strategy<Value = (usize, usize, u64)> {
    let tokens = prop_oneof![2 => Just(1usize), 2 => 2usize..40, 1 => 60usize..70];
    let features = prop_oneof![4 => 1usize..300, 1 => 4000usize..4200];
    (tokens, features, any::<u64>())
}

/// Roundings of a sum over features: one chain for panels, for a single token
/// one in each of 32 lanes, then across the lanes and through the tail.
fn roundings(features: usize, tokens: usize) -> usize {
    match tokens {
        1 => features.min(features / 32 + 62),
        _ => features,
    }
}

/// Norm of one token in f64 with the largest error of each result.
fn norm(
    kind: NormKind,
    weight: &[f32],
    bias: Option<&[f32]>,
    x: &[f32],
    roundings: usize,
) -> Vec<(f64, f64)> {
    let n = x.len() as f64;
    let x = || x.iter().map(|&x| f64::from(x));
    let (epsilon, mean, mean_error) = match kind {
        NormKind::Rms { epsilon } => (epsilon, 0.0, 0.0),
        NormKind::Layer { epsilon } => {
            let magnitude = x().map(f64::abs).sum::<f64>() / n;
            // The sum, and its product with a rounded 1/n.
            let error = gamma(roundings + 2) * magnitude;
            (epsilon, x().sum::<f64>() / n, error)
        }
    };
    let centred = |x: f64| (x - mean, mean_error + U * ((x - mean).abs() + mean_error));
    let variance = x().map(|x| (x - mean).powi(2)).sum::<f64>() / n;
    let root = (variance + f64::from(epsilon)).sqrt();
    // By the triangle inequality the root of a mean of squares moves by no more
    // than the largest error under it. The squares add up with a relative
    // γ(n + 5), rounded ε and mean included, which the root halves; the root and
    // its reciprocal are rounded too.
    let largest = x().map(|x| centred(x).1).fold(0.0, f64::max);
    let relative = largest / root + gamma(roundings.div_ceil(2) + 5);
    // Few features that differ by no more than the roundings of their mean: what
    // is left of them is noise, in any order of the sum.
    let relative = if relative < 0.5 {
        relative
    } else {
        f64::INFINITY
    };
    x().zip(weight)
        .enumerate()
        .map(|(at, (x, &weight))| {
            let weight = f64::from(weight);
            let bias = bias.map_or(0.0, |bias| f64::from(bias[at]));
            let (centred, error) = centred(x);
            let scaled = centred / root * weight;
            let error = match relative.is_finite() {
                true => {
                    (error + centred.abs() * relative) / (root * (1.0 - relative)) * weight.abs()
                }
                false => f64::INFINITY,
            };
            // Two products and the sum with the bias.
            (
                scaled + bias,
                error * (1.0 + 4.0 * U) + gamma(3) * (scaled.abs() + bias.abs()),
            )
        })
        .collect()
}

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

/// The tanh approximation of GELU (Hendrycks & Gimpel 2016).
fn gelu(x: f64) -> f64 {
    let inner = (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x.powi(3));
    0.5 * x * (1.0 + inner.tanh())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    #[test]
    fn norms_are_within_their_roundings(
        (tokens, features, seed) in shapes(),
        layer: bool,
        biased: bool,
        // Means of up to 30 deviations; magnitudes from 10⁻¹² to 10¹⁵.
        mean in -30f32..30.0,
        exponent in -12i32..15,
    ) {
        let random = &mut Random(seed);
        let size = 10f32.powi(exponent);
        let x: Vec<f32> = random
            .floats(tokens * features, mean - 1.0, mean + 1.0)
            .into_iter()
            .map(|x| x * size)
            .collect();
        let weight = random.floats(features, -2.0, 2.0);
        let bias = biased.then(|| random.floats(features, -2.0, 2.0));
        let kind = match layer {
            true => NormKind::Layer { epsilon: 1e-5 },
            false => NormKind::Rms { epsilon: 1e-6 },
        };
        each_isa(|kernels| {
            let mut out = x.clone();
            kernels.norm(kind, &weight, bias.as_deref(), &mut out).unwrap();
            for (x, out) in x.chunks_exact(features).zip(out.chunks_exact(features)) {
                let roundings = roundings(features, tokens);
                let expected = norm(kind, &weight, bias.as_deref(), x, roundings);
                for (&y, (exact, bound)) in out.iter().zip(expected) {
                    let error = (f64::from(y) - exact).abs();
                    assert!(error <= bound, "{}: {y} not {exact}, {error} > {bound}", kernels.name());
                }
            }
        });
    }

    /// Each product has an angle's rounding, its own, and that of the sum.
    #[test]
    fn rotations_are_within_their_roundings(
        tokens in 1usize..70,
        pairs in 1usize..70,
        rest in 0usize..9,
        halves: bool,
        start in 0usize..200_000,
        seed: u64,
    ) {
        let random = &mut Random(seed);
        let dim = 2 * pairs + rest;
        let x = random.wides(tokens * dim);
        let angle = |token: usize, pair: usize| {
            (start + token) as f64 * 10_000f64.powf(-(pair as f64) / pairs as f64)
        };
        let table = |f: fn(f64) -> f64| -> Vec<f32> {
            (0..tokens * pairs).map(|at| f(angle(at / pairs, at % pairs)) as f32).collect()
        };
        let (cos, sin) = (table(f64::cos), table(f64::sin));
        let pairing = if halves { Pairing::Halves } else { Pairing::Neighbours };
        each_isa(|kernels| {
            let mut out = x.clone();
            kernels.rotate(pairing, &mut out, dim, &cos, &sin).unwrap();
            for token in 0..tokens {
                let at = token * dim..(token + 1) * dim;
                let (x, out) = (&x[at.clone()], &out[at]);
                for pair in 0..pairs {
                    let (first, second) = match halves {
                        true => (pair, pair + pairs),
                        false => (2 * pair, 2 * pair + 1),
                    };
                    let (a, b) = (f64::from(x[first]), f64::from(x[second]));
                    let (sin, cos) = angle(token, pair).sin_cos();
                    for (out, left, right) in
                        [(out[first], a * cos, -b * sin), (out[second], a * sin, b * cos)]
                    {
                        let error = (f64::from(out) - (left + right)).abs();
                        let bound = gamma(3) * (left.abs() + right.abs());
                        assert!(error <= bound, "{}: {error} > {bound}", kernels.name());
                    }
                }
                assert_eq!(x[2 * pairs..], out[2 * pairs..], "not rotated");
            }
        });
    }

    /// The exponential is within 4u, so that 1 + e⁻ˣ is within 5u and its
    /// quotient within 6u; the product with `up` makes it 7. Where e⁻ˣ
    /// overflows, x·σ(x) is below 88.4 · e^−88.3 < 10⁻³⁶.
    #[test]
    fn silu_is_within_its_roundings(len in 1usize..200, size in 0i32..3, gated: bool, seed: u64) {
        let random = &mut Random(seed);
        let x = random.floats(len, -(10f32.powi(size)), 10f32.powi(size));
        let up = random.floats(len, -3.0, 3.0);
        each_isa(|kernels| {
            let mut out = if gated { up.clone() } else { x.clone() };
            kernels.activate(Activation::Silu, gated.then_some(&x[..]), &mut out).unwrap();
            for ((&x, &up), &y) in x.iter().zip(&up).zip(&out) {
                let up = if gated { f64::from(up) } else { 1.0 };
                let exact = f64::from(x) * sigmoid(f64::from(x)) * up;
                let bound = gamma(7) * exact.abs() + 1e-36 * up.abs();
                let error = (f64::from(y) - exact).abs();
                assert!(error <= bound, "{}: silu({x})·{up}: {error} > {bound}", kernels.name());
            }
        });
    }

    /// The argument z of tanh has terms of one sign and at most 7 roundings, and
    /// z·sech²z ≤ 0.45, so tanh moves by 3.2u besides its own error of 2⁻²² = 4u;
    /// 1 + tanh, below 2, adds 2u: in all 5u·|x| of the product with x/2, which is
    /// rounded twice itself.
    #[test]
    fn gelu_is_within_its_roundings(len in 1usize..200, size in 0i32..3, gated: bool, seed: u64) {
        let random = &mut Random(seed);
        let x = random.floats(len, -(10f32.powi(size)), 10f32.powi(size));
        let up = random.floats(len, -3.0, 3.0);
        each_isa(|kernels| {
            let mut out = if gated { up.clone() } else { x.clone() };
            kernels.activate(Activation::GeluTanh, gated.then_some(&x[..]), &mut out).unwrap();
            for ((&x, &up), &y) in x.iter().zip(&up).zip(&out) {
                let up = if gated { f64::from(up) } else { 1.0 };
                let x = f64::from(x);
                let exact = gelu(x) * up;
                let bound = (5.0 * U * x.abs() * up.abs() + gamma(2) * exact.abs()) * (1.0 + U);
                let error = (f64::from(y) - exact).abs();
                assert!(error <= bound, "{}: gelu({x})·{up}: {error} > {bound}", kernels.name());
            }
        });
    }

    /// The rounded quotient moves tanh by 0.45u, its own error is 4u.
    #[test]
    fn softcaps_are_within_their_roundings(
        len in 0usize..200,
        cap in 1f32..100.0,
        size in -3i32..5,
        seed: u64,
    ) {
        let x = Random(seed).floats(len, -(10f32.powi(size)), 10f32.powi(size));
        each_isa(|kernels| {
            let mut out = x.clone();
            kernels.softcap(&mut out, cap);
            for (&x, &y) in x.iter().zip(&out) {
                let cap = f64::from(cap);
                let exact = cap * (f64::from(x) / cap).tanh();
                let bound = cap * 4.5 * U + U * exact.abs();
                let error = (f64::from(y) - exact).abs();
                assert!(error <= bound, "{}: {cap}, {x}: {error} > {bound}", kernels.name());
            }
        });
    }
}

/// A token's NaN reaches all of its features and no other token.
#[test]
fn nan_goes_through() {
    each_isa(|kernels| {
        let name = kernels.name();
        for tokens in [1, 40] {
            for features in [7, 64] {
                for kind in [
                    NormKind::Rms { epsilon: 1e-5 },
                    NormKind::Layer { epsilon: 1e-5 },
                ] {
                    let mut x = vec![1.0; tokens * features];
                    x[5] = f32::NAN;
                    kernels
                        .norm(kind, &vec![1.0; features], None, &mut x)
                        .unwrap();
                    for (at, x) in x.iter().enumerate() {
                        assert_eq!(x.is_nan(), at < features, "{name}, {kind:?}: {at}");
                    }
                }
            }
        }
        for (at, len) in [(3, 7), (3, 40), (35, 40)] {
            let mut x = vec![1.0; len];
            x[at] = f32::NAN;
            let nan_at = |out: &[f32]| {
                let found: Vec<_> = (0..len).filter(|&at| out[at].is_nan()).collect();
                assert_eq!(found, [at], "{name}");
            };
            let mut out = x.clone();
            kernels.softcap(&mut out, 30.0);
            nan_at(&out);
            for activation in [Activation::Silu, Activation::GeluTanh] {
                let mut out = x.clone();
                kernels.activate(activation, None, &mut out).unwrap();
                nan_at(&out);
                let mut out = vec![2.0; len];
                kernels.activate(activation, Some(&x), &mut out).unwrap();
                nan_at(&out);
            }
        }
    });
}

#[test]
fn infinities_saturate() {
    each_isa(|kernels| {
        let mut x = [f32::INFINITY, f32::NEG_INFINITY, f32::MAX, f32::MIN];
        kernels.softcap(&mut x, 30.0);
        assert_eq!(x, [30.0, -30.0, 30.0, -30.0], "{}", kernels.name());
        for activation in [Activation::Silu, Activation::GeluTanh] {
            let mut x = [f32::INFINITY, f32::MAX, f32::MIN, -1e10];
            kernels.activate(activation, None, &mut x).unwrap();
            assert_eq!(x, [f32::INFINITY, f32::MAX, 0.0, 0.0], "{}", kernels.name());
        }
    });
}
