//! What the SIMD kernels let see of their intermediate tensors.
//!
//! After a product several small steps follow in one pass over its panels, so that
//! they find them in the cache. Only when somebody looks at what is between does
//! each step have a pass of its own; the arithmetic is the same.

use engine::TapPoint;

use super::matrix::Panels;
use super::simd::LANES;
use crate::tap::Taps;

/// A step behind a product.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    Bias,
    Norm,
    /// The rest: rotation and rows of a head, or the sum with the stream.
    Last,
}

/// The steps of each pass, in order.
pub(super) fn passes(taps: &Taps<'_>) -> &'static [&'static [Step]] {
    match taps.wanted() {
        false => &[&[Step::Bias, Step::Norm, Step::Last]],
        true => &[&[Step::Bias], &[Step::Norm], &[Step::Last]],
    }
}

/// Names of what is added to the stream: as projected, normalised, and the sum.
pub(super) type Branch = [TapPoint; 3];

pub(super) const ATTENTION: Branch = [
    TapPoint::AttentionOutput,
    TapPoint::AttentionPostNorm,
    TapPoint::AttentionResidual,
];
pub(super) const FEED_FORWARD: Branch = [
    TapPoint::FfnOutput,
    TapPoint::FfnPostNorm,
    TapPoint::Residual,
];

/// Hands over the first `tokens` tokens of `x`.
pub(super) fn give_panels(taps: &mut Taps<'_>, point: TapPoint, x: &Panels, tokens: usize) {
    if !taps.wanted() {
        return;
    }
    let mut rows = vec![0.0; tokens * x.features()];
    for (token, row) in rows.chunks_exact_mut(x.features()).enumerate() {
        for (to, lanes) in row.iter_mut().zip(x.panel(token / LANES)) {
            *to = lanes.0[token % LANES];
        }
    }
    taps.give(point, x.features(), &rows);
}
