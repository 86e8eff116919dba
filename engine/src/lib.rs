//! The seam between the harness and the LLM engines it judges.
//!
//! A backend implements three traits: [`Engine`] opens a [`Model`], a model
//! opens [`Session`]s, and a session turns token ids into next-token logits.
//! Prefill is [`Session::extend`] with many tokens and decode is `extend` with
//! one, so there is a single code path to time and to check.
//!
//! Everything optional is a [`Capability`] that an engine declares. A suite
//! that needs one an engine lacks is skipped with that reason; it never passes
//! silently.
//!
//! [`conformance`] runs any engine through the promises stated here.

mod artifact;
mod checked;
pub mod conformance;
mod embeddings;
mod error;
mod folder;
mod format;
mod info;
mod kernels;
mod logits;
mod placement;
mod predictions;
mod refusals;
mod spec;
mod stream;
mod tap;
mod tokens;
pub mod tolerance;

pub use artifact::{ArtifactError, ArtifactFormat, ArtifactSource, ModelArtifact, sha256_hex};
pub use checked::{Calls, checked};
pub use embeddings::{Embeddings, Pooling, UnknownPooling};
pub use error::{EngineError, FailureKind};
pub use format::{NumberFormat, UnknownFormat};
pub use info::{
    AddressRange, Availability, Capability, EngineInfo, EvictionPolicy, KvLayer, KvUsage,
    ModelConfig, Numerics, OptionHelp,
};
pub use kernels::{KernelCall, KernelTime, Kernels, PreparedKernel, Roof};
pub use logits::{Logits, TopLogits, TopLogitsError};
pub use placement::{ComputeDevice, PlacedOperation, Placement};
pub use predictions::{Answer, Piece, Predictions, Prompt, Scores, Transport};
pub use refusals::{check_extend, check_truncate};
pub use spec::{EngineOptions, EngineSpec, SpecError};
pub use stream::StreamDecoder;
pub use tap::{Stage, Tap, TapObserver, TapPoint};
pub use tokens::{ChatTemplate, TokenId, Tokenizer, TokenizerError};

use std::time::Duration;

/// A way to execute language models: a library, a device, a remote process.
///
/// Engines are cheap to construct; everything expensive happens in
/// [`open`](Engine::open).
pub trait Engine: Send + Sync {
    /// What this engine is, what it can do, and whether it can run here.
    fn describe(&self) -> EngineInfo;

    /// What this engine is with these `options`: for one that is another program or a
    /// server, what that says of itself. The default describes the engine alone.
    ///
    /// # Errors
    /// [`FailureKind::InvalidInput`] for bad options; whatever else went wrong with the
    /// program or server.
    fn probe(&self, options: &EngineOptions) -> Result<EngineInfo, EngineError> {
        let _ = options;
        Ok(self.describe())
    }

    /// Powers that this engine declares and lacks with this `model`, each with the reason:
    /// what the file at hand does not contain. The default finds none.
    fn lacking(&self, model: &ModelArtifact, options: &EngineOptions) -> Vec<(Capability, String)> {
        let _ = (model, options);
        Vec::new()
    }

    /// Checks `options` without opening a model, so that a typo is reported
    /// before a long run starts.
    ///
    /// The default refuses keys that [`describe`](Engine::describe) does not
    /// list; engines that parse values override it.
    ///
    /// # Errors
    /// [`FailureKind::InvalidInput`], naming the offending key or value.
    fn validate(&self, options: &EngineOptions) -> Result<(), EngineError> {
        let info = self.describe();
        let known: Vec<&str> = info.options.iter().map(|option| option.key).collect();
        options.refuse_unknown(&info.id, &known)
    }

    /// Loads `model` and makes it ready to run.
    ///
    /// # Errors
    /// [`FailureKind::Load`] for a model this engine cannot read,
    /// [`FailureKind::Unsupported`] for one it cannot run,
    /// [`FailureKind::InvalidInput`] for bad options,
    /// [`FailureKind::OutOfMemory`] and [`FailureKind::Device`] as they arise.
    fn open(
        &self,
        model: &ModelArtifact,
        options: &EngineOptions,
    ) -> Result<Box<dyn Model>, EngineError>;
}

/// A loaded model. Sessions opened from it share its weights and nothing else.
pub trait Model: Send {
    /// Shape of the model: layers, heads, vocabulary, context.
    fn config(&self) -> &ModelConfig;

    /// The number formats this engine computes with, from which the suites
    /// derive how far its logits may stray.
    fn numerics(&self) -> Numerics;

    /// Opens an empty context.
    ///
    /// # Errors
    /// [`FailureKind::OutOfMemory`] if no room is left for its KV cache,
    /// [`FailureKind::Unsupported`] for a model that predicts no next token, such
    /// as an encoder, or hands over no [logits](Predictions::Logits).
    fn session(&self) -> Result<Box<dyn Session + '_>, EngineError>;

    /// Embeds `texts`, one row each, from final hidden states. Every text stands
    /// alone: what shares a call with it changes nothing but rounding. Of engines
    /// with [`Capability::Embeddings`].
    ///
    /// # Errors
    /// [`FailureKind::InvalidInput`] when a text is empty, longer than the
    /// context, or holds an id outside the vocabulary,
    /// [`FailureKind::Unsupported`] when this model has no embeddings, or none
    /// with this `pooling`.
    fn embed(&self, texts: &[&[TokenId]], pooling: Pooling) -> Result<Embeddings, EngineError> {
        let _ = (texts, pooling);
        Err(EngineError::new(
            FailureKind::Unsupported,
            "this engine has no embeddings",
        ))
    }

    /// How much of its next-token distributions this model hands over: unless it
    /// says otherwise, all, by [`session`](Self::session).
    fn predictions(&self) -> Predictions {
        Predictions::Logits
    }

    /// Reads `tokens` in an empty context and tells of the distributions from which
    /// the tokens from place `from` on came: of each the log-probability of the token
    /// that stands there, and the `top` most probable ones. So there are
    /// `tokens.len() - from` results. Of engines with [`Capability::Scores`].
    ///
    /// # Errors
    /// [`FailureKind::InvalidInput`] when `from` is 0 (nothing stands before the first
    /// token), when it is beyond the end, for more `top` than the model
    /// [tells](Predictions::Scores), for an id outside the vocabulary, and for more
    /// tokens than the context holds; [`FailureKind::Unsupported`] without scores.
    fn score(
        &self,
        tokens: &[TokenId],
        from: usize,
        top: usize,
    ) -> Result<Vec<Scores>, EngineError> {
        let _ = (tokens, from, top);
        Err(EngineError::new(
            FailureKind::Unsupported,
            "the engine tells no log-probabilities",
        ))
    }

    /// Continues `prompt` in an empty context, greedily, and tells `each` piece of the
    /// answer when it has arrived. Of engines with [`Capability::Generation`].
    ///
    /// # Errors
    /// [`FailureKind::InvalidInput`] for an empty prompt or one that the context does
    /// not hold; [`FailureKind::Unsupported`] without generation.
    fn generate(
        &self,
        prompt: &Prompt<'_>,
        each: &mut dyn FnMut(Piece<'_>),
    ) -> Result<Answer, EngineError> {
        let _ = (prompt, each);
        Err(EngineError::new(
            FailureKind::Unsupported,
            "the engine generates nothing by itself",
        ))
    }

    /// Whether weights and caches are in the memory of this process, and not of another
    /// program's.
    fn in_this_process(&self) -> bool {
        true
    }

    /// The kernels that this model computes with. Of engines with [`Capability::Kernels`].
    fn kernels(&self) -> Option<&dyn Kernels> {
        None
    }

    /// Where the operations of this model are planned to run. Of engines with
    /// [`Capability::Placement`].
    ///
    /// # Errors
    /// [`FailureKind::Unsupported`] without a plan; what the framework says otherwise.
    fn placement(&self) -> Result<Placement, EngineError> {
        Err(EngineError::new(
            FailureKind::Unsupported,
            "the engine does not tell where its operations run",
        ))
    }

    /// The same model, to be used from several threads at once, each with
    /// sessions of its own. `None`, the default, says that its sessions have to
    /// take turns on one thread.
    fn shared(&self) -> Option<&(dyn Model + Sync)> {
        None
    }
}

/// One context: a token sequence and its KV cache.
pub trait Session {
    /// Appends `tokens` to the context and returns the next-token logits that
    /// `want` asks for, with positions counted from the start of the context.
    ///
    /// On error the context is unchanged.
    ///
    /// # Errors
    /// [`FailureKind::InvalidInput`] when `tokens` is empty, holds an id
    /// outside the vocabulary, or would overflow the context length.
    fn extend(&mut self, tokens: &[TokenId], want: Want) -> Result<Logits, EngineError>;

    /// Appends `tokens` as [`extend`](Self::extend) with [`Want::All`] does, with the
    /// same logits to the bit, and hands `observer` the tensors that pass its
    /// [taps](Tap) on the way, every row of them.
    ///
    /// Only for engines that declare [`Capability::Taps`].
    ///
    /// # Errors
    /// Those of `extend`; [`FailureKind::Unsupported`] without taps.
    fn extend_tapped(
        &mut self,
        _tokens: &[TokenId],
        _observer: TapObserver<'_>,
    ) -> Result<Logits, EngineError> {
        Err(EngineError::new(
            FailureKind::Unsupported,
            "the engine hands over no intermediate tensors",
        ))
    }

    /// Forgets everything after the first `len` tokens.
    ///
    /// # Errors
    /// [`FailureKind::InvalidInput`] when `len` exceeds the current length.
    fn truncate(&mut self, len: usize) -> Result<(), EngineError>;

    /// Number of tokens in the context.
    fn len(&self) -> usize;

    /// Whether the context holds no token.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What the KV cache of this session occupies, when the engine can tell.
    fn kv(&self) -> Option<KvUsage>;

    /// What the engine took for the last [`extend`](Self::extend) by its own clock, if it
    /// has one: less than the caller waited, where a call goes through a pipe or a network.
    fn last_compute(&self) -> Option<Duration> {
        None
    }
}

/// Which rows of logits [`Session::extend`] should return.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Want {
    /// None: the tokens only fill the cache.
    None,
    /// One row, for the last token.
    Last,
    /// One row per appended token.
    All,
}

impl Want {
    /// Rows returned for `appended` tokens.
    #[must_use]
    pub fn rows(self, appended: usize) -> usize {
        match self {
            Want::None => 0,
            Want::Last => appended.min(1),
            Want::All => appended,
        }
    }
}
