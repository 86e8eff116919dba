//! JUnit XML: a suite a cell, a test case a metric.

use std::io;

use quick_xml::Writer;
use quick_xml::events::{BytesDecl, BytesEnd, BytesStart, BytesText, Event};

use crate::{CellRecord, Metric, RunRecord, Status, Verdict};

/// `record` as JUnit XML. Figures without a gate are passing test cases whose
/// output is the value; an engine failure is an error, a skipped cell a
/// skipped test.
///
/// # Errors
/// Only if memory runs out.
///
/// ```
/// use harness_reports::{StoredRun, render};
///
/// let xml = render::junit(&StoredRun::open("tests/run".as_ref())?.record)?;
/// assert!(xml.contains(r#"<testsuites name="harness" failures="2" errors="0">"#));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn junit(record: &RunRecord) -> io::Result<String> {
    let mut writer = Writer::new_with_indent(Vec::new(), b' ', 2);
    writer.write_event(Event::Decl(BytesDecl::new("1.0", Some("UTF-8"), None)))?;
    let tally = record.tally();
    let mut root = BytesStart::new("testsuites");
    root.push_attribute(("name", "harness"));
    root.push_attribute(("failures", tally.gates_failed.to_string().as_str()));
    root.push_attribute(("errors", tally.engines_failed.to_string().as_str()));
    writer.write_event(Event::Start(root))?;
    for cell in &record.cells {
        suite(&mut writer, cell)?;
    }
    writer.write_event(Event::End(BytesEnd::new("testsuites")))?;
    let mut xml = String::from_utf8_lossy(&writer.into_inner()).into_owned();
    xml.push('\n');
    Ok(xml)
}

fn suite(writer: &mut Writer<Vec<u8>>, cell: &CellRecord) -> io::Result<()> {
    let failures = cell
        .metrics
        .iter()
        .filter(|m| m.verdict == Verdict::Fail)
        .count();
    let failed = matches!(cell.status, Status::Failed(_));
    let skipped = matches!(cell.status, Status::Skipped { .. });
    let tests = cell.metrics.len() + usize::from(failed || skipped);
    let mut start = BytesStart::new("testsuite");
    start.push_attribute(("name", cell.cell.as_str()));
    start.push_attribute(("tests", tests.to_string().as_str()));
    start.push_attribute(("failures", failures.to_string().as_str()));
    start.push_attribute(("errors", usize::from(failed).to_string().as_str()));
    start.push_attribute(("skipped", usize::from(skipped).to_string().as_str()));
    start.push_attribute((
        "timestamp",
        cell.started
            .strftime("%Y-%m-%dT%H:%M:%S")
            .to_string()
            .as_str(),
    ));
    start.push_attribute(("time", format!("{:.3}", cell.wall_s).as_str()));
    writer.write_event(Event::Start(start))?;
    match &cell.status {
        Status::Completed => {}
        Status::Failed(failure) => {
            case(writer, &cell.cell, "engine", cell.wall_s)?;
            note(writer, "error", &failure.kind, &failure.message)?;
            writer.write_event(Event::End(BytesEnd::new("testcase")))?;
        }
        Status::Skipped { why } => {
            case(writer, &cell.cell, "cell", cell.wall_s)?;
            note(writer, "skipped", "skipped", why)?;
            writer.write_event(Event::End(BytesEnd::new("testcase")))?;
        }
    }
    for metric in &cell.metrics {
        case(writer, &cell.cell, &metric.name, 0.0)?;
        match metric.verdict {
            Verdict::Fail => note(writer, "failure", "gate", &sentence(metric))?,
            Verdict::Skip => note(writer, "skipped", "skipped", &sentence(metric))?,
            Verdict::Pass | Verdict::Info => {
                writer.write_event(Event::Start(BytesStart::new("system-out")))?;
                writer.write_event(Event::Text(BytesText::new(&sentence(metric))))?;
                writer.write_event(Event::End(BytesEnd::new("system-out")))?;
            }
        }
        writer.write_event(Event::End(BytesEnd::new("testcase")))?;
    }
    writer.write_event(Event::End(BytesEnd::new("testsuite")))
}

fn case(writer: &mut Writer<Vec<u8>>, class: &str, name: &str, time_s: f64) -> io::Result<()> {
    let mut start = BytesStart::new("testcase");
    start.push_attribute(("classname", class));
    start.push_attribute(("name", name));
    start.push_attribute(("time", format!("{time_s:.3}").as_str()));
    writer.write_event(Event::Start(start))
}

fn note(writer: &mut Writer<Vec<u8>>, tag: &str, kind: &str, message: &str) -> io::Result<()> {
    let mut start = BytesStart::new(tag);
    start.push_attribute(("message", message));
    if tag != "skipped" {
        start.push_attribute(("type", kind));
    }
    writer.write_event(Event::Empty(start))
}

fn sentence(metric: &Metric) -> String {
    let value = metric
        .value
        .map_or("undefined".into(), |value| value.to_string());
    let gate = metric
        .gate
        .as_deref()
        .map(|gate| format!(", must be {gate}"))
        .unwrap_or_default();
    let why = metric
        .why
        .as_deref()
        .map(|why| format!(" ({why})"))
        .unwrap_or_default();
    format!("{value} {}{gate}{why}", metric.unit)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::fixtures::record;

    #[test]
    fn counts_and_markup_are_right() {
        let xml = junit(&record()).unwrap();
        assert!(
            xml.contains(r#"<testsuites name="harness" failures="1" errors="1">"#),
            "{xml}"
        );
        assert!(xml.contains("&lt;script&gt;"), "{xml}");
        let mut reader = quick_xml::Reader::from_str(&xml);
        let mut cases = 0;
        loop {
            match reader.read_event().unwrap() {
                Event::Start(tag) if tag.name().as_ref() == "testcase" => cases += 1,
                Event::Eof => break,
                _ => {}
            }
        }
        assert_eq!(cases, 4);
    }
}
