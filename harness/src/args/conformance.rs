use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::ListFormat;
use crate::run::limits;

#[derive(Debug, Args)]
pub(crate) struct ConformanceArguments {
    /// Engine to check, as id[:key=value,…]
    #[arg(long, value_name = "ENGINE", default_value = "reference")]
    pub(crate) engine: String,

    /// Model: a GGUF file or a Hugging Face folder; without it, the one embedded in this program
    #[arg(long, value_name = "PATH")]
    pub(crate) model: Option<PathBuf>,

    /// Longest time without any progress, e.g. 90s [default: 5m]
    #[arg(long, value_name = "TIME", value_parser = limits::duration)]
    pub(crate) stall: Option<Duration>,

    /// What to print
    #[arg(long, value_enum, default_value_t = ListFormat::Table)]
    pub(crate) format: ListFormat,
}
