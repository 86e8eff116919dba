//! The summary of a run, `run.json`.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::gate::PastGate;

/// Version of the layout of `run.json` and `samples.csv`. It rises when a
/// field changes its meaning or goes; new optional fields do not raise it.
pub const SCHEMA: u32 = 1;

/// What a run found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunRecord {
    /// [`SCHEMA`] of the writer.
    pub schema: u32,
    /// Where the figures come from.
    pub provenance: Provenance,
    /// Finished cells, in the order they finished.
    pub cells: Vec<CellRecord>,
    /// Length of `samples.csv` that the finished cells account for. Anything
    /// beyond belongs to a cell that was cut off.
    pub samples_bytes: u64,
    /// Counts over them.
    #[serde(default)]
    pub telemetry: Telemetry,
}

/// Counts over all cells of a run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Telemetry {
    /// Failed cells by kind of failure.
    pub failures: BTreeMap<String, u64>,
    /// What engines were asked to do.
    pub work: Work,
}

/// What an engine was asked to do. One that died or was killed could not tell, and
/// has its worker alone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Work {
    /// Worker processes started: one, and one more if the baseline had to be run
    /// again.
    pub workers: u64,
    /// Models opened.
    pub opens: u64,
    /// Contexts opened.
    pub sessions: u64,
    /// Inferences: calls that appended tokens.
    pub extends: u64,
    /// Tokens appended.
    pub tokens: u64,
}

/// Where the figures of a run come from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Provenance {
    /// Version of the harness.
    pub harness_version: String,
    /// Revision of the project that the run was started in, when it is a git
    /// checkout.
    pub project: Option<GitRevision>,
    /// The command line, program first.
    pub command_line: Vec<String>,
    /// Settings of each suite as they were in force.
    pub settings: BTreeMap<String, BTreeMap<String, String>>,
    /// Gates set by the user, which stand above those the suites derive.
    pub gates: Vec<String>,
    /// How it was held against runs before it, if it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub history: Option<PastGate>,
    /// Seeds by what they seed.
    pub seeds: BTreeMap<String, u64>,
    /// The engine that others are held against.
    pub baseline: String,
    /// What was to be run, for a run that is to be completed.
    #[serde(default)]
    pub plan: PlanRecord,
    /// The models in play.
    pub models: Vec<ModelRecord>,
    /// The machine.
    pub machine: MachineRecord,
    /// When the run began.
    pub started: Timestamp,
    /// When it ended; `None` while it runs or when it was cut off.
    pub ended: Option<Timestamp>,
    /// When it was taken up again after having been cut off.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub resumed: Vec<Timestamp>,
    /// `I/N` if the run has but a share of the cases, to be merged with others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shard: Option<String>,
    /// The runs that were merged into this one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub shards: Vec<ShardRecord>,
}

/// What a run is to do: the product of suites and engines, in this order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlanRecord {
    /// Suites by name.
    pub suites: Vec<String>,
    /// Engines by spec, the baseline first.
    pub engines: Vec<String>,
    /// The engine that takes over from one that failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fallback: Option<String>,
}

/// Where one of several merged runs comes from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ShardRecord {
    /// `I/N`.
    pub shard: String,
    /// Its command line.
    pub command_line: Vec<String>,
    /// Its machine.
    pub machine: MachineRecord,
    /// When it began.
    pub started: Timestamp,
    /// When it ended.
    pub ended: Option<Timestamp>,
}

/// A git revision.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GitRevision {
    /// Commit hash.
    pub revision: String,
    /// Branch, unless the head is detached.
    pub branch: Option<String>,
    /// Whether the work tree differs from the commit.
    pub dirty: bool,
}

/// A model, identified by content.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelRecord {
    /// Short name.
    pub name: String,
    /// SHA-256 of the file.
    pub sha256: String,
    /// Size of the file.
    pub size_bytes: u64,
    /// Container format, e.g. `gguf`.
    pub format: String,
    /// Architecture, e.g. `llama`.
    pub architecture: String,
    /// The format most of its weights are stored in, e.g. `f16`.
    pub quantization: String,
    /// SHA-256 over vocabulary, merges and special tokens.
    pub tokenizer_sha256: String,
}

/// The machine and its state around the run. The inner values are the
/// `machine` crate's own description.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MachineRecord {
    /// Equal for machines whose timings may be compared.
    pub fingerprint: String,
    /// Chip, cores, memory, operating system.
    pub identity: serde_json::Value,
    /// Power, heat and load at the start.
    pub state_at_start: serde_json::Value,
    /// The same at the end; null while the run goes on.
    pub state_at_end: serde_json::Value,
    /// What about this machine makes timings suspect.
    pub warnings: Vec<String>,
}

/// One engine put through one suite.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CellRecord {
    /// Unique within the run: `suite/engine spec`; of a fallback, `suite/engine spec for
    /// failed spec`.
    pub cell: String,
    /// The suite.
    pub suite: String,
    /// The engine.
    pub engine: EngineRecord,
    /// Spec of the engine that failed, if this one has taken over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stands_in_for: Option<String>,
    /// SHA-256 of the model it ran.
    pub model_sha256: String,
    /// How it went.
    pub status: Status,
    /// When it began.
    pub started: Timestamp,
    /// How long it took, opening the model included.
    pub wall_s: f64,
    /// What the engine was asked to do; nothing if it was not run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub work: Option<Work>,
    /// Its figures.
    pub metrics: Vec<Metric>,
}

/// An engine as it was run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EngineRecord {
    /// The spec, e.g. `reference:weights=q4_0`.
    pub spec: String,
    /// Engine id.
    pub id: String,
    /// Engine version.
    pub version: String,
    /// What it computes on.
    pub device: String,
    /// Options by key.
    pub options: BTreeMap<String, String>,
}

/// How a cell went.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "is")]
pub enum Status {
    /// It ran; its metrics stand.
    Completed,
    /// The engine failed; a finding.
    Failed(Failure),
    /// It was not run.
    Skipped {
        /// Why not.
        why: String,
    },
}

/// How an engine failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// Class of the failure, e.g. `numerics`.
    pub kind: String,
    /// What happened.
    pub message: String,
    /// What its process left behind, if it ended out of turn.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evidence: Option<Evidence>,
}

/// What is known of a process that ended out of turn.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Evidence {
    /// The signal that ended it, e.g. `SIGSEGV`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signal: Option<String>,
    /// Its exit code, if it ended by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
    /// The last it wrote to standard error and standard output.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub stderr_tail: String,
}

/// A figure and what became of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Metric {
    /// `suite.case.metric`.
    pub name: String,
    /// Unit of `value`.
    pub unit: String,
    /// Which direction is good.
    pub better: Better,
    /// The figure; null when it is undefined (a mean of nothing).
    pub value: Option<f64>,
    /// How many samples it rests on.
    pub n: u64,
    /// Lower end of the confidence interval.
    pub ci_low: Option<f64>,
    /// Upper end of the confidence interval.
    pub ci_high: Option<f64>,
    /// Confidence level, a fraction.
    pub confidence: Option<f64>,
    /// What it was held against, e.g. `<= 0.05`.
    pub gate: Option<String>,
    /// What came of that.
    pub verdict: Verdict,
    /// Where the gate comes from, or why there is none.
    pub why: Option<String>,
    /// Whether it belongs in a table that fits a terminal.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub headline: bool,
    /// Whether it puts the rows of that table in order, smallest first.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub ranks: bool,
    /// How it may be held against the same figure of another run; by its interval if nothing
    /// better is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub basis: Option<Basis>,
}

/// What a figure rests on, as far as it matters for a comparison of runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Basis {
    /// It varies from run to run with whatever else the machine does: only several runs can tell
    /// a change.
    Machine,
    /// It is the same in every run of the same engine: any difference is a change.
    Exact,
    /// It tells the conditions of a run, or repeats what another figure tells: not judged.
    Aside,
    /// It is computed from samples that another run has of the same tokens, texts or items.
    Paired(Paired),
}

/// Samples of `samples.csv` that pair up with another run's by their index.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Paired {
    /// Their metric.
    pub samples: String,
    /// Cases they are filed under; the figure's own if there are none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cases: Vec<String>,
    /// What is made of them.
    pub statistic: Statistic,
    /// Which of them depend on each other.
    pub blocks: Blocks,
}

/// How a figure is computed from its samples.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Statistic {
    /// Their mean, or a multiple of it.
    Mean,
    /// exp of their mean.
    ExpMean,
    /// The share of ones among independent zeros and ones.
    Share,
}

/// Stretches of a series whose samples depend on each other.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Blocks {
    /// So many indices each.
    Length(u64),
    /// Each begins at an index of the samples of this metric.
    StartOf(String),
}

/// Which direction of a figure is good.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Better {
    /// Less is better.
    Lower,
    /// More is better.
    Higher,
    /// It should stay as it is.
    Equal,
}

/// What came of holding a figure against its gate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// The gate admits it.
    Pass,
    /// The gate does not.
    Fail,
    /// It could not be judged.
    Skip,
    /// There is no gate.
    Info,
}

/// How many of what a run holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Cells that ran.
    pub completed: usize,
    /// Cells whose engine failed.
    pub engines_failed: usize,
    /// Cells that were skipped.
    pub skipped: usize,
    /// Gates that passed.
    pub passed: usize,
    /// Gates that failed.
    pub gates_failed: usize,
}

impl RunRecord {
    /// Counts cells and verdicts.
    #[must_use]
    pub fn tally(&self) -> Tally {
        let mut tally = Tally::default();
        for cell in &self.cells {
            match cell.status {
                Status::Completed => tally.completed += 1,
                Status::Failed(_) => tally.engines_failed += 1,
                Status::Skipped { .. } => tally.skipped += 1,
            }
            for metric in &cell.metrics {
                match metric.verdict {
                    Verdict::Pass => tally.passed += 1,
                    Verdict::Fail => tally.gates_failed += 1,
                    Verdict::Skip | Verdict::Info => {}
                }
            }
        }
        tally
    }

    /// Names of the suites, in the order they first appear.
    #[must_use]
    pub fn suites(&self) -> Vec<&str> {
        let mut suites = Vec::new();
        for cell in &self.cells {
            if !suites.contains(&cell.suite.as_str()) {
                suites.push(cell.suite.as_str());
            }
        }
        suites
    }
}

impl Telemetry {
    /// Enters a finished cell.
    pub(crate) fn count(&mut self, cell: &CellRecord) {
        if let Status::Failed(failure) = &cell.status {
            *self.failures.entry(failure.kind.clone()).or_default() += 1;
        }
        if let Some(work) = cell.work {
            self.work = self.work.plus(work);
        }
    }
}

impl Work {
    /// Both together.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            workers: self.workers + other.workers,
            opens: self.opens + other.opens,
            sessions: self.sessions + other.sessions,
            extends: self.extends + other.extends,
            tokens: self.tokens + other.tokens,
        }
    }
}

impl CellRecord {
    /// The engine as a row of a table names it.
    #[must_use]
    pub fn title(&self) -> String {
        match &self.stands_in_for {
            None => self.engine.spec.clone(),
            Some(failed) => format!("{} for {failed}", self.engine.spec),
        }
    }
}

impl Verdict {
    /// The name used in every format.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Verdict::Pass => "pass",
            Verdict::Fail => "fail",
            Verdict::Skip => "skip",
            Verdict::Info => "info",
        }
    }

    /// What goes by `name`.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        let all = [Self::Pass, Self::Fail, Self::Skip, Self::Info];
        all.into_iter().find(|verdict| verdict.name() == name)
    }
}

impl Better {
    /// The name used in every format.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Better::Lower => "lower",
            Better::Higher => "higher",
            Better::Equal => "equal",
        }
    }

    /// What goes by `name`.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        let all = [Self::Lower, Self::Higher, Self::Equal];
        all.into_iter().find(|better| better.name() == name)
    }
}
