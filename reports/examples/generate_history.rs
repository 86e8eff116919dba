//! Makes a history of known content, to measure with and to find changes in.
//!
//! ```text
//! cargo run --release -p harness-reports --example generate_history -- \
//!     URL [NIGHTS [ENGINES [METRICS [TRUTH.csv]]]]      (365, 20, 500)
//! ```
//!
//! Every night has one run of all engines, with names, units and sizes of figures as suites have
//! them. A figure scatters around its level by one per cent
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

/// Suite, metric, unit, direction, level.
const FIGURES: [(&str, &str, &str, Better, f64); 10] = [
    ("latency", "ttft_p50", "ns", Better::Lower, 80e6),
    ("latency", "itl_p50", "ns", Better::Lower, 8.2e6),
    ("latency", "itl_p99", "ns", Better::Lower, 14e6),
    (
        "latency",
        "decode_tok_per_s",
        "tok/s",
        Better::Higher,
        118.0,
    ),
    (
        "latency",
        "prefill_tok_per_s",
        "tok/s",
        Better::Higher,
        640.0,
    ),
    ("memory", "peak_bytes", "B", Better::Lower, 3.6e8),
    ("kv", "resident_bytes", "B", Better::Lower, 2.4e7),
    ("perplexity", "ppl", "1", Better::Lower, 12.3),
    ("parity", "kl_mean", "nat", Better::Lower, 0.0042),
    ("soak", "decode_ns", "ns", Better::Lower, 8.4e6),
];
const SUITES: [&str; 6] = ["latency", "memory", "kv", "perplexity", "parity", "soak"];
const WEIGHTS: [&str; 7] = ["f16", "q8_0", "q6_k", "q5_k", "q4_k", "q4_0", "q3_k"];
const ENGINES: [&str; 3] = ["reference", "metal", "vulkan"];
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
        (
            "one series",
            one(Some(&engine(3)), "latency.ctx_512.itl_p50"),
        ),
        (
            "one metric of all engines",
            one(None, "latency.ctx_512.itl_p50"),
        ),
        ("one engine", one(Some(&engine(3)), "*")),
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
                        self::engine(engine),
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
                settings: [(
                    "latency".into(),
                    [("max_tokens".into(), "64".into())].into(),
                )]
                .into(),
                gates: vec![],
                history: None,
                seeds: [("prompts".into(), 1)].into(),
                baseline: engine(0),
                plan: PlanRecord {
                    engines: (0..self.engines).map(engine).collect(),
                    ..PlanRecord::default()
                },
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
                .flat_map(|engine| self.cells(night, engine, started))
                .collect(),
            samples_bytes: 0,
            telemetry: Telemetry::default(),
        }
    }

    /// The cells of an engine, one a suite.
    fn cells(&self, night: u64, engine: u64, started: Timestamp) -> Vec<CellRecord> {
        let mut random = ChaCha8Rng::seed_from_u64(night * self.engines + engine);
        let spec = self::engine(engine);
        let cell = |suite: &str| CellRecord {
            cell: format!("{suite}/{spec}"),
            suite: suite.into(),
            engine: EngineRecord {
                id: ENGINES[engine as usize % ENGINES.len()].into(),
                spec: spec.clone(),
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
            metrics: Vec::new(),
        };
        let mut cells: Vec<CellRecord> = SUITES.iter().map(|suite| cell(suite)).collect();
        for metric in 0..self.metrics {
            let (suite, _, unit, better, level) = figure(metric);
            let shifted = self.shift(engine, metric).filter(|(at, _)| night >= *at);
            let level = level
                * (1.0 + 0.1 * engine as f64)
                * (1.0 + (metric / 10) as f64)
                * shifted.map_or(1.0, |(_, ratio)| ratio);
            let value = level * (NOISE * normal(&mut random)).exp();
            let cell = cells.iter_mut().find(|cell| cell.suite == suite);
            cell.into_iter().for_each(|cell| {
                cell.metrics.push(Metric {
                    name: name(metric),
                    unit: unit.into(),
                    better,
                    value: Some(value),
                    n: 30,
                    ci_low: Some(value * (1.0 - NOISE)),
                    ci_high: Some(value * (1.0 + NOISE)),
                    confidence: Some(0.95),
                    gate: None,
                    verdict: Verdict::Info,
                    why: None,
                    headline: metric < FIGURES.len() as u64,
                    ranks: false,
                    basis: None,
                });
            });
        }
        cells.retain(|cell| !cell.metrics.is_empty());
        cells
    }
}

fn figure(metric: u64) -> (&'static str, &'static str, &'static str, Better, f64) {
    FIGURES[metric as usize % FIGURES.len()]
}

/// `latency.ctx_512.itl_p50`: contexts in steps of 128.
fn name(metric: u64) -> String {
    let (suite, figure, ..) = figure(metric);
    format!("{suite}.ctx_{}.{figure}", 128 * (metric / 10 + 1))
}

/// `reference:weights=q4_0`, each a different one.
fn engine(engine: u64) -> String {
    let place = engine as usize;
    let weights = WEIGHTS[place / ENGINES.len() % WEIGHTS.len()];
    let threads = match place / (ENGINES.len() * WEIGHTS.len()) {
        0 => String::new(),
        more => format!(",threads={more}"),
    };
    format!(
        "{}:weights={weights}{threads}",
        ENGINES[place % ENGINES.len()]
    )
}

fn revision(night: u64) -> String {
    let mixed = (night + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    format!(
        "{mixed:016x}{:016x}{:08x}",
        mixed.rotate_left(23),
        mixed as u32
    )
}

/// Box and Muller's transform.
fn normal(random: &mut ChaCha8Rng) -> f64 {
    let (a, b): (f64, f64) = (random.random(), random.random());
    (-2.0 * (1.0 - a).ln()).sqrt() * (std::f64::consts::TAU * b).cos()
}
