//! What records cost: to write, read, keep, compare and show.
//!
//! ```text
//! cargo bench -p harness-reports --bench records [-- FILTER]
//! ```
//!
//! Writing waits for the disk, several times a record, as it does in a run.
#![allow(clippy::unwrap_used, missing_docs)] // A benchmark may panic.

mod inputs;

use std::hint::black_box;
use std::path::PathBuf;
use std::time::Duration;

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use harness_reports::compare::{self, compare};
use harness_reports::history::{Filter, History};
use harness_reports::plot::{Axis, Plot, Point, Scale, Series, Style};
use harness_reports::render::{self, Style as TextStyle};
use harness_reports::site::{self, RunFolders};
use harness_reports::{StoredRun, import};
use jiff::Timestamp;

use inputs::{SAMPLES, cell, record, samples, write};

/// Folders that live as long as the benchmark.
fn folder() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

/// One cell of 10 figures and 10,000 samples.
fn records(criterion: &mut Criterion) {
    let rows = samples();
    let mut group = criterion.benchmark_group("record");
    group.throughput(Throughput::Elements(SAMPLES));
    group.bench_function("write/10000-samples", |bencher| {
        let write = |folder: tempfile::TempDir| {
            write(folder.path(), 0, 10, &rows);
            folder
        };
        bencher.iter_batched(folder, write, BatchSize::PerIteration);
    });
    let folder = folder();
    write(folder.path(), 0, 10, &rows);
    group.bench_function("read/10000-samples", |bencher| {
        bencher.iter(|| StoredRun::open(folder.path()).unwrap());
    });
    group.finish();
}

fn run(night: u64, metrics: u64) -> StoredRun {
    let mut record = record(night);
    record.cells.push(cell(night, metrics));
    StoredRun::of(record, PathBuf::from(format!("/runs/{night}")))
}

/// A history of 100 nights with 100 figures each.
fn history(criterion: &mut Criterion) {
    let folder = folder();
    let url = format!("sqlite:{}", folder.path().join("history.db").display());
    let mut history = History::open_or_create(&url).unwrap();
    for night in 0..100 {
        history.add(&run(night, 100)).unwrap();
    }
    let mut group = criterion.benchmark_group("history");
    let mut nights = 100..;
    group.bench_function("add/100-figures", |bencher| {
        let next = || run(nights.next().unwrap(), 100);
        bencher.iter_batched(
            next,
            |run| history.add(&run).unwrap(),
            BatchSize::PerIteration,
        );
    });
    // Of its own: the other one has grown.
    let url = format!("sqlite:{}", folder.path().join("steady.db").display());
    let mut history = History::open_or_create(&url).unwrap();
    for night in 0..100 {
        history.add(&run(night, 100)).unwrap();
    }
    let filter = Filter::default();
    group.throughput(Throughput::Elements(100 * 100));
    group.bench_function("series/100x100", |bencher| {
        bencher.iter(|| history.series(&filter).unwrap());
    });
    group.finish();
}

fn comparisons(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("compare");
    let runs = |from: u64| -> Vec<StoredRun> { (from..from + 8).map(|n| run(n, 100)).collect() };
    let (base, head) = (runs(0), runs(8));
    group.bench_function("8+8-runs/100-figures", |bencher| {
        bencher.iter(|| compare(&base, &head, compare::Options::default()).unwrap());
    });
    group.finish();
}

/// A series of a year, as a page has it.
fn plot() -> Plot {
    let point = |night: u64| Point {
        interval: Some((7e6, 9e6)),
        ..Point::new(night as f64 * 86_400.0, 8e6 + (night * 7919 % 2003) as f64)
    };
    Plot {
        title: "latency.chat.itl_p50".into(),
        x: Axis::new("night", "").scaled(Scale::Time),
        y: Axis::new("itl_p50", "ns"),
        series: vec![Series {
            name: "reference".into(),
            style: Style::Line,
            points: (0..365).map(point).collect(),
        }],
        marks: Vec::new(),
        levels: Vec::new(),
    }
}

fn rendering(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("render");
    let plot = plot();
    group.bench_function("plot/365-points", |bencher| {
        bencher.iter(|| black_box(&plot).draw());
    });
    let record = run(0, 100).record;
    group.bench_function("table/100-figures", |bencher| {
        bencher.iter(|| render::table(black_box(&record), TextStyle { color: false }));
    });
    group.bench_function("junit/100-figures", |bencher| {
        bencher.iter(|| render::junit(black_box(&record)).unwrap());
    });
    let folder = folder();
    for night in 0..30 {
        write(
            &folder.path().join(night.to_string()),
            night,
            20,
            &samples(),
        );
    }
    let out = folder.path().join("site");
    group.sample_size(10);
    group.bench_function(BenchmarkId::new("site", "30-runs"), |bencher| {
        bencher.iter(|| {
            let mut source = RunFolders::open(&[folder.path().into()]).unwrap();
            site::write(&mut source, &out, Timestamp::UNIX_EPOCH).unwrap()
        });
    });
    group.finish();
}

/// What criterion itself leaves.
fn imports(criterion: &mut Criterion) {
    let named = r#"{"full_id": "group/function", "throughput": {"Bytes": 1024}}"#;
    let numbers = |scale: f64| (1..=100).map(|i| f64::from(i) * scale).collect::<Vec<_>>();
    let sample = serde_json::json!({"iters": numbers(10.0), "times": numbers(8123.5)}).to_string();
    criterion.bench_function("import/criterion/100-samples", |bencher| {
        bencher.iter(|| {
            let named = import::criterion::benchmark(black_box(named)).unwrap();
            import::criterion::timing(named, black_box(&sample)).unwrap()
        });
    });
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_millis(800));
    targets = records, history, comparisons, rendering, imports
}
criterion_main!(benches);
