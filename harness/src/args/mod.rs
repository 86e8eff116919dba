//! The command line, one module a command.

mod compare;
mod conformance;
mod golden;
mod history;
mod init;
mod model;
mod report;
mod run;

use clap::builder::styling::{AnsiColor, Styles};
use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;

pub(crate) use self::compare::{AdjustArgument, CompareArguments, RunList};
pub(crate) use self::conformance::ConformanceArguments;
pub(crate) use self::golden::{GoldenArguments, GoldenCommand, RecordArguments, VerifyArguments};
pub(crate) use self::history::{
    HistoryArguments, HistoryCommand, HistoryFilter, HistoryFormat, HistoryListArguments,
    HistoryPart, ImportArguments, ImportSource, PruneArguments,
};
pub(crate) use self::init::{InitArguments, ManArguments};
pub(crate) use self::model::{
    ConvertFormat, FetchArguments, ModelArguments, ModelCommand, QuantizeArguments, ReportFormat,
};
pub(crate) use self::report::{ReportArguments, SiteFormat};
pub(crate) use self::run::{MergeArguments, RunArguments, RunFormat};

const STYLES: Styles = Styles::styled()
    .header(AnsiColor::Green.on_default().bold())
    .usage(AnsiColor::Green.on_default().bold())
    .literal(AnsiColor::Cyan.on_default().bold())
    .placeholder(AnsiColor::Cyan.on_default());

/// Is the engine still right, is it still fast, and what changed since when?
#[derive(Debug, Parser)]
#[command(name = "harness", version, styles = STYLES, after_long_help = EXAMPLES)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Command,
}

const EXAMPLES: &str = "\
Exit codes:
  0    all gates passed
  1    a gate failed, or something got worse
  2    bad usage or bad input
  3    an engine failed (crash, hang, refusal)
  130  interrupted; the record so far is kept

Examples:
  harness init
  harness run --suite parity
  harness run --suite parity --model model.gguf --engine reference --engine reference:weights=q4_k
  harness run --suite parity --set parity.ctx=512 --format junit > parity.xml
  harness run --suite perplexity --model f16.gguf --engine reference:weights=f16 \\
      --engine reference:weights=q4_0 --engine reference:weights=palette4-g16
  harness compare base head --base-harness ./old/harness -- --suite latency --quick
  harness history add .harness/runs/*
  harness golden record --model model.gguf --out goldens
  harness golden verify goldens --model model.gguf --engine reference:weights=q4_0
  harness report --out site
  harness conformance --engine 'stdio:command=python3 my-engine.py'
  harness model verify model.gguf
  harness model quantize model-f16.gguf model-q4_k.gguf --type q4_k";

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Write a commented harness.toml, and a workflow for GitHub Actions
    Init(InitArguments),
    /// Put engines through suites and judge them
    Run(Box<RunArguments>),
    /// Run one cell for `harness run`, which speaks to it by pipes
    #[command(hide = true)]
    Worker,
    /// Put the shards of a run together into one record
    Merge(MergeArguments),
    /// Tell what changed from some runs to others, and how sure that is
    Compare(CompareArguments),
    /// Make a site of runs: what changed, every metric over time, every run
    Report(ReportArguments),
    /// Keep runs over time, and look at them
    History(HistoryArguments),
    /// Record transcripts of generated text, and hold engines against them
    Golden(GoldenArguments),
    /// Check that an engine keeps the promises of the seam
    Conformance(ConformanceArguments),
    /// Look into a model
    Model(ModelArguments),
    /// List engines, their options, and whether they run here
    Engines(FormatArgument),
    /// List suites, their settings and default gates
    Suites(FormatArgument),
    /// Describe this machine and its present state
    Machine(FormatArgument),
    /// Print a completion script for a shell
    Completions {
        /// The shell
        shell: Shell,
    },
    /// Write the manual as man pages
    Man(ManArguments),
}

#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct FormatArgument {
    /// What to print
    #[arg(long, value_enum, default_value_t = ListFormat::Table)]
    pub(crate) format: ListFormat,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ListFormat {
    /// For people
    Table,
    /// For programs
    Json,
}
