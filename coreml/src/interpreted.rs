//! The engine `coreml-interp`: our interpreter as what executes packages.

use engine::{
    Availability, Capability, Engine, EngineError, EngineInfo, EngineOptions, FailureKind, Model,
    ModelArtifact, NumberFormat, OptionHelp,
};

use crate::backend::{Backend, Rows, Wanted};
use crate::engine::{Decoder, NO_ENCODER, path, protocol, refused, signatures};
use crate::error::PackageError;
use crate::interpreter::{Executable, Fault, Precision, Shared, States, compile};
use crate::names::{Names, OPTIONS};
use crate::package::Package;
use crate::program::Port;
use crate::signature::Answer;
use crate::tensor::{Tensor, elements};

pub(crate) const ID: &str = "coreml-interp";

/// The engine `coreml-interp`: executes ML Programs on the CPU, on any system.
///
/// Every operation computes in f32 and its result is rounded to the type that
/// the program declares, unless `precision=f32` leaves the rounding out.
///
/// ```
/// use std::path::Path;
///
/// use engine::{Engine, EngineSpec, ModelArtifact, Want};
/// use harness_coreml::Interpreter;
///
/// let model = ModelArtifact::from_path(Path::new("tests/packages/tiny-fp16.mlpackage"))?;
/// let spec: EngineSpec = "coreml-interp:precision=f32".parse()?;
/// let model = Interpreter.open(&model, &spec.options)?;
/// let logits = model.session()?.extend(&[1, 2, 3], Want::All)?;
/// assert_eq!((logits.rows(), logits.vocab()), (3, 259));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct Interpreter;

impl Engine for Interpreter {
    fn describe(&self) -> EngineInfo {
        let precision = OptionHelp {
            key: "precision",
            default: "fp16",
            help: "fp16 rounds the result of every operation as the program declares it; f32 \
                   rounds nothing",
        };
        EngineInfo {
            id: ID.into(),
            version: env!("CARGO_PKG_VERSION").into(),
            device: "cpu".into(),
            about: "Core ML packages, operation by operation on the CPU".into(),
            availability: Availability::Yes,
            capabilities: vec![
                Capability::FullLogits,
                Capability::AllLogits,
                Capability::ConcurrentSessions,
                Capability::Embeddings,
            ],
            options: [precision].into_iter().chain(OPTIONS).collect(),
        }
    }

    fn lacking(&self, model: &ModelArtifact, options: &EngineOptions) -> Vec<(Capability, String)> {
        lacking(model, options)
    }

    fn validate(&self, options: &EngineOptions) -> Result<(), EngineError> {
        let info = self.describe();
        let known: Vec<&str> = info.options.iter().map(|option| option.key).collect();
        options.refuse_unknown(ID, &known)?;
        precision(options)?;
        Names::read(options).map(drop)
    }

    fn open(
        &self,
        model: &ModelArtifact,
        options: &EngineOptions,
    ) -> Result<Box<dyn Model>, EngineError> {
        self.validate(options)?;
        let (precision, names) = (precision(options)?, Names::read(options)?);
        let refused = |error| refused(model, error);
        let package = Package::open(path(model, ID)?).map_err(refused)?;
        let found = signatures(&package, &names).map_err(refused)?;
        let functions = found.iter().map(|(name, _)| name.as_str());
        let backend = Interpreted::new(&package, functions, precision).map_err(refused)?;
        let rounded = match precision {
            Precision::Declared => NumberFormat::F16,
            Precision::F32 => NumberFormat::F32,
        };
        let decoder = Decoder::open(model, &package, found, &names, rounded, backend)?;
        Ok(Box::new(decoder))
    }
}

/// Powers that the package does not have.
pub(crate) fn lacking(model: &ModelArtifact, options: &EngineOptions) -> Vec<(Capability, String)> {
    // Whatever else is wrong with it is for opening it to tell.
    let encodes = || {
        let names = Names::read(options).ok()?;
        let package = Package::open(path(model, ID).ok()?).ok()?;
        let found = signatures(&package, &names).ok()?;
        Some(found.iter().any(|(_, s)| s.answer == Answer::HiddenStates))
    };
    match encodes() {
        Some(false) => vec![(Capability::Embeddings, NO_ENCODER.into())],
        _ => Vec::new(),
    }
}

fn precision(options: &EngineOptions) -> Result<Precision, EngineError> {
    match options.get("precision") {
        None | Some("fp16") => Ok(Precision::Declared),
        Some("f32") => Ok(Precision::F32),
        Some(other) => Err(EngineError::invalid(format!(
            "engine option `precision={other}`: use fp16 or f32"
        ))),
    }
}

/// Functions as steps.
pub(crate) struct Interpreted {
    functions: Vec<(String, Executable)>,
    states: Vec<Port>,
    precision: Precision,
}

impl Interpreted {
    /// Makes the functions of `names` ready to run.
    ///
    /// # Errors
    /// Those of [`compile`], and for states without a size.
    pub(crate) fn new<'a>(
        package: &Package,
        names: impl Iterator<Item = &'a str>,
        precision: Precision,
    ) -> Result<Self, PackageError> {
        let mut shared = Shared::default();
        let (mut functions, mut states) = (Vec::new(), Vec::<Port>::new());
        for name in names {
            let place = format!("function `{name}`");
            let Some(function) = package.specification.program.functions.get(name) else {
                return Err(PackageError::program(place, "is not there"));
            };
            for state in &function.states {
                let sized = (state.ty.fixed()).is_some_and(|shape| elements(&shape).is_ok());
                if !sized || !state.ty.dtype.is_float() {
                    let place = format!("state `{}`", state.name);
                    return Err(PackageError::program(place, "has no fixed size"));
                }
                match states.iter().find(|known| known.name == state.name) {
                    None => states.push(state.clone()),
                    Some(known) if known.ty == state.ty => {}
                    Some(_) => {
                        let problem = format!("state `{}` is another elsewhere", state.name);
                        return Err(PackageError::program(place, problem));
                    }
                }
            }
            let executable = compile(name, function, &package.weights, &mut shared)?;
            functions.push((name.to_owned(), executable));
        }
        Ok(Self {
            functions,
            states,
            precision,
        })
    }
}

impl Backend for Interpreted {
    type Function = Executable;
    type States = States;

    fn load(&mut self, name: &str) -> Result<Executable, EngineError> {
        let at = self.functions.iter().position(|(known, _)| known == name);
        let at = at.ok_or_else(|| {
            EngineError::new(FailureKind::Load, format!("no function `{name}` is ready"))
        })?;
        Ok(self.functions.swap_remove(at).1)
    }

    fn states(&self, _: &Executable) -> Result<States, EngineError> {
        let zeros = |port: &Port| {
            let shape = port.ty.fixed().unwrap_or_default();
            let values = vec![0.0; shape.iter().product()];
            (
                port.name.clone(),
                Tensor::floats(port.ty.dtype, &shape, values),
            )
        };
        Ok(self.states.iter().map(zeros).collect())
    }

    fn call(
        &self,
        function: &Executable,
        inputs: &[(&str, Tensor)],
        states: Option<&mut States>,
        wanted: &Wanted<'_>,
    ) -> Result<Vec<Rows>, EngineError> {
        let mut none = States::default();
        let states = states.unwrap_or(&mut none);
        let answered = function.run(inputs, states, wanted.outputs, self.precision);
        let answered = answered.map_err(failed)?;
        let rows = answered.iter().zip(wanted.outputs).map(|(tensor, name)| {
            let (extent, width) = wanted.extent(name, tensor.shape())?;
            let values = tensor.to_floats().map_err(|why| protocol(&why))?;
            Ok(Rows {
                width,
                values: values[extent].to_vec(),
            })
        });
        rows.collect()
    }

    fn shared(decoder: &Decoder<Self>) -> Option<&(dyn Model + Sync)> {
        Some(decoder)
    }
}

fn failed(fault: Fault) -> EngineError {
    EngineError::new(FailureKind::Load, fault.to_string()).caused_by(fault)
}
