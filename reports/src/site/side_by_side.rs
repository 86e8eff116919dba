//! Engines side by side.

use std::collections::HashSet;

use serde::Serialize;

use super::RunHead;
use super::format::{self, Value};
use crate::{CellRecord, Metric, RunRecord};

#[derive(Serialize)]
struct View {
    title: &'static str,
    tables: Vec<Table>,
}

#[derive(Serialize)]
struct Table {
    title: String,
    run: String,
    link: Option<String>,
    engines: Vec<String>,
    rows: Vec<Row>,
}

#[derive(Serialize)]
struct Row {
    metric: String,
    unit: String,
    link: Option<String>,
    values: Vec<Value>,
}

pub(super) fn view(
    runs: &[RunHead],
    present: &[(usize, RunRecord)],
    known: &HashSet<&str>,
) -> impl Serialize + use<> {
    View {
        title: "Engines",
        tables: present
            .iter()
            .map(|(run, record)| table(&runs[*run], record, known))
            .collect(),
    }
}

/// Which run a table shows.
pub(super) fn heading(run: &RunHead) -> String {
    let machine = format::short_machine(&run.machine);
    format!("{} · machine {machine}", run.branch())
}

fn table(run: &RunHead, record: &RunRecord, known: &HashSet<&str>) -> Table {
    let mut engines: Vec<String> = Vec::new();
    // Names and units, in the order of the record.
    let mut metrics: Vec<(&str, &str)> = Vec::new();
    for cell in &record.cells {
        if !engines.contains(&cell.title()) {
            engines.push(cell.title());
        }
        for metric in shown(cell) {
            let known = metrics.iter().any(|(name, _)| *name == metric.name);
            if !known {
                metrics.push((&metric.name, &metric.unit));
            }
        }
    }
    let rows = metrics.into_iter().map(|(name, unit)| Row {
        metric: name.into(),
        unit: format::unit(unit).into(),
        link: known.contains(name).then(|| format::metric_link(name)),
        values: (engines.iter())
            .map(|engine| {
                let cells = record.cells.iter().filter(|cell| cell.title() == *engine);
                let mut metrics = cells.flat_map(|cell| &cell.metrics);
                Value::of(metrics.find(|metric| metric.name == name), 1.0)
            })
            .collect(),
    });
    Table {
        title: heading(run),
        run: run.when(),
        link: run.link.clone(),
        rows: rows.collect(),
        engines,
    }
}

/// Headline figures that have a value, and so a page.
fn shown(cell: &CellRecord) -> impl Iterator<Item = &Metric> {
    let metrics = cell.metrics.iter();
    metrics.filter(|metric| metric.headline && metric.value.is_some())
}
