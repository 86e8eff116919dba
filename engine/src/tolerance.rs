//! How far logits may stray, derived from number formats.
//!
//! # Noise of a format
//!
//! [`noise_to_signal`] is the expected squared rounding error of a stored
//! number over its mean square.
//!
//! * *Floating point*, `p` significant bits, round to nearest: the error is
//!   uniform over one unit in the last place, `2^(1-p)` for a significand in
//!   `[1, 2)`. With log-uniform significands (Benford) the mean of `1/m²` is
//!   `3 / (8 ln 2)`, hence `2^(2-2p) / 12 · 3 / (8 ln 2)`.
//! * *Block quantization* with step `s`: the error is uniform over `s`, so its
//!   square is `s² / 12`. For a symmetric format `s = max|w| / levels`, for an
//!   affine one `s = (max w − min w) / steps`, over blocks of `n` weights taken
//!   as normal; the expectations of these extremes follow from the normal
//!   distribution by integration. GGML's K-quants search for a better scale
//!   than these extremes give and store scales in 6 (4) bits; the two roughly
//!   cancel (`tests/format_noise.rs` of the reference crate holds the model
//!   to the measured error of every format on trained weights).
//! * *Palettes* of 16 levels placed by k-means: the least distortion of a normal
//!   variable by 16 levels, 0.009497 of its variance (Max 1960, Quantizing for
//!   Minimum Distortion, table I), as if all weights under one palette had the
//!   same variance.
//!
//! # From numbers to logits
//!
//! A matrix product rounds its input and its output, reads rounded weights, and
//! in attention rounded keys and values; in f32 it also rounds `K` partial sums
//! whose energy grows linearly up to that of the result (half of `K` for each
//! of the two engines compared). So [`product_noise`] is
//!
//! ```text
//! ε² = noise(weights) + 2 · noise(activations) + noise(kv) + K · noise(f32)
//! ```
//!
//! How much of it reaches the logits is a property of the network, its *noise
//! gain* `g`: `NMSE(logits) = g · ε²` while errors are small. A suite that can
//! measures it, by running the baseline once more with weights of known noise.
//!
//! Without that, [`worst_gain`] bounds it. A pre-norm decoder adds the outputs
//! of `2 L` sub-blocks (attention, feed forward) into a residual stream. At
//! most four products stand in series in a sub-block (attention's q, k, v, o),
//! so it contributes `c = 4 ε²` of its own and passes on the relative noise of
//! its input. If the outputs have equal energy and are uncorrelated, the
//! relative noise `ν` of the stream obeys `ν_n = mean_{j<n}(ν_j + c)`, solved by
//! `ν_n = c · H_n` with the harmonic number `H_n`. The head is one product more:
//! `g ≤ 4 · H(2L) + 1`. Trained weights amplify what they were trained on and
//! not the noise, so they stay far below it.
//!
//! ```
//! use harness_engine::NumberFormat;
//! use harness_engine::tolerance::noise_to_signal;
//!
//! // Rounding to f16 is lost in what four-bit weights lose.
//! let ratio = noise_to_signal(NumberFormat::Q4_0) / noise_to_signal(NumberFormat::F16);
//! assert!(ratio > 1e4);
//! ```

use crate::format::Structure;
use crate::{ModelConfig, NumberFormat, Numerics};

/// Squared error of the best 16 levels for a normal variable over its variance.
const LLOYD_MAX_16: f64 = 0.009_497;

/// Expected squared rounding error of a stored number over its mean square.
///
/// ```
/// use harness_engine::NumberFormat;
/// use harness_engine::tolerance::noise_to_signal;
///
/// // One more bit quarters the noise.
/// let four = noise_to_signal(NumberFormat::Q4_0);
/// let five = noise_to_signal(NumberFormat::Q5_0);
/// assert!((four / five - 4.0).abs() < 1e-9);
/// ```
#[must_use]
pub fn noise_to_signal(format: NumberFormat) -> f64 {
    match format.structure() {
        Structure::Float { significand_bits } => {
            let ulp = 2f64.powi(1 - significand_bits);
            ulp * ulp / 12.0 * 3.0 / (8.0 * std::f64::consts::LN_2)
        }
        Structure::Symmetric { block, levels } => {
            NormalExtremes::of(block).magnitude_sq / (12.0 * f64::from(levels).powi(2))
        }
        Structure::Affine { block, steps } => {
            NormalExtremes::of(block).range_sq / (12.0 * f64::from(steps).powi(2))
        }
        Structure::Palette16 => LLOYD_MAX_16,
    }
}

/// Relative squared error `ε²` that one matrix product of a model adds when
/// computed with `numerics`; see the [module documentation](self).
///
/// ```
/// # mod successor { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/examples/successor/engine.rs")); }
/// use harness_engine::{Engine, EngineOptions, ModelArtifact, NumberFormat, Numerics};
/// use harness_engine::tolerance::{noise_to_signal, product_noise};
/// use successor::Successor;
///
/// let artifact = ModelArtifact::embedded("nothing", b"");
/// let model = Successor.open(&artifact, &EngineOptions::default())?;
/// let four_bit = Numerics { weights: NumberFormat::Q4_0, ..model.numerics() };
/// let noise = product_noise(four_bit, model.config());
/// // The rounding of the weights is nearly all of it.
/// assert!((noise / noise_to_signal(NumberFormat::Q4_0) - 1.0).abs() < 1e-9);
/// # Ok::<(), harness_engine::EngineError>(())
/// ```
#[must_use]
pub fn product_noise(numerics: Numerics, model: &ModelConfig) -> f64 {
    let longest_dot = model.hidden.max(model.feed_forward).max(1) as f64;
    // Values held in f32 are exact as far as these comparisons go: rounding
    // while computing is the last term's business.
    let stored = |format| match format {
        NumberFormat::F32 => 0.0,
        narrower => noise_to_signal(narrower),
    };
    stored(numerics.weights)
        + 2.0 * stored(numerics.activations)
        + stored(numerics.kv)
        + longest_dot * noise_to_signal(NumberFormat::F32)
}

/// Upper bound on the noise gain of a network whose sub-blocks do not amplify
/// noise; see the [module documentation](self).
///
/// How far the logits of a sound engine may be off, as a share of their energy:
///
/// ```
/// # mod successor { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/examples/successor/engine.rs")); }
/// use harness_engine::{Engine, EngineOptions, ModelArtifact};
/// use harness_engine::tolerance::{product_noise, worst_gain};
/// use successor::Successor;
///
/// let artifact = ModelArtifact::embedded("nothing", b"");
/// let model = Successor.open(&artifact, &EngineOptions::default())?;
/// // One layer is two sub-blocks: 4 (1 + 1/2) + 1.
/// assert_eq!(worst_gain(model.config()), 7.0);
/// let nmse = worst_gain(model.config()) * product_noise(model.numerics(), model.config());
/// assert!(nmse < 1e-13);
/// # Ok::<(), harness_engine::EngineError>(())
/// ```
#[must_use]
pub fn worst_gain(model: &ModelConfig) -> f64 {
    let harmonic: f64 = (1..=2 * model.layers).map(|n| 1.0 / n as f64).sum();
    4.0 * harmonic + 1.0
}

/// Second moments of the extremes of `n` standard normal variables.
struct NormalExtremes {
    /// `E[(max |x|)²]`.
    magnitude_sq: f64,
    /// `E[(max x − min x)²]`.
    range_sq: f64,
}

impl NormalExtremes {
    fn of(n: u32) -> Self {
        // Integrates tail formulas by the trapezoid rule, with the normal CDF
        // accumulated on the way: E[g(X)] = ∫ g'(x) (1 − P(X ≤ x)) dx. Beyond
        // 9 σ nothing is left in double precision.
        const STEP: f64 = 1e-3;
        const LIMIT: f64 = 9.0;
        let density = |x: f64| (-0.5 * x * x).exp() / (2.0 * std::f64::consts::PI).sqrt();
        let power = f64::from(n);
        let (mut cdf, mut x) = (0.5, 0.0);
        let (mut magnitude_sq, mut max_mean, mut max_sq) = (0.0, 0.0, 0.0);
        while x < LIMIT {
            let middle = x + 0.5 * STEP;
            let at_middle = cdf + 0.5 * STEP * density(x + 0.25 * STEP);
            let below: f64 = at_middle.powf(power);
            let below_minus = (1.0 - at_middle).powf(power);
            magnitude_sq += 2.0 * middle * (1.0 - (2.0 * at_middle - 1.0).powf(power)) * STEP;
            max_mean += (1.0 - below - below_minus) * STEP;
            max_sq += 2.0 * middle * (1.0 - below + below_minus) * STEP;
            cdf += STEP * density(middle);
            x += STEP;
        }
        // Maximum and minimum of a sample this long are all but independent:
        // E[(max − min)²] = 2 E[max²] + 2 E[max]².
        Self {
            magnitude_sq,
            range_sq: 2.0 * max_sq + 2.0 * max_mean * max_mean,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extremes_match_the_tables() {
        // One variable: E[x²] = 1.
        assert!((NormalExtremes::of(1).magnitude_sq - 1.0).abs() < 1e-5);
        // Two: E[max] = 1/√π and E[max²] = 1, so the formula gives 2 + 2/π.
        let two = NormalExtremes::of(2);
        assert!((two.range_sq - (2.0 + 2.0 / std::f64::consts::PI)).abs() < 1e-5);
        // W. E. Deming's control-chart constants (ASTM E2587): d2 = 3.532 and
        // d3 = 0.750 at n = 16; E[range²] = d2² + d3².
        let sixteen = NormalExtremes::of(16);
        assert!((sixteen.range_sq / (3.532f64.powi(2) + 0.750f64.powi(2)) - 1.0).abs() < 0.01);
    }

    #[test]
    fn palettes_match_lloyds_iteration() {
        // Levels move to the means of what is nearest to them, over and over.
        const STEP: f64 = 1e-3;
        let grid: Vec<(f64, f64)> = (-9000..9000)
            .map(|n| (f64::from(n) + 0.5) * STEP)
            .map(|x| {
                (
                    x,
                    (-0.5 * x * x).exp() / (2.0 * std::f64::consts::PI).sqrt() * STEP,
                )
            })
            .collect();
        let mut levels: Vec<f64> = (0..16).map(|n| f64::from(n) * 0.3 - 2.25).collect();
        let nearest =
            |levels: &[f64], x: f64| levels.windows(2).filter(|w| w[0] + w[1] < 2.0 * x).count();
        let mut distortion = 0.0;
        for _ in 0..300 {
            let (mut mass, mut moment) = ([0.0; 16], [0.0; 16]);
            distortion = 0.0;
            for &(x, p) in &grid {
                let level = nearest(&levels, x);
                mass[level] += p;
                moment[level] += p * x;
                distortion += p * (x - levels[level]).powi(2);
            }
            levels = moment
                .iter()
                .zip(mass)
                .map(|(moment, mass)| moment / mass)
                .collect();
        }
        assert!((distortion - LLOYD_MAX_16).abs() < 1e-5, "{distortion}");
    }

    #[test]
    fn coarser_formats_are_noisier() {
        use NumberFormat::*;
        let order = [
            F32,
            F16,
            Bf16,
            Q8_0,
            Q6K,
            Q5_1,
            Iq4Nl,
            Q4_0,
            Palette4G16,
            Int4B32,
            Q3K,
            Q2K,
        ];
        for pair in order.windows(2) {
            assert!(
                noise_to_signal(pair[0]) < noise_to_signal(pair[1]),
                "{pair:?}"
            );
        }
    }
}
