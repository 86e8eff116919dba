use harness_engine::{
    Availability, Capability, Engine, EngineError, EngineInfo, EngineOptions, EvictionPolicy,
    KvLayer, KvUsage, Logits, Model, ModelArtifact, ModelConfig, NumberFormat, Numerics, Session,
    TokenId, Want, check_extend, check_truncate,
};

/// Holds that every token is followed by the next one of the vocabulary, whatever the model.
pub(crate) struct Successor;

const VOCAB: usize = 8;

impl Engine for Successor {
    fn describe(&self) -> EngineInfo {
        EngineInfo {
            id: "successor".into(),
            version: "1".into(),
            device: "cpu".into(),
            about: "counts on from the last token".into(),
            availability: Availability::Yes,
            capabilities: vec![
                Capability::FullLogits,
                Capability::AllLogits,
                Capability::ConcurrentSessions,
                Capability::KvUsage,
            ],
            options: Vec::new(),
        }
    }

    fn open(
        &self,
        _model: &ModelArtifact,
        options: &EngineOptions,
    ) -> Result<Box<dyn Model>, EngineError> {
        self.validate(options)?;
        Ok(Box::new(Counter(ModelConfig {
            architecture: "successor".into(),
            layers: 1,
            hidden: 1,
            feed_forward: 1,
            heads: 1,
            kv_heads: 1,
            head_dim: 1,
            vocab: VOCAB,
            context: 64,
            parameters: 0,
        })))
    }
}

struct Counter(ModelConfig);

impl Model for Counter {
    fn config(&self) -> &ModelConfig {
        &self.0
    }

    fn numerics(&self) -> Numerics {
        Numerics {
            weights: NumberFormat::F32,
            activations: NumberFormat::F32,
            kv: NumberFormat::F32,
        }
    }

    fn session(&self) -> Result<Box<dyn Session + '_>, EngineError> {
        Ok(Box::new(Context {
            config: &self.0,
            tokens: Vec::new(),
        }))
    }

    fn shared(&self) -> Option<&(dyn Model + Sync)> {
        Some(self)
    }
}

struct Context<'a> {
    config: &'a ModelConfig,
    tokens: Vec<TokenId>,
}

impl Session for Context<'_> {
    fn extend(&mut self, tokens: &[TokenId], want: Want) -> Result<Logits, EngineError> {
        check_extend(tokens, self.len(), self.config)?;
        self.tokens.extend_from_slice(tokens);
        let mut rows = Vec::new();
        for &token in &tokens[tokens.len() - want.rows(tokens.len())..] {
            // The fewer steps on from `token`, the likelier.
            let steps = |next| (next + VOCAB - 1 - token as usize) % VOCAB;
            rows.extend((0..VOCAB).map(|next| -(steps(next) as f32)));
        }
        Ok(Logits::new(VOCAB, rows).unwrap_or_default())
    }

    fn truncate(&mut self, len: usize) -> Result<(), EngineError> {
        check_truncate(len, self.len())?;
        self.tokens.truncate(len);
        Ok(())
    }

    fn len(&self) -> usize {
        self.tokens.len()
    }

    /// The tokens are all that it keeps of a context.
    fn kv(&self) -> Option<KvUsage> {
        let bytes = |tokens| (tokens * size_of::<TokenId>()) as u64;
        Some(KvUsage {
            layers: vec![KvLayer {
                reserved_bytes: bytes(self.config.context),
                used_bytes: bytes(self.len()),
                policy: EvictionPolicy::None,
                ranges: Vec::new(),
            }],
        })
    }
}
