//! Models and sessions of another program.

use std::borrow::Cow;
use std::cell::RefCell;
use std::io::Write;
use std::path::Path;
use std::time::Duration;

use engine::{
    ArtifactSource, Capability, Embeddings, EngineError, EngineOptions, EvictionPolicy,
    FailureKind, KvLayer, KvUsage, Logits, Model, ModelArtifact, ModelConfig, Numerics, Pooling,
    Session, Tap, TapObserver, TapPoint, TokenId, TopLogits, Want,
};
use tempfile::NamedTempFile;

use super::connection::{Connection, Expected, OnTap};
use super::message::{Ask, ModelFile, Reply, TapLine};
use super::{Greeting, missing, protocol};

/// Logits that are asked for at once, at most: 64 MiB. More positions are read in pieces.
const LOGITS: usize = 16 << 20;

/// Largest vocabulary and context that are believed.
const MOST: usize = 1 << 24;

/// Opening a model reads all of it. No disk is slower than this.
const SLOWEST_OPENING_BYTES_PER_S: u64 = 10_000_000;

/// A model that another program has opened.
pub(super) struct RemoteModel {
    connection: RefCell<Connection>,
    greeting: Greeting,
    config: ModelConfig,
    numerics: Numerics,
    /// The embedded model, as the program cannot read this one's memory.
    _file: Option<NamedTempFile>,
}

impl RemoteModel {
    pub(super) fn open(
        mut connection: Connection,
        greeting: Greeting,
        model: &ModelArtifact,
        options: &EngineOptions,
    ) -> Result<Self, EngineError> {
        let (path, file) = on_disk(model)?;
        let ask = Ask::Open {
            model: ModelFile {
                path: path.to_string_lossy(),
                format: model.format.name(),
                name: &model.name,
                sha256: &model.sha256,
            },
            options: options.iter().collect(),
        };
        let timeout = connection.timeout;
        connection.timeout += Duration::from_secs(model.size_bytes / SLOWEST_OPENING_BYTES_PER_S);
        let (config, numerics) = connection.ask(ask, Expected::SHORT, |reply| {
            let config = reply.config.ok_or_else(|| missing("config"))?;
            let numerics = reply.numerics.ok_or_else(|| missing("numerics"))?;
            for (what, value) in [("vocab", config.vocab), ("context", config.context)] {
                if value == 0 || value > MOST {
                    return Err(format!("{what} cannot be {value}"));
                }
            }
            Ok((config, numerics))
        })?;
        connection.timeout = timeout;
        Ok(Self {
            connection: RefCell::new(connection),
            greeting,
            config,
            numerics,
            _file: file,
        })
    }

    fn ask<T>(
        &self,
        ask: Ask<'_>,
        expected: Expected<'_>,
        read: impl FnOnce(Reply<'_>) -> Result<T, String>,
    ) -> Result<T, EngineError> {
        self.connection.borrow_mut().ask(ask, expected, read)
    }

    /// `rows` rows of logits, if they are in `reply`.
    fn logits(&self, reply: &Reply<'_>, rows: usize) -> Result<Logits, String> {
        if rows == 0 {
            return Ok(Logits::default());
        }
        let vocab = self.config.vocab;
        let logits = match (&reply.logits, &reply.top) {
            (Some(logits), _) => {
                let values = logits.decode().map_err(|why| format!("logits: {why}"))?;
                let count = values.len();
                Logits::new(vocab, values)
                    .ok_or_else(|| format!("{count} logits are no rows of {vocab}"))?
            }
            (None, Some(_)) if self.greeting.can(Capability::FullLogits) => {
                return Err("it declares full_logits and gives top".into());
            }
            (None, Some(top)) => {
                let rows = top.iter().map(|row| TopLogits {
                    tokens: row.tokens.clone(),
                    logits: row.logits.clone(),
                    logsumexp: row.logsumexp,
                });
                Logits::completed(vocab, &rows.collect::<Vec<_>>())
                    .map_err(|why| format!("top: {why}"))?
            }
            (None, None) => return Err(missing("logits")),
        };
        match logits.rows() {
            given if given == rows => Ok(logits),
            given => Err(format!("{given} rows of logits instead of {rows}")),
        }
    }
}

/// Where another program finds `model`, and the file that is there for as long as it is kept.
fn on_disk(model: &ModelArtifact) -> Result<(Cow<'_, Path>, Option<NamedTempFile>), EngineError> {
    let bytes = match &model.source {
        // The program may be started elsewhere.
        ArtifactSource::Path(path) => {
            let absolute = std::path::absolute(path);
            return Ok((absolute.map_or(Cow::Borrowed(path), Cow::Owned), None));
        }
        ArtifactSource::Embedded(bytes) => bytes,
    };
    let written = tempfile::Builder::new()
        .prefix("harness-")
        .suffix(".gguf")
        .tempfile()
        .and_then(|mut file| file.write_all(bytes).map(|()| file));
    match written {
        Ok(file) => Ok((file.path().to_owned().into(), Some(file))),
        Err(error) => Err(EngineError::new(
            FailureKind::Load,
            format!("cannot write {model} where another program could read it: {error}"),
        )
        .caused_by(error)),
    }
}

impl Model for RemoteModel {
    fn config(&self) -> &ModelConfig {
        &self.config
    }

    fn numerics(&self) -> Numerics {
        self.numerics
    }

    fn session(&self) -> Result<Box<dyn Session + '_>, EngineError> {
        let id = self.ask(Ask::Session, Expected::SHORT, |reply| {
            reply.session.ok_or_else(|| missing("session"))
        })?;
        Ok(Box::new(RemoteSession {
            model: self,
            id,
            len: 0,
            last_compute: None,
        }))
    }

    fn in_this_process(&self) -> bool {
        false
    }

    fn embed(&self, texts: &[&[TokenId]], pooling: Pooling) -> Result<Embeddings, EngineError> {
        if !self.greeting.can(Capability::Embeddings) {
            let why = "this engine has no embeddings";
            return Err(EngineError::new(FailureKind::Unsupported, why));
        }
        let most = texts
            .len()
            .saturating_mul(self.config.hidden.clamp(1, MOST));
        self.ask(
            Ask::Embed { texts, pooling },
            Expected::floats(most),
            |reply| {
                let width = reply.width.ok_or_else(|| missing("width"))?;
                let values = reply.embeddings.ok_or_else(|| missing("embeddings"))?;
                let values = values
                    .decode()
                    .map_err(|why| format!("embeddings: {why}"))?;
                let count = values.len();
                Embeddings::new(width, values)
                    .ok_or_else(|| format!("{count} values are no embeddings of width {width}"))
            },
        )
    }
}

/// A context of another program.
struct RemoteSession<'a> {
    model: &'a RemoteModel,
    id: u64,
    len: usize,
    last_compute: Option<Duration>,
}

impl RemoteSession<'_> {
    /// Appends `tokens` by one request.
    fn append(
        &mut self,
        tokens: &[TokenId],
        want: Want,
        on_tap: Option<OnTap<'_>>,
    ) -> Result<Logits, EngineError> {
        let model = self.model;
        let rows = want.rows(tokens.len());
        // A tap is no wider than a row of logits or of the network's layers.
        let width = match on_tap {
            Some(_) => model.config.vocab.max(widest_tap(&model.config)),
            None => model.config.vocab,
        };
        let ask = Ask::Extend {
            session: self.id,
            tokens,
            want: match want {
                Want::None => "none",
                Want::Last => "last",
                Want::All => "all",
            },
            taps: on_tap.is_some(),
        };
        let expected = Expected {
            on_tap,
            ..Expected::floats(rows.saturating_mul(width))
        };
        let grown = self.len + tokens.len();
        let (logits, compute_ns) = model.ask(ask, expected, |reply| {
            grew(&reply, grown)?;
            Ok((model.logits(&reply, rows)?, reply.compute_ns))
        })?;
        self.len = grown;
        let computed = compute_ns.map(Duration::from_nanos);
        self.last_compute = match (self.last_compute, computed) {
            (Some(before), Some(now)) => Some(before + now),
            _ => None,
        };
        Ok(logits)
    }
}

impl Session for RemoteSession<'_> {
    fn extend(&mut self, tokens: &[TokenId], want: Want) -> Result<Logits, EngineError> {
        self.last_compute = Some(Duration::ZERO);
        let vocab = self.model.config.vocab;
        let piece = (LOGITS / vocab).max(1);
        if want != Want::All || tokens.len() <= piece {
            return self.append(tokens, want, None);
        }
        let before = self.len;
        let mut values = Vec::with_capacity(tokens.len() * vocab);
        for tokens in tokens.chunks(piece) {
            match self.append(tokens, want, None) {
                Ok(logits) => values.extend_from_slice(logits.values()),
                Err(error) => {
                    // All or nothing.
                    self.truncate(before)?;
                    return Err(error);
                }
            }
        }
        Logits::new(vocab, values).ok_or_else(|| protocol("ragged rows of logits"))
    }

    fn extend_tapped(
        &mut self,
        tokens: &[TokenId],
        observer: TapObserver<'_>,
    ) -> Result<Logits, EngineError> {
        if !self.model.greeting.can(Capability::Taps) {
            let why = "this engine hands over no intermediate tensors";
            return Err(EngineError::new(FailureKind::Unsupported, why));
        }
        self.last_compute = Some(Duration::ZERO);
        let mut taps = Taps {
            range: self.len..self.len + tokens.len(),
            left: (self.model.config.layers.saturating_add(1))
                .saturating_mul(TapPoint::ALL.len())
                .saturating_mul(tokens.len()),
            observer,
        };
        self.append(tokens, Want::All, Some(&mut |tap| taps.take(&tap)))
    }

    fn truncate(&mut self, len: usize) -> Result<(), EngineError> {
        let session = self.id;
        self.model
            .ask(Ask::Truncate { session, len }, Expected::SHORT, |reply| {
                grew(&reply, len)
            })?;
        self.len = len;
        Ok(())
    }

    fn len(&self) -> usize {
        self.len
    }

    fn kv(&self) -> Option<KvUsage> {
        if !self.model.greeting.can(Capability::KvUsage) {
            return None;
        }
        let ask = Ask::Kv { session: self.id };
        let layers = self.model.ask(ask, Expected::SHORT, |reply| {
            reply.layers.ok_or_else(|| missing("layers"))
        });
        // What is wrong shows at the next request.
        let layers = layers.ok()?.into_iter().map(|layer| KvLayer {
            reserved_bytes: layer.reserved_bytes,
            used_bytes: layer.used_bytes,
            policy: match layer.window {
                None => EvictionPolicy::None,
                Some(tokens) => EvictionPolicy::Window { tokens },
            },
            ranges: Vec::new(),
        });
        Some(KvUsage {
            layers: layers.collect(),
        })
    }

    fn last_compute(&self) -> Option<Duration> {
        self.last_compute
    }
}

impl Drop for RemoteSession<'_> {
    fn drop(&mut self) {
        let session = self.id;
        let close = Ask::Close { session };
        let _ = self.model.ask(close, Expected::SHORT, |_| Ok(()));
    }
}

/// Checks the length that a context is said to have now.
fn grew(reply: &Reply<'_>, expected: usize) -> Result<(), String> {
    match reply.len {
        Some(len) if len == expected => Ok(()),
        Some(len) => Err(format!("a context of {len} tokens instead of {expected}")),
        None => Err(missing("len")),
    }
}

fn widest_tap(config: &ModelConfig) -> usize {
    let widths = TapPoint::ALL.map(|point| point.width(config));
    widths.into_iter().fold(0, usize::max).min(MOST)
}

/// Taps of one request, held to what there can be.
struct Taps<'a> {
    /// Positions of the tokens that are read.
    range: std::ops::Range<usize>,
    /// Lines that may come yet.
    left: usize,
    observer: TapObserver<'a>,
}

impl Taps<'_> {
    fn take(&mut self, tap: &TapLine<'_>) -> Result<(), String> {
        self.left = self.left.checked_sub(1).ok_or("taps without end")?;
        let stage = tap.stage;
        let values = tap
            .values
            .decode()
            .map_err(|why| format!("tap {stage}: {why}"))?;
        if tap.width == 0 || !values.len().is_multiple_of(tap.width) {
            let count = values.len();
            return Err(format!(
                "tap {stage}: {count} values are no rows of {}",
                tap.width
            ));
        }
        let end = tap.position.saturating_add(values.len() / tap.width);
        if tap.position < self.range.start || end > self.range.end {
            return Err(format!(
                "tap {stage}: positions {}..{end} were not read",
                tap.position
            ));
        }
        (self.observer)(Tap {
            stage,
            position: tap.position,
            width: tap.width,
            values: &values,
        });
        Ok(())
    }
}
