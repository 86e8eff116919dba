//! Core ML itself: the thin layer of calls, with no more logic than handing over takes.
//!
//! Every call runs in an autorelease pool of its own, and an Objective-C exception in it
//! becomes a [`Fault`].

mod array;
mod plan;
mod predict;

use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};
use std::sync::mpsc;

use block2::RcBlock;
use engine::{EngineError, PlacedOperation};
use objc2::exception::{Exception, catch};
use objc2::rc::{Retained, autoreleasepool};
use objc2_core_ml::{MLComputeUnits, MLModel, MLModelConfiguration, MLState};
use objc2_foundation::{NSError, NSException, NSProcessInfo, NSString, NSURL};

use super::fault::Fault;
use super::framework::Framework;
use super::options::{Options, Units};
use crate::backend::{Rows, Wanted};
use crate::tensor::Tensor;
use predict::LoadedFunction;

/// States came with macOS 15.
const OLDEST: isize = 15;

/// Core ML of this system.
pub(crate) struct CoreMl;

/// Why this system has not the Core ML that is needed, if it has not.
pub(crate) fn too_old() -> Option<String> {
    let version = NSProcessInfo::processInfo().operatingSystemVersion();
    (version.majorVersion < OLDEST).then(|| {
        format!(
            "Core ML has states from macOS {OLDEST} on, and this is macOS {}",
            version.majorVersion
        )
    })
}

impl Framework for CoreMl {
    type Function = LoadedFunction;
    type States = Retained<MLState>;

    fn system(&self) -> String {
        let information = NSProcessInfo::processInfo();
        information.operatingSystemVersionString().to_string()
    }

    fn compile(&self, package: &Path) -> Result<PathBuf, Fault> {
        let (sender, receiver) = mpsc::channel();
        guarded(|| {
            let done = RcBlock::new(move |folder: *mut NSURL, error: *mut NSError| {
                // SAFETY: Core ML passes objects that live as long as the call, or null.
                let (folder, error) = unsafe { (folder.as_ref(), error.as_ref()) };
                let path = folder.and_then(|folder| folder.path());
                let result = path
                    .map(|path| PathBuf::from(path.to_string()))
                    .ok_or_else(|| fault_or_none(error));
                // Nobody waits any more when the receiver is gone.
                let _ = sender.send(result);
            });
            // SAFETY: both arguments are of the types that the method declares.
            unsafe { MLModel::compileModelAtURL_completionHandler(&url(package), &done) };
            Ok(())
        })?;
        received(&receiver)
    }

    fn load(
        &self,
        compiled: &Path,
        function: Option<&str>,
        options: &Options,
    ) -> Result<LoadedFunction, Fault> {
        guarded(|| {
            let configuration = configuration(function, options);
            // SAFETY: both arguments are of the types that the method declares.
            let model = unsafe {
                MLModel::modelWithContentsOfURL_configuration_error(&url(compiled), &configuration)
            };
            let model = model.map_err(|error| fault(&error))?;
            Ok(LoadedFunction::new(model, options.pinned))
        })
    }

    fn states(&self, function: &LoadedFunction) -> Result<Retained<MLState>, Fault> {
        // SAFETY: the method has no preconditions; of a model without states it is empty.
        guarded(|| Ok(unsafe { function.model().newState() }))
    }

    fn predict(
        &self,
        function: &LoadedFunction,
        inputs: &[(&str, Tensor)],
        states: Option<&mut Retained<MLState>>,
        wanted: &Wanted<'_>,
    ) -> Result<Vec<Rows>, EngineError> {
        function.predict(inputs, states.map(|state| &**state), wanted)
    }

    fn plan(
        &self,
        compiled: &Path,
        function: Option<&str>,
        options: &Options,
    ) -> Result<Vec<PlacedOperation>, Fault> {
        plan::load(compiled, function, options)
    }
}

/// Runs `call` in an autorelease pool, and turns an exception into a fault.
fn guarded<R>(call: impl FnOnce() -> Result<R, Fault>) -> Result<R, Fault> {
    autoreleasepool(|_| match catch(AssertUnwindSafe(call)) {
        Ok(result) => result,
        Err(exception) => Err(thrown(exception)),
    })
}

fn thrown(exception: Option<Retained<Exception>>) -> Fault {
    let exception = exception.map(NSException::from_exception);
    let (domain, reason) = match exception {
        Some(Ok(exception)) => (
            exception.name().to_string(),
            exception.reason().map(|reason| reason.to_string()),
        ),
        Some(Err(other)) => ("exception".into(), Some(format!("{other:?}"))),
        None => ("exception".into(), None),
    };
    Fault {
        domain,
        code: 0,
        reason: reason.unwrap_or_else(|| "an exception without a reason".into()),
    }
}

/// `error` and what it rests on.
fn fault(error: &NSError) -> Fault {
    let mut reason = error.localizedDescription().to_string();
    for below in error.underlyingErrors().iter() {
        let text = below.localizedDescription().to_string();
        if !reason.contains(&text) {
            reason = format!("{reason}: {text}");
        }
    }
    Fault {
        domain: error.domain().to_string(),
        code: error.code(),
        reason,
    }
}

fn fault_or_none(error: Option<&NSError>) -> Fault {
    error.map_or_else(|| broken("neither a result nor an error"), fault)
}

/// Core ML did not do what its documentation says.
fn broken(what: impl Into<String>) -> Fault {
    Fault {
        domain: "harness".into(),
        code: 0,
        reason: what.into(),
    }
}

/// What a completion handler sent. The worker's limits end a wait that does not.
fn received<R>(receiver: &mpsc::Receiver<Result<R, Fault>>) -> Result<R, Fault> {
    let sent = receiver.recv();
    sent.unwrap_or_else(|_| Err(broken("the completion handler was dropped uncalled")))
}

fn url(path: &Path) -> Retained<NSURL> {
    NSURL::fileURLWithPath(&NSString::from_str(&path.to_string_lossy()))
}

fn configuration(function: Option<&str>, options: &Options) -> Retained<MLModelConfiguration> {
    let units = match options.units {
        Units::All => MLComputeUnits::All,
        Units::CpuOnly => MLComputeUnits::CPUOnly,
        Units::CpuAndGpu => MLComputeUnits::CPUAndGPU,
        Units::CpuAndNeuralEngine => MLComputeUnits::CPUAndNeuralEngine,
    };
    let function = function.map(NSString::from_str);
    // SAFETY: the setters copy their arguments, which are of the types they declare.
    unsafe {
        let configuration = MLModelConfiguration::new();
        configuration.setComputeUnits(units);
        configuration.setFunctionName(function.as_deref());
        configuration
    }
}
