//! `harness report`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::HistoryFilter;

#[derive(Debug, Args)]
pub(crate) struct ReportArguments {
    /// History to report on: sqlite:PATH or postgres://USER:PASSWORD@HOST/DATABASE [default:
    /// HARNESS_HISTORY or .harness/history.db if there is one, and else the runs in .harness/runs]
    #[arg(long, value_name = "URL")]
    pub(crate) history: Option<String>,

    /// Folder of a run, or of runs, repeatable: what to report on, or with --history where the
    /// samples of its runs are
    #[arg(long, value_name = "DIR", num_args = 1..)]
    pub(crate) runs: Vec<PathBuf>,

    #[command(flatten, next_help_heading = "Parts of a history")]
    pub(crate) filter: HistoryFilter,

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
    /// One picture, report.png, of what changed most
    Png,
}
