//! The engine on a framework that compiles by copying and predicts by interpreting.

use std::cell::Cell;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use engine::conformance::{self, Outcome};
use engine::{
    Availability, Capability, ComputeDevice, Engine, EngineError, EngineInfo, EngineOptions,
    EngineSpec, FailureKind, Model, ModelArtifact, PlacedOperation, Want,
};
use tempfile::TempDir;

use super::fault::{Fault, Step};
use super::framework::{self, Framework};
use super::options::{Options, Units};
use super::{ID, Runtime};
use crate::backend::{Backend, Rows, Wanted};
use crate::interpreted::Interpreted;
use crate::interpreter::{Executable, Precision, States};
use crate::tensor::Tensor;
use crate::{Interpreter, Package};

/// What Core ML was asked for, and how it fails.
#[derive(Clone, Default)]
struct Fake {
    compiled: Arc<AtomicUsize>,
    /// Predictions until one fails.
    until_failure: Cell<Option<usize>>,
    fails_to_load: bool,
}

impl Fake {
    fn fault(code: isize, reason: &str) -> Fault {
        Fault {
            domain: "com.apple.CoreML".into(),
            code,
            reason: reason.into(),
        }
    }
}

impl Framework for Fake {
    type Function = (Interpreted, Executable);
    type States = States;

    fn system(&self) -> String {
        "a system".into()
    }

    fn compile(&self, package: &Path) -> Result<PathBuf, Fault> {
        self.compiled.fetch_add(1, Ordering::Relaxed);
        // As Core ML does, among temporary files.
        let made = tempfile::Builder::new().suffix(".mlmodelc").tempdir();
        let made = made.unwrap().keep();
        copy(package, &made);
        Ok(made)
    }

    fn load(
        &self,
        compiled: &Path,
        function: Option<&str>,
        options: &Options,
    ) -> Result<Self::Function, Fault> {
        assert_eq!(options.units, Units::CpuAndNeuralEngine);
        if self.fails_to_load {
            return Err(Self::fault(0, "this network is not for this device"));
        }
        let package = Package::open(compiled);
        let package = package.map_err(|error| Self::fault(3, &error.to_string()))?;
        let functions = &package.specification.functions;
        assert_eq!(function.is_some(), functions.len() > 1);
        let name = function.unwrap_or("main");
        let ready = Interpreted::new(&package, [name].into_iter(), Precision::Declared);
        let mut ready = ready.map_err(|error| Self::fault(0, &error.to_string()))?;
        let executable = ready.load(name).unwrap();
        Ok((ready, executable))
    }

    fn states(&self, (ready, executable): &Self::Function) -> Result<States, Fault> {
        ready
            .states(executable)
            .map_err(|error| Self::fault(0, &error.to_string()))
    }

    fn predict(
        &self,
        (ready, executable): &Self::Function,
        inputs: &[(&str, Tensor)],
        states: Option<&mut States>,
        wanted: &Wanted<'_>,
    ) -> Result<Vec<Rows>, EngineError> {
        match self.until_failure.get() {
            Some(0) => {
                self.until_failure.set(None);
                return Err(Self::fault(0, "the device was lost").during(Step::Predict));
            }
            left => self.until_failure.set(left.map(|left| left - 1)),
        }
        ready.call(executable, inputs, states, wanted)
    }

    fn plan(
        &self,
        compiled: &Path,
        function: Option<&str>,
        _: &Options,
    ) -> Result<Vec<PlacedOperation>, Fault> {
        let package = Package::open(compiled);
        let package = package.map_err(|error| Self::fault(3, &error.to_string()))?;
        let name = function.unwrap_or("main");
        let function = &package.specification.program.functions[name];
        let operations = function.operations.iter();
        let operations = operations.filter(|o| !o.kind.starts_with("const"));
        let placed = operations.map(|operation| PlacedOperation {
            function: String::new(),
            name: operation.name.clone(),
            kind: operation.kind.clone(),
            preferred: match operation.kind.as_str() {
                "gather" => ComputeDevice::Cpu,
                _ => ComputeDevice::NeuralEngine,
            },
            supported: vec![ComputeDevice::Cpu],
            cost: None,
        });
        Ok(placed.collect())
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap().path();
        let target = to.join(entry.file_name().unwrap());
        match entry.is_dir() {
            true => copy(&entry, &target),
            false => drop(fs::copy(&entry, &target).unwrap()),
        }
    }
}

/// The engine with that framework in Core ML's place.
struct Pretended;

impl Engine for Pretended {
    fn describe(&self) -> EngineInfo {
        EngineInfo {
            availability: Availability::Yes,
            ..Runtime.describe()
        }
    }

    fn lacking(&self, model: &ModelArtifact, options: &EngineOptions) -> Vec<(Capability, String)> {
        Runtime.lacking(model, options)
    }

    fn open(
        &self,
        model: &ModelArtifact,
        options: &EngineOptions,
    ) -> Result<Box<dyn Model>, EngineError> {
        framework::open(Fake::default(), model, options)
    }
}

fn tiny(name: &str) -> ModelArtifact {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/packages");
    ModelArtifact::from_path(&folder.join(format!("tiny-{name}.mlpackage"))).unwrap()
}

fn options(cache: &TempDir) -> EngineOptions {
    let cache = cache.path().display();
    let spec: EngineSpec = format!("{ID}:units=cpu_and_ne,cache={cache}")
        .parse()
        .unwrap();
    Runtime.validate(&spec.options).unwrap();
    spec.options
}

#[test]
fn the_seam_is_kept() {
    let cache = TempDir::new().unwrap();
    for name in ["fp16", "multi"] {
        let report = conformance::check(&Pretended, &tiny(name), &options(&cache)).unwrap();
        let failed = report.checks.iter();
        let failed = failed.filter(|check| matches!(check.outcome, Outcome::Fail(_)));
        assert_eq!(failed.count(), 0, "{name}\n{report}");
    }
}

#[test]
fn it_computes_what_the_interpreter_does() {
    let cache = TempDir::new().unwrap();
    for name in ["fp16", "multi"] {
        let interpreted = Interpreter.open(&tiny(name), &Default::default()).unwrap();
        let compiled = Pretended.open(&tiny(name), &options(&cache)).unwrap();
        let tokens: Vec<u32> = (0..23).map(|token| token * 11 % 259).collect();
        let logits = [interpreted, compiled]
            .map(|model| model.session().unwrap().extend(&tokens, Want::All).unwrap());
        assert_eq!(logits[0], logits[1]);
    }
}

#[test]
fn a_package_is_compiled_once() {
    let (cache, fake) = (TempDir::new().unwrap(), Fake::default());
    let open = |name: &str| framework::open(fake.clone(), &tiny(name), &options(&cache)).unwrap();
    let count = || fake.compiled.load(Ordering::Relaxed);
    assert!(open("fp16").placement().unwrap().compile.is_some());
    assert!(open("fp16").placement().unwrap().compile.is_none());
    assert_eq!(count(), 1);
    open("multi");
    assert_eq!(count(), 2);
    // What does not load any more is compiled again.
    for entry in fs::read_dir(cache.path()).unwrap() {
        fs::remove_file(entry.unwrap().path().join("Manifest.json")).unwrap();
    }
    assert!(open("fp16").placement().unwrap().compile.is_some());
    assert_eq!(count(), 3);
}

#[test]
fn what_does_not_load_is_told() {
    let cache = TempDir::new().unwrap();
    let fake = Fake {
        fails_to_load: true,
        ..Fake::default()
    };
    // The second attempt finds the package compiled, and compiles it again.
    for compiled in [1, 2] {
        let error = framework::open(fake.clone(), &tiny("fp16"), &options(&cache));
        let error = error.err().unwrap();
        assert_eq!(error.kind(), FailureKind::Load);
        assert!(error.to_string().contains("not for this device"), "{error}");
        assert_eq!(fake.compiled.load(Ordering::Relaxed), compiled);
    }
}

#[test]
fn a_failed_prediction_leaves_the_context_as_it_was() {
    let cache = TempDir::new().unwrap();
    let fake = Fake {
        until_failure: Cell::new(Some(3)),
        ..Fake::default()
    };
    let model = framework::open(fake, &tiny("fp16"), &options(&cache)).unwrap();
    let sound = Pretended.open(&tiny("fp16"), &options(&cache)).unwrap();
    let (mut session, mut other) = (model.session().unwrap(), sound.session().unwrap());
    // The package takes 16 tokens a call.
    let tokens: Vec<u32> = (0..40).collect();
    session.extend(&tokens[..16], Want::None).unwrap();
    let error = session.extend(&[9; 48], Want::Last).unwrap_err();
    assert_eq!(error.kind(), FailureKind::Device);
    assert_eq!(session.len(), 16);
    let rest = session.extend(&tokens[16..], Want::Last).unwrap();
    assert_eq!(rest, other.extend(&tokens, Want::Last).unwrap());
}

#[test]
fn every_function_has_its_plan() {
    let cache = TempDir::new().unwrap();
    let model = Pretended.open(&tiny("multi"), &options(&cache)).unwrap();
    let placement = model.placement().unwrap();
    for function in ["prefill", "decode", "encode"] {
        let mut operations = placement.operations.iter();
        assert!(operations.any(|operation| operation.function == function));
    }
    let cpu = placement.operations.iter();
    let cpu = cpu.filter(|operation| operation.preferred == ComputeDevice::Cpu);
    assert!(
        cpu.map(|operation| operation.kind.as_str())
            .all(|kind| kind == "gather")
    );
}

#[test]
fn here_it_is_available_on_macos_alone() {
    match Runtime.describe().availability {
        Availability::Yes => assert_eq!(std::env::consts::OS, "macos"),
        Availability::No(why) => assert!(why.contains("macOS"), "{why}"),
    }
}
