//! Core ML as the rest of this folder knows it.

use std::path::{Path, PathBuf};

use engine::{EngineError, EngineOptions, Model, ModelArtifact, NumberFormat, PlacedOperation};

use super::ID;
use super::cache::Cache;
use super::compiled::Compiled;
use super::fault::Fault;
use super::options::Options;
use crate::backend::{Rows, Wanted};
use crate::engine::{Decoder, path, refused, signatures};
use crate::names::Names;
use crate::package::Package;
use crate::tensor::Tensor;

/// What Core ML does for us, and nothing of ours.
pub(crate) trait Framework: Send + 'static {
    /// A loaded function.
    type Function: Send;
    /// The states of one context (`MLState`).
    type States;

    /// The system's version and build: what it compiles, others may not load.
    fn system(&self) -> String;

    /// Compiles `package` to a folder of the framework's choice, which is the caller's
    /// from then on.
    fn compile(&self, package: &Path) -> Result<PathBuf, Fault>;

    /// Loads a function; `None` is the only one of a model that has no names for them.
    fn load(
        &self,
        compiled: &Path,
        function: Option<&str>,
        options: &Options,
    ) -> Result<Self::Function, Fault>;

    /// New states, all zero.
    fn states(&self, function: &Self::Function) -> Result<Self::States, Fault>;

    /// One prediction.
    fn predict(
        &self,
        function: &Self::Function,
        inputs: &[(&str, Tensor)],
        states: Option<&mut Self::States>,
        wanted: &Wanted<'_>,
    ) -> Result<Vec<Rows>, EngineError>;

    /// Where the operations of a function are planned to run.
    fn plan(
        &self,
        compiled: &Path,
        function: Option<&str>,
        options: &Options,
    ) -> Result<Vec<PlacedOperation>, Fault>;
}

/// Opens `model` with `framework`.
pub(crate) fn open<F: Framework>(
    framework: F,
    model: &ModelArtifact,
    options: &EngineOptions,
) -> Result<Box<dyn Model>, EngineError> {
    let (names, options) = (Names::read(options)?, Options::read(options)?);
    let refused = |error| refused(model, error);
    let path = path(model, ID)?;
    let package = Package::open(path).map_err(refused)?;
    let found = signatures(&package, &names).map_err(refused)?;
    let cache = Cache::open(&options.cache()?, &framework.system())?;
    let named = package.specification.functions.len() > 1;
    let backend = Compiled::new(framework, path, &model.sha256, cache, named, options)?;
    // The program declares f16, and no device computes a program in less.
    let decoder = Decoder::open(model, &package, found, &names, NumberFormat::F16, backend)?;
    Ok(Box::new(decoder))
}
