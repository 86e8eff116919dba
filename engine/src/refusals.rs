//! What every session refuses, in the words that every engine uses.

use crate::{EngineError, ModelConfig, TokenId};

/// Refuses `tokens` that a session of `model` which holds `held` tokens cannot append: what
/// [`Session::extend`](crate::Session::extend) promises.
///
/// # Errors
/// [`InvalidInput`](crate::FailureKind::InvalidInput) for no tokens, for more than the context
/// has room for, and for an id outside the vocabulary.
///
/// ```
/// # mod successor { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/examples/successor/engine.rs")); }
/// use harness_engine::{Engine, EngineOptions, ModelArtifact, check_extend};
/// use successor::Successor;
///
/// let artifact = ModelArtifact::embedded("nothing", b"");
/// let model = Successor.open(&artifact, &EngineOptions::default())?;
/// // A vocabulary of 8, and 3 places left of 64.
/// assert!(check_extend(&[5, 6, 7], 61, model.config()).is_ok());
/// let refused = check_extend(&[5, 6, 7, 0], 61, model.config()).map_err(|error| error.to_string());
/// assert_eq!(refused, Err("4 tokens after 61 exceed the context of 64".into()));
/// # Ok::<(), harness_engine::EngineError>(())
/// ```
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
///
/// ```
/// use harness_engine::{FailureKind, check_truncate};
///
/// assert!(check_truncate(3, 10).is_ok());
/// let refused = check_truncate(11, 10).map_err(|error| error.kind());
/// assert_eq!(refused, Err(FailureKind::InvalidInput));
/// ```
pub fn check_truncate(len: usize, held: usize) -> Result<(), EngineError> {
    if len > held {
        return Err(EngineError::invalid(format!(
            "cannot truncate a context of {held} tokens to {len}"
        )));
    }
    Ok(())
}
