//! What is had of engines that keep their logits to themselves, as servers do.

use crate::TokenId;

/// How much of its next-token distributions a model hands over.
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
#[derive(Clone, Debug, PartialEq)]
pub struct Scores {
    /// `ln p` of the token that did come next.
    pub log_probability: f64,
    /// The most probable tokens and their `ln p`, best first. Tokens that are not
    /// listed are at most as probable as the last that is.
    pub top: Vec<(TokenId, f64)>,
}

/// What is to be continued, and how far. Every token is the most probable one.
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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece<'a> {
    /// The tokens it consists of, as far as the engine tells them.
    pub tokens: &'a [TokenId],
    /// Their text, which may lag behind while a character is incomplete.
    pub text: &'a str,
}

/// A finished answer.
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
