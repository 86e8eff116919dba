//! The conformance kit must pass a sound engine and catch each broken promise.
#![allow(clippy::unwrap_used)] // Fixture code of a test may panic.

use harness_engine::conformance::{self, Outcome};
use harness_engine::{
    ArtifactFormat, ArtifactSource, Availability, Capability, Embeddings, Engine, EngineError,
    EngineInfo, EngineOptions, EvictionPolicy, FailureKind, KvLayer, KvUsage, Logits, Model,
    ModelArtifact, ModelConfig, NumberFormat, Numerics, Pooling, Session, TokenId, Want,
};
use std::sync::atomic::{AtomicU32, Ordering};

/// A promise for the toy engine to break.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fault {
    None,
    OneRowTooMany,
    Nan,
    LastIsFirst,
    DecodeForgets,
    TruncateKeeps,
    SharedState,
    Random,
    AcceptsOverflow,
    AcceptsForeign,
    AcceptsEmpty,
    TruncateGrows,
    KvConstant,
    EmbedsOneRow,
    EmbedsNan,
    PadsBatches,
    EmbedsAtRandom,
    EmbedsNothing,
    EmbedsOverflow,
    EmbedsForeign,
}

/// Logits that depend on every token of the context and its position.
struct Toy {
    fault: Fault,
}

struct ToyModel {
    fault: Fault,
    config: ModelConfig,
    calls: AtomicU32,
    shared: std::sync::Mutex<Vec<TokenId>>,
}

struct ToySession<'a> {
    model: &'a ToyModel,
    context: Vec<TokenId>,
}

const VOCAB: usize = 50;

impl Engine for Toy {
    fn describe(&self) -> EngineInfo {
        EngineInfo {
            id: "toy".into(),
            version: "1".into(),
            device: "cpu".into(),
            about: "a hash of the context".into(),
            availability: Availability::Yes,
            capabilities: vec![
                Capability::FullLogits,
                Capability::AllLogits,
                Capability::ConcurrentSessions,
                Capability::KvUsage,
                Capability::Embeddings,
            ],
            options: vec![],
        }
    }

    fn open(&self, _: &ModelArtifact, _: &EngineOptions) -> Result<Box<dyn Model>, EngineError> {
        Ok(Box::new(ToyModel {
            fault: self.fault,
            config: ModelConfig {
                architecture: "toy".into(),
                layers: 1,
                hidden: 1,
                feed_forward: 1,
                heads: 1,
                kv_heads: 1,
                head_dim: 1,
                vocab: VOCAB,
                context: 64,
                parameters: 0,
            },
            calls: AtomicU32::new(0),
            shared: Default::default(),
        }))
    }
}

impl Model for ToyModel {
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
        Ok(Box::new(ToySession {
            model: self,
            context: Vec::new(),
        }))
    }

    fn embed(&self, texts: &[&[TokenId]], pooling: Pooling) -> Result<Embeddings, EngineError> {
        let fault = self.fault;
        if pooling == Pooling::Cls {
            let why = "the first token has seen nothing";
            return Err(EngineError::new(FailureKind::Unsupported, why));
        }
        let longest = texts.iter().map(|text| text.len()).max().unwrap_or(0);
        let mut values = Vec::new();
        for text in texts {
            if (text.is_empty() && fault != Fault::EmbedsNothing)
                || (text.len() > self.config.context && fault != Fault::EmbedsOverflow)
                || (text.iter().any(|&id| id as usize >= VOCAB) && fault != Fault::EmbedsForeign)
            {
                return Err(EngineError::invalid("no text for this model"));
            }
            let length = match fault {
                Fault::PadsBatches => longest,
                _ => text.len(),
            };
            let calls = self.calls.fetch_add(1, Ordering::Relaxed);
            values.push(match fault {
                Fault::EmbedsNan => f32::NAN,
                Fault::EmbedsAtRandom => calls as f32,
                _ => length as f32,
            });
            values.push(text.iter().sum::<TokenId>() as f32);
        }
        if fault == Fault::EmbedsOneRow {
            values.truncate(2);
        }
        Ok(Embeddings::new(2, values).unwrap())
    }
}

impl ToySession<'_> {
    fn row(&self, context: &[TokenId]) -> Vec<f32> {
        let calls = self.model.calls.fetch_add(1, Ordering::Relaxed);
        let mut hash = 17u32;
        for (position, token) in context.iter().enumerate() {
            hash = hash.wrapping_mul(31).wrapping_add(token ^ position as u32);
        }
        if self.model.fault == Fault::Random {
            hash ^= calls;
        }
        (0..VOCAB as u32)
            .map(|v| (hash.wrapping_mul(2 * v + 1) % 997) as f32)
            .collect()
    }
}

impl Session for ToySession<'_> {
    fn extend(&mut self, tokens: &[TokenId], want: Want) -> Result<Logits, EngineError> {
        let fault = self.model.fault;
        if tokens.is_empty() && fault != Fault::AcceptsEmpty {
            return Err(EngineError::invalid("no tokens"));
        }
        let foreign = tokens.iter().any(|&id| id as usize >= VOCAB);
        if foreign && fault != Fault::AcceptsForeign {
            return Err(EngineError::invalid("foreign token"));
        }
        let overflow = self.context.len() + tokens.len() > self.model.config.context;
        if overflow && fault != Fault::AcceptsOverflow {
            return Err(EngineError::invalid("context full"));
        }
        if fault == Fault::SharedState {
            // Every session sees what any other appended last.
            let mut shared = self.model.shared.lock().unwrap();
            if self.context.is_empty() {
                shared.clear();
            }
            self.context = std::mem::take(&mut shared);
        }
        let mut rows: Vec<Vec<f32>> = Vec::new();
        for token in tokens {
            if fault == Fault::DecodeForgets && tokens.len() == 1 {
                let last = self.context.len().saturating_sub(1);
                self.context.iter_mut().take(last).for_each(|t| *t = 0);
            }
            self.context.push(*token);
            rows.push(self.row(&self.context));
        }
        if fault == Fault::SharedState {
            *self.model.shared.lock().unwrap() = self.context.clone();
        }
        let mut rows = match want {
            Want::None => vec![],
            Want::Last if fault == Fault::LastIsFirst => rows[..1].to_vec(),
            Want::Last => rows[rows.len().saturating_sub(1)..].to_vec(),
            Want::All => rows,
        };
        if fault == Fault::OneRowTooMany && want == Want::All {
            rows.push(rows[0].clone());
        }
        if fault == Fault::Nan && !rows.is_empty() {
            rows[0][3] = f32::NAN;
        }
        Ok(Logits::new(VOCAB, rows.concat()).unwrap())
    }

    fn truncate(&mut self, len: usize) -> Result<(), EngineError> {
        match self.model.fault {
            Fault::TruncateKeeps if len <= self.context.len() => {
                // The length is right, but the wrong end was dropped.
                self.context.drain(..self.context.len() - len);
                Ok(())
            }
            Fault::TruncateGrows => {
                self.context.resize(len, 0);
                Ok(())
            }
            _ if len > self.context.len() => Err(EngineError::invalid("longer than the context")),
            _ => {
                self.context.truncate(len);
                Ok(())
            }
        }
    }

    fn len(&self) -> usize {
        self.context.len()
    }

    fn kv(&self) -> Option<KvUsage> {
        let used = match self.model.fault {
            Fault::KvConstant => 64,
            _ => self.context.len() as u64,
        };
        Some(KvUsage {
            layers: vec![KvLayer {
                policy: EvictionPolicy::None,
                reserved_bytes: 64,
                used_bytes: used,
                ranges: vec![],
            }],
        })
    }
}

fn failures(fault: Fault) -> Vec<&'static str> {
    let model = ModelArtifact {
        name: "toy".into(),
        source: ArtifactSource::Embedded(&[]),
        format: ArtifactFormat::Gguf,
        sha256: String::new(),
        size_bytes: 0,
    };
    let report = conformance::check(&Toy { fault }, &model, &EngineOptions::default()).unwrap();
    report
        .checks
        .iter()
        .filter(|check| matches!(check.outcome, Outcome::Fail(_)))
        .map(|check| check.name)
        .collect()
}

#[test]
fn a_sound_engine_passes() {
    assert_eq!(failures(Fault::None), [""; 0]);
}

#[test]
fn every_fault_is_caught_by_its_check() {
    for (fault, check) in [
        (Fault::OneRowTooMany, "logits_shape"),
        (Fault::Nan, "logits_finite"),
        (Fault::LastIsFirst, "last_row_is_last_of_all"),
        (Fault::DecodeForgets, "prefill_equals_decode"),
        (Fault::TruncateKeeps, "truncate_then_extend_equals_fresh"),
        (Fault::SharedState, "sessions_are_independent"),
        (Fault::Random, "deterministic"),
        (Fault::AcceptsOverflow, "context_overflow_is_refused"),
        (Fault::AcceptsForeign, "foreign_token_is_refused"),
        (Fault::AcceptsEmpty, "empty_extend_is_refused"),
        (Fault::TruncateGrows, "truncate_past_end_is_refused"),
        (Fault::KvConstant, "kv_usage_follows_length"),
        (Fault::EmbedsOneRow, "embeddings_shape"),
        (Fault::EmbedsNan, "embeddings_finite"),
        (Fault::PadsBatches, "batch_equals_one_by_one"),
        (Fault::EmbedsAtRandom, "embeddings_deterministic"),
        (Fault::EmbedsNothing, "empty_text_is_refused"),
        (Fault::EmbedsOverflow, "overlong_text_is_refused"),
        (Fault::EmbedsForeign, "foreign_token_in_text_is_refused"),
    ] {
        let failed = failures(fault);
        assert!(
            failed.contains(&check),
            "{fault:?}: {check} not in {failed:?}"
        );
    }
}
