//! `harness compare`.

use std::ffi::OsString;
use std::path::PathBuf;
use std::str::FromStr;

use clap::{Args, ValueEnum};

use super::{HistoryPart, RunFormat};

#[derive(Debug, Args)]
#[command(after_long_help = COMPARE_HELP)]
pub(crate) struct CompareArguments {
    /// Runs of the one build: folders of records, or a folder that holds such, with commas between;
    /// or a revision in a history
    #[arg(value_name = "BASE")]
    pub(crate) first: RunList,

    /// Runs of the other build
    #[arg(value_name = "HEAD")]
    pub(crate) second: RunList,

    /// Another run of the one build, repeatable
    #[arg(long, value_name = "RUN")]
    pub(crate) base: Vec<PathBuf>,

    /// Another run of the other build, repeatable
    #[arg(long, value_name = "RUN")]
    pub(crate) head: Vec<PathBuf>,

    /// Make the runs first, in turn, as `harness run` with these arguments; BASE and HEAD are then
    /// the folders to make them in
    #[arg(last = true, value_name = "ARGUMENTS", conflicts_with_all = ["base", "head"])]
    pub(crate) make: Vec<OsString>,

    /// Runs to make of each build
    #[arg(long, value_name = "N", default_value_t = 40, requires = "make",
          value_parser = clap::value_parser!(u16).range(1..=999))]
    pub(crate) runs: u16,

    /// `harness` of the one build [default: this program]
    #[arg(long, value_name = "PROGRAM", requires = "make")]
    pub(crate) base_harness: Option<PathBuf>,

    /// `harness` of the other build [default: this program]
    #[arg(long, value_name = "PROGRAM", requires = "make")]
    pub(crate) head_harness: Option<PathBuf>,

    /// Smallest effect that matters, in per cent or, of shares, in points [default: 2 for what a
    /// machine measures, 1 for what an engine answers, 0 for what never varies]
    #[arg(long, value_name = "PCT", allow_negative_numbers = true)]
    pub(crate) threshold_pct: Option<f64>,

    /// How p-values are adjusted for the number of figures
    #[arg(long, value_enum, default_value_t = AdjustArgument::Holm)]
    pub(crate) adjust: AdjustArgument,

    /// Chance of a false alarm, all figures together
    #[arg(
        long,
        value_name = "SHARE",
        default_value_t = 0.05,
        allow_negative_numbers = true
    )]
    pub(crate) alpha: f64,

    /// Show every figure, not only those that changed
    #[arg(long)]
    pub(crate) all: bool,

    /// What to print
    #[arg(long, value_enum, default_value_t = RunFormat::Table)]
    pub(crate) format: RunFormat,

    /// History that revisions are looked up in: sqlite:PATH or
    /// postgres://USER:PASSWORD@HOST/DATABASE [default: HARNESS_HISTORY or .harness/history.db]
    #[arg(
        long,
        value_name = "URL",
        conflicts_with = "make",
        help_heading = "Revisions"
    )]
    pub(crate) history: Option<String>,

    #[command(flatten, next_help_heading = "Revisions")]
    pub(crate) part: HistoryPart,
}

/// Folders with commas between.
#[derive(Clone, Debug)]
pub(crate) struct RunList(pub(crate) Vec<PathBuf>);

impl FromStr for RunList {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let folders = text.split(',');
        let named = |folder: &str| match folder {
            "" => Err("a folder between two commas has no name"),
            folder => Ok(folder.into()),
        };
        folders.map(named).collect::<Result<_, _>>().map(Self)
    }
}

const COMPARE_HELP: &str = "\
Exit codes:
  0    nothing got worse, as far as can be told
  1    something got worse
  2    bad usage or bad input

  Times and memory differ from run to run of one build: it takes several runs of each, made in turn
  on one machine, a run of the one and a run of the other. This makes 40 of each, and compares them:

    harness compare base head --base-harness ./old/harness -- --suite latency --quick

  What an engine answers does not differ, and one run a side will do:

    harness compare base head

Revisions:
  What is no folder is a commit, or the beginning of its hash, of which the history has runs; with
  -dirty behind it, the runs of a work tree that differed from it. All of its runs are taken that were
  made on a machine that both sides have, each as one observation:

    harness compare --history postgres://ci@db/harness --branch main 3f2a1c0 9bd0e2f";

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum AdjustArgument {
    /// No false alarm among all figures, but with probability alpha: Holm's procedure, and for runs
    /// made in turn Westfall and Young's, which knows what figures have in common
    Holm,
    /// A share alpha of false alarms among all alarms
    Bh,
    /// Not at all
    None,
}
