//! Asking a session for logits that can be trusted, and a machine for figures that it may not
//! have.

use engine::{EngineError, FailureKind, Logits, Session, TokenId, Want};

use crate::{Better, Label, Measurement};

/// Appends `tokens` in pieces of `step` and returns the logits after the last of them, which
/// are finite and of the right shape.
///
/// # Errors
/// The engine's; [`FailureKind::Protocol`] for another shape, [`FailureKind::Numerics`] for
/// NaN or infinity.
pub(crate) fn read(
    session: &mut dyn Session,
    tokens: &[TokenId],
    step: usize,
    vocab: usize,
) -> Result<Logits, EngineError> {
    let last = tokens.len().saturating_sub(1) / step * step;
    for piece in tokens[..last].chunks(step) {
        session.extend(piece, Want::None)?;
    }
    last_row(session, &tokens[last..], vocab)
}

/// Appends `tokens` at once and returns the logits after the last, checked like [`read`]'s.
///
/// # Errors
/// As [`read`].
pub(crate) fn last_row(
    session: &mut dyn Session,
    tokens: &[TokenId],
    vocab: usize,
) -> Result<Logits, EngineError> {
    let logits = session.extend(tokens, Want::Last)?;
    if (logits.rows(), logits.vocab()) != (1, vocab) {
        let (rows, columns) = (logits.rows(), logits.vocab());
        return Err(EngineError::new(
            FailureKind::Protocol,
            format!("{rows}×{columns} logits instead of 1×{vocab}"),
        ));
    }
    if !logits.all_finite() {
        return Err(EngineError::new(
            FailureKind::Numerics,
            format!("NaN or infinite logits after {} tokens", session.len()),
        ));
    }
    Ok(logits)
}

/// How many logits have other bits.
pub(crate) fn differing(expected: &Logits, got: &Logits) -> f64 {
    let pairs = expected.values().iter().zip(got.values());
    pairs.filter(|(a, b)| a.to_bits() != b.to_bits()).count() as f64
}

/// A figure, or why it cannot be had.
pub(crate) fn told(
    case: impl Into<Label>,
    metric: impl Into<Label>,
    unit: impl Into<Label>,
    better: Better,
    value: Result<f64, String>,
    n: u64,
) -> Measurement {
    match value {
        Ok(value) => Measurement::new(case, metric, unit, better, value, n),
        Err(why) => Measurement::withheld(case, metric, unit, better, n, why),
    }
}
