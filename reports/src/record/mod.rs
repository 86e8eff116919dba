//! The summary of a run, `run.json`.

mod cell;
mod metric;
mod provenance;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use self::cell::{CellRecord, EngineRecord, Evidence, Failure, Status};
pub use self::metric::{Basis, Better, Blocks, Metric, Paired, Statistic, Verdict};
pub use self::provenance::{
    GitRevision, MachineRecord, ModelRecord, PlanRecord, Provenance, ShardRecord,
};

/// Version of the layout of `run.json` and `samples.csv`. It rises when a
/// field changes its meaning or goes; new optional fields do not raise it.
pub const SCHEMA: u32 = 1;

/// What a run found.
///
/// ```
/// use harness_reports::{SCHEMA, StoredRun, Verdict};
///
/// let record = StoredRun::open("tests/run".as_ref())?.record;
/// assert_eq!(record.schema, SCHEMA);
/// let figures = record.cells.iter().flat_map(|cell| &cell.metrics);
/// let failed = figures.filter(|metric| metric.verdict == Verdict::Fail);
/// let failed: Vec<&str> = failed.map(|metric| metric.name.as_str()).collect();
/// assert_eq!(failed, ["perplexity.llama_cpp.delta_pct", "perplexity.llama_cpp.kld_mean"]);
/// # Ok::<(), harness_reports::ReadError>(())
/// ```
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
///
/// ```
/// use harness_reports::StoredRun;
///
/// let telemetry = StoredRun::open("tests/run".as_ref())?.record.telemetry;
/// // Two engines read four windows of 15 tokens.
/// assert_eq!((telemetry.work.workers, telemetry.work.tokens), (2, 2 * 4 * 15));
/// assert!(telemetry.failures.is_empty());
/// # Ok::<(), harness_reports::ReadError>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Telemetry {
    /// Failed cells by kind of failure.
    pub failures: BTreeMap<String, u64>,
    /// What engines were asked to do.
    pub work: Work,
}

/// What an engine was asked to do. One that died or was killed could not tell, and
/// has its worker alone.
///
/// ```
/// use harness_reports::StoredRun;
///
/// let record = StoredRun::open("tests/run".as_ref())?.record;
/// let work = record.cells.iter().filter_map(|cell| cell.work);
/// let all = work.reduce(|sum, work| sum.plus(work));
/// assert_eq!(all, Some(record.telemetry.work));
/// # Ok::<(), harness_reports::ReadError>(())
/// ```
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

/// How many of what a run holds.
///
/// ```
/// use harness_reports::{StoredRun, Tally};
///
/// // As `harness run` exits.
/// let exit_code = |tally: Tally| match tally {
///     Tally { engines_failed: 1.., .. } => 3,
///     Tally { gates_failed: 1.., .. } => 1,
///     _ => 0,
/// };
/// let tally = StoredRun::open("tests/run".as_ref())?.record.tally();
/// assert_eq!(exit_code(tally), 1);
/// # Ok::<(), harness_reports::ReadError>(())
/// ```
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
    ///
    /// ```
    /// use harness_reports::{StoredRun, Tally};
    ///
    /// let tally = StoredRun::open("tests/run".as_ref())?.record.tally();
    /// let found = Tally { completed: 2, passed: 1, gates_failed: 2, ..Tally::default() };
    /// assert_eq!(tally, found);
    /// # Ok::<(), harness_reports::ReadError>(())
    /// ```
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
    ///
    /// ```
    /// use harness_reports::StoredRun;
    ///
    /// assert_eq!(StoredRun::open("tests/run".as_ref())?.record.suites(), ["perplexity"]);
    /// # Ok::<(), harness_reports::ReadError>(())
    /// ```
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
    ///
    /// ```
    /// use harness_reports::Work;
    ///
    /// let first = Work { workers: 1, ..Work::default() };
    /// let again = Work { opens: 3, ..first };
    /// assert_eq!(first.plus(again), Work { workers: 2, opens: 3, ..Work::default() });
    /// ```
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
