//! `harness run` and `harness merge`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use suites::Shard;

use crate::run::limits;

#[derive(Debug, Args)]
#[command(after_long_help = RUN_HELP)]
pub(crate) struct RunArguments {
    /// Suite to run, repeatable; `all` for every one
    #[arg(long = "suite", value_name = "SUITE")]
    pub(crate) suites: Vec<String>,

    /// Engine to judge, repeatable, as id[:key=value,…]
    ///
    /// Without any, the reference engine runs in f16, q8_0 and q4_k and is held
    /// against itself in f32. `harness engines` lists ids and options. Every engine also takes
    /// model=PATH, to run another model than the rest.
    #[arg(long = "engine", value_name = "ENGINE")]
    pub(crate) engines: Vec<String>,

    /// Engine that the others are held against
    ///
    /// Default: the first of several engines; for a single one, the reference engine in f32.
    #[arg(long, value_name = "ENGINE")]
    pub(crate) baseline: Option<String>,

    /// Model: a GGUF file or a Hugging Face folder; without it, the one embedded in this program
    #[arg(long, value_name = "PATH")]
    pub(crate) model: Option<PathBuf>,

    /// Configuration [default: harness.toml, if there is one]
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,

    /// Folder for the record; must not hold one yet [default: .harness/runs/TIME]
    #[arg(long, value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,

    /// Complete this record of a run that was cut off; all else as it was begun
    #[arg(long, value_name = "DIR", conflicts_with = "out")]
    pub(crate) resume: Option<PathBuf>,

    /// Set a suite's setting, repeatable, as suite.key=value
    #[arg(long = "set", value_name = "SETTING")]
    pub(crate) set: Vec<String>,

    /// Have parity name the layer and part where an engine leaves the baseline; the same as
    /// --set parity.bisect=true
    #[arg(long)]
    pub(crate) bisect: bool,

    /// Demand something of a metric, repeatable, e.g. "parity.kl_mean <= 0.01"
    #[arg(long = "gate", value_name = "GATE")]
    pub(crate) gates: Vec<String>,

    /// Hold every figure against the runs before it in this history: sqlite:PATH or
    /// postgres://USER:PASSWORD@HOST/DATABASE. The run is not added to it
    #[arg(long, value_name = "URL")]
    pub(crate) history: Option<String>,

    /// Branch whose runs those are [default: the branch that is checked out]
    #[arg(long, value_name = "BRANCH")]
    pub(crate) history_branch: Option<String>,

    /// Engine that takes over, beside the record of the failure, where another fails
    #[arg(long, value_name = "ENGINE")]
    pub(crate) fallback: Option<String>,

    /// Time that a cell may take, e.g. 90s, 10m, 2h [default: 6h]
    #[arg(long, value_name = "TIME", value_parser = limits::duration)]
    pub(crate) budget: Option<Duration>,

    /// Time that an engine may be silent; opening a model, a second per 10 MB more [default: 5m]
    #[arg(long, value_name = "TIME", value_parser = limits::duration)]
    pub(crate) stall: Option<Duration>,

    /// Memory that a cell may take, e.g. 2GiB [default: nine tenths of what there is]
    #[arg(long, value_name = "SIZE", value_parser = limits::bytes)]
    pub(crate) memory_limit: Option<u64>,

    /// Run the Ith of N shares of the cases; `harness merge` puts the records together
    #[arg(long, value_name = "I/N", default_value_t = Shard::WHOLE, hide_default_value = true)]
    pub(crate) shard: Shard,

    /// What to print
    #[arg(long, value_enum, default_value_t = RunFormat::Table)]
    pub(crate) format: RunFormat,

    /// Shorter settings, for a first look
    #[arg(long)]
    pub(crate) quick: bool,

    /// Tell nothing on the way: no progress, no warnings of the machine, no closing lines
    #[arg(long, short)]
    pub(crate) quiet: bool,

    /// A line for each cell that has ended, for logs, where no bar is drawn
    #[arg(long, short, conflicts_with = "quiet")]
    pub(crate) verbose: bool,
}

#[derive(Debug, Args)]
pub(crate) struct MergeArguments {
    /// Folders of the records, one a shard, in any order
    #[arg(value_name = "RUN", required = true)]
    pub(crate) runs: Vec<PathBuf>,

    /// Folder for the merged record; must not hold one yet
    #[arg(long, value_name = "DIR")]
    pub(crate) out: PathBuf,

    /// Hold every figure against the runs before it in this history, as `harness run` does
    #[arg(long, value_name = "URL")]
    pub(crate) history: Option<String>,

    /// Branch whose runs those are [default: the branch that was checked out]
    #[arg(long, value_name = "BRANCH")]
    pub(crate) history_branch: Option<String>,

    /// What to print
    #[arg(long, value_enum, default_value_t = RunFormat::Table)]
    pub(crate) format: RunFormat,
}

const RUN_HELP: &str = "\
Gates:
  Every suite judges by gates of its own; `harness suites` tells how they are derived.
  A gate of yours stands above the suite's gate on the same metric. It names the metric as
  suite.metric or suite.case.metric, then <=, >= or ==, then a number.
  --history holds every figure that has a direction against its own past on this machine, since it
  last changed; from 19 runs on, no threshold to set. All figures together raise a false
  alarm in at most 5 % of runs.

Configuration (harness.toml):
  suites = [\"parity\"]
  engines = [\"reference\", \"reference:weights=q4_0\"]
  gates = [\"parity.kl_mean <= 0.01\"]
  budget = \"20m\"             # also: stall, memory_limit, fallback, baseline, model
  [history]                    # also: alpha = 0.05, threshold_pct
  url = \"sqlite:.harness/history.db\"
  branch = \"main\"
  [parity]
  ctx = 512

  The command line stands above the file.";

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum RunFormat {
    /// Tables for people
    Table,
    /// The whole of it, for programs
    Json,
    /// One row a metric
    Csv,
    /// JUnit XML: one test case a metric
    Junit,
    /// GitHub Markdown
    Markdown,
}
