//! Options of the engines `metal` and `vulkan`.

use std::num::NonZeroUsize;

use engine::{EngineError, EngineOptions, NumberFormat, Numerics, OptionHelp};

use crate::device::Opening;
use crate::tuning::Tune;

pub(crate) const HELP: [OptionHelp; 7] = [
    OptionHelp {
        key: "adapter",
        default: "the most capable",
        help: "part of the name of the GPU to use",
    },
    OptionHelp {
        key: "weights",
        default: "f32",
        help: "requantize every matrix on load, as the reference engine does: f32 (as stored in the \
               file), f16, q8_0, q4_k, q4_0, … ; types that no kernel reads become f32 on the GPU",
    },
    OptionHelp {
        key: "activations",
        default: "f32",
        help: "f32, or f16: products with many tokens round their operands to f16 and sum in f32",
    },
    OptionHelp {
        key: "kv",
        default: "f32",
        help: "store keys and values as f32 or f16",
    },
    OptionHelp {
        key: "kernels",
        default: "fast",
        help: "fast: with subgroups and cooperative matrices where the GPU has them; plain: without",
    },
    OptionHelp {
        key: "tune",
        default: "once",
        help: "measure which tiles make products fastest: once for each GPU and driver, again, or never; \
               a GPU in software is not measured unless asked again",
    },
    OptionHelp {
        key: "ctx",
        default: "the model's",
        help: "shorten the context to this many tokens",
    },
];

#[derive(Clone, Debug)]
pub(crate) struct Options {
    pub(crate) opening: Opening,
    pub(crate) numerics: Numerics,
    pub(crate) context: Option<NonZeroUsize>,
}

impl Options {
    pub(crate) fn parse(engine: &str, options: &EngineOptions) -> Result<Self, EngineError> {
        options.refuse_unknown(engine, &HELP.map(|option| option.key))?;
        let context = options
            .get("ctx")
            .map(|_| options.parse_or("ctx", NonZeroUsize::MIN));
        Ok(Self {
            opening: Opening {
                adapter: options.get("adapter").map(Into::into),
                plain: match options.get("kernels") {
                    None | Some("fast") => false,
                    Some("plain") => true,
                    Some(other) => {
                        return Err(EngineError::invalid(format!(
                            "engine option `kernels={other}`: use one of fast, plain"
                        )));
                    }
                },
                tune: match options.get("tune") {
                    None | Some("once") => Tune::Once,
                    Some("again") => Tune::Again,
                    Some("never") => Tune::Never,
                    Some(other) => {
                        return Err(EngineError::invalid(format!(
                            "engine option `tune={other}`: use one of once, again, never"
                        )));
                    }
                },
            },
            numerics: Numerics {
                weights: options.parse_or("weights", NumberFormat::F32)?,
                activations: float(options, "activations")?,
                kv: float(options, "kv")?,
            },
            context: context.transpose()?,
        })
    }
}

fn float(options: &EngineOptions, key: &str) -> Result<NumberFormat, EngineError> {
    let format = options.parse_or(key, NumberFormat::F32)?;
    match format {
        NumberFormat::F32 | NumberFormat::F16 => Ok(format),
        other => Err(EngineError::invalid(format!(
            "engine option `{key}={other}`: use one of f32, f16"
        ))),
    }
}
