//! A report as a static site: pages that need neither server nor network.
//!
//! [`write()`] takes what a [`Source`] tells of runs and metrics, and makes a folder of it. Every page
//! stands alone: its style, its script and its plots are inside. Figures are held in memory once,
//! 40 bytes each, because how sure one change is depends on all series; pages are made and
//! written one by one on every core.
//!
//! ```
//! use harness_reports::site::{self, RunFolders};
//! use jiff::Timestamp;
//!
//! let folder = tempfile::tempdir()?;
//! let out = folder.path().join("site");
//! site::write(&mut RunFolders::open(&["tests/run".into()])?, &out, Timestamp::now())?;
//! for page in ["index.html", "metrics.html", "engines.html", "speed.html"] {
//!     let page = std::fs::read_to_string(out.join(page))?;
//!     assert!(page.contains("<style>") && !page.contains("src="));
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod changes;
mod curves;
mod folders;
mod format;
mod input;
mod kernels;
mod markdown;
mod metric_page;
mod output;
mod overview;
mod page;
mod past;
mod picture;
mod run_page;
mod run_plots;
mod side_by_side;
mod speed;
mod threads;

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use jiff::Timestamp;

pub use folders::RunFolders;
pub use input::{RunHead, Samples, Source, Trend, TrendKey, TrendPoint};
pub use markdown::write_markdown;
pub use past::RunHistory;
pub use picture::write_picture;

use crate::{ReadError, RunRecord};
use metric_page::MetricLine;
use output::Output;
use page::Pages;

/// A report that cannot be made.
///
/// ```
/// use harness_reports::site::{RunFolders, SiteError};
///
/// let folder = tempfile::tempdir()?;
/// let empty = RunFolders::open(&[folder.path().into()]);
/// assert!(matches!(empty, Err(SiteError::Empty(_))));
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug, thiserror::Error)]
pub enum SiteError {
    /// There is nothing to report on.
    #[error("no run records in {0}; start one with `harness run`, or name folders with --runs")]
    Empty(String),
    /// The history has runs, but none that is asked for; or none at all.
    #[error("the history has no run that the options admit; `harness history list` shows its runs")]
    NothingAdmitted,
    /// The target is in use for something else.
    #[error("{0} holds files that are no report; choose another folder with --out")]
    Occupied(PathBuf),
    /// A record cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The disk refuses.
    #[error("cannot write {path}: {source}")]
    Io {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A page's template does not fit what it is given: a defect of this program.
    #[error("cannot render {page}: {source}")]
    Template {
        /// Which page.
        page: String,
        /// Why.
        source: minijinja::Error,
    },
    /// The picture cannot be drawn.
    #[error("cannot draw the picture")]
    Picture(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// Where runs come from fails.
    #[error("cannot read the history")]
    Source(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// What was written.
///
/// ```
/// use harness_reports::site::{self, RunFolders};
/// use jiff::Timestamp;
///
/// let folder = tempfile::tempdir()?;
/// let mut source = RunFolders::open(&["tests/run".into()])?;
/// let written = site::write(&mut source, &folder.path().join("site"), Timestamp::now())?;
/// // Two engines share a page of each metric, and one run is no change.
/// assert_eq!((written.metrics, written.points, written.changes), (27, 5 + 27, 0));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Written {
    /// Runs the report knows of.
    pub runs: usize,
    /// Metrics, each with a page.
    pub metrics: usize,
    /// Values behind the plots.
    pub points: u64,
    /// Change points.
    pub changes: usize,
}

/// Writes the site to `out`, which must be empty, absent, or an earlier report; that one is replaced once the new one is
/// complete.
///
/// # Errors
/// [`SiteError`]; `out` is as it was then.
///
/// ```
/// use harness_reports::site::{self, RunFolders};
/// use jiff::Timestamp;
///
/// let mut source = RunFolders::open(&["tests/run".into()])?;
/// let folder = tempfile::tempdir()?;
/// let out = folder.path().join("site");
/// let written = site::write(&mut source, &out, Timestamp::now())?;
/// assert_eq!((written.runs, written.points), (1, 5 + 27));
/// assert!(std::fs::read_to_string(out.join("index.html"))?.contains("perplexity"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn write(source: &mut dyn Source, out: &Path, now: Timestamp) -> Result<Written, SiteError> {
    let output = Output::begin(out)?;
    let pages = Pages::new(now)?;
    let mut runs = source.runs().to_vec();
    let trends = source.trends()?;
    let found = changes::search(&trends);
    let latest = overview::latest(&runs);
    let named = changes::all(&runs, &trends, &found);
    run_page::choose(&mut runs, &latest, &named, &trends);

    let metrics = metric_page::group(&trends, &found);
    let lines = threads::each(&metrics, |metric| {
        let page = metric_page::MetricPage::new(&runs, metric);
        pages.write(&output, &page.line.link, "metric.html", &page.view())?;
        Ok(page.line)
    });
    let lines: Vec<MetricLine> = lines.into_iter().collect::<Result<_, SiteError>>()?;

    let known: HashSet<&str> = (metrics.iter())
        .map(|(trends, _)| trends[0].key.metric.as_str())
        .collect();
    // The latest run of each branch and machine is what other pages show of the present.
    let mut present: Vec<(usize, RunRecord)> = Vec::new();
    for (index, run) in runs.iter().enumerate() {
        let Some(link) = &run.link else { continue };
        let (record, samples) = source.record(index)?;
        let view = run_page::view(run, &record, &samples, &known);
        pages.write(&output, link, "run.html", &view)?;
        if latest.contains(&index) {
            present.push((index, record));
        }
    }
    present.reverse();
    let view = side_by_side::view(&runs, &present, &known);
    pages.write(&output, "engines.html", "engines.html", &view)?;
    let view = speed::view(&runs, &present);
    pages.write(&output, "speed.html", "speed.html", &view)?;
    let view = overview::Metrics::new(&lines);
    pages.write(&output, "metrics.html", "metrics.html", &view)?;
    let written = Written {
        runs: runs.len(),
        metrics: lines.len(),
        points: trends.iter().map(|trend| trend.points.len() as u64).sum(),
        changes: named.len(),
    };
    let view = overview::view(
        &runs,
        &present,
        &named,
        &written,
        trends.len(),
        source.notes(),
    );
    pages.write(&output, "index.html", "index.html", &view)?;
    output.finish()?;
    Ok(written)
}
