//! A model that is checked and counted at every call.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::{
    Answer, Embeddings, EngineError, FailureKind, Kernels, KvUsage, Logits, Model, ModelConfig,
    Numerics, Piece, Placement, Pooling, Predictions, Prompt, Scores, Session, TapObserver,
    TokenId, Want,
};

mod scores;

/// How often an engine was called. Other threads may look on.
///
/// A watchdog that looks on sees a sign of life with every call:
///
/// ```
/// # mod successor { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/examples/successor/engine.rs")); }
/// use std::sync::{Arc, atomic::Ordering};
/// use harness_engine::{Calls, Engine, EngineOptions, ModelArtifact, Want, checked};
/// use successor::Successor;
///
/// let artifact = ModelArtifact::embedded("nothing", b"");
/// let calls = Arc::new(Calls::default());
/// let model = Successor.open(&artifact, &EngineOptions::default())?;
/// let model = checked(model, Arc::clone(&calls));
/// let mut session = model.session()?;
/// for signs in 1..=3 {
///     session.extend(&[1, 2], Want::None)?;
///     assert_eq!(calls.extends.load(Ordering::Relaxed), signs);
/// }
/// # Ok::<(), harness_engine::EngineError>(())
/// ```
#[derive(Debug, Default)]
pub struct Calls {
    /// Sessions opened.
    pub sessions: AtomicU64,
    /// Calls of [`Session::extend`], [`Session::extend_tapped`], [`Model::score`] and
    /// [`Model::generate`] that returned, and pieces of answers.
    pub extends: AtomicU64,
    /// Tokens appended by them.
    pub tokens: AtomicU64,
}

/// `model`, whose every answer is held against what the seam promises: as many
/// rows of logits as were asked for, as wide as the vocabulary, all finite, and
/// a context that grew by the tokens appended. Every call is counted in `calls`.
///
/// It costs a pass over the logits, which an engine has just written: a few
/// microseconds for a vocabulary of 50,000.
///
/// # Errors
/// Sessions of the model returned fail with [`FailureKind::Numerics`] or
/// [`FailureKind::Protocol`] where `model` breaks a promise.
///
/// ```
/// # mod successor { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/examples/successor/engine.rs")); }
/// use std::sync::{Arc, atomic::Ordering};
/// use harness_engine::{Calls, Engine, EngineOptions, ModelArtifact, Want, checked};
/// use successor::Successor;
///
/// let artifact = ModelArtifact::embedded("nothing", b"");
/// let calls = Arc::new(Calls::default());
/// let model = Successor.open(&artifact, &EngineOptions::default())?;
/// let model = checked(model, Arc::clone(&calls));
/// model.session()?.extend(&[1, 2, 3], Want::Last)?;
/// assert_eq!(calls.tokens.load(Ordering::Relaxed), 3);
/// # Ok::<(), harness_engine::EngineError>(())
/// ```
#[must_use]
pub fn checked(model: Box<dyn Model>, calls: Arc<Calls>) -> Box<dyn Model> {
    Box::new(CheckedModel { model, calls })
}

// Every method of the traits is passed on, those with defaults too: a default
// here would hide what the engine can do.

struct CheckedModel {
    model: Box<dyn Model>,
    calls: Arc<Calls>,
}

impl Model for CheckedModel {
    fn config(&self) -> &ModelConfig {
        self.model.config()
    }

    fn numerics(&self) -> Numerics {
        self.model.numerics()
    }

    fn session(&self) -> Result<Box<dyn Session + '_>, EngineError> {
        let session = self.model.session()?;
        self.calls.sessions.fetch_add(1, Ordering::Relaxed);
        Ok(Box::new(CheckedSession {
            session,
            vocab: self.model.config().vocab,
            calls: &self.calls,
        }))
    }

    fn predictions(&self) -> Predictions {
        self.model.predictions()
    }

    fn score(
        &self,
        tokens: &[TokenId],
        from: usize,
        top: usize,
    ) -> Result<Vec<Scores>, EngineError> {
        let scores = self.model.score(tokens, from, top)?;
        self.count(tokens.len());
        scores::check(&scores, tokens, from, top, self.model.config().vocab)?;
        Ok(scores)
    }

    fn generate(
        &self,
        prompt: &Prompt<'_>,
        each: &mut dyn FnMut(Piece<'_>),
    ) -> Result<Answer, EngineError> {
        let (vocab, mut written, mut foreign) = (self.model.config().vocab, 0, None);
        let answer = self.model.generate(prompt, &mut |piece| {
            written += piece.tokens.len();
            let mut ids = piece.tokens.iter();
            foreign = foreign.or(ids.find(|&&id| id as usize >= vocab).copied());
            // A long answer is a sign of life at every token.
            self.calls.extends.fetch_add(1, Ordering::Relaxed);
            each(piece);
        })?;
        self.count(prompt.tokens.len() + written);
        let broken = |what| Err(EngineError::new(FailureKind::Protocol, what));
        match foreign {
            Some(id) => broken(format!("token {id} of a vocabulary of {vocab}")),
            None if written > prompt.max_tokens => broken(format!(
                "an answer of {written} tokens where {} were allowed",
                prompt.max_tokens
            )),
            None => Ok(answer),
        }
    }

    fn in_this_process(&self) -> bool {
        self.model.in_this_process()
    }

    /// Unchecked and uncounted: a box that may not be shared cannot lend out a
    /// wrapper that may.
    fn shared(&self) -> Option<&(dyn Model + Sync)> {
        self.model.shared()
    }

    fn kernels(&self) -> Option<&dyn Kernels> {
        self.model.kernels()
    }

    fn placement(&self) -> Result<Placement, EngineError> {
        self.model.placement()
    }

    fn embed(&self, texts: &[&[TokenId]], pooling: Pooling) -> Result<Embeddings, EngineError> {
        let embeddings = self.model.embed(texts, pooling)?;
        let tokens: usize = texts.iter().map(|text| text.len()).sum();
        self.calls
            .tokens
            .fetch_add(tokens as u64, Ordering::Relaxed);
        if embeddings.rows() != texts.len() {
            return Err(EngineError::new(
                FailureKind::Protocol,
                format!("{} embeddings of {} texts", embeddings.rows(), texts.len()),
            ));
        }
        let finite = |row: &usize| embeddings.row(*row).iter().all(|value| value.is_finite());
        match (0..embeddings.rows()).find(|row| !finite(row)) {
            None => Ok(embeddings),
            Some(row) => Err(EngineError::new(
                FailureKind::Numerics,
                format!("NaN or infinite embedding of text {row} of {}", texts.len()),
            )),
        }
    }
}

impl CheckedModel {
    fn count(&self, tokens: usize) {
        self.calls.extends.fetch_add(1, Ordering::Relaxed);
        self.calls
            .tokens
            .fetch_add(tokens as u64, Ordering::Relaxed);
    }
}

struct CheckedSession<'a> {
    session: Box<dyn Session + 'a>,
    vocab: usize,
    calls: &'a Calls,
}

impl CheckedSession<'_> {
    /// Holds the answer to `appended` tokens after `before` against the promises.
    fn check(
        &self,
        before: usize,
        appended: usize,
        want: Want,
        logits: Logits,
    ) -> Result<Logits, EngineError> {
        self.calls.extends.fetch_add(1, Ordering::Relaxed);
        self.calls
            .tokens
            .fetch_add(appended as u64, Ordering::Relaxed);
        let broken = |what| Err(EngineError::new(FailureKind::Protocol, what));
        let (rows, vocab) = (want.rows(appended), self.vocab);
        if logits.rows() != rows || (rows > 0 && logits.vocab() != vocab) {
            return broken(format!(
                "{}×{} logits instead of {rows}×{vocab} for {appended} tokens",
                logits.rows(),
                logits.vocab()
            ));
        }
        if self.session.len() != before + appended {
            return broken(format!(
                "a context of {} tokens after {before} and {appended} more",
                self.session.len()
            ));
        }
        if !logits.all_finite() {
            let bad = |row: &usize| logits.row(*row).iter().any(|value| !value.is_finite());
            let row = (0..rows).find(bad).unwrap_or_default();
            return Err(EngineError::new(
                FailureKind::Numerics,
                format!(
                    "NaN or infinite logits, first at position {} of the context",
                    before + appended - rows + row
                ),
            ));
        }
        Ok(logits)
    }
}

impl Session for CheckedSession<'_> {
    fn extend(&mut self, tokens: &[TokenId], want: Want) -> Result<Logits, EngineError> {
        let before = self.session.len();
        let logits = self.session.extend(tokens, want)?;
        self.check(before, tokens.len(), want, logits)
    }

    fn extend_tapped(
        &mut self,
        tokens: &[TokenId],
        observer: TapObserver<'_>,
    ) -> Result<Logits, EngineError> {
        let before = self.session.len();
        let logits = self.session.extend_tapped(tokens, observer)?;
        self.check(before, tokens.len(), Want::All, logits)
    }

    fn truncate(&mut self, len: usize) -> Result<(), EngineError> {
        self.session.truncate(len)
    }

    fn len(&self) -> usize {
        self.session.len()
    }

    fn is_empty(&self) -> bool {
        self.session.is_empty()
    }

    fn kv(&self) -> Option<KvUsage> {
        self.session.kv()
    }

    fn last_compute(&self) -> Option<Duration> {
        self.session.last_compute()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::NumberFormat::F32;

    /// Answers whatever it was told to.
    struct Parrot {
        config: ModelConfig,
        answer: Logits,
        len: usize,
    }

    impl Model for Parrot {
        fn config(&self) -> &ModelConfig {
            &self.config
        }
        fn numerics(&self) -> Numerics {
            Numerics {
                weights: F32,
                activations: F32,
                kv: F32,
            }
        }
        fn session(&self) -> Result<Box<dyn Session + '_>, EngineError> {
            Ok(Box::new(ParrotSession {
                parrot: self,
                len: 0,
            }))
        }
    }

    struct ParrotSession<'a> {
        parrot: &'a Parrot,
        len: usize,
    }

    impl Session for ParrotSession<'_> {
        fn extend(&mut self, _: &[TokenId], _: Want) -> Result<Logits, EngineError> {
            self.len = self.parrot.len;
            Ok(self.parrot.answer.clone())
        }
        fn truncate(&mut self, _: usize) -> Result<(), EngineError> {
            Ok(())
        }
        fn len(&self) -> usize {
            self.len
        }
        fn kv(&self) -> Option<KvUsage> {
            None
        }
    }

    /// What becomes of two tokens of a vocabulary of three.
    fn answer(vocab: usize, values: &[f32], len: usize, want: Want) -> Result<Logits, FailureKind> {
        let config = ModelConfig {
            architecture: "parrot".into(),
            layers: 1,
            hidden: 1,
            feed_forward: 1,
            heads: 1,
            kv_heads: 1,
            head_dim: 1,
            vocab: 3,
            context: 8,
            parameters: 1,
        };
        let answer = Logits::new(vocab, values.to_vec()).unwrap();
        let calls = Arc::new(Calls::default());
        let model = checked(
            Box::new(Parrot {
                config,
                answer,
                len,
            }),
            Arc::clone(&calls),
        );
        let result = model.session().unwrap().extend(&[0, 1], want);
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        assert_eq!(count(&calls.sessions), 1);
        assert_eq!((count(&calls.extends), count(&calls.tokens)), (1, 2));
        result.map_err(|error| error.kind())
    }

    #[test]
    fn promises_are_held() {
        use FailureKind::{Numerics, Protocol};
        let one = [0.0, 1.0, 2.0];
        let two = [0.0, 1.0, 2.0, 3.0, 4.0, 5.0];
        assert!(answer(3, &one, 2, Want::Last).is_ok());
        assert!(answer(3, &two, 2, Want::All).is_ok());
        assert!(answer(0, &[], 2, Want::None).is_ok());
        for (vocab, values, len, want, kind) in [
            (3, &one[..], 2, Want::All, Protocol),
            (2, &two[..2], 2, Want::Last, Protocol),
            (3, &[], 2, Want::Last, Protocol),
            (3, &one, 2, Want::None, Protocol),
            (3, &one, 1, Want::Last, Protocol),
            (3, &[0.0, f32::NAN, 0.0], 2, Want::Last, Numerics),
            (3, &[0.0, 0.0, f32::INFINITY], 2, Want::Last, Numerics),
        ] {
            assert_eq!(answer(vocab, values, len, want), Err(kind), "{values:?}");
        }
    }
}
