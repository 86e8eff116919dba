//! A suite on an engine: what is known of a cell before it is run.

use std::time::Instant;

use jiff::Timestamp;
use reports::{CellRecord, EngineRecord, Status};
use suites::Role;

use crate::plan::{PlannedEngine, PlannedSuite};

/// One cell of the plan.
#[derive(Clone, Copy)]
pub(super) struct Place<'a> {
    pub(super) suite: &'a PlannedSuite,
    pub(super) engine: &'a PlannedEngine,
    /// The engine that failed, if this one takes over.
    pub(super) stands_in_for: Option<&'a PlannedEngine>,
    /// Place in the list of engines.
    pub(super) index: usize,
    /// Whether it is a whole that another shard runs.
    pub(super) elsewhere: bool,
}

impl Place<'_> {
    /// What the record calls it.
    pub(super) fn name(&self) -> String {
        let (suite, engine) = (self.suite.suite.name(), &self.engine.spec);
        match self.stands_in_for {
            None => format!("{suite}/{engine}"),
            Some(failed) => format!("{suite}/{engine} for {}", failed.spec),
        }
    }

    /// The first of the engines is what the others are held against.
    pub(super) fn role(&self) -> Role {
        match self.index {
            0 => Role::Baseline,
            _ => Role::Candidate,
        }
    }

    /// Why this engine cannot be put through this suite, whatever becomes of the baseline.
    pub(super) fn lack(&self) -> Option<String> {
        if self.elsewhere {
            return Some("this suite cannot be split, and another shard runs it".into());
        }
        let capabilities = &self.engine.info.capabilities;
        let mut lacks = Vec::new();
        for powers in self.suite.suite.requires() {
            let mut missing = powers.iter().filter(|power| !capabilities.contains(power));
            match missing.next() {
                Some(power) => lacks.push(power),
                None => {
                    lacks.clear();
                    break;
                }
            }
        }
        let mut lost = self.engine.lacking.iter();
        if let Some((_, why)) = lost.find(|(power, _)| lacks.contains(&power)) {
            return Some(why.clone());
        }
        if lacks.is_empty() {
            return None;
        }
        let lacks: Vec<_> = lacks.iter().map(|power| format!("{power:?}")).collect();
        let lacks = lacks.join(" or ");
        Some(format!("the engine lacks the capability {lacks}"))
    }

    /// The record of a cell that has just ended, without figures.
    pub(super) fn record(&self, status: Status, started: Timestamp, clock: Instant) -> CellRecord {
        let engine = self.engine;
        let info = &engine.info;
        let options = engine.spec.options.iter();
        CellRecord {
            cell: self.name(),
            suite: self.suite.suite.name().into(),
            engine: EngineRecord {
                spec: engine.spec.to_string(),
                id: info.id.clone(),
                version: info.version.clone(),
                device: info.device.clone(),
                options: options
                    .map(|(key, value)| (key.into(), value.into()))
                    .collect(),
            },
            stands_in_for: self.stands_in_for.map(|failed| failed.spec.to_string()),
            model_sha256: engine.model.artifact.sha256.clone(),
            status,
            started,
            wall_s: clock.elapsed().as_secs_f64(),
            work: None,
            metrics: Vec::new(),
        }
    }
}
