//! For a terminal.

use std::fmt::Write;

use comfy_table::{Attribute, Cell, CellAlignment, Color, Table, presets};

use super::{COLUMNS, Comparison, Outcome, columns, counts, method, obstacles, shown, side};
use crate::render::Style;

/// Reasons that are told when not everything is shown.
const REASONS: usize = 5;

/// `comparison` for people: what changed, or, with `all`, every figure; then a count.
///
/// ```
/// use harness_reports::StoredRun;
/// use harness_reports::compare::{self, Options, compare};
/// use harness_reports::render::Style;
///
/// let run = [StoredRun::open("tests/run".as_ref())?];
/// let comparison = compare(&run, &run, Options::default())?;
/// let changed = compare::table(&comparison, false, Style::default());
/// let all = compare::table(&comparison, true, Style::default());
/// assert!(!changed.contains("bits_per_weight") && all.contains("bits_per_weight"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use]
pub fn table(comparison: &Comparison, all: bool, style: Style) -> String {
    let mut text = format!(
        "{}\n{}\n",
        side("BASE", &comparison.base),
        side("HEAD", &comparison.head)
    );
    let rows = shown(comparison, all);
    if !rows.is_empty() {
        let mut table = Table::new();
        table.load_style(presets::UTF8_FULL_CONDENSED);
        match style.color {
            true => table.enforce_styling(),
            false => table.force_no_tty(),
        };
        table.set_header(COLUMNS);
        for row in rows {
            let texts = columns(row, true);
            let last = texts.len() - 1;
            table.add_row(texts.into_iter().enumerate().map(|(column, text)| {
                let cell = Cell::new(text);
                match (column, row.outcome) {
                    (0 | 1, _) => cell,
                    (column, outcome) if column == last => match outcome {
                        Outcome::Regressed => cell.fg(Color::Red).add_attribute(Attribute::Bold),
                        Outcome::Improved => cell.fg(Color::Green),
                        Outcome::NotComparable => cell.fg(Color::Yellow),
                        Outcome::NoChange => cell,
                    },
                    _ => cell.set_alignment(CellAlignment::Right),
                }
            }));
        }
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{table}");
    }
    let _ = writeln!(text, "{}\n{}", counts(comparison), method(comparison));
    if !all {
        let obstacles = obstacles(comparison);
        for (n, why) in obstacles.iter().take(REASONS) {
            let _ = writeln!(text, "not comparable, {n}: {why}");
        }
        let rest: usize = obstacles.iter().skip(REASONS).map(|(n, _)| n).sum();
        if rest > 0 {
            let _ = writeln!(
                text,
                "not comparable, {rest}: for other reasons; --all tells"
            );
        }
    }
    text
}
