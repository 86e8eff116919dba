//! One row a figure.

use super::{Comparison, Row};

/// `comparison` as CSV; the first column is the schema version.
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
/// let text = compare::csv(&comparison)?;
/// assert_eq!(text.lines().count(), 1 + comparison.rows.len());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn csv(comparison: &Comparison) -> Result<String, ::csv::Error> {
    let mut writer = ::csv::Writer::from_writer(Vec::new());
    writer.write_record([
        "schema",
        "cell",
        "metric",
        "unit",
        "better",
        "base",
        "head",
        "base_runs",
        "head_runs",
        "n",
        "method",
        "shift",
        "shift_low",
        "shift_high",
        "effect",
        "effect_unit",
        "threshold",
        "p",
        "p_adjusted",
        "detectable",
        "verdict",
        "why",
    ])?;
    for row in &comparison.rows {
        writer.write_record(fields(comparison.schema, row))?;
    }
    let bytes = writer.into_inner().map_err(|error| error.into_error())?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn fields(schema: u32, row: &Row) -> [String; 22] {
    let optional = |value: Option<f64>| value.map(|v| v.to_string()).unwrap_or_default();
    [
        schema.to_string(),
        row.cell.clone(),
        row.metric.clone(),
        row.unit.clone(),
        row.better.name().into(),
        optional(row.base),
        optional(row.head),
        row.base_runs.to_string(),
        row.head_runs.to_string(),
        row.n.to_string(),
        row.method.map_or("", super::super::Method::name).into(),
        optional(row.shift),
        optional(row.shift_low),
        optional(row.shift_high),
        optional(row.effect),
        row.effect_unit.clone(),
        row.threshold.to_string(),
        optional(row.p),
        optional(row.p_adjusted),
        optional(row.detectable),
        row.outcome.name().into(),
        row.why.clone().unwrap_or_default(),
    ]
}
