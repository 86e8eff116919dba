//! A session that does nothing, so that all that is left is the measuring.

use engine::{EngineError, KvUsage, Logits, Session, TokenId, Want};

/// Tokens of an answer.
pub(crate) const TOKENS: usize = 1_000;

/// Answers every token with the one logit of a vocabulary of one.
pub(crate) struct Idle(pub(crate) usize);

impl Session for Idle {
    fn extend(&mut self, tokens: &[TokenId], _: Want) -> Result<Logits, EngineError> {
        self.0 += tokens.len();
        Ok(Logits::new(1, vec![0.0]).unwrap())
    }

    fn truncate(&mut self, len: usize) -> Result<(), EngineError> {
        self.0 = len;
        Ok(())
    }

    fn len(&self) -> usize {
        self.0
    }

    fn kv(&self) -> Option<KvUsage> {
        None
    }
}

/// What `request` does, without measuring or checking anything.
pub(crate) fn bare(session: &mut dyn Session, answer: &[TokenId]) -> Logits {
    let mut logits = session.extend(&[0], Want::Last).unwrap();
    for token in answer {
        logits = session
            .extend(std::slice::from_ref(token), Want::Last)
            .unwrap();
    }
    logits
}
