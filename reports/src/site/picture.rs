//! The report as one picture, for a chat.

use std::io::Write as _;
use std::path::Path;

use super::changes::{self, Change};
use super::output::{Output, failed};
use super::{SiteError, Source, Trend, Written, metric_page, overview};
use crate::plot::{Panel, poster};

/// Plots on it.
const MOST: usize = 4;

/// Writes `report.png` to `out`, under the rules of [`write`](super::write): the headline, and the series
/// that changed most; if none did, those of headline metrics.
///
/// # Errors
/// [`SiteError`]; `out` is as it was then.
///
/// ```
/// use harness_reports::site::{RunFolders, write_picture};
///
/// let mut source = RunFolders::open(&["tests/run".into()])?;
/// let folder = tempfile::tempdir()?;
/// write_picture(&mut source, &folder.path().join("report"))?;
/// let picture = std::fs::read(folder.path().join("report/report.png"))?;
/// assert!(picture.starts_with(b"\x89PNG"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn write_picture(source: &mut dyn Source, out: &Path) -> Result<Written, SiteError> {
    let output = Output::begin(out)?;
    let runs = source.runs().to_vec();
    let trends = source.trends()?;
    let found = changes::search(&trends);
    let changes = changes::all(&runs, &trends, &found);
    let sure = &changes[..changes.partition_point(|change| change.sure)];
    let mut failures = 0;
    for run in overview::latest(&runs) {
        failures += overview::failures(&source.record(run)?.0).count();
    }
    // One picture a series, however often it changed.
    let mut shown: Vec<usize> = Vec::new();
    let places = sure.iter().map(|change| change.trend);
    // Without changes, whatever has the most to show.
    let mut longest: Vec<usize> = (0..trends.len()).collect();
    longest.sort_by_key(|place| std::cmp::Reverse(trends[*place].points.len()));
    for place in places.chain(
        longest
            .into_iter()
            .take(if sure.is_empty() { MOST } else { 0 }),
    ) {
        if shown.len() < MOST && !shown.contains(&place) {
            shown.push(place);
        }
    }
    let panels = shown.into_iter().map(|place| {
        let (trend, found) = (&trends[place], &found[place]);
        let own: Vec<Change> = changes::describe(&runs, place, trend, found).collect();
        Panel {
            title: trend.key.metric.clone(),
            note: caption(trend),
            plot: metric_page::plot(&runs, trend, found, &own),
        }
    });
    let points = trends.iter().map(|trend| trend.points.len() as u64).sum();
    let note = overview::extent(&runs, points, trends.len());
    let headline = overview::headline(sure, failures);
    let picture =
        poster(&headline, &note, &panels.collect::<Vec<_>>()).map_err(SiteError::Picture)?;
    let mut file = output.file("report.png")?;
    let done = file.write_all(&picture).and_then(|()| file.flush());
    done.map_err(failed("report.png".as_ref()))?;
    drop(file);
    let written = Written {
        runs: runs.len(),
        metrics: metric_page::group(&trends, &found).len(),
        points,
        changes: changes.len(),
    };
    output.finish()?;
    Ok(written)
}

fn caption(trend: &Trend) -> String {
    let branch = trend.key.branch.as_deref().unwrap_or("no branch");
    format!("{} · {branch}", trend.key.engine)
}
