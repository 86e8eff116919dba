//! BERT (Devlin et al. 2019) in plain candle operations: every token attends to
//! every other, so there is nothing to generate and nothing to cache; texts become
//! vectors.
//!
//! Computed as [`plain`] computes, whatever the option `kernels` says: in f32, every
//! result rounded to `activations` but attention scores and probabilities. The
//! norms stand behind the additions ("post-norm"), positions are learned, all of a
//! text is of token type 0, GELU is the exact one.

use candle_core::{Result, Tensor};
use engine::{
    Embeddings, EngineError, FailureKind, Model, ModelConfig, NumberFormat, Numerics, Pooling,
    Session, TokenId,
};
use rayon::ThreadPool;

use crate::hyperparameters::{self, NormKind, Reader};
use crate::model::thread_pool;
use crate::network::{Linear, Loader, Norm};
use crate::options::Options;
use crate::plain::{self, normalise, softmax, vector};
use crate::pooling::{self, Pool};
use crate::source::Source;
use crate::weights::{StoredMatrix, Weights};

/// Its name in GGUF.
pub(crate) const ARCHITECTURE: &str = "bert";

/// An encoder of candle tensors, each `[outputs, inputs]` as in the file.
pub(crate) struct EncoderModel {
    config: ModelConfig,
    numerics: Numerics,
    norm: NormKind,
    /// `[vocab, hidden]`.
    embedding: Tensor,
    /// `[context, hidden]`.
    positions: Tensor,
    /// `[types, hidden]`.
    token_types: Tensor,
    embedding_norm: Norm,
    blocks: Vec<Block>,
    /// `None` leaves the choice to candle: all physical cores.
    pool: Option<ThreadPool>,
}

struct Block {
    query: Linear<Tensor>,
    key: Linear<Tensor>,
    value: Linear<Tensor>,
    output: Linear<Tensor>,
    attention_norm: Norm,
    up: Linear<Tensor>,
    down: Linear<Tensor>,
    ffn_norm: Norm,
}

type Loaded<T> = std::result::Result<T, EngineError>;

impl EncoderModel {
    /// Whether `source` is one.
    pub(crate) fn is(source: &Source) -> bool {
        let name = source.metadata().get::<&str>("general.architecture");
        name.is_ok_and(|name| name == ARCHITECTURE)
    }

    pub(crate) fn load(source: &Source, options: &Options) -> Loaded<Self> {
        let reader = Reader {
            metadata: source.metadata(),
            architecture: ARCHITECTURE,
        };
        let mut config = read_config(source, &reader)?;
        if let Some(context) = options.context {
            config.context = config.context.min(context.get());
        }
        let norm = NormKind::Layer {
            epsilon: reader.required_float("attention.layer_norm_epsilon")? as f32,
        };
        let weights = Weights::new(source, options.numerics.weights);
        let device = options.device.open()?;
        let matrix = |stored: StoredMatrix| plain::tensor(&stored, &device).map_err(crate::failed);
        let loader = Loader {
            weights: &weights,
            make: matrix,
        };
        let hidden = config.hidden;
        let positions = weights.matrix("position_embd.weight", None, hidden)?;
        if positions.rows < config.context {
            let name = "position_embd.weight";
            return Err(Weights::missing_rows(name, positions.rows, config.context));
        }
        let embedding = weights.matrix("token_embd.weight", Some(config.vocab), hidden)?;
        let this = Self {
            embedding: matrix(embedding)?,
            positions: matrix(positions)?,
            token_types: matrix(weights.matrix("token_types.weight", None, hidden)?)?,
            embedding_norm: loader.norm("token_embd_norm", hidden)?,
            blocks: (0..config.layers)
                .map(|index| Block::load(index, &config, &loader))
                .collect::<Loaded<_>>()?,
            pool: options.threads.map(|n| thread_pool(n.get())).transpose()?,
            numerics: Numerics {
                // There is no cache: keys and values stay as they were computed.
                kv: NumberFormat::F32,
                ..options.numerics
            },
            norm,
            config,
        };
        weights.refuse_unasked()?;
        Ok(this)
    }

    /// The final hidden states `[n, hidden]` of a text, row after row.
    fn hidden_states(&self, tokens: &[TokenId]) -> Result<Vec<f32>> {
        let n = tokens.len();
        let ids = Tensor::from_slice(tokens, n, self.embedding.device())?;
        let words = self.embedding.index_select(&ids, 0)?;
        let typed = words.broadcast_add(&self.token_types.narrow(0, 0, 1)?)?;
        let placed = self.round((typed + self.positions.narrow(0, 0, n)?)?)?;
        let mut stream = self.norm(&placed, &self.embedding_norm)?;
        for block in &self.blocks {
            let attention = self.attention(block, &stream)?;
            let sum = self.round((&stream + attention)?)?;
            stream = self.norm(&sum, &block.attention_norm)?;
            let inner = self.round(self.linear(&stream, &block.up)?.gelu_erf()?)?;
            let sum = self.round((&stream + self.linear(&inner, &block.down)?)?)?;
            stream = self.norm(&sum, &block.ffn_norm)?;
        }
        stream.flatten_all()?.to_vec1::<f32>()
    }

    /// Attention of every token to every token, `x` and the result `[n, hidden]`.
    fn attention(&self, block: &Block, x: &Tensor) -> Result<Tensor> {
        let c = &self.config;
        let heads = |linear: &Linear<Tensor>| {
            let flat = self.linear(x, linear)?;
            let split = flat.reshape((x.dim(0)?, c.heads, c.head_dim))?;
            split.transpose(0, 1)?.contiguous()
        };
        let (query, key, value) = (
            heads(&block.query)?,
            heads(&block.key)?,
            heads(&block.value)?,
        );
        let query = (query * (c.head_dim as f64).sqrt().recip())?;
        let weights = softmax(&query.matmul(&key.transpose(1, 2)?)?)?;
        let mixed = weights.matmul(&value)?.transpose(0, 1)?;
        let mixed = self.round(mixed.reshape((x.dim(0)?, c.hidden))?)?;
        self.linear(&mixed, &block.output)
    }

    fn linear(&self, x: &Tensor, linear: &Linear<Tensor>) -> Result<Tensor> {
        let product = x.matmul(&linear.weight.t()?)?;
        self.round(match &linear.bias {
            Some(bias) => product.broadcast_add(&vector(bias, x.device())?)?,
            None => product,
        })
    }

    fn norm(&self, x: &Tensor, norm: &Norm) -> Result<Tensor> {
        self.round(normalise(x, self.norm, norm)?)
    }

    fn round(&self, x: Tensor) -> Result<Tensor> {
        plain::round(x, self.numerics.activations)
    }
}

impl Block {
    fn load<F>(index: usize, c: &ModelConfig, loader: &Loader<'_, F>) -> Loaded<Self>
    where
        F: Fn(StoredMatrix) -> Loaded<Tensor>,
    {
        let linear = |part: &str, outputs, inputs| {
            loader.linear(&format!("blk.{index}.{part}"), outputs, inputs)
        };
        let norm = |part: &str| loader.norm(&format!("blk.{index}.{part}"), c.hidden);
        Ok(Self {
            query: linear("attn_q", c.hidden, c.hidden)?,
            key: linear("attn_k", c.hidden, c.hidden)?,
            value: linear("attn_v", c.hidden, c.hidden)?,
            output: linear("attn_output", c.hidden, c.hidden)?,
            attention_norm: norm("attn_output_norm")?,
            up: linear("ffn_up", c.feed_forward, c.hidden)?,
            down: linear("ffn_down", c.hidden, c.feed_forward)?,
            ffn_norm: norm("layer_output_norm")?,
        })
    }
}

fn read_config(source: &Source, reader: &Reader<'_>) -> Loaded<ModelConfig> {
    let causal = reader
        .metadata
        .find::<bool>(&reader.key("attention.causal"));
    if causal.map_err(hyperparameters::load)? != Some(false) {
        let what = "a bert whose tokens see only earlier ones";
        return Err(hyperparameters::unsupported(what.into()));
    }
    let (hidden, heads) = (
        reader.size("embedding_length")?,
        reader.size("attention.head_count")?,
    );
    if !hidden.is_multiple_of(heads) {
        return Err(EngineError::new(
            FailureKind::Load,
            format!("a hidden width of {hidden} does not divide into {heads} heads"),
        ));
    }
    Ok(ModelConfig {
        architecture: ARCHITECTURE.into(),
        layers: reader.size("block_count")?,
        hidden,
        feed_forward: reader.size("feed_forward_length")?,
        heads,
        kv_heads: heads,
        head_dim: hidden / heads,
        vocab: hyperparameters::vocabulary(source)?,
        context: reader.size("context_length")?,
        parameters: source
            .tensors()
            .iter()
            .map(|tensor| tensor.elements() as u64)
            .sum(),
    })
}

impl Model for EncoderModel {
    fn config(&self) -> &ModelConfig {
        &self.config
    }

    fn numerics(&self) -> Numerics {
        self.numerics
    }

    fn session(&self) -> Loaded<Box<dyn Session + '_>> {
        Err(EngineError::new(
            FailureKind::Unsupported,
            "this model is an encoder (bert): it embeds texts and predicts no next token; \
             use --suite embedding",
        ))
    }

    fn embed(&self, texts: &[&[TokenId]], pooling: Pooling) -> Loaded<Embeddings> {
        pooling::check(texts, &self.config)?;
        let hidden = self.config.hidden;
        let mut values = Vec::with_capacity(texts.len() * hidden);
        for text in texts {
            let states = match &self.pool {
                Some(pool) => pool.install(|| self.hidden_states(text)),
                None => self.hidden_states(text),
            };
            let mut pool = Pool::new(pooling, hidden);
            pool.add(&states.map_err(crate::failed)?);
            values.extend(pool.finish());
        }
        Embeddings::new(hidden, values).ok_or_else(|| {
            EngineError::new(FailureKind::Protocol, "the encoder returned a ragged row")
        })
    }
}
