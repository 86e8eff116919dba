//! The seam's `Model` and `Session` over the decoder.

use engine::{
    EngineError, FailureKind, KvUsage, Logits, Model, ModelConfig, Numerics, Session, TokenId, Want,
};
use rayon::ThreadPool;

use crate::cache::Cache;
use crate::gguf::GgufFile;
use crate::hyperparameters::Hyperparameters;
use crate::options::{KvOptions, Options};
use crate::plain::PlainDecoder;
use crate::weights::Weights;

/// Tokens that pass through the decoder together. Longer prompts go in pieces
/// of this size, which bounds the score matrix to `heads · PIECE · context`.
const PIECE: usize = 512;

pub(crate) struct ReferenceModel {
    decoder: PlainDecoder,
    numerics: Numerics,
    kv: KvOptions,
    /// `None` leaves the choice to candle: all physical cores.
    pool: Option<ThreadPool>,
}

impl ReferenceModel {
    pub(crate) fn load(file: &GgufFile, options: &Options) -> Result<Self, EngineError> {
        let mut shape = Hyperparameters::read(file)?;
        if let Some(context) = options.context {
            shape.config.context = shape.config.context.min(context.get());
        }
        let weights = Weights::new(file, options.numerics.weights);
        let decoder = PlainDecoder::load(shape, &weights, options.numerics.activations)?;
        let pool = options
            .threads
            .map(|threads| {
                rayon::ThreadPoolBuilder::new()
                    .num_threads(threads.get())
                    .build()
                    .map_err(|error| {
                        EngineError::new(
                            FailureKind::Device,
                            format!("cannot start {threads} threads: {error}"),
                        )
                    })
            })
            .transpose()?;
        Ok(Self {
            decoder,
            numerics: options.numerics,
            kv: options.kv.clone(),
            pool,
        })
    }
}

impl Model for ReferenceModel {
    fn config(&self) -> &ModelConfig {
        &self.decoder.shape().config
    }

    fn numerics(&self) -> Numerics {
        self.numerics
    }

    fn session(&self) -> Result<Box<dyn Session + '_>, EngineError> {
        Ok(Box::new(ReferenceSession {
            cache: Cache::new(self.decoder.shape(), &self.kv, PIECE)?,
            model: self,
        }))
    }
}

struct ReferenceSession<'a> {
    model: &'a ReferenceModel,
    cache: Cache,
}

impl ReferenceSession<'_> {
    fn check(&self, tokens: &[TokenId]) -> Result<(), EngineError> {
        let ModelConfig { vocab, context, .. } = *self.model.config();
        if tokens.is_empty() {
            return Err(EngineError::invalid("extend needs at least one token"));
        }
        if tokens.len() > context - self.cache.len() {
            return Err(EngineError::invalid(format!(
                "{} tokens after {} exceed the context of {context}",
                tokens.len(),
                self.cache.len()
            )));
        }
        match tokens.iter().find(|&&id| id as usize >= vocab) {
            None => Ok(()),
            Some(id) => Err(EngineError::invalid(format!(
                "token id {id} is outside the vocabulary of {vocab}"
            ))),
        }
    }

    fn run(&mut self, tokens: &[TokenId], want: Want) -> candle_core::Result<Vec<f32>> {
        let decoder = &self.model.decoder;
        let mut values = Vec::new();
        let pieces = tokens.len().div_ceil(PIECE);
        for (index, piece) in tokens.chunks(PIECE).enumerate() {
            let hidden = decoder.forward(piece, &mut self.cache)?;
            let wanted = match want {
                Want::All => hidden,
                Want::Last if index + 1 == pieces => hidden.narrow(0, piece.len() - 1, 1)?,
                Want::Last | Want::None => continue,
            };
            let logits = decoder.logits(&wanted)?.flatten_all()?.to_vec1::<f32>()?;
            // A prompt in one piece, the usual case, is not copied again.
            match pieces {
                1 => values = logits,
                _ => values.extend(logits),
            }
        }
        Ok(values)
    }
}

impl Session for ReferenceSession<'_> {
    fn extend(&mut self, tokens: &[TokenId], want: Want) -> Result<Logits, EngineError> {
        self.check(tokens)?;
        let before = self.cache.len();
        let model = self.model;
        let values = match &model.pool {
            Some(pool) => pool.install(|| self.run(tokens, want)),
            None => self.run(tokens, want),
        }
        .map_err(crate::failed);
        let values = match values {
            Ok(values) => values,
            Err(error) => {
                self.cache.truncate(before)?;
                return Err(error);
            }
        };
        Logits::new(model.config().vocab, values).ok_or_else(|| {
            EngineError::new(FailureKind::Protocol, "the decoder returned a ragged row")
        })
    }

    fn truncate(&mut self, len: usize) -> Result<(), EngineError> {
        if len > self.cache.len() {
            return Err(EngineError::invalid(format!(
                "cannot truncate a context of {} tokens to {len}",
                self.cache.len()
            )));
        }
        self.cache.truncate(len)
    }

    fn len(&self) -> usize {
        self.cache.len()
    }

    fn kv(&self) -> Option<KvUsage> {
        Some(self.cache.usage())
    }
}
