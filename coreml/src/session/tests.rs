//! Contexts on a backend of a few lines, which shows what it was asked.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;

use engine::{EngineError, FailureKind, ModelArtifact, NumberFormat, Session, TokenId, Want};

use super::DecoderSession;
use crate::backend::{Backend, Rows, Wanted};
use crate::engine::{Decoder, signatures};
use crate::names::Names;
use crate::package::Package;
use crate::program::{Function, Operation, Port, Program, TensorType};
use crate::spec::{Feature, FunctionDescription, Shapes, Specification};
use crate::tensor::{DataType, Tensor};

const VOCAB: usize = 8;

/// Answers for each token a row that holds the sum of all tokens so far, in every place.
#[derive(Default)]
struct Summing {
    /// Calls until one fails.
    until_failure: Cell<Option<usize>>,
    /// Shapes of the tokens of each call.
    calls: RefCell<Vec<usize>>,
}

/// Tokens by their places: a cache that is told where to write, or one that counts.
type Cache = Vec<f32>;

impl Backend for Summing {
    type Function = ();
    type States = Cache;

    fn load(&mut self, _: &str) -> Result<(), EngineError> {
        Ok(())
    }

    fn states(&self, _: &()) -> Result<Cache, EngineError> {
        Ok(Cache::new())
    }

    fn call(
        &self,
        _: &(),
        inputs: &[(&str, Tensor)],
        states: Option<&mut Cache>,
        wanted: &Wanted<'_>,
    ) -> Result<Vec<Rows>, EngineError> {
        let input = |name: &str| {
            let (_, value) = inputs.iter().find(|(given, _)| *given == name)?;
            Some(value.to_floats().unwrap())
        };
        let (tokens, cache) = (input("tokens").unwrap(), states.unwrap());
        self.calls.borrow_mut().push(tokens.len());
        if let Some(place) = input("position") {
            cache.truncate(place[0] as usize);
            assert_eq!(cache.len(), place[0] as usize);
        }
        let mut values = Vec::new();
        for token in tokens.iter() {
            cache.push(*token);
            values.extend([cache.iter().sum::<f32>(); VOCAB]);
        }
        match self.until_failure.get() {
            Some(0) => {
                self.until_failure.set(None);
                return Err(EngineError::new(FailureKind::Device, "lost"));
            }
            left => self.until_failure.set(left.map(|left| left - 1)),
        }
        let (extent, width) = wanted.extent("logits", &[1, tokens.len(), VOCAB])?;
        Ok(vec![Rows {
            width,
            values: values[extent].to_vec(),
        }])
    }
}

fn feature(name: &str, shape: &[usize], shapes: Shapes) -> Feature {
    Feature {
        name: name.into(),
        dtype: Some(DataType::Int32),
        shape: shape.into(),
        shapes,
    }
}

/// A model of one function that takes tokens in `shapes`, and their place if it is `told`.
fn model(shape: usize, shapes: Shapes, told: bool, backend: Summing) -> Decoder<Summing> {
    let mut inputs = vec![feature("tokens", &[1, shape], shapes)];
    if told {
        inputs.push(feature("position", &[1], Shapes::Fixed));
    }
    let float = |name: &str, shape: &[Option<usize>]| Port {
        name: name.into(),
        ty: TensorType {
            dtype: DataType::Float16,
            shape: shape.into(),
        },
    };
    let function = Function {
        opset: "CoreML8".into(),
        inputs: Vec::new(),
        states: vec![float("cache", &[Some(1), Some(1), Some(16), Some(4)])],
        operations: vec![Operation {
            kind: "identity".into(),
            name: "logits".into(),
            inputs: BTreeMap::new(),
            outputs: vec![float("logits", &[Some(1), None, Some(VOCAB)])],
            value: None,
            blocks: 0,
        }],
        outputs: vec!["logits".into()],
    };
    let package = Package {
        specification: Specification {
            version: 9,
            functions: vec![FunctionDescription {
                name: "main".into(),
                inputs,
                outputs: Vec::new(),
                states: Vec::new(),
            }],
            default_function: "main".into(),
            model_version: String::new(),
            about: String::new(),
            metadata: BTreeMap::new(),
            program: Program {
                functions: [("main".to_owned(), function)].into(),
            },
        },
        weights: Default::default(),
        vocabulary: None,
    };
    let names = Names::default();
    let found = signatures(&package, &names).unwrap();
    let artifact = ModelArtifact::embedded("none", b"none");
    Decoder::open(
        &artifact,
        &package,
        found,
        &names,
        NumberFormat::F16,
        backend,
    )
    .unwrap()
}

fn last(session: &mut DecoderSession<'_, Summing>, tokens: &[TokenId]) -> f32 {
    session.extend(tokens, Want::Last).unwrap().row(0)[0]
}

fn range(from: usize, to: usize) -> Shapes {
    Shapes::Ranges(vec![(1, 1), (from, to)])
}

#[test]
fn a_function_that_counts_by_itself_goes_back_by_reading_again() {
    let model = model(1, range(1, 4), false, Summing::default());
    assert!(!model.rewinds());
    let mut session = DecoderSession::new(&model).unwrap();
    assert_eq!(last(&mut session, &[1, 2, 3, 4, 5]), 15.0);
    session.truncate(2).unwrap();
    assert_eq!(last(&mut session, &[7]), 10.0);
    assert_eq!(*model.backend.calls.borrow(), [4, 1, 2, 1]);
    session.truncate(3).unwrap();
    session.truncate(0).unwrap();
    assert_eq!(last(&mut session, &[1]), 1.0);
}

#[test]
fn a_function_that_is_told_its_place_goes_back_for_nothing() {
    let model = model(1, range(1, 4), true, Summing::default());
    assert!(model.rewinds());
    let mut session = DecoderSession::new(&model).unwrap();
    assert_eq!(last(&mut session, &[1, 2, 3, 4, 5]), 15.0);
    session.truncate(2).unwrap();
    assert_eq!(last(&mut session, &[7]), 10.0);
    assert_eq!(*model.backend.calls.borrow(), [4, 1, 1]);
}

#[test]
fn after_a_failure_lost_states_are_rebuilt() {
    for told in [false, true] {
        let backend = Summing::default();
        backend.until_failure.set(Some(2));
        let model = model(1, range(1, 4), told, backend);
        let mut session = DecoderSession::new(&model).unwrap();
        session.extend(&[1, 2], Want::None).unwrap();
        let error = session.extend(&[3, 3, 3, 3, 3, 3], Want::Last).unwrap_err();
        assert_eq!((error.kind(), session.len()), (FailureKind::Device, 2));
        assert_eq!(last(&mut session, &[4]), 7.0, "{told}");
    }
}

#[test]
fn a_prompt_that_no_length_fits_is_padded() {
    let lengths = || Shapes::Enumerated(vec![vec![1, 4], vec![1, 8]]);
    let model = self::model(4, lengths(), true, Summing::default());
    let mut session = DecoderSession::new(&model).unwrap();
    let rows = session.extend(&[1, 2, 3, 4, 5, 6], Want::All).unwrap();
    let sums: Vec<f32> = (0..6).map(|row| rows.row(row)[0]).collect();
    assert_eq!(sums, [1.0, 3.0, 6.0, 10.0, 15.0, 21.0]);
    assert_eq!(*model.backend.calls.borrow(), [4, 4]);
    // Padding is forgotten.
    assert_eq!(last(&mut session, &[7]), 28.0);
    // No room for it at the end of the context of 16.
    session.extend(&[0; 4], Want::None).unwrap();
    session.extend(&[0, 0], Want::None).unwrap();
    let error = session.extend(&[1], Want::Last).unwrap_err();
    assert_eq!(error.kind(), FailureKind::Unsupported, "{error}");
    // Where the function counts by itself, padding would be counted too.
    let model = self::model(4, lengths(), false, Summing::default());
    let mut session = DecoderSession::new(&model).unwrap();
    let error = session.extend(&[1], Want::Last).unwrap_err();
    assert_eq!(error.kind(), FailureKind::Unsupported, "{error}");
}
