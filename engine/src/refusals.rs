//! What every session refuses, in the words that every engine uses.

use crate::{EngineError, ModelConfig, TokenId};

/// Refuses `tokens` that a session of `model` which holds `held` tokens cannot append: what
/// [`Session::extend`](crate::Session::extend) promises.
///
/// # Errors
/// [`InvalidInput`](crate::FailureKind::InvalidInput) for no tokens, for more than the context
/// has room for, and for an id outside the vocabulary.
pub fn check_extend(
    tokens: &[TokenId],
    held: usize,
    model: &ModelConfig,
) -> Result<(), EngineError> {
    let ModelConfig { vocab, context, .. } = *model;
    if tokens.is_empty() {
        return Err(EngineError::invalid("at least one token is needed"));
    }
    if tokens.len() > context.saturating_sub(held) {
        return Err(EngineError::invalid(format!(
            "{} tokens after {held} exceed the context of {context}",
            tokens.len()
        )));
    }
    match tokens.iter().find(|&&id| id as usize >= vocab) {
        None => Ok(()),
        Some(id) => Err(EngineError::invalid(format!(
            "token id {id} is outside the vocabulary of {vocab}"
        ))),
    }
}

/// Refuses to truncate a session which holds `held` tokens to more of them: what
/// [`Session::truncate`](crate::Session::truncate) promises.
///
/// # Errors
/// [`InvalidInput`](crate::FailureKind::InvalidInput) when `len` exceeds `held`.
pub fn check_truncate(len: usize, held: usize) -> Result<(), EngineError> {
    if len > held {
        return Err(EngineError::invalid(format!(
            "cannot truncate a context of {held} tokens to {len}"
        )));
    }
    Ok(())
}
