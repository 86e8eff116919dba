//! The report as one Markdown file, for the summary of a CI job.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;

use super::changes::{self, Change};
use super::output::{Output, failed};
use super::{RunHead, SiteError, Source, Written, metric_page, overview, run_plots};
use crate::RunRecord;
use crate::render;

/// Most changes in the table.
const MOST_CHANGES: usize = 50;

/// Writes `report.md` and the plots it shows to `out`, under the rules of [`write`](super::write).
///
/// # Errors
/// [`SiteError`]; `out` is as it was then.
///
/// ```
/// use harness_reports::site::{RunFolders, write_markdown};
///
/// let mut source = RunFolders::open(&["tests/run".into()])?;
/// let folder = tempfile::tempdir()?;
/// write_markdown(&mut source, &folder.path().join("report"))?;
/// let text = std::fs::read_to_string(folder.path().join("report/report.md"))?;
/// assert!(text.contains("### perplexity against `reference`"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn write_markdown(source: &mut dyn Source, out: &Path) -> Result<Written, SiteError> {
    let output = Output::begin(out)?;
    let runs = source.runs().to_vec();
    let trends = source.trends()?;
    let found = changes::search(&trends);
    let changes = changes::all(&runs, &trends, &found);
    let mut text = String::from("# Report\n\n## What changed\n\n");
    table(&mut text, &changes);
    let mut latest: Vec<usize> = overview::latest(&runs).into_iter().collect();
    latest.sort_unstable();
    for index in latest.into_iter().rev() {
        let (record, samples) = source.record(index)?;
        heading(&mut text, &runs[index]);
        text.push_str(&render::markdown(&record));
        plots(&mut text, &output, index, &record, &samples)?;
    }
    let mut file = output.file("report.md")?;
    let done = file.write_all(text.as_bytes()).and_then(|()| file.flush());
    done.map_err(failed("report.md".as_ref()))?;
    drop(file);
    let written = Written {
        runs: runs.len(),
        metrics: metric_page::group(&trends, &found).len(),
        points: trends.iter().map(|trend| trend.points.len() as u64).sum(),
        changes: changes.len(),
    };
    output.finish()?;
    Ok(written)
}

fn table(text: &mut String, changes: &[Change]) {
    if changes.is_empty() {
        text.push_str("No change point was found. A series needs ten runs before one can show.\n");
        return;
    }
    text.push_str("| what | metric | engine | branch | shift | relative | commits |\n|---|---|---|---|--:|--:|---|\n");
    for change in changes.iter().take(MOST_CHANGES) {
        let cells = [
            change.kind,
            &change.metric,
            &change.engine,
            &change.branch,
            &change.shift_text,
            &change.relative_text,
            &change.commits,
        ];
        let cells = cells.map(render::escape);
        let _ = writeln!(text, "| {} |", cells.join(" | "));
    }
    if changes.len() > MOST_CHANGES {
        let _ = writeln!(
            text,
            "\n{} more are not shown.",
            changes.len() - MOST_CHANGES
        );
    }
}

fn heading(text: &mut String, run: &RunHead) {
    let branch = render::escape(run.branch());
    let _ = writeln!(
        text,
        "\n## Run of {} on {branch} {}\n",
        run.when(),
        run.commit()
    );
}

fn plots(
    text: &mut String,
    output: &Output,
    run: usize,
    record: &RunRecord,
    samples: &super::input::Samples,
) -> Result<(), SiteError> {
    for suite in record.suites() {
        for (index, (plot, _)) in run_plots::plots(record, samples, suite).iter().enumerate() {
            let place = format!("plots/{run}-{}-{index}.svg", super::format::slug(suite));
            let mut file = output.file(&place)?;
            let done = (file.write_all(plot.draw().file().as_bytes())).and_then(|()| file.flush());
            done.map_err(failed(place.as_ref()))?;
            let _ = writeln!(text, "\n![{}]({place})", render::escape(&plot.title));
        }
    }
    Ok(())
}
