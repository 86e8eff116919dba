//! A Llama decoder in plain loops, as an engine for `harness`: the three traits of the seam are
//! here, the arithmetic in `network.rs`.

mod network;

use engine::{
    Availability, Capability, Engine, EngineError, EngineInfo, EngineOptions, EvictionPolicy,
    KvLayer, KvUsage, Logits, Model, ModelArtifact, ModelConfig, NumberFormat, Numerics, Session,
    TokenId, Want,
};

use crate::network::{LayerCache, Network};

/// The engine, id `naive-llama`.
pub struct NaiveLlama;

impl Engine for NaiveLlama {
    fn describe(&self) -> EngineInfo {
        EngineInfo {
            id: "naive-llama".into(),
            version: env!("CARGO_PKG_VERSION").into(),
            device: "cpu".into(),
            about: "a Llama decoder in plain loops, f32 throughout".into(),
            availability: Availability::Yes,
            // What is declared here is checked by the conformance kit and used by the suites.
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
        model: &ModelArtifact,
        options: &EngineOptions,
    ) -> Result<Box<dyn Model>, EngineError> {
        self.validate(options)?;
        Ok(Box::new(Llama(Network::load(model)?)))
    }
}

struct Llama(Network);

impl Model for Llama {
    fn config(&self) -> &ModelConfig {
        &self.0.config
    }

    /// Whatever the file holds is multiplied in f32; suites derive their tolerances from this.
    fn numerics(&self) -> Numerics {
        Numerics {
            weights: NumberFormat::F32,
            activations: NumberFormat::F32,
            kv: NumberFormat::F32,
        }
    }

    fn session(&self) -> Result<Box<dyn Session + '_>, EngineError> {
        Ok(Box::new(Context {
            network: &self.0,
            cache: self.0.cache(),
            len: 0,
        }))
    }

    fn shared(&self) -> Option<&(dyn Model + Sync)> {
        Some(self)
    }
}

struct Context<'a> {
    network: &'a Network,
    cache: Vec<LayerCache>,
    len: usize,
}

impl Session for Context<'_> {
    fn extend(&mut self, tokens: &[TokenId], want: Want) -> Result<Logits, EngineError> {
        let config = &self.network.config;
        // All that can go wrong is found before anything changes.
        if tokens.is_empty() {
            return Err(EngineError::invalid("there is no token to append"));
        }
        if self.len + tokens.len() > config.context {
            let why = format!("the context holds {} tokens at most", config.context);
            return Err(EngineError::invalid(why));
        }
        if let Some(id) = tokens.iter().find(|&&id| id as usize >= config.vocab) {
            let why = format!("token {id} is none of the {} there are", config.vocab);
            return Err(EngineError::invalid(why));
        }
        let first_wanted = tokens.len() - want.rows(tokens.len());
        let mut values = Vec::new();
        for (at, &token) in tokens.iter().enumerate() {
            let hidden = self.network.step(&mut self.cache, self.len, token as usize);
            self.len += 1;
            if at >= first_wanted {
                values.extend(self.network.logits(&hidden));
            }
        }
        Ok(Logits::new(config.vocab, values).unwrap_or_default())
    }

    fn truncate(&mut self, len: usize) -> Result<(), EngineError> {
        if len > self.len {
            let why = format!("cannot keep {len} tokens of {}", self.len);
            return Err(EngineError::invalid(why));
        }
        for layer in &mut self.cache {
            layer.truncate(len * self.network.kv_width());
        }
        self.len = len;
        Ok(())
    }

    fn len(&self) -> usize {
        self.len
    }

    fn kv(&self) -> Option<KvUsage> {
        let bytes = |floats: usize| floats * size_of::<f32>();
        let layer = |LayerCache { keys, values }: &LayerCache| KvLayer {
            reserved_bytes: bytes(keys.capacity() + values.capacity()) as u64,
            used_bytes: bytes(keys.len() + values.len()) as u64,
            policy: EvictionPolicy::None,
            // An allocator hands out pages again that an earlier session has touched, so where the
            // cache is would say nothing of what this session has made resident.
            ranges: Vec::new(),
        };
        Some(KvUsage {
            layers: self.cache.iter().map(layer).collect(),
        })
    }
}
