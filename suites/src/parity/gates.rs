//! Tolerances of the suite, derived from number formats.
//!
//! What a format must add to the logits is `g · ε²`: its noise per matrix
//! product ([`product_noise`]) times the network's noise gain, measured on the
//! baseline in the same run. A gate allows [`MARGIN`] times that, so an engine
//! fails once it is worse by a whole bit than the format it declares.
//!
//! No format is allowed more than 4-bit weights are: a release asks whether the
//! *INT4* form still agrees, so coarser formats pass only if they are as good as
//! that.
//!
//! From the allowed NMSE `β` the other gates follow. At a position whose centred
//! logits have mean square `S²`, an allowed error has variance `σ² = β S²` per
//! logit. To second order `KL(p ‖ q) = ½ Var_p(δ)`, which is `½ σ²` for errors
//! that do not depend on `p`; and the best token is overtaken by one that trails
//! by `m` with probability `Φ(−m / (σ√2))`.

use engine::tolerance::{noise_to_signal, product_noise, worst_gain};
use engine::{EngineError, Model, ModelConfig, NumberFormat, Numerics};
use serde::{Deserialize, Serialize};

use super::{divergence, prefill};
use crate::cell::Variant;
use crate::{Better, Comparison, Gate, Measurement};

/// One bit: it doubles the step of a quantizer and so quadruples its noise.
pub(super) const MARGIN: f64 = 4.0;

/// The coarsest 4-bit format: the most noise any format is allowed.
const COARSEST: NumberFormat = NumberFormat::Q4_0;

/// The format whose effect on the baseline tells the noise gain: fine enough
/// for errors to stay linear, coarse enough to drown f32 rounding.
pub(super) const PROBE: NumberFormat = NumberFormat::Q8_0;

/// What the baseline leaves for the engines held against it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Mark {
    numerics: Numerics,
    /// NMSE of what the model gives over noise of a product.
    gain: f64,
    /// Whether `gain` was measured; else it is [`worst_gain`].
    measured: bool,
}

impl Mark {
    /// Measures the noise gain of `baseline` on one window, if the engine can
    /// be opened with other weights.
    pub(crate) fn set(
        baseline: &dyn Model,
        variant: Variant<'_>,
        tokens: &[u32],
        logits: &engine::Logits,
    ) -> Result<Self, EngineError> {
        Self::measure(baseline, variant, |noisy| {
            let noisy = prefill(noisy, tokens)?;
            let (mut noise, mut signal) = (0.0, 0.0);
            for row in 0..logits.rows() {
                let (n, s) = divergence::centred_energies(logits.row(row), noisy.row(row));
                noise += n;
                signal += s;
            }
            Ok(noise / signal)
        })
    }

    /// Measures the noise gain of `baseline`, if the engine can be opened with
    /// other weights; `nmse` says how far such a model is from it.
    pub(crate) fn measure(
        baseline: &dyn Model,
        variant: Variant<'_>,
        nmse: impl FnOnce(&dyn Model) -> Result<f64, EngineError>,
    ) -> Result<Self, EngineError> {
        let numerics = baseline.numerics();
        let probe = match numerics.weights {
            NumberFormat::F32 => variant("weights", PROBE.name()),
            // Noise on top of noise would not tell the two apart.
            _ => None,
        };
        let Some(probe) = probe else {
            return Ok(Self::unmeasured(baseline));
        };
        Ok(Self {
            numerics,
            gain: nmse(&*probe?)? / noise_to_signal(PROBE),
            measured: true,
        })
    }

    /// The mark of an engine that cannot be measured so.
    pub(crate) fn unmeasured(baseline: &dyn Model) -> Self {
        Self {
            numerics: baseline.numerics(),
            gain: worst_gain(baseline.config()),
            measured: false,
        }
    }

    /// Whether it can be the mark of an engine: files may say anything.
    pub(crate) fn is_sound(&self) -> bool {
        self.gain.is_finite() && self.gain > 0.0
    }

    /// Allowed NMSE of `candidate`: noises of independent engines add.
    pub(crate) fn nmse_bound(&self, candidate: Numerics, model: &ModelConfig) -> f64 {
        let most = Numerics {
            weights: COARSEST,
            ..candidate
        };
        let own = product_noise(candidate, model).min(product_noise(most, model));
        MARGIN * self.gain * (own + product_noise(self.numerics, model))
    }

    /// NMSE to expect of `candidate`. Where weights have the format that they had
    /// when the mark was set they are the same numbers, and only what happens to
    /// them on the way can differ.
    pub(crate) fn expected_nmse(&self, candidate: Numerics, model: &ModelConfig) -> f64 {
        if candidate.weights != self.numerics.weights {
            return self.nmse_bound(candidate, model) / MARGIN;
        }
        let on_the_way = |numerics: Numerics| {
            let weights = NumberFormat::F32;
            product_noise(
                Numerics {
                    weights,
                    ..numerics
                },
                model,
            )
        };
        self.gain * (on_the_way(candidate) + on_the_way(self.numerics))
    }

    /// Gate for two ways through one engine: the weights are shared, so only
    /// rounding on the way may differ, and each way rounds for itself.
    pub(crate) fn same_weights(&self, numerics: Numerics, model: &ModelConfig) -> Gate {
        let numerics = Numerics {
            weights: NumberFormat::F32,
            ..numerics
        };
        Gate {
            comparison: Comparison::AtMost,
            bound: MARGIN * self.gain * 2.0 * product_noise(numerics, model),
            because: format!(
                "one bit over the noise of {} activations and {} KV, both ways; the weights are the same",
                numerics.activations, numerics.kv
            ),
        }
    }

    /// The gain, for the record.
    pub(crate) fn measurement(&self, case: &'static str) -> Measurement {
        let metric = if self.measured {
            "noise_gain"
        } else {
            "noise_gain_bound"
        };
        Measurement::new(case, metric, "1", Better::Equal, self.gain, 1)
    }

    /// Names what a bound was derived from.
    pub(crate) fn reason(&self, candidate: Numerics) -> String {
        let weights = candidate.weights;
        let weights = if noise_to_signal(weights) > noise_to_signal(COARSEST) {
            format!("{COARSEST} weights, the coarsest allowed ({weights} is coarser)")
        } else {
            format!("{weights} weights")
        };
        format!(
            "one bit over the noise of {weights}, {} activations, {} KV",
            candidate.activations, candidate.kv
        )
    }
}
