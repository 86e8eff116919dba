//! `harness golden`.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::builder::NonEmptyStringValueParser;
use clap::{Args, Subcommand};
use engine::NumberFormat;
use suites::generation::Sampling;

use super::RunFormat;

#[derive(Debug, Args)]
pub(crate) struct GoldenArguments {
    #[command(subcommand)]
    pub(crate) command: GoldenCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum GoldenCommand {
    /// Have an engine answer prompts and keep what it says
    Record(RecordArguments),
    /// Print transcripts
    Show {
        /// Files, or folders of them
        #[arg(value_name = "PATH", required = true)]
        paths: Vec<PathBuf>,
    },
    /// Hold engines against transcripts: `harness run --suite golden` in short
    Verify(VerifyArguments),
}

#[derive(Debug, Args)]
pub(crate) struct RecordArguments {
    /// Folder for the transcripts, a JSON file each
    #[arg(long, value_name = "DIR")]
    pub(crate) out: PathBuf,

    /// Engine that answers, as id[:key=value,…]
    #[arg(long, value_name = "ENGINE", default_value = "reference")]
    pub(crate) engine: String,

    /// Model: a GGUF file or a Hugging Face folder; without it, the one embedded in this program
    #[arg(long, value_name = "PATH")]
    pub(crate) model: Option<PathBuf>,

    /// Prompts, a JSON object a line: id, prompt or messages, and, where they differ from the
    /// options here, max_tokens, sampling, stop [default: the embedded ones]
    #[arg(long, value_name = "FILE")]
    pub(crate) prompts: Option<PathBuf>,

    /// How tokens are chosen: greedy, or e.g. temperature=0.8,top_k=40,top_p=0.95,min_p=0.05,seed=1
    #[arg(long, value_name = "SAMPLING", default_value = "greedy",
          value_parser = crate::golden::sampling)]
    pub(crate) sampling: Sampling,

    /// Most tokens of an answer
    #[arg(long, value_name = "N", default_value = "32")]
    pub(crate) max_tokens: NonZeroUsize,

    /// String that ends an answer, repeatable; the model's own stop tokens always do
    #[arg(long, value_name = "TEXT", value_parser = NonEmptyStringValueParser::new())]
    pub(crate) stop: Vec<String>,

    /// Log-probabilities to keep of every step, the largest ones
    #[arg(long, value_name = "K", default_value_t = suites::golden::TOP)]
    pub(crate) top: usize,

    /// Replace transcripts that exist
    #[arg(long)]
    pub(crate) force: bool,
}

#[derive(Debug, Args)]
pub(crate) struct VerifyArguments {
    /// Transcript, or a folder of them [default: the embedded ones]
    #[arg(value_name = "PATH")]
    pub(crate) path: Option<PathBuf>,

    /// Engine to judge, repeatable, as id[:key=value,…]
    #[arg(long = "engine", value_name = "ENGINE", default_value = "reference")]
    pub(crate) engines: Vec<String>,

    /// Model: a GGUF file or a Hugging Face folder; without it, the one embedded in this program
    #[arg(long, value_name = "PATH")]
    pub(crate) model: Option<PathBuf>,

    /// Allow transcripts of the model that this one was converted from, to weights of this format
    #[arg(long, value_name = "FORMAT")]
    pub(crate) other_model: Option<NumberFormat>,

    /// Folder for the record; must not hold one yet [default: .harness/runs/TIME]
    #[arg(long, value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,

    /// What to print
    #[arg(long, value_enum, default_value_t = RunFormat::Table)]
    pub(crate) format: RunFormat,
}
