//! What is had of engines that keep their logits to themselves, as servers do.

use crate::TokenId;

/// How much of its next-token distributions a model hands over.
///
/// A suite takes what there is:
///
/// ```
/// use harness_engine::Predictions;
///
/// let perplexity = |predictions: &Predictions| match predictions {
///     Predictions::Logits => Ok("from whole rows"),
///     Predictions::Scores { .. } => Ok("from log-probabilities of the text's tokens"),
///     Predictions::Choices { why } => Err(format!("skipped: {why}")),
/// };
/// let chat = Predictions::Choices { why: "a chat route tells no log-probabilities".into() };
/// assert!(perplexity(&chat).is_err());
/// assert!(perplexity(&Predictions::Scores { top: 5 }).is_ok());
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Predictions {
    /// Whole rows of logits, by [`Session::extend`](crate::Session::extend).
    Logits,
    /// No rows, but log-probabilities of given tokens and of the most probable ones,
    /// by [`Model::score`](crate::Model::score).
    Scores {
        /// Most of the probable ones that it tells at a position.
        top: usize,
    },
    /// Nothing but what it chooses, by [`Model::generate`](crate::Model::generate).
    Choices {
        /// What is missing, for people.
        why: String,
    },
}

/// What is told of one next-token distribution, in nats, of all temperatures and
/// filters untouched.
///
/// ```
/// use harness_engine::Scores;
///
/// let scores = Scores {
///     log_probability: 0.2_f64.ln(),
///     top: vec![(17, 0.5_f64.ln()), (4, 0.2_f64.ln())],
/// };
/// // The token that came next was not the likeliest one.
/// assert!(scores.top[0].1 > scores.log_probability);
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Scores {
    /// `ln p` of the token that did come next.
    pub log_probability: f64,
    /// The most probable tokens and their `ln p`, best first. Tokens that are not
    /// listed are at most as probable as the last that is.
    pub top: Vec<(TokenId, f64)>,
}

/// What is to be continued, and how far. Every token is the most probable one.
///
/// ```
/// use harness_engine::Prompt;
///
/// let tokens = [785, 6722, 315];
/// let prompt = Prompt { tokens: &tokens, text: "The capital of", max_tokens: 16, past_end: true };
/// // What a server is asked.
/// let Prompt { text, max_tokens, past_end, .. } = prompt;
/// let body = format!(r#"{{"prompt":{text:?},"n_predict":{max_tokens},"ignore_eos":{past_end}}}"#);
/// assert_eq!(body, r#"{"prompt":"The capital of","n_predict":16,"ignore_eos":true}"#);
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Prompt<'a> {
    /// The prompt, not empty; BOS is not added.
    pub tokens: &'a [TokenId],
    /// The same as text, for engines that read nothing else. Special tokens are
    /// spelled out.
    pub text: &'a str,
    /// Most tokens to generate.
    pub max_tokens: usize,
    /// Whether to go on past tokens that end a text, so that the answer is as long
    /// as it may be.
    pub past_end: bool,
}

/// A part of an answer as it arrives.
///
/// ```
/// use harness_engine::Piece;
///
/// // Two tokens of one character: the first brings no text yet.
/// let pieces = [Piece { tokens: &[9468], text: "" }, Piece { tokens: &[248], text: "😀" }];
/// let text: String = pieces.iter().map(|piece| piece.text).collect();
/// assert_eq!(text, "😀");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece<'a> {
    /// The tokens it consists of, as far as the engine tells them.
    pub tokens: &'a [TokenId],
    /// Their text, which may lag behind while a character is incomplete.
    pub text: &'a str,
}

/// A finished answer.
///
/// ```
/// use harness_engine::{Answer, Transport};
///
/// let answer = Answer {
///     ended: true,
///     prompt_tokens: Some(12),
///     answer_tokens: Some(40),
///     transport: Some(Transport { whole_ns: 500_000_000, ..Transport::default() }),
/// };
/// let seconds = answer.transport.map(|way| way.whole_ns as f64 / 1e9);
/// let tok_per_s = answer.answer_tokens.zip(seconds).map(|(tokens, s)| tokens as f64 / s);
/// assert_eq!(tok_per_s, Some(80.0));
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Answer {
    /// Whether the model ended it, rather than [`Prompt::max_tokens`].
    pub ended: bool,
    /// Tokens of the prompt, as the engine counts them.
    pub prompt_tokens: Option<usize>,
    /// Tokens of the answer, as the engine counts them.
    pub answer_tokens: Option<usize>,
    /// What the way to the engine and back was like; `None` within one process.
    pub transport: Option<Transport>,
}

/// The way to an engine that is elsewhere and back, for one answer.
///
/// ```
/// use harness_engine::Transport;
///
/// let way = Transport {
///     whole_ns: 520_000_000,
///     engine_prompt_ns: Some(100_000_000),
///     engine_answer_ns: Some(400_000_000),
///     ..Transport::default()
/// };
/// // What HTTP and the network took, by the server's own account.
/// let engine = way.engine_prompt_ns.zip(way.engine_answer_ns).map(|(a, b)| a + b);
/// assert_eq!(engine.map(|engine| way.whole_ns - engine), Some(20_000_000));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Transport {
    /// Time to set up the connection, zero if there was one.
    pub connect_ns: u64,
    /// From the request's departure to the first byte of the response.
    pub first_byte_ns: u64,
    /// From the request's departure to the last byte of the response.
    pub whole_ns: u64,
    /// Bytes of the request's body.
    pub sent_bytes: u64,
    /// Bytes of the response's body.
    pub received_bytes: u64,
    /// Time that the engine says it took to read the prompt.
    pub engine_prompt_ns: Option<u64>,
    /// Time that the engine says it took to write the answer.
    pub engine_answer_ns: Option<u64>,
}
