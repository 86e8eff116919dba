//! A small record for the renderers' tests: one sound engine, one that fails
//! a gate, one that crashes.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::{
    Better, CellRecord, EngineRecord, Failure, MachineRecord, Metric, PlanRecord, Provenance,
    RunRecord, SCHEMA, Status, Telemetry, Verdict,
};

pub(crate) fn record() -> RunRecord {
    let cell = |spec: &str, status, metrics| CellRecord {
        cell: format!("parity/{spec}"),
        suite: "parity".into(),
        engine: EngineRecord {
            spec: spec.into(),
            id: "reference".into(),
            version: "0.1.0".into(),
            device: "cpu".into(),
            options: BTreeMap::new(),
        },
        stands_in_for: None,
        model_sha256: "00".into(),
        status,
        started: Timestamp::UNIX_EPOCH,
        wall_s: 1.5,
        work: None,
        metrics,
    };
    let metric = |name: &str, value, verdict| Metric {
        name: format!("parity.teacher_forced.{name}"),
        unit: "1".into(),
        better: Better::Lower,
        value: Some(value),
        n: 100,
        ci_low: Some(value * 0.9),
        ci_high: Some(value * 1.1),
        confidence: Some(0.95),
        gate: (verdict != Verdict::Info).then(|| "<= 0.1".into()),
        verdict,
        why: (verdict != Verdict::Info).then(|| "derived".into()),
        headline: true,
        ranks: false,
        basis: None,
    };
    let crash = Failure {
        kind: "crash".into(),
        message: "died of <script>".into(),
        evidence: None,
    };
    RunRecord {
        schema: SCHEMA,
        provenance: Provenance {
            harness_version: "0.1.0".into(),
            project: None,
            command_line: vec!["harness".into()],
            settings: BTreeMap::new(),
            gates: vec![],
            history: None,
            seeds: BTreeMap::new(),
            baseline: "reference".into(),
            plan: PlanRecord::default(),
            models: vec![],
            machine: MachineRecord {
                fingerprint: "0".into(),
                identity: serde_json::Value::Null,
                state_at_start: serde_json::Value::Null,
                state_at_end: serde_json::Value::Null,
                warnings: vec![],
            },
            started: Timestamp::UNIX_EPOCH,
            ended: None,
            resumed: vec![],
            shard: None,
            shards: vec![],
        },
        cells: vec![
            cell(
                "reference",
                Status::Completed,
                vec![
                    metric("nmse", 0.01, Verdict::Pass),
                    metric("perplexity", 9.5, Verdict::Info),
                ],
            ),
            cell(
                "reference:weights=q2_k",
                Status::Completed,
                vec![metric("nmse", 0.5, Verdict::Fail)],
            ),
            cell("stdio", Status::Failed(crash), vec![]),
        ],
        samples_bytes: 0,
        telemetry: Telemetry::default(),
    }
}
