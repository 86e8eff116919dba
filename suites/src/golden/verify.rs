//! Holding an engine against a transcript.
//!
//! The engine first generates freely, as it would for a user. Where its tokens part
//! from the recorded ones it reads the recorded tokens instead, whatever it would
//! have said, and chooses at every one of them with the random numbers of that
//! step: one flipped tie does not hide what comes after it.
//!
//! # Near-ties
//!
//! An engine that computes in another format has other logits, and where two tokens
//! were about equally good it may well prefer the other. At a step whose logits have
//! the standard deviation `S` (recorded as `spread`), noise of NMSE `β` gives each an
//! error of deviation `σ = S √β`, with `β = g (ε² + ε₀²)`: the noise gain of the
//! network, measured when the transcript was recorded, times what the formats of the
//! two engines add to a matrix product (`engine::tolerance`; no format counts for
//! more than 4-bit weights do). The difference of two logits has deviation `σ√2`.
//!
//! A disagreement is a *near-tie* if, by the transcript's own figures, the two tokens
//! were no more than four such deviations apart. Beyond that an engine as good as
//! its formats flips a given pair once in 30,000 times, and pairs that far apart are
//! few; one that is worse by a whole bit (twice the `σ`) does so once in 44.
//!
//! Apart means, for greedy choices, the recorded log-probability of the best token
//! less that of the one chosen instead (or of the last one listed, if that is not
//! among them: it trails by more), and for draws the recorded margin.

use std::f64::consts::SQRT_2;

use engine::{EngineError, Model, ModelConfig, Numerics, TokenId, Tokenizer, Want};

use super::transcript::{Recorded, Transcript};
use crate::distribution::log_probability;
use crate::generation::{Finish, Sampler, Sampling, check, generate};

/// Deviations within which tokens count as tied.
const DEVIATIONS: f64 = 4.0;

/// How an engine did on one transcript.
#[derive(Debug)]
pub(super) struct Verified {
    /// Tokens before the first that differs.
    pub(super) matched: usize,
    /// Tokens to insert, delete or replace to make the engine's own text the
    /// recorded one.
    pub(super) edits: usize,
    /// Of every recorded token, the engine's log-probability less the recorded one.
    pub(super) deltas: Vec<f64>,
    /// Of every step, how far apart tokens may be for a near-tie, in nats.
    pub(super) floors: Vec<f64>,
    /// Every step at which the engine, having read the recorded tokens before it,
    /// chooses another.
    pub(super) disagreements: Vec<Disagreement>,
    /// Whether the same tokens give another text, or end for another reason.
    pub(super) other_end: Option<String>,
}

/// A step at which the engine chooses another token.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Disagreement {
    /// Which step, from 0.
    pub(super) position: usize,
    /// The recorded token.
    pub(super) recorded: TokenId,
    /// The engine's.
    pub(super) chosen: TokenId,
    /// How far apart they were, in nats.
    pub(super) apart: f64,
    /// How far apart they may be for a near-tie.
    pub(super) floor: f64,
}

impl Disagreement {
    /// That `chosen` was preferred at step `position` of `transcript`, whose near-ties have
    /// these [floors].
    pub(super) fn at(
        position: usize,
        chosen: TokenId,
        transcript: &Transcript,
        floors: &[f64],
    ) -> Self {
        let step = &transcript.steps[position];
        Self {
            position,
            recorded: step.token,
            chosen,
            apart: apart(step, chosen, &transcript.sampling),
            floor: floors[position],
        }
    }

    pub(super) fn is_near_tie(&self) -> bool {
        self.apart <= self.floor
    }
}

impl Verified {
    /// Whether the engine says the same to the last token.
    pub(super) fn is_exact(&self) -> bool {
        self.disagreements.is_empty() && self.edits == 0 && self.other_end.is_none()
    }
}

/// Holds `model`, which computes with `numerics`, against `transcript`.
pub(super) fn verify(
    model: &dyn Model,
    numerics: Numerics,
    tokenizer: &dyn Tokenizer,
    transcript: &Transcript,
) -> Result<Verified, EngineError> {
    let config = model.config();
    let steps = &transcript.steps;
    // The last token is not read.
    let needed = transcript.prompt_tokens.len() + steps.len() - 1;
    if needed > config.context {
        return Err(EngineError::invalid(format!(
            "transcript `{}` takes a context of {needed} tokens, this engine has {}",
            transcript.id, config.context
        )));
    }
    let request = transcript.request();
    let session = &mut *model.session()?;
    let generated = generate(session, config, tokenizer, &request, &mut |_| {})?;
    let own: Vec<TokenId> = generated.steps.iter().map(|step| step.token).collect();
    let recorded = transcript.tokens();
    let matched = common(&own, &recorded);
    let floors = floors(transcript, numerics, config);
    let mut log_probabilities: Vec<f64> = generated.steps[..matched]
        .iter()
        .map(|step| step.log_probability)
        .collect();
    let mut disagreements = Vec::new();
    replay(model, transcript, matched, &mut |position, row, chosen| {
        let step = &steps[position];
        log_probabilities.push(log_probability(row, step.token as usize));
        if chosen != step.token {
            disagreements.push(Disagreement::at(position, chosen, transcript, &floors));
        }
    })?;
    Ok(Verified {
        matched,
        edits: edit_distance(&own, &recorded),
        deltas: log_probabilities
            .iter()
            .zip(steps)
            .map(|(own, step)| own - step.log_probability)
            .collect(),
        floors,
        disagreements,
        other_end: other_end(transcript, &own, &generated.finish, &generated.text),
    })
}

/// Of how many tokens both begin with the same.
pub(super) fn common(own: &[TokenId], recorded: &[TokenId]) -> usize {
    let pairs = own.iter().zip(recorded);
    pairs.take_while(|(own, recorded)| own == recorded).count()
}

/// Of every step, how far apart tokens may be for a near-tie where a `model` is computed with
/// `numerics`, in nats.
pub(super) fn floors(transcript: &Transcript, numerics: Numerics, model: &ModelConfig) -> Vec<f64> {
    let nmse = transcript.noise.expected_nmse(numerics, model);
    let steps = transcript.steps.iter();
    steps
        .map(|step| DEVIATIONS * SQRT_2 * nmse.sqrt() * step.spread + 2.0 * Recorded::ROUNDING)
        .collect()
}

/// Reads the recorded tokens from step `first` on and tells of each: its position,
/// the logits before it, and what the engine chooses there.
fn replay(
    model: &dyn Model,
    transcript: &Transcript,
    first: usize,
    each: &mut dyn FnMut(usize, &[f32], TokenId),
) -> Result<(), EngineError> {
    let steps = &transcript.steps;
    if first == steps.len() {
        return Ok(());
    }
    let config = model.config();
    let mut sampler = Sampler::at_step(&transcript.sampling, first);
    // A session of its own: not every cache can go back.
    let mut session = model.session()?;
    let mut next: Vec<TokenId> = transcript.prompt_tokens.clone();
    next.extend(steps[..first].iter().map(|step| step.token));
    for (position, step) in steps.iter().enumerate().skip(first) {
        let logits = session.extend(&next, Want::Last)?;
        check(&logits, 1, config.vocab)?;
        let row = logits.row(0);
        each(position, row, sampler.choose(row).token);
        next = vec![step.token];
    }
    Ok(())
}

/// How far apart the recorded token and `chosen` were, in nats.
fn apart(step: &Recorded, chosen: TokenId, sampling: &Sampling) -> f64 {
    if !sampling.is_greedy() {
        return step.margin;
    }
    let Some(&(best, most)) = step.top.first() else {
        return step.margin;
    };
    // A file that does not record its own best token tells of no tie.
    if best != step.token {
        return f64::MAX;
    }
    let listed = step.top.iter().find(|(id, _)| *id == chosen);
    let (_, least) = listed.or(step.top.last()).copied().unwrap_or((best, most));
    step.margin.max(most - least)
}

/// What else differs once the tokens of one are the first of the other's.
pub(super) fn other_end(
    transcript: &Transcript,
    own: &[TokenId],
    finish: &Finish,
    text: &str,
) -> Option<String> {
    let recorded = transcript.tokens();
    let shorter = own.len().min(recorded.len());
    if common(own, &recorded) < shorter {
        return None;
    }
    if own.len() != recorded.len() {
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

/// Levenshtein's distance.
pub(super) fn edit_distance(a: &[TokenId], b: &[TokenId]) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut diagonal = i;
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_are_levenshteins() {
        let letters = |word: &str| word.bytes().map(TokenId::from).collect::<Vec<_>>();
        for (a, b, distance) in [
            ("", "", 0),
            ("", "abc", 3),
            ("kitten", "sitting", 3),
            ("flaw", "lawn", 2),
            ("abc", "abc", 0),
        ] {
            assert_eq!(edit_distance(&letters(a), &letters(b)), distance);
            assert_eq!(edit_distance(&letters(b), &letters(a)), distance);
        }
    }

    #[test]
    fn tokens_are_as_far_apart_as_the_transcript_says() {
        let step = Recorded {
            token: 3,
            piece: "x".into(),
            log_probability: -0.5,
            margin: 0.1,
            spread: 1.0,
            top: vec![(3, -0.5), (7, -0.6), (9, -2.0)],
        };
        let greedy = Sampling::default();
        assert!((apart(&step, 7, &greedy) - 0.1).abs() < 1e-12);
        assert!((apart(&step, 9, &greedy) - 1.5).abs() < 1e-12);
        // Not listed: at least as far as the last one is.
        assert!((apart(&step, 1, &greedy) - 1.5).abs() < 1e-12);
        let flipped = Recorded {
            token: 7,
            ..step.clone()
        };
        assert_eq!(apart(&flipped, 3, &greedy), f64::MAX);
        let unlisted = Recorded {
            top: Vec::new(),
            ..step.clone()
        };
        assert_eq!(apart(&unlisted, 7, &greedy), 0.1);
        let draws = "temperature=1,seed=1".parse().unwrap();
        assert_eq!(apart(&step, 9, &draws), 0.1);
    }
}
