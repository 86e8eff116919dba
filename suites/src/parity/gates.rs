//! Tolerances of the suite, derived from number formats.
//!
//! The noise a format is allowed comes from [`engine::tolerance`]. No format is
//! allowed more than 4-bit weights are: a release asks whether the *INT4* form
//! still agrees, so coarser formats pass only if they are as good as that.
//!
//! From the allowed NMSE `β` the other gates follow. At a position whose centred
//! logits have mean square `S²`, an allowed error has variance `σ² = β S²` per
//! logit. To second order `KL(p ‖ q) = ½ Var_p(δ)`, which is `½ σ²` for errors
//! that do not depend on `p`; and the best token is overtaken by one that trails
//! by `m` with probability `Φ(−m / (σ√2))`.

use engine::tolerance::logit_nmse_bound;
use engine::{ModelConfig, NumberFormat, Numerics};

use crate::{Comparison, Gate};

/// The coarsest 4-bit format: the most noise any format is allowed.
const COARSEST: NumberFormat = NumberFormat::Q4_0;

/// Allowed NMSE of a candidate against a baseline: noises of independent
/// engines add.
pub(super) fn nmse_bound(candidate: Numerics, baseline: Numerics, model: &ModelConfig) -> f64 {
    let own = logit_nmse_bound(candidate, model);
    let most = logit_nmse_bound(
        Numerics {
            weights: COARSEST,
            ..candidate
        },
        model,
    );
    own.min(most) + logit_nmse_bound(baseline, model)
}

/// Names the formats a bound was derived from.
pub(super) fn reason(candidate: Numerics, baseline: Numerics) -> String {
    let weights = candidate.weights;
    let capped =
        engine::tolerance::noise_to_signal(weights) > engine::tolerance::noise_to_signal(COARSEST);
    let weights = if capped {
        format!("{COARSEST} weights, the coarsest allowed ({weights} is coarser)")
    } else {
        format!("{weights} weights")
    };
    format!(
        "derived from {weights}, {} activations, {} KV against {} weights",
        candidate.activations, candidate.kv, baseline.weights
    )
}

/// Gate for two ways through one engine: the weights are shared, so only
/// rounding on the way may differ.
pub(super) fn same_weights(numerics: Numerics, model: &ModelConfig) -> Gate {
    let numerics = Numerics {
        weights: NumberFormat::F32,
        ..numerics
    };
    Gate {
        comparison: Comparison::AtMost,
        bound: logit_nmse_bound(numerics, model),
        because: format!(
            "derived from {} activations and {} KV; the weights are the same",
            numerics.activations, numerics.kv
        ),
    }
}
