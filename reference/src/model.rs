//! The seam's `Model` and `Session` over the decoders.

use engine::{
    Embeddings, EngineError, FailureKind, KvUsage, Logits, Model, ModelConfig, Numerics, Pooling,
    Session, TapObserver, TokenId, Want,
};
use rayon::ThreadPool;

use crate::cache::Cache;
use crate::fast::{FastDecoder, Workspace, entry};
use crate::hyperparameters::{Hyperparameters, Positions};
use crate::options::{Kernels, KvOptions, Options};
use crate::plain::PlainDecoder;
use crate::pooling::{self, Pool};
use crate::source::Source;
use crate::tap::Taps;
use crate::weights::Weights;

/// Tokens that pass through a decoder together. Longer prompts go in pieces of
/// this size, which bounds the memory of activations.
const PIECE: usize = 256;

pub(crate) struct ReferenceModel {
    decoder: Decoder,
    numerics: Numerics,
    kv: KvOptions,
    /// `None` for the plain decoder, which has no kernels.
    kernels: Option<entry::Kernels>,
}

#[allow(clippy::large_enum_variant)] // A model has one.
enum Decoder {
    Plain {
        decoder: PlainDecoder,
        /// `None` leaves the choice to candle: all physical cores.
        pool: Option<ThreadPool>,
    },
    Fast(FastDecoder),
}

impl ReferenceModel {
    pub(crate) fn load(source: &Source, options: &Options) -> Result<Self, EngineError> {
        let mut shape = Hyperparameters::read(source)?;
        if let Some(context) = options.context {
            shape.config.context = shape.config.context.min(context.get());
        }
        let weights = Weights::new(source, options.numerics.weights);
        let activations = options.numerics.activations;
        let decoder = match options.kernels {
            Kernels::Plain => Decoder::Plain {
                decoder: PlainDecoder::load(
                    shape,
                    &weights,
                    activations,
                    options.fault,
                    &options.device.open()?,
                )?,
                pool: options.threads.map(|n| thread_pool(n.get())).transpose()?,
            },
            Kernels::Fast(isa) => {
                let threads = options.threads.map_or_else(all_cores, usize::from);
                Decoder::Fast(FastDecoder::load(
                    shape,
                    &weights,
                    activations,
                    isa,
                    threads,
                )?)
            }
        };
        Ok(Self {
            decoder,
            numerics: options.numerics,
            kv: options.kv.clone(),
            kernels: match options.kernels {
                Kernels::Plain => None,
                Kernels::Fast(isa) => Some(entry::Kernels::of(isa)),
            },
        })
    }

    /// Whether positions are rotations.
    pub(crate) fn rotates(&self) -> bool {
        matches!(self.shape().positions, Positions::Rope(_))
    }

    fn shape(&self) -> &Hyperparameters {
        match &self.decoder {
            Decoder::Plain { decoder, .. } => decoder.shape(),
            Decoder::Fast(decoder) => decoder.shape(),
        }
    }

    fn open_session(&self) -> Result<ReferenceSession<'_>, EngineError> {
        Ok(ReferenceSession {
            cache: Cache::new(self.shape(), &self.kv, PIECE)?,
            workspace: match &self.decoder {
                Decoder::Plain { .. } => None,
                Decoder::Fast(decoder) => Some(decoder.workspace(PIECE)),
            },
            model: self,
        })
    }
}

fn all_cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

pub(crate) fn thread_pool(threads: usize) -> Result<ThreadPool, EngineError> {
    rayon::ThreadPoolBuilder::new()
        .num_threads(threads)
        .build()
        .map_err(|error| {
            EngineError::new(
                FailureKind::Device,
                format!("cannot start {threads} threads: {error}"),
            )
        })
}

impl Model for ReferenceModel {
    fn config(&self) -> &ModelConfig {
        &self.shape().config
    }

    fn numerics(&self) -> Numerics {
        self.numerics
    }

    fn session(&self) -> Result<Box<dyn Session + '_>, EngineError> {
        Ok(Box::new(self.open_session()?))
    }

    fn kernels(&self) -> Option<&dyn engine::Kernels> {
        self.kernels.as_ref().map(|kernels| kernels as _)
    }

    fn shared(&self) -> Option<&(dyn Model + Sync)> {
        Some(self)
    }

    /// One text after the other: a batch shares nothing but its cache's memory.
    fn embed(&self, texts: &[&[TokenId]], pooling: Pooling) -> Result<Embeddings, EngineError> {
        if pooling == Pooling::Cls {
            return Err(EngineError::new(
                FailureKind::Unsupported,
                "the first token of a decoder has seen nothing of the text, so that cls pooling \
                 would give every text the same vector; use mean or last",
            ));
        }
        pooling::check(texts, self.config())?;
        let hidden = self.config().hidden;
        let longest = texts.iter().map(|text| text.len()).max().unwrap_or(0);
        let mut states = vec![0f32; longest.min(PIECE) * hidden];
        let mut values = Vec::with_capacity(texts.len() * hidden);
        let mut session = self.open_session()?;
        for text in texts {
            session.cache.truncate(0)?;
            let mut pool = Pool::new(pooling, hidden);
            for piece in text.chunks(PIECE) {
                let states = &mut states[..piece.len() * hidden];
                session
                    .hidden_states(piece, states)
                    .map_err(crate::failed)?;
                pool.add(states);
            }
            values.extend(pool.finish());
        }
        Embeddings::new(hidden, values).ok_or_else(|| {
            EngineError::new(FailureKind::Protocol, "the decoder returned a ragged row")
        })
    }
}

struct ReferenceSession<'a> {
    model: &'a ReferenceModel,
    cache: Cache,
    /// Of the fast decoder.
    workspace: Option<Workspace>,
}

impl ReferenceSession<'_> {
    /// Appends a piece of a prompt and writes the logits of its last tokens, as
    /// many as fit `logits`.
    fn run(
        &mut self,
        piece: &[TokenId],
        logits: &mut [f32],
        taps: &mut Taps<'_>,
    ) -> candle_core::Result<()> {
        let cache = &mut self.cache;
        match (&self.model.decoder, &mut self.workspace) {
            (Decoder::Fast(decoder), Some(workspace)) => {
                decoder.forward(piece, cache, workspace, logits, taps);
                Ok(())
            }
            (Decoder::Plain { decoder, pool }, _) => match pool {
                Some(pool) => pool.install(|| decoder.forward(piece, cache, logits, taps)),
                None => decoder.forward(piece, cache, logits, taps),
            },
            (Decoder::Fast(_), None) => unreachable!("made with its workspace"),
        }
    }

    /// Appends a piece of a text and writes the final hidden states of all its
    /// tokens.
    fn hidden_states(&mut self, piece: &[TokenId], states: &mut [f32]) -> candle_core::Result<()> {
        let cache = &mut self.cache;
        match (&self.model.decoder, &mut self.workspace) {
            (Decoder::Fast(decoder), Some(workspace)) => {
                decoder.hidden_states(piece, cache, workspace, states);
                Ok(())
            }
            (Decoder::Plain { decoder, pool }, _) => match pool {
                Some(pool) => pool.install(|| decoder.hidden_states(piece, cache, states)),
                None => decoder.hidden_states(piece, cache, states),
            },
            (Decoder::Fast(_), None) => unreachable!("made with its workspace"),
        }
    }

    fn append(
        &mut self,
        tokens: &[TokenId],
        want: Want,
        mut taps: Taps<'_>,
    ) -> Result<Logits, EngineError> {
        let before = self.cache.len();
        engine::check_extend(tokens, before, self.model.config())?;
        let vocab = self.model.config().vocab;
        let mut values = vec![0f32; want.rows(tokens.len()) * vocab];
        let mut unwanted = tokens.len() - want.rows(tokens.len());
        let mut rest = &mut values[..];
        for piece in tokens.chunks(PIECE) {
            let silent = unwanted.min(piece.len());
            unwanted -= silent;
            let (logits, behind) = rest.split_at_mut((piece.len() - silent) * vocab);
            rest = behind;
            if let Err(error) = self.run(piece, logits, &mut taps) {
                self.cache.truncate(before)?;
                return Err(crate::failed(error));
            }
        }
        Logits::new(vocab, values).ok_or_else(|| {
            EngineError::new(FailureKind::Protocol, "the decoder returned a ragged row")
        })
    }
}

impl Session for ReferenceSession<'_> {
    fn extend(&mut self, tokens: &[TokenId], want: Want) -> Result<Logits, EngineError> {
        self.append(tokens, want, Taps::NONE)
    }

    fn extend_tapped(
        &mut self,
        tokens: &[TokenId],
        observer: TapObserver<'_>,
    ) -> Result<Logits, EngineError> {
        self.append(tokens, Want::All, Taps::new(observer))
    }

    fn truncate(&mut self, len: usize) -> Result<(), EngineError> {
        engine::check_truncate(len, self.cache.len())?;
        self.cache.truncate(len)
    }

    fn len(&self) -> usize {
        self.cache.len()
    }

    fn kv(&self) -> Option<KvUsage> {
        Some(self.cache.usage())
    }
}
