//! One request as a user makes it, whatever the engine hands over.

use engine::{EngineError, FailureKind, Model, Predictions, Prompt, TokenId, Transport};

use super::laps::Laps;
use super::request::request;

/// What is asked for, again and again.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked<'a> {
    pub(super) prompt: &'a [TokenId],
    /// The prompt's text, for engines that read nothing else.
    pub(super) text: &'a str,
    /// What is read after it, token by token. An engine that chooses by itself writes as
    /// many tokens of its own.
    pub(super) answer: &'a [TokenId],
}

/// How long the context of a request took to open, and the way to an engine that is
/// elsewhere.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Around {
    /// `None` where opening is a part of the request.
    pub(super) opening_ns: Option<u64>,
    pub(super) transport: Option<Transport>,
}

/// Whether `model` writes answers by itself.
pub(super) fn streams(model: &dyn Model) -> bool {
    model.predictions() != Predictions::Logits
}

impl Asked<'_> {
    /// Makes the request in a context of its own. The first lap is the time to the first
    /// token, the others are inter-token latencies, as they are seen from here: tokens
    /// that arrive together have none between them.
    ///
    /// # Errors
    /// The engine's; [`FailureKind::Unsupported`] when it ends its answer before the
    /// tokens that were asked for.
    pub(super) fn make(
        &self,
        model: &dyn Model,
        laps: &mut Laps<'_>,
    ) -> Result<Around, EngineError> {
        if streams(model) {
            return self.stream(model, laps);
        }
        laps.start();
        let mut session = model.session()?;
        laps.lap();
        let opening_ns = laps.laps_ns()[0];
        let vocab = model.config().vocab;
        request(&mut *session, self.prompt, self.answer, vocab, laps)?;
        Ok(Around {
            opening_ns: Some(opening_ns),
            transport: None,
        })
    }

    fn stream(&self, model: &dyn Model, laps: &mut Laps<'_>) -> Result<Around, EngineError> {
        let wanted = 1 + self.answer.len();
        let prompt = Prompt {
            tokens: self.prompt,
            text: self.text,
            max_tokens: wanted,
            past_end: true,
        };
        let mut came = 0;
        laps.start();
        let answer = model.generate(&prompt, &mut |piece| {
            // Whoever tells no ids sends a token at a time, as far as can be known.
            let tokens = piece.tokens.len().max(1).min(wanted - came);
            for _ in 0..tokens {
                laps.lap();
            }
            came += tokens;
        })?;
        if came < wanted {
            return Err(EngineError::new(
                FailureKind::Unsupported,
                format!(
                    "the engine ended its answer after {came} of {wanted} tokens; give it a text \
                     that goes on (latency.text), or ask for less (latency.decode_tokens)"
                ),
            ));
        }
        Ok(Around {
            opening_ns: None,
            transport: answer.transport,
        })
    }
}
