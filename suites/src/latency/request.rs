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
///
/// ```
/// use engine::{Engine, EngineOptions, ModelArtifact};
/// use harness_suites::latency::{Laps, MonotonicClock, request};
/// use reference::Reference;
///
/// let model = ModelArtifact::embedded(fixtures::MODEL_NAME, fixtures::MODEL);
/// let model = Reference.open(&model, &EngineOptions::default())?;
/// let clock = MonotonicClock::start();
/// let (prompt, answer) = ([0, 368, 1293], [834, 277, 222]);
/// let mut laps = Laps::new(&clock, 1 + answer.len());
/// let vocab = model.config().vocab;
/// request(&mut *model.session()?, &prompt, &answer, vocab, &mut laps)?;
/// let (ttft_ns, itl_ns) = laps.laps_ns().split_first().ok_or("no laps")?;
/// let took_ns = laps.ended_ns() - laps.started_ns();
/// assert_eq!(ttft_ns + itl_ns.iter().sum::<u64>(), took_ns);
/// assert_eq!(itl_ns.len(), answer.len());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
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
