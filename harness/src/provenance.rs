//! Where the figures of a run come from.

use std::collections::BTreeMap;
use std::process::Command;

use anyhow::Result;
use jiff::Timestamp;
use machine::{Machine, OtherLoad, State};
use reports::history::without_password;
use reports::{GitRevision, MachineRecord, PlanRecord, Provenance};
use suites::Shard;

use crate::plan::Plan;

/// What is known before the first cell. `load` began to look when the program did.
pub(crate) fn gather(plan: &Plan, load: Option<OtherLoad>) -> Result<Provenance> {
    let machine = Machine::detect();
    let state = State::sample_with(load);
    let mut models = Vec::new();
    for engine in plan.engines.iter().chain(&plan.fallback) {
        if !models.contains(&engine.model.record) {
            models.push(engine.model.record.clone());
        }
    }
    Ok(Provenance {
        harness_version: env!("CARGO_PKG_VERSION").into(),
        project: git_revision(),
        command_line: command_line(),
        settings: plan
            .suites
            .iter()
            .map(|planned| {
                let settings = planned.settings.iter();
                let owned = settings
                    .map(|(key, value)| (key.into(), value.into()))
                    .collect();
                (planned.suite.name().into(), owned)
            })
            .collect(),
        gates: plan.gates.iter().map(ToString::to_string).collect(),
        history: plan.history.as_ref().map(|against| against.gate.clone()),
        // The bootstrap's; see `stats::BootstrapOptions`.
        seeds: BTreeMap::from([("bootstrap".into(), 0)]),
        baseline: plan.engines[0].spec.to_string(),
        plan: PlanRecord {
            suites: (plan.suites.iter())
                .map(|planned| planned.suite.name().into())
                .collect(),
            engines: (plan.engines.iter())
                .map(|planned| planned.spec.to_string())
                .collect(),
            fallback: (plan.fallback.as_ref()).map(|planned| planned.spec.to_string()),
        },
        models,
        machine: MachineRecord {
            fingerprint: machine.fingerprint(),
            identity: serde_json::to_value(&machine)?,
            state_at_start: serde_json::to_value(&state)?,
            state_at_end: serde_json::Value::Null,
            warnings: state.warnings(&machine),
        },
        started: Timestamp::now(),
        ended: None,
        resumed: Vec::new(),
        shard: (plan.shard != Shard::WHOLE).then(|| plan.shard.to_string()),
        shards: Vec::new(),
    })
}

/// How this program was started, without the passwords of addresses.
pub(crate) fn command_line() -> Vec<String> {
    std::env::args()
        .map(|argument| without_password(&argument))
        .collect()
}

/// The revision of the checkout that the run was started in, if it is one.
pub(crate) fn git_revision() -> Option<GitRevision> {
    let git = |arguments: &[&str]| {
        let output = Command::new("git").args(arguments).output().ok()?;
        let text = String::from_utf8(output.stdout).ok()?;
        output.status.success().then(|| text.trim().to_owned())
    };
    Some(GitRevision {
        revision: git(&["rev-parse", "HEAD"])?,
        branch: git(&["symbolic-ref", "--short", "-q", "HEAD"]),
        dirty: !git(&["status", "--porcelain"])?.is_empty(),
    })
}
