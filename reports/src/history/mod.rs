//! What runs found, over time: one database for all of them.
//!
//! A history is named by a URL: `sqlite:PATH` for a file, `postgres://…` for a
//! server that a fleet shares. Schema and statements are the same. It keeps all
//! of a record but the raw samples, whose folder it names.
//!
//! ```
//! use harness_reports::StoredRun;
//! use harness_reports::history::{Filter, History};
//!
//! let folder = tempfile::tempdir()?;
//! let url = format!("sqlite:{}", folder.path().join("history.db").display());
//! let mut history = History::open_or_create(&url)?;
//! history.add(&StoredRun::open("tests/run".as_ref())?)?;
//! drop(history);
//!
//! // Another process, another day.
//! let mut history = History::open(&url)?;
//! let run = history.runs(&Filter::default())?.remove(0);
//! assert_eq!(run.tally.gates_failed, 2);
//! assert_eq!(history.record(run.id)?.suites(), ["perplexity"]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod add;
mod error;
mod filter;
mod open;
mod prune;
mod query;
mod revision;
mod store;
mod transfer;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;

pub(crate) use self::add::settings_sha256;
pub use self::error::HistoryError;
pub use self::filter::Filter;
pub use self::open::without_password;
pub use self::prune::Retention;
pub use self::revision::RevisionError;
use self::store::Store;
pub use self::transfer::Imported;
use crate::{Better, RunRecord, StoredRun, Tally, Verdict};

/// Where the history of a project is if nobody says otherwise.
pub const DEFAULT_URL: &str = "sqlite:.harness/history.db";

/// An open history.
///
/// Any number of processes may have the same one open. Whoever writes waits for
/// other writers, at most two minutes; whoever reads sees the history as it was
/// when it began and waits for nobody.
///
/// ```
/// use harness_reports::StoredRun;
/// use harness_reports::history::{Filter, History};
///
/// let folder = tempfile::tempdir()?;
/// let url = format!("sqlite:{}", folder.path().join("history.db").display());
/// let mut history = History::open_or_create(&url)?;
/// history.add(&StoredRun::open("tests/run".as_ref())?)?;
///
/// let runs = history.runs(&Filter::default())?;
/// assert_eq!(runs[0].engines, ["reference", "reference:weights=q4_0"]);
/// let perplexity = Filter { metric: Some("*.ppl".into()), ..Filter::default() };
/// assert_eq!(history.series(&perplexity)?.len(), 2);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct History {
    store: Store,
}

/// A run as a history names it. It means nothing in another history.
///
/// ```
/// use harness_reports::StoredRun;
/// use harness_reports::history::{Filter, History};
///
/// let folder = tempfile::tempdir()?;
/// let url = format!("sqlite:{}", folder.path().join("history.db").display());
/// let mut history = History::open_or_create(&url)?;
/// history.add(&StoredRun::open("tests/run".as_ref())?)?;
/// // From a figure to the run that it is of.
/// let point = history.series(&Filter::default())?.remove(0).points.remove(0);
/// let runs = history.runs(&Filter::default())?;
/// assert!(runs.iter().any(|run| run.id == point.run && run.tally.gates_failed == 2));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RunId(i64);

/// What became of a run that was to be added.
///
/// ```
/// use harness_reports::StoredRun;
/// use harness_reports::history::{Added, History};
///
/// let folder = tempfile::tempdir()?;
/// let url = format!("sqlite:{}", folder.path().join("history.db").display());
/// let mut history = History::open_or_create(&url)?;
/// let run = StoredRun::open("tests/run".as_ref())?;
/// // A run is known by its content, wherever its folder is.
/// let moved = StoredRun::of(run.record.clone(), "elsewhere".into());
/// let added = [history.add(&run)?, history.add(&moved)?];
/// assert_eq!(added, [Added::Stored, Added::AlreadyThere]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Added {
    /// It is in the history now, durably.
    Stored,
    /// It was there before; nothing has changed.
    AlreadyThere,
}

/// A run of the history, in short; [`History::record`] has the rest.
///
/// ```
/// use harness_reports::StoredRun;
/// use harness_reports::history::{Filter, History};
///
/// let folder = tempfile::tempdir()?;
/// let url = format!("sqlite:{}", folder.path().join("history.db").display());
/// let mut history = History::open_or_create(&url)?;
/// history.add(&StoredRun::open("tests/run".as_ref())?)?;
/// let run = history.runs(&Filter::default())?.remove(0);
/// assert_eq!((run.branch.as_deref(), run.dirty), (Some("main"), false));
/// assert_eq!((run.tally.passed, run.tally.gates_failed), (1, 2));
/// // Samples are where they were.
/// assert_eq!(run.folder, std::path::absolute("tests/run")?);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    /// The history's own id.
    pub id: RunId,
    /// SHA-256 of the record's content: equal means the same run, in any history.
    pub sha256: String,
    /// Where the record and its samples were when it was added, on the machine that added it.
    pub folder: PathBuf,
    /// When it began.
    pub started: Timestamp,
    /// When it ended.
    pub ended: Timestamp,
    /// Branch of the project under test, unless its head was detached.
    pub branch: Option<String>,
    /// Commit of the project under test.
    pub revision: Option<String>,
    /// Whether the work tree differed from that commit.
    pub dirty: bool,
    /// Version of the harness.
    pub harness_version: String,
    /// Fingerprint of the machine.
    pub machine: String,
    /// Specs of its engines, in the order of the record.
    pub engines: Vec<String>,
    /// Names of its models, in the order of the record.
    pub models: Vec<String>,
    /// Counts of cells and verdicts.
    pub tally: Tally,
}

/// What the points of a series have in common. Figures whose keys differ must
/// not be compared as if only time had passed between them.
///
/// ```
/// use harness_reports::StoredRun;
/// use harness_reports::history::{Filter, History, SeriesKey};
///
/// let folder = tempfile::tempdir()?;
/// let url = format!("sqlite:{}", folder.path().join("history.db").display());
/// let mut history = History::open_or_create(&url)?;
/// history.add(&StoredRun::open("tests/run".as_ref())?)?;
/// let filter = Filter { metric: Some("*.ppl".into()), ..Filter::default() };
/// let [f16, q4_0] = &history.series(&filter)?[..] else { return Err("two engines ran".into()) };
/// let engine = "reference:weights=q4_0".to_owned();
/// assert_eq!(q4_0.key, SeriesKey { engine, ..f16.key.clone() });
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SeriesKey {
    /// `suite.case.metric`.
    pub metric: String,
    /// Unit of the values.
    pub unit: String,
    /// Engine spec; of one that stood in for another, `spec for failed spec`.
    pub engine: String,
    /// SHA-256 of the model.
    pub model_sha256: String,
    /// Fingerprint of the machine.
    pub machine: String,
    /// Branch of the project under test.
    pub branch: Option<String>,
    /// SHA-256 over the suite's settings and the baseline engine.
    pub settings_sha256: String,
}

/// A metric over time.
///
/// ```
/// use harness_reports::StoredRun;
/// use harness_reports::history::{Filter, History};
/// use jiff::SignedDuration;
///
/// let folder = tempfile::tempdir()?;
/// let url = format!("sqlite:{}", folder.path().join("history.db").display());
/// let mut history = History::open_or_create(&url)?;
/// let run = StoredRun::open("tests/run".as_ref())?;
/// for night in 0..3 {
///     let mut record = run.record.clone();
///     record.provenance.started += SignedDuration::from_hours(24 * night);
///     record.cells[0].metrics[0].value = Some(58.5 + night as f64);
///     history.add(&StoredRun::of(record, run.folder.clone()))?;
/// }
/// let filter = Filter { metric: Some("*.ppl".into()), ..Filter::default() };
/// let series = history.series(&filter)?;
/// assert_eq!(series[0].key.engine, "reference");
/// let values: Vec<_> = series[0].points.iter().filter_map(|point| point.value).collect();
/// assert_eq!(values, [58.5, 59.5, 60.5]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Series {
    /// What its points have in common.
    pub key: SeriesKey,
    /// Name of the model, as last given.
    pub model: String,
    /// Which direction is good, as last given.
    pub better: Better,
    /// One a run and cell, by the start of the run.
    pub points: Vec<Point>,
}

/// A figure of a run.
///
/// ```
/// use harness_reports::StoredRun;
/// use harness_reports::history::{Filter, History};
///
/// let folder = tempfile::tempdir()?;
/// let url = format!("sqlite:{}", folder.path().join("history.db").display());
/// let mut history = History::open_or_create(&url)?;
/// history.add(&StoredRun::open("tests/run".as_ref())?)?;
/// let filter = Filter { metric: Some("*.ppl".into()), ..Filter::default() };
/// let point = history.series(&filter)?.remove(0).points.remove(0);
/// assert_eq!(point.n, 28);
/// assert!(point.ci_low < point.value && point.value < point.ci_high);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Point {
    /// The run.
    pub run: RunId,
    /// The figure; `None` when it is undefined.
    pub value: Option<f64>,
    /// Lower end of the confidence interval.
    pub ci_low: Option<f64>,
    /// Upper end of the confidence interval.
    pub ci_high: Option<f64>,
    /// How many samples it rests on.
    pub n: u64,
    /// What it was held against, and what came of that; shared by points that agree in it.
    pub judgement: Arc<Judgement>,
}

/// What a figure was held against, and what came of that.
///
/// ```
/// use harness_reports::history::{Filter, History};
/// use harness_reports::{StoredRun, Verdict};
///
/// let folder = tempfile::tempdir()?;
/// let url = format!("sqlite:{}", folder.path().join("history.db").display());
/// let mut history = History::open_or_create(&url)?;
/// history.add(&StoredRun::open("tests/run".as_ref())?)?;
/// let filter = Filter { metric: Some("*.kld_mean".into()), ..Filter::default() };
/// let judgement = &history.series(&filter)?[0].points[0].judgement;
/// assert_eq!((judgement.gate.as_deref(), judgement.verdict), (Some("<= 0.01980"), Verdict::Fail));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Judgement {
    /// Confidence level of the interval, a fraction.
    pub confidence: Option<f64>,
    /// The gate, e.g. `<= 0.05`.
    pub gate: Option<String>,
    /// What came of it.
    pub verdict: Verdict,
    /// Where the gate comes from, or why there is none.
    pub why: Option<String>,
}

impl History {
    /// Opens the history at `url`.
    ///
    /// # Errors
    /// [`HistoryError::Missing`] when there is none, [`HistoryError::Url`] for what is no
    /// address, [`HistoryError::Foreign`] for a database of something else,
    /// [`HistoryError::Newer`] for one of a later version.
    ///
    /// ```
    /// use harness_reports::history::{History, HistoryError};
    ///
    /// let missing = History::open("sqlite:no/such/history.db");
    /// assert!(matches!(missing, Err(HistoryError::Missing(_))));
    /// let mistyped = History::open("mysql://host/harness");
    /// assert!(matches!(mistyped, Err(HistoryError::Url { .. })));
    /// ```
    pub fn open(url: &str) -> Result<Self, HistoryError> {
        let store = open::open(url, false)?;
        Ok(Self { store })
    }

    /// The same, but a history that is missing is made.
    ///
    /// # Errors
    /// As [`History::open`], and when the place cannot be written to.
    ///
    /// ```
    /// use harness_reports::history::{Filter, History};
    ///
    /// let folder = tempfile::tempdir()?;
    /// let url = format!("sqlite:{}", folder.path().join("new/history.db").display());
    /// History::open_or_create(&url)?;
    /// assert!(History::open(&url)?.runs(&Filter::default())?.is_empty());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn open_or_create(url: &str) -> Result<Self, HistoryError> {
        let store = open::open(url, true)?;
        Ok(Self { store })
    }

    /// Adds a run, unless it is there already. When this returns, the run is on disk; a process
    /// that dies before leaves nothing of it.
    ///
    /// # Errors
    /// [`HistoryError::Unfinished`] for a run that was cut off: it would be another one once it
    /// is completed. [`HistoryError::Unfit`] for a date or count beyond 64 bits.
    ///
    /// ```
    /// use harness_reports::StoredRun;
    /// use harness_reports::history::{Added, History};
    ///
    /// let folder = tempfile::tempdir()?;
    /// let url = format!("sqlite:{}", folder.path().join("history.db").display());
    /// let mut history = History::open_or_create(&url)?;
    /// let run = StoredRun::open("tests/run".as_ref())?;
    /// assert_eq!(history.add(&run)?, Added::Stored);
    /// assert_eq!(history.add(&run)?, Added::AlreadyThere);
    ///
    /// let mut killed = run.record.clone();
    /// killed.provenance.ended = None;
    /// assert!(history.add(&StoredRun::of(killed, run.folder)).is_err());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn add(&mut self, run: &StoredRun) -> Result<Added, HistoryError> {
        add::add(&mut self.store, run)
    }

    /// The runs that `filter` admits, by their start. A run counts if one cell of it does; the
    /// filter's metric is left aside.
    ///
    /// # Errors
    /// When the database refuses.
    ///
    /// ```
    /// use harness_reports::StoredRun;
    /// use harness_reports::history::{Filter, History};
    ///
    /// let folder = tempfile::tempdir()?;
    /// let url = format!("sqlite:{}", folder.path().join("history.db").display());
    /// let mut history = History::open_or_create(&url)?;
    /// history.add(&StoredRun::open("tests/run".as_ref())?)?;
    /// let of = |branch: &str| Filter { branch: Some(branch.into()), ..Filter::default() };
    /// assert_eq!(history.runs(&of("main"))?.len(), 1);
    /// assert!(history.runs(&of("next"))?.is_empty());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn runs(&mut self, filter: &Filter) -> Result<Vec<Run>, HistoryError> {
        self.store.reading(|store| query::runs(store, filter))
    }

    /// The record of a run, as it was added; an empty gate or reason comes back as none.
    ///
    /// # Errors
    /// When the database refuses, or the run is gone.
    ///
    /// ```
    /// use harness_reports::StoredRun;
    /// use harness_reports::history::{Filter, History};
    ///
    /// let folder = tempfile::tempdir()?;
    /// let url = format!("sqlite:{}", folder.path().join("history.db").display());
    /// let mut history = History::open_or_create(&url)?;
    /// let run = StoredRun::open("tests/run".as_ref())?;
    /// history.add(&run)?;
    /// let id = history.runs(&Filter::default())?[0].id;
    /// assert_eq!(history.record(id)?, run.record);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn record(&mut self, run: RunId) -> Result<RunRecord, HistoryError> {
        self.store.reading(|store| query::record(store, run))
    }

    /// The machine's state when a run began, as its record has it, of the runs that `filter` admits.
    pub(crate) fn states_at_start(
        &mut self,
        filter: &Filter,
    ) -> Result<HashMap<RunId, serde_json::Value>, HistoryError> {
        self.store
            .reading(|store| query::states_at_start(store, filter))
    }

    /// The series that `filter` admits, by key.
    ///
    /// # Errors
    /// When the database refuses.
    ///
    /// ```
    /// use harness_reports::StoredRun;
    /// use harness_reports::history::{Filter, History};
    ///
    /// let folder = tempfile::tempdir()?;
    /// let url = format!("sqlite:{}", folder.path().join("history.db").display());
    /// let mut history = History::open_or_create(&url)?;
    /// history.add(&StoredRun::open("tests/run".as_ref())?)?;
    /// // The id of an engine stands for all its specs.
    /// let of = |engine: &str| Filter { engine: Some(engine.into()), ..Filter::default() };
    /// assert_eq!(history.series(&of("reference"))?.len(), 5 + 27);
    /// assert_eq!(history.series(&of("reference:weights=q4_0"))?.len(), 27);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn series(&mut self, filter: &Filter) -> Result<Vec<Series>, HistoryError> {
        let mut all = Vec::new();
        self.each_series(filter, |series| all.push(series))?;
        Ok(all)
    }

    /// The same one by one, so that memory holds no more than one metric at a time.
    ///
    /// # Errors
    /// When the database refuses.
    ///
    /// ```
    /// use harness_reports::StoredRun;
    /// use harness_reports::history::{Filter, History};
    ///
    /// let folder = tempfile::tempdir()?;
    /// let url = format!("sqlite:{}", folder.path().join("history.db").display());
    /// let mut history = History::open_or_create(&url)?;
    /// history.add(&StoredRun::open("tests/run".as_ref())?)?;
    /// let mut points = 0;
    /// history.each_series(&Filter::default(), |series| points += series.points.len())?;
    /// assert_eq!(points, 5 + 27);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn each_series(
        &mut self,
        filter: &Filter,
        visit: impl FnMut(Series),
    ) -> Result<(), HistoryError> {
        self.store
            .reading(|store| query::each_series(store, filter, visit))
    }

    /// Writes everything to `runs.csv`, `cells.csv` and `points.csv` in `folder`, which must not
    /// exist. Equal histories give equal files.
    ///
    /// # Errors
    /// When the database or the disk refuses; no folder is left then.
    ///
    /// ```
    /// use harness_reports::StoredRun;
    /// use harness_reports::history::History;
    ///
    /// let folder = tempfile::tempdir()?;
    /// let url = format!("sqlite:{}", folder.path().join("history.db").display());
    /// let mut history = History::open_or_create(&url)?;
    /// history.add(&StoredRun::open("tests/run".as_ref())?)?;
    /// let export = folder.path().join("export");
    /// history.export(&export)?;
    /// let points = std::fs::read_to_string(export.join("points.csv"))?;
    /// assert_eq!(points.lines().count(), 1 + 5 + 27);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn export(&mut self, folder: &Path) -> Result<(), HistoryError> {
        transfer::export(&mut self.store, folder)
    }

    /// Adds every run of an export that is not there yet; all of them or none.
    ///
    /// # Errors
    /// [`HistoryError::Malformed`] names the line that is not what an export writes.
    ///
    /// ```
    /// use harness_reports::StoredRun;
    /// use harness_reports::history::{History, Imported};
    ///
    /// let folder = tempfile::tempdir()?;
    /// let url = format!("sqlite:{}", folder.path().join("history.db").display());
    /// let mut history = History::open_or_create(&url)?;
    /// history.add(&StoredRun::open("tests/run".as_ref())?)?;
    /// let export = folder.path().join("export");
    /// history.export(&export)?;
    /// let moved = format!("sqlite:{}", folder.path().join("moved.db").display());
    /// let mut moved = History::open_or_create(&moved)?;
    /// assert_eq!(moved.import(&export)?, Imported { stored: 1, already_there: 0 });
    /// assert_eq!(moved.import(&export)?, Imported { stored: 0, already_there: 1 });
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn import(&mut self, folder: &Path) -> Result<Imported, HistoryError> {
        transfer::import(&mut self.store, folder)
    }

    /// Deletes the runs that `retention` does not keep as of `now`; returns how many.
    ///
    /// # Errors
    /// When the database refuses.
    ///
    /// ```
    /// use harness_reports::StoredRun;
    /// use harness_reports::history::{History, Retention};
    /// use jiff::{SignedDuration, Timestamp};
    ///
    /// let folder = tempfile::tempdir()?;
    /// let url = format!("sqlite:{}", folder.path().join("history.db").display());
    /// let mut history = History::open_or_create(&url)?;
    /// let run = StoredRun::open("tests/run".as_ref())?;
    /// history.add(&run)?;
    /// let month = Retention { keep_days: Some(30), ..Retention::default() };
    /// let after = |days: i64| run.record.provenance.started + SignedDuration::from_hours(24 * days);
    /// assert_eq!(history.prune(month, after(29))?, 0);
    /// assert_eq!(history.prune(month, after(31))?, 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn prune(&mut self, retention: Retention, now: Timestamp) -> Result<u64, HistoryError> {
        prune::prune(&mut self.store, retention, now)
    }
}
