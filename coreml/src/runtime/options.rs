//! Options of the engine `coreml`.

use std::env;
use std::path::PathBuf;

use engine::{EngineError, EngineOptions, FailureKind, OptionHelp};

use crate::names;

/// What Core ML may compute on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Units {
    All,
    CpuOnly,
    CpuAndGpu,
    CpuAndNeuralEngine,
}

/// The user's choice.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    pub(crate) units: Units,
    /// Whether answers are written into memory that is reused.
    pub(crate) pinned: bool,
    cache: Option<PathBuf>,
}

pub(crate) fn help() -> Vec<OptionHelp> {
    let own = [
        OptionHelp {
            key: "units",
            default: "all",
            help: "what Core ML may compute on: all, cpu_only, cpu_and_gpu or cpu_and_ne",
        },
        OptionHelp {
            key: "outputs",
            default: "pinned",
            help: "pinned has answers written into memory that is reused; fresh leaves it to \
                   Core ML",
        },
        OptionHelp {
            key: "cache",
            default: "~/Library/Caches/harness/coreml",
            help: "folder that keeps compiled packages",
        },
    ];
    own.into_iter().chain(names::OPTIONS).collect()
}

impl Options {
    /// Reads them from an engine's options.
    ///
    /// # Errors
    /// `InvalidInput` for values that are none.
    pub(crate) fn read(options: &EngineOptions) -> Result<Self, EngineError> {
        let wrong = |key: &str, value: &str, use_: &str| {
            EngineError::invalid(format!("engine option `{key}={value}`: use {use_}"))
        };
        let units = match options.get("units") {
            None | Some("all") => Units::All,
            Some("cpu_only") => Units::CpuOnly,
            Some("cpu_and_gpu") => Units::CpuAndGpu,
            Some("cpu_and_ne") => Units::CpuAndNeuralEngine,
            Some(other) => {
                let known = "all, cpu_only, cpu_and_gpu or cpu_and_ne";
                return Err(wrong("units", other, known));
            }
        };
        let pinned = match options.get("outputs") {
            None | Some("pinned") => true,
            Some("fresh") => false,
            Some(other) => return Err(wrong("outputs", other, "pinned or fresh")),
        };
        Ok(Self {
            units,
            pinned,
            cache: options.get("cache").map(PathBuf::from),
        })
    }

    /// Where compiled packages are kept.
    ///
    /// # Errors
    /// `Load` for a user without a home.
    pub(crate) fn cache(&self) -> Result<PathBuf, EngineError> {
        let home = || env::var_os("HOME").filter(|home| !home.is_empty());
        let usual = || Some(PathBuf::from(home()?).join("Library/Caches/harness/coreml"));
        self.cache.clone().or_else(usual).ok_or_else(|| {
            EngineError::new(
                FailureKind::Load,
                "no HOME to keep compiled packages in; name a folder by cache=",
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(spec: &str) -> Result<Options, EngineError> {
        let spec: engine::EngineSpec = format!("coreml:{spec}").parse().unwrap();
        Options::read(&spec.options)
    }

    #[test]
    fn units_are_named() {
        for (text, units) in [
            ("outputs=fresh", Units::All),
            ("units=cpu_only", Units::CpuOnly),
            ("units=cpu_and_gpu", Units::CpuAndGpu),
            ("units=cpu_and_ne", Units::CpuAndNeuralEngine),
        ] {
            assert_eq!(read(text).unwrap().units, units);
        }
        for text in ["units=ane", "outputs=none"] {
            let error = read(text).unwrap_err();
            assert_eq!(error.kind(), FailureKind::InvalidInput, "{error}");
        }
    }
}
