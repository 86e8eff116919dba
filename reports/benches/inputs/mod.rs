//! What the benchmarks of records compute on: runs of a suite of latencies.

use std::collections::BTreeMap;
use std::path::Path;

use harness_reports::{
    Basis, Better, CellRecord, EngineRecord, GitRevision, MachineRecord, Metric, PlanRecord,
    Provenance, RunRecord, RunWriter, SCHEMA, SampleRow, Status, Telemetry, Verdict,
};
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

/// Samples of a cell. `BENCH_PLANT_PCT=3` adds 3 per cent of work, to show that the limits and
/// comparisons of `docs/src/benchmarks.md` notice.
pub(crate) const SAMPLES: u64 = 100 * (100 + planted_pct());

const fn planted_pct() -> u64 {
    let Some(digits) = option_env!("BENCH_PLANT_PCT") else {
        return 0;
    };
    let (digits, mut at, mut number) = (digits.as_bytes(), 0, 0);
    while at < digits.len() {
        number = 10 * number + (digits[at] - b'0') as u64;
        at += 1;
    }
    number
}

/// A time that scatters by a per cent, the same in every run of the benchmark.
fn time_ns(run: u64, index: u64) -> f64 {
    let scatter = (run * 7919 + index * 104_729) % 2003;
    8.2e6 * (1.0 + scatter as f64 / 2003.0 / 100.0)
}

/// A cell of so many figures.
pub(crate) fn cell(run: u64, metrics: u64) -> CellRecord {
    let metric = |index| {
        let value = time_ns(run, index);
        Metric {
            name: format!("latency.case-{}.itl_p{}", index / 10, 50 + index % 10),
            unit: "ns".into(),
            better: Better::Lower,
            value: Some(value),
            n: SAMPLES,
            ci_low: Some(0.99 * value),
            ci_high: Some(1.01 * value),
            confidence: Some(0.95),
            gate: None,
            verdict: Verdict::Info,
            why: None,
            headline: index < 5,
            ranks: false,
            basis: Some(Basis::Machine),
        }
    };
    CellRecord {
        cell: "latency/reference".into(),
        suite: "latency".into(),
        engine: EngineRecord {
            spec: "reference".into(),
            id: "reference".into(),
            version: "0.1.0".into(),
            device: "cpu".into(),
            options: BTreeMap::new(),
        },
        stands_in_for: None,
        model_sha256: "0".repeat(64),
        status: Status::Completed,
        started: started(run),
        wall_s: 30.0,
        work: None,
        metrics: (0..metrics).map(metric).collect(),
    }
}

fn started(run: u64) -> Timestamp {
    Timestamp::UNIX_EPOCH + SignedDuration::from_hours(24 * run as i64)
}

/// The record of a night that has no cell yet.
pub(crate) fn record(run: u64) -> RunRecord {
    RunRecord {
        schema: SCHEMA,
        provenance: Provenance {
            harness_version: "0.1.0".into(),
            project: Some(GitRevision {
                revision: format!("{run:040x}"),
                branch: Some("main".into()),
                dirty: false,
            }),
            command_line: vec!["harness".into(), "run".into()],
            settings: BTreeMap::new(),
            gates: Vec::new(),
            history: None,
            seeds: BTreeMap::new(),
            baseline: "reference".into(),
            plan: PlanRecord::default(),
            models: Vec::new(),
            machine: MachineRecord {
                fingerprint: "0".into(),
                identity: Value::Null,
                state_at_start: Value::Null,
                state_at_end: Value::Null,
                warnings: Vec::new(),
            },
            started: started(run),
            ended: Some(started(run) + SignedDuration::from_secs(30)),
            resumed: Vec::new(),
            shard: None,
            shards: Vec::new(),
        },
        cells: Vec::new(),
        samples_bytes: 0,
        telemetry: Telemetry::default(),
    }
}

/// Inter-token latencies as they go to `samples.csv`.
pub(crate) fn samples() -> Vec<SampleRow<'static>> {
    let sample = |index| SampleRow {
        cell: "latency/reference",
        suite: "latency",
        case: "chat",
        engine: "reference",
        metric: "itl",
        unit: "ns",
        index,
        value: time_ns(0, index),
    };
    (0..SAMPLES).map(sample).collect()
}

/// Writes a record of one cell to `folder`.
pub(crate) fn write(folder: &Path, run: u64, metrics: u64, samples: &[SampleRow<'_>]) {
    let mut writer = RunWriter::create(folder, record(run)).unwrap();
    writer.finish_cell(cell(run, metrics), samples).unwrap();
}
