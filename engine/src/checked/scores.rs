//! What must hold of scores, whatever the model.

use crate::{EngineError, FailureKind, Scores, TokenId};

/// How far probabilities may exceed one, and a log-probability stray from itself:
/// servers add up a softmax in f32, one token after the other, which for a vocabulary
/// of `V` is off by at most `V · 2⁻²⁴`, that is 1.6 % for 262,144 tokens.
fn slack(vocab: usize) -> f64 {
    (vocab.max(64) as f64) * 2f64.powi(-24)
}

/// Holds `scores` of the tokens from place `from` on against what the seam promises: one
/// a token, finite, no probability above one, the most probable first and no more than
/// `top` of them, all different and of the vocabulary, and the token itself told the same
/// way where it is among them.
pub(super) fn check(
    scores: &[Scores],
    tokens: &[TokenId],
    from: usize,
    top: usize,
    vocab: usize,
) -> Result<(), EngineError> {
    let broken = |what| Err(EngineError::new(FailureKind::Protocol, what));
    let wanted = tokens.len() - from.min(tokens.len());
    if scores.len() != wanted {
        return broken(format!("{} scores for {wanted} tokens", scores.len()));
    }
    for (place, (scores, &token)) in (from..).zip(scores.iter().zip(&tokens[from..])) {
        let at = |what: String| broken(format!("at place {place}: {what}"));
        let listed = scores.top.iter().map(|&(_, value)| value);
        if let Some(value) = listed
            .chain([scores.log_probability])
            .find(|value| !value.is_finite())
        {
            return Err(EngineError::new(
                FailureKind::Numerics,
                format!("at place {place}: a log-probability of {value}"),
            ));
        }
        if scores.top.len() > top {
            return at(format!(
                "{} tokens where the {top} most probable were asked for",
                scores.top.len()
            ));
        }
        if let Some((id, _)) = scores.top.iter().find(|(id, _)| *id as usize >= vocab) {
            return at(format!("token {id} of a vocabulary of {vocab}"));
        }
        let mut ids: Vec<TokenId> = scores.top.iter().map(|&(id, _)| id).collect();
        ids.sort_unstable();
        if ids.windows(2).any(|pair| pair[0] == pair[1]) {
            return at("a token is listed twice".into());
        }
        if scores.top.windows(2).any(|pair| pair[0].1 < pair[1].1) {
            return at("the most probable token is not the first".into());
        }
        let slack = slack(vocab);
        let mass: f64 = scores.top.iter().map(|&(_, value)| value.exp()).sum();
        if mass > 1.0 + slack || scores.log_probability.exp() > 1.0 + slack {
            return at("probabilities add up to more than one".into());
        }
        let own = scores.top.iter().find(|(id, _)| *id == token);
        if let Some(&(_, value)) = own
            && (value - scores.log_probability).abs() > slack
        {
            return at(format!(
                "token {token} has the log-probabilities {value} and {}",
                scores.log_probability
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(log_probability: f64, top: &[(TokenId, f64)]) -> Option<FailureKind> {
        let top = top.to_vec();
        let scores = [Scores {
            log_probability,
            top,
        }];
        let checked = check(&scores, &[0, 1], 1, 2, 4);
        checked.err().map(|error| error.kind())
    }

    #[test]
    fn promises_are_checked() {
        use FailureKind::{Numerics, Protocol};
        let half = 0.5f64.ln();
        assert_eq!(kind(half, &[(1, half), (0, half)]), None);
        assert_eq!(kind(-9.0, &[(3, half)]), None);
        assert_eq!(kind(f64::NAN, &[]), Some(Numerics));
        assert_eq!(kind(half, &[(1, f64::NEG_INFINITY)]), Some(Numerics));
        assert_eq!(kind(half, &[(4, half)]), Some(Protocol), "foreign");
        assert_eq!(kind(half, &[(0, half), (0, half)]), Some(Protocol), "twice");
        assert_eq!(kind(half, &[(0, -2.0), (1, half)]), Some(Protocol), "order");
        assert_eq!(kind(0.1, &[]), Some(Protocol), "above one");
        assert_eq!(kind(-1.0, &[(1, half)]), Some(Protocol), "two values");
        let three = [(0, -2.0), (1, -2.0), (2, -2.0)];
        assert_eq!(kind(-2.0, &three), Some(Protocol), "too many");
        let none = check(&[], &[0, 1], 1, 2, 4).unwrap_err();
        assert_eq!(none.kind(), Protocol, "too few");
    }
}
