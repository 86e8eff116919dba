//! The engine `coreml`: packages compiled and executed by Core ML.
//!
//! All that asks Core ML for something is behind the trait `Framework`. On macOS
//! `apple` implements it; the tests of this folder implement it by the interpreter, so
//! that everything else here runs on any system.

#[cfg(target_os = "macos")]
mod apple;
#[cfg(any(target_os = "macos", test))]
mod cache;
#[cfg(any(target_os = "macos", test))]
mod compiled;
#[cfg(any(target_os = "macos", test))]
mod fault;
#[cfg(any(target_os = "macos", test))]
mod framework;
// Read on any system, to find mistakes; heeded by Core ML alone.
#[cfg_attr(not(target_os = "macos"), allow(dead_code))]
mod options;
#[cfg(any(target_os = "macos", test))]
mod strided;
#[cfg(test)]
mod tests;

use engine::{
    Availability, Capability, Engine, EngineError, EngineInfo, EngineOptions, Model, ModelArtifact,
};

use crate::interpreted;
use crate::names::Names;
use options::Options;

const ID: &str = "coreml";

/// The engine `coreml`: executes packages by Core ML, on macOS 15 and later.
///
/// ```
/// use engine::{Engine, EngineSpec};
/// use harness_coreml::Runtime;
///
/// // Options are read on any system, packages on macOS.
/// let spec: EngineSpec = "coreml:units=cpu_and_ne".parse()?;
/// assert!(Runtime.validate(&spec.options).is_ok());
/// let spec: EngineSpec = "coreml:units=tpu".parse()?;
/// assert!(Runtime.validate(&spec.options).is_err());
/// # Ok::<(), engine::SpecError>(())
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct Runtime;

impl Engine for Runtime {
    fn describe(&self) -> EngineInfo {
        EngineInfo {
            id: ID.into(),
            version: env!("CARGO_PKG_VERSION").into(),
            device: "Neural Engine, GPU and CPU, as Core ML chooses".into(),
            about: "Core ML packages by Apple's runtime".into(),
            availability: availability(),
            capabilities: vec![
                Capability::FullLogits,
                Capability::AllLogits,
                Capability::ConcurrentSessions,
                Capability::Embeddings,
                Capability::Placement,
            ],
            options: options::help(),
        }
    }

    fn lacking(&self, model: &ModelArtifact, options: &EngineOptions) -> Vec<(Capability, String)> {
        interpreted::lacking(model, options)
    }

    fn validate(&self, options: &EngineOptions) -> Result<(), EngineError> {
        let info = self.describe();
        let known: Vec<&str> = info.options.iter().map(|option| option.key).collect();
        options.refuse_unknown(ID, &known)?;
        Options::read(options)?;
        Names::read(options).map(drop)
    }

    fn open(
        &self,
        model: &ModelArtifact,
        options: &EngineOptions,
    ) -> Result<Box<dyn Model>, EngineError> {
        self.validate(options)?;
        open_here(model, options)
    }
}

#[cfg(target_os = "macos")]
fn availability() -> Availability {
    match apple::too_old() {
        None => Availability::Yes,
        Some(why) => Availability::No(why),
    }
}

#[cfg(not(target_os = "macos"))]
fn availability() -> Availability {
    Availability::No(
        "Core ML is part of macOS; `coreml-interp` executes the same packages on any system".into(),
    )
}

#[cfg(target_os = "macos")]
fn open_here(
    model: &ModelArtifact,
    options: &EngineOptions,
) -> Result<Box<dyn Model>, EngineError> {
    framework::open(apple::CoreMl, model, options)
}

#[cfg(not(target_os = "macos"))]
fn open_here(_: &ModelArtifact, _: &EngineOptions) -> Result<Box<dyn Model>, EngineError> {
    Err(EngineError::new(
        engine::FailureKind::Unsupported,
        "Core ML is part of macOS",
    ))
}
