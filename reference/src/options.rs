//! Options of the reference engine.

use std::num::NonZeroUsize;
use std::str::FromStr;

use engine::{EngineError, EngineOptions, NumberFormat, Numerics, OptionHelp};

pub(crate) const HELP: [OptionHelp; 5] = [
    OptionHelp {
        key: "weights",
        default: "f32",
        help: "requantize every matrix on load: f32 (as stored in the file), f16, bf16, q8_0, q6_k, \
               q5_k, q5_1, q5_0, q4_k, q4_1, q4_0, q3_k, q2_k",
    },
    OptionHelp {
        key: "activations",
        default: "f32",
        help: "round the result of every operation to f32, f16 or bf16",
    },
    OptionHelp {
        key: "kv",
        default: "f32",
        help: "store keys and values as f32 or f16",
    },
    OptionHelp {
        key: "threads",
        default: "all",
        help: "worker threads; results do not depend on it",
    },
    OptionHelp {
        key: "ctx",
        default: "the model's",
        help: "shorten the context to this many tokens",
    },
];

#[derive(Clone, Debug)]
pub(crate) struct Options {
    pub(crate) numerics: Numerics,
    pub(crate) threads: Option<NonZeroUsize>,
    pub(crate) context: Option<NonZeroUsize>,
}

impl Options {
    pub(crate) fn parse(options: &EngineOptions) -> Result<Self, EngineError> {
        options.refuse_unknown("reference", &HELP.map(|option| option.key))?;
        use NumberFormat::{Bf16, F16, F32};
        Ok(Self {
            numerics: Numerics {
                weights: options.parse_or("weights", F32)?,
                activations: one_of(options, "activations", &[F32, F16, Bf16])?,
                kv: one_of(options, "kv", &[F32, F16])?,
            },
            threads: optional(options, "threads")?,
            context: optional(options, "ctx")?,
        })
    }
}

fn one_of(
    options: &EngineOptions,
    key: &str,
    allowed: &[NumberFormat],
) -> Result<NumberFormat, EngineError> {
    let format = options.parse_or(key, NumberFormat::F32)?;
    if allowed.contains(&format) {
        return Ok(format);
    }
    let names: Vec<&str> = allowed.iter().map(|format| format.name()).collect();
    Err(EngineError::invalid(format!(
        "engine option `{key}={format}`: use one of {}",
        names.join(", ")
    )))
}

fn optional<T: FromStr<Err: std::fmt::Display>>(
    options: &EngineOptions,
    key: &str,
) -> Result<Option<T>, EngineError> {
    options
        .get(key)
        .map(|value| {
            value.parse().map_err(|why| {
                EngineError::invalid(format!("engine option `{key}={value}`: {why}"))
            })
        })
        .transpose()
}
