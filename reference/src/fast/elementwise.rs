//! Norms, rotations, nonlinearities and sums.
//!
//! In panels every lane is a token, so sums over features need no horizontal
//! step; a single token is a plain vector.

use super::matrix::Lanes;
use super::simd::{LANES, Simd, exp, tanh};
use crate::hyperparameters::{Activation, NormKind};

/// Normalises the `weight.len()` features at `x` of each token of a panel.
///
/// # Safety
/// See [`Simd`]; `x` and `out`, which may be the same, hold one lane a feature.
#[inline(always)]
pub(super) unsafe fn norm_panel<S: Simd>(
    x: *const f32,
    weight: &[f32],
    bias: Option<&[f32]>,
    kind: NormKind,
    out: *mut f32,
) {
    let len = weight.len();
    // SAFETY: the caller's.
    unsafe {
        let per_feature = S::splat(1.0 / len as f32);
        let (NormKind::Rms { epsilon } | NormKind::Layer { epsilon }) = kind;
        let mean = match kind {
            NormKind::Rms { .. } => S::splat(0.0),
            NormKind::Layer { .. } => {
                let mut sum = S::splat(0.0);
                for feature in 0..len {
                    sum = S::add(sum, S::load(x.add(feature * LANES)));
                }
                S::mul(sum, per_feature)
            }
        };
        let mut squares = S::splat(0.0);
        for feature in 0..len {
            let centred = S::sub(S::load(x.add(feature * LANES)), mean);
            squares = S::fma(centred, centred, squares);
        }
        let variance = S::fma(squares, per_feature, S::splat(epsilon));
        let scale = S::div(S::splat(1.0), S::sqrt(variance));
        for (feature, &weight) in weight.iter().enumerate() {
            let centred = S::sub(S::load(x.add(feature * LANES)), mean);
            let scaled = S::mul(S::mul(centred, scale), S::splat(weight));
            let shifted = match bias {
                Some(bias) => S::add(scaled, S::splat(bias[feature])),
                None => scaled,
            };
            S::store(out.add(feature * LANES), shifted);
        }
    }
}

/// Normalises one token of `weight.len()` features.
///
/// # Safety
/// See [`Simd`]; `x` and `out`, which may be the same, hold one float a feature.
#[inline(always)]
pub(super) unsafe fn norm_vector<S: Simd>(
    x: *const f32,
    weight: &[f32],
    bias: Option<&[f32]>,
    kind: NormKind,
    out: *mut f32,
) {
    let len = weight.len();
    let whole = len - len % LANES;
    let (NormKind::Rms { epsilon } | NormKind::Layer { epsilon }) = kind;
    // SAFETY: the caller's.
    unsafe {
        let mean = match kind {
            NormKind::Rms { .. } => 0.0,
            NormKind::Layer { .. } => {
                let mut sums = S::splat(0.0);
                for at in (0..whole).step_by(LANES) {
                    sums = S::add(sums, S::load(x.add(at)));
                }
                let tail: f32 = (whole..len).map(|at| x.add(at).read()).sum();
                (S::sum(sums) + tail) / len as f32
            }
        };
        let mut squares = S::splat(0.0);
        for at in (0..whole).step_by(LANES) {
            let centred = S::sub(S::load(x.add(at)), S::splat(mean));
            squares = S::fma(centred, centred, squares);
        }
        let tail: f32 = (whole..len)
            .map(|at| (x.add(at).read() - mean).powi(2))
            .sum();
        let variance = (S::sum(squares) + tail) / len as f32;
        let scale = (variance + epsilon).sqrt().recip();
        for (at, &weight) in weight.iter().enumerate() {
            let bias = bias.map_or(0.0, |bias| bias[at]);
            out.add(at)
                .write((x.add(at).read() - mean) * scale * weight + bias);
        }
    }
}

/// Turns pairs of features of a panel: `(a, b) → (a·cos − b·sin, a·sin + b·cos)`.
///
/// # Safety
/// See [`Simd`]; `x` holds a lane for every feature that `pairs` names.
#[inline(always)]
pub(super) unsafe fn rotate_panel<S: Simd>(
    x: *mut f32,
    pairs: &[(usize, usize)],
    cos: &[Lanes],
    sin: &[Lanes],
) {
    for ((&(first, second), cos), sin) in pairs.iter().zip(cos).zip(sin) {
        // SAFETY: the caller's.
        unsafe {
            let (first, second) = (x.add(first * LANES), x.add(second * LANES));
            let (a, b) = (S::load(first), S::load(second));
            let (cos, sin) = (S::load(cos.0.as_ptr()), S::load(sin.0.as_ptr()));
            S::store(first, S::sub(S::mul(a, cos), S::mul(b, sin)));
            S::store(second, S::add(S::mul(a, sin), S::mul(b, cos)));
        }
    }
}

/// `up = act(gate) · up`, or `up = act(up)` when there is no gate; slices of
/// the same length, a multiple of 32.
///
/// # Safety
/// See [`Simd`].
#[inline(always)]
pub(super) unsafe fn activate<S: Simd>(
    activation: Activation,
    gate: Option<&[f32]>,
    up: &mut [f32],
) {
    for at in (0..up.len()).step_by(LANES) {
        // SAFETY: whole vectors of both slices.
        unsafe {
            let up = up.as_mut_ptr().add(at);
            let value = S::load(up);
            let result = match gate {
                Some(gate) => S::mul(act::<S>(activation, S::load(gate.as_ptr().add(at))), value),
                None => act::<S>(activation, value),
            };
            S::store(up, result);
        }
    }
}

/// # Safety
/// See [`Simd`].
#[inline(always)]
unsafe fn act<S: Simd>(activation: Activation, x: S::V) -> S::V {
    // SAFETY: nothing is read or written.
    unsafe {
        let one = S::splat(1.0);
        match activation {
            // x · σ(x) = x / (1 + e^−x)
            Activation::Silu => {
                let exp = exp::<S>(S::sub(S::splat(0.0), x));
                S::div(x, S::add(one, exp))
            }
            // x/2 · (1 + tanh(√(2/π) · (x + 0.044715 x³)))
            Activation::GeluTanh => {
                let cubic = S::mul(S::mul(x, x), S::mul(x, S::splat(0.044_715)));
                let inner = S::mul(S::splat(0.797_884_6), S::add(x, cubic));
                let half = S::mul(S::splat(0.5), x);
                S::mul(half, S::add(one, tanh::<S>(inner)))
            }
        }
    }
}

/// `x = cap · tanh(x / cap)`; any length.
///
/// # Safety
/// See [`Simd`].
#[inline(always)]
pub(super) unsafe fn softcap<S: Simd>(x: &mut [f32], cap: f32) {
    let whole = x.len() - x.len() % LANES;
    // SAFETY: whole vectors of the slice, and of a padded copy of its tail.
    unsafe {
        for at in (0..whole).step_by(LANES) {
            let x = x.as_mut_ptr().add(at);
            S::store(x, softcapped::<S>(S::load(x), cap));
        }
        let tail = &mut x[whole..];
        let mut padded = [0f32; LANES];
        padded[..tail.len()].copy_from_slice(tail);
        let capped = softcapped::<S>(S::load(padded.as_ptr()), cap);
        S::store(padded.as_mut_ptr(), capped);
        tail.copy_from_slice(&padded[..tail.len()]);
    }
}

/// `cap · tanh(x / cap)`.
///
/// # Safety
/// See [`Simd`].
#[inline(always)]
pub(super) unsafe fn softcapped<S: Simd>(x: S::V, cap: f32) -> S::V {
    // SAFETY: nothing is read or written.
    unsafe {
        let cap = S::splat(cap);
        S::mul(cap, tanh::<S>(S::div(x, cap)))
    }
}
