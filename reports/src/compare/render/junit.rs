//! JUnit XML: a suite a cell, a test case a figure.

use std::io;

use quick_xml::Writer;
use quick_xml::events::{BytesDecl, BytesEnd, BytesStart, BytesText, Event};

use super::{Comparison, Outcome, Row, columns};

/// `comparison` as JUnit XML. A regression is a failure, a figure that cannot be compared a skipped
/// test.
///
/// # Errors
/// Only if memory runs out.
///
/// ```
/// use harness_reports::StoredRun;
/// use harness_reports::compare::{self, Options, compare};
///
/// let run = [StoredRun::open("tests/run".as_ref())?];
/// let comparison = compare(&run, &run, Options::default())?;
/// let xml = compare::junit(&comparison)?;
/// assert!(xml.contains(r#"<testsuites name="harness compare""#));
/// assert!(!xml.contains("<failure"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn junit(comparison: &Comparison) -> io::Result<String> {
    let mut writer = Writer::new_with_indent(Vec::new(), b' ', 2);
    writer.write_event(Event::Decl(BytesDecl::new("1.0", Some("UTF-8"), None)))?;
    let all: Vec<&Row> = comparison.rows.iter().collect();
    let mut root = BytesStart::new("testsuites");
    root.push_attribute(("name", "harness compare"));
    count(&mut root, &all);
    writer.write_event(Event::Start(root))?;
    // The rows of a cell follow each other.
    for rows in all.chunk_by(|a, b| a.cell == b.cell) {
        let mut suite = BytesStart::new("testsuite");
        suite.push_attribute(("name", rows[0].cell.as_str()));
        count(&mut suite, rows);
        let skipped = number_of(rows, Outcome::NotComparable);
        suite.push_attribute(("skipped", skipped.as_str()));
        writer.write_event(Event::Start(suite))?;
        for row in rows {
            case(&mut writer, row)?;
        }
        writer.write_event(Event::End(BytesEnd::new("testsuite")))?;
    }
    writer.write_event(Event::End(BytesEnd::new("testsuites")))?;
    let mut xml = String::from_utf8_lossy(&writer.into_inner()).into_owned();
    xml.push('\n');
    Ok(xml)
}

fn number_of(rows: &[&Row], outcome: Outcome) -> String {
    let of = rows.iter().filter(|row| row.outcome == outcome);
    of.count().to_string()
}

fn count(start: &mut BytesStart<'_>, rows: &[&Row]) {
    start.push_attribute(("tests", rows.len().to_string().as_str()));
    let failures = number_of(rows, Outcome::Regressed);
    start.push_attribute(("failures", failures.as_str()));
    start.push_attribute(("errors", "0"));
}

fn case(writer: &mut Writer<Vec<u8>>, row: &Row) -> io::Result<()> {
    let mut start = BytesStart::new("testcase");
    start.push_attribute(("classname", row.cell.as_str()));
    start.push_attribute(("name", row.metric.as_str()));
    start.push_attribute(("time", "0.000"));
    writer.write_event(Event::Start(start))?;
    let text = sentence(row);
    match row.outcome {
        Outcome::Regressed => {
            let mut failure = BytesStart::new("failure");
            failure.push_attribute(("message", text.as_str()));
            failure.push_attribute(("type", "regression"));
            writer.write_event(Event::Empty(failure))?;
        }
        Outcome::NotComparable => {
            let mut skipped = BytesStart::new("skipped");
            skipped.push_attribute(("message", text.as_str()));
            writer.write_event(Event::Empty(skipped))?;
        }
        Outcome::Improved | Outcome::NoChange => {
            writer.write_event(Event::Start(BytesStart::new("system-out")))?;
            writer.write_event(Event::Text(BytesText::new(&text)))?;
            writer.write_event(Event::End(BytesEnd::new("system-out")))?;
        }
    }
    writer.write_event(Event::End(BytesEnd::new("testcase")))
}

/// `regressed: 100 → 110 ns, +10 % (+8 … +12), adjusted p 0.001`
fn sentence(row: &Row) -> String {
    let [_, _, base, head, shift, p, detectable, verdict] = columns(row, true);
    let mut text = verdict;
    if row.base.is_some() || row.head.is_some() {
        text += &format!("; {base} → {head} {}", row.unit);
    }
    for (what, value) in [
        ("shift", shift),
        ("adjusted p", p),
        ("detectable", detectable),
    ] {
        if !value.is_empty() {
            text += &format!("; {what} {value}");
        }
    }
    text
}
