//! Suite `kv`: what does the KV cache take, by theory, by the engine's word, and in pages?
//!
//! A context grows step by step, and after each the cache's own addresses are looked up in the
//! page tables. Then tokens are taken back, evicted, and paged out, and what the engine
//! computes afterwards is held against what it computed before.

mod cases;
mod growth;
mod reading;
mod theory;

use engine::{Capability, Model, TokenId};

use crate::text;
use crate::{
    Basis, Cell, Input, Measurement, Sample, Setting, SettingError, Settings, Suite, SuiteError,
};
use reading::Reading;
use theory::Theory;

const TEXT: Setting = Setting {
    key: "text",
    default: "",
    quick: "",
    unit: "file",
    help: "UTF-8 text to read, again and again if it is short; empty means the embedded held-out text",
};
const CTX: Setting = Setting {
    key: "ctx",
    default: "0",
    quick: "256",
    unit: "tokens",
    help: "how far the context grows; 0 means the model's whole context",
};
/// No power of two, so that readings fall inside pages too.
const STEP: Setting = Setting {
    key: "step",
    default: "20",
    quick: "20",
    unit: "tokens",
    help: "tokens between two looks at the cache, at most half of ctx",
};

/// The suite.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Kv;

impl Suite for Kv {
    fn name(&self) -> &'static str {
        "kv"
    }

    fn about(&self) -> &'static str {
        "KV cache: bytes against theory, resident pages over a growing context, truncation, eviction, \
         memory pressure"
    }

    fn settings(&self) -> &'static [Setting] {
        &[TEXT, CTX, STEP]
    }

    fn gates(&self) -> &'static [(&'static str, &'static str)] {
        &[
            (
                "used_over_theory",
                "== 1: 2 · kv_heads · head_dim values a token and layer, in the cache's format",
            ),
            ("missing_bytes", "== 0: what is used is resident or swapped"),
            (
                "excess_bytes",
                "<= two pages for each range of addresses, huge ones where the kernel may use them",
            ),
            (
                "differing_logits",
                "== 0 after truncating and reading again, and after paging out",
            ),
            (
                "evict.nmse",
                "<= noise of activations and KV cache, against the same engine without eviction",
            ),
        ]
    }

    fn requires(&self) -> &'static [&'static [Capability]] {
        &[&[Capability::KvUsage]]
    }

    fn validate(&self, input: &Input<'_>) -> Result<(), SuiteError> {
        input
            .settings
            .refuse_unknown(self.name(), self.settings())?;
        Lengths::read(input.settings)?;
        let path = input.settings.text(&TEXT);
        let text = text::named_or(path, input.defaults.text)?;
        text::stream(&text, input.tokenizer, 1).map_err(|error| error.in_file(path))?;
        Ok(())
    }

    fn basis(&self) -> Option<Basis> {
        Some(Basis::Machine)
    }

    fn run(&self, cell: &mut Cell<'_>) -> Result<Vec<Measurement>, SuiteError> {
        let lengths = Lengths::read(cell.input.settings)?;
        let model = (cell.open)()?;
        let model = &*model;
        let ctx = lengths.within(model.config().context)?;
        let path = cell.input.settings.text(&TEXT);
        let text = text::named_or(path, cell.input.defaults.text)?;
        let tokens =
            text::stream(&text, cell.input.tokenizer, ctx).map_err(|error| error.in_file(path))?;
        let subject = Subject {
            model,
            theory: Theory::new(model.config(), model.numerics()),
            tokens: &tokens,
            step: lengths.step,
        };
        let mut steps = Steps::new(cell);
        let mut session = model.session()?;
        let (logits, mut measurements) = growth::run(&subject, &mut *session, cell)?;
        steps.done(cell);
        measurements.extend(cases::truncate(&subject, &mut *session, &logits)?);
        steps.done(cell);
        measurements.extend(cases::clear(&subject, &mut *session, &logits)?);
        steps.done(cell);
        measurements.extend(cases::evict(&subject, &*session, &logits, cell.variant)?);
        drop(session);
        steps.done(cell);
        measurements.extend(cases::pressure(&subject, &logits)?);
        steps.done(cell);
        Ok(measurements)
    }
}

/// What every case is about.
struct Subject<'a> {
    model: &'a dyn Model,
    theory: Theory,
    /// As many as the context shall hold in the end.
    tokens: &'a [TokenId],
    step: usize,
}

impl Subject<'_> {
    fn vocab(&self) -> usize {
        self.model.config().vocab
    }

    fn read(&self, session: &dyn engine::Session) -> Result<Reading, engine::EngineError> {
        Reading::of(session, self.model)
    }
}

/// Cases done, for the progress bar.
struct Steps(u64);

impl Steps {
    const ALL: u64 = 5;

    fn new(cell: &Cell<'_>) -> Self {
        (cell.progress)(0, Self::ALL);
        Self(0)
    }

    fn done(&mut self, cell: &Cell<'_>) {
        self.0 += 1;
        (cell.progress)(self.0, Self::ALL);
    }
}

/// The settings.
#[derive(Clone, Copy, Debug)]
struct Lengths {
    ctx: usize,
    step: usize,
}

impl Lengths {
    fn read(settings: &Settings) -> Result<Self, SettingError> {
        let ctx: usize = settings.get(&CTX, |&ctx| match ctx {
            1 => Err("at least 2, or 0 for the model's".to_owned()),
            _ => Ok(()),
        })?;
        let step = settings.get(&STEP, |&step: &usize| match step {
            0 => Err("at least 1".to_owned()),
            step if ctx > 0 && step > ctx / 2 => {
                Err(format!("at most half of ctx, which is {ctx}"))
            }
            _ => Ok(()),
        })?;
        Ok(Self { ctx, step })
    }

    /// How far the context of a model that takes `context` tokens shall grow.
    fn within(self, context: usize) -> Result<usize, SettingError> {
        let value = |setting: &Setting, value: usize, why| SettingError::Value {
            key: setting.key.into(),
            value: value.to_string(),
            why,
        };
        let ctx = if self.ctx == 0 { context } else { self.ctx };
        if ctx > context {
            return Err(value(
                &CTX,
                ctx,
                format!("the model's context is {context}"),
            ));
        }
        if self.step > ctx / 2 {
            let why = format!("at most half of the model's context, which is {context}");
            return Err(value(&STEP, self.step, why));
        }
        Ok(ctx)
    }
}

fn record(cell: &mut Cell<'_>, case: &str, metric: &'static str, len: usize, value: f64) {
    (cell.samples)(Sample {
        case: case.to_owned().into(),
        metric: metric.into(),
        unit: "B".into(),
        index: len as u64,
        value,
    });
}
