//! `harness history`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use reports::history::{DEFAULT_URL, Filter};

#[derive(Debug, Args)]
pub(crate) struct HistoryArguments {
    #[command(subcommand)]
    pub(crate) command: HistoryCommand,

    /// Where the history is: sqlite:PATH or postgres://USER:PASSWORD@HOST/DATABASE
    #[arg(long, global = true, value_name = "URL", default_value = DEFAULT_URL,
          env = "HARNESS_HISTORY", hide_env_values = true)]
    pub(crate) history: String,
}

#[derive(Debug, Subcommand)]
pub(crate) enum HistoryCommand {
    /// Add runs; one that is there already is left alone
    Add {
        /// Folders of records
        #[arg(value_name = "RUN", required = true)]
        runs: Vec<PathBuf>,
    },
    /// Show runs, or with --metric the figures of them
    List(HistoryListArguments),
    /// Write everything as CSV
    Export {
        /// Folder for runs.csv, cells.csv and points.csv; must not exist
        #[arg(long, value_name = "DIR")]
        out: PathBuf,
    },
    /// Add the runs of an export, or what benchmarks of functions have measured
    Import(ImportArguments),
    /// Delete old runs; a run stays if either option keeps it
    Prune(PruneArguments),
}

#[derive(Debug, Args)]
pub(crate) struct ImportArguments {
    /// Folder that an export has written, or target/criterion, or target/gungraun
    #[arg(value_name = "DIR")]
    pub(crate) folder: PathBuf,

    /// Who wrote it
    #[arg(long, value_enum, default_value_t = ImportSource::Export)]
    pub(crate) from: ImportSource,

    /// Folder for the record that is made of benchmarks (default: .harness/runs/TIME-TOOL)
    #[arg(long, value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ImportSource {
    /// `harness history export`
    Export,
    /// `cargo bench` with criterion 0.8: wall times
    Criterion,
    /// `cargo bench` with gungraun 0.20 and --save-summary=json: instructions, caches, heap
    Gungraun,
}

#[derive(Debug, Args)]
pub(crate) struct HistoryListArguments {
    #[command(flatten)]
    pub(crate) filter: HistoryFilter,

    /// What to print
    #[arg(long, value_enum, default_value_t = HistoryFormat::Table)]
    pub(crate) format: HistoryFormat,
}

/// Which part of a history is wanted.
#[derive(Debug, Args)]
pub(crate) struct HistoryFilter {
    #[command(flatten)]
    part: HistoryPart,

    /// Runs of this commit; its beginning will do
    #[arg(long, value_name = "COMMIT")]
    revision: Option<String>,
}

/// Which part of a history is wanted, whatever the commit.
#[derive(Debug, Args)]
pub(crate) struct HistoryPart {
    /// Runs of this branch
    #[arg(long, value_name = "BRANCH")]
    branch: Option<String>,

    /// Runs on this machine, by fingerprint (see `harness machine`)
    #[arg(long, value_name = "FINGERPRINT")]
    machine: Option<String>,

    /// Engine, by spec, or by id for all its specs
    #[arg(long, value_name = "ENGINE")]
    engine: Option<String>,

    /// Model, by name or the beginning of its SHA-256
    #[arg(long, value_name = "MODEL")]
    model: Option<String>,

    /// Metrics, e.g. 'latency.*'
    #[arg(long, value_name = "PATTERN")]
    metric: Option<String>,
}

impl From<&HistoryFilter> for Filter {
    fn from(arguments: &HistoryFilter) -> Self {
        Self {
            revision: arguments.revision.clone(),
            ..Self::from(&arguments.part)
        }
    }
}

impl From<&HistoryPart> for Filter {
    fn from(arguments: &HistoryPart) -> Self {
        Self {
            branch: arguments.branch.clone(),
            machine: arguments.machine.clone(),
            engine: arguments.engine.clone(),
            model: arguments.model.clone(),
            metric: arguments.metric.clone(),
            ..Self::default()
        }
    }
}

#[derive(Debug, Args)]
#[group(required = true, multiple = true)]
pub(crate) struct PruneArguments {
    /// Keep runs that began within so many days
    #[arg(long, value_name = "N")]
    pub(crate) keep_days: Option<u32>,

    /// Keep the last N runs of each branch on each machine
    #[arg(long, value_name = "N")]
    pub(crate) keep_last: Option<usize>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum HistoryFormat {
    /// For people
    Table,
    /// For programs
    Json,
    /// For spreadsheets
    Csv,
}
