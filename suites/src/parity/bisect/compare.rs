//! One way through the candidate against the baseline, place by place.

use engine::tolerance::{noise_to_signal, product_noise};
use engine::{ModelConfig, Numerics, TapPoint};

use super::super::gates::{MARGIN, PROBE};
use super::baseline::Baseline;
use super::nmse;
use super::trace::{Path, Place, Trace};

/// One place on one path.
#[derive(Clone, Debug)]
pub(super) struct Compared {
    pub(super) place: Place,
    /// NMSE of each position, from the path's first on; infinite where the
    /// candidate has NaN.
    pub(super) errors: Vec<f64>,
    /// What the mean of `errors` may be.
    pub(super) tolerance: f64,
    /// What each of them may be.
    tolerances: Vec<f64>,
}

impl Compared {
    /// Mean NMSE over the positions.
    pub(super) fn error(&self) -> f64 {
        mean(&self.errors)
    }

    /// The error as a share of what is tolerated.
    pub(super) fn share(&self) -> f64 {
        self.error() / self.tolerance
    }

    /// The first position, from the path's first on, whose error is beyond what is
    /// tolerated there; the worst if that is none.
    pub(super) fn first_beyond(&self) -> usize {
        let beyond = |(error, tolerance): (&f64, &f64)| error > tolerance;
        let mut pairs = self.errors.iter().zip(&self.tolerances);
        pairs.position(beyond).unwrap_or_else(|| {
            let worst = self.errors.iter().enumerate();
            worst
                .max_by(|(_, a), (_, b)| a.total_cmp(b))
                .map_or(0, |(index, _)| index)
        })
    }
}

/// Places that both engines hand over, in the order of computation.
pub(super) struct Comparison {
    pub(super) path: Path,
    /// Position of the first row.
    pub(super) start: usize,
    pub(super) places: Vec<Compared>,
}

impl Comparison {
    /// Holds `found` against the same positions of `baseline`.
    ///
    /// # Errors
    /// Says which place has rows of another length.
    pub(super) fn new(
        path: Path,
        baseline: &Baseline,
        found: &Trace,
        candidate: Numerics,
        config: &ModelConfig,
    ) -> Result<Self, String> {
        // Noises of independent engines add.
        let noise = product_noise(candidate, config) + product_noise(baseline.numerics, config);
        // The probe rounds weights alone. Where activations are rounded, so is the stream,
        // once for each of its summands.
        let rounding = [candidate, baseline.numerics].map(|n| noise_to_signal(n.activations));
        let rounding: f64 = rounding.iter().sum();
        let probe_noise = noise_to_signal(PROBE);
        let mut places = Vec::new();
        for (index, column) in baseline.trace.columns().iter().enumerate() {
            let Some(other) = found.column(column.place) else {
                continue;
            };
            if other.width != column.width {
                return Err(format!(
                    "{} has rows of {} values, the baseline's of {}",
                    column.place, other.width, column.width
                ));
            }
            let positions = found.start..found.start + found.rows;
            let errors = positions.clone().enumerate().map(|(row, position)| {
                let error = nmse(column.place, column.row(position), other.row(row));
                if error.is_nan() { f64::INFINITY } else { error }
            });
            // A place rounds at least its own values, so no gain is below 1.
            let probe = baseline.probe.as_ref().map(|probe| &probe[index]);
            let gains: Vec<f64> = match probe.and_then(|errors| errors.get(positions)) {
                Some(errors) => errors.iter().map(|error| error / probe_noise).collect(),
                None => vec![gain_bound(column.place, config); found.rows],
            };
            let gain = mean(&gains).max(1.0);
            let (summands, _) = depth(column.place, config);
            let stream = summands as f64 * rounding;
            let allowed = |gain: f64| MARGIN * (gain * noise + stream);
            places.push(Compared {
                place: column.place,
                errors: errors.collect(),
                tolerance: allowed(gain),
                tolerances: gains.into_iter().map(|g| allowed(g.max(gain))).collect(),
            });
        }
        Ok(Self {
            path,
            start: found.start,
            places,
        })
    }

    /// The place to blame: the first beyond its tolerance, unless what came before
    /// it explains the error.
    ///
    /// A place inherits relative noise, in the measure that the probe's gain tells,
    /// and adds its own; so its share of the tolerance should not exceed the largest
    /// before it, or that of its own format, which is `1 / MARGIN`. Beyond `MARGIN`
    /// times the larger of the two nothing explains it. An engine that is noisier
    /// than it declares drifts out of tolerance bit by bit and is not accused here;
    /// the gates on its logits judge it.
    pub(super) fn accused(&self) -> Option<usize> {
        let mut before = 1.0 / MARGIN;
        for (index, place) in self.places.iter().enumerate() {
            let share = place.share();
            if share > MARGIN * before {
                return Some(index);
            }
            before = before.max(share);
        }
        None
    }

    /// How many places are beyond their tolerance.
    pub(super) fn beyond(&self) -> usize {
        self.places.iter().filter(|p| p.share() > 1.0).count()
    }
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// Upper bound on the noise gain of a place in a network whose sub-blocks do not
/// amplify noise: [`engine::tolerance`] derives `4 · H(n)` for a stream of `n`
/// summands, to which the embedding's own rounding and the products since the
/// stream was read are added.
fn gain_bound(place: Place, config: &ModelConfig) -> f64 {
    let (summands, products) = depth(place, config);
    let harmonic: f64 = (1..=summands).map(|n| 1.0 / n as f64).sum();
    4.0 * harmonic + 1.0 + products as f64
}

/// Outputs of sub-blocks in the stream that a place is computed from, and products
/// in series since.
fn depth(place: Place, config: &ModelConfig) -> (usize, usize) {
    use TapPoint as P;
    let Place::Tap(stage) = place else {
        return (2 * config.layers, 1);
    };
    let before = 2 * stage.layer.unwrap_or(0);
    match stage.point {
        P::Embedding => (0, 0),
        P::AttentionNorm => (before, 0),
        P::Query | P::Key | P::Value => (before, 1),
        P::QueryNorm | P::KeyNorm | P::QueryRope | P::KeyRope => (before, 1),
        P::AttentionMix => (before, 3),
        P::AttentionOutput | P::AttentionPostNorm => (before, 4),
        P::AttentionResidual | P::FfnNorm => (before + 1, 0),
        P::FfnInner => (before + 1, 2),
        P::FfnOutput | P::FfnPostNorm => (before + 1, 3),
        P::Residual => (before + 2, 0),
        P::FinalNorm => (2 * config.layers, 0),
    }
}
