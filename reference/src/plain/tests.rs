//! The operations against straightforward loops in f64.
//!
//! Bounds are first-order: a rounding to f32 is off by at most `U` of the
//! result, a sum of `n` terms by `n · U` of the sum of their magnitudes (Higham
//! 2002, §3.1 and §4.2), and errors add up. `exp` and `tanh` are taken to be
//! good to two units in the last place.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::hyperparameters::{Pairing, RopeParameters};

/// Half a unit in the last place of 1.
const U: f64 = 1.0 / (1 << 24) as f64;

/// Error of `exp` and `tanh`: two units in the last place.
const ELEMENTARY: f64 = 4.0 * U;

fn row(values: &[f32]) -> Tensor {
    Tensor::from_slice(values, (1, values.len()), &Device::Cpu).unwrap()
}

fn values(x: &Tensor) -> Vec<f32> {
    x.flatten_all().unwrap().to_vec1().unwrap()
}

fn wide(values: &[f32]) -> Vec<f64> {
    values.iter().copied().map(f64::from).collect()
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn mean(values: impl ExactSizeIterator<Item = f64>) -> f64 {
    let n = values.len() as f64;
    values.sum::<f64>() / n
}

fn close(expected: f64, found: f32, bound: f64) -> std::result::Result<(), TestCaseError> {
    let error = (expected - f64::from(found)).abs();
    // What is too small for a normal f32 has no relative precision.
    let bound = bound + f64::from(f32::MIN_POSITIVE);
    prop_assert!(
        error <= bound,
        "{found} is {error:e} from {expected}, more than {bound:e}"
    );
    Ok(())
}

/// Numbers of any magnitude that networks know.
fn number() -> impl Strategy<Value = f32> {
    prop_oneof![-1e3f32..1e3, -1f32..1.0, -1e-4f32..1e-4, Just(0.0)]
}

prop_compose! {
    /// A row, and weights and biases for it.
    fn to_normalise()(n in 1usize..200)
        (x in vec(number(), n), weight in vec(-2f32..2.0, n), bias in vec(-2f32..2.0, n),
         epsilon in prop_oneof![Just(1e-6f32), Just(1e-5), 1e-4f32..0.1])
        -> (Vec<f32>, Vec<f32>, Vec<f32>, f32) {
        (x, weight, bias, epsilon)
    }
}

prop_compose! {
    /// A rotation, its formula's parameters and divisors.
    fn rotation()(pairs in 1usize..12, rest in 0usize..9)
        (divisors in proptest::option::of(vec(0.5f32..10.0, pairs)),
         pairs in Just(pairs), rest in Just(rest), neighbours in any::<bool>(),
         base in 10f64..1e6, factor in 1f64..8.0, magnitude in 0.5f64..2.0)
        -> (usize, RopeParameters, Option<Vec<f32>>) {
        let parameters = RopeParameters {
            pairing: if neighbours { Pairing::Neighbours } else { Pairing::Halves },
            dims: 2 * pairs, base, factor, local_base: None, magnitude, original_context: None,
        };
        (2 * pairs + rest, parameters, divisors)
    }
}

fn rope((_, p, divisors): &(usize, RopeParameters, Option<Vec<f32>>)) -> Rope {
    Rope::new(p, p.base, p.factor, divisors.as_deref())
}

fn rotated(x: &[f32], rope: &Rope, position: usize) -> Vec<f64> {
    let x = Tensor::from_slice(x, (1, 1, x.len()), &Device::Cpu).unwrap();
    wide(&values(&rotate(&x, rope, position).unwrap()))
}

proptest! {
    #[test]
    fn softmax_is_the_f64_loops(x in vec(-80f32..80.0, 1..300)) {
        let found = values(&softmax(&row(&x)).unwrap());
        let wide = wide(&x);
        let max = wide.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let sum: f64 = wide.iter().map(|x| (x - max).exp()).sum();
        // A term is off by its argument's rounding and that of `exp`; their sum
        // by the mean of that and its own rounding.
        let term = |x: f64| (max - x) * U + ELEMENTARY;
        let off: f64 = wide.iter().map(|x| (x - max).exp() / sum * term(*x)).sum();
        for (&x, &found) in wide.iter().zip(&found) {
            let expected = (x - max).exp() / sum;
            let bound = term(x) + off + (wide.len() + 1) as f64 * U;
            close(expected, found, 1.01 * bound * expected)?;
        }
    }

    #[test]
    fn softmax_passes_over_what_is_masked(x in vec(-9f32..9.0, 1..40), masked in 1usize..9) {
        let mut with = x.clone();
        with.extend(vec![f32::NEG_INFINITY; masked]);
        let found = values(&softmax(&row(&with)).unwrap());
        prop_assert!(found[x.len()..].iter().all(|&p| p == 0.0));
        prop_assert!(found[..x.len()].iter().all(|p| p.is_finite()));
    }

    #[test]
    fn soft_cap_is_the_f64_formula(x in vec(number(), 1..50), cap in 0.5f32..100.0) {
        let found = values(&softcap(row(&x), Some(cap)).unwrap());
        for (&x, &found) in x.iter().zip(&found) {
            let cap = f64::from(cap);
            let expected = cap * (f64::from(x) / cap).tanh();
            // The quotient is a product with a rounded reciprocal; tanh passes
            // on at most the relative error of its argument.
            close(expected, found, 1.01 * (2.0 * U + ELEMENTARY + U) * expected.abs())?;
            prop_assert!(f64::from(found.abs()) <= cap);
        }
        prop_assert_eq!(values(&softcap(row(&x), None).unwrap()), x);
    }

    #[test]
    fn rms_norm_is_the_f64_loops((x, weight, _, epsilon) in to_normalise()) {
        let norm = Norm { weight, bias: None };
        let found = normalise(&row(&x), NormKind::Rms { epsilon }, &norm).unwrap();
        let wide = wide(&x);
        let square = mean(wide.iter().map(|x| x * x)) + f64::from(epsilon);
        // Squares, their sum, the mean and ε are n + 3 roundings under a root,
        // which halves them; root, quotient and product are one each.
        let bound = ((x.len() + 3) as f64 / 2.0 + 3.0) * U;
        for (i, &found) in values(&found).iter().enumerate() {
            let expected = wide[i] / square.sqrt() * f64::from(norm.weight[i]);
            close(expected, found, 1.01 * bound * expected.abs())?;
        }
    }

    #[test]
    fn layer_norm_is_the_f64_loops((x, weight, bias, epsilon) in to_normalise()) {
        let norm = Norm { weight, bias: Some(bias) };
        let found = normalise(&row(&x), NormKind::Layer { epsilon }, &norm).unwrap();
        let (wide, n) = (wide(&x), x.len() as f64);
        let centre = mean(wide.iter().copied());
        let z: Vec<f64> = wide.iter().map(|x| x - centre).collect();
        let square = mean(z.iter().map(|z| z * z)) + f64::from(epsilon);
        // The mean is off by n + 1 roundings of the mean magnitude, so every
        // difference is, besides its own rounding; the variance takes these
        // twice (it is quadratic) and the root halves them.
        let shift = (n + 1.0) * U * mean(wide.iter().map(|x| x.abs()));
        let off = |z: f64| shift + U * z.abs();
        let variance = mean(z.iter().map(|&z| 2.0 * z.abs() * off(z) + off(z) * off(z)));
        let root = variance / square / 2.0 + (n + 3.0) / 2.0 * U;
        let bias = norm.bias.as_deref().unwrap();
        for (i, &found) in values(&found).iter().enumerate() {
            let (weight, bias) = (f64::from(norm.weight[i]), f64::from(bias[i]));
            let scaled = z[i] / square.sqrt() * weight;
            let expected = scaled + bias;
            let bound = off(z[i]) / square.sqrt() * weight.abs()
                + scaled.abs() * (root + 3.0 * U)
                + expected.abs() * U;
            close(expected, found, 1.01 * bound)?;
        }
    }

    #[test]
    fn rotation_is_the_f64_formula(
        case in rotation(), position in 0usize..200_000, x in vec(-9f32..9.0, 40),
    ) {
        let (head_dim, p, divisors) = &case;
        let x = &x[..*head_dim];
        let found = rotated(x, &rope(&case), position);
        let pairs = p.dims / 2;
        for i in 0..pairs {
            let divisor = divisors.as_ref().map_or(1.0, |d| f64::from(d[i]));
            // By logarithms, so that it shares no step with the code.
            let ln = p.base.ln() * i as f64 / pairs as f64 + (p.factor * divisor).ln();
            let (sin, cos) = (position as f64 * (-ln).exp()).sin_cos();
            let (first, second) = match p.pairing {
                Pairing::Neighbours => (2 * i, 2 * i + 1),
                Pairing::Halves => (i, i + pairs),
            };
            let (a, b) = (f64::from(x[first]), f64::from(x[second]));
            // Sine or cosine, product and sum are rounded; at 2·10⁵ an angle in
            // f64 is good to 10⁻¹⁰, a thousandth of that.
            let bound = 3.01 * U * (a.abs() + b.abs()) * p.magnitude;
            close(p.magnitude * (a * cos - b * sin), found[first] as f32, bound)?;
            close(p.magnitude * (a * sin + b * cos), found[second] as f32, bound)?;
        }
        prop_assert_eq!(&found[p.dims..], wide(&x[p.dims..]));
    }

    #[test]
    fn rotation_preserves_norms(
        case in rotation(), position in 0usize..200_000, x in vec(-9f32..9.0, 40),
    ) {
        let (_, p, _) = &case;
        let x = &x[..p.dims];
        let norm = dot(&wide(x), &wide(x)).sqrt();
        let found = rotated(x, &rope(&(p.dims, p.clone(), case.2.clone())), position);
        // |a| + |b| ≤ √2 · √(a² + b²): the bound above over all pairs, twice as
        // every pair has two components.
        let bound = 3.01 * U * 2.0 * norm * p.magnitude;
        prop_assert!((dot(&found, &found).sqrt() - p.magnitude * norm).abs() <= bound);
    }

    #[test]
    fn scores_depend_on_the_distance_alone(
        case in rotation(), m in 0usize..100_000, n in 0usize..100_000, shift in 0usize..100_000,
        q in vec(-9f32..9.0, 40), k in vec(-9f32..9.0, 40),
    ) {
        let (head_dim, p, _) = &case;
        let (q, k, rope) = (&q[..*head_dim], &k[..*head_dim], rope(&case));
        let here = dot(&rotated(q, &rope, m), &rotated(k, &rope, n));
        let there = dot(&rotated(q, &rope, m + shift), &rotated(k, &rope, n + shift));
        // Each of four vectors is off by the bound above of its norm.
        let norm = |x: &[f32]| dot(&wide(x), &wide(x)).sqrt();
        let scale = p.magnitude.max(1.0).powi(2) * norm(q) * norm(k);
        prop_assert!((here - there).abs() <= 4.0 * 3.01 * U * 2.0 * scale);
    }

    #[test]
    fn a_long_rotation_is_many_of_one_position(case in rotation(), start in 0usize..1000) {
        let (head_dim, _, _) = &case;
        let (heads, n) = (3, 5);
        let rope = rope(&case);
        let x: Vec<f32> = (0..heads * n * head_dim).map(|i| (i % 17) as f32 - 8.0).collect();
        let tensor = Tensor::from_slice(&x, (heads, n, *head_dim), &Device::Cpu).unwrap();
        let all = wide(&values(&rotate(&tensor, &rope, start).unwrap()));
        for (index, (x, found)) in x.chunks(*head_dim).zip(all.chunks(*head_dim)).enumerate() {
            prop_assert_eq!(rotated(x, &rope, start + index % n), found);
        }
    }
}
