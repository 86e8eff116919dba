//! Making transcripts.

use engine::{FailureKind, Model, TokenId, Tokenizer};

use super::prompts::Prompt;
use super::transcript::{Recorded, Transcript};
use crate::SuiteError;
use crate::cell::Variant;
use crate::generation::{Generated, Request, Sampling, Stop, generate};
use crate::parity::{Mark, prefill};

/// Most tokens to read for the measurement of a network's noise gain.
const PROBE_TOKENS: usize = 256;

/// What prompts leave open, and what transcripts tell of their making.
///
/// ```
/// use engine::{Engine, EngineOptions, ModelArtifact};
/// use harness_suites::generation::Sampling;
/// use harness_suites::golden::{Prompt, Recorder};
/// use reference::{Reference, Source, tokenizer};
///
/// let artifact = ModelArtifact::embedded(fixtures::MODEL_NAME, fixtures::MODEL);
/// let model = Reference.open(&artifact, &EngineOptions::default())?;
/// let recorder = Recorder {
///     engine: "reference 0.1.0",
///     model_sha256: &artifact.sha256,
///     tokenizer: &*tokenizer::open(&Source::open(&artifact)?)?,
///     sampling: &Sampling::default(),
///     stop: &[],
///     max_tokens: 4,
///     top: 1,
/// };
/// // What a prompt says itself comes first.
/// let lines = r#"{"id": "a", "prompt": "Catherine was"}
///     {"id": "b", "prompt": "Catherine was", "max_tokens": 2}"#;
/// let prompts = Prompt::parse("prompts.jsonl".as_ref(), lines)?;
/// let made = recorder.record(&*model, &|_, _| None, &prompts, &|_, _| {})?;
/// let lengths: Vec<usize> = made.iter().map(|transcript| transcript.steps.len()).collect();
/// assert_eq!(lengths, [4, 2]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy)]
pub struct Recorder<'a> {
    /// Engine spec and version.
    pub engine: &'a str,
    /// SHA-256 of the model.
    pub model_sha256: &'a str,
    /// Its tokenizer.
    pub tokenizer: &'a dyn Tokenizer,
    /// How tokens are chosen.
    pub sampling: &'a Sampling,
    /// Strings that end a text.
    pub stop: &'a [String],
    /// Most tokens to generate.
    pub max_tokens: usize,
    /// Log-probabilities to keep of every step.
    pub top: usize,
}

impl Recorder<'_> {
    /// Has `model` answer every prompt. `variant` opens its engine in another
    /// format, by which its noise is known.
    ///
    /// # Errors
    /// [`SuiteError::Golden`] for a prompt that cannot be put to the model,
    /// [`SuiteError::Engine`].
    ///
    /// ```
    /// use engine::{Engine, EngineOptions, ModelArtifact};
    /// use harness_suites::generation::Sampling;
    /// use harness_suites::golden::{Prompt, Recorder, TOP};
    /// use reference::{Reference, Source, tokenizer};
    ///
    /// let artifact = ModelArtifact::embedded(fixtures::MODEL_NAME, fixtures::MODEL);
    /// let recorder = Recorder {
    ///     engine: "reference 0.1.0",
    ///     model_sha256: &artifact.sha256,
    ///     tokenizer: &*tokenizer::open(&Source::open(&artifact)?)?,
    ///     sampling: &Sampling::default(),
    ///     stop: &[".".to_owned()],
    ///     max_tokens: 8,
    ///     top: TOP,
    /// };
    /// let line = r#"{"id": "austen", "prompt": "The visions of romance were over. Catherine was"}"#;
    /// let prompts = Prompt::parse("prompts.jsonl".as_ref(), line)?;
    /// let model = Reference.open(&artifact, &EngineOptions::default())?;
    /// let transcripts = recorder.record(&*model, &|_, _| None, &prompts, &|_, _| {})?;
    /// assert_eq!((transcripts.len(), transcripts[0].steps.len()), (1, 8));
    /// assert!(transcripts[0].text.starts_with(" not in the way of"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn record(
        &self,
        model: &dyn Model,
        variant: Variant<'_>,
        prompts: &[Prompt],
        progress: &dyn Fn(u64, u64),
    ) -> Result<Vec<Transcript>, SuiteError> {
        let mut asked = Vec::with_capacity(prompts.len());
        for prompt in prompts {
            asked.push((prompt, prompt.encode(self.tokenizer)?));
        }
        let mut transcripts = Vec::with_capacity(asked.len());
        let mut noise = None;
        for (done, (prompt, tokens)) in asked.into_iter().enumerate() {
            let sampling = prompt.sampling.as_ref().unwrap_or(self.sampling);
            let stop = Stop {
                strings: prompt.stop.clone().unwrap_or_else(|| self.stop.to_vec()),
                ..Stop::of(self.tokenizer)
            };
            let max_tokens = prompt.max_tokens.unwrap_or(self.max_tokens);
            let request = Request {
                prompt: &tokens,
                sampling,
                stop: &stop,
                max_tokens,
                top: self.top,
            };
            let generated = generate(
                &mut *model.session()?,
                model.config(),
                self.tokenizer,
                &request,
                &mut |_| {},
            )?;
            let noise = match noise {
                Some(noise) => noise,
                None => *noise.insert(mark(model, variant, &tokens, &generated)?),
            };
            transcripts.push(Transcript {
                id: prompt.id.clone(),
                body: prompt.body.clone(),
                sampling: sampling.clone(),
                max_tokens,
                engine: self.engine.into(),
                harness: env!("CARGO_PKG_VERSION").into(),
                model_sha256: self.model_sha256.into(),
                tokenizer_sha256: self.tokenizer.sha256().into(),
                noise,
                steps: self.steps(&generated),
                text: generated.text,
                finish: generated.finish,
                stop,
                prompt_tokens: tokens,
            });
            progress(done as u64 + 1, prompts.len() as u64);
        }
        Ok(transcripts)
    }

    fn steps(&self, generated: &Generated) -> Vec<Recorded> {
        let piece = |token: TokenId| {
            let bytes = self.tokenizer.token_bytes(token).unwrap_or_default();
            String::from_utf8_lossy(bytes).into_owned()
        };
        let steps = generated.steps.iter();
        steps
            .map(|step| Recorded::new(step, piece(step.token)))
            .collect()
    }
}

/// The network's noise gain, measured on the first transcript.
fn mark(
    model: &dyn Model,
    variant: Variant<'_>,
    prompt: &[TokenId],
    generated: &Generated,
) -> Result<Mark, SuiteError> {
    let answer = generated.steps.iter().map(|step| step.token);
    let most = PROBE_TOKENS.min(model.config().context);
    let tokens: Vec<TokenId> = prompt.iter().copied().chain(answer).take(most).collect();
    match prefill(model, &tokens) {
        Ok(logits) => Ok(Mark::set(model, variant, &tokens, &logits)?),
        // It gives the last row only.
        Err(error)
            if matches!(
                error.kind(),
                FailureKind::Unsupported | FailureKind::Protocol
            ) =>
        {
            Ok(Mark::unmeasured(model))
        }
        Err(error) => Err(error.into()),
    }
}
