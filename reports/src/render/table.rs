//! Tables for a terminal.

use std::fmt::Write;

use comfy_table::{Attribute, Cell, CellAlignment, Color, Table, presets};

use super::grid::{self, Grid};
use crate::{RunRecord, Verdict};

/// What the terminal can show.
///
/// ```
/// use harness_reports::{StoredRun, render};
///
/// let record = StoredRun::open("tests/run".as_ref())?.record;
/// let plain = render::table(&record, render::Style::default());
/// let coloured = render::table(&record, render::Style { color: true });
/// assert!(!plain.contains('\u{1b}') && coloured.contains('\u{1b}'));
/// # Ok::<(), harness_reports::ReadError>(())
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct Style {
    /// Whether to use colours.
    pub color: bool,
}

/// `record` for people: a table a suite, then what went wrong, then a count.
///
/// ```
/// use harness_reports::{StoredRun, render};
///
/// let record = StoredRun::open("tests/run".as_ref())?.record;
/// let text = render::table(&record, render::Style::default());
/// assert_eq!(text.lines().last(), Some("2 cells, 3 gates: 1 passed, 2 failed"));
/// # Ok::<(), harness_reports::ReadError>(())
/// ```
#[must_use]
pub fn table(record: &RunRecord, style: Style) -> String {
    let mut text = String::new();
    for grid in grid::grids(record) {
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "{} against {}\n{}\n",
            grid.suite,
            record.provenance.baseline,
            draw(&grid, style)
        );
    }
    for (verdict, finding) in grid::findings(record) {
        let label = match verdict {
            Verdict::Skip => paint("skip", style, "33"),
            Verdict::Info => paint("note", style, "33"),
            _ => paint("FAIL", style, "31"),
        };
        let _ = writeln!(text, "{label}  {finding}");
    }
    let tally = record.tally();
    let plural = |n: usize| if n == 1 { "" } else { "s" };
    let _ = write!(
        text,
        "{} cell{}, {} gate{}: {} passed, {} failed",
        record.cells.len(),
        plural(record.cells.len()),
        tally.passed + tally.gates_failed,
        plural(tally.passed + tally.gates_failed),
        tally.passed,
        tally.gates_failed,
    );
    if tally.engines_failed > 0 {
        let _ = write!(
            text,
            "; {} engine failure{}",
            tally.engines_failed,
            plural(tally.engines_failed)
        );
    }
    if tally.skipped > 0 {
        let _ = write!(text, "; {} skipped", tally.skipped);
    }
    text.push('\n');
    text
}

fn paint(text: &str, style: Style, code: &str) -> String {
    if style.color {
        format!("\x1b[{code}m{text}\x1b[0m")
    } else {
        text.into()
    }
}

fn draw(grid: &Grid<'_>, style: Style) -> Table {
    let mut table = Table::new();
    table.load_style(presets::UTF8_FULL_CONDENSED);
    if style.color {
        table.enforce_styling();
    } else {
        table.force_no_tty();
    }
    let mut header = vec![Cell::new("engine")];
    header.extend(grid.columns.iter().map(|column| {
        let title = match column.unit {
            "1" | "share" => column.name.to_owned(),
            unit => format!("{} [{unit}]", column.name),
        };
        Cell::new(title).set_alignment(CellAlignment::Right)
    }));
    header.push(Cell::new("verdict"));
    table.set_header(header);
    for row in &grid.rows {
        let mut cells = vec![Cell::new(&row.engine)];
        cells.extend(row.values.iter().zip(&grid.columns).map(|(value, column)| {
            let text =
                value.map_or_else(String::new, |metric| grid::figure(metric, column.divisor));
            let cell = Cell::new(text).set_alignment(CellAlignment::Right);
            match value {
                Some(metric) if metric.verdict == Verdict::Fail => cell.fg(Color::Red),
                _ => cell,
            }
        }));
        let verdict = Cell::new(&row.outcome);
        cells.push(match row.verdict {
            Verdict::Pass => verdict.fg(Color::Green),
            Verdict::Fail => verdict.fg(Color::Red).add_attribute(Attribute::Bold),
            Verdict::Skip => verdict.fg(Color::Yellow),
            Verdict::Info => verdict,
        });
        table.add_row(cells);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::fixtures::record;

    #[test]
    fn names_the_gate_that_failed() {
        let text = table(&record(), Style::default());
        assert!(text.contains("FAIL  reference:weights=q2_k  parity.teacher_forced.nmse = 0.5000, must be <= 0.1 (derived)"), "{text}");
        assert!(
            text.contains("3 cells, 2 gates: 1 passed, 1 failed; 1 engine failure"),
            "{text}"
        );
        assert!(!text.contains('\x1b'), "colour without a terminal");
    }

    #[test]
    fn colours_only_on_request() {
        let style = Style { color: true };
        assert!(table(&record(), style).contains("\x1b[31mFAIL"));
    }
}
