//! Rotary position embeddings (Su et al. 2021).

use engine::{EngineError, FailureKind};

use crate::hyperparameters::{Hyperparameters, Pairing, RopeParameters};
use crate::weights::Weights;

/// Rotation of one kind of layer: pair `i` of a head turns by
/// `position · frequencies[i]`.
///
/// ```
/// use engine::{ModelArtifact, NumberFormat};
/// use harness_reference::Source;
/// use harness_reference::decoder::{Hyperparameters, Network, Weights};
///
/// let source = Source::open(&ModelArtifact::embedded(fixtures::MODEL_NAME, fixtures::MODEL))?;
/// let weights = Weights::new(&source, NumberFormat::F32);
/// let network = Network::load(Hyperparameters::read(&source)?, &weights, Ok)?;
/// let ropes = network.ropes.ok_or("learned positions")?;
/// let rope = ropes.of(false);
/// assert_eq!(rope.dims, 64);
/// // At position 1 the first pair turns by one radian.
/// assert_eq!(rope.angle(0, 1), (1f32.cos(), 1f32.sin()));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Rope {
    /// Which dimensions rotate together.
    pub pairing: Pairing,
    /// Leading dimensions of a head that are rotated.
    pub dims: usize,
    /// `dims / 2` angles per position, in f64: at position 10⁵ an f32 product
    /// would be off by 2⁻⁸ of a turn.
    frequencies: Vec<f64>,
    magnitude: f64,
}

/// The rotations of a model: one for all layers, or one for those with a local
/// window and one for the others.
///
/// ```
/// use engine::{ModelArtifact, NumberFormat};
/// use harness_reference::Source;
/// use harness_reference::decoder::{Hyperparameters, Network, Weights};
///
/// let source = Source::open(&ModelArtifact::embedded(fixtures::MODEL_NAME, fixtures::MODEL))?;
/// let weights = Weights::new(&source, NumberFormat::F32);
/// let network = Network::load(Hyperparameters::read(&source)?, &weights, Ok)?;
/// let ropes = network.ropes.ok_or("learned positions")?;
/// // A model without local layers has one rotation.
/// assert_eq!(ropes.of(true).angle(3, 100), ropes.of(false).angle(3, 100));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Ropes {
    global: Rope,
    local: Option<Rope>,
}

impl Ropes {
    /// Reads the divisors of the frequencies that some models store as tensors
    /// (Llama 3.1, LongRoPE).
    pub(crate) fn load(
        parameters: &RopeParameters,
        shape: &Hyperparameters,
        weights: &Weights<'_>,
    ) -> Result<Self, EngineError> {
        // LongRoPE (Ding et al. 2024) switches once the context is longer than
        // the one trained first. As in llama.cpp the length of the context
        // decides, not that of the text: keys in a cache cannot change.
        let long = parameters
            .original_context
            .is_some_and(|original| shape.config.context > original);
        let factors = match long {
            true => "rope_factors_long.weight",
            false => "rope_factors_short.weight",
        };
        let pairs = parameters.dims / 2;
        let divisors = match weights.vector_optional("rope_freqs.weight", pairs)? {
            Some(divisors) => Some(divisors),
            None => weights.vector_optional(factors, pairs)?,
        };
        if divisors
            .iter()
            .flatten()
            .any(|&divisor| !(divisor.is_finite() && divisor > 0.0))
        {
            return Err(EngineError::new(
                FailureKind::Load,
                "RoPE frequency factors must be positive numbers",
            ));
        }
        Ok(Self {
            global: Rope::new(
                parameters,
                parameters.base,
                parameters.factor,
                divisors.as_deref(),
            ),
            local: parameters
                .local_base
                .map(|base| Rope::new(parameters, base, 1.0, None)),
        })
    }

    /// The rotation of layers that are local, or are not.
    ///
    /// ```
    /// use engine::{ModelArtifact, NumberFormat};
    /// use harness_reference::Source;
    /// use harness_reference::decoder::{Hyperparameters, Network, Weights};
    ///
    /// let source = Source::open(&ModelArtifact::embedded(fixtures::MODEL_NAME, fixtures::MODEL))?;
    /// let weights = Weights::new(&source, NumberFormat::F32);
    /// let network = Network::load(Hyperparameters::read(&source)?, &weights, Ok)?;
    /// let ropes = network.ropes.ok_or("learned positions")?;
    /// for layer in &network.shape.layers {
    ///     assert_eq!(ropes.of(layer.local_rope).dims, network.shape.config.head_dim);
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn of(&self, local: bool) -> &Rope {
        match &self.local {
            Some(rope) if local => rope,
            _ => &self.global,
        }
    }
}

impl Rope {
    /// Pair `i` turns by `base^(−2i / dims) / factor / divisors[i]` a position.
    pub(crate) fn new(
        parameters: &RopeParameters,
        base: f64,
        factor: f64,
        divisors: Option<&[f32]>,
    ) -> Self {
        let frequency = |pair: usize| {
            let exponent = -2.0 * pair as f64 / parameters.dims as f64;
            let divisor = divisors.map_or(1.0, |divisors| f64::from(divisors[pair]));
            base.powf(exponent) / factor / divisor
        };
        Self {
            pairing: parameters.pairing,
            dims: parameters.dims,
            frequencies: (0..parameters.dims / 2).map(frequency).collect(),
            magnitude: parameters.magnitude,
        }
    }

    /// The same rotation with `times` the base.
    pub(crate) fn with_base_times(&self, times: f64) -> Self {
        let slower = |(pair, frequency): (usize, &f64)| {
            frequency * times.powf(-2.0 * pair as f64 / self.dims as f64)
        };
        Self {
            frequencies: self.frequencies.iter().enumerate().map(slower).collect(),
            ..self.clone()
        }
    }

    /// Cosine and sine of pair `pair` at `position`, with the model's magnitude.
    ///
    /// ```
    /// use engine::{ModelArtifact, NumberFormat};
    /// use harness_reference::Source;
    /// use harness_reference::decoder::{Hyperparameters, Network, Weights};
    ///
    /// let source = Source::open(&ModelArtifact::embedded(fixtures::MODEL_NAME, fixtures::MODEL))?;
    /// let weights = Weights::new(&source, NumberFormat::F32);
    /// let network = Network::load(Hyperparameters::read(&source)?, &weights, Ok)?;
    /// let ropes = network.ropes.ok_or("learned positions")?;
    /// // Base 10,000, 32 pairs: pair 16 turns by 10,000^(−16/32) a position.
    /// let (cos, sin) = ropes.of(false).angle(16, 100);
    /// assert!((cos - 1f32.cos()).abs() < 1e-6 && (sin - 1f32.sin()).abs() < 1e-6);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn angle(&self, pair: usize, position: usize) -> (f32, f32) {
        let (sin, cos) = (position as f64 * self.frequencies[pair]).sin_cos();
        ((cos * self.magnitude) as f32, (sin * self.magnitude) as f32)
    }

    /// The two dimensions of `pair`.
    pub(crate) fn pair(&self, pair: usize) -> (usize, usize) {
        self.pairing.pair(pair, self.dims / 2)
    }
}
