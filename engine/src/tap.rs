//! Intermediate tensors, for whoever looks for the place where two engines part.
//!
//! An engine that declares [`Capability::Taps`](crate::Capability::Taps) hands over
//! what passes some [`TapPoint`]s on the way through
//! [`Session::extend_tapped`](crate::Session::extend_tapped): any subset of them,
//! at least one. The finer the points, the narrower the answer of
//! `parity --bisect`; the residual stream alone names a layer.
//!
//! # Layout
//!
//! Values are f32, row-major, one row a token. A row of queries or of their
//! mixture is `[heads · head_dim]`, of keys or values `[kv_heads · head_dim]`, of
//! the feed forward's inner layer `[feed_forward]`, of anything else `[hidden]`.
//! The dimensions of a query or key head stand in GGUF's order for the
//! architecture, as llama.cpp's converter writes them: for `llama` a rotary pair is
//! `(2i, 2i + 1)`, for the others here `(i, i + dims / 2)`. Hugging Face files of
//! `llama` keep halves; an engine that reads those reorders what it hands over.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A tensor on its way through the network.
///
/// ```
/// use harness_engine::{Stage, Tap, TapPoint};
///
/// let tap = Tap {
///     stage: Stage { layer: Some(3), point: TapPoint::Query },
///     position: 10,
///     width: 2,
///     values: &[0.1, 0.2, 0.3, 0.4],
/// };
/// // Queries of the tokens at places 10 and 11.
/// let rows: Vec<_> = (tap.position..).zip(tap.values.chunks(tap.width)).collect();
/// assert_eq!(rows, [(10, &[0.1, 0.2][..]), (11, &[0.3, 0.4][..])]);
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Tap<'a> {
    /// Where it was taken.
    pub stage: Stage,
    /// Position in the context of the first row. A call's rows may come in
    /// several taps, in order.
    pub position: usize,
    /// Length of a row.
    pub width: usize,
    /// Row after row.
    pub values: &'a [f32],
}

/// Takes what an engine hands over; `Send`, as it may come from a worker thread.
pub type TapObserver<'a> = &'a mut (dyn FnMut(Tap<'_>) + Send);

/// A point of one layer, or one outside the layers.
///
/// ```
/// use harness_engine::{Stage, TapPoint};
///
/// let stage = Stage { layer: Some(3), point: TapPoint::QueryRope };
/// assert_eq!(stage.to_string(), "blk.3.q_rope");
/// let outside = Stage { layer: None, point: TapPoint::FinalNorm };
/// assert_eq!(outside.to_string(), "final_norm");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Stage {
    /// The transformer block, from zero; `None` for [`TapPoint::Embedding`] and
    /// [`TapPoint::FinalNorm`].
    pub layer: Option<usize>,
    /// The point.
    pub point: TapPoint,
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(layer) = self.layer {
            write!(f, "blk.{layer}.")?;
        }
        f.write_str(self.point.name())
    }
}

/// Where a tensor can be taken, in the order of computation.
///
/// Of two engines, the first point at which they part:
///
/// ```
/// use harness_engine::TapPoint;
///
/// let differing = [TapPoint::Residual, TapPoint::KeyRope, TapPoint::AttentionMix];
/// assert_eq!(differing.into_iter().min(), Some(TapPoint::KeyRope));
/// assert_eq!(TapPoint::KeyRope.name(), "k_rope");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TapPoint {
    /// The first residual stream: the token's embedding, scaled where the
    /// architecture does, with its position's where positions are learned.
    Embedding,
    /// Normalised input of attention.
    AttentionNorm,
    /// Queries, with their bias.
    Query,
    /// Keys, with their bias.
    Key,
    /// Values, with their bias.
    Value,
    /// Queries normalised head by head.
    QueryNorm,
    /// Keys normalised head by head.
    KeyNorm,
    /// Queries after their rotation, before any scale.
    QueryRope,
    /// Keys after their rotation.
    KeyRope,
    /// Values mixed by the attention weights, before the output projection.
    AttentionMix,
    /// Projected mixture, with its bias.
    AttentionOutput,
    /// The same, normalised.
    AttentionPostNorm,
    /// Residual stream with attention's contribution.
    AttentionResidual,
    /// Normalised input of the feed forward, where it has its own.
    FfnNorm,
    /// Inner layer: the activation, times the other branch where there is a gate.
    FfnInner,
    /// Output of the feed forward, with its bias.
    FfnOutput,
    /// The same, normalised.
    FfnPostNorm,
    /// Residual stream behind the block.
    Residual,
    /// Normalised input of the head.
    FinalNorm,
}

impl TapPoint {
    /// Every point, in order.
    pub const ALL: [Self; 19] = [
        Self::Embedding,
        Self::AttentionNorm,
        Self::Query,
        Self::Key,
        Self::Value,
        Self::QueryNorm,
        Self::KeyNorm,
        Self::QueryRope,
        Self::KeyRope,
        Self::AttentionMix,
        Self::AttentionOutput,
        Self::AttentionPostNorm,
        Self::AttentionResidual,
        Self::FfnNorm,
        Self::FfnInner,
        Self::FfnOutput,
        Self::FfnPostNorm,
        Self::Residual,
        Self::FinalNorm,
    ];

    /// Name in records, unique.
    ///
    /// ```
    /// use harness_engine::TapPoint;
    ///
    /// let point = TapPoint::ALL.into_iter().find(|point| point.name() == "attn_mix");
    /// assert_eq!(point, Some(TapPoint::AttentionMix));
    /// ```
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Embedding => "embedding",
            Self::AttentionNorm => "attn_norm",
            Self::Query => "q",
            Self::Key => "k",
            Self::Value => "v",
            Self::QueryNorm => "q_norm",
            Self::KeyNorm => "k_norm",
            Self::QueryRope => "q_rope",
            Self::KeyRope => "k_rope",
            Self::AttentionMix => "attn_mix",
            Self::AttentionOutput => "attn_output",
            Self::AttentionPostNorm => "attn_post_norm",
            Self::AttentionResidual => "attn_residual",
            Self::FfnNorm => "ffn_norm",
            Self::FfnInner => "ffn_inner",
            Self::FfnOutput => "ffn_output",
            Self::FfnPostNorm => "ffn_post_norm",
            Self::Residual => "residual",
            Self::FinalNorm => "final_norm",
        }
    }

    /// Whether the point lies inside a block.
    #[must_use]
    pub(crate) fn in_layer(self) -> bool {
        !matches!(self, Self::Embedding | Self::FinalNorm)
    }

    /// Length of a row in `model`.
    ///
    /// ```
    /// # mod successor { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/examples/successor/engine.rs")); }
    /// use harness_engine::{Engine, EngineOptions, ModelArtifact, ModelConfig, TapPoint};
    /// use successor::Successor;
    ///
    /// let artifact = ModelArtifact::embedded("nothing", b"");
    /// let model = Successor.open(&artifact, &EngineOptions::default())?;
    /// let grouped = ModelConfig { heads: 8, kv_heads: 2, head_dim: 64, ..model.config().clone() };
    /// assert_eq!(TapPoint::Query.width(&grouped), 512);
    /// assert_eq!(TapPoint::Value.width(&grouped), 128);
    /// # Ok::<(), harness_engine::EngineError>(())
    /// ```
    #[must_use]
    pub fn width(self, model: &crate::ModelConfig) -> usize {
        match self {
            Self::Query | Self::QueryNorm | Self::QueryRope | Self::AttentionMix => {
                model.heads * model.head_dim
            }
            Self::Key | Self::KeyNorm | Self::KeyRope | Self::Value => {
                model.kv_heads * model.head_dim
            }
            Self::FfnInner => model.feed_forward,
            _ => model.hidden,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_are_in_order_and_their_names_are_unique() {
        assert!(TapPoint::ALL.is_sorted());
        let mut names = TapPoint::ALL.map(TapPoint::name);
        names.sort_unstable();
        assert!(names.windows(2).all(|pair| pair[0] != pair[1]));
        let stage = Stage {
            layer: Some(3),
            point: TapPoint::QueryRope,
        };
        assert_eq!(stage.to_string(), "blk.3.q_rope");
    }
}
