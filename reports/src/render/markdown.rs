//! GitHub's Markdown, for step summaries and pull requests.

use std::fmt::Write;

use super::grid;
use crate::{RunRecord, Verdict};

/// `record` as Markdown: a table a suite, then the findings.
///
/// ```
/// use harness_reports::{StoredRun, render};
///
/// let text = render::markdown(&StoredRun::open("tests/run".as_ref())?.record);
/// assert!(text.starts_with("### perplexity against `reference`"));
/// assert_eq!(text.matches("- **fail** ").count(), 2);
/// # Ok::<(), harness_reports::ReadError>(())
/// ```
#[must_use]
pub fn markdown(record: &RunRecord) -> String {
    let mut text = String::new();
    // Writing to a String cannot fail.
    for grid in grid::grids(record) {
        let _ = writeln!(
            text,
            "### {} against `{}`\n",
            escape(grid.suite),
            record.provenance.baseline
        );
        let titles: Vec<String> = grid
            .columns
            .iter()
            .map(|column| format!("{} ({})", escape(column.name), escape(column.unit)))
            .collect();
        let _ = writeln!(text, "| engine | {} | verdict |", titles.join(" | "));
        let _ = writeln!(text, "|---|{}---|", "---:|".repeat(titles.len()));
        for row in &grid.rows {
            let values: Vec<String> = row
                .values
                .iter()
                .zip(&grid.columns)
                .map(|(value, column)| match value {
                    Some(metric) if metric.verdict == Verdict::Fail => {
                        format!("**{}**", grid::figure(metric, column.divisor))
                    }
                    Some(metric) => grid::figure(metric, column.divisor),
                    None => String::new(),
                })
                .collect();
            let _ = writeln!(
                text,
                "| {} | {} | {} |",
                escape(&row.engine),
                values.join(" | "),
                escape(&row.outcome)
            );
        }
        text.push('\n');
    }
    for (verdict, finding) in grid::findings(record) {
        let _ = writeln!(text, "- **{}** {}", verdict.name(), escape(&finding));
    }
    text
}

/// Keeps text from being read as markup.
pub(crate) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' | '\r' => escaped.push(' '),
            '<' => escaped.push_str("&lt;"),
            '&' => escaped.push_str("&amp;"),
            '\\' | '`' | '*' | '_' | '[' | ']' | '|' | '~' => {
                escaped.push('\\');
                escaped.push(c);
            }
            _ => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::fixtures::record;

    #[test]
    fn rows_are_as_wide_as_the_header() {
        let text = markdown(&record());
        let bars = |line: &str| line.replace("\\|", "").matches('|').count();
        let table: Vec<&str> = text.lines().filter(|line| line.starts_with('|')).collect();
        assert_eq!(table.len(), 5, "{text}");
        assert!(
            table.iter().all(|line| bars(line) == bars(table[0])),
            "{text}"
        );
    }

    #[test]
    fn markup_in_names_is_inert() {
        assert_eq!(escape("a|b <script>"), "a\\|b &lt;script>");
    }
}
