//! Transcripts held against an engine that keeps its logits.

use engine::{EngineError, Model, Numerics, TokenId, Tokenizer};

use super::transcript::Transcript;
use super::verify::{Disagreement, Verified, common, edit_distance, floors, other_end};
use crate::generation::{Streamed, streamed};

/// Holds `model` against `transcript` by what it answers and by the log-probabilities that
/// it tells of the recorded tokens, with the `top` most probable ones.
pub(super) fn verify(
    model: &dyn Model,
    numerics: Numerics,
    tokenizer: &dyn Tokenizer,
    transcript: &Transcript,
    top: usize,
) -> Result<Verified, EngineError> {
    let answer = answer(model, tokenizer, transcript)?;
    let prompt = &transcript.prompt_tokens;
    let recorded = transcript.tokens();
    let tokens: Vec<TokenId> = prompt.iter().chain(&recorded).copied().collect();
    let scores = model.score(&tokens, prompt.len(), top.min(1))?;
    // An engine that tells text only has the recorded tokens as far as the text agrees.
    let own = match answer.tokens {
        Some(tokens) => tokens,
        None if answer.text == transcript.text => recorded.clone(),
        None => Vec::new(),
    };
    let matched = common(&own, &recorded);
    let floors = floors(transcript, numerics, model.config());
    let steps = &transcript.steps;
    let mut disagreements = Vec::new();
    for (position, (step, scores)) in steps.iter().zip(&scores).enumerate() {
        // Before the first token that differs the engine itself has spoken; there, and
        // where it tells nothing else, its own answer counts.
        let chosen = match scores.top.first() {
            Some(&(best, value)) if value > scores.log_probability => best,
            Some(_) => step.token,
            None if position == matched && position < own.len() => own[position],
            None => step.token,
        };
        if chosen != step.token {
            disagreements.push(Disagreement::at(position, chosen, transcript, &floors));
        }
    }
    let parted = own != recorded;
    // Where reading agrees but writing did not, the token written instead is held against
    // the transcript's own figures.
    if parted
        && matched < own.len().min(recorded.len())
        && disagreements.iter().all(|d| d.position != matched)
    {
        let written = Disagreement::at(matched, own[matched], transcript, &floors);
        disagreements.push(written);
    }
    Ok(Verified {
        matched,
        edits: edit_distance(&own, &recorded),
        deltas: scores
            .iter()
            .zip(steps)
            .map(|(scores, step)| scores.log_probability - step.log_probability)
            .collect(),
        floors,
        disagreements,
        other_end: other_end(transcript, &own, &answer.finish, &answer.text),
    })
}

/// What `model` answers to the prompt of `transcript`.
pub(super) fn answer(
    model: &dyn Model,
    tokenizer: &dyn Tokenizer,
    transcript: &Transcript,
) -> Result<Streamed, EngineError> {
    streamed(model, tokenizer, &transcript.request())
}
