//! GitHub's Markdown, for step summaries and pull requests.

use std::fmt::Write;

use super::{COLUMNS, Comparison, Outcome, Row, columns, counts, method, shown, side};
use crate::render::escape;

/// GitHub takes a comment of 65,536 characters; a step summary may be longer.
const MOST_CHARACTERS: usize = 60_000;

/// `comparison` as Markdown: what changed, and everything in a part that unfolds. Rows that would
/// make it too long for a comment are left out, and it says so.
///
/// ```
/// use harness_reports::StoredRun;
/// use harness_reports::compare::{self, Options, compare};
///
/// let run = [StoredRun::open("tests/run".as_ref())?];
/// let comparison = compare(&run, &run, Options::default())?;
/// assert!(compare::markdown(&comparison).starts_with("### ✅"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use]
pub fn markdown(comparison: &Comparison) -> String {
    let regressed = comparison.count(Outcome::Regressed);
    let mark = if regressed > 0 { "❌" } else { "✅" };
    let mut text = format!(
        "### {mark} {}\n\n{}; {}\n\n",
        counts(comparison),
        escape(&side("BASE", &comparison.base)),
        escape(&side("HEAD", &comparison.head)),
    );
    let changed = shown(comparison, false);
    let mut left_out = 0;
    if !changed.is_empty() {
        left_out += rows(&mut text, &changed);
        text.push('\n');
    }
    // Blank lines around a table inside HTML, or GitHub takes it for HTML too.
    text += "<details><summary>All figures</summary>\n\n";
    left_out += rows(&mut text, &shown(comparison, true));
    text += "\n</details>\n\n";
    if left_out > 0 {
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "{left_out} rows are left out; `--format csv` has them.\n"
        );
    }
    let _ = writeln!(text, "{}", escape(&method(comparison)));
    text
}

/// Appends a table and returns how many rows it has no room for.
fn rows(text: &mut String, rows: &[&Row]) -> usize {
    let _ = writeln!(text, "| {} |", COLUMNS.join(" | "));
    let _ = writeln!(text, "|---|---|---:|---:|---:|---:|---:|---|");
    let mut left_out = 0;
    for row in rows {
        let cells = columns(row, true).map(|cell| escape(&cell));
        let line = format!("| {} |\n", cells.join(" | "));
        match text.chars().count() + line.chars().count() <= MOST_CHARACTERS {
            true => *text += &line,
            false => left_out += 1,
        }
    }
    left_out
}
