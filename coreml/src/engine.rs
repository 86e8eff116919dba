//! A package behind the seam, whatever executes it.

use std::path::Path;

use engine::{
    Embeddings, EngineError, FailureKind, Model, ModelArtifact, ModelConfig, NumberFormat,
    Numerics, Placement, Pooling, Session, TokenId,
};

use crate::backend::{Backend, Wanted};
use crate::error::PackageError;
use crate::names::Names;
use crate::package::Package;
use crate::pooling::pooled;
use crate::session::DecoderSession;
use crate::shape::Shape;
use crate::signature::{Answer, Signature, Widths};

/// A language model whose functions `B` executes.
pub(crate) struct Decoder<B: Backend> {
    pub(crate) backend: B,
    pub(crate) config: ModelConfig,
    numerics: Numerics,
    /// Functions that answer logits.
    decoders: Vec<Entry<B>>,
    /// The function that answers hidden states, if there is one.
    encoder: Option<Entry<B>>,
}

/// A function and how it is to be called.
pub(crate) struct Entry<B: Backend> {
    pub(crate) function: B::Function,
    pub(crate) signature: Signature,
    stateful: bool,
}

/// What to call for the next tokens, and how many of them fit.
pub(crate) struct Piece<'a, B: Backend> {
    pub(crate) entry: &'a Entry<B>,
    /// Tokens that the call takes.
    pub(crate) length: usize,
    /// Tokens of those that are there; what is behind them is padding.
    pub(crate) count: usize,
}

/// The file or folder of `model`.
///
/// # Errors
/// `Load` for a model that is no package.
pub(crate) fn path<'a>(model: &'a ModelArtifact, engine: &str) -> Result<&'a Path, EngineError> {
    match (&model.source, model.format) {
        (engine::ArtifactSource::Path(path), engine::ArtifactFormat::CoreMl) => Ok(path),
        _ => Err(EngineError::new(
            FailureKind::Load,
            format!(
                "{model} is no Core ML package; name one: {engine}:model=NAME.mlpackage \
                 (`harness model convert --to coreml` makes it)"
            ),
        )),
    }
}

/// What is wrong with `model`, as engines fail.
pub(crate) fn refused(model: &ModelArtifact, error: PackageError) -> EngineError {
    let kind = match &error {
        PackageError::Unsupported { .. } => FailureKind::Unsupported,
        _ => FailureKind::Load,
    };
    EngineError::new(kind, format!("{model}: {error}")).caused_by(error)
}

/// The functions of `package` that are those of a language model.
///
/// # Errors
/// [`PackageError`] when there are none, or what they want cannot be told.
pub(crate) fn signatures(
    package: &Package,
    names: &Names,
) -> Result<Vec<(String, Signature)>, PackageError> {
    let specification = &package.specification;
    names.exist_in(specification)?;
    let mut found = Vec::new();
    for description in &specification.functions {
        let name = &description.name;
        let Some(function) = specification.program.functions.get(name) else {
            let place = format!("function `{name}`");
            return Err(PackageError::program(place, "is described and not there"));
        };
        if let Some(signature) = Signature::of(description, function, names)? {
            found.push((name.clone(), signature));
        }
    }
    if !found.iter().any(|(_, s)| s.answer == Answer::Logits) {
        return Err(PackageError::Specification(
            "no function takes token ids and answers logits; name them by ids= and logits=".into(),
        ));
    }
    Ok(found)
}

impl<B: Backend> Decoder<B> {
    /// Loads the functions of `package`, read as [`signatures`] tells, by `backend`, which
    /// rounds activations to `rounded`.
    ///
    /// # Errors
    /// Those of [`engine::Engine::open`].
    pub(crate) fn open(
        artifact: &ModelArtifact,
        package: &Package,
        signatures: Vec<(String, Signature)>,
        names: &Names,
        rounded: NumberFormat,
        mut backend: B,
    ) -> Result<Self, EngineError> {
        let (mut decoders, mut encoder, mut shape) = (Vec::new(), None, None);
        for (name, signature) in signatures {
            let Some(described) = package.specification.program.functions.get(&name) else {
                continue;
            };
            if shape.is_none() && signature.answer == Answer::Logits {
                let found = Shape::of(package, described, &signature, names);
                shape = Some(found.map_err(|error| refused(artifact, error))?);
            }
            let entry = Entry {
                function: backend.load(&name)?,
                stateful: !described.states.is_empty(),
                signature,
            };
            match entry.signature.answer {
                Answer::Logits => decoders.push(entry),
                Answer::HiddenStates => encoder = Some(entry),
            }
        }
        let shape = shape.ok_or_else(|| protocol("no function answers logits"))?;
        Ok(Self {
            backend,
            numerics: Numerics {
                weights: shape.weights,
                activations: rounded,
                kv: rounded,
            },
            config: shape.model,
            decoders,
            encoder,
        })
    }

    /// States of an empty context; all functions share them.
    pub(crate) fn states(&self) -> Result<B::States, EngineError> {
        let first = self.decoders.first();
        let first = first.ok_or_else(|| protocol("no function answers logits"))?;
        self.backend.states(&first.function)
    }

    /// Whether states may hold more tokens than the context has.
    pub(crate) fn rewinds(&self) -> bool {
        self.decoders.iter().all(|entry| entry.signature.rewinds())
    }

    /// The function for the next of `count` tokens after `position`: the one that takes
    /// most of them, or else the one that needs the least padding.
    pub(crate) fn piece(&self, position: usize, count: usize) -> Result<Piece<'_, B>, EngineError> {
        let entries = || self.decoders.iter();
        let filled = entries().filter_map(|entry| {
            let length = entry.signature.lengths.longest_within(count)?;
            Some((entry, length))
        });
        if let Some((entry, length)) = filled.max_by_key(|(_, length)| *length) {
            return Ok(Piece {
                entry,
                length,
                count: length,
            });
        }
        let padded = entries().filter_map(|entry| {
            let length = entry.signature.lengths.shortest_around(count)?;
            let room = match entry.signature.widths {
                Some(Widths::End(most)) => most.min(self.config.context),
                _ => self.config.context,
            };
            // Padding is written into the states, and overwritten where that is possible.
            let fits = self.rewinds() && position + length <= room;
            fits.then_some((entry, length))
        });
        let padded = padded.min_by_key(|(_, length)| *length);
        let (entry, length) = padded.ok_or_else(|| {
            let all: Vec<_> = entries().map(|entry| &entry.signature.lengths).collect();
            EngineError::new(
                FailureKind::Unsupported,
                format!(
                    "no function of the package takes {count} tokens after {position}, only {all:?}"
                ),
            )
        })?;
        Ok(Piece {
            entry,
            length,
            count,
        })
    }
}

impl<B: Backend> Entry<B> {
    /// Calls the function on `tokens` from `position` on, and returns the rows of
    /// `wanted` of them, `width` values each.
    pub(crate) fn call(
        &self,
        backend: &B,
        (tokens, position): (&[TokenId], usize),
        states: Option<&mut B::States>,
        wanted: std::ops::Range<usize>,
        width: usize,
    ) -> Result<Vec<f32>, EngineError> {
        let count = wanted.len();
        let inputs = self.signature.inputs(tokens, position);
        let wanted = Wanted {
            outputs: &self.signature.outputs,
            tokens: tokens.len(),
            rows: wanted,
        };
        let states = states.filter(|_| self.stateful);
        let parts = backend.call(&self.function, &inputs, states, &wanted)?;
        let answered: usize = parts.iter().map(|part| part.width).sum();
        let whole = |part: &crate::backend::Rows| part.values.len() == count * part.width;
        if answered != width || !parts.iter().all(whole) {
            return Err(protocol(&format!(
                "rows of {answered} values, where {width} are due"
            )));
        }
        if let [_] = parts[..] {
            return Ok(parts.into_iter().flat_map(|part| part.values).collect());
        }
        let mut values = Vec::with_capacity(count * width);
        for row in 0..count {
            for part in &parts {
                values.extend_from_slice(&part.values[row * part.width..(row + 1) * part.width]);
            }
        }
        Ok(values)
    }
}

pub(crate) fn protocol(what: &str) -> EngineError {
    EngineError::new(FailureKind::Protocol, what)
}

impl<B: Backend> Model for Decoder<B> {
    fn config(&self) -> &ModelConfig {
        &self.config
    }

    fn numerics(&self) -> Numerics {
        self.numerics
    }

    fn session(&self) -> Result<Box<dyn Session + '_>, EngineError> {
        Ok(Box::new(DecoderSession::new(self)?))
    }

    fn shared(&self) -> Option<&(dyn Model + Sync)> {
        B::shared(self)
    }

    fn placement(&self) -> Result<Placement, EngineError> {
        self.backend.placement()
    }

    fn embed(&self, texts: &[&[TokenId]], pooling: Pooling) -> Result<Embeddings, EngineError> {
        let unsupported = |why: &str| EngineError::new(FailureKind::Unsupported, why);
        let Some(encoder) = &self.encoder else {
            return Err(unsupported(NO_ENCODER));
        };
        if pooling == Pooling::Cls {
            return Err(unsupported(
                "the first token of a decoder has seen nothing of the text",
            ));
        }
        let hidden = self.config.hidden;
        let mut values = Vec::with_capacity(texts.len() * hidden);
        for text in texts {
            engine::check_extend(text, 0, &self.config)?;
            let length = encoder.signature.lengths.shortest_around(text.len());
            let length = length.ok_or_else(|| {
                unsupported("the text is longer than the function `encode` takes")
            })?;
            // What follows a token does not reach it.
            let mut padded = text.to_vec();
            padded.resize(length, 0);
            let wanted = 0..text.len();
            let rows = encoder.call(&self.backend, (&padded, 0), None, wanted, hidden)?;
            let rows: Vec<&[f32]> = rows.chunks(hidden).collect();
            values.extend(pooled(&rows, pooling));
        }
        Embeddings::new(hidden, values).ok_or_else(|| protocol("a ragged embedding"))
    }
}

/// Why a package has no embeddings.
pub(crate) const NO_ENCODER: &str =
    "the package has no function `encode`; convert it with --functions multi --encode";
