//! What kernels should compute, in f64, and how far f32 may stray from it.
//!
//! `u = 2⁻²³` bounds the relative error of an f32 operation that rounds to either neighbour: GPUs
//! round to nearest or towards zero. A sum of `n` products in any order is off by at most
//! `γ(n) · Σ|a·b|` with `γ(n) = n·u / (1 − n·u)` (Higham 2002, §3.1). `exp` of WGSL is off by
//! `3 + 2·|x|` units in the last place, `sqrt` and division by at most 4 (WGSL, §15.7.4). Nothing
//! here is fitted to what an engine returned.

use engine::{KernelCall, NumberFormat};

use super::blocks;

const U: f64 = 1.0 / (1u32 << 23) as f64;
/// Relative rounding error to f16, to either neighbour; and the absolute one of numbers so small
/// that it flushes them to zero.
const U_F16: f64 = 1.0 / 1024.0;
const FLUSH_F16: f64 = 1.0 / 16_384.0;

/// A result and how far off each value may be.
pub(super) struct Exact {
    pub(super) values: Vec<f64>,
    pub(super) bounds: Vec<f64>,
}

impl Exact {
    fn of(pairs: impl Iterator<Item = (f64, f64)>) -> Self {
        let (values, bounds) = pairs.unzip();
        Self { values, bounds }
    }
}

fn gamma(operations: f64) -> f64 {
    operations * U / (1.0 - operations * U)
}

/// Relative error of `exp(x)`.
fn exp_error(x: f64) -> f64 {
    (3.0 + 2.0 * x.abs()) * U
}

/// The result of `call`.
pub(super) fn exact(call: &KernelCall<'_>) -> Exact {
    match *call {
        KernelCall::Product { .. } => product(call),
        KernelCall::Attention { .. } => attention(call),
        KernelCall::RmsNorm { epsilon, weight, x } => rms_norm(epsilon, weight, x),
        KernelCall::Rope { dim, x, cos, sin } => rope(dim, x, cos, sin),
        KernelCall::Swiglu { gate, up } => Exact::of(gate.iter().zip(up).map(|(&gate, &up)| {
            let (gate, up) = (f64::from(gate), f64::from(up));
            let value = gate / (1.0 + (-gate).exp()) * up;
            // exp, a sum, a quotient, a product; a denominator beyond f32 leaves nothing.
            let relative = exp_error(gate.min(88.0)) + 8.0 * U;
            (value, relative * value.abs() + 1e-30)
        })),
        KernelCall::Softmax { width, x } => softmax(width, x),
        KernelCall::Top { count, width, x } => top(count, width, x),
    }
}

/// One rounding a product and sum, and four in dequantizing; with f16 operands two more of those,
/// unless f16 holds both.
fn product(call: &KernelCall<'_>) -> Exact {
    let &KernelCall::Product {
        format,
        weights,
        rows,
        columns,
        x,
        operands,
    } = call
    else {
        return Exact::of(std::iter::empty());
    };
    let matrix: Vec<(f64, f64)> = (0..rows * columns)
        .map(|index| blocks::number(format, weights, index))
        .collect();
    let half = operands == NumberFormat::F16;
    let outputs = x.chunks(columns).flat_map(|x| {
        matrix.chunks(columns).map(move |row| {
            let (mut value, mut magnitude, mut rounding) = (0.0, 0.0, 0.0);
            let mut whole = true;
            for (&(w, size), &x) in row.iter().zip(x) {
                let x = f64::from(x);
                value += w * x;
                magnitude += size * x.abs();
                whole &= size.fract() == 0.0 && x.fract() == 0.0;
                let exact = |value: f64| f16_holds(value);
                if half && !(exact(w) && exact(x)) {
                    rounding += 2.1 * U_F16 * size * x.abs() + FLUSH_F16 * (size + x.abs());
                }
            }
            // f32 holds every partial sum of these.
            if whole && magnitude < f64::from(1u32 << 24) {
                return (value, rounding);
            }
            (value, gamma(columns as f64 + 4.0) * magnitude + rounding)
        })
    });
    Exact::of(outputs)
}

/// Whether f16 holds `value` in its normal range.
fn f16_holds(value: f64) -> bool {
    let magnitude = value.abs();
    let scaled = magnitude * 2f64.powi(10) / magnitude.log2().floor().exp2();
    magnitude == 0.0 || (FLUSH_F16..65_505.0).contains(&magnitude) && scaled.fract() == 0.0
}

/// Scores are sums of `dim` products; each weight inherits the error of its score and that of
/// `exp`, the denominator their mean. An online softmax shrinks what it has by one `exp` a tile,
/// of which there are at most as many as positions.
fn attention(call: &KernelCall<'_>) -> Exact {
    let &KernelCall::Attention {
        heads,
        kv_heads,
        dim,
        start,
        scale,
        queries,
        keys,
        values,
        ..
    } = call
    else {
        return Exact::of(std::iter::empty());
    };
    let mut exact = Exact::of(std::iter::empty());
    let scale = f64::from(scale);
    for (row, query) in queries.chunks(dim).enumerate() {
        let (token, kv_head) = (row / heads, row % heads * kv_heads / heads);
        let seen = start + token + 1;
        let at = |from: &[f32], position: usize, d: usize| {
            f64::from(from[(position * kv_heads + kv_head) * dim + d])
        };
        let scored: Vec<(f64, f64)> = (0..seen)
            .map(|position| {
                let products = (0..dim).map(|d| f64::from(query[d]) * at(keys, position, d));
                let (mut score, mut magnitude) = (0.0, 0.0);
                for product in products {
                    score += product;
                    magnitude += product.abs();
                }
                (scale * score, scale * gamma(dim as f64 + 3.0) * magnitude)
            })
            .collect();
        let most = scored
            .iter()
            .map(|&(score, _)| score)
            .fold(f64::MIN, f64::max);
        // The maximum is one of the scores, and off as one is.
        let worst = scored.iter().map(|&(_, error)| error).fold(0.0, f64::max);
        let weights: Vec<(f64, f64)> = scored
            .iter()
            .map(|&(score, error)| {
                let x = score - most;
                let relative = error + worst + x.abs() * U + exp_error(x);
                (x.exp(), relative)
            })
            .collect();
        let total: f64 = weights.iter().map(|(weight, _)| weight).sum();
        let mean = weights
            .iter()
            .map(|(weight, error)| weight * error)
            .sum::<f64>()
            / total;
        let sums = gamma(2.0 * seen as f64 + 8.0) + 4.0 * U * seen as f64;
        for d in 0..dim {
            let (mut value, mut error) = (0.0, 0.0);
            for (position, &(weight, relative)) in weights.iter().enumerate() {
                let part = weight / total * at(values, position, d);
                value += part;
                error += part.abs() * (relative + mean + sums);
            }
            exact.values.push(value);
            // Second-order terms are a hundredth of this as long as it is below a hundredth.
            exact.bounds.push(1.01 * error);
        }
    }
    exact
}

/// The mean of squares is a sum of positive numbers, and its root halves its relative error.
fn rms_norm(epsilon: f32, weight: &[f32], x: &[f32]) -> Exact {
    let width = weight.len();
    let relative = gamma(width as f64 + 2.0) / 2.0 + 12.0 * U;
    Exact::of(x.chunks(width).flat_map(|x| {
        let squares: f64 = x.iter().map(|&x| f64::from(x).powi(2)).sum();
        let scale = (squares / width as f64 + f64::from(epsilon)).sqrt();
        x.iter().zip(weight).map(move |(&x, &weight)| {
            let value = f64::from(x) / scale * f64::from(weight);
            (value, relative * value.abs())
        })
    }))
}

fn rope(dim: usize, x: &[f32], cos: &[f32], sin: &[f32]) -> Exact {
    let pairs = dim / 2;
    let width = x.len() / (cos.len() / pairs);
    Exact::of(x.iter().enumerate().map(|(index, &value)| {
        let (token, d) = (index / width, index % dim);
        let angle = token * pairs + d % pairs;
        let partner = if d < pairs {
            index + pairs
        } else {
            index - pairs
        };
        let sign = if d < pairs { -1.0 } else { 1.0 };
        let a = f64::from(value) * f64::from(cos[angle]);
        let b = f64::from(x[partner]) * f64::from(sin[angle]);
        (a + sign * b, gamma(3.0) * (a.abs() + b.abs()))
    }))
}

fn softmax(width: usize, x: &[f32]) -> Exact {
    Exact::of(x.chunks(width).flat_map(|x| {
        let most = x.iter().copied().fold(f32::MIN, f32::max);
        let part = move |&x: &f32| f64::from(x) - f64::from(most);
        let total: f64 = x.iter().map(part).map(f64::exp).sum();
        let error = |x: f64| x.abs() * U + exp_error(x);
        let mean = x.iter().map(part).map(|x| x.exp() * error(x)).sum::<f64>() / total;
        x.iter().map(part).map(move |x| {
            let value = x.exp() / total;
            let relative = error(x) + mean + gamma(width as f64 + 4.0);
            // Weights below f32's normal range may become zero.
            (
                value,
                1.01 * relative * value + f64::from(f32::MIN_POSITIVE),
            )
        })
    }))
}

/// Comparisons are exact.
fn top(count: usize, width: usize, x: &[f32]) -> Exact {
    Exact::of(x.chunks(width).flat_map(|x| {
        let mut order: Vec<usize> = (0..width).collect();
        order.sort_by(|&a, &b| x[b].total_cmp(&x[a]).then(a.cmp(&b)));
        order
            .into_iter()
            .take(count)
            .map(|index| (index as f64, 0.0))
    }))
}
