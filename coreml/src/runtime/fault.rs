//! What Core ML says when it fails, and which kind of failure that is.

use engine::{EngineError, FailureKind};

/// An `NSError` or `NSException`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason} ({domain} {code})")]
pub(crate) struct Fault {
    /// Domain of an error, name of an exception.
    pub(crate) domain: String,
    /// 0 of an exception.
    pub(crate) code: isize,
    /// For people, with the errors underneath.
    pub(crate) reason: String,
}

/// What was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Compile,
    Load,
    States,
    Predict,
    Plan,
}

/// `MLModelErrorDomain`, and its codes in `MLModelError.h`.
const CORE_ML: &str = "com.apple.CoreML";
const FEATURE_TYPE: isize = 1;
const IO: isize = 3;
const CUSTOM_LAYER: isize = 4;
const CUSTOM_MODEL: isize = 5;

impl Fault {
    /// The fault as an engine's failure.
    pub(crate) fn during(self, step: Step) -> EngineError {
        let doing = match step {
            Step::Compile => "Core ML does not compile the package",
            Step::Load => "Core ML does not load the compiled package",
            Step::States => "Core ML makes no states",
            Step::Predict => "Core ML predicts nothing",
            Step::Plan => "Core ML tells no plan",
        };
        EngineError::new(self.kind(step), format!("{doing}: {self}")).caused_by(self)
    }

    fn kind(&self, step: Step) -> FailureKind {
        let reason = self.reason.to_lowercase();
        let says = |words: &[&str]| words.iter().any(|word| reason.contains(word));
        // Core ML has no code of its own for it.
        if self.domain == "NSMallocException"
            || says(&["out of memory", "failed to allocate", "memory limit"])
        {
            return FailureKind::OutOfMemory;
        }
        match (self.domain.as_str(), self.code, step) {
            (CORE_ML, CUSTOM_LAYER | CUSTOM_MODEL, _) => FailureKind::Unsupported,
            // It wanted other inputs than it describes.
            (CORE_ML, FEATURE_TYPE, Step::Predict) => FailureKind::Protocol,
            ("NSInvalidArgumentException", _, Step::Predict | Step::States) => {
                FailureKind::Protocol
            }
            (CORE_ML, IO, _) => FailureKind::Load,
            (_, _, Step::Compile | Step::Load) => FailureKind::Load,
            (_, _, Step::Plan) => FailureKind::Unsupported,
            (_, _, Step::States | Step::Predict) => FailureKind::Device,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_are_told_apart() {
        let kind = |domain: &str, code, reason: &str, step| {
            let fault = Fault {
                domain: domain.into(),
                code,
                reason: reason.into(),
            };
            let error = fault.during(step);
            assert!(error.to_string().contains(reason), "{error}");
            error.kind()
        };
        use FailureKind as K;
        for (domain, code, reason, step, expected) in [
            (CORE_ML, 0, "bad op", Step::Compile, K::Load),
            (CORE_ML, 0, "bad op", Step::Load, K::Load),
            (CORE_ML, IO, "gone", Step::Predict, K::Load),
            (CORE_ML, FEATURE_TYPE, "shape", Step::Predict, K::Protocol),
            (CORE_ML, FEATURE_TYPE, "shape", Step::Load, K::Load),
            (CORE_ML, CUSTOM_LAYER, "none", Step::Load, K::Unsupported),
            (CORE_ML, 0, "ANE lost", Step::Predict, K::Device),
            (
                CORE_ML,
                0,
                "Failed to allocate",
                Step::Predict,
                K::OutOfMemory,
            ),
            ("NSMallocException", 0, "x", Step::States, K::OutOfMemory),
            (
                "NSInvalidArgumentException",
                0,
                "x",
                Step::Predict,
                K::Protocol,
            ),
            ("NSRangeException", 0, "x", Step::Predict, K::Device),
            (
                "NSCocoaErrorDomain",
                260,
                "no file",
                Step::Plan,
                K::Unsupported,
            ),
        ] {
            assert_eq!(
                kind(domain, code, reason, step),
                expected,
                "{domain} {code}"
            );
        }
    }
}
