//! A compiled package as what executes functions.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use engine::{EngineError, PlacedOperation, Placement};

use super::cache::Cache;
use super::fault::Step;
use super::framework::Framework;
use super::options::Options;
use crate::backend::{Backend, Rows, Wanted};
use crate::tensor::Tensor;

pub(crate) struct Compiled<F: Framework> {
    framework: F,
    folder: PathBuf,
    /// Whether functions go by their names.
    named: bool,
    options: Options,
    /// Functions that are loaded.
    functions: Vec<String>,
    compile: Option<Duration>,
    load: Duration,
    /// To compile again what does not load.
    again: Option<Again>,
}

/// What a package is compiled from, and where it is kept.
struct Again {
    package: PathBuf,
    sha256: String,
    cache: Cache,
}

impl<F: Framework> Compiled<F> {
    /// The package at `package`, from `cache` or compiled now.
    ///
    /// # Errors
    /// What Core ML says.
    pub(crate) fn new(
        framework: F,
        package: &Path,
        sha256: &str,
        cache: Cache,
        named: bool,
        options: Options,
    ) -> Result<Self, EngineError> {
        let again = Again {
            package: package.into(),
            sha256: sha256.into(),
            cache,
        };
        let (folder, compile, again) = match again.cache.find(sha256) {
            Some(folder) => (folder, None, Some(again)),
            None => {
                let (folder, took) = again.compile(&framework)?;
                (folder, Some(took), None)
            }
        };
        Ok(Self {
            framework,
            folder,
            named,
            options,
            functions: Vec::new(),
            compile,
            load: Duration::ZERO,
            again,
        })
    }

    fn name<'a>(&self, function: &'a str) -> Option<&'a str> {
        self.named.then_some(function)
    }
}

impl Again {
    fn compile<F: Framework>(&self, framework: &F) -> Result<(PathBuf, Duration), EngineError> {
        let start = Instant::now();
        let made = framework.compile(&self.package);
        let made = made.map_err(|fault| fault.during(Step::Compile))?;
        let took = start.elapsed();
        Ok((self.cache.keep(&self.sha256, &made)?, took))
    }
}

impl<F: Framework> Backend for Compiled<F> {
    type Function = F::Function;
    type States = F::States;

    /// An entry of the cache that does not load is compiled again, once.
    fn load(&mut self, name: &str) -> Result<F::Function, EngineError> {
        let start = Instant::now();
        let load = |this: &Self| {
            this.framework
                .load(&this.folder, this.name(name), &this.options)
                .map_err(|fault| fault.during(Step::Load))
        };
        let mut loaded = load(self);
        self.load += start.elapsed();
        if loaded.is_err()
            && let Some(again) = self.again.take()
        {
            again.cache.forget(&again.sha256);
            let (folder, took) = again.compile(&self.framework)?;
            (self.folder, self.compile) = (folder, Some(took));
            let start = Instant::now();
            loaded = load(self);
            self.load += start.elapsed();
        }
        self.functions.push(name.into());
        loaded
    }

    fn states(&self, function: &F::Function) -> Result<F::States, EngineError> {
        let states = self.framework.states(function);
        states.map_err(|fault| fault.during(Step::States))
    }

    fn call(
        &self,
        function: &F::Function,
        inputs: &[(&str, Tensor)],
        states: Option<&mut F::States>,
        wanted: &Wanted<'_>,
    ) -> Result<Vec<Rows>, EngineError> {
        self.framework.predict(function, inputs, states, wanted)
    }

    fn placement(&self) -> Result<Placement, EngineError> {
        let mut operations = Vec::new();
        for function in &self.functions {
            let plan = (self.framework).plan(&self.folder, self.name(function), &self.options);
            let plan = plan.map_err(|fault| fault.during(Step::Plan))?;
            operations.extend(plan.into_iter().map(|operation| PlacedOperation {
                function: function.clone(),
                ..operation
            }));
        }
        Ok(Placement {
            operations,
            compile: self.compile,
            load: self.load,
        })
    }
}
