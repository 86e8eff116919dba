//! `harness conformance`: the promises of the seam, checked in a worker.

use anyhow::{Context, Result, bail};
use comfy_table::{Table, presets};
use engine::conformance::{Outcome as Checked, check_model};
use engine::{
    Capability, Engine, EngineInfo, EngineOptions, EngineSpec, FailureKind, ModelArtifact,
};
use reports::Failure;
use serde_json::json;
use suites::{Better, Cell, Input, Measurement, Role, Setting, Settings, Shard, Suite, SuiteError};

use super::interrupt::Interrupt;
use super::limits::Limits;
use super::progress;
use super::protocol::{Job, VERSION};
use super::supervisor::{Outcome, supervise};
use crate::args::{ConformanceArguments, ListFormat};
use crate::engines::Engines;
use crate::exit::Exit;
use crate::model;
use crate::output::emit;

/// What a job calls it. No suite of a run has that name.
pub(super) const NAME: &str = "conformance";

/// The checks as a suite, for a worker: one figure a check, 1 if it passed, 0 if it failed, and
/// none if it was skipped.
pub(super) struct Conformance<'a> {
    pub(super) engine: &'a dyn Engine,
    pub(super) options: &'a EngineOptions,
    pub(super) model: &'a ModelArtifact,
}

impl Suite for Conformance<'_> {
    fn name(&self) -> &'static str {
        NAME
    }

    fn about(&self) -> &'static str {
        "the promises of the seam"
    }

    fn settings(&self) -> &'static [Setting] {
        &[]
    }

    fn gates(&self) -> &'static [(&'static str, &'static str)] {
        &[]
    }

    fn requires(&self) -> &'static [&'static [Capability]] {
        &[]
    }

    fn validate(&self, _: &Input<'_>) -> Result<(), SuiteError> {
        Ok(())
    }

    fn run(&self, cell: &mut Cell<'_>) -> Result<Vec<Measurement>, SuiteError> {
        let mut info = self.engine.probe(self.options)?;
        info.lose(&self.engine.lacking(self.model, self.options));
        let report = check_model(&*(cell.open)()?, info);
        let checks = report.checks.into_iter().map(|check| {
            let figure =
                |value| Measurement::new(NAME, check.name, "0|1", Better::Higher, value, 1);
            match check.outcome {
                Checked::Pass => figure(1.0),
                Checked::Fail(why) => Measurement {
                    why: Some(why),
                    ..figure(0.0)
                },
                Checked::Skip(why) => Measurement {
                    why: Some(why),
                    ..figure(f64::NAN)
                },
            }
        });
        Ok(checks.collect())
    }
}

pub(crate) fn check(engines: &Engines, arguments: &ConformanceArguments) -> Result<Exit> {
    let spec: EngineSpec = arguments.engine.parse()?;
    let engine = engines
        .find(&spec)
        .with_context(|| format!("--engine {spec}"))?;
    let info = match engine.probe(&spec.options) {
        Err(error) if error.kind() == FailureKind::InvalidInput => {
            return Err(error).with_context(|| format!("--engine {spec}"));
        }
        // The worker will find the same, and say it.
        other => other.unwrap_or_else(|_| engine.describe()),
    };
    let interrupt = Interrupt::listen()?;
    let bar = progress::bar(&format!("{NAME}/{spec}"));
    let scratch = tempfile::tempdir().context("cannot create a scratch folder")?;
    let artifact = model::artifact(arguments.model.as_deref())?;
    let job = Job {
        version: VERSION,
        suite: NAME.into(),
        settings: Settings::default(),
        engine: spec.to_string(),
        engine_name: format!("{spec} {}", info.version),
        model: (&artifact).into(),
        reader: (&artifact).into(),
        role: Role::Baseline,
        candidates: 0,
        shard: Shard::WHOLE.to_string(),
        scratch: scratch.path().into(),
        artifacts: scratch.path().into(),
        stem: NAME.into(),
    };
    let limits = Limits::new(None, arguments.stall, None);
    let observed = supervise(&job, &limits, &interrupt, &|_, _| {})?;
    bar.finish_and_clear();
    let (checks, failure) = match observed.outcome {
        Outcome::Completed(checks) => (checks, None),
        Outcome::Failed(failure) => (Vec::new(), Some(failure)),
        Outcome::Skipped(why) => bail!("--engine {spec}: {why}"),
        Outcome::Interrupted => return Ok(Exit::Interrupted),
    };
    let passed = checks.iter().any(|check| check.value == 1.0)
        && !checks.iter().any(|check| check.value == 0.0);
    let text = match arguments.format {
        ListFormat::Json => as_json(&spec, &info, &checks, failure.as_ref(), passed)?,
        ListFormat::Table => as_table(&spec, &info, &checks, failure.as_ref()),
    };
    emit(&text)?;
    Ok(match (failure, passed) {
        (Some(_), _) => Exit::EngineFailed,
        (None, true) => Exit::Passed,
        (None, false) => Exit::GateFailed,
    })
}

/// What became of a check.
fn outcome(check: &Measurement) -> &'static str {
    match check.value {
        0.0 => "fail",
        1.0 => "pass",
        _ => "skip",
    }
}

fn as_json(
    spec: &EngineSpec,
    info: &EngineInfo,
    checks: &[Measurement],
    failure: Option<&Failure>,
    passed: bool,
) -> Result<String> {
    let checks: Vec<_> = checks
        .iter()
        .map(|check| json!({ "name": check.metric, "outcome": outcome(check), "why": check.why }))
        .collect();
    let value = json!({
        "engine": spec.to_string(),
        "version": info.version,
        "device": info.device,
        "capabilities": info.capabilities,
        "checks": checks,
        "failure": failure,
        "passed": passed,
    });
    Ok(serde_json::to_string_pretty(&value)? + "\n")
}

fn as_table(
    spec: &EngineSpec,
    info: &EngineInfo,
    checks: &[Measurement],
    failure: Option<&Failure>,
) -> String {
    if let Some(failure) = failure {
        return format!(
            "FAIL  {spec}: {} failure: {}\n",
            failure.kind, failure.message
        );
    }
    let mut table = Table::new();
    table
        .load_style(presets::UTF8_FULL_CONDENSED)
        .set_header(["check", "outcome", "why"]);
    for check in checks {
        let why = check.why.as_deref().unwrap_or_default();
        table.add_row([&*check.metric, outcome(check), why]);
    }
    let count = |wanted| {
        checks
            .iter()
            .filter(|check| outcome(check) == wanted)
            .count()
    };
    let (version, device) = (&info.version, &info.device);
    format!(
        "{spec}: {version} on {device}\n{table}\n{} passed, {} failed, {} skipped\n",
        count("pass"),
        count("fail"),
        count("skip"),
    )
}
