//! Suite `perplexity`: how well does the engine predict a text, and what did
//! its weights' format cost?
//!
//! A text is cut into windows in one of three established ways, and the
//! negative log-likelihood of every scored token is kept. Engines held against
//! the baseline read the same windows, so everything is paired token by token.

mod base;
mod figures;
mod score;
mod told;
mod windows;

use engine::{
    Capability, EngineError, FailureKind, Logits, Model, Predictions, Session, TokenId, Tokenizer,
    Want,
};

use crate::logits_file::LogitsFile;
use crate::text;
use crate::{
    Cell, Input, Measurement, Role, Sample, Series, Setting, SettingError, Settings, Suite,
    SuiteError,
};
use base::{Keeper, Kept, Place};
use score::Score;
pub(crate) use told::known;
use windows::{Scheme, Window};

const TEXT: Setting = Setting {
    key: "text",
    default: "",
    quick: "",
    unit: "file",
    help: "UTF-8 text to predict; empty means the embedded held-out text",
};
const CTX: Setting = Setting {
    key: "ctx",
    default: "512",
    quick: "256",
    unit: "tokens",
    help: "length of a window",
};
const WINDOWS: Setting = Setting {
    key: "windows",
    default: "llama_cpp",
    quick: "llama_cpp",
    unit: "scheme",
    help: "llama_cpp: chunks side by side, their second halves scored; strided: the Hugging Face \
           guide; rolling: lm-evaluation-harness, every token scored",
};
const STRIDE: Setting = Setting {
    key: "stride",
    default: "256",
    quick: "128",
    unit: "tokens",
    help: "distance between strided windows, at most ctx",
};
const CHUNKS: Setting = Setting {
    key: "chunks",
    default: "50",
    // Fewer, and the interval of delta_pct is as wide as its gate.
    quick: "32",
    unit: "windows",
    help: "how many windows to read from the start of the text; 0 reads them all",
};
const MAX_DELTA_PCT: Setting = Setting {
    key: "max_delta_pct",
    default: "2",
    quick: "2",
    unit: "%",
    help: "growth of the perplexity that the gates allow",
};

const BASE_LOGITS: Setting = Setting {
    key: "base_logits",
    default: "",
    quick: "",
    unit: "file",
    help: "keep the baseline's logits in this file (f32, lossless), or use those an earlier run kept",
};

/// The suite.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Perplexity;

impl Suite for Perplexity {
    fn name(&self) -> &'static str {
        "perplexity"
    }

    fn about(&self) -> &'static str {
        "perplexity of a text, and what it and every next-token distribution lose against the baseline"
    }

    fn settings(&self) -> &'static [Setting] {
        &[
            TEXT,
            CTX,
            WINDOWS,
            STRIDE,
            CHUNKS,
            MAX_DELTA_PCT,
            BASE_LOGITS,
        ]
    }

    fn gates(&self) -> &'static [(&'static str, &'static str)] {
        &[
            ("delta_pct", "<= max_delta_pct"),
            (
                "kld_mean",
                "<= ln(1 + max_delta_pct/100), what text of the baseline's own would lose",
            ),
            (
                "top_k_kld_lower_bound",
                "<= what kld_mean may be, of engines that keep their logits",
            ),
            (
                "same_top",
                ">= 1 - flips which logit noise of that KLD makes likely, given the baseline's margins",
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

    fn divisible(&self) -> bool {
        true
    }

    fn run(&self, cell: &mut Cell<'_>) -> Result<Vec<Measurement>, SuiteError> {
        let mut plan = Plan::read(&cell.input)?;
        let model = (cell.open)()?;
        let (ctx, context) = (plan.ctx, model.config().context);
        if ctx > context {
            return Err(SettingError::Value {
                key: CTX.key.into(),
                value: ctx.to_string(),
                why: format!("the model's context is {context}"),
            }
            .into());
        }
        let mut index = 0..;
        plan.windows
            .retain(|_| index.next().is_some_and(|case| cell.shard.takes(case)));
        match model.predictions() {
            Predictions::Logits => Pass::new(cell, &*model, &plan)?.run(cell, &*model, &plan)?,
            Predictions::Scores { top } => told::run(cell, &*model, &plan, top)?,
            Predictions::Choices { why } => return Err(unsupported(why).into()),
        }
        Ok(Vec::new())
    }

    fn figures(
        &self,
        settings: &Settings,
        samples: &Series,
        baseline: Option<&Series>,
    ) -> Result<Vec<Measurement>, SettingError> {
        let case = scheme(settings)?.name();
        let allowed = Allowance::read(settings)?;
        Ok(figures::all(case, samples, baseline, allowed))
    }
}

fn scheme(settings: &Settings) -> Result<Scheme, SettingError> {
    settings.get(&WINDOWS, |_| Ok(()))
}

/// How much worse an engine may be.
#[derive(Clone, Copy, Debug)]
struct Allowance {
    /// Growth of the perplexity, in per cent.
    delta_pct: f64,
}

impl Allowance {
    fn read(settings: &Settings) -> Result<Self, SettingError> {
        let positive = |value: &f64| match value.is_finite() && *value > 0.0 {
            true => Ok(()),
            false => Err("a number above 0".to_owned()),
        };
        let delta_pct = settings.get(&MAX_DELTA_PCT, positive)?;
        Ok(Self { delta_pct })
    }

    /// The mean KLD that goes with it, in nats: a text drawn from the baseline
    /// gains `E_p[ln p − ln q] = KL(p ‖ q)` a token.
    fn kld(self) -> f64 {
        (self.delta_pct / 100.0).ln_1p()
    }

    /// Standard deviation of the logit noise that goes with that: to second
    /// order `KL = ½ Var_p(δ)`.
    fn sigma(self) -> f64 {
        (2.0 * self.kld()).sqrt()
    }
}

/// The settings, read and resolved.
struct Plan {
    case: &'static str,
    ctx: usize,
    windows: Vec<Window>,
    allowed: Allowance,
    /// File for the baseline's logits; empty for none.
    base_logits: String,
}

impl Plan {
    fn read(input: &Input<'_>) -> Result<Self, SuiteError> {
        let within = |least: usize, most: usize| {
            move |value: &usize| match *value {
                value if value < least => Err(format!("at least {least}")),
                value if value > most => Err(format!("at most ctx, which is {most}")),
                _ => Ok(()),
            }
        };
        let settings = input.settings;
        let scheme = scheme(settings)?;
        let ctx = settings.get(&CTX, within(4, usize::MAX))?;
        let stride = match scheme {
            Scheme::Strided => settings.get(&STRIDE, within(1, ctx))?,
            // Whatever it is, nobody will look at it.
            Scheme::LlamaCpp | Scheme::Rolling => ctx,
        };
        let chunks: usize = settings.get(&CHUNKS, |_| Ok(()))?;
        let path = settings.text(&TEXT);
        let text = text::named_or(path, input.defaults.text)?;
        let mut windows = windows::cut(&text, input.tokenizer, scheme, ctx, stride)
            .map_err(|error| error.in_file(path))?;
        if chunks > 0 {
            windows.truncate(chunks);
        }
        Ok(Self {
            case: scheme.name(),
            ctx,
            windows,
            allowed: Allowance::read(settings)?,
            base_logits: settings.text(&BASE_LOGITS).into(),
        })
    }
}

impl Plan {
    /// Hands out one sample.
    fn record(
        &self,
        cell: &mut Cell<'_>,
        metric: &'static str,
        unit: &'static str,
        index: u64,
        value: f64,
    ) {
        (cell.samples)(Sample {
            case: self.case.into(),
            metric: metric.into(),
            unit: unit.into(),
            index,
            value,
        });
    }
}

fn unsupported(why: impl Into<String>) -> EngineError {
    EngineError::new(FailureKind::Unsupported, why)
}

/// One engine reading all windows.
struct Pass {
    /// The baseline's logits: to be kept, kept before, or to be compared with.
    writer: Option<Keeper>,
    kept: Option<Kept>,
    baseline: Option<LogitsFile>,
    /// Rows of logits before the next one.
    row: usize,
    sigma: f64,
}

impl Pass {
    fn new(cell: &Cell<'_>, model: &dyn Model, plan: &Plan) -> Result<Self, SuiteError> {
        let place = Place::new(cell, model.config().vocab, &plan.base_logits, &plan.windows);
        let mut pass = Self {
            writer: None,
            kept: None,
            baseline: None,
            row: 0,
            sigma: plan.allowed.sigma(),
        };
        match cell.role {
            Role::Candidate => pass.baseline = Some(place.open()?),
            Role::Baseline => {
                pass.kept = place.kept_before()?;
                // They fill disks: not where nobody will look at them.
                if pass.kept.is_none() && (place.kept() || cell.candidates > 0) {
                    pass.writer = Some(place.create()?);
                }
            }
        }
        Ok(pass)
    }

    fn run(
        mut self,
        cell: &mut Cell<'_>,
        model: &dyn Model,
        plan: &Plan,
    ) -> Result<(), SuiteError> {
        let bits = bits_per_weight(model, cell.model_bytes);
        plan.record(cell, "bits_per_weight", "bit", 0, bits);
        let mut session = model.session()?;
        for (done, window) in plan.windows.iter().enumerate() {
            let bytes = text_bytes(cell.input.tokenizer, window)?;
            plan.record(cell, "text_bytes", "B", window.first, bytes as f64);
            let scores = self.window(model, &mut *session, window)?;
            for (index, score) in (window.first..).zip(scores) {
                for (metric, unit, value) in score.samples() {
                    plan.record(cell, metric, unit, index, value);
                }
            }
            (cell.progress)(done as u64 + 1, plan.windows.len() as u64);
        }
        if let Some(writer) = self.writer {
            writer.finish()?;
        }
        Ok(())
    }

    /// Reads `window` in an empty context and scores its targets.
    fn window(
        &mut self,
        model: &dyn Model,
        session: &mut dyn Session,
        window: &Window,
    ) -> Result<Vec<Score>, SuiteError> {
        session.truncate(0)?;
        let vocab = model.config().vocab;
        let unscored = window.context.len() + 1 - window.targets.len();
        // The last of them has the first row that is wanted.
        let (prefix, scored) = window.context.split_at(unscored - 1);
        if !prefix.is_empty() && self.kept.is_none() {
            session.extend(prefix, Want::None)?;
        }
        let mut scores = Vec::with_capacity(scored.len());
        let rows = (PIECE_LOGITS / vocab).max(1);
        for (tokens, targets) in scored.chunks(rows).zip(window.targets.chunks(rows)) {
            let logits = match &mut self.kept {
                Some(kept) => kept.piece(self.row, tokens.len())?,
                None => session.extend(tokens, Want::All)?,
            };
            check(&logits, targets, vocab)?;
            if let Some(writer) = &mut self.writer {
                writer.push(&logits)?;
            }
            let expected = match &mut self.baseline {
                Some(file) => Some(file.rows(self.row, tokens.len())?),
                None => None,
            };
            self.row += tokens.len();
            scores.extend(score::all(&logits, expected.as_ref(), targets, self.sigma)?);
        }
        Ok(scores)
    }
}

/// Most logits to ask for at once: 256 MiB of them.
const PIECE_LOGITS: usize = 1 << 26;

fn check(logits: &Logits, targets: &[TokenId], vocab: usize) -> Result<(), EngineError> {
    if let Some(id) = targets.iter().find(|&&id| id as usize >= vocab) {
        return Err(EngineError::invalid(format!(
            "token {id} of the text is outside the vocabulary of {vocab}"
        )));
    }
    if (logits.rows(), logits.vocab()) == (targets.len(), vocab) {
        return Ok(());
    }
    Err(EngineError::new(
        FailureKind::Protocol,
        format!(
            "{}×{} logits for {} tokens of a vocabulary of {vocab}",
            logits.rows(),
            logits.vocab(),
            targets.len()
        ),
    ))
}

/// Bytes of text that the targets stand for.
fn text_bytes(tokenizer: &dyn Tokenizer, window: &Window) -> Result<usize, SuiteError> {
    let lengths = window
        .targets
        .iter()
        .map(|&id| tokenizer.token_bytes(id).map(<[u8]>::len));
    let total: Result<usize, _> = lengths.sum();
    Ok(total.map_err(text::TextError::Tokenizer)?)
}

/// What a weight costs: in the engine's format by that format's layout, or as
/// the model is stored if that is less.
fn bits_per_weight(model: &dyn Model, model_bytes: u64) -> f64 {
    let stored = 8.0 * model_bytes as f64 / model.config().parameters as f64;
    stored.min(model.numerics().weights.bits_per_weight())
}
