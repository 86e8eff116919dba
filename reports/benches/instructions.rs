//! Instructions and heap that records and pages take; see `reference/benches/instructions.rs`.
//!
//! ```text
//! cargo bench -p harness-reports --bench instructions
//! ```
#![allow(clippy::unwrap_used, missing_docs)] // A benchmark may panic.

mod inputs;
#[path = "../../reference/benches/valgrind/mod.rs"]
mod valgrind;

use std::hint::black_box;

use gungraun::Dhat;
use gungraun::prelude::*;
use harness_reports::plot::{Axis, Drawing, Plot, Point, Series, Style};
use harness_reports::render::{self, Style as TextStyle};
use harness_reports::{CellRecord, RunRecord, RunWriter, SampleRow, StoredRun};
use tempfile::TempDir;

use inputs::{cell, record, samples, write};

type Open = (TempDir, RunWriter, CellRecord, Vec<SampleRow<'static>>);

/// A record that waits for its first cell.
fn begun(metrics: u64) -> Open {
    let folder = tempfile::tempdir().unwrap();
    let writer = RunWriter::create(folder.path(), record(0)).unwrap();
    (folder, writer, cell(0, metrics), samples())
}

// A cell of a few figures and 10,000 samples: mostly `samples.csv`.
#[library_benchmark(setup = begun)]
#[bench::samples(10)]
fn append((folder, mut writer, cell, samples): Open) -> (TempDir, RunWriter) {
    writer.finish_cell(cell, black_box(&samples)).unwrap();
    (folder, writer)
}

fn written(metrics: u64) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), 0, metrics, &samples());
    folder
}

#[library_benchmark(setup = written)]
#[bench::samples(10)]
fn read(folder: TempDir) -> (TempDir, StoredRun) {
    let run = StoredRun::open(black_box(folder.path())).unwrap();
    (folder, run)
}

fn finished(metrics: u64) -> RunRecord {
    let mut record = record(0);
    record.cells.push(cell(0, metrics));
    record
}

#[library_benchmark(setup = finished)]
#[bench::figures(100)]
fn table(record: RunRecord) -> String {
    render::table(black_box(&record), TextStyle { color: false })
}

fn series(points: u32) -> Plot {
    let point = |at| Point::new(f64::from(at), f64::from(at * 7919 % 2003));
    Plot {
        title: "itl_p50".into(),
        x: Axis::new("run", ""),
        y: Axis::new("itl_p50", "ns"),
        series: vec![Series {
            name: "reference".into(),
            style: Style::Line,
            points: (0..points).map(point).collect(),
        }],
        marks: Vec::new(),
        levels: Vec::new(),
    }
}

#[library_benchmark(setup = series)]
#[bench::points(365)]
fn plot(plot: Plot) -> Drawing {
    black_box(&plot).draw()
}

library_benchmark_group!(name = records, benchmarks = [append, read, table, plot]);

fn main() {
    // Declares a `main` of its own, here in the body.
    gungraun::main!(
        config = LibraryBenchmarkConfig::default().tool(Dhat::default()),
        library_benchmark_groups = records
    );
    valgrind::run(main);
}
