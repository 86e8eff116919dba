//! The promises of the seam, checked on any engine.
//!
//! ```no_run
//! use harness_engine::{Engine, EngineOptions, ModelArtifact, conformance};
//!
//! # fn demo(engine: &dyn Engine, model: &ModelArtifact) -> Result<(), harness_engine::EngineError> {
//! let report = conformance::check(engine, model, &EngineOptions::default())?;
//! assert!(report.passed(), "{report}");
//! # Ok(())
//! # }
//! ```

mod embeddings;
mod scores;
mod taps;

use std::fmt;

use crate::tolerance::{product_noise, worst_gain};
use crate::{
    Capability, Engine, EngineError, EngineInfo, EngineOptions, FailureKind, Logits, Model,
    ModelArtifact, NumberFormat, Numerics, Session, TokenId, Want,
};

/// What became of every check.
#[derive(Clone, Debug)]
pub struct Report {
    /// The checks in the order they ran.
    pub checks: Vec<Check>,
}

/// One promise and whether it was kept.
#[derive(Clone, Debug)]
pub struct Check {
    /// Short snake_case name.
    pub name: &'static str,
    /// What happened.
    pub outcome: Outcome,
}

/// Result of one check.
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
    ("logits_shape", logits_shape),
    ("logits_finite", logits_finite),
    ("last_row_is_last_of_all", last_row_is_last_of_all),
    ("prefill_equals_decode", prefill_equals_decode),
    ("chunked_prefill_equals_prefill", chunked_prefill),
    ("truncate_then_extend_equals_fresh", truncate_then_extend),
    ("sessions_are_independent", sessions_are_independent),
    ("shared_model_serves_threads", shared_model),
    ("deterministic", deterministic),
    ("context_overflow_is_refused", context_overflow),
    ("foreign_token_is_refused", foreign_token),
    ("empty_extend_is_refused", empty_extend),
    ("truncate_past_end_is_refused", truncate_past_end),
    ("kv_usage_follows_length", kv_usage),
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

fn logits_shape(subject: &Subject<'_>) -> Result<(), Finding> {
    let vocab = subject.model.config().vocab;
    for want in [Want::None, Want::Last, Want::All] {
        if want == Want::All && !subject.can(Capability::AllLogits) {
            continue;
        }
        let mut session = subject.session()?;
        let logits = session.extend(&subject.tokens, want)?;
        let rows = want.rows(subject.tokens.len());
        if logits.rows() != rows || (rows > 0 && logits.vocab() != vocab) {
            return broken(format!(
                "{want:?} of {} tokens gave {}×{} logits instead of {rows}×{vocab}",
                subject.tokens.len(),
                logits.rows(),
                logits.vocab()
            ));
        }
        if session.len() != subject.tokens.len() {
            return broken(format!(
                "length {} after {} tokens",
                session.len(),
                subject.tokens.len()
            ));
        }
    }
    Ok(())
}

fn logits_finite(subject: &Subject<'_>) -> Result<(), Finding> {
    if subject.prefill(&subject.tokens)?.all_finite() {
        Ok(())
    } else {
        broken("NaN or infinity among the logits")
    }
}

fn last_row_is_last_of_all(subject: &Subject<'_>) -> Result<(), Finding> {
    let all = subject.prefill(&subject.tokens)?;
    let last = subject.session()?.extend(&subject.tokens, Want::Last)?;
    let row = all.row(all.rows() - 1).to_vec();
    let expected = Logits::new(all.vocab(), row).unwrap_or_default();
    subject.same("Want::Last", &expected, &last)
}

fn prefill_equals_decode(subject: &Subject<'_>) -> Result<(), Finding> {
    extend_in_chunks(subject, 1)
}

fn chunked_prefill(subject: &Subject<'_>) -> Result<(), Finding> {
    extend_in_chunks(subject, 5)
}

fn extend_in_chunks(subject: &Subject<'_>, chunk: usize) -> Result<(), Finding> {
    let expected = subject.prefill(&subject.tokens)?;
    let mut session = subject.session()?;
    let mut values = Vec::with_capacity(expected.values().len());
    for tokens in subject.tokens.chunks(chunk) {
        values.extend_from_slice(subject.all(&mut *session, tokens)?.values());
    }
    let Some(got) = Logits::new(expected.vocab(), values) else {
        return broken("ragged rows");
    };
    subject.same(&format!("{chunk} tokens a call"), &expected, &got)
}

fn truncate_then_extend(subject: &Subject<'_>) -> Result<(), Finding> {
    let keep = subject.tokens.len() / 2;
    let expected = subject.prefill(&subject.tokens)?;
    let mut session = subject.session()?;
    // What is truncated away differs from what replaces it, so that a stale
    // cache slot shows.
    let detour: Vec<TokenId> = subject.tokens.iter().rev().copied().collect();
    if keep > 0 {
        session.extend(&subject.tokens[..keep], Want::None)?;
    }
    session.extend(&detour[keep..], Want::None)?;
    session.truncate(keep)?;
    if session.len() != keep {
        return broken(format!("length {} after truncate({keep})", session.len()));
    }
    let got = subject.all(&mut *session, &subject.tokens[keep..])?;
    let tail = expected.values()[keep * expected.vocab()..].to_vec();
    let tail = Logits::new(expected.vocab(), tail).unwrap_or_default();
    subject.same(&format!("after truncate({keep})"), &tail, &got)
}

fn sessions_are_independent(subject: &Subject<'_>) -> Result<(), Finding> {
    if !subject.can(Capability::ConcurrentSessions) {
        return Err(Finding::NotApplicable(
            "the engine declares no concurrent sessions".into(),
        ));
    }
    let other: Vec<TokenId> = subject.tokens.iter().rev().copied().collect();
    let expected = [subject.prefill(&subject.tokens)?, subject.prefill(&other)?];
    let mut sessions = [subject.session()?, subject.session()?];
    let mut values = [Vec::new(), Vec::new()];
    for (mine, theirs) in subject.tokens.chunks(3).zip(other.chunks(3)) {
        for (at, tokens) in [mine, theirs].into_iter().enumerate() {
            let logits = subject.all(&mut *sessions[at], tokens)?;
            values[at].extend_from_slice(logits.values());
        }
    }
    for (expected, values) in expected.iter().zip(values) {
        let Some(got) = Logits::new(expected.vocab(), values) else {
            return broken("ragged rows");
        };
        subject.same("interleaved with another session", expected, &got)?;
    }
    Ok(())
}

fn shared_model(subject: &Subject<'_>) -> Result<(), Finding> {
    let Some(shared) = subject.model.shared() else {
        return Err(Finding::NotApplicable(
            "the model is not shared between threads".into(),
        ));
    };
    let tokens = &subject.tokens;
    let expected = subject.session()?.extend(tokens, Want::Last)?;
    let alone = || shared.session()?.extend(tokens, Want::Last);
    let results = std::thread::scope(|scope| {
        let others: Vec<_> = (0..2).map(|_| scope.spawn(alone)).collect();
        others
            .into_iter()
            .map(|other| other.join())
            .collect::<Vec<_>>()
    });
    for result in results {
        match result {
            Ok(logits) => subject.same("in several threads at once", &expected, &logits?)?,
            Err(_) => return broken("a thread panicked"),
        }
    }
    Ok(())
}

fn deterministic(subject: &Subject<'_>) -> Result<(), Finding> {
    let first = subject.prefill(&subject.tokens)?;
    let second = subject.prefill(&subject.tokens)?;
    let differing = first
        .values()
        .iter()
        .zip(second.values())
        .filter(|(a, b)| a.to_bits() != b.to_bits())
        .count();
    if differing == 0 {
        Ok(())
    } else {
        broken(format!(
            "{differing} of {} logits differ between two runs",
            first.values().len()
        ))
    }
}

fn context_overflow(subject: &Subject<'_>) -> Result<(), Finding> {
    let context = subject.model.config().context;
    let mut session = subject.session()?;
    let half = subject.tokens.len() / 2;
    if half > 0 {
        session.extend(&subject.tokens[..half], Want::None)?;
    }
    let too_many = vec![subject.tokens[0]; context - half + 1];
    subject.refused(&mut *session, |session| {
        session.extend(&too_many, Want::None)
    })
}

fn foreign_token(subject: &Subject<'_>) -> Result<(), Finding> {
    let vocab = TokenId::try_from(subject.model.config().vocab).unwrap_or(TokenId::MAX);
    for id in [vocab, TokenId::MAX] {
        let mut session = subject.session()?;
        let tokens = [subject.tokens[0], id];
        subject.refused(&mut *session, |session| session.extend(&tokens, Want::Last))?;
    }
    Ok(())
}

fn empty_extend(subject: &Subject<'_>) -> Result<(), Finding> {
    let mut session = subject.session()?;
    subject.refused(&mut *session, |session| session.extend(&[], Want::Last))
}

fn truncate_past_end(subject: &Subject<'_>) -> Result<(), Finding> {
    let mut session = subject.session()?;
    subject.refused(&mut *session, |session| session.truncate(1))
}

fn kv_usage(subject: &Subject<'_>) -> Result<(), Finding> {
    if !subject.can(Capability::KvUsage) {
        return Err(Finding::NotApplicable(
            "the engine declares no KV usage".into(),
        ));
    }
    let usage = |session: &dyn Session| match session.kv() {
        Some(usage) => Ok(usage),
        None => broken("declared, but Session::kv() tells nothing"),
    };
    let layers = subject.model.config().layers;
    let mut session = subject.session()?;
    let mut per_token = None;
    for (index, token) in subject.tokens.iter().enumerate() {
        session.extend(&[*token], Want::None)?;
        let usage = usage(&*session)?;
        if usage.layers.len() != layers {
            return broken(format!(
                "{} entries for {layers} layers",
                usage.layers.len()
            ));
        }
        if usage.used_bytes() > usage.reserved_bytes() {
            return broken("more bytes used than reserved");
        }
        let expected = *per_token.get_or_insert(usage.used_bytes()) * (index as u64 + 1);
        if usage.used_bytes() != expected {
            return broken(format!(
                "{} bytes used at {} tokens, not {expected}",
                usage.used_bytes(),
                index + 1
            ));
        }
    }
    session.truncate(1)?;
    let after = usage(&*session)?.used_bytes();
    if Some(after) != per_token {
        return broken(format!("{after} bytes used after truncate(1)"));
    }
    Ok(())
}
