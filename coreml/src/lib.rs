//! Core ML packages: what is in them, whether it is sound, and what it computes.
//!
//! [`Package`] reads `.mlpackage` folders and bare `.mlmodel` files that hold an
//! ML Program, [`check()`] looks for what would go wrong on a device, and the
//! engine [`Interpreter`] executes the program on the CPU, operation by operation,
//! so that a conversion is proven right before anyone touches a Mac.
//!
//! ```
//! use std::path::Path;
//!
//! use engine::{Engine, EngineOptions, ModelArtifact, Want};
//! use harness_coreml::{Interpreter, Package, Severity, check};
//!
//! let path = Path::new("tests/packages/tiny-fp16.mlpackage");
//! let findings = check(&Package::open(path)?);
//! assert!(findings.iter().all(|finding| finding.severity < Severity::Error));
//!
//! let model = ModelArtifact::from_path(path)?;
//! let model = Interpreter.open(&model, &EngineOptions::default())?;
//! let logits = model.session()?.extend(&[1, 2, 3], Want::Last)?;
//! assert_eq!(logits.vocab(), model.config().vocab);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod backend;
mod check;
mod config;
mod engine;
mod error;
mod interpreted;
mod interpreter;
mod lengths;
mod names;
mod package;
mod pooling;
mod program;
mod runtime;
mod session;
mod shape;
mod signature;
mod spec;
mod summary;
mod tensor;
mod weights;

pub use check::{Finding, Severity, check};
pub use config::{Config, Scheme};
pub use error::PackageError;
pub use interpreted::Interpreter;
pub use package::Package;
pub use runtime::Runtime;
pub use spec::Specification;
pub use summary::{FunctionSummary, Summary, WeightBytes};
pub use weights::Weights;
