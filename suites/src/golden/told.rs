//! Transcripts held against an engine that keeps its logits.

use std::f64::consts::SQRT_2;

use engine::{EngineError, Model, Numerics, TokenId, Tokenizer};

use super::transcript::{Recorded, Transcript};
use super::verify::{DEVIATIONS, Disagreement, Verified, apart, edit_distance};
use crate::generation::{Finish, Request, Streamed, streamed};

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
    let recorded: Vec<TokenId> = transcript.steps.iter().map(|step| step.token).collect();
    let tokens: Vec<TokenId> = prompt.iter().chain(&recorded).copied().collect();
    let scores = model.score(&tokens, prompt.len(), top.min(1))?;
    // An engine that tells text only has the recorded tokens as far as the text agrees.
    let own = match answer.tokens {
        Some(tokens) => tokens,
        None if answer.text == transcript.text => recorded.clone(),
        None => Vec::new(),
    };
    let pairs = own.iter().zip(&recorded);
    let matched = pairs.take_while(|(own, recorded)| own == recorded).count();

    let nmse = transcript.noise.expected_nmse(numerics, model.config());
    let steps = &transcript.steps;
    let floors: Vec<f64> = steps
        .iter()
        .map(|step| DEVIATIONS * SQRT_2 * nmse.sqrt() * step.spread + 2.0 * Recorded::ROUNDING)
        .collect();
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
            disagreements.push(Disagreement {
                position,
                recorded: step.token,
                chosen,
                apart: apart(step, chosen, &transcript.sampling),
                floor: floors[position],
            });
        }
    }
    let parted = own != recorded;
    // Where reading agrees but writing did not, the token written instead is held against
    // the transcript's own figures.
    if parted
        && matched < own.len().min(recorded.len())
        && disagreements.iter().all(|d| d.position != matched)
    {
        let (step, chosen) = (&steps[matched], own[matched]);
        disagreements.push(Disagreement {
            position: matched,
            recorded: step.token,
            chosen,
            apart: apart(step, chosen, &transcript.sampling),
            floor: floors[matched],
        });
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
        other_end: other_end(transcript, &own, matched, &answer.finish, &answer.text),
    })
}

/// What `model` answers to the prompt of `transcript`.
pub(super) fn answer(
    model: &dyn Model,
    tokenizer: &dyn Tokenizer,
    transcript: &Transcript,
) -> Result<Streamed, EngineError> {
    let request = Request {
        prompt: &transcript.prompt_tokens,
        sampling: &transcript.sampling,
        stop: &transcript.stop,
        max_tokens: transcript.max_tokens,
        top: 0,
    };
    streamed(model, tokenizer, &request)
}

fn other_end(
    transcript: &Transcript,
    own: &[TokenId],
    matched: usize,
    finish: &Finish,
    text: &str,
) -> Option<String> {
    let recorded = transcript.steps.len();
    if matched < own.len().min(recorded) {
        return None;
    }
    if own.len() != recorded {
        let shorter = own.len().min(recorded);
        return Some(format!(
            "ends at position {shorter} in one of the two, and goes on in the other"
        ));
    }
    if *finish != transcript.finish {
        return Some(format!(
            "ends for another reason: {finish:?}, recorded {:?}",
            transcript.finish
        ));
    }
    (text != transcript.text).then(|| "has another text from the same tokens".into())
}
