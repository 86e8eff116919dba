//! Promises of engines that tell log-probabilities instead of logits.

use super::{Finding, Subject, broken};
use crate::{EngineError, FailureKind, Predictions, Prompt, TokenId};

/// Most probable tokens to ask for.
const TOP: usize = 5;

impl Subject<'_> {
    /// Most probable tokens that the model tells, `TOP` of them at most.
    fn told(&self) -> Result<usize, Finding> {
        match self.model.predictions() {
            Predictions::Scores { top } => Ok(top.min(TOP)),
            Predictions::Logits => Err(Finding::NotApplicable(
                "the model hands over its logits".into(),
            )),
            Predictions::Choices { why } => Err(Finding::NotApplicable(why)),
        }
    }
}

/// One score a token, and the same ones again; [`checked`](crate::checked) models have
/// their values looked at as well.
pub(super) fn repeatable(subject: &Subject<'_>) -> Result<(), Finding> {
    let top = subject.told()?;
    let from = subject.tokens.len() / 2;
    if from == 0 {
        return Err(Finding::NotApplicable("the context is too short".into()));
    }
    let first = subject.model.score(&subject.tokens, from, top)?;
    if first.len() != subject.tokens.len() - from {
        return broken(format!(
            "{} scores for {} tokens",
            first.len(),
            subject.tokens.len() - from
        ));
    }
    // A shorter text has the same beginning.
    let shorter = &subject.tokens[..subject.tokens.len() - 1];
    let second = subject.model.score(shorter, from, top)?;
    let bound = 4.0 * (2.0 * subject.tolerance).sqrt();
    for (place, (a, b)) in (from..).zip(first.iter().zip(&second)) {
        let apart = (a.log_probability - b.log_probability).abs();
        // Relative to the log-probability, whose scale is that of the logits.
        if apart > bound * a.log_probability.abs().max(1.0) {
            return broken(format!(
                "at place {place}: log-probability {} and then {}",
                a.log_probability, b.log_probability
            ));
        }
    }
    Ok(())
}

/// What cannot be scored is said to be invalid.
pub(super) fn refusals(subject: &Subject<'_>) -> Result<(), Finding> {
    let top = subject.told()?;
    let config = subject.model.config();
    let foreign = TokenId::try_from(config.vocab).unwrap_or(TokenId::MAX);
    let long = vec![subject.tokens[0]; config.context + 1];
    let refused = |what: &str, result: Result<_, EngineError>| match result {
        Err(error) if error.kind() == FailureKind::InvalidInput => Ok(()),
        Err(error) => broken(format!(
            "{what}: reported as {} instead of invalid input: {error}",
            error.kind()
        )),
        Ok(_) => broken(format!("{what}: it was accepted")),
    };
    let score = |tokens: &[TokenId], from| subject.model.score(tokens, from, top).map(drop);
    refused("nothing before the first token", score(&subject.tokens, 0))?;
    refused(
        "a foreign token",
        score(&[subject.tokens[0], foreign, subject.tokens[0]], 2),
    )?;
    refused("more than the context holds", score(&long, config.context))
}

/// An answer's first token is the most probable one, and no longer than allowed.
pub(super) fn generation(subject: &Subject<'_>) -> Result<(), Finding> {
    let top = subject.told()?;
    if top == 0 {
        return Err(Finding::NotApplicable(
            "the model does not tell which token is the most probable".into(),
        ));
    }
    let (mut tokens, mut text) = (Vec::new(), String::new());
    let prompt = Prompt {
        tokens: &subject.tokens,
        text: "",
        max_tokens: 1,
        past_end: true,
    };
    let result = subject.model.generate(&prompt, &mut |piece| {
        tokens.extend_from_slice(piece.tokens);
        text.push_str(piece.text);
    });
    match result {
        Err(error) if error.kind() == FailureKind::Unsupported => {
            return Err(Finding::NotApplicable(error.to_string()));
        }
        other => other?,
    };
    let [first] = tokens[..] else {
        return broken(format!("{} tokens where one was asked for", tokens.len()));
    };
    let mut read = subject.tokens.clone();
    read.push(first);
    let scores = subject.model.score(&read, read.len() - 1, top)?;
    match scores.first().and_then(|scores| scores.top.first()) {
        Some(&(best, value)) if best != first && value > scores[0].log_probability => {
            broken(format!("token {first} chosen, but {best} is more probable"))
        }
        _ => Ok(()),
    }
}
