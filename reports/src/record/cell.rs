//! Engines as they were run.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Metric, Work};

/// One engine put through one suite.
///
/// ```
/// use harness_reports::{Status, StoredRun};
///
/// let run = StoredRun::open("tests/run".as_ref())?;
/// let cell = &run.record.cells[1];
/// assert_eq!((cell.suite.as_str(), &cell.status), ("perplexity", &Status::Completed));
/// assert_eq!(cell.cell, "perplexity/reference:weights=q4_0");
/// assert_eq!(run.samples[&cell.cell].len(), 117);
/// # Ok::<(), harness_reports::ReadError>(())
/// ```
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
///
/// ```
/// use harness_reports::StoredRun;
///
/// let record = StoredRun::open("tests/run".as_ref())?.record;
/// let engine = &record.cells[1].engine;
/// assert_eq!((engine.id.as_str(), engine.device.as_str()), ("reference", "cpu"));
/// assert_eq!(engine.options["weights"], "q4_0");
/// # Ok::<(), harness_reports::ReadError>(())
/// ```
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
///
/// ```
/// use harness_reports::Status;
///
/// let skipped = r#"{"is": "skipped", "why": "the engine tells nothing of its KV cache"}"#;
/// let skipped: Status = serde_json::from_str(skipped)?;
/// assert!(matches!(&skipped, Status::Skipped { why } if why.contains("KV cache")));
/// assert_eq!(serde_json::to_string(&Status::Completed)?, r#"{"is":"completed"}"#);
/// # Ok::<(), serde_json::Error>(())
/// ```
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
///
/// ```
/// use harness_reports::{Failure, Status};
///
/// let failed = Status::Failed(Failure {
///     kind: "numerics".into(),
///     message: "NaN or infinite logits after 12 tokens".into(),
///     evidence: None,
/// });
/// let json = serde_json::to_value(&failed)?;
/// assert_eq!((&json["is"], &json["kind"]), (&"failed".into(), &"numerics".into()));
/// # Ok::<(), serde_json::Error>(())
/// ```
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
///
/// ```
/// use harness_reports::{Evidence, Failure};
///
/// let crash = r#"{"kind": "crash", "message": "died", "evidence": {"signal": "SIGSEGV"}}"#;
/// let crash: Failure = serde_json::from_str(crash)?;
/// let evidence = Evidence { signal: Some("SIGSEGV".into()), ..Evidence::default() };
/// assert_eq!(crash.evidence, Some(evidence));
/// # Ok::<(), serde_json::Error>(())
/// ```
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

impl CellRecord {
    /// The engine as a row of a table names it.
    #[must_use]
    pub(crate) fn title(&self) -> String {
        match &self.stands_in_for {
            None => self.engine.spec.clone(),
            Some(failed) => format!("{} for {failed}", self.engine.spec),
        }
    }
}
