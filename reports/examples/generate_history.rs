//! Makes a history of known content, to measure with and to find changes in.
//!
//! ```text
//! cargo run --release -p harness-reports --example generate_history -- \
//!     URL [NIGHTS [ENGINES [METRICS [TRUTH.csv]]]]      (365, 20, 500)
//! ```
//!
//! Every night has one run of all engines. A figure scatters around its level by one per cent
//! (normal, log scale); in one series of 40 the level shifts once, by 3 to 20 % up or down,
//! between the second and the ninth tenth of the nights. TRUTH.csv lists those shifts. The same
//! numbers give the same history.

use std::error::Error;
use std::path::PathBuf;
use std::time::Instant;

use harness_reports::history::{Filter, History};
use harness_reports::{
    Better, CellRecord, EngineRecord, GitRevision, MachineRecord, Metric, ModelRecord, PlanRecord,
    Provenance, RunRecord, SCHEMA, Status, StoredRun, Telemetry, Verdict,
};
use jiff::{SignedDuration, Timestamp};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::json;

const NOISE: f64 = 0.01;
/// One series of so many shifts.
const SHIFTING: u64 = 40;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let url = arguments
        .next()
        .ok_or("usage: generate_history URL [NIGHTS [ENGINES [METRICS [TRUTH.csv]]]]")?;
    let mut number = |default: u64| arguments.next().map_or(Ok(default), |text| text.parse());
    let (nights, engines, metrics) = (number(365)?, number(20)?, number(500)?);
    let world = World {
        nights,
        engines,
        metrics,
    };
    if let Some(path) = arguments.next() {
        world.write_truth(&path)?;
    }
    let mut history = History::open_or_create(&url)?;
    let start = Instant::now();
    let mut slowest_s: f64 = 0.0;
    for night in 0..nights {
        let run = StoredRun::of(world.run(night), PathBuf::from(format!("/runs/{night}")));
        let start = Instant::now();
        history.add(&run)?;
        slowest_s = slowest_s.max(start.elapsed().as_secs_f64());
    }
    let points = nights * engines * metrics;
    let add_s = start.elapsed().as_secs_f64();
    println!("{points} points: written in {add_s:.1} s, the slowest run took {slowest_s:.3} s");

    let mut history = History::open(&url)?;
    for (what, filter) in [
        ("one series", one(Some("e3"), "latency.case_7.metric_7")),
        (
            "one metric of all engines",
            one(None, "latency.case_7.metric_7"),
        ),
        ("one engine", one(Some("e3"), "*")),
        ("everything", Filter::default()),
    ] {
        let start = Instant::now();
        let (mut series, mut points) = (0, 0);
        history.each_series(&filter, |one| {
            series += 1;
            points += one.points.len();
        })?;
        let read_s = start.elapsed().as_secs_f64();
        println!("{what}: {series} series, {points} points in {read_s:.3} s");
    }
    let start = Instant::now();
    let runs = history.runs(&Filter::default())?;
    println!(
        "list of {} runs in {:.3} s",
        runs.len(),
        start.elapsed().as_secs_f64()
    );
    if let Some(run) = runs.last() {
        let start = Instant::now();
        let record = history.record(run.id)?;
        let read_s = start.elapsed().as_secs_f64();
        println!("record of {} cells in {read_s:.3} s", record.cells.len());
    }
    Ok(())
}

fn one(engine: Option<&str>, metric: &str) -> Filter {
    Filter {
        engine: engine.map(str::to_owned),
        metric: Some(metric.into()),
        ..Filter::default()
    }
}

struct World {
    nights: u64,
    engines: u64,
    metrics: u64,
}

impl World {
    /// Night of the shift of a series, and the ratio of its level after to before.
    fn shift(&self, engine: u64, metric: u64) -> Option<(u64, f64)> {
        let series = engine * self.metrics + metric;
        let mut random = ChaCha8Rng::seed_from_u64(1 << 40 | series);
        if random.random_range(0..SHIFTING) != 0 {
            return None;
        }
        let (first, last) = (self.nights / 5, self.nights * 9 / 10);
        let night = random.random_range(first..last.max(first + 1));
        let size: f64 = random.random_range(0.03..0.20);
        Some((
            night,
            if random.random() {
                1.0 + size
            } else {
                1.0 / (1.0 + size)
            },
        ))
    }

    fn write_truth(&self, path: &str) -> Result<(), Box<dyn Error>> {
        let mut out = csv::Writer::from_path(path)?;
        out.write_record(["metric", "engine", "night", "revision", "ratio"])?;
        for engine in 0..self.engines {
            for metric in 0..self.metrics {
                if let Some((night, ratio)) = self.shift(engine, metric) {
                    out.write_record([
                        name(metric),
                        format!("e{engine}"),
                        night.to_string(),
                        revision(night),
                        ratio.to_string(),
                    ])?;
                }
            }
        }
        Ok(out.flush()?)
    }

    fn run(&self, night: u64) -> RunRecord {
        let started =
            Timestamp::UNIX_EPOCH + SignedDuration::from_hours(24 * (20_000 + night as i64));
        RunRecord {
            schema: SCHEMA,
            provenance: Provenance {
                harness_version: env!("CARGO_PKG_VERSION").into(),
                project: Some(GitRevision {
                    revision: revision(night),
                    branch: Some("main".into()),
                    dirty: false,
                }),
                command_line: vec!["harness".into(), "run".into()],
                settings: [("latency".into(), [("ctx".into(), "512".into())].into())].into(),
                gates: vec![],
                seeds: [("prompts".into(), 1)].into(),
                baseline: "e0".into(),
                plan: PlanRecord::default(),
                models: vec![ModelRecord {
                    name: "generated".into(),
                    sha256: "00".repeat(32),
                    size_bytes: 1,
                    format: "gguf".into(),
                    architecture: "llama".into(),
                    quantization: "q4_0".into(),
                    tokenizer_sha256: "11".repeat(32),
                }],
                machine: MachineRecord {
                    fingerprint: "0123456789abcdef".into(),
                    identity: json!({"chip": "generated"}),
                    state_at_start: json!({"load": 0.1}),
                    state_at_end: json!({"load": 0.9}),
                    warnings: vec![],
                },
                started,
                ended: Some(started + SignedDuration::from_hours(1)),
                resumed: vec![],
                shard: None,
                shards: vec![],
            },
            cells: (0..self.engines)
                .map(|engine| self.cell(night, engine, started))
                .collect(),
            samples_bytes: 0,
            telemetry: Telemetry::default(),
        }
    }

    fn cell(&self, night: u64, engine: u64, started: Timestamp) -> CellRecord {
        let mut random = ChaCha8Rng::seed_from_u64(night * self.engines + engine);
        let spec = format!("e{engine}");
        CellRecord {
            cell: format!("latency/{spec}"),
            suite: "latency".into(),
            engine: EngineRecord {
                id: spec.clone(),
                spec,
                version: "1".into(),
                device: "cpu".into(),
                options: Default::default(),
            },
            stands_in_for: None,
            model_sha256: "00".repeat(32),
            status: Status::Completed,
            started,
            wall_s: 60.0,
            work: None,
            metrics: (0..self.metrics)
                .map(|metric| {
                    let shifted = self.shift(engine, metric).filter(|(at, _)| night >= *at);
                    let level = (10.0 + metric as f64) * shifted.map_or(1.0, |(_, ratio)| ratio);
                    let value = level * (NOISE * normal(&mut random)).exp();
                    figure(name(metric), value)
                })
                .collect(),
        }
    }
}

fn figure(name: String, value: f64) -> Metric {
    Metric {
        name,
        unit: "ms".into(),
        better: Better::Lower,
        value: Some(value),
        n: 30,
        ci_low: Some(value * (1.0 - NOISE)),
        ci_high: Some(value * (1.0 + NOISE)),
        confidence: Some(0.95),
        gate: None,
        verdict: Verdict::Info,
        why: None,
        headline: false,
        ranks: false,
        basis: None,
    }
}

fn name(metric: u64) -> String {
    format!("latency.case_{}.metric_{metric}", metric % 10)
}

fn revision(night: u64) -> String {
    format!(
        "{:040x}",
        u128::from(night + 1) * 0x9e37_79b9_7f4a_7c15_f39c_c060
    )
}

/// Box and Muller's transform.
fn normal(random: &mut ChaCha8Rng) -> f64 {
    let (a, b): (f64, f64) = (random.random(), random.random());
    (-2.0 * (1.0 - a).ln()).sqrt() * (std::f64::consts::TAU * b).cos()
}
