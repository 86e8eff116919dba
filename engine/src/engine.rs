use crate::{Capability, EngineError, EngineInfo, EngineOptions, Model, ModelArtifact};

/// A way to execute language models: a library, a device, a remote process.
///
/// Engines are cheap to construct; everything expensive happens in
/// [`open`](Engine::open).
///
/// `Successor`, here and in other examples, is the engine on the [first page](crate).
///
/// ```
/// # mod successor { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/examples/successor/engine.rs")); }
/// use harness_engine::{Engine, EngineOptions, ModelArtifact, Want};
/// use successor::Successor;
///
/// let model = ModelArtifact::embedded("nothing", b"");
/// let model = Successor.open(&model, &EngineOptions::default())?;
/// let logits = model.session()?.extend(&[1, 2, 3], Want::Last)?;
/// let row = logits.row(0);
/// let best = (0..row.len()).max_by(|&a, &b| row[a].total_cmp(&row[b]));
/// assert_eq!(best, Some(4));
/// # Ok::<(), harness_engine::EngineError>(())
/// ```
pub trait Engine: Send + Sync {
    /// What this engine is, what it can do, and whether it can run here.
    ///
    /// ```
    /// # mod successor { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/examples/successor/engine.rs")); }
    /// use harness_engine::{Availability, Capability, Engine};
    /// use successor::Successor;
    ///
    /// let info = Successor.describe();
    /// assert_eq!(info.availability, Availability::Yes);
    /// // A suite that needs vectors of texts is skipped, and says why.
    /// assert!(!info.capabilities.contains(&Capability::Embeddings));
    /// ```
    fn describe(&self) -> EngineInfo;

    /// What this engine is with these `options`: for one that is another program or a
    /// server, what that says of itself. The default describes the engine alone.
    ///
    /// # Errors
    /// [`FailureKind::InvalidInput`](crate::FailureKind::InvalidInput) for bad options; whatever
    /// else went wrong with the program or server.
    ///
    /// ```
    /// # mod successor { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/examples/successor/engine.rs")); }
    /// use harness_engine::{Engine, EngineOptions};
    /// use successor::Successor;
    ///
    /// let found = Successor.probe(&EngineOptions::default())?;
    /// assert_eq!(found, Successor.describe());
    /// # Ok::<(), harness_engine::EngineError>(())
    /// ```
    fn probe(&self, options: &EngineOptions) -> Result<EngineInfo, EngineError> {
        let _ = options;
        Ok(self.describe())
    }

    /// Powers that this engine declares and lacks with this `model`, each with the reason:
    /// what the file at hand does not contain. The default finds none.
    ///
    /// ```
    /// use harness_engine::{Capability, Engine, EngineOptions, ModelArtifact};
    /// # use harness_engine::{EngineError, EngineInfo, Model};
    ///
    /// /// Has no tensors in between without a file of debug symbols.
    /// struct Compiled;
    ///
    /// impl Engine for Compiled {
    ///     fn lacking(&self, model: &ModelArtifact, _: &EngineOptions) -> Vec<(Capability, String)> {
    ///         match model.name.ends_with("-debug") {
    ///             true => Vec::new(),
    ///             false => vec![(Capability::Taps, format!("{model} has no symbols"))],
    ///         }
    ///     }
    ///     // …
    /// #   fn describe(&self) -> EngineInfo { unimplemented!() }
    /// #   fn open(&self, _: &ModelArtifact, _: &EngineOptions) -> Result<Box<dyn Model>, EngineError> { unimplemented!() }
    /// }
    ///
    /// let model = ModelArtifact::embedded("llama-1b", b"");
    /// let lacking = Compiled.lacking(&model, &EngineOptions::default());
    /// assert_eq!(lacking[0].1, "llama-1b (embedded) has no symbols");
    /// ```
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
    /// [`FailureKind::InvalidInput`](crate::FailureKind::InvalidInput), naming the offending key
    /// or value.
    ///
    /// ```
    /// # mod successor { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/examples/successor/engine.rs")); }
    /// use harness_engine::{Engine, EngineSpec};
    /// use successor::Successor;
    ///
    /// let spec: EngineSpec = "successor:threads=2".parse()?;
    /// let error = Successor.validate(&spec.options).map_err(|error| error.to_string());
    /// assert_eq!(error, Err("engine `successor` has no option `threads`; it takes none".into()));
    /// # Ok::<(), harness_engine::SpecError>(())
    /// ```
    fn validate(&self, options: &EngineOptions) -> Result<(), EngineError> {
        let info = self.describe();
        let known: Vec<&str> = info.options.iter().map(|option| option.key).collect();
        options.refuse_unknown(&info.id, &known)
    }

    /// Loads `model` and makes it ready to run.
    ///
    /// # Errors
    /// [`FailureKind::Load`](crate::FailureKind::Load) for a model this engine cannot read,
    /// [`FailureKind::Unsupported`](crate::FailureKind::Unsupported) for one it cannot run,
    /// [`FailureKind::InvalidInput`](crate::FailureKind::InvalidInput) for bad options,
    /// [`FailureKind::OutOfMemory`](crate::FailureKind::OutOfMemory) and
    /// [`FailureKind::Device`](crate::FailureKind::Device) as they arise.
    ///
    /// ```
    /// # mod successor { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/examples/successor/engine.rs")); }
    /// use harness_engine::{Engine, EngineOptions, ModelArtifact};
    /// use successor::Successor;
    ///
    /// let model = ModelArtifact::embedded("nothing", b"");
    /// let model = Successor.open(&model, &EngineOptions::default())?;
    /// assert_eq!(model.config().vocab, 8);
    /// # Ok::<(), harness_engine::EngineError>(())
    /// ```
    fn open(
        &self,
        model: &ModelArtifact,
        options: &EngineOptions,
    ) -> Result<Box<dyn Model>, EngineError>;
}
