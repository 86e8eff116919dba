//! Where the figures of a run come from.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::gate::PastGate;

/// Where the figures of a run come from.
///
/// ```
/// use harness_reports::StoredRun;
///
/// let provenance = StoredRun::open("tests/run".as_ref())?.record.provenance;
/// assert_eq!(provenance.command_line[..2], ["harness", "run"]);
/// assert_eq!(provenance.settings["perplexity"]["ctx"], "16");
/// assert_eq!(provenance.seeds["bootstrap"], 0);
/// let took = provenance.ended.map(|ended| ended.duration_since(provenance.started));
/// assert!(took.is_some_and(|took| took.as_secs_f64() < 5.0));
/// # Ok::<(), harness_reports::ReadError>(())
/// ```
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
///
/// ```
/// use harness_reports::StoredRun;
///
/// let provenance = StoredRun::open("tests/run".as_ref())?.record.provenance;
/// assert_eq!(provenance.plan.suites, ["perplexity"]);
/// assert_eq!(provenance.plan.engines, ["reference", "reference:weights=q4_0"]);
/// assert_eq!(provenance.plan.engines[0], provenance.baseline);
/// # Ok::<(), harness_reports::ReadError>(())
/// ```
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
///
/// ```
/// use harness_reports::{ShardRecord, StoredRun};
///
/// // As `harness merge` enters a run that was started with `--shard 1/2`.
/// let provenance = StoredRun::open("tests/run".as_ref())?.record.provenance;
/// let shard = ShardRecord {
///     shard: "1/2".into(),
///     command_line: provenance.command_line,
///     machine: provenance.machine,
///     started: provenance.started,
///     ended: provenance.ended,
/// };
/// let json = serde_json::to_value(&shard)?;
/// assert_eq!((&json["shard"], &json["command_line"][0]), (&"1/2".into(), &"harness".into()));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
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
///
/// ```
/// use harness_reports::StoredRun;
///
/// let project = StoredRun::open("tests/run".as_ref())?.record.provenance.project;
/// let built = |commit: &str| {
///     let project = project.as_ref().filter(|project| !project.dirty);
///     project.is_some_and(|project| project.revision.starts_with(commit))
/// };
/// assert!(built("a3d00da1") && !built("b3d00da1"));
/// # Ok::<(), harness_reports::ReadError>(())
/// ```
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
///
/// ```
/// use harness_reports::StoredRun;
///
/// let record = StoredRun::open("tests/run".as_ref())?.record;
/// let ran = &record.cells[1].model_sha256;
/// let model = record.provenance.models.iter().find(|model| model.sha256 == *ran);
/// assert_eq!(model.map(|model| model.name.as_str()), Some("harness-fixture-f16"));
/// # Ok::<(), harness_reports::ReadError>(())
/// ```
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
///
/// ```
/// use harness_reports::StoredRun;
///
/// let machine = StoredRun::open("tests/run".as_ref())?.record.provenance.machine;
/// assert_eq!(machine.identity["logical_cores"], 2);
/// // Its times are not to be trusted.
/// assert!(machine.state_at_start["load_average_1min"].as_f64() > Some(2.0));
/// assert!(machine.warnings[0].contains("stop other programs"));
/// # Ok::<(), harness_reports::ReadError>(())
/// ```
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
