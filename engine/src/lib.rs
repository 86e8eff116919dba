//! The seam between the harness and the LLM engines it judges.
//!
//! A backend implements three traits: [`Engine`] opens a [`Model`], a model
//! opens [`Session`]s, and a session turns token ids into next-token logits.
//! Prefill is [`Session::extend`] with many tokens and decode is `extend` with
//! one, so there is a single code path to time and to check.
//!
//! Everything optional is a [`Capability`] that an engine declares. A suite
//! that needs one an engine lacks is skipped with that reason; it never passes
//! silently.
//!
//! [`conformance`] runs any engine through the promises stated here. This is a
//! whole engine, and keeps them all:
//!
//! ```
#![doc = include_str!("../examples/successor/engine.rs")]
//!
//! use harness_engine::conformance;
//!
//! let model = ModelArtifact::embedded("nothing", b"");
//! let report = conformance::check(&Successor, &model, &EngineOptions::default())?;
//! assert!(report.passed(), "{report}");
//! # Ok::<(), EngineError>(())
//! ```

mod artifact;
mod checked;
pub mod conformance;
mod embeddings;
mod engine;
mod error;
mod folder;
mod format;
mod info;
mod kernels;
mod logits;
mod model;
mod placement;
mod predictions;
mod refusals;
mod session;
mod spec;
mod stream;
mod tap;
mod tokens;
pub mod tolerance;

pub use artifact::{ArtifactError, ArtifactFormat, ArtifactSource, ModelArtifact, sha256_hex};
pub use checked::{Calls, checked};
pub use embeddings::{Embeddings, Pooling, UnknownPooling};
pub use engine::Engine;
pub use error::{EngineError, FailureKind};
pub use format::{NumberFormat, UnknownFormat};
pub use info::{
    AddressRange, Availability, Capability, EngineInfo, EvictionPolicy, KvLayer, KvUsage,
    ModelConfig, Numerics, OptionHelp,
};
pub use kernels::{KernelCall, KernelTime, Kernels, PreparedKernel, Roof};
pub use logits::{Logits, TopLogits, TopLogitsError};
pub use model::Model;
pub use placement::{ComputeDevice, PlacedOperation, Placement};
pub use predictions::{Answer, Piece, Predictions, Prompt, Scores, Transport};
pub use refusals::{check_extend, check_truncate};
pub use session::{Session, Want};
pub use spec::{EngineOptions, EngineSpec, SpecError};
pub use stream::StreamDecoder;
pub use tap::{Stage, Tap, TapObserver, TapPoint};
pub use tokens::{ChatTemplate, TokenId, Tokenizer, TokenizerError};
