//! One row a metric.

use crate::{RunRecord, SCHEMA};

/// The metrics of `record` as CSV; the first column is the schema version.
///
/// # Errors
/// Only if memory runs out.
///
/// ```
/// use harness_reports::{StoredRun, render};
///
/// let text = render::csv(&StoredRun::open("tests/run".as_ref())?.record)?;
/// assert_eq!(text.lines().count(), 1 + 5 + 27);
/// assert!(text.contains(",<= 2,fail,the growth that perplexity.max_delta_pct allows"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn csv(record: &RunRecord) -> Result<String, ::csv::Error> {
    let mut writer = ::csv::Writer::from_writer(Vec::new());
    writer.write_record([
        "schema",
        "suite",
        "engine",
        "metric",
        "unit",
        "better",
        "value",
        "n",
        "ci_low",
        "ci_high",
        "confidence",
        "gate",
        "verdict",
        "why",
    ])?;
    let optional = |value: Option<f64>| value.map(|v| v.to_string()).unwrap_or_default();
    for cell in &record.cells {
        for metric in &cell.metrics {
            writer.write_record([
                SCHEMA.to_string().as_str(),
                &cell.suite,
                &cell.title(),
                &metric.name,
                &metric.unit,
                metric.better.name(),
                &optional(metric.value),
                &metric.n.to_string(),
                &optional(metric.ci_low),
                &optional(metric.ci_high),
                &optional(metric.confidence),
                metric.gate.as_deref().unwrap_or_default(),
                metric.verdict.name(),
                metric.why.as_deref().unwrap_or_default(),
            ])?;
        }
    }
    let bytes = writer.into_inner().map_err(|error| error.into_error())?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::fixtures::record;

    #[test]
    fn every_metric_is_a_row_of_the_same_width() {
        let record = record();
        let text = csv(&record).unwrap();
        let mut reader = ::csv::Reader::from_reader(text.as_bytes());
        let rows: Vec<_> = reader.records().collect::<Result<_, _>>().unwrap();
        let metrics: usize = record.cells.iter().map(|cell| cell.metrics.len()).sum();
        assert_eq!(rows.len(), metrics);
        assert_eq!(&rows[0][2], "reference");
    }
}
