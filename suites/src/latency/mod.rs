//! Suite `latency`: how long does a user wait, and for what?
//!
//! Times are taken by one monotonic clock around calls of the seam, kept raw, and
//! judged by medians and percentiles with distribution-free intervals. Loading, first
//! token and every token after it are cases of their own; so are requests one after
//! the other, requests by a schedule, and several sessions at once.
//!
//! ```
//! use harness_suites::latency::{Laps, MonotonicClock};
//!
//! let clock = MonotonicClock::start();
//! let mut laps = Laps::new(&clock, 100);
//! laps.start();
//! for step in 0..100_u64 {
//!     std::hint::black_box(step.pow(2)); // What is measured.
//!     laps.lap();
//! }
//! let mut laps_ns: Vec<f64> = laps.laps_ns().iter().map(|&lap_ns| lap_ns as f64).collect();
//! laps_ns.sort_by(f64::total_cmp);
//! let median_ns = stats::median(&laps_ns)?;
//! let interval = stats::quantile_interval(&laps_ns, 0.5, 0.95)?;
//! assert!(interval.low <= median_ns && median_ns <= interval.high);
//! # Ok::<(), stats::StatsError>(())
//! ```

mod answers;
mod arrivals;
mod asked;
mod baseline;
mod clock;
mod context;
mod extent;
#[cfg(test)]
mod fake;
mod figures;
mod histogram;
mod laps;
mod load;
mod loops;
mod network;
mod overhead;
mod plan;
mod request;
mod surroundings;
mod traffic;
mod warm_up;

use std::path::PathBuf;

use engine::{Capability, EngineError, TokenId};

pub use clock::{Clock, MonotonicClock};
pub use laps::Laps;
pub use request::request;

use crate::{Basis, Better, Cell, Input, Measurement, Sample, Setting, Suite, SuiteError};
use overhead::Overhead;
use plan::Plan;
use surroundings::Before;

/// The suite.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Latency;

impl Suite for Latency {
    fn name(&self) -> &'static str {
        "latency"
    }

    fn about(&self) -> &'static str {
        "time to load, to the first token and from token to token, alone and under load"
    }

    fn settings(&self) -> &'static [Setting] {
        plan::SETTINGS
    }

    fn gates(&self) -> &'static [(&'static str, &'static str)] {
        &[("overhead.lap_ns", "<= 1000, what a sample may cost")]
    }

    fn requires(&self) -> &'static [&'static [Capability]] {
        &[&[]]
    }

    fn validate(&self, input: &Input<'_>) -> Result<(), SuiteError> {
        input
            .settings
            .refuse_unknown(self.name(), self.settings())?;
        Plan::read(input).map(drop)
    }

    fn basis(&self) -> Option<Basis> {
        Some(Basis::Machine)
    }

    fn run(&self, cell: &mut Cell<'_>) -> Result<Vec<Measurement>, SuiteError> {
        let plan = Plan::read(&cell.input)?;
        let clock = MonotonicClock::start();
        Run {
            cell,
            plan: &plan,
            clock: &clock,
            done: 0,
            told_ns: 0,
        }
        .all()
    }
}

/// Cases besides those of prompts: load, sweep, and three kinds of traffic.
const OTHER_CASES: usize = 5;

/// Shortest time between two signs of life.
const ALIVE_NS: u64 = 100_000_000;

/// One cell being measured.
struct Run<'a, 'c> {
    cell: &'a mut Cell<'c>,
    plan: &'a Plan,
    clock: &'a dyn Clock,
    /// Cases done.
    done: u64,
    /// When progress was told last.
    told_ns: u64,
}

impl Run<'_, '_> {
    fn all(mut self) -> Result<Vec<Measurement>, SuiteError> {
        let before = Before::look();
        let overhead = Overhead::measure(self.clock);
        let mut all = load::measure(&mut self)?;
        self.step();

        let model = (self.cell.open)()?;
        let model = &*model;
        let (fitting, others) = self.plan.fitting(model.config().context);
        let Some(&middle) = fitting.get(fitting.len() / 2) else {
            let why = format!(
                "with an answer of {} tokens none fits the model's context of {}",
                self.plan.decode_tokens,
                model.config().context
            );
            return Err(plan::refused(&self.cell.input, &plan::PROMPTS, why).into());
        };
        for &length in fitting.iter().filter(|&&length| length != middle) {
            all.extend(answers::prompt(&mut self, model, length)?);
            self.step();
        }
        let (figures, steady) = answers::answer(&mut self, model, middle)?;
        all.extend(figures);
        all.extend(baseline::compare(&self, middle, &steady)?);
        self.step();
        for length in others {
            let why = format!("the model's context is {}", model.config().context);
            let case = format!("prompt_{length}");
            let (metric, better) = ("ttft_p50_ns", Better::Lower);
            all.push(Measurement::withheld(case, metric, "ns", better, 0, why));
            self.step();
        }
        all.extend(context::sweep(&mut self, model)?);
        self.step();
        all.extend(loops::measure(&mut self, model, middle)?);
        all.extend(overhead.figures(steady.itl_p50_ns));
        all.extend(before.figures());
        Ok(all)
    }

    /// Hands out raw samples of one metric.
    fn samples(
        &mut self,
        case: &str,
        metric: &str,
        indices: impl Iterator<Item = u64>,
        values: impl IntoIterator<Item = f64>,
    ) {
        for (index, value) in indices.zip(values) {
            (self.cell.samples)(Sample {
                case: case.to_owned().into(),
                metric: metric.to_owned().into(),
                unit: "ns".into(),
                index,
                value,
            });
        }
    }

    /// What `tokens` say.
    fn text(&self, tokens: &[TokenId]) -> Result<String, EngineError> {
        let text = self.cell.input.tokenizer.decode(tokens);
        text.map_err(|error| EngineError::invalid(error.to_string()))
    }

    /// Where to keep something beside the record.
    fn artifact(&self, name: &str) -> PathBuf {
        let (folder, stem) = self.cell.artifacts;
        folder.join(format!("{stem}.{name}"))
    }

    /// Ends a case.
    fn step(&mut self) {
        self.done += 1;
        self.tell();
    }

    /// A sign of life within a case, outside of what is timed.
    fn alive(&mut self) {
        if self.clock.now_ns() - self.told_ns >= ALIVE_NS {
            self.tell();
        }
    }

    fn tell(&mut self) {
        self.told_ns = self.clock.now_ns();
        let cases = self.plan.prompts.len() + OTHER_CASES;
        (self.cell.progress)(self.done, cases as u64);
    }
}
