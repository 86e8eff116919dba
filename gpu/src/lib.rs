//! Language models on a GPU: WGSL kernels through wgpu, which is Metal on macOS (engine id `metal`)
//! and Vulkan elsewhere (`vulkan`).
//!
//! Weights are uploaded in their own storage format and dequantized in the kernels; keys and values
//! stay on the device; a token is one submission, and logits alone are read back. See the book's
//! chapter on GPUs for what runs where.
//!
//! ```
//! use engine::{Availability, Engine, EngineOptions, ModelArtifact, Want};
//! use harness_gpu::{Backend, Gpu};
//!
//! let model = ModelArtifact::embedded(fixtures::MODEL_NAME, fixtures::MODEL);
//! for gpu in Backend::ALL.map(Gpu) {
//!     match gpu.describe().availability {
//!         Availability::Yes => {
//!             let model = gpu.open(&model, &EngineOptions::default())?;
//!             let logits = model.session()?.extend(&[1, 2, 3], Want::All)?;
//!             assert!(logits.rows() == 3 && logits.all_finite());
//!         }
//!         Availability::No(why) => println!("{}: {why}", gpu.describe().id),
//!     }
//! }
//! # Ok::<(), engine::EngineError>(())
//! ```

mod adapter;
mod decoder;
mod device;
mod disk;
mod entry;
mod fault;
mod ops;
mod options;
mod record;
mod roofs;
mod self_test;
mod session;
mod shader;
mod tensor;
mod tuning;

use engine::{
    Availability, Capability, Engine, EngineError, EngineInfo, EngineOptions, Model, ModelArtifact,
};
use reference::Source;

pub use adapter::Backend;

use crate::device::Device;
use crate::options::Options;
use crate::session::GpuModel;

/// The engine of one backend, id `metal` or `vulkan`.
///
/// ```
/// use engine::{Engine, EngineSpec};
/// use harness_gpu::{Backend, Gpu};
///
/// let spec: EngineSpec = "vulkan:weights=q4_k,activations=f16,kv=f16".parse()?;
/// assert!(Gpu(Backend::Vulkan).validate(&spec.options).is_ok());
/// // Keys and values are stored as floats.
/// let spec: EngineSpec = "vulkan:kv=q8_0".parse()?;
/// assert!(Gpu(Backend::Vulkan).validate(&spec.options).is_err());
/// # Ok::<(), engine::SpecError>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Gpu(pub Backend);

impl Engine for Gpu {
    fn describe(&self) -> EngineInfo {
        let Self(backend) = *self;
        let names = backend.names();
        EngineInfo {
            id: backend.id().into(),
            version: env!("CARGO_PKG_VERSION").into(),
            device: match names {
                [] => "gpu".into(),
                names => names.join(", "),
            },
            about: match backend {
                Backend::Metal => "transformer in WGSL kernels, on Metal",
                Backend::Vulkan => "transformer in WGSL kernels, on Vulkan",
            }
            .into(),
            availability: match names {
                [] => Availability::No(backend.why_none()),
                _ => Availability::Yes,
            },
            capabilities: vec![
                Capability::FullLogits,
                Capability::AllLogits,
                Capability::ConcurrentSessions,
                Capability::KvUsage,
                Capability::Kernels,
            ],
            options: options::HELP.into(),
        }
    }

    fn validate(&self, options: &EngineOptions) -> Result<(), EngineError> {
        Options::parse(self.0.id(), options).map(drop)
    }

    fn open(
        &self,
        model: &ModelArtifact,
        options: &EngineOptions,
    ) -> Result<Box<dyn Model>, EngineError> {
        let options = Options::parse(self.0.id(), options)?;
        let source = Source::open(model)?;
        let device = Device::open(self.0, &options.opening)?;
        Ok(Box::new(GpuModel::load(device, &source, &options)?))
    }
}
