//! What a report is made of, wherever it comes from.

use std::collections::HashMap;

use jiff::Timestamp;

use super::SiteError;
use crate::{Better, RunRecord, StoredSample, Tally};

/// Samples by cell.
pub type Samples = HashMap<String, Vec<StoredSample>>;

/// Runs and their figures over time.
///
/// ```
/// use harness_reports::site::{RunFolders, Source};
///
/// let mut source = RunFolders::open(&["tests/run".into()])?;
/// assert_eq!(source.runs().len(), 1);
/// let trends = source.trends()?;
/// let perplexity = trends.iter().filter(|trend| trend.key.metric.ends_with(".ppl"));
/// let engines: Vec<&str> = perplexity.map(|trend| trend.key.engine.as_str()).collect();
/// assert_eq!(engines, ["reference", "reference:weights=q4_0"]);
/// let (record, samples) = source.record(0)?;
/// assert_eq!(record.cells.len(), samples.len());
/// # Ok::<(), harness_reports::site::SiteError>(())
/// ```
pub trait Source {
    /// The runs, by their start.
    ///
    /// ```
    /// use harness_reports::site::{RunFolders, Source};
    ///
    /// // One run is one, however often its folder is named.
    /// let source = RunFolders::open(&["tests/run".into(), "tests".into()])?;
    /// assert_eq!(source.runs().len(), 1);
    /// # Ok::<(), harness_reports::site::SiteError>(())
    /// ```
    fn runs(&self) -> &[RunHead];

    /// What a reader should know of the input, such as records that were left out.
    ///
    /// ```
    /// use harness_reports::site::{RunFolders, Source};
    ///
    /// let source = RunFolders::open(&["tests/run".into()])?;
    /// // All records could be read.
    /// assert!(source.notes().is_empty());
    /// # Ok::<(), harness_reports::site::SiteError>(())
    /// ```
    fn notes(&self) -> &[String] {
        &[]
    }

    /// All trends, by key. They are handed over: a second call has none.
    ///
    /// # Errors
    /// [`SiteError`] when they cannot be read.
    ///
    /// ```
    /// use harness_reports::site::{RunFolders, Source};
    ///
    /// let mut source = RunFolders::open(&["tests/run".into()])?;
    /// assert_eq!(source.trends()?.len(), 5 + 27);
    /// assert!(source.trends()?.is_empty());
    /// # Ok::<(), harness_reports::site::SiteError>(())
    /// ```
    fn trends(&mut self) -> Result<Vec<Trend>, SiteError>;

    /// The record of a run, by its place in [`Source::runs`], and its samples by cell as far as
    /// they are at hand.
    ///
    /// # Errors
    /// [`SiteError`] when it cannot be read.
    ///
    /// ```
    /// use harness_reports::site::{RunFolders, Source};
    ///
    /// let mut source = RunFolders::open(&["tests/run".into()])?;
    /// let (record, samples) = source.record(0)?;
    /// assert_eq!(samples[&record.cells[0].cell].len(), 61);
    /// # Ok::<(), harness_reports::site::SiteError>(())
    /// ```
    fn record(&mut self, run: usize) -> Result<(RunRecord, Samples), SiteError>;
}

/// A run in short.
///
/// ```
/// use harness_reports::site::{RunFolders, Source};
///
/// let source = RunFolders::open(&["tests/run".into()])?;
/// let run = &source.runs()[0];
/// assert_eq!((run.name.as_str(), run.at_hand), ("run", true));
/// assert_eq!((run.branch.as_deref(), run.tally.gates_failed), (Some("main"), 2));
/// # Ok::<(), harness_reports::site::SiteError>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct RunHead {
    /// What it is called.
    pub name: String,
    /// Whether its folder is at hand. It has a page then; other runs have one if there is room.
    pub at_hand: bool,
    /// Its page from the site's root, which the site chooses.
    pub link: Option<String>,
    /// When it began.
    pub started: Timestamp,
    /// Branch of the project under test.
    pub branch: Option<String>,
    /// Commit of the project under test.
    pub revision: Option<String>,
    /// Whether the work tree differed from that commit.
    pub dirty: bool,
    /// Fingerprint of the machine.
    pub machine: String,
    /// Engine specs.
    pub engines: Vec<String>,
    /// Names of models.
    pub models: Vec<String>,
    /// Counts of cells and verdicts.
    pub tally: Tally,
}

impl RunHead {
    /// The commit as people write it.
    pub(super) fn commit(&self) -> String {
        let short = |revision: &String| revision.chars().take(9).collect::<String>();
        let revision = self.revision.as_ref().map(short).unwrap_or_default();
        if self.dirty { revision + "+" } else { revision }
    }

    pub(super) fn branch(&self) -> &str {
        self.branch.as_deref().unwrap_or("–")
    }

    /// `2026-11-21`, in UTC.
    pub(super) fn date(&self) -> String {
        self.started.strftime("%Y-%m-%d").to_string()
    }

    /// `2026-11-21 23:20`, in UTC.
    pub(super) fn when(&self) -> String {
        self.started.strftime("%Y-%m-%d %H:%M").to_string()
    }
}

/// What the points of a trend have in common. Figures whose keys differ are not compared.
///
/// ```
/// use harness_reports::site::{RunFolders, Source, Trend};
///
/// let trends = RunFolders::open(&["tests/run".into()])?.trends()?;
/// let perplexity = |trend: &&Trend| trend.key.metric.ends_with(".ppl");
/// let keys: Vec<_> = trends.iter().filter(perplexity).map(|trend| &trend.key).collect();
/// assert_eq!((&keys[0].machine, &keys[0].settings), (&keys[1].machine, &keys[1].settings));
/// assert_ne!(keys[0].engine, keys[1].engine);
/// # Ok::<(), harness_reports::site::SiteError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TrendKey {
    /// `suite.case.metric`.
    pub metric: String,
    /// Unit of the values.
    pub unit: String,
    /// Engine spec.
    pub engine: String,
    /// Branch of the project under test.
    pub branch: Option<String>,
    /// Fingerprint of the machine.
    pub machine: String,
    /// Hash of the model.
    pub model_sha256: String,
    /// Whatever else must agree: settings and baseline.
    pub settings: String,
}

/// A metric over time.
///
/// ```
/// use harness_reports::site::{RunFolders, Source};
///
/// let mut source = RunFolders::open(&["tests/run".into()])?;
/// let trends = source.trends()?;
/// let growth = trends.iter().find(|trend| trend.key.metric.ends_with(".delta_pct"));
/// let growth = growth.ok_or("no such metric")?;
/// assert_eq!((growth.model.as_str(), growth.key.unit.as_str()), ("harness-fixture-f16", "%"));
/// let point = growth.points[0];
/// assert!(point.interval.is_some_and(|(low, high)| low < point.value && point.value < high));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Trend {
    /// What its points have in common.
    pub key: TrendKey,
    /// Name of the model.
    pub model: String,
    /// Which direction is good.
    pub better: Better,
    /// By the start of their runs.
    pub points: Vec<TrendPoint>,
}

/// A figure of a run.
///
/// ```
/// use harness_reports::site::{RunFolders, Source};
///
/// let mut source = RunFolders::open(&["tests/run".into()])?;
/// let point = source.trends()?[0].points[0];
/// assert_eq!(source.runs()[point.run].name, "run");
/// # Ok::<(), harness_reports::site::SiteError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TrendPoint {
    /// Place of the run in [`Source::runs`].
    pub run: usize,
    /// The figure.
    pub value: f64,
    /// Its confidence interval.
    pub interval: Option<(f64, f64)>,
}
