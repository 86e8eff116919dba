//! A clock that stands still and an engine that moves it, for tests.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use engine::{
    EngineError, KvUsage, Logits, Model, ModelConfig, NumberFormat, Numerics, Session, TokenId,
    Want,
};

use super::clock::Clock;

/// Time that passes only when it is told to.
#[derive(Default)]
pub(super) struct FakeClock(AtomicU64);

impl FakeClock {
    pub(super) fn advance(&self, ns: u64) {
        self.0.fetch_add(ns, Ordering::SeqCst);
    }
}

impl Clock for FakeClock {
    fn now_ns(&self) -> u64 {
        self.0.load(Ordering::SeqCst)
    }

    fn wait_until(&self, then_ns: u64) {
        self.0.fetch_max(then_ns, Ordering::SeqCst);
    }
}

/// An engine that takes a fixed time a token and stalls in one request.
pub(super) struct FakeModel<'a> {
    pub(super) clock: &'a FakeClock,
    pub(super) token_ns: u64,
    /// The request, from zero, that stalls, and for how long.
    pub(super) stall: (usize, u64),
    config: ModelConfig,
    requests: AtomicUsize,
}

impl<'a> FakeModel<'a> {
    pub(super) fn new(clock: &'a FakeClock, token_ns: u64, stall: (usize, u64)) -> Self {
        Self {
            clock,
            token_ns,
            stall,
            config: ModelConfig {
                architecture: "fake".into(),
                layers: 1,
                hidden: 1,
                feed_forward: 1,
                heads: 1,
                kv_heads: 1,
                head_dim: 1,
                vocab: 2,
                context: 1_000,
                parameters: 1,
            },
            requests: AtomicUsize::new(0),
        }
    }
}

impl Model for FakeModel<'_> {
    fn config(&self) -> &ModelConfig {
        &self.config
    }

    fn numerics(&self) -> Numerics {
        Numerics {
            weights: NumberFormat::F32,
            activations: NumberFormat::F32,
            kv: NumberFormat::F32,
        }
    }

    fn session(&self) -> Result<Box<dyn Session + '_>, EngineError> {
        let number = self.requests.fetch_add(1, Ordering::SeqCst);
        Ok(Box::new(FakeSession {
            model: self,
            stalls: number == self.stall.0,
            len: 0,
        }))
    }

    fn shared(&self) -> Option<&(dyn Model + Sync)> {
        Some(self)
    }
}

struct FakeSession<'a> {
    model: &'a FakeModel<'a>,
    stalls: bool,
    len: usize,
}

impl Session for FakeSession<'_> {
    fn extend(&mut self, tokens: &[TokenId], want: Want) -> Result<Logits, EngineError> {
        if std::mem::take(&mut self.stalls) {
            self.model.clock.advance(self.model.stall.1);
        }
        self.model
            .clock
            .advance(self.model.token_ns * tokens.len() as u64);
        self.len += tokens.len();
        let values = vec![0.0; want.rows(tokens.len()) * self.model.config.vocab];
        Ok(Logits::new(self.model.config.vocab, values).unwrap())
    }

    fn truncate(&mut self, len: usize) -> Result<(), EngineError> {
        self.len = len;
        Ok(())
    }

    fn len(&self) -> usize {
        self.len
    }

    fn kv(&self) -> Option<KvUsage> {
        None
    }
}
