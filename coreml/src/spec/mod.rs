//! The specification in a model file, from its protocol buffer.

mod program;

use std::collections::{BTreeMap, HashMap};

use coreml_proto::proto as pb;
use prost::Message;

use crate::error::PackageError;
use crate::program::Program;
use crate::tensor::DataType;

/// Longest specification that is read. Those of ML Programs hold no weights and
/// stay far below it; decoding takes a multiple of it in memory.
pub(crate) const MOST_BYTES: u64 = 64 << 20;

/// What a model file says.
///
/// ```
/// use std::fs;
///
/// use harness_coreml::{Package, Specification, Summary, Weights};
///
/// let folder = "tests/packages/tiny-fp16.mlpackage/Data/com.apple.CoreML";
/// let file = fs::read(format!("{folder}/weights/weight.bin"))?;
/// let mut weights = Weights::default();
/// weights.insert("@model_path/weights/weight.bin", file);
/// let specification = Specification::decode(&fs::read(format!("{folder}/model.mlmodel"))?)?;
/// let package = Package { specification, weights, vocabulary: None };
/// // 9 is iOS 18 and macOS 15.
/// assert_eq!(Summary::new(&package).specification_version, 9);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Specification {
    /// 9 is iOS 18 and macOS 15.
    pub(crate) version: i32,
    /// Inputs and outputs of every function.
    pub(crate) functions: Vec<FunctionDescription>,
    /// What a caller gets who names no function.
    pub(crate) default_function: String,
    /// Semantic version of the model.
    pub(crate) model_version: String,
    /// One line about the model.
    pub(crate) about: String,
    /// Whatever its makers noted.
    pub(crate) metadata: BTreeMap<String, String>,
    /// What it computes.
    pub(crate) program: Program,
}

/// What a caller of a function must know.
#[derive(Clone, Debug)]
pub(crate) struct FunctionDescription {
    /// `main` where there is only one.
    pub(crate) name: String,
    /// What it takes.
    pub(crate) inputs: Vec<Feature>,
    /// What it answers.
    pub(crate) outputs: Vec<Feature>,
    /// What it keeps between calls.
    pub(crate) states: Vec<Feature>,
}

/// An input, output or state as callers see it.
#[derive(Clone, Debug)]
pub(crate) struct Feature {
    /// Name.
    pub(crate) name: String,
    /// Element type; `None` where it is no array.
    pub(crate) dtype: Option<DataType>,
    /// Extents by default; none are given for outputs that depend on the input.
    pub(crate) shape: Vec<usize>,
    /// Which other extents it may have.
    pub(crate) shapes: Shapes,
}

/// Shapes of an input besides its default.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Shapes {
    /// None.
    Fixed,
    /// One of these.
    Enumerated(Vec<Vec<usize>>),
    /// Every extent from … to …, the end included.
    Ranges(Vec<(usize, usize)>),
}

impl Specification {
    /// Reads a specification.
    ///
    /// # Errors
    /// [`PackageError::Specification`] when it is none, or none of an ML Program,
    /// [`PackageError::Program`] when the program is malformed.
    ///
    /// ```
    /// use harness_coreml::{PackageError, Specification};
    ///
    /// // An empty message is one, of a model of no kind.
    /// let empty = Specification::decode(&[]);
    /// assert!(matches!(empty, Err(PackageError::Specification(_))));
    /// ```
    pub fn decode(bytes: &[u8]) -> Result<Self, PackageError> {
        let fault = |problem: String| PackageError::Specification(problem);
        // prost refuses messages nested deeper than 100.
        let model = pb::Model::decode(bytes).map_err(|error| fault(error.to_string()))?;
        let description = model.description.unwrap_or_default();
        let program = match model.r#type {
            Some(pb::model::Type::MlProgram(program)) => program,
            Some(_) => {
                return Err(fault(
                    "the model is of an older kind (a neural network, a tree, a pipeline); only \
                     ML Programs are read here"
                        .into(),
                ));
            }
            None => return Err(fault("holds no model".into())),
        };
        let metadata = description.metadata.unwrap_or_default();
        let mut functions: Vec<FunctionDescription> = description
            .functions
            .iter()
            .map(|f| describe(f.name.clone(), &f.input, &f.output, &f.state))
            .collect();
        if functions.is_empty() {
            let (inputs, outputs) = (&description.input, &description.output);
            functions.push(describe("main".into(), inputs, outputs, &description.state));
        }
        Ok(Self {
            version: model.specification_version,
            default_function: match description.default_function_name {
                name if name.is_empty() => "main".into(),
                name => name,
            },
            functions,
            model_version: metadata.version_string,
            about: metadata.short_description,
            metadata: metadata.user_defined.into_iter().collect(),
            program: program::read_program(program)?,
        })
    }
}

fn describe(
    name: String,
    inputs: &[pb::FeatureDescription],
    outputs: &[pb::FeatureDescription],
    states: &[pb::FeatureDescription],
) -> FunctionDescription {
    let all = |features: &[pb::FeatureDescription]| features.iter().map(feature).collect();
    FunctionDescription {
        name,
        inputs: all(inputs),
        outputs: all(outputs),
        states: all(states),
    }
}

fn feature(feature: &pb::FeatureDescription) -> Feature {
    use pb::feature_type::Type;
    let array = match feature.r#type.as_ref().and_then(|ty| ty.r#type.as_ref()) {
        Some(Type::MultiArrayType(array)) => Some(array),
        Some(Type::StateType(state)) => state.r#type.as_ref().map(|ty| {
            let pb::state_feature_type::Type::ArrayType(array) = ty;
            array
        }),
        _ => None,
    };
    let extent = |&value: &i64| usize::try_from(value).unwrap_or(0);
    Feature {
        name: feature.name.clone(),
        dtype: array.and_then(|array| array_type(array.data_type)),
        shape: array.map_or(Vec::new(), |array| array.shape.iter().map(extent).collect()),
        shapes: array.map_or(Shapes::Fixed, shapes),
    }
}

fn shapes(array: &pb::ArrayFeatureType) -> Shapes {
    use pb::array_feature_type::ShapeFlexibility;
    let extent = |&value: &i64| usize::try_from(value).unwrap_or(0);
    match &array.shape_flexibility {
        None => Shapes::Fixed,
        Some(ShapeFlexibility::EnumeratedShapes(list)) => {
            let shape = |s: &pb::array_feature_type::Shape| s.shape.iter().map(extent).collect();
            Shapes::Enumerated(list.shapes.iter().map(shape).collect())
        }
        Some(ShapeFlexibility::ShapeRange(range)) => {
            let ends = |r: &pb::SizeRange| {
                // A negative end is none.
                let end = usize::try_from(r.upper_bound).unwrap_or(usize::MAX);
                (usize::try_from(r.lower_bound).unwrap_or(usize::MAX), end)
            };
            Shapes::Ranges(range.size_ranges.iter().map(ends).collect())
        }
    }
}

fn array_type(code: i32) -> Option<DataType> {
    use pb::array_feature_type::ArrayDataType as T;
    Some(match T::try_from(code).ok()? {
        T::Float16 => DataType::Float16,
        T::Float32 => DataType::Float32,
        T::Double => DataType::Float64,
        T::Int32 => DataType::Int32,
        T::Int8 => DataType::Int8,
        T::InvalidArrayDataType => return None,
    })
}

/// Which iOS and macOS a version of the specification asks for, from 1 on.
pub(crate) fn deployment_target(version: i32) -> Option<&'static str> {
    let targets: HashMap<i32, &str> = HashMap::from([
        (6, "iOS 15, macOS 12"),
        (7, "iOS 16, macOS 13"),
        (8, "iOS 17, macOS 14"),
        (9, "iOS 18, macOS 15"),
        (10, "iOS 26, macOS 26"),
    ]);
    targets.get(&version).copied()
}

impl Shapes {
    /// For people, e.g. `1..256`.
    pub(crate) fn text(&self, shape: &[usize]) -> String {
        let list = |shape: &[usize]| {
            let extents: Vec<String> = shape.iter().map(usize::to_string).collect();
            extents.join(" × ")
        };
        match self {
            Shapes::Fixed => list(shape),
            Shapes::Enumerated(shapes) => {
                let shapes: Vec<String> = shapes.iter().map(|shape| list(shape)).collect();
                shapes.join(" or ")
            }
            Shapes::Ranges(ranges) => {
                let range = |&(from, to): &(usize, usize)| match from == to {
                    true => from.to_string(),
                    false => format!("{from}..{to}"),
                };
                let ranges: Vec<String> = ranges.iter().map(range).collect();
                ranges.join(" × ")
            }
        }
    }
}
