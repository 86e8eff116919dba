use crate::{
    Answer, Embeddings, EngineError, FailureKind, Kernels, ModelConfig, Numerics, Piece, Placement,
    Pooling, Predictions, Prompt, Scores, Session, TokenId,
};

/// A loaded model. Sessions opened from it share its weights and nothing else.
///
/// ```
/// # mod successor { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/examples/successor/engine.rs")); }
/// use harness_engine::{Engine, EngineOptions, Model, ModelArtifact, Want};
/// use successor::Successor;
///
/// /// The answer of a model to `prompt`, token by token.
/// fn greedy(model: &dyn Model, prompt: &[u32], count: usize) -> Result<Vec<u32>, harness_engine::EngineError> {
///     let mut session = model.session()?;
///     let mut logits = session.extend(prompt, Want::Last)?;
///     let mut answer = Vec::new();
///     for _ in 0..count {
///         let row = logits.row(0);
///         let best = (0..model.config().vocab).max_by(|&a, &b| row[a].total_cmp(&row[b]));
///         answer.extend(best.map(|token| token as u32));
///         logits = session.extend(&answer[answer.len() - 1..], Want::Last)?;
///     }
///     Ok(answer)
/// }
///
/// let artifact = ModelArtifact::embedded("nothing", b"");
/// let model = Successor.open(&artifact, &EngineOptions::default())?;
/// assert_eq!(greedy(&*model, &[4, 5], 4)?, [6, 7, 0, 1]);
/// # Ok::<(), harness_engine::EngineError>(())
/// ```
pub trait Model: Send {
    /// Shape of the model: layers, heads, vocabulary, context.
    ///
    /// ```
    /// # mod successor { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/examples/successor/engine.rs")); }
    /// use harness_engine::{Engine, EngineOptions, ModelArtifact};
    /// use successor::Successor;
    ///
    /// let artifact = ModelArtifact::embedded("nothing", b"");
    /// let model = Successor.open(&artifact, &EngineOptions::default())?;
    /// assert_eq!(model.config().context, 64);
    /// # Ok::<(), harness_engine::EngineError>(())
    /// ```
    fn config(&self) -> &ModelConfig;

    /// The number formats this engine computes with, from which the suites
    /// derive how far its logits may stray.
    ///
    /// ```
    /// # mod successor { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/examples/successor/engine.rs")); }
    /// use harness_engine::{Engine, EngineOptions, ModelArtifact, tolerance};
    /// use successor::Successor;
    ///
    /// let artifact = ModelArtifact::embedded("nothing", b"");
    /// let model = Successor.open(&artifact, &EngineOptions::default())?;
    /// // With f32 throughout, nothing is lost but what sums in f32 lose.
    /// let noise = tolerance::product_noise(model.numerics(), model.config());
    /// assert!(noise < 1e-14);
    /// # Ok::<(), harness_engine::EngineError>(())
    /// ```
    fn numerics(&self) -> Numerics;

    /// Opens an empty context.
    ///
    /// # Errors
    /// [`FailureKind::OutOfMemory`] if no room is left for its KV cache,
    /// [`FailureKind::Unsupported`] for a model that predicts no next token, such
    /// as an encoder, or hands over no [logits](Predictions::Logits).
    ///
    /// ```
    /// # mod successor { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/examples/successor/engine.rs")); }
    /// use harness_engine::{Engine, EngineOptions, ModelArtifact, Want};
    /// use successor::Successor;
    ///
    /// let artifact = ModelArtifact::embedded("nothing", b"");
    /// let model = Successor.open(&artifact, &EngineOptions::default())?;
    /// let (mut one, other) = (model.session()?, model.session()?);
    /// one.extend(&[1, 2], Want::None)?;
    /// assert_eq!((one.len(), other.len()), (2, 0));
    /// # Ok::<(), harness_engine::EngineError>(())
    /// ```
    fn session(&self) -> Result<Box<dyn Session + '_>, EngineError>;

    /// Embeds `texts`, one row each, from final hidden states. Every text stands
    /// alone: what shares a call with it changes nothing but rounding. Of engines
    /// with [`Capability::Embeddings`](crate::Capability::Embeddings).
    ///
    /// # Errors
    /// [`FailureKind::InvalidInput`] when a text is empty, longer than the
    /// context, or holds an id outside the vocabulary,
    /// [`FailureKind::Unsupported`] when this model has no embeddings, or none
    /// with this `pooling`.
    ///
    /// ```
    /// use harness_engine::{Embeddings, EngineError, FailureKind, Model, Pooling, TokenId};
    /// # use harness_engine::{ModelConfig, Numerics, Session};
    ///
    /// /// How often each of three tokens is in a text.
    /// struct BagOfTokens;
    ///
    /// impl Model for BagOfTokens {
    ///     fn embed(&self, texts: &[&[TokenId]], pooling: Pooling) -> Result<Embeddings, EngineError> {
    ///         if pooling != Pooling::Mean {
    ///             return Err(EngineError::new(FailureKind::Unsupported, "only mean pooling"));
    ///         }
    ///         let mut values = vec![0.0; 3 * texts.len()];
    ///         for (row, text) in values.chunks_mut(3).zip(texts) {
    ///             for &token in *text {
    ///                 let bin = row.get_mut(token as usize);
    ///                 *bin.ok_or_else(|| EngineError::invalid("no such token"))? += 1.0;
    ///             }
    ///         }
    ///         Ok(Embeddings::new(3, values).unwrap_or_default())
    ///     }
    ///     // …
    /// #   fn config(&self) -> &ModelConfig { unimplemented!() }
    /// #   fn numerics(&self) -> Numerics { unimplemented!() }
    /// #   fn session(&self) -> Result<Box<dyn Session + '_>, EngineError> { unimplemented!() }
    /// }
    ///
    /// let found = BagOfTokens.embed(&[&[2, 0, 2], &[1]], Pooling::Mean)?;
    /// assert_eq!(found.row(0), [1.0, 0.0, 2.0]);
    /// assert!(BagOfTokens.embed(&[&[3]], Pooling::Mean).is_err());
    /// # Ok::<(), EngineError>(())
    /// ```
    fn embed(&self, texts: &[&[TokenId]], pooling: Pooling) -> Result<Embeddings, EngineError> {
        let _ = (texts, pooling);
        Err(EngineError::new(
            FailureKind::Unsupported,
            "this engine has no embeddings",
        ))
    }

    /// How much of its next-token distributions this model hands over: unless it
    /// says otherwise, all, by [`session`](Self::session).
    ///
    /// ```
    /// # mod successor { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/examples/successor/engine.rs")); }
    /// use harness_engine::{Engine, EngineOptions, ModelArtifact, Predictions};
    /// use successor::Successor;
    ///
    /// let artifact = ModelArtifact::embedded("nothing", b"");
    /// let model = Successor.open(&artifact, &EngineOptions::default())?;
    /// assert_eq!(model.predictions(), Predictions::Logits);
    /// # Ok::<(), harness_engine::EngineError>(())
    /// ```
    fn predictions(&self) -> Predictions {
        Predictions::Logits
    }

    /// Reads `tokens` in an empty context and tells of the distributions from which
    /// the tokens from place `from` on came: of each the log-probability of the token
    /// that stands there, and the `top` most probable ones. So there are
    /// `tokens.len() - from` results. Of engines with [`Capability::Scores`](crate::Capability::Scores).
    ///
    /// # Errors
    /// [`FailureKind::InvalidInput`] when `from` is 0 (nothing stands before the first
    /// token), when it is beyond the end, for more `top` than the model
    /// [tells](Predictions::Scores), for an id outside the vocabulary, and for more
    /// tokens than the context holds; [`FailureKind::Unsupported`] without scores.
    ///
    /// ```
    /// use harness_engine::{EngineError, Model, Predictions, Scores, TokenId};
    /// # use harness_engine::{ModelConfig, Numerics, Session};
    ///
    /// /// Holds each of two tokens for as likely as the other.
    /// struct Coin;
    ///
    /// impl Model for Coin {
    ///     fn predictions(&self) -> Predictions {
    ///         Predictions::Scores { top: 2 }
    ///     }
    ///
    ///     fn score(&self, tokens: &[TokenId], from: usize, top: usize) -> Result<Vec<Scores>, EngineError> {
    ///         if from == 0 || from > tokens.len() || top > 2 || tokens.iter().any(|&id| id > 1) {
    ///             return Err(EngineError::invalid("nothing that a coin can tell"));
    ///         }
    ///         let half = 0.5_f64.ln();
    ///         let top = [(0, half), (1, half)][..top].to_vec();
    ///         Ok(vec![Scores { log_probability: half, top }; tokens.len() - from])
    ///     }
    ///     // …
    /// #   fn config(&self) -> &ModelConfig { unimplemented!() }
    /// #   fn numerics(&self) -> Numerics { unimplemented!() }
    /// #   fn session(&self) -> Result<Box<dyn Session + '_>, EngineError> { unimplemented!() }
    /// }
    ///
    /// let scores = Coin.score(&[0, 1, 1, 0], 1, 0)?;
    /// let nll: f64 = scores.iter().map(|scores| -scores.log_probability).sum();
    /// let perplexity = (nll / scores.len() as f64).exp();
    /// assert!((perplexity - 2.0).abs() < 1e-12);
    /// # Ok::<(), EngineError>(())
    /// ```
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
    /// answer when it has arrived. Of engines with [`Capability::Generation`](crate::Capability::Generation).
    ///
    /// # Errors
    /// [`FailureKind::InvalidInput`] for an empty prompt or one that the context does
    /// not hold; [`FailureKind::Unsupported`] without generation.
    ///
    /// ```
    /// use harness_engine::{Answer, EngineError, Model, Piece, Prompt};
    /// # use harness_engine::{ModelConfig, Numerics, Session};
    ///
    /// /// Repeats what it hears.
    /// struct Echo;
    ///
    /// impl Model for Echo {
    ///     fn generate(&self, prompt: &Prompt<'_>, each: &mut dyn FnMut(Piece<'_>)) -> Result<Answer, EngineError> {
    ///         let heard = &prompt.tokens[..prompt.tokens.len().min(prompt.max_tokens)];
    ///         for token in heard {
    ///             each(Piece { tokens: &[*token], text: "…" });
    ///         }
    ///         Ok(Answer {
    ///             ended: heard.len() < prompt.max_tokens,
    ///             answer_tokens: Some(heard.len()),
    ///             ..Answer::default()
    ///         })
    ///     }
    ///     // …
    /// #   fn config(&self) -> &ModelConfig { unimplemented!() }
    /// #   fn numerics(&self) -> Numerics { unimplemented!() }
    /// #   fn session(&self) -> Result<Box<dyn Session + '_>, EngineError> { unimplemented!() }
    /// }
    ///
    /// let prompt = Prompt { tokens: &[5, 6, 7], text: "abc", max_tokens: 2, past_end: false };
    /// let mut heard = Vec::new();
    /// let answer = Echo.generate(&prompt, &mut |piece| heard.extend_from_slice(piece.tokens))?;
    /// assert_eq!(heard, [5, 6]);
    /// assert!(!answer.ended, "it was cut off");
    /// # Ok::<(), EngineError>(())
    /// ```
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
    ///
    /// ```
    /// # mod successor { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/examples/successor/engine.rs")); }
    /// use harness_engine::{Engine, EngineOptions, ModelArtifact};
    /// use successor::Successor;
    ///
    /// let artifact = ModelArtifact::embedded("nothing", b"");
    /// let model = Successor.open(&artifact, &EngineOptions::default())?;
    /// assert!(model.in_this_process());
    /// # Ok::<(), harness_engine::EngineError>(())
    /// ```
    fn in_this_process(&self) -> bool {
        true
    }

    /// The kernels that this model computes with. Of engines with [`Capability::Kernels`](crate::Capability::Kernels).
    ///
    /// ```
    /// use harness_engine::{EngineError, KernelCall, Kernels, Model, PreparedKernel};
    /// # use harness_engine::{FailureKind, ModelConfig, Numerics, Session};
    ///
    /// struct Decoder;
    ///
    /// impl Kernels for Decoder {
    ///     fn prepare(&self, call: &KernelCall<'_>) -> Result<Box<dyn PreparedKernel + '_>, EngineError> {
    ///         // …
    /// #       Err(EngineError::new(FailureKind::Unsupported, format!("{call:?}")))
    ///     }
    /// }
    ///
    /// impl Model for Decoder {
    ///     fn kernels(&self) -> Option<&dyn Kernels> {
    ///         Some(self)
    ///     }
    ///     // …
    /// #   fn config(&self) -> &ModelConfig { unimplemented!() }
    /// #   fn numerics(&self) -> Numerics { unimplemented!() }
    /// #   fn session(&self) -> Result<Box<dyn Session + '_>, EngineError> { unimplemented!() }
    /// }
    ///
    /// assert!(Decoder.kernels().is_some());
    /// ```
    fn kernels(&self) -> Option<&dyn Kernels> {
        None
    }

    /// Where the operations of this model are planned to run. Of engines with
    /// [`Capability::Placement`](crate::Capability::Placement).
    ///
    /// # Errors
    /// [`FailureKind::Unsupported`] without a plan; what the framework says otherwise.
    ///
    /// ```
    /// use std::time::Duration;
    /// use harness_engine::{ComputeDevice, EngineError, Model, PlacedOperation, Placement};
    /// # use harness_engine::{ModelConfig, Numerics, Session};
    ///
    /// /// Leaves the choice of a device to a framework, which would rather have the CPU.
    /// struct Compiled;
    ///
    /// impl Model for Compiled {
    ///     fn placement(&self) -> Result<Placement, EngineError> {
    ///         Ok(Placement {
    ///             operations: vec![PlacedOperation {
    ///                 function: "decode".into(),
    ///                 name: "logits".into(),
    ///                 kind: "matmul".into(),
    ///                 preferred: ComputeDevice::Cpu,
    ///                 supported: vec![ComputeDevice::NeuralEngine, ComputeDevice::Cpu],
    ///                 cost: None,
    ///             }],
    ///             compile: None,
    ///             load: Duration::from_millis(3),
    ///         })
    ///     }
    ///     // …
    /// #   fn config(&self) -> &ModelConfig { unimplemented!() }
    /// #   fn numerics(&self) -> Numerics { unimplemented!() }
    /// #   fn session(&self) -> Result<Box<dyn Session + '_>, EngineError> { unimplemented!() }
    /// }
    ///
    /// let plan = Compiled.placement()?;
    /// let missed = |op: &&PlacedOperation| {
    ///     op.preferred != ComputeDevice::NeuralEngine && op.supported.contains(&ComputeDevice::NeuralEngine)
    /// };
    /// assert_eq!(plan.operations.iter().filter(missed).count(), 1);
    /// # Ok::<(), EngineError>(())
    /// ```
    fn placement(&self) -> Result<Placement, EngineError> {
        Err(EngineError::new(
            FailureKind::Unsupported,
            "the engine does not tell where its operations run",
        ))
    }

    /// The same model, to be used from several threads at once, each with
    /// sessions of its own. `None`, the default, says that its sessions have to
    /// take turns on one thread.
    ///
    /// ```
    /// # mod successor { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/examples/successor/engine.rs")); }
    /// use std::thread;
    /// use harness_engine::{Engine, EngineOptions, ModelArtifact, Want};
    /// use successor::Successor;
    ///
    /// let artifact = ModelArtifact::embedded("nothing", b"");
    /// let model = Successor.open(&artifact, &EngineOptions::default())?;
    /// if let Some(model) = model.shared() {
    ///     let extend = |token| model.session()?.extend(&[token], Want::Last);
    ///     let (a, b) = thread::scope(|scope| {
    ///         let threads = [3, 3].map(|token| scope.spawn(move || extend(token)));
    ///         let [a, b] = threads.map(|thread| thread.join());
    ///         (a, b)
    ///     });
    ///     assert!(a.is_ok_and(|a| b.is_ok_and(|b| a.ok() == b.ok())));
    /// }
    /// # Ok::<(), harness_engine::EngineError>(())
    /// ```
    fn shared(&self) -> Option<&(dyn Model + Sync)> {
        None
    }
}
