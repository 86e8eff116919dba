//! The engine `coreml-interp`: a package behind the seam.

use std::path::Path;

use engine::{
    Availability, Capability, Embeddings, Engine, EngineError, EngineInfo, EngineOptions,
    FailureKind, KvUsage, Logits, Model, ModelArtifact, ModelConfig, NumberFormat, Numerics,
    OptionHelp, Pooling, Session, TokenId, Want,
};

use crate::error::PackageError;
use crate::interpreter::{Executable, Fault, Precision, States, compile};
use crate::package::Package;
use crate::program::Port;
use crate::spec::{FunctionDescription, Shapes};
use crate::tensor::{DataType, Tensor, elements};

/// Names that the converter gives to inputs and outputs.
const TOKENS: &str = "tokens";
const POSITION: &str = "position";
const LOGITS: &str = "logits";
const HIDDEN: &str = "hidden_states";

/// The engine `coreml-interp`: executes ML Programs on the CPU, on any system.
///
/// Every operation computes in f32 and its result is rounded to the type that
/// the program declares, unless `precision=f32` leaves the rounding out.
#[derive(Clone, Copy, Debug, Default)]
pub struct Interpreter;

impl Engine for Interpreter {
    fn describe(&self) -> EngineInfo {
        EngineInfo {
            id: "coreml-interp".into(),
            version: env!("CARGO_PKG_VERSION").into(),
            device: "cpu".into(),
            about: "Core ML packages, operation by operation on the CPU".into(),
            availability: Availability::Yes,
            capabilities: vec![
                Capability::FullLogits,
                Capability::AllLogits,
                Capability::ConcurrentSessions,
                Capability::Embeddings,
            ],
            options: vec![OptionHelp {
                key: "precision",
                default: "fp16",
                help: "fp16 rounds the result of every operation as the program declares it; f32 \
                       rounds nothing",
            }],
        }
    }

    fn validate(&self, options: &EngineOptions) -> Result<(), EngineError> {
        precision(options).map(drop)
    }

    fn open(
        &self,
        model: &ModelArtifact,
        options: &EngineOptions,
    ) -> Result<Box<dyn Model>, EngineError> {
        let precision = precision(options)?;
        let engine::ArtifactSource::Path(path) = &model.source else {
            return Err(EngineError::new(
                FailureKind::Load,
                format!(
                    "{model} is no Core ML package; name one: coreml-interp:model=NAME.mlpackage \
                     (`harness model convert --to coreml` makes it)"
                ),
            ));
        };
        let opened = InterpretedModel::open(path, precision);
        opened
            .map(|model| Box::new(model) as Box<dyn Model>)
            .map_err(|error| {
                let kind = match &error {
                    PackageError::Unsupported { .. } => FailureKind::Unsupported,
                    _ => FailureKind::Load,
                };
                EngineError::new(kind, format!("{model}: {error}")).caused_by(error)
            })
    }
}

fn precision(options: &EngineOptions) -> Result<Precision, EngineError> {
    options.refuse_unknown("coreml-interp", &["precision"])?;
    match options.get("precision") {
        None | Some("fp16") => Ok(Precision::Declared),
        Some("f32") => Ok(Precision::F32),
        Some(other) => Err(EngineError::invalid(format!(
            "engine option `precision={other}`: use fp16 or f32"
        ))),
    }
}

struct InterpretedModel {
    config: ModelConfig,
    numerics: Numerics,
    precision: Precision,
    /// Functions with states, which answer logits.
    decoders: Vec<Entry>,
    /// The function that answers hidden states, if there is one.
    encoder: Option<Entry>,
    states: Vec<Port>,
}

/// A function and the numbers of tokens it takes.
struct Entry {
    executable: Executable,
    lengths: Lengths,
}

#[derive(Clone, Debug)]
enum Lengths {
    /// In ascending order.
    These(Vec<usize>),
    FromTo(usize, usize),
}

impl Lengths {
    fn of(description: &FunctionDescription) -> Option<Self> {
        let tokens = description
            .inputs
            .iter()
            .find(|input| input.name == TOKENS)?;
        let mut lengths = match &tokens.shapes {
            Shapes::Fixed => vec![*tokens.shape.get(1)?],
            Shapes::Enumerated(list) => list
                .iter()
                .map(|shape| shape.get(1).copied())
                .collect::<Option<_>>()?,
            Shapes::Ranges(ranges) => {
                let &(from, to) = ranges.get(1)?;
                return (1 <= from && from <= to).then_some(Self::FromTo(from, to));
            }
        };
        lengths.retain(|&length| length > 0);
        lengths.sort_unstable();
        (!lengths.is_empty()).then_some(Self::These(lengths))
    }

    /// The longest that `count` tokens fill.
    fn longest_within(&self, count: usize) -> Option<usize> {
        match self {
            Lengths::These(list) => list.iter().copied().rfind(|&length| length <= count),
            Lengths::FromTo(from, to) => (*from <= count).then_some(count.min(*to)),
        }
    }

    /// The shortest that `count` tokens fit in.
    fn shortest_around(&self, count: usize) -> Option<usize> {
        match self {
            Lengths::These(list) => list.iter().copied().find(|&length| length >= count),
            Lengths::FromTo(from, to) => (count <= *to).then_some(count.max(*from)),
        }
    }
}

impl InterpretedModel {
    fn open(path: &Path, precision: Precision) -> Result<Self, PackageError> {
        let package = Package::open(path)?;
        let config = package.config()?;
        let specification = &package.specification;
        let mut shared = Default::default();
        let (mut decoders, mut encoder, mut states) = (Vec::new(), None, Vec::<Port>::new());
        for description in &specification.functions {
            let name = &description.name;
            let place = format!("function `{name}`");
            let Some(function) = specification.program.functions.get(name) else {
                return Err(PackageError::program(place, "is described and not there"));
            };
            let answers = |name: &str| function.outputs.iter().any(|output| output == name);
            if !answers(LOGITS) && !answers(HIDDEN) {
                continue;
            }
            let lengths = Lengths::of(description).ok_or_else(|| {
                PackageError::program(&place, format!("has no input `{TOKENS}` of [1, tokens]"))
            })?;
            let executable = compile(name, function, &package.weights, &mut shared)?;
            let entry = Entry {
                executable,
                lengths,
            };
            if answers(HIDDEN) {
                encoder = Some(entry);
                continue;
            }
            for state in &function.states {
                match states.iter().find(|known| known.name == state.name) {
                    None => states.push(state.clone()),
                    Some(known) if known.ty == state.ty => {}
                    Some(_) => {
                        let problem = format!("state `{}` is another elsewhere", state.name);
                        return Err(PackageError::program(place, problem));
                    }
                }
            }
            decoders.push(entry);
        }
        if decoders.is_empty() {
            return Err(PackageError::Specification(format!(
                "no function takes `{TOKENS}` and answers `{LOGITS}`"
            )));
        }
        for state in &states {
            let shape = state.ty.fixed();
            let sized = shape.is_some_and(|shape| elements(&shape).is_ok());
            if !sized || !state.ty.dtype.is_float() {
                let place = format!("state `{}`", state.name);
                return Err(PackageError::program(place, "has no fixed size"));
            }
        }
        let rounded = match precision {
            Precision::Declared => NumberFormat::F16,
            Precision::F32 => NumberFormat::F32,
        };
        Ok(Self {
            numerics: Numerics {
                weights: config.scheme.format(),
                activations: rounded,
                kv: rounded,
            },
            config: config.model,
            precision,
            decoders,
            encoder,
            states,
        })
    }

    /// The function for the next of `count` tokens, and how many it takes.
    fn entry_for(&self, count: usize) -> Result<(&Entry, usize), EngineError> {
        let entries = self.decoders.iter();
        let fitting =
            entries.filter_map(|entry| Some((entry, entry.lengths.longest_within(count)?)));
        fitting.max_by_key(|(_, length)| *length).ok_or_else(|| {
            let all: Vec<_> = self.decoders.iter().map(|entry| &entry.lengths).collect();
            EngineError::new(
                FailureKind::Unsupported,
                format!("no function of the package takes {count} tokens, only {all:?}"),
            )
        })
    }
}

/// `tokens` as a program takes them.
fn token_tensor(tokens: &[TokenId]) -> Tensor {
    let values = tokens.iter().map(|&id| id as i32).collect();
    Tensor::ints(DataType::Int32, &[1, tokens.len()], values)
}

fn failed(fault: Fault) -> EngineError {
    EngineError::new(FailureKind::Load, fault.to_string()).caused_by(fault)
}

impl Model for InterpretedModel {
    fn config(&self) -> &ModelConfig {
        &self.config
    }

    fn numerics(&self) -> Numerics {
        self.numerics
    }

    fn session(&self) -> Result<Box<dyn Session + '_>, EngineError> {
        let zeros = |port: &Port| {
            let shape = port.ty.fixed().unwrap_or_default();
            let count = shape.iter().product();
            (
                port.name.clone(),
                Tensor::floats(port.ty.dtype, &shape, vec![0.0; count]),
            )
        };
        Ok(Box::new(InterpretedSession {
            model: self,
            states: self.states.iter().map(zeros).collect(),
            len: 0,
        }))
    }

    fn shared(&self) -> Option<&(dyn Model + Sync)> {
        Some(self)
    }

    fn embed(&self, texts: &[&[TokenId]], pooling: Pooling) -> Result<Embeddings, EngineError> {
        let unsupported = |why: &str| EngineError::new(FailureKind::Unsupported, why);
        let Some(encoder) = &self.encoder else {
            return Err(unsupported(
                "the package has no function `encode`; convert it with --functions multi --encode",
            ));
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
            let length = encoder.lengths.shortest_around(text.len()).ok_or_else(|| {
                unsupported("the text is longer than the function `encode` takes")
            })?;
            // What follows a token does not reach it.
            let mut padded = text.to_vec();
            padded.resize(length, 0);
            let inputs = [(TOKENS, token_tensor(&padded))];
            let mut none = States::default();
            let states = encoder
                .executable
                .run(&inputs, &mut none, HIDDEN, self.precision);
            let states = states.map_err(failed)?;
            let rows = states
                .as_floats()
                .filter(|rows| rows.len() == length * hidden);
            let rows = rows.ok_or_else(|| {
                EngineError::new(FailureKind::Protocol, "hidden states of another size")
            })?;
            let rows: Vec<&[f32]> = rows.chunks(hidden).take(text.len()).collect();
            values.extend(pooled(&rows, pooling));
        }
        Embeddings::new(hidden, values)
            .ok_or_else(|| EngineError::new(FailureKind::Protocol, "a ragged embedding"))
    }
}

fn pooled(rows: &[&[f32]], pooling: Pooling) -> Vec<f32> {
    let Some(last) = rows.last() else {
        return Vec::new();
    };
    if pooling == Pooling::Last {
        return last.to_vec();
    }
    let mean = |column: usize| {
        let sum: f64 = rows.iter().map(|row| f64::from(row[column])).sum();
        (sum / rows.len() as f64) as f32
    };
    (0..last.len()).map(mean).collect()
}

struct InterpretedSession<'a> {
    model: &'a InterpretedModel,
    states: States,
    len: usize,
}

impl Session for InterpretedSession<'_> {
    /// What a failed call leaves in the caches lies behind the context's end, where
    /// no token looks before it is written again.
    fn extend(&mut self, tokens: &[TokenId], want: Want) -> Result<Logits, EngineError> {
        let model = self.model;
        let vocab = model.config.vocab;
        engine::check_extend(tokens, self.len, &model.config)?;
        let rows = want.rows(tokens.len());
        let mut values = Vec::with_capacity(rows * vocab);
        let mut done = 0;
        while done < tokens.len() {
            let (entry, count) = model.entry_for(tokens.len() - done)?;
            let position = (self.len + done) as i32;
            let inputs = [
                (TOKENS, token_tensor(&tokens[done..done + count])),
                (
                    POSITION,
                    Tensor::ints(DataType::Int32, &[1], vec![position]),
                ),
            ];
            let run = entry
                .executable
                .run(&inputs, &mut self.states, LOGITS, model.precision);
            let logits = run.map_err(failed)?;
            let answered = logits
                .as_floats()
                .filter(|logits| logits.len() == count * vocab);
            let answered = answered.ok_or_else(|| {
                EngineError::new(
                    FailureKind::Protocol,
                    format!("logits of shape {:?} for {count} tokens", logits.shape()),
                )
            })?;
            done += count;
            // Rows wanted of those behind this piece's end belong to later pieces.
            let wanted = rows.saturating_sub(tokens.len() - done).min(count);
            values.extend_from_slice(&answered[(count - wanted) * vocab..]);
        }
        self.len += tokens.len();
        Logits::new(vocab, values)
            .ok_or_else(|| EngineError::new(FailureKind::Protocol, "a ragged row of logits"))
    }

    fn truncate(&mut self, len: usize) -> Result<(), EngineError> {
        engine::check_truncate(len, self.len)?;
        self.len = len;
        Ok(())
    }

    fn len(&self) -> usize {
        self.len
    }

    fn kv(&self) -> Option<KvUsage> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prompts_are_cut_into_lengths_that_functions_take() {
        let list = Lengths::These(vec![1, 32, 256]);
        assert_eq!(list.longest_within(300), Some(256));
        assert_eq!(list.longest_within(31), Some(1));
        assert_eq!(list.shortest_around(33), Some(256));
        assert_eq!(list.shortest_around(257), None);
        let range = Lengths::FromTo(4, 64);
        assert_eq!(range.longest_within(3), None);
        assert_eq!(range.longest_within(65), Some(64));
        assert_eq!(range.shortest_around(2), Some(4));
    }
}
