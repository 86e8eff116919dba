//! The reference engine: a decoder-only transformer on the CPU, in f32, that
//! other engines are held against; and a BERT-style encoder, for embeddings.
//!
//! It reads GGUF files and Hugging Face folders by memory map ([`Source`]).
//! `weights=…` passes every matrix through a quantization and back, so that one FP16 file shows what each format costs
//! with everything else equal; see [`quant::round_trip_rows`].
//!
//! ```
//! use engine::{Engine, EngineSpec, ModelArtifact, Want};
//! use harness_reference::Reference;
//!
//! // `ModelArtifact::from_path` takes files and folders.
//! let model = ModelArtifact::embedded(fixtures::MODEL_NAME, fixtures::MODEL);
//! let spec: EngineSpec = "reference:weights=q4_0".parse()?;
//! let model = Reference.open(&model, &spec.options)?;
//! let mut session = model.session()?;
//! let logits = session.extend(&[1, 2, 3], Want::Last)?;
//! assert_eq!(logits.vocab(), model.config().vocab);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod cache;
mod encoder;
mod fast;
mod fault;
pub mod gguf;
mod hf;
mod hyperparameters;
mod kernel_calls;
mod map;
mod model;
mod network;
mod options;
mod plain;
mod pooling;
pub mod quant;
mod rope;
mod source;
mod tap;
pub mod tokenizer;
mod weights;

use engine::{
    Availability, Capability, Engine, EngineError, EngineInfo, EngineOptions, FailureKind, Model,
    ModelArtifact,
};

pub use fast::entry as kernels;
/// What decoders are made of, for engines that compute them elsewhere.
///
/// ```
/// use engine::{ModelArtifact, NumberFormat};
/// use harness_reference::Source;
/// use harness_reference::decoder::{Hyperparameters, Network, Weights};
///
/// let source = Source::open(&ModelArtifact::embedded(fixtures::MODEL_NAME, fixtures::MODEL))?;
/// let shape = Hyperparameters::read(&source)?;
/// let weights = Weights::new(&source, NumberFormat::F32);
/// // An engine takes each matrix to its device; here it is measured.
/// let network = Network::load(shape, &weights, |matrix| Ok(matrix.bytes().len()))?;
/// assert_eq!(network.blocks[0].gate.as_ref().map(|gate| gate.weight), Some(768 * 256 * 2));
/// # Ok::<(), engine::EngineError>(())
/// ```
pub mod decoder {
    pub use crate::hyperparameters::{Activation, Hyperparameters, Layer, NormKind, Pairing};
    pub use crate::network::{Block, Linear, Network, Norm};
    pub use crate::rope::{Rope, Ropes};
    pub use crate::weights::{StoredMatrix, Weights};
}

pub use fault::{Fault, Faulty};
pub use hyperparameters::ARCHITECTURES;
pub use source::{Source, Stored, TensorEntry};
pub use weights::first_non_finite;

use crate::encoder::EncoderModel;
use crate::model::ReferenceModel;
use crate::options::Options;

/// The reference engine, id `reference`.
///
/// ```
/// use engine::{Engine, EngineOptions, ModelArtifact, Want};
/// use harness_reference::Reference;
///
/// let model = ModelArtifact::embedded(fixtures::MODEL_NAME, fixtures::MODEL);
/// let model = Reference.open(&model, &EngineOptions::default())?;
/// let mut session = model.session()?;
/// // "The visions of romance were over. Catherine was"
/// let prompt = [0, 368, 1293, 834, 277, 222, 405, 562, 456, 716, 15, 1913, 348];
/// let logits = session.extend(&prompt, Want::Last)?;
/// let best = (0..logits.vocab()).max_by(|&a, &b| logits.row(0)[a].total_cmp(&logits.row(0)[b]));
/// assert_eq!(best, Some(325)); // " not"
/// # Ok::<(), engine::EngineError>(())
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct Reference;

impl Engine for Reference {
    fn describe(&self) -> EngineInfo {
        EngineInfo {
            id: "reference".into(),
            version: env!("CARGO_PKG_VERSION").into(),
            device: "cpu".into(),
            about: "f32 transformer on candle-core, the ground truth".into(),
            availability: Availability::Yes,
            capabilities: vec![
                Capability::FullLogits,
                Capability::AllLogits,
                Capability::ConcurrentSessions,
                Capability::KvUsage,
                Capability::Taps,
                Capability::Embeddings,
                Capability::Kernels,
            ],
            options: options::HELP.into(),
        }
    }

    fn validate(&self, options: &EngineOptions) -> Result<(), EngineError> {
        Options::parse(options).map(drop)
    }

    fn open(
        &self,
        model: &ModelArtifact,
        options: &EngineOptions,
    ) -> Result<Box<dyn Model>, EngineError> {
        let options = Options::parse(options)?;
        let source = Source::open(model)?;
        if EncoderModel::is(&source) {
            return Ok(Box::new(EncoderModel::load(&source, &options)?));
        }
        Ok(Box::new(ReferenceModel::load(&source, &options)?))
    }
}

/// A candle error past loading: shapes were checked by then, so what is left
/// is the device's.
fn failed(error: candle_core::Error) -> EngineError {
    EngineError::new(FailureKind::Device, error.to_string()).caused_by(error)
}
