//! Suite `soak`: does an engine leak or slow down when it is used again and again?
//!
//! A cycle opens a session, reads a prompt, decodes, and closes. After each the anonymous
//! memory of the process is read. What grows from cycle to cycle is a leak, what takes longer a
//! drift, and what the machine did meanwhile is kept beside both.

mod conditions;
mod cycle;
mod figures;

use std::time::{Duration, Instant};

use engine::{Model, TokenId};

use crate::settings::within;
use crate::text::{self, MOST_TOKENS};
use crate::{
    Basis, Cell, Input, Measurement, Sample, Setting, SettingError, Settings, Suite, SuiteError,
};
use conditions::Watch;
use cycle::Cycle;

const TEXT: Setting = Setting {
    key: "text",
    default: "",
    quick: "",
    unit: "file",
    help: "UTF-8 text to read, again and again if it is short; empty means the embedded held-out text",
};
const CYCLES: Setting = Setting {
    key: "cycles",
    default: "0",
    quick: "0",
    unit: "cycles",
    help: "end after so many; 0 leaves the end to duration_s",
};
const DURATION_S: Setting = Setting {
    key: "duration_s",
    default: "5",
    quick: "0.8",
    unit: "s",
    help: "begin no cycle after so long; 0 leaves the end to cycles",
};
const PROMPT_TOKENS: Setting = Setting {
    key: "prompt_tokens",
    default: "32",
    quick: "32",
    unit: "tokens",
    help: "length of the prompt of a cycle",
};
const DECODE_TOKENS: Setting = Setting {
    key: "decode_tokens",
    default: "16",
    quick: "16",
    unit: "tokens",
    help: "how many tokens follow it one by one",
};
const REOPEN_MODEL: Setting = Setting {
    key: "reopen_model",
    default: "false",
    quick: "false",
    unit: "true|false",
    help: "close the model after each cycle too, and open it again",
};
const MAX_LEAK_BYTES: Setting = Setting {
    key: "max_leak_bytes",
    default: "0",
    quick: "0",
    unit: "B a cycle",
    help: "growth that the gate allows; 0 means one page of this machine, the least that a process \
           can grow by",
};

/// Most cycles of a run that only time ends: room for their figures is taken before the first.
const TIMED_CYCLES: usize = 1 << 16;
/// Cycles that [`CYCLES`] may ask for: with fewer there is no interval, and figures of more
/// would fill memory themselves.
const LEAST_CYCLES: usize = 10;
const MOST_CYCLES: usize = 1 << 20;

/// The suite.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Soak;

impl Suite for Soak {
    fn name(&self) -> &'static str {
        "soak"
    }

    fn about(&self) -> &'static str {
        "sessions opened, used and closed again and again: leaks, drift of the speed, what the machine \
         did meanwhile"
    }

    fn settings(&self) -> &'static [Setting] {
        &[
            TEXT,
            CYCLES,
            DURATION_S,
            PROMPT_TOKENS,
            DECODE_TOKENS,
            REOPEN_MODEL,
            MAX_LEAK_BYTES,
        ]
    }

    fn gates(&self) -> &'static [(&'static str, &'static str)] {
        &[(
            "leak_low_bytes",
            "<= max_leak_bytes: the lower end of the 95 % interval of the growth a cycle",
        )]
    }

    fn requires(&self) -> &'static [&'static [engine::Capability]] {
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
        let cycles = soak(cell, &plan)?;
        for (index, cycle) in cycles.iter().enumerate() {
            for (metric, unit, value) in cycle.samples() {
                (cell.samples)(Sample {
                    case: figures::CASE.into(),
                    metric: metric.into(),
                    unit: unit.into(),
                    index: index as u64,
                    value,
                });
            }
        }
        Ok(figures::all(&cycles, plan.max_leak_bytes))
    }
}

/// The settings, read and resolved.
struct Plan {
    /// The prompt, and what is decoded after it.
    tokens: Vec<TokenId>,
    prompt: usize,
    /// Cycles at most.
    cycles: usize,
    duration: Option<Duration>,
    reopen_model: bool,
    /// `None` for one page.
    max_leak_bytes: Option<u64>,
}

impl Plan {
    fn read(input: &Input<'_>) -> Result<Self, SuiteError> {
        let settings = input.settings;
        let prompt = settings.get(&PROMPT_TOKENS, within(1, MOST_TOKENS))?;
        let decode = settings.get(&DECODE_TOKENS, within(1, MOST_TOKENS))?;
        let (cycles, duration) = end(settings)?;
        let path = settings.text(&TEXT);
        let text = text::named_or(path, input.defaults.text)?;
        let tokens = text::stream(&text, input.tokenizer, prompt + decode);
        let max_leak_bytes: u64 = settings.get(&MAX_LEAK_BYTES, |_| Ok(()))?;
        Ok(Self {
            tokens: tokens.map_err(|error| error.in_file(path))?,
            prompt,
            cycles,
            duration,
            reopen_model: settings.get(&REOPEN_MODEL, |_| Ok(()))?,
            max_leak_bytes: (max_leak_bytes > 0).then_some(max_leak_bytes),
        })
    }

    fn fits(&self, model: &dyn Model) -> Result<(), SettingError> {
        let context = model.config().context;
        if self.tokens.len() <= context {
            return Ok(());
        }
        Err(SettingError::Value {
            key: PROMPT_TOKENS.key.into(),
            value: self.prompt.to_string(),
            why: format!("with decode_tokens more than the model's context of {context}"),
        })
    }
}

/// How many cycles at most, and for how long.
fn end(settings: &Settings) -> Result<(usize, Option<Duration>), SettingError> {
    let cycles = settings.get(&CYCLES, |&cycles: &usize| match cycles {
        0 | LEAST_CYCLES..=MOST_CYCLES => Ok(()),
        _ => Err(format!("{LEAST_CYCLES} to {MOST_CYCLES}, or 0")),
    })?;
    let seconds = settings.get(&DURATION_S, |&seconds: &f64| {
        if !(seconds >= 0.0 && Duration::try_from_secs_f64(seconds).is_ok()) {
            Err("a number of seconds, or 0".to_owned())
        } else if seconds == 0.0 && cycles == 0 {
            Err("either this or cycles must be above 0".to_owned())
        } else {
            Ok(())
        }
    })?;
    let duration = (seconds > 0.0).then(|| Duration::from_secs_f64(seconds));
    Ok((if cycles == 0 { TIMED_CYCLES } else { cycles }, duration))
}

/// Runs the cycles.
fn soak(cell: &mut Cell<'_>, plan: &Plan) -> Result<Vec<Cycle>, SuiteError> {
    // Touched in advance: what is measured must not be the growth of the figures themselves.
    let mut cycles = vec![Cycle::TOUCHED; plan.cycles];
    std::hint::black_box(&mut cycles).clear();
    let mut watch = Watch::new();
    let mut model = (cell.open)()?;
    plan.fits(&*model)?;
    let clock = Instant::now();
    while cycles.len() < plan.cycles && plan.duration.is_none_or(|limit| clock.elapsed() < limit) {
        let mut open_ns = None;
        if plan.reopen_model && !cycles.is_empty() {
            drop(model);
            let clock = Instant::now();
            model = (cell.open)()?;
            open_ns = Some(clock.elapsed().as_nanos() as f64);
        }
        cycles.push(Cycle::run(&*model, plan, open_ns)?);
        watch.look(&mut cycles);
        progress(cell, plan, cycles.len(), clock.elapsed());
    }
    watch.finish(&mut cycles);
    Ok(cycles)
}

/// Of cycles, or of time where that ends the run sooner.
fn progress(cell: &Cell<'_>, plan: &Plan, cycles: usize, elapsed: Duration) {
    let share = |done: f64, all: f64| (1000.0 * (done / all).min(1.0)) as u64;
    let by_cycles = share(cycles as f64, plan.cycles as f64);
    let by_time = plan
        .duration
        .map_or(0, |limit| share(elapsed.as_secs_f64(), limit.as_secs_f64()));
    (cell.progress)(by_cycles.max(by_time), 1000);
}
