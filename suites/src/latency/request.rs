//! One request: a prompt read at once, then tokens one by one.

use std::slice;

use engine::{EngineError, FailureKind, Logits, Session, TokenId, Want};

use super::laps::Laps;

/// Appends `prompt` to `session` at once and then each token of `answer`, and takes a
/// lap when the logits after each have come: the first lap is the time to first
/// token, the others are inter-token latencies.
///
/// The answer is given, not sampled: every engine does the same work, and none of the
/// time is a sampler's.
///
/// # Errors
/// The engine's, and [`FailureKind::Protocol`] or [`FailureKind::Numerics`] where its
/// logits are not one finite row of `vocab`.
pub fn request(
    session: &mut dyn Session,
    prompt: &[TokenId],
    answer: &[TokenId],
    vocab: usize,
    laps: &mut Laps<'_>,
) -> Result<(), EngineError> {
    laps.start();
    let mut logits = session.extend(prompt, Want::Last)?;
    laps.lap();
    laps.computed(session.last_compute());
    check_shape(&logits, vocab)?;
    for token in answer {
        logits = session.extend(slice::from_ref(token), Want::Last)?;
        laps.lap();
        laps.computed(session.last_compute());
        check_shape(&logits, vocab)?;
    }
    // A NaN stays in the cache, so the last row tells of all, outside any lap.
    match logits.all_finite() {
        true => Ok(()),
        false => Err(EngineError::new(
            FailureKind::Numerics,
            format!(
                "NaN or infinite logits after {} tokens",
                prompt.len() + answer.len()
            ),
        )),
    }
}

fn check_shape(logits: &Logits, vocab: usize) -> Result<(), EngineError> {
    if logits.vocab() == vocab && logits.values().len() == vocab {
        return Ok(());
    }
    Err(EngineError::new(
        FailureKind::Protocol,
        format!(
            "{}×{} logits for one token of a vocabulary of {vocab}",
            logits.rows(),
            logits.vocab()
        ),
    ))
}
