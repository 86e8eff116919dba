//! The cells of a plan, one after the other.

use std::collections::HashMap;
use std::fmt;
use std::path::Path;
use std::time::Instant;

use anyhow::Result;
use engine::FailureKind;
use jiff::Timestamp;
use reports::{CellRecord, Failure, RunWriter, SampleRow, Status, StoredRun, StoredSample, Work};
use suites::{Measurement, Role, Sample, Series, Shard};

use super::breaker::{Breaker, Trial};
use super::interrupt::Interrupt;
use super::place::Place;
use super::progress::Progress;
use super::protocol::{Job, VERSION};
use super::supervisor::{Observed, Outcome, supervise};
use crate::plan::Plan;
use crate::verdict;

/// Cells that are in the record already.
#[derive(Default)]
pub(super) struct Finished {
    cells: HashMap<String, Status>,
    samples: HashMap<String, Vec<StoredSample>>,
}

impl Finished {
    pub(super) fn new(run: StoredRun) -> Self {
        let cells = run.record.cells.into_iter();
        Self {
            cells: cells.map(|cell| (cell.cell, cell.status)).collect(),
            samples: run.samples,
        }
    }
}

/// Goes through a plan and keeps its record.
pub(super) struct Runner<'a> {
    plan: &'a Plan,
    writer: &'a mut RunWriter,
    finished: Finished,
    interrupt: &'a Interrupt,
    /// Shared by the cells of this run.
    scratch: &'a Path,
    /// Kept with the record.
    artifacts: &'a Path,
    /// By engine spec.
    breakers: HashMap<String, Breaker>,
    progress: Progress,
}

/// What became of the baseline of a suite.
enum Baseline<'a> {
    Pending,
    Ran {
        place: Place<'a>,
        /// Its samples, if figures rest on them.
        series: Series,
        /// Whether what it leaves to the others is there, as it is not if an earlier
        /// process ran it.
        in_scratch: bool,
    },
    Failed,
}

/// How a cell ended.
enum End {
    Completed(Series),
    Failed(FailureKind),
    /// The engine had failed before and was left out.
    LeftOut,
    /// It was never to be run.
    Skipped,
    Interrupted,
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            End::Completed(_) => f.write_str("completed"),
            End::Failed(kind) => write!(f, "failed ({kind})"),
            End::LeftOut => f.write_str("left out, since its engine keeps failing"),
            End::Skipped => f.write_str("skipped"),
            End::Interrupted => f.write_str("interrupted"),
        }
    }
}

impl<'a> Runner<'a> {
    pub(super) fn new(
        plan: &'a Plan,
        writer: &'a mut RunWriter,
        finished: Finished,
        interrupt: &'a Interrupt,
        (scratch, artifacts): (&'a Path, &'a Path),
        progress: Progress,
    ) -> Self {
        Self {
            plan,
            writer,
            finished,
            interrupt,
            scratch,
            artifacts,
            breakers: HashMap::new(),
            progress,
        }
    }

    /// Runs every cell that is missing. Returns whether all are there now, or the
    /// user has interrupted. Only bad input and a disk that refuses are errors; an
    /// engine that fails is a finding.
    pub(super) fn run(&mut self) -> Result<bool> {
        let plan = self.plan;
        for (number, suite) in plan.suites.iter().enumerate() {
            let mut baseline = Baseline::Pending;
            for (index, engine) in plan.engines.iter().enumerate() {
                let place = Place {
                    suite,
                    engine,
                    stands_in_for: None,
                    index,
                    elsewhere: !suite.suite.divisible() && !plan.shard.takes(number),
                };
                self.progress.advance();
                let mut end = self.cell(place, &mut baseline)?;
                if let (End::Failed(_) | End::LeftOut, Some(fallback)) = (&end, &plan.fallback)
                    && fallback.spec != engine.spec
                {
                    let place = Place {
                        engine: fallback,
                        stands_in_for: Some(engine),
                        ..place
                    };
                    end = self.cell(place, &mut baseline)?;
                }
                if matches!(end, End::Interrupted) {
                    return Ok(false);
                }
                if index == 0 && !matches!(baseline, Baseline::Ran { .. }) {
                    baseline = Baseline::Failed;
                }
            }
        }
        Ok(true)
    }

    /// Runs a cell, or takes note of what an earlier process has made of it.
    fn cell(&mut self, place: Place<'a>, baseline: &mut Baseline<'a>) -> Result<End> {
        let skipped = self.why_not(place, baseline);
        let breaker = self.breakers.entry(place.engine.spec.to_string());
        let breaker = breaker.or_default();
        let left_out = skipped.is_none().then(|| breaker.refusal()).flatten();
        let was_left_out = left_out.is_some();

        let clock = Instant::now();
        let name = place.name();
        let recorded = self.finished.cells.remove(&name);
        let in_scratch = recorded.is_none();
        let end = match (recorded, skipped.or(left_out)) {
            (Some(Status::Completed), _) => End::Completed(self.stored(&name)),
            (Some(Status::Failed(failure)), _) => End::Failed(kind(&failure)),
            (Some(Status::Skipped { .. }), _) if was_left_out => End::LeftOut,
            (Some(Status::Skipped { .. }), _) => End::Skipped,
            (None, Some(why)) => {
                let status = Status::Skipped { why };
                let cell = place.record(status, Timestamp::now(), Instant::now());
                self.writer.finish_cell(cell, &[])?;
                match was_left_out {
                    true => End::LeftOut,
                    false => End::Skipped,
                }
            }
            (None, None) => self.measure(place, baseline)?,
        };

        self.progress.ended(&name, clock, &end.to_string());
        let trial = match &end {
            End::Completed(_) => Some(Trial::Success),
            End::Failed(FailureKind::Timeout) => Some(Trial::Breach),
            // Saying no is no sign of ill health, and costs nothing.
            End::Failed(FailureKind::Unsupported | FailureKind::InvalidInput) => None,
            End::Failed(_) => Some(Trial::Failure),
            End::LeftOut | End::Skipped | End::Interrupted => None,
        };
        if let Some(trial) = trial
            && let Some(breaker) = self.breakers.get_mut(&place.engine.spec.to_string())
        {
            breaker.note(trial);
        }
        if let (0, End::Completed(series)) = (place.index, &end) {
            *baseline = Baseline::Ran {
                place,
                series: series.clone(),
                in_scratch,
            };
        }
        Ok(end)
    }

    /// Why this engine cannot be put through this suite, if it cannot.
    fn why_not(&self, place: Place<'_>, baseline: &Baseline<'_>) -> Option<String> {
        if let Some(lack) = place.lack() {
            return Some(lack);
        }
        if matches!(baseline, Baseline::Failed) && !place.suite.suite.stands_alone() {
            return Some("the baseline has no result to hold it against".into());
        }
        let ours = &place.engine.model.record.tokenizer_sha256;
        let theirs = &self.plan.engines[0].model.record.tokenizer_sha256;
        (place.suite.suite.compares_tokens() && ours != theirs).then(|| {
            "its model has another tokenizer than the baseline's, so tokens cannot be compared"
                .into()
        })
    }

    /// The samples of a recorded cell.
    fn stored(&mut self, name: &str) -> Series {
        let mut series = Series::default();
        for sample in self.finished.samples.remove(name).unwrap_or_default() {
            series.push(&sample.case, &sample.metric, sample.index, sample.value);
        }
        series
    }

    /// Runs the cell and records what came of it.
    fn measure(&mut self, place: Place<'a>, baseline: &mut Baseline<'a>) -> Result<End> {
        let (started, clock) = (Timestamp::now(), Instant::now());
        let mut before = Work::default();
        if let Baseline::Ran {
            place: first,
            in_scratch,
            ..
        } = baseline
            && place.role() == Role::Candidate
            && !*in_scratch
        {
            // What it found is on record; what it left was lost with its process.
            let again = self.supervise(*first)?;
            before.workers = again.work.workers;
            match again.outcome {
                Outcome::Completed(_) => *in_scratch = true,
                Outcome::Interrupted => return Ok(End::Interrupted),
                Outcome::Failed(Failure { message, .. }) | Outcome::Skipped(message) => {
                    let why = format!("the baseline failed in another run of it: {message}");
                    *baseline = Baseline::Failed;
                    let cell = place.record(Status::Skipped { why }, started, clock);
                    self.writer.finish_cell(cell, &[])?;
                    return Ok(End::Skipped);
                }
            }
        }
        let observed = self.supervise(place)?;
        let (status, measurements, end) = match observed.outcome {
            Outcome::Interrupted => return Ok(End::Interrupted),
            Outcome::Failed(failure) => {
                let end = End::Failed(kind(&failure));
                (Status::Failed(failure), Vec::new(), end)
            }
            Outcome::Skipped(why) => (Status::Skipped { why }, Vec::new(), End::Skipped),
            Outcome::Completed(measurements) => {
                let (measurements, series) =
                    self.figures(place, measurements, &observed.samples, baseline)?;
                (Status::Completed, measurements, End::Completed(series))
            }
        };
        let suite = place.suite.suite.name();
        let mut cell = place.record(status, started, clock);
        cell.work = Some(before.plus(observed.work));
        cell.metrics = measurements
            .into_iter()
            .map(|measurement| verdict::judge(suite, measurement, &self.plan.gates))
            .collect();
        let rows = rows(&cell, &observed.samples);
        self.writer.finish_cell(cell.clone(), &rows)?;
        Ok(end)
    }

    fn supervise(&self, place: Place<'_>) -> Result<Observed> {
        let bar = self.progress.bar(&place.name());
        let progress = |done, total| {
            bar.set_length(total);
            bar.set_position(done);
        };
        let job = self.job(place);
        let observed = supervise(&job, &self.plan.limits, self.interrupt, &progress);
        bar.finish_and_clear();
        observed
    }

    fn job(&self, place: Place<'_>) -> Job {
        let (plan, engine) = (self.plan, place.engine);
        let suite = place.suite.suite.name();
        let version = &engine.info.version;
        let stem = match place.stands_in_for {
            None => format!("{suite}-{}", place.index),
            Some(_) => format!("{suite}-{}-fallback", place.index),
        };
        Job {
            version: VERSION,
            suite: suite.into(),
            settings: place.suite.settings.clone(),
            engine: engine.own.to_string(),
            engine_name: format!("{} {version}", engine.own),
            model: (&engine.model.artifact).into(),
            reader: match place.suite.suite.compares_tokens() {
                true => (&plan.engines[0].model.reader).into(),
                false => (&engine.model.reader).into(),
            },
            role: place.role(),
            candidates: plan.engines.len() - 1,
            shard: plan.shard.to_string(),
            scratch: self.scratch.into(),
            artifacts: self.artifacts.into(),
            stem,
        }
    }

    /// All figures of a cell, and its samples if others are held against them.
    fn figures(
        &self,
        place: Place<'_>,
        mut measurements: Vec<Measurement>,
        samples: &[Sample],
        baseline: &Baseline<'_>,
    ) -> Result<(Vec<Measurement>, Series)> {
        let suite = place.suite.suite;
        if !suite.divisible() {
            return Ok((measurements, Series::default()));
        }
        let series: Series = samples.iter().cloned().collect();
        let reference = match baseline {
            Baseline::Ran { series, .. } => Some(series),
            Baseline::Pending | Baseline::Failed => None,
        };
        // A share of the samples has no figures worth judging.
        if self.plan.shard == Shard::WHOLE {
            measurements.extend(suite.figures(&place.suite.settings, &series, reference)?);
        }
        Ok((measurements, series))
    }
}

fn rows<'a>(cell: &'a CellRecord, samples: &'a [Sample]) -> Vec<SampleRow<'a>> {
    let rows = samples.iter().map(|sample| SampleRow {
        cell: &cell.cell,
        suite: &cell.suite,
        case: &sample.case,
        engine: &cell.engine.spec,
        metric: &sample.metric,
        unit: &sample.unit,
        index: sample.index,
        value: sample.value,
    });
    rows.collect()
}

/// The kind of a recorded failure; of one that this version does not know, the
/// gravest.
fn kind(failure: &Failure) -> FailureKind {
    FailureKind::ALL
        .into_iter()
        .find(|kind| kind.to_string() == failure.kind)
        .unwrap_or(FailureKind::Crash)
}
