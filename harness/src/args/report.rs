//! `harness report`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

#[derive(Debug, Args)]
pub(crate) struct ReportArguments {
    /// Folder of a run, or of runs, repeatable [default: .harness/runs]
    #[arg(long, value_name = "DIR", num_args = 1..)]
    pub(crate) runs: Vec<PathBuf>,

    /// Folder for the report; an earlier report there is replaced
    #[arg(long, value_name = "DIR")]
    pub(crate) out: PathBuf,

    /// What to write
    #[arg(long, value_enum, default_value_t = SiteFormat::Html)]
    pub(crate) format: SiteFormat,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum SiteFormat {
    /// Pages that open from disk; begin at index.html
    Html,
    /// One file, report.md, and its plots
    Markdown,
}
