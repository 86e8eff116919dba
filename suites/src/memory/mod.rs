//! Suite `memory`: what does an engine take from the machine, when, and does it give it back?
//!
//! The model is loaded under watch, sessions are opened, tokens decoded, and everything closed
//! again. After each step the memory of the process is read, by what backs it.

mod snapshot;
mod watch;

use engine::{FailureKind, Model, Session, TokenId};

use crate::reading::{last_row, told};
use crate::settings::within;
use crate::text::{self, MOST_TOKENS};
use crate::{
    Basis, Better, Cell, Comparison, Gate, Input, Measurement, Sample, Setting, SettingError,
    Settings, Suite, SuiteError,
};
use snapshot::Snapshot;
use stats::{Estimate, theil_sen};
use watch::{Watched, watch};

const CONFIDENCE: f64 = 0.95;

const TEXT: Setting = Setting {
    key: "text",
    default: "",
    quick: "",
    unit: "file",
    help: "UTF-8 text to read, again and again if it is short; empty means the embedded held-out text",
};
const PROMPT_TOKENS: Setting = Setting {
    key: "prompt_tokens",
    default: "256",
    quick: "64",
    unit: "tokens",
    help: "length of the prompt that each session reads",
};
const DECODE_TOKENS: Setting = Setting {
    key: "decode_tokens",
    default: "256",
    quick: "64",
    unit: "tokens",
    help: "how many tokens follow it one by one, in the first session",
};
const SESSIONS: Setting = Setting {
    key: "sessions",
    default: "8",
    quick: "5",
    unit: "sessions",
    help: "how many are open at once in the end",
};
const MAX_RSS_MIB: Setting = Setting {
    key: "max_rss_mib",
    default: "0",
    quick: "0",
    unit: "MiB",
    help: "most memory the process may have resident at any moment; 0 sets no limit",
};

/// More than any engine opens at once.
const MOST_SESSIONS: usize = 1 << 16;

/// The suite.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Memory;

impl Suite for Memory {
    fn name(&self) -> &'static str {
        "memory"
    }

    fn about(&self) -> &'static str {
        "memory while loading, at rest, by session and by token; mapped files against private memory; \
         page faults"
    }

    fn settings(&self) -> &'static [Setting] {
        &[TEXT, PROMPT_TOKENS, DECODE_TOKENS, SESSIONS, MAX_RSS_MIB]
    }

    fn gates(&self) -> &'static [(&'static str, &'static str)] {
        &[("peak_rss_bytes", "<= max_rss_mib, if that is set")]
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
        let mut run = Run {
            plan: &plan,
            measurements: Vec::new(),
            peak_bytes: None,
        };
        // What earlier cells left behind must not serve this one.
        let _ = machine::trim_heap();
        let empty = run.snapshot("start");
        let model = run.load(cell, &empty)?;
        if !model.in_this_process() {
            (cell.progress)(STEPS, STEPS);
            return Ok(vec![elsewhere()]);
        }
        plan.fits(&*model)?;
        (cell.progress)(1, STEPS);
        let loaded = run.snapshot("load");
        run.sessions(cell, &*model, &loaded)?;
        run.returned("closed", &loaded);
        drop(model);
        run.returned("unloaded", &empty);
        (cell.progress)(STEPS, STEPS);
        run.limit();
        Ok(run.measurements)
    }
}

/// All that can be said of an engine that is another program.
fn elsewhere() -> Measurement {
    let why = "the engine is another program, whose memory is not seen here";
    Measurement::withheld("load", "peak_growth_bytes", "B", Better::Lower, 0, why)
}

/// Loading, the first prompt, decoding, more sessions.
const STEPS: u64 = 4;

/// The settings, read and resolved.
struct Plan {
    /// The prompt, and what is decoded after it.
    tokens: Vec<TokenId>,
    prompt: usize,
    sessions: usize,
    max_rss_bytes: Option<u64>,
}

impl Plan {
    fn read(input: &Input<'_>) -> Result<Self, SuiteError> {
        let settings = input.settings;
        let prompt = settings.get(&PROMPT_TOKENS, within(1, MOST_TOKENS))?;
        let decode = settings.get(&DECODE_TOKENS, within(1, MOST_TOKENS))?;
        let path = settings.text(&TEXT);
        let text = text::named_or(path, input.defaults.text)?;
        let tokens = text::stream(&text, input.tokenizer, prompt + decode);
        Ok(Self {
            tokens: tokens.map_err(|error| error.in_file(path))?,
            prompt,
            sessions: settings.get(&SESSIONS, within(1, MOST_SESSIONS))?,
            max_rss_bytes: limit(settings)?,
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

    fn prompt(&self) -> &[TokenId] {
        &self.tokens[..self.prompt]
    }
}

fn limit(settings: &Settings) -> Result<Option<u64>, SettingError> {
    let mib: u64 = settings.get(&MAX_RSS_MIB, |&mib: &u64| match mib.checked_mul(1 << 20) {
        Some(_) => Ok(()),
        None => Err("more than there can be".to_owned()),
    })?;
    Ok((mib > 0).then_some(mib << 20))
}

struct Run<'a> {
    plan: &'a Plan,
    measurements: Vec<Measurement>,
    /// Highest resident memory seen so far.
    peak_bytes: Option<u64>,
}

impl Run<'_> {
    fn load(
        &mut self,
        cell: &mut Cell<'_>,
        empty: &Snapshot,
    ) -> Result<Box<dyn Model>, SuiteError> {
        const CASE: &str = "load";
        let (model, watched) = watch(|| (cell.open)());
        let model = model?;
        self.watched(cell, CASE, &watched);
        let peak = watched
            .peak_bytes()
            .ok_or("the system does not tell what is resident")
            .map_err(String::from)
            .and_then(|peak| Ok(peak as f64 - empty.rss_bytes()?));
        let over_file = peak.clone().map(|peak| peak / cell.model_bytes as f64);
        let now = Snapshot::take();
        let grown = |what: fn(&Snapshot) -> Result<f64, String>| {
            what(&now).and_then(|now| Ok(now - what(empty)?))
        };
        let rows = [
            ("file_bytes", "B", Ok(cell.model_bytes as f64), false),
            ("peak_growth_bytes", "B", peak, true),
            ("peak_over_file", "1", over_file, true),
            ("growth_bytes", "B", grown(Snapshot::rss_bytes), false),
            (
                "anonymous_growth_bytes",
                "B",
                grown(Snapshot::anonymous_bytes),
                true,
            ),
            (
                "file_mapped_growth_bytes",
                "B",
                grown(Snapshot::file_mapped_bytes),
                true,
            ),
        ];
        for (metric, unit, value, headline) in rows {
            self.push(Measurement {
                headline,
                ..told(CASE, metric, unit, Better::Lower, value, 1)
            });
        }
        Ok(model)
    }

    /// Opens sessions, one by one; the first also decodes. All are closed in the end.
    fn sessions(
        &mut self,
        cell: &mut Cell<'_>,
        model: &dyn Model,
        loaded: &Snapshot,
    ) -> Result<(), SuiteError> {
        let vocab = model.config().vocab;
        let (session, watched) = watch(|| {
            let mut session = model.session()?;
            last_row(&mut *session, self.plan.prompt(), vocab)?;
            Ok::<_, engine::EngineError>(session)
        });
        let mut session = session?;
        self.watched(cell, "prefill", &watched);
        let filled = self.snapshot("prefill");
        let growth = filled.committed_since(loaded);
        self.push(told(
            "prefill",
            "growth_bytes",
            "B",
            Better::Lower,
            growth,
            1,
        ));
        (cell.progress)(2, STEPS);

        self.decode(cell, &mut *session, vocab)?;
        (cell.progress)(3, STEPS);
        self.more_sessions(cell, model, session, loaded)
    }

    fn decode(
        &mut self,
        cell: &mut Cell<'_>,
        session: &mut dyn Session,
        vocab: usize,
    ) -> Result<(), SuiteError> {
        const CASE: &str = "decode";
        let tokens = &self.plan.tokens[self.plan.prompt..];
        let before = used_bytes(session);
        let mut committed = Vec::with_capacity(tokens.len());
        let (result, watched) = watch(|| {
            for token in tokens {
                last_row(session, std::slice::from_ref(token), vocab)?;
                committed.push(Snapshot::take().committed_bytes());
            }
            Ok::<_, engine::EngineError>(())
        });
        result?;
        self.watched(cell, CASE, &watched);
        self.snapshot(CASE);
        let cache = before
            .zip(used_bytes(session))
            .map(|(before, after)| (after - before) / tokens.len() as f64);
        self.slope(cell, CASE, "growth_per_token_bytes", committed);
        self.cache(CASE, "kv_used_per_token_bytes", cache);
        Ok(())
    }

    fn more_sessions<'m>(
        &mut self,
        cell: &mut Cell<'_>,
        model: &'m dyn Model,
        first: Box<dyn Session + 'm>,
        loaded: &Snapshot,
    ) -> Result<(), SuiteError> {
        const CASE: &str = "sessions";
        const METRIC: &str = "growth_per_session_bytes";
        let cache = first.kv().map(|usage| usage.reserved_bytes() as f64);
        // It decoded, and so is longer than the others.
        drop(first);
        let vocab = model.config().vocab;
        let mut open = Vec::with_capacity(self.plan.sessions);
        let mut committed = vec![loaded.committed_bytes()];
        let (result, watched) = watch(|| {
            for _ in 0..self.plan.sessions {
                let mut session = model.session()?;
                last_row(&mut *session, self.plan.prompt(), vocab)?;
                open.push(session);
                committed.push(Snapshot::take().committed_bytes());
            }
            Ok::<_, engine::EngineError>(())
        });
        match result {
            Ok(()) => {}
            // It has no more than so many.
            Err(error) if error.kind() == FailureKind::Unsupported && !open.is_empty() => {
                let why = format!("session {} was refused: {error}", open.len() + 1);
                let (better, n) = (Better::Lower, open.len() as u64);
                self.push(Measurement::withheld(CASE, METRIC, "B", better, n, why));
                return Ok(());
            }
            Err(error) => return Err(error.into()),
        }
        self.watched(cell, CASE, &watched);
        self.snapshot(CASE);
        self.slope(cell, CASE, METRIC, committed);
        self.cache(CASE, "kv_reserved_per_session_bytes", cache);
        Ok(())
    }

    /// What of that is the KV cache's, by the engine's word.
    fn cache(&mut self, case: &'static str, metric: &'static str, bytes: Option<f64>) {
        let value = bytes.ok_or_else(|| "the engine does not tell what its cache takes".into());
        self.push(told(case, metric, "B", Better::Lower, value, 1));
    }

    /// What of the memory taken since `before` is still held: as it is, and after the allocator
    /// gave back what nobody uses.
    fn returned(&mut self, case: &'static str, before: &Snapshot) {
        let held = self.snapshot(case).committed_since(before);
        self.push(told(case, "held_bytes", "B", Better::Lower, held, 1));
        let kept = machine::trim_heap()
            .map_err(|why| why.to_string())
            .and_then(|()| Snapshot::take().committed_since(before));
        self.push(Measurement {
            headline: case == "unloaded",
            ..told(case, "held_after_trim_bytes", "B", Better::Lower, kept, 1)
        });
    }

    /// Holds the highest peak against the limit.
    fn limit(&mut self) {
        let gate = self.plan.max_rss_bytes.map(|bytes| Gate {
            comparison: Comparison::AtMost,
            bound: bytes as f64,
            because: format!("{} MiB, set by {}", bytes >> 20, MAX_RSS_MIB.key),
        });
        let peak = self
            .peak_bytes
            .map(|bytes| bytes as f64)
            .ok_or_else(|| "the system does not tell what is resident".into());
        self.push(Measurement {
            gate,
            headline: true,
            ..told("run", "peak_rss_bytes", "B", Better::Lower, peak, 1)
        });
    }

    fn push(&mut self, measurement: Measurement) {
        self.measurements.push(measurement);
    }

    /// Reads the memory of the process and keeps every kind of it.
    fn snapshot(&mut self, case: &'static str) -> Snapshot {
        let snapshot = Snapshot::take();
        self.measurements.extend(snapshot.measurements(case));
        snapshot
    }

    /// Keeps what was seen while something happened.
    fn watched(&mut self, cell: &mut Cell<'_>, case: &'static str, watched: &Watched) {
        for &(index, bytes) in &watched.rss {
            sample(cell, case, "rss_bytes", index, bytes as f64);
        }
        self.peak_bytes = self.peak_bytes.max(watched.peak_bytes());
        let faults = |kind: fn(machine::PageFaults) -> u64| {
            watched.faults.clone().map(|faults| kind(faults) as f64)
        };
        let peak = watched
            .peak_bytes()
            .map(|bytes| bytes as f64)
            .ok_or_else(|| "the system does not tell what is resident".into());
        for (metric, unit, value) in [
            ("peak_rss_bytes", "B", peak),
            ("minor_faults", "faults", faults(|faults| faults.minor)),
            ("major_faults", "faults", faults(|faults| faults.major)),
        ] {
            self.push(told(case, metric, unit, Better::Lower, value, 1));
        }
    }

    /// Growth of `series` from one entry to the next.
    fn slope(
        &mut self,
        cell: &mut Cell<'_>,
        case: &'static str,
        metric: &'static str,
        series: Vec<Result<f64, String>>,
    ) {
        let n = series.len() as u64;
        let estimate = series
            .into_iter()
            .collect::<Result<Vec<f64>, String>>()
            .and_then(|bytes| {
                for (index, &bytes) in bytes.iter().enumerate() {
                    sample(cell, case, "committed_bytes", index as u64, bytes);
                }
                slope(&bytes)
            });
        let interval = estimate.as_ref().ok().map(|estimate| estimate.interval);
        let value = estimate.map(|estimate| estimate.value);
        self.push(Measurement {
            interval,
            headline: true,
            ..told(case, metric, "B", Better::Lower, value, n)
        });
    }
}

/// The slope of a series over its index, by Theil and Sen.
fn slope(values: &[f64]) -> Result<Estimate, String> {
    let x: Vec<f64> = (0..values.len()).map(|index| index as f64).collect();
    theil_sen(&x, values, CONFIDENCE).map_err(|why| why.to_string())
}

fn used_bytes(session: &dyn Session) -> Option<f64> {
    session.kv().map(|usage| usage.used_bytes() as f64)
}

fn sample(cell: &mut Cell<'_>, case: &'static str, metric: &'static str, index: u64, value: f64) {
    (cell.samples)(Sample {
        case: case.into(),
        metric: metric.into(),
        unit: "B".into(),
        index,
        value,
    });
}
