//! Suite `parity`: does the engine compute what the baseline computes?
//!
//! Both engines read the same windows of text, teacher-forced: whatever they
//! would have said, the next token is the text's. Every position's logits are
//! compared with the baseline's, so an error shows where it begins. Two more
//! cases need no baseline: prefill against decode, and two runs bit by bit. On
//! request a bisection looks for the place where an engine goes wrong.

mod bisect;
mod divergence;
pub(crate) mod gates;
mod told;

use std::path::Path;

use engine::{Capability, EngineError, FailureKind, Logits, Model, Predictions, Want};
use serde::Serialize;
use serde::de::DeserializeOwned;
use stats::{Block, BootstrapOptions, Interval, ratio_interval};

use crate::distribution::log_probability;
use crate::logits_file::{LogitsFile, LogitsWriter, write_tokens};
use crate::text::{self, Windows};
use crate::{
    Basis, Better, Cell, Comparison, Gate, Input, Measurement, Role, Sample, Setting, SettingError,
    Suite, SuiteError,
};
use bisect::{BISECT, BISECT_TOKENS};
pub(crate) use divergence::centred_energies;
use divergence::{Divergence, Row};
pub(crate) use gates::Mark;

const TEXT: Setting = Setting {
    key: "text",
    default: "",
    quick: "",
    unit: "file",
    help: "UTF-8 text to read; empty means the embedded held-out text",
};
const CTX: Setting = Setting {
    key: "ctx",
    default: "256",
    quick: "128",
    unit: "tokens",
    help: "length of a window",
};
const WINDOWS: Setting = Setting {
    key: "windows",
    default: "6",
    quick: "4",
    unit: "windows",
    help: "how many windows to spread over the text",
};
const DECODE_TOKENS: Setting = Setting {
    key: "decode_tokens",
    default: "32",
    quick: "16",
    unit: "tokens",
    help: "how far prefill is held against token-by-token decoding",
};
const SAVE_LOGITS: Setting = Setting {
    key: "save_logits",
    default: "false",
    quick: "false",
    unit: "true|false",
    help: "keep every logit with the record, as artifacts/*.npy (f32, lossless)",
};

/// The suite.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Parity;

impl Suite for Parity {
    fn name(&self) -> &'static str {
        "parity"
    }

    fn about(&self) -> &'static str {
        "logits against the baseline's at every position; prefill against decode; bitwise determinism"
    }

    fn settings(&self) -> &'static [Setting] {
        &[
            TEXT,
            CTX,
            WINDOWS,
            DECODE_TOKENS,
            SAVE_LOGITS,
            BISECT,
            BISECT_TOKENS,
        ]
    }

    fn gates(&self) -> &'static [(&'static str, &'static str)] {
        &[
            (
                "nmse",
                "<= noise of the number formats carried to the logits, at most that of q4_0",
            ),
            (
                "kl_mean",
                "<= half the variance which that noise gives a logit",
            ),
            (
                "top_k_kl_lower_bound",
                "<= what kl_mean may be, of engines that keep their logits",
            ),
            (
                "top_k_log_probability_rms",
                "<= twice the variance which that noise gives a logit, as a deviation",
            ),
            (
                "same_top1",
                ">= 1 - flips which that noise makes likely, given the baseline's margins",
            ),
            (
                "prefill_decode.nmse",
                "<= noise of activations and KV cache; weights are shared",
            ),
            ("differing_logits", "== 0 between two runs"),
            (
                "guilty_stages",
                "== 0 places on the way to the logits whose error nothing before them explains",
            ),
        ]
    }

    fn requires(&self) -> &'static [&'static [Capability]] {
        &[
            &[Capability::FullLogits, Capability::AllLogits],
            &[Capability::Scores],
        ]
    }

    fn validate(&self, input: &Input<'_>) -> Result<(), SuiteError> {
        input
            .settings
            .refuse_unknown(self.name(), self.settings())?;
        Plan::read(input).map(drop)
    }

    fn run(&self, cell: &mut Cell<'_>) -> Result<Vec<Measurement>, SuiteError> {
        let plan = Plan::read(&cell.input)?;
        let windows = &plan.windows;
        let model = (cell.open)()?;
        let model = &*model;
        let context = model.config().context;
        if windows.length() > context {
            return Err(SettingError::Value {
                key: CTX.key.into(),
                value: windows.length().to_string(),
                why: format!("the model's context is {context}"),
            }
            .into());
        }
        match model.predictions() {
            Predictions::Logits => {}
            Predictions::Scores { top } => return told::run(cell, model, windows, top),
            Predictions::Choices { why } => {
                return Err(EngineError::new(FailureKind::Unsupported, why).into());
            }
        }
        // One pass over the windows, then the first one again in two ways.
        let steps = (windows.count() + 1) as u64;
        let first = prefill(model, windows.first())?;
        let mark = match cell.role {
            Role::Baseline => {
                let mark = Mark::set(model, cell.variant, windows.first(), &first)?;
                write_json(&cell.scratch.join(MARK), &mark)?;
                mark
            }
            Role::Candidate => read_json(&cell.scratch.join(MARK))?,
        };
        let mut forward = Forward::new(cell, model, &plan, mark)?;
        for (index, window) in windows.iter().enumerate() {
            forward.window(cell, index, window)?;
            (cell.progress)(index as u64 + 1, steps);
        }
        let repeated = forward.first.take().unwrap_or_default();
        let mut measurements = forward.finish()?;
        measurements.push(differing_logits(&first, &repeated));
        let start = &windows.first()[..plan.decode_tokens];
        measurements.push(prefill_against_decode(model, start, &first, &mark)?);
        if let Some(tokens) = plan.bisect_tokens {
            measurements.extend(bisect::run(cell, model, &windows.first()[..tokens])?);
        }
        (cell.progress)(steps, steps);
        Ok(measurements)
    }
}

/// The settings, read and resolved.
struct Plan {
    windows: Windows,
    decode_tokens: usize,
    save_logits: bool,
    /// Tokens that a bisection reads, if there is to be one.
    bisect_tokens: Option<usize>,
}

impl Plan {
    fn read(input: &Input<'_>) -> Result<Self, SuiteError> {
        let at_least = |least: usize| {
            move |value: &usize| match *value >= least {
                true => Ok(()),
                false => Err(format!("at least {least}")),
            }
        };
        let settings = input.settings;
        let ctx = settings.get(&CTX, at_least(2))?;
        let windows = settings.get(&WINDOWS, at_least(1))?;
        let decode_tokens = settings.get(&DECODE_TOKENS, at_least(1))?.min(ctx);
        let save_logits = settings.get(&SAVE_LOGITS, |_| Ok(()))?;
        let bisect_tokens = settings.get(&BISECT_TOKENS, at_least(4))?.min(ctx);
        let bisect = settings.get(&BISECT, |_: &bool| Ok(()))?;
        let path = settings.text(&TEXT);
        let text = text::named_or(path, input.defaults.text)?;
        let windows = Windows::cut(&text, input.tokenizer, windows, ctx);
        Ok(Self {
            windows: windows.map_err(|error| error.in_file(path))?,
            decode_tokens,
            save_logits,
            bisect_tokens: bisect.then_some(bisect_tokens),
        })
    }
}

/// The teacher-forced pass over all windows.
struct Forward<'a> {
    model: &'a dyn Model,
    /// Where the logits go: for the candidates, and to be kept.
    writers: Vec<LogitsWriter>,
    mark: Mark,
    /// What a candidate is held against, and how far it may stray.
    baseline: Option<(LogitsFile, f64)>,
    divergence: Divergence,
    /// Negative log-likelihood of each window, in nats.
    nll: Vec<Block>,
    /// Logits of the first window, to be held against another run of it.
    first: Option<Logits>,
}

impl<'a> Forward<'a> {
    fn new(
        cell: &Cell<'_>,
        model: &'a dyn Model,
        plan: &Plan,
        mark: Mark,
    ) -> Result<Self, SuiteError> {
        let (count, length) = (plan.windows.count(), plan.windows.length());
        let config = model.config();
        let shared = cell.scratch.join("parity-baseline.npy");
        let mut writers = Vec::new();
        let baseline = match cell.role {
            Role::Baseline => {
                writers.push(LogitsWriter::create(&shared, count, length, config.vocab)?);
                None
            }
            Role::Candidate => Some((
                LogitsFile::open(&shared, count, length, config.vocab)?,
                mark.nmse_bound(model.numerics(), config),
            )),
        };
        if plan.save_logits {
            let (folder, stem) = cell.artifacts;
            let path = folder.join(format!("{stem}.logits.npy"));
            writers.push(LogitsWriter::create(&path, count, length, config.vocab)?);
            let path = folder.join(format!("{stem}.tokens.npy"));
            write_tokens(&path, count, plan.windows.tokens())?;
        }
        Ok(Self {
            model,
            writers,
            mark,
            baseline,
            divergence: Divergence::default(),
            nll: Vec::new(),
            first: None,
        })
    }

    fn window(
        &mut self,
        cell: &mut Cell<'_>,
        index: usize,
        tokens: &[u32],
    ) -> Result<(), SuiteError> {
        let logits = prefill(self.model, tokens)?;
        for writer in &mut self.writers {
            writer.push(&logits)?;
        }
        let mut nll = 0.0;
        for (position, &next) in tokens[1..].iter().enumerate() {
            nll -= log_probability(logits.row(position), next as usize);
        }
        self.nll.push(Block {
            numerator: nll,
            denominator: (tokens.len() - 1) as f64,
        });
        if let Some((file, bound)) = &mut self.baseline {
            let expected = file.window(index)?;
            self.divergence.open_block();
            for position in 0..tokens.len() {
                let row = Row::compare(expected.row(position), logits.row(position), *bound);
                let at = (index * tokens.len() + position) as u64;
                for (metric, unit, value) in row.samples() {
                    (cell.samples)(Sample {
                        case: CASE.into(),
                        metric: metric.into(),
                        unit: unit.into(),
                        index: at,
                        value,
                    });
                }
                self.divergence.add(&row);
            }
        }
        if index == 0 {
            self.first = Some(logits);
        }
        Ok(())
    }

    fn finish(self) -> Result<Vec<Measurement>, SuiteError> {
        for writer in self.writers {
            writer.finish()?;
        }
        let mut measurements = match &self.baseline {
            Some((_, bound)) => {
                let because = self.mark.reason(self.model.numerics());
                self.divergence.measurements(*bound, &because)
            }
            None => vec![self.mark.measurement(CASE)],
        };
        let tokens = self.nll.iter().map(|block| block.denominator).sum::<f64>();
        let nats = self.nll.iter().map(|block| block.numerator).sum::<f64>();
        measurements.push(Measurement {
            interval: interval_of_mean(&self.nll).map(|interval| Interval {
                low: interval.low.exp(),
                high: interval.high.exp(),
                ..interval
            }),
            headline: true,
            ..Measurement::new(
                CASE,
                "perplexity",
                "1",
                Better::Lower,
                (nats / tokens).exp(),
                tokens as u64,
            )
        });
        Ok(measurements)
    }
}

const CASE: &str = "teacher_forced";

/// Where the baseline leaves its [`Mark`].
const MARK: &str = "parity-mark.json";

pub(crate) fn write_json(path: &Path, value: &impl Serialize) -> Result<(), SuiteError> {
    let scratch = |source| SuiteError::Scratch(path.into(), source);
    let text = serde_json::to_vec(value).map_err(|error| scratch(error.into()))?;
    std::fs::write(path, text).map_err(scratch)
}

pub(crate) fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T, SuiteError> {
    let scratch = |source| SuiteError::Scratch(path.into(), source);
    let text = std::fs::read(path).map_err(scratch)?;
    serde_json::from_slice(&text).map_err(|error| scratch(error.into()))
}

/// Interval of a mean over windows; `None` when there are too few to tell.
fn interval_of_mean(blocks: &[Block]) -> Option<Interval> {
    ratio_interval(blocks, BootstrapOptions::default())
        .ok()
        .map(|estimate| estimate.interval)
}

/// Logits of every position of `tokens` in a fresh session, shape and
/// finiteness checked.
pub(crate) fn prefill(model: &dyn Model, tokens: &[u32]) -> Result<Logits, EngineError> {
    let logits = model.session()?.extend(tokens, Want::All)?;
    let vocab = model.config().vocab;
    if (logits.rows(), logits.vocab()) != (tokens.len(), vocab) {
        return Err(EngineError::new(
            FailureKind::Protocol,
            format!(
                "{}×{} logits for {} tokens of a vocabulary of {vocab}",
                logits.rows(),
                logits.vocab(),
                tokens.len()
            ),
        ));
    }
    match (0..logits.rows()).find(|&row| logits.row(row).iter().any(|v| !v.is_finite())) {
        None => Ok(logits),
        Some(position) => Err(EngineError::new(
            FailureKind::Numerics,
            format!("NaN or infinite logits, first at position {position} of a window"),
        )),
    }
}

/// Two runs of the first window: equal bits or not.
fn differing_logits(first: &Logits, repeated: &Logits) -> Measurement {
    let differing = first
        .values()
        .iter()
        .zip(repeated.values())
        .filter(|(a, b)| a.to_bits() != b.to_bits())
        .count();
    let (value, n) = (differing as f64, first.values().len() as u64);
    Measurement {
        gate: Some(Gate {
            comparison: Comparison::Exactly,
            bound: 0.0,
            because: "an engine gives the same bits for the same tokens".into(),
        }),
        basis: Some(Basis::Exact),
        ..Measurement::new(
            "repeat",
            "differing_logits",
            "logits",
            Better::Lower,
            value,
            n,
        )
    }
}

/// Decodes `tokens` one by one and holds the logits against those of the
/// prefill.
fn prefill_against_decode(
    model: &dyn Model,
    tokens: &[u32],
    prefill: &Logits,
    mark: &Mark,
) -> Result<Measurement, EngineError> {
    let mut session = model.session()?;
    let (mut noise, mut signal) = (0.0, 0.0);
    for (position, token) in tokens.iter().enumerate() {
        let logits = session.extend(&[*token], Want::Last)?;
        if logits.rows() != 1 || logits.vocab() != prefill.vocab() || !logits.all_finite() {
            return Err(EngineError::new(
                FailureKind::Protocol,
                format!("decoding position {position} gave no finite row of logits"),
            ));
        }
        let (n, s) = divergence::centred_energies(prefill.row(position), logits.row(0));
        noise += n;
        signal += s;
    }
    let n = tokens.len() as u64;
    Ok(Measurement {
        gate: Some(mark.same_weights(model.numerics(), model.config())),
        ..Measurement::new(
            "prefill_decode",
            "nmse",
            "1",
            Better::Lower,
            noise / signal,
            n,
        )
    })
}
