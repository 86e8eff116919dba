//! `harness init` and `harness man`.

use std::path::PathBuf;

use clap::Args;

#[derive(Debug, Args)]
pub(crate) struct InitArguments {
    /// Folder to begin in
    #[arg(value_name = "DIR", default_value = ".")]
    pub(crate) folder: PathBuf,

    /// Where the workflow takes harness from, as OWNER/REPOSITORY@REVISION
    #[arg(long, value_name = "ACTION")]
    pub(crate) action: Option<String>,

    /// Replace files that are there
    #[arg(long)]
    pub(crate) force: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ManArguments {
    /// Folder for a page a command; without it, the first page goes to standard output
    #[arg(long, value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,
}
