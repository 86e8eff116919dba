//! Places for histories, and runs to put there.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use harness_reports::{
    Basis, Better, CellRecord, EngineRecord, GitRevision, MachineRecord, Metric, ModelRecord,
    PlanRecord, Provenance, RunRecord, SCHEMA, Status, StoredRun, Telemetry, Verdict, Work,
};
use jiff::{SignedDuration, Timestamp};
use serde_json::json;
use tempfile::TempDir;

/// Makes a test of a function that takes the URL of a history that is not yet
/// there: one on either database.
macro_rules! on_both {
    ($($name:ident)*) => {
        mod sqlite {
            $(#[test]
            fn $name() {
                let place = crate::support::Place::sqlite();
                super::$name(&place.url);
            })*
        }
        mod postgres {
            $(#[test]
            fn $name() {
                if let Some(place) = crate::support::Place::postgres() {
                    super::$name(&place.url);
                }
            })*
        }
    };
}
pub(crate) use on_both;

/// Where a history may be made, until this is dropped.
pub(crate) struct Place {
    pub(crate) url: String,
    /// Holds the file of SQLite.
    pub(crate) folder: TempDir,
}

impl Place {
    pub(crate) fn sqlite() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite:{}", folder.path().join("history.db").display());
        Self { url, folder }
    }

    /// A new database on the server for tests, if there is one.
    pub(crate) fn postgres() -> Option<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let Ok(server) = std::env::var("HARNESS_TEST_POSTGRES") else {
            eprintln!("not run: HARNESS_TEST_POSTGRES is not set (see scripts/with-postgres)");
            return None;
        };
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("history_{}_{number}", std::process::id());
        let admin = format!("{server}/postgres");
        postgres::Client::connect(&admin, postgres::NoTls)
            .unwrap()
            .batch_execute(&format!("CREATE DATABASE {name}"))
            .unwrap();
        Some(Self {
            url: format!("{server}/{name}"),
            folder: tempfile::tempdir().unwrap(),
        })
    }
}

/// Runs SQL behind the history's back.
pub(crate) fn meddle(url: &str, sql: &str) {
    match url.strip_prefix("sqlite:") {
        Some(path) => rusqlite::Connection::open(path)
            .unwrap()
            .execute_batch(sql)
            .unwrap(),
        None => ::postgres::Client::connect(url, ::postgres::NoTls)
            .unwrap()
            .batch_execute(&format!("SET search_path TO harness; {sql}"))
            .unwrap(),
    }
}

/// A run on day `day`: two engines, each with two metrics.
pub(crate) fn run(day: i64) -> RunRecord {
    let started = "2026-01-01T03:00:00.000000001Z"
        .parse::<Timestamp>()
        .unwrap()
        + SignedDuration::from_hours(24 * day);
    RunRecord {
        schema: SCHEMA,
        provenance: Provenance {
            harness_version: "0.1.0".into(),
            project: Some(GitRevision {
                revision: format!("{day:040x}"),
                branch: Some("main".into()),
                dirty: false,
            }),
            command_line: vec!["harness".into(), "run".into()],
            settings: BTreeMap::from([(
                "latency".into(),
                BTreeMap::from([("ctx".into(), "512".into())]),
            )]),
            gates: vec!["latency.ttft <= 3".into()],
            history: None,
            seeds: BTreeMap::from([("prompts".into(), 7)]),
            baseline: "a".into(),
            plan: PlanRecord::default(),
            models: vec![ModelRecord {
                name: "tiny".into(),
                sha256: "ab".repeat(32),
                size_bytes: 1 << 20,
                format: "gguf".into(),
                architecture: "llama".into(),
                quantization: "f16".into(),
                tokenizer_sha256: "cd".repeat(32),
            }],
            machine: MachineRecord {
                fingerprint: "0123456789abcdef".into(),
                identity: json!({"chip": "A", "memory_bytes": 1}),
                state_at_start: json!({"load": 0.1}),
                state_at_end: json!(null),
                warnings: vec!["busy".into()],
            },
            started,
            ended: Some(started + SignedDuration::from_mins(20)),
            resumed: vec![],
            shard: None,
            shards: vec![],
        },
        cells: ["a", "b:weights=q4_0"]
            .map(|spec| cell(spec, started, day))
            .into(),
        samples_bytes: 12_345,
        telemetry: Telemetry::default(),
    }
}

fn cell(spec: &str, started: Timestamp, day: i64) -> CellRecord {
    let id = spec.split(':').next().unwrap_or(spec);
    CellRecord {
        cell: format!("latency/{spec}"),
        suite: "latency".into(),
        engine: EngineRecord {
            spec: spec.into(),
            id: id.into(),
            version: "1".into(),
            device: "cpu".into(),
            options: BTreeMap::from([("weights".into(), "q4_0".into())]),
        },
        stands_in_for: None,
        model_sha256: "ab".repeat(32),
        status: Status::Completed,
        started,
        wall_s: 1.25,
        work: Some(Work::default()),
        metrics: vec![
            Metric {
                basis: Some(Basis::Machine),
                ..metric("latency.chat.ttft", "ms", 10.0 + day as f64)
            },
            metric("latency.chat.decode", "tok/s", 100.0 - day as f64),
        ],
    }
}

pub(crate) fn metric(name: &str, unit: &str, value: f64) -> Metric {
    Metric {
        name: name.into(),
        unit: unit.into(),
        better: Better::Lower,
        value: Some(value),
        n: 30,
        ci_low: Some(value - 0.1),
        ci_high: Some(value + 0.1),
        confidence: Some(0.95),
        gate: Some("<= 1000".into()),
        verdict: Verdict::Pass,
        why: Some("because".into()),
        headline: true,
        ranks: false,
        basis: None,
    }
}

/// The record as it would be read from a folder.
pub(crate) fn stored(record: RunRecord) -> StoredRun {
    StoredRun::of(record, PathBuf::from("/runs/one"))
}
