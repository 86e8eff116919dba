//! The promises of the seam, checked on any engine.
//!
//! In the tests of an engine, with a model that it can read:
//!
//! ```
//! # mod successor { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/examples/successor/engine.rs")); }
//! use harness_engine::{EngineOptions, ModelArtifact, conformance};
//! use successor::Successor;
//!
//! let model = ModelArtifact::embedded("nothing", b"");
//! let report = conformance::check(&Successor, &model, &EngineOptions::default())?;
//! assert!(report.passed(), "{report}");
//! # Ok::<(), harness_engine::EngineError>(())
//! ```

mod embeddings;
mod scores;
mod sessions;
mod taps;

use std::fmt;

use crate::tolerance::{product_noise, worst_gain};
use crate::{
    Capability, Engine, EngineError, EngineInfo, EngineOptions, FailureKind, Logits, Model,
    ModelArtifact, NumberFormat, Numerics, Session, TokenId, Want,
};

/// What became of every check.
///
/// ```
/// use harness_engine::conformance::{Check, Outcome, Report};
///
/// let report = Report {
///     checks: vec![
///         Check { name: "logits_shape", outcome: Outcome::Pass },
///         Check { name: "deterministic", outcome: Outcome::Fail("3 of 8 logits differ".into()) },
///     ],
/// };
/// assert!(!report.passed());
/// assert_eq!(
///     report.to_string(),
///     "pass  logits_shape\nFAIL  deterministic: 3 of 8 logits differ\n",
/// );
/// ```
#[derive(Clone, Debug)]
pub struct Report {
    /// The checks in the order they ran.
    pub checks: Vec<Check>,
}

/// One promise and whether it was kept.
///
/// ```
/// # mod successor { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/examples/successor/engine.rs")); }
/// use harness_engine::{EngineOptions, ModelArtifact};
/// use harness_engine::conformance::{self, Check, Outcome};
/// use successor::Successor;
///
/// let model = ModelArtifact::embedded("nothing", b"");
/// let report = conformance::check(&Successor, &model, &EngineOptions::default())?;
/// let check = report.checks.iter().find(|check| check.name == "deterministic");
/// assert!(check.is_some_and(|check| check.outcome == Outcome::Pass));
/// # Ok::<(), harness_engine::EngineError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Check {
    /// Short snake_case name.
    pub name: &'static str,
    /// What happened.
    pub outcome: Outcome,
}

/// Result of one check.
///
/// ```
/// # mod successor { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/examples/successor/engine.rs")); }
/// use harness_engine::{EngineOptions, ModelArtifact};
/// use harness_engine::conformance::{self, Outcome};
/// use successor::Successor;
///
/// let model = ModelArtifact::embedded("nothing", b"");
/// let report = conformance::check(&Successor, &model, &EngineOptions::default())?;
/// // It declares no embeddings, so there is nothing to check.
/// let why = report.checks.iter().find_map(|check| match &check.outcome {
///     Outcome::Skip(why) if check.name == "embeddings_shape" => Some(why.as_str()),
///     _ => None,
/// });
/// assert_eq!(why, Some("the engine declares no embeddings"));
/// # Ok::<(), harness_engine::EngineError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The promise was kept.
    Pass,
    /// It was broken; the text says how.
    Fail(String),
    /// It does not apply to this engine; the text says why.
    Skip(String),
}

impl Report {
    /// Whether no check failed, and not all were skipped.
    ///
    /// ```
    /// use harness_engine::conformance::{Check, Outcome, Report};
    ///
    /// let check = |outcome| Check { name: "logits_finite", outcome };
    /// let skipped = Report { checks: vec![check(Outcome::Skip("no sessions".into()))] };
    /// assert!(!skipped.passed(), "nothing was shown");
    /// let mixed = Report { checks: vec![check(Outcome::Pass), check(Outcome::Skip("no taps".into()))] };
    /// assert!(mixed.passed());
    /// ```
    #[must_use]
    pub fn passed(&self) -> bool {
        let any = |wanted: fn(&Outcome) -> bool| {
            let mut outcomes = self.checks.iter().map(|check| &check.outcome);
            outcomes.any(wanted)
        };
        any(|outcome| *outcome == Outcome::Pass) && !any(|o| matches!(o, Outcome::Fail(_)))
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for check in &self.checks {
            match &check.outcome {
                Outcome::Pass => writeln!(f, "pass  {}", check.name)?,
                Outcome::Fail(why) => writeln!(f, "FAIL  {}: {why}", check.name)?,
                Outcome::Skip(why) => writeln!(f, "skip  {}: {why}", check.name)?,
            }
        }
        Ok(())
    }
}

/// Opens `model` in `engine` and runs every check.
///
/// # Errors
/// Only when the model cannot be opened; anything after that is a finding in
/// the report.
///
/// ```
/// # mod successor { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/examples/successor/engine.rs")); }
/// use harness_engine::{EngineSpec, FailureKind, ModelArtifact, conformance};
/// use successor::Successor;
///
/// let model = ModelArtifact::embedded("nothing", b"");
/// let spec: EngineSpec = "successor:threads=2".parse()?;
/// let found = conformance::check(&Successor, &model, &spec.options);
/// // It was not opened, so nothing was checked.
/// assert!(found.is_err_and(|error| error.kind() == FailureKind::InvalidInput));
/// # Ok::<(), harness_engine::SpecError>(())
/// ```
pub fn check(
    engine: &dyn Engine,
    model: &ModelArtifact,
    options: &EngineOptions,
) -> Result<Report, EngineError> {
    let mut info = engine.probe(options)?;
    info.lose(&engine.lacking(model, options));
    Ok(check_model(&*engine.open(model, options)?, info))
}

/// Runs every check on a model that is open already, of the engine that `info` describes.
///
/// ```
/// # mod successor { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/examples/successor/engine.rs")); }
/// use harness_engine::{Capability, Engine, EngineOptions, ModelArtifact, conformance};
/// use successor::Successor;
///
/// let artifact = ModelArtifact::embedded("nothing", b"");
/// let model = Successor.open(&artifact, &EngineOptions::default())?;
/// let mut info = Successor.describe();
/// info.capabilities.push(Capability::Embeddings); // A promise that it does not keep.
/// assert!(!conformance::check_model(&*model, info).passed());
/// # Ok::<(), harness_engine::EngineError>(())
/// ```
#[must_use]
pub fn check_model(model: &dyn Model, info: EngineInfo) -> Report {
    let subject = Subject::new(model, info);
    let checks = CHECKS
        .iter()
        .map(|(name, run)| Check {
            name,
            outcome: match run(&subject) {
                Ok(()) => Outcome::Pass,
                Err(Finding::Broken(why)) => Outcome::Fail(why),
                Err(Finding::NotApplicable(why)) => Outcome::Skip(why),
            },
        })
        .collect();
    Report { checks }
}

type Run = fn(&Subject<'_>) -> Result<(), Finding>;

const CHECKS: &[(&str, Run)] = &[
    ("logits_shape", sessions::logits_shape),
    ("logits_finite", sessions::logits_finite),
    ("last_row_is_last_of_all", sessions::last_row_is_last_of_all),
    ("prefill_equals_decode", sessions::prefill_equals_decode),
    ("chunked_prefill_equals_prefill", sessions::chunked_prefill),
    (
        "truncate_then_extend_equals_fresh",
        sessions::truncate_then_extend,
    ),
    (
        "sessions_are_independent",
        sessions::sessions_are_independent,
    ),
    ("shared_model_serves_threads", sessions::shared_model),
    ("deterministic", sessions::deterministic),
    ("context_overflow_is_refused", sessions::context_overflow),
    ("foreign_token_is_refused", sessions::foreign_token),
    ("empty_extend_is_refused", sessions::empty_extend),
    ("truncate_past_end_is_refused", sessions::truncate_past_end),
    ("kv_usage_follows_length", sessions::kv_usage),
    ("taps_have_their_shapes", taps::shapes),
    ("taps_change_no_logit", taps::logits_are_the_same),
    ("tapped_residuals_add_up", taps::residuals_add_up),
    ("scores_are_repeatable", scores::repeatable),
    ("unscorable_text_is_refused", scores::refusals),
    ("answers_are_the_most_probable", scores::generation),
    ("embeddings_shape", embeddings::shape),
    ("embeddings_finite", embeddings::finite),
    ("batch_equals_one_by_one", embeddings::batch),
    ("embeddings_deterministic", embeddings::deterministic),
    ("empty_text_is_refused", embeddings::empty_text),
    ("overlong_text_is_refused", embeddings::overlong_text),
    (
        "foreign_token_in_text_is_refused",
        embeddings::foreign_token,
    ),
];

enum Finding {
    Broken(String),
    NotApplicable(String),
}

impl From<EngineError> for Finding {
    fn from(error: EngineError) -> Self {
        Finding::Broken(format!("unexpected {} failure: {error}", error.kind()))
    }
}

fn broken<T>(why: impl Into<String>) -> Result<T, Finding> {
    Err(Finding::Broken(why.into()))
}

/// The model under test and the tokens it is fed.
struct Subject<'a> {
    model: &'a dyn Model,
    info: EngineInfo,
    tokens: Vec<TokenId>,
    tolerance: f64,
}

impl<'a> Subject<'a> {
    fn new(model: &'a dyn Model, info: EngineInfo) -> Self {
        let config = model.config();
        // Long enough to cross every power-of-two tile below 32 unevenly, and
        // to leave room in the shortest of contexts.
        let count = 37.min(config.context.saturating_sub(1)).max(1);
        // Knuth's MMIX generator: the same ids on every machine.
        let mut state = 0x9E37_79B9_7F4A_7C15_u64;
        let tokens = (0..count)
            .map(|_| {
                state = state
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1_442_695_040_888_963_407);
                ((state >> 33) % config.vocab.max(1) as u64) as TokenId
            })
            .collect();
        // Both sides of every comparison hold the same weights, so only the
        // rounding of what is computed may differ.
        let numerics = Numerics {
            weights: NumberFormat::F32,
            ..model.numerics()
        };
        Self {
            model,
            info,
            tokens,
            tolerance: worst_gain(config) * product_noise(numerics, config),
        }
    }

    /// A model that predicts nothing has no sessions to check.
    fn session(&self) -> Result<Box<dyn Session + 'a>, Finding> {
        self.model.session().map_err(|error| match error.kind() {
            FailureKind::Unsupported => Finding::NotApplicable(error.to_string()),
            _ => error.into(),
        })
    }

    fn can(&self, power: Capability) -> bool {
        self.info.capabilities.contains(&power)
    }

    fn prefill(&self, tokens: &[TokenId]) -> Result<Logits, Finding> {
        self.all(&mut *self.session()?, tokens)
    }

    /// Logits of every one of `tokens`, which an engine that gives those of the last
    /// alone has to be handed one by one.
    fn all(&self, session: &mut dyn Session, tokens: &[TokenId]) -> Result<Logits, Finding> {
        if self.can(Capability::AllLogits) {
            return Ok(session.extend(tokens, Want::All)?);
        }
        let mut values = Vec::new();
        for token in tokens {
            values.extend_from_slice(session.extend(&[*token], Want::Last)?.values());
        }
        match Logits::new(self.model.config().vocab, values) {
            Some(logits) => Ok(logits),
            None => broken("ragged rows"),
        }
    }

    fn same(&self, what: &str, expected: &Logits, got: &Logits) -> Result<(), Finding> {
        if (expected.rows(), expected.vocab()) != (got.rows(), got.vocab()) {
            return broken(format!(
                "{what}: {}×{} logits against {}×{}",
                got.rows(),
                got.vocab(),
                expected.rows(),
                expected.vocab()
            ));
        }
        if !self.can(Capability::FullLogits) {
            return Err(Finding::NotApplicable(
                "the engine gives the likeliest tokens only, and near-ties may change which these are"
                    .into(),
            ));
        }
        let nmse = pooled_nmse(expected, got);
        if nmse <= self.tolerance {
            return Ok(());
        }
        broken(format!(
            "{what}: NMSE {nmse:.3e} exceeds {:.3e}, the bound for activations in {} and a KV cache in {}",
            self.tolerance,
            self.model.numerics().activations,
            self.model.numerics().kv
        ))
    }

    /// Runs `call`, which must be refused as invalid input and leave the
    /// session as it was.
    fn refused<T>(
        &self,
        session: &mut dyn Session,
        call: impl FnOnce(&mut dyn Session) -> Result<T, EngineError>,
    ) -> Result<(), Finding> {
        let before = session.len();
        match call(session) {
            Ok(_) => return broken("it was accepted"),
            Err(error) if error.kind() != FailureKind::InvalidInput => {
                return broken(format!(
                    "reported as {} instead of invalid input: {error}",
                    error.kind()
                ));
            }
            Err(_) => {}
        }
        if session.len() != before {
            return broken(format!(
                "the refused call changed the length from {before} to {}",
                session.len()
            ));
        }
        // The refusal must not have touched the cache either.
        let expected = self.prefill(&self.tokens[..before + 1])?;
        let expected = expected.row(before);
        let got = session.extend(&self.tokens[before..=before], Want::Last)?;
        let row = |values: &[f32]| Logits::new(values.len(), values.to_vec()).unwrap_or_default();
        match self.same("after the refusal", &row(expected), &got) {
            Err(Finding::NotApplicable(_)) => Ok(()),
            other => other,
        }
    }
}

/// Squared difference over the centred energy of `expected`. Adding a constant
/// to a row changes no probability, so rows are centred first.
fn pooled_nmse(expected: &Logits, got: &Logits) -> f64 {
    let (mut noise, mut signal) = (0.0, 0.0);
    for row in 0..expected.rows() {
        let (a, b) = (expected.row(row), got.row(row));
        let mean = |values: &[f32]| {
            values.iter().map(|&v| f64::from(v)).sum::<f64>() / values.len() as f64
        };
        let (mean_a, mean_b) = (mean(a), mean(b));
        for (&x, &y) in a.iter().zip(b) {
            let (x, y) = (f64::from(x) - mean_a, f64::from(y) - mean_b);
            noise += (x - y) * (x - y);
            signal += x * x;
        }
    }
    if noise == 0.0 { 0.0 } else { noise / signal }
}
