//! The transformer on SIMD kernels, `kernels=fast`.
//!
//! The same mathematics as [`plain`](crate::plain), in f32 throughout, but
//! weights stay in the blocks of the file and are decoded on the way into the
//! registers. Prompts go through in panels of 32 tokens, whose lanes are tokens
//! ([`panels`]); a token alone is a vector ([`vector`]).

#[cfg(target_arch = "x86_64")]
mod amx;
mod attention;
mod blocks;
mod elementwise;
pub mod entry;
mod kernels;
mod matrix;
mod panels;
mod pool;
mod product;
mod simd;
mod steps;
mod taps;
mod vector;

use engine::{EngineError, FailureKind, NumberFormat, TokenId};
use half::slice::HalfFloatSliceExt;
use half::{bf16, f16};

use crate::cache::{Cache, LayerCache};
use crate::hyperparameters::Hyperparameters;
use crate::network::Network;
use crate::tap::Taps;
use crate::weights::Weights;
use attention::Head;
use kernels::Kernels;
use matrix::{Format, Matrix};
use panels::PanelBuffers;
use pool::Pool;
use product::TILE_STRIDE;
use vector::VectorBuffers;

pub(crate) use simd::Isa;

/// Tokens below which panels, which compute 32 at a time, cost more than one
/// token after the other.
const FEW: usize = 8;

/// A decoder over mapped matrices.
pub(crate) struct FastDecoder {
    network: Network<Matrix>,
    activations: NumberFormat,
    kernels: Kernels,
    pool: Pool,
}

/// What one session needs besides its cache. Nothing is allocated while tokens
/// are decoded.
pub(crate) struct Workspace {
    panels: PanelBuffers,
    vector: VectorBuffers,
}

impl FastDecoder {
    pub(crate) fn load(
        shape: Hyperparameters,
        weights: &Weights<'_>,
        activations: NumberFormat,
        isa: Isa,
        threads: usize,
    ) -> Result<Self, EngineError> {
        if shape.config.head_dim > TILE_STRIDE {
            return Err(EngineError::new(
                FailureKind::Unsupported,
                format!(
                    "heads of {} dimensions, more than the {TILE_STRIDE} of a tile; use kernels=plain",
                    shape.config.head_dim
                ),
            ));
        }
        let network = Network::load(shape, weights, |stored| {
            Matrix::new(stored)
                .map_err(|error| EngineError::new(FailureKind::Unsupported, error.to_string()))
        })?;
        let pool = Pool::new(threads).map_err(|error| {
            EngineError::new(
                FailureKind::Device,
                format!("cannot start {threads} threads: {error}"),
            )
        })?;
        Ok(Self {
            network,
            activations,
            kernels: Kernels::of(isa),
            pool,
        })
    }

    pub(crate) fn shape(&self) -> &Hyperparameters {
        &self.network.shape
    }

    /// Buffers for pieces of at most `piece` tokens.
    pub(crate) fn workspace(&self, piece: usize) -> Workspace {
        Workspace {
            panels: PanelBuffers::new(
                self.shape(),
                piece,
                self.pool.threads(),
                self.kernels.split.is_some(),
            ),
            vector: VectorBuffers::new(self.shape(), self.pool.threads()),
        }
    }

    /// Appends `tokens` to `cache` and writes the logits of the last ones, as
    /// many as fit `logits`, row after row.
    pub(crate) fn forward(
        &self,
        tokens: &[TokenId],
        cache: &mut Cache,
        workspace: &mut Workspace,
        logits: &mut [f32],
        taps: &mut Taps<'_>,
    ) {
        let vocab = self.shape().config.vocab;
        let wanted = logits.len() / vocab;
        if tokens.len() > FEW {
            self.forward_panels(tokens, cache, workspace, logits, taps);
            return;
        }
        let silent = tokens.len() - wanted;
        let (quiet, loud) = tokens.split_at(silent);
        for &token in quiet {
            self.forward_token(token, cache, &mut workspace.vector, None, taps);
        }
        for (&token, logits) in loud.iter().zip(logits.chunks_exact_mut(vocab)) {
            self.forward_token(token, cache, &mut workspace.vector, Some(logits), taps);
        }
    }

    /// The matrix that turns hidden states into logits.
    fn head(&self) -> &Matrix {
        self.network
            .head
            .as_ref()
            .unwrap_or(&self.network.embedding)
    }

    /// Head `index` of the cached keys and values of `layer`.
    fn cached_head<'a>(&self, layer: usize, index: usize, cache: &'a LayerCache) -> Head<'a> {
        let shape = self.shape();
        Head {
            format: match cache.keys.format() {
                NumberFormat::F16 => Format::F16,
                NumberFormat::Q8_0 => Format::Q8_0,
                _ => Format::F32,
            },
            keys: cache.keys.bytes(),
            values: cache.values.bytes(),
            row_bytes: cache.keys.row_bytes(),
            column: index * shape.config.head_dim,
            capacity: cache.capacity(),
            dim: shape.config.head_dim,
            scale: shape.attention_scale,
            softcap: shape.attention_softcap,
            window: shape.layers[layer].window,
        }
    }

    /// Rounds to what the engine was told to compute with.
    fn round(&self, values: &mut [f32]) {
        match self.activations {
            NumberFormat::F16 => round_through::<f16>(values),
            NumberFormat::Bf16 => round_through::<bf16>(values),
            _ => {}
        }
    }
}

fn round_through<T: Copy + Default>(values: &mut [f32])
where
    [T]: HalfFloatSliceExt,
{
    let mut rounded = [T::default(); 256];
    for chunk in values.chunks_mut(rounded.len()) {
        let rounded = &mut rounded[..chunk.len()];
        rounded.convert_from_f32_slice(chunk);
        rounded.convert_to_f32_slice(chunk);
    }
}
