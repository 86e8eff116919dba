//! Text from an engine, one token after the other.
//!
//! What is chosen depends on logits, [`Sampling`] and nothing else: the same
//! logits give the same tokens on every platform.
//!
//! ```
//! use harness_suites::generation::{Sampler, Sampling, TextStream};
//!
//! let vocabulary: [&[u8]; 3] = [b"Out, ", b"out", b"!\n"];
//! let stops = ["\n".to_owned()];
//! let mut sampler = Sampler::new(&Sampling::default());
//! let mut stream = TextStream::new(&stops);
//! let mut text = String::new();
//! let mut stopped = None;
//! // What an engine would answer with.
//! for logits in [[2.0, 1.0, 0.0], [0.5, 1.5, 1.0], [0.0, 0.1, 3.0]] {
//!     let token = sampler.choose(&logits).token;
//!     stopped = stream.push(vocabulary[token as usize], &mut |piece| text += piece);
//! }
//! assert_eq!((&*text, stopped), ("Out, out!", Some("\n")));
//! ```

mod margin;
mod sampling;
mod stream;
mod streamed;

use engine::{
    EngineError, FailureKind, Logits, ModelConfig, Session, TokenId, Tokenizer, TokenizerError,
    Want,
};

use serde::{Deserialize, Serialize};

use crate::distribution::{all_finite, log_probability, top};
pub use sampling::{Choice, Sampler, Sampling};
pub use stream::TextStream;
pub(crate) use streamed::{Streamed, streamed};

/// What to generate.
///
/// ```
/// use harness_suites::generation::{Request, Sampling, Stop};
///
/// let sampling: Sampling = "temperature=0.8,top_p=0.95,seed=1".parse()?;
/// let stop = Stop { token_ids: vec![1], strings: vec!["\n\n".into()] };
/// let prompt = [0, 368, 1293];
/// let request =
///     Request { prompt: &prompt, sampling: &sampling, stop: &stop, max_tokens: 64, top: 0 };
/// // The same with the greedy sampler.
/// let greedy = Request { sampling: &Sampling::default(), ..request };
/// assert_eq!(greedy.sampling.to_string(), "greedy");
/// # Ok::<(), String>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// Tokens to put into the context first; BOS is not added.
    pub prompt: &'a [TokenId],
    /// How tokens are chosen.
    pub sampling: &'a Sampling,
    /// What ends the text.
    pub stop: &'a Stop,
    /// Most tokens to generate.
    pub max_tokens: usize,
    /// Log-probabilities to keep of every step, the largest ones.
    pub top: usize,
}

/// What ends a generated text before it is as long as it may be.
///
/// ```
/// use harness_suites::generation::Stop;
///
/// // As a transcript has it.
/// let stop: Stop = serde_json::from_str(r#"{"token_ids": [1], "strings": ["\n\n"]}"#)?;
/// assert_eq!(stop, Stop { token_ids: vec![1], strings: vec!["\n\n".into()] });
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stop {
    /// Tokens that end it; they add nothing to the text.
    pub token_ids: Vec<TokenId>,
    /// Strings that end it, none of them empty; the text stops short of them.
    pub strings: Vec<String>,
}

impl Stop {
    /// Ends where the model says it is done.
    ///
    /// ```
    /// use engine::ModelArtifact;
    /// use harness_suites::generation::Stop;
    /// use reference::{Source, tokenizer};
    ///
    /// let model = ModelArtifact::embedded(fixtures::MODEL_NAME, fixtures::MODEL);
    /// let tokenizer = tokenizer::open(&Source::open(&model)?)?;
    /// let line = Stop { strings: vec!["\n".into()], ..Stop::of(&*tokenizer) };
    /// assert_eq!(line.token_ids, tokenizer.eos().into_iter().collect::<Vec<_>>());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn of(tokenizer: &dyn Tokenizer) -> Self {
        Self {
            token_ids: tokenizer.ends(),
            strings: Vec::new(),
        }
    }
}

/// One chosen token.
///
/// ```
/// use engine::{Engine, EngineOptions, ModelArtifact};
/// use harness_suites::generation::{Request, Sampling, Stop, generate};
/// use reference::{Reference, Source, tokenizer};
///
/// let artifact = ModelArtifact::embedded(fixtures::MODEL_NAME, fixtures::MODEL);
/// let tokenizer = tokenizer::open(&Source::open(&artifact)?)?;
/// let model = Reference.open(&artifact, &EngineOptions::default())?;
/// let request = Request {
///     prompt: &[0, 368, 1293],
///     sampling: &"temperature=1.5,seed=2".parse::<Sampling>()?,
///     stop: &Stop::default(),
///     max_tokens: 8,
///     top: 1,
/// };
/// let mut session = model.session()?;
/// let text = generate(&mut *session, model.config(), &*tokenizer, &request, &mut |_| {})?;
/// // Where it was drawn, another token may have been more probable.
/// let passed_over = text.steps.iter().filter(|step| step.top[0].0 != step.token);
/// assert_ne!(passed_over.count(), 0);
/// assert!(text.steps.iter().all(|step| step.log_probability <= step.top[0].1));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// The token.
    pub token: TokenId,
    /// `ln softmax(logits)[token]` in nats: temperature and filters play no part.
    pub log_probability: f64,
    /// The most probable tokens and their log-probabilities, best first; the lower
    /// id wins a tie.
    pub top: Vec<(TokenId, f64)>,
    /// How far another choice was, in nats; see [`Choice::margin`].
    pub margin: f64,
    /// Standard deviation of the logits, in nats.
    pub spread: f64,
}

/// A finished text.
///
/// ```
/// use engine::{Engine, EngineOptions, ModelArtifact};
/// use harness_suites::generation::{Finish, Request, Sampling, Stop, generate};
/// use reference::{Reference, Source, tokenizer};
///
/// let artifact = ModelArtifact::embedded(fixtures::MODEL_NAME, fixtures::MODEL);
/// let tokenizer = tokenizer::open(&Source::open(&artifact)?)?;
/// let model = Reference.open(&artifact, &EngineOptions::default())?;
/// let request = Request {
///     prompt: &[0, 368, 1293],
///     sampling: &Sampling::default(),
///     stop: &Stop::default(),
///     max_tokens: 8,
///     top: 0,
/// };
/// let mut session = model.session()?;
/// let generated = generate(&mut *session, model.config(), &*tokenizer, &request, &mut |_| {})?;
/// assert_eq!((generated.steps.len(), generated.finish), (8, Finish::Length));
/// let tokens: Vec<_> = generated.steps.iter().map(|step| step.token).collect();
/// assert_eq!(tokenizer.decode(&tokens)?, generated.text);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Generated {
    /// Every chosen token, that which ended the text included.
    pub steps: Vec<Step>,
    /// What the tokens say, up to the stop token or string. Bytes that are no
    /// UTF-8 are U+FFFD.
    pub text: String,
    /// Why it ended.
    pub finish: Finish,
}

/// Why a text ended.
///
/// ```
/// use harness_suites::generation::Finish;
///
/// // As transcripts have it.
/// let cut_off = serde_json::to_string(&Finish::Length)?;
/// let complete = serde_json::to_string(&Finish::StopString(".".into()))?;
/// assert_eq!([cut_off, complete], [r#""length""#, r#"{"stop_string":"."}"#]);
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Finish {
    /// The last step chose one of [`Stop::token_ids`].
    StopToken,
    /// The text came to this one of [`Stop::strings`].
    StopString(String),
    /// It is as long as it may be.
    Length,
    /// The model's context is full.
    Context,
}

/// Generates text in `session`, whose context may hold tokens before the prompt.
/// `on_text` is given every piece of text once it is certain.
///
/// # Errors
/// What [`Session::extend`] fails with, [`FailureKind::InvalidInput`] for an empty
/// prompt, [`FailureKind::Numerics`] for NaN or infinite logits,
/// [`FailureKind::Protocol`] for logits of another shape than was asked for.
///
/// ```
/// use engine::{Engine, EngineOptions, ModelArtifact};
/// use harness_suites::generation::{Finish, Request, Sampling, Stop, generate};
/// use reference::{Reference, Source, tokenizer};
///
/// let artifact = ModelArtifact::embedded(fixtures::MODEL_NAME, fixtures::MODEL);
/// let tokenizer = tokenizer::open(&Source::open(&artifact)?)?;
/// let model = Reference.open(&artifact, &EngineOptions::default())?;
///
/// let mut prompt: Vec<_> = tokenizer.bos().into_iter().collect();
/// prompt.extend(tokenizer.encode("The visions of romance were over. Catherine was")?);
/// let request = Request {
///     prompt: &prompt,
///     sampling: &Sampling::default(),
///     stop: &Stop { strings: vec![",".into()], ..Stop::of(&*tokenizer) },
///     max_tokens: 32,
///     top: 2,
/// };
/// let mut shown = String::new();
/// let generated = generate(
///     &mut *model.session()?,
///     model.config(),
///     &*tokenizer,
///     &request,
///     &mut |text| shown += text,
/// )?;
/// assert_eq!(generated.text, " not in the way of the pump-room");
/// assert_eq!(generated.finish, Finish::StopString(",".into()));
/// assert_eq!(shown, generated.text);
///
/// // How sure the model was of its first choice.
/// let first = &generated.steps[0];
/// let [best, second] = first.top[..] else { return Err("two were asked for".into()) };
/// assert_eq!(best, (first.token, first.log_probability));
/// assert!((best.1 - second.1 - first.margin).abs() < 1e-6);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn generate(
    session: &mut dyn Session,
    config: &ModelConfig,
    tokenizer: &dyn Tokenizer,
    request: &Request<'_>,
    on_text: &mut dyn FnMut(&str),
) -> Result<Generated, EngineError> {
    let mut sampler = Sampler::new(request.sampling);
    let mut stream = TextStream::new(&request.stop.strings);
    let mut steps: Vec<Step> = Vec::new();
    let mut text = String::new();
    let mut emit = |piece: &str| {
        text.push_str(piece);
        on_text(piece);
    };
    let finish = loop {
        if steps.len() == request.max_tokens {
            break Finish::Length;
        }
        let last = steps.last().map(|step| [step.token]);
        if last.is_some() && session.len() == config.context {
            break Finish::Context;
        }
        let next = last.as_ref().map_or(request.prompt, |token| token);
        let logits = session.extend(next, Want::Last)?;
        check(&logits, 1, config.vocab)?;
        let step = Step::choose(logits.row(0), &mut sampler, request.top);
        let token = step.token;
        steps.push(step);
        if request.stop.token_ids.contains(&token) {
            break Finish::StopToken;
        }
        let bytes = tokenizer.token_bytes(token).map_err(unknown)?;
        if let Some(stop) = stream.push(bytes, &mut emit) {
            break Finish::StopString(stop.to_owned());
        }
    };
    let finish = match stream.finish(&mut emit) {
        Some(stop) => Finish::StopString(stop.to_owned()),
        None => finish,
    };
    Ok(Generated {
        steps,
        text,
        finish,
    })
}

impl Step {
    /// Chooses from one row of finite logits.
    pub(crate) fn choose(logits: &[f32], sampler: &mut Sampler, kept: usize) -> Self {
        let choice = sampler.choose(logits);
        let ids = top(logits, kept);
        let own = log_probability(logits, choice.token as usize);
        let chosen = f64::from(logits[choice.token as usize]);
        let relative = |id: usize| own + (f64::from(logits[id]) - chosen);
        Self {
            token: choice.token,
            log_probability: own,
            top: ids
                .into_iter()
                .map(|id| (id as TokenId, relative(id)))
                .collect(),
            margin: choice.margin,
            spread: spread(logits),
        }
    }
}

/// Standard deviation of a row, in f64.
fn spread(logits: &[f32]) -> f64 {
    let n = logits.len() as f64;
    let mean = logits.iter().map(|&v| f64::from(v)).sum::<f64>() / n;
    let squares = logits.iter().map(|&v| (f64::from(v) - mean).powi(2));
    (squares.sum::<f64>() / n).sqrt()
}

/// Refuses logits that are not `rows` times `vocab` finite numbers.
pub(crate) fn check(logits: &Logits, rows: usize, vocab: usize) -> Result<(), EngineError> {
    let shape = (logits.rows(), logits.vocab());
    if shape != (rows, vocab) {
        let (got, per_row) = shape;
        return Err(EngineError::new(
            FailureKind::Protocol,
            format!("{got}×{per_row} logits where {rows}×{vocab} were asked for"),
        ));
    }
    if !all_finite(logits.values()) {
        let message = "NaN or infinite logits while generating";
        return Err(EngineError::new(FailureKind::Numerics, message));
    }
    Ok(())
}

/// The engine's vocabulary is larger than the tokenizer's, and it chose from there.
fn unknown(error: TokenizerError) -> EngineError {
    EngineError::new(
        FailureKind::Protocol,
        format!("the engine chose a token that the tokenizer does not have: {error}"),
    )
}

#[cfg(test)]
mod tests;
