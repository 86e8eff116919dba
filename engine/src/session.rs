use std::time::Duration;

use crate::{EngineError, FailureKind, KvUsage, Logits, TapObserver, TokenId};

/// One context: a token sequence and its KV cache.
///
/// ```
/// # mod successor { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/examples/successor/engine.rs")); }
/// use harness_engine::{Engine, EngineOptions, ModelArtifact, Want};
/// use successor::Successor;
///
/// let artifact = ModelArtifact::embedded("nothing", b"");
/// let model = Successor.open(&artifact, &EngineOptions::default())?;
/// let mut session = model.session()?;
/// session.extend(&[1, 2, 3], Want::None)?;
/// let before = session.extend(&[4, 5], Want::All)?;
///
/// // Another way on from the third token, and back.
/// session.truncate(3)?;
/// session.extend(&[0], Want::None)?;
/// session.truncate(3)?;
/// assert_eq!(session.extend(&[4, 5], Want::All)?, before);
/// # Ok::<(), harness_engine::EngineError>(())
/// ```
pub trait Session {
    /// Appends `tokens` to the context and returns the next-token logits that
    /// `want` asks for, with positions counted from the start of the context.
    ///
    /// On error the context is unchanged.
    ///
    /// # Errors
    /// [`FailureKind::InvalidInput`] when `tokens` is empty, holds an id
    /// outside the vocabulary, or would overflow the context length.
    ///
    /// Prefill and decode are the same call:
    ///
    /// ```
    /// # mod successor { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/examples/successor/engine.rs")); }
    /// use harness_engine::{Engine, EngineOptions, FailureKind, ModelArtifact, Want};
    /// use successor::Successor;
    ///
    /// let artifact = ModelArtifact::embedded("nothing", b"");
    /// let model = Successor.open(&artifact, &EngineOptions::default())?;
    /// let (mut prefill, mut decode) = (model.session()?, model.session()?);
    /// let logits = prefill.extend(&[1, 2, 3], Want::All)?;
    /// for (row, token) in [1, 2, 3].into_iter().enumerate() {
    ///     assert_eq!(decode.extend(&[token], Want::Last)?.row(0), logits.row(row));
    /// }
    /// // Its vocabulary is 0..8.
    /// let refused = decode.extend(&[8], Want::Last);
    /// assert_eq!(refused.map_err(|error| error.kind()), Err(FailureKind::InvalidInput));
    /// assert_eq!(decode.len(), 3);
    /// # Ok::<(), harness_engine::EngineError>(())
    /// ```
    fn extend(&mut self, tokens: &[TokenId], want: Want) -> Result<Logits, EngineError>;

    /// Appends `tokens` as [`extend`](Self::extend) with [`Want::All`] does, with the
    /// same logits to the bit, and hands `observer` the tensors that pass its
    /// [taps](crate::Tap) on the way, every row of them.
    ///
    /// Only for engines that declare [`Capability::Taps`](crate::Capability::Taps).
    ///
    /// # Errors
    /// Those of `extend`; [`FailureKind::Unsupported`] without taps.
    ///
    /// ```
    /// use harness_engine::{EngineError, Logits, Session, Stage, Tap, TapObserver, TapPoint, TokenId, Want};
    /// # use harness_engine::KvUsage;
    ///
    /// /// A network whose embedding of a token is its id, twice.
    /// struct Doubles(Vec<TokenId>);
    ///
    /// impl Session for Doubles {
    ///     fn extend_tapped(&mut self, tokens: &[TokenId], observer: TapObserver<'_>) -> Result<Logits, EngineError> {
    ///         let values: Vec<f32> = tokens.iter().flat_map(|&id| [id as f32; 2]).collect();
    ///         observer(Tap {
    ///             stage: Stage { layer: None, point: TapPoint::Embedding },
    ///             position: self.len(),
    ///             width: 2,
    ///             values: &values,
    ///         });
    ///         self.extend(tokens, Want::All)
    ///     }
    ///     // …
    /// #   fn extend(&mut self, tokens: &[TokenId], _: Want) -> Result<Logits, EngineError> { self.0.extend(tokens); Ok(Logits::default()) }
    /// #   fn truncate(&mut self, len: usize) -> Result<(), EngineError> { self.0.truncate(len); Ok(()) }
    /// #   fn len(&self) -> usize { self.0.len() }
    /// #   fn kv(&self) -> Option<KvUsage> { None }
    /// }
    ///
    /// let mut session = Doubles(Vec::new());
    /// session.extend_tapped(&[7], &mut |_| {})?;
    /// let mut seen = Vec::new();
    /// session.extend_tapped(&[3, 4], &mut |tap| seen.push((tap.position, tap.values.to_vec())))?;
    /// assert_eq!(seen, [(1, vec![3.0, 3.0, 4.0, 4.0])]);
    /// # Ok::<(), EngineError>(())
    /// ```
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
    ///
    /// ```
    /// # mod successor { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/examples/successor/engine.rs")); }
    /// use harness_engine::{Engine, EngineOptions, ModelArtifact, Want};
    /// use successor::Successor;
    ///
    /// let artifact = ModelArtifact::embedded("nothing", b"");
    /// let model = Successor.open(&artifact, &EngineOptions::default())?;
    /// let mut session = model.session()?;
    /// session.extend(&[1, 2, 3], Want::None)?;
    /// session.truncate(1)?;
    /// assert_eq!(session.len(), 1);
    /// assert!(session.truncate(2).is_err());
    /// # Ok::<(), harness_engine::EngineError>(())
    /// ```
    fn truncate(&mut self, len: usize) -> Result<(), EngineError>;

    /// Number of tokens in the context.
    ///
    /// ```
    /// # mod successor { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/examples/successor/engine.rs")); }
    /// use harness_engine::{Engine, EngineOptions, ModelArtifact, Want};
    /// use successor::Successor;
    ///
    /// let artifact = ModelArtifact::embedded("nothing", b"");
    /// let model = Successor.open(&artifact, &EngineOptions::default())?;
    /// let mut session = model.session()?;
    /// assert!(session.is_empty());
    /// session.extend(&[1, 2, 3], Want::None)?;
    /// let room = model.config().context - session.len();
    /// assert_eq!(room, 61);
    /// # Ok::<(), harness_engine::EngineError>(())
    /// ```
    fn len(&self) -> usize;

    /// Whether the context holds no token.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What the KV cache of this session occupies, when the engine can tell.
    ///
    /// ```
    /// # mod successor { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/examples/successor/engine.rs")); }
    /// use harness_engine::{Engine, EngineOptions, ModelArtifact, Want};
    /// use successor::Successor;
    ///
    /// let artifact = ModelArtifact::embedded("nothing", b"");
    /// let model = Successor.open(&artifact, &EngineOptions::default())?;
    /// let mut session = model.session()?;
    /// session.extend(&[1, 2, 3], Want::None)?;
    /// // It keeps four bytes a token, and has room for 64 of them.
    /// let kv = session.kv().map(|kv| (kv.used_bytes(), kv.reserved_bytes()));
    /// assert_eq!(kv, Some((12, 256)));
    /// # Ok::<(), harness_engine::EngineError>(())
    /// ```
    fn kv(&self) -> Option<KvUsage>;

    /// What the engine took for the last [`extend`](Self::extend) by its own clock, if it
    /// has one: less than the caller waited, where a call goes through a pipe or a network.
    ///
    /// ```
    /// use std::time::Duration;
    /// use harness_engine::Session;
    /// # use harness_engine::{EngineError, KvUsage, Logits, TokenId, Want};
    ///
    /// /// What a program at the other end of a pipe said of its last answer.
    /// struct Remote {
    ///     compute_ns: u64,
    /// }
    ///
    /// impl Session for Remote {
    ///     fn last_compute(&self) -> Option<Duration> {
    ///         Some(Duration::from_nanos(self.compute_ns))
    ///     }
    ///     // …
    /// #   fn extend(&mut self, _: &[TokenId], _: Want) -> Result<Logits, EngineError> { unimplemented!() }
    /// #   fn truncate(&mut self, _: usize) -> Result<(), EngineError> { unimplemented!() }
    /// #   fn len(&self) -> usize { unimplemented!() }
    /// #   fn kv(&self) -> Option<KvUsage> { unimplemented!() }
    /// }
    ///
    /// let waited = Duration::from_micros(120);
    /// let computed = Remote { compute_ns: 100_000 }.last_compute();
    /// assert_eq!(computed.map(|computed| waited - computed), Some(Duration::from_micros(20)));
    /// ```
    fn last_compute(&self) -> Option<Duration> {
        None
    }
}

/// Which rows of logits [`Session::extend`] should return.
///
/// ```
/// use harness_engine::Want;
///
/// // A prompt of 100 tokens.
/// assert_eq!([Want::None, Want::Last, Want::All].map(|want| want.rows(100)), [0, 1, 100]);
/// ```
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
    ///
    /// An engine computes its output layer for these rows alone, the last of a call:
    ///
    /// ```
    /// use harness_engine::Want;
    ///
    /// let states = ["h0", "h1", "h2"];
    /// let wanted = |want: Want| &states[states.len() - want.rows(states.len())..];
    /// assert_eq!(wanted(Want::Last), ["h2"]);
    /// assert_eq!(wanted(Want::None), [""; 0]);
    /// ```
    #[must_use]
    pub fn rows(self, appended: usize) -> usize {
        match self {
            Want::None => 0,
            Want::Last => appended.min(1),
            Want::All => appended,
        }
    }
}
