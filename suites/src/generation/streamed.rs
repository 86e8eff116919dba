//! Text from an engine that chooses its tokens by itself.

use engine::{EngineError, FailureKind, Model, Prompt, TokenId, Tokenizer};

use super::{Finish, Request, TextStream, unknown};

/// What an engine answered, up to where the request's stop says.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Streamed {
    /// Its tokens, that which ended the text included; `None` if it tells text only.
    pub(crate) tokens: Option<Vec<TokenId>>,
    /// See [`Generated::text`](super::Generated::text).
    pub(crate) text: String,
    /// Why it ended.
    pub(crate) finish: Finish,
}

/// Lets `model` continue a prompt. What comes after the end of the text is cut off here,
/// so that stops mean the same whatever the engine knows of them.
///
/// # Errors
/// The engine's, and [`FailureKind::Unsupported`] for sampling that is not greedy: whose
/// numbers an engine draws is its own.
pub(crate) fn streamed(
    model: &dyn Model,
    tokenizer: &dyn Tokenizer,
    request: &Request<'_>,
) -> Result<Streamed, EngineError> {
    if !request.sampling.is_greedy() {
        return Err(EngineError::new(
            FailureKind::Unsupported,
            "an engine that chooses by itself is comparable with greedy sampling only",
        ));
    }
    let text = tokenizer.decode(request.prompt).map_err(unknown)?;
    let prompt = Prompt {
        tokens: request.prompt,
        text: &text,
        max_tokens: request.max_tokens,
        past_end: false,
    };
    let (mut ids, mut text) = (Vec::new(), String::new());
    let answer = model.generate(&prompt, &mut |piece| {
        ids.extend_from_slice(piece.tokens);
        text.push_str(piece.text);
    })?;
    let mut cut = Cut::new(&request.stop.strings);
    // Text that comes without a single id is that of an engine that tells none.
    if ids.is_empty() && !text.is_empty() {
        let stopped = cut.push(text.as_bytes());
        let (text, late) = cut.finish();
        let finish = match stopped.or(late) {
            Some(stop) => Finish::StopString(stop),
            None if answer.ended => Finish::StopToken,
            None => Finish::Length,
        };
        return Ok(Streamed {
            tokens: None,
            text,
            finish,
        });
    }
    let mut tokens = Vec::with_capacity(ids.len());
    let mut finish = None;
    for token in ids {
        tokens.push(token);
        if request.stop.token_ids.contains(&token) {
            finish = Some(Finish::StopToken);
            break;
        }
        let bytes = tokenizer.token_bytes(token).map_err(unknown)?;
        if let Some(stop) = cut.push(bytes) {
            finish = Some(Finish::StopString(stop));
            break;
        }
    }
    if finish.is_none() && answer.ended {
        // The token that ended it is not always told.
        tokens.extend(request.stop.token_ids.first());
        finish = Some(Finish::StopToken);
    }
    let (text, late) = cut.finish();
    Ok(Streamed {
        tokens: Some(tokens),
        text,
        finish: late
            .map(Finish::StopString)
            .or(finish)
            .unwrap_or(Finish::Length),
    })
}

/// The text before a stop string.
struct Cut<'a> {
    stream: TextStream<'a>,
    text: String,
}

impl<'a> Cut<'a> {
    fn new(stops: &'a [String]) -> Self {
        Self {
            stream: TextStream::new(stops),
            text: String::new(),
        }
    }

    fn push(&mut self, bytes: &[u8]) -> Option<String> {
        let text = &mut self.text;
        let stop = self.stream.push(bytes, &mut |piece| text.push_str(piece));
        stop.map(String::from)
    }

    fn finish(self) -> (String, Option<String>) {
        let mut text = self.text;
        let stop = self.stream.finish(&mut |piece| text.push_str(piece));
        (text, stop.map(String::from))
    }
}
