//! Options of the reference engine.

use std::num::NonZeroUsize;
use std::str::FromStr;

use engine::{EngineError, EngineOptions, NumberFormat, Numerics, OptionHelp};

use crate::fast::Isa;
use crate::fault::Fault;

pub(crate) const HELP: [OptionHelp; 9] = [
    OptionHelp {
        key: "weights",
        default: "f32",
        help: "requantize every matrix on load: f32 (as stored in the file), f16, bf16, q8_0, q6_k, \
               q5_k, q5_1, q5_0, q4_k, q4_1, iq4_nl, iq4_xs, q4_0, q3_k, q2_k, or Core ML's \
               palette4-g16 and int4-b32",
    },
    OptionHelp {
        key: "activations",
        default: "f32",
        help: "round the result of every operation to f32, f16 or bf16",
    },
    OptionHelp {
        key: "kv",
        default: "f32",
        help: "store keys and values as f32, f16 or q8_0",
    },
    OptionHelp {
        key: "kv_limit_mib",
        default: "none",
        help: "refuse sessions whose KV cache would reserve more",
    },
    OptionHelp {
        key: "evict",
        default: "none",
        help: "none keeps every position; window lets layers with a sliding window keep only what \
               it can reach",
    },
    OptionHelp {
        key: "kernels",
        default: "fast",
        help: "fast: blocked SIMD kernels on the weights as stored, with the best instructions this \
               processor has; amx, avx512, avx2, neon, portable: with these; plain: one candle operation \
               after the other on f32 weights",
    },
    OptionHelp {
        key: "device",
        default: "cpu",
        help: "cpu, or metal: the plain kernels on candle's Metal device, a second opinion of a GPU; \
               in builds with the feature `metal`, for macOS",
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
    pub(crate) kv: KvOptions,
    pub(crate) kernels: Kernels,
    pub(crate) device: Device,
    pub(crate) threads: Option<NonZeroUsize>,
    pub(crate) context: Option<NonZeroUsize>,
    /// A mistake and its layer; no option of the reference engine sets it.
    pub(crate) fault: Option<(usize, Fault)>,
}

/// How keys and values are kept.
#[derive(Clone, Debug)]
pub(crate) struct KvOptions {
    pub(crate) format: NumberFormat,
    /// Bytes that the cache of one session may reserve.
    pub(crate) limit_bytes: Option<u64>,
    /// Layers with a sliding window forget what it no longer reaches.
    pub(crate) evict: bool,
}

/// Which implementation computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kernels {
    Fast(Isa),
    Plain,
}

/// Where candle computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Device {
    Cpu,
    Metal,
}

impl Device {
    /// The device as candle knows it.
    pub(crate) fn open(self) -> Result<candle_core::Device, EngineError> {
        match self {
            Self::Cpu => Ok(candle_core::Device::Cpu),
            #[cfg(feature = "metal")]
            Self::Metal => candle_core::Device::new_metal(0).map_err(crate::failed),
            #[cfg(not(feature = "metal"))]
            Self::Metal => Err(EngineError::new(
                engine::FailureKind::Unsupported,
                "engine option `device=metal`: this build is without candle's Metal kernels; build \
                 it on macOS with `--features metal`, or take the engine `metal`",
            )),
        }
    }
}

impl Options {
    pub(crate) fn parse(options: &EngineOptions) -> Result<Self, EngineError> {
        options.refuse_unknown("reference", &HELP.map(|option| option.key))?;
        use NumberFormat::{Bf16, F16, F32, Q8_0};
        let numerics = Numerics {
            weights: options.parse_or("weights", F32)?,
            activations: one_of(options, "activations", &[F32, F16, Bf16])?,
            kv: one_of(options, "kv", &[F32, F16, Q8_0])?,
        };
        let devices = [("cpu", Device::Cpu), ("metal", Device::Metal)];
        let device = word(options, "device", &devices)?;
        Ok(Self {
            numerics,
            kv: KvOptions {
                format: numerics.kv,
                limit_bytes: optional::<u64>(options, "kv_limit_mib")?
                    .map(|mib| mib.saturating_mul(1 << 20)),
                evict: word(options, "evict", &[("none", false), ("window", true)])?,
            },
            kernels: kernels(options, device)?,
            device,
            threads: optional(options, "threads")?,
            context: optional(options, "ctx")?,
            fault: None,
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

fn kernels(options: &EngineOptions, device: Device) -> Result<Kernels, EngineError> {
    if device == Device::Metal {
        return word(options, "kernels", &[("plain", Kernels::Plain)]);
    }
    let available = Isa::available();
    let mut words = vec![("fast", Kernels::Fast(available[0]))];
    words.extend(
        available
            .iter()
            .map(|&isa| (isa.name(), Kernels::Fast(isa))),
    );
    words.push(("plain", Kernels::Plain));
    word(options, "kernels", &words)
}

/// One of a few words, the first by default.
fn word<T: Copy>(
    options: &EngineOptions,
    key: &str,
    words: &[(&str, T)],
) -> Result<T, EngineError> {
    let Some(value) = options.get(key) else {
        return Ok(words[0].1);
    };
    let found = words.iter().find(|(word, _)| *word == value);
    found.map(|&(_, meaning)| meaning).ok_or_else(|| {
        let words: Vec<&str> = words.iter().map(|&(word, _)| word).collect();
        EngineError::invalid(format!(
            "engine option `{key}={value}`: use one of {}",
            words.join(", ")
        ))
    })
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

#[cfg(test)]
mod tests {
    use engine::FailureKind;

    use super::*;

    fn parse(options: &str) -> Result<Options, EngineError> {
        let spec: engine::EngineSpec = format!("reference:{options}").parse().unwrap();
        Options::parse(&spec.options)
    }

    #[test]
    fn candles_metal_device_has_plain_kernels_only() {
        let options = parse("device=metal").unwrap();
        assert_eq!(options.kernels, Kernels::Plain);
        let error = parse("device=metal,kernels=fast").err().unwrap();
        assert_eq!(error.kind(), FailureKind::InvalidInput);
        #[cfg(not(feature = "metal"))]
        {
            let error = options.device.open().err().unwrap();
            assert_eq!(error.kind(), FailureKind::Unsupported);
        }
    }
}
