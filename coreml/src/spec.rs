//! The specification in a model file, from its protocol buffer.

use std::collections::{BTreeMap, HashMap};

use coreml_proto::proto as pb;
use pb::mil_spec as mil;
use prost::Message;

use crate::error::PackageError;
use crate::program::{Constant, Function, Operand, Operation, Port, Program, TensorType};
use crate::tensor::{DataType, Tensor, elements};
use crate::weights::{self, Blob};

/// Longest specification that is read. Those of ML Programs hold no weights and
/// stay far below it; decoding takes a multiple of it in memory.
pub(crate) const MOST_BYTES: u64 = 64 << 20;

/// What a model file says.
#[derive(Clone, Debug)]
pub struct Specification {
    /// 9 is iOS 18 and macOS 15.
    pub version: i32,
    /// Inputs and outputs of every function.
    pub functions: Vec<FunctionDescription>,
    /// What a caller gets who names no function.
    pub default_function: String,
    /// Semantic version of the model.
    pub model_version: String,
    /// One line about the model.
    pub about: String,
    /// Whatever its makers noted.
    pub metadata: BTreeMap<String, String>,
    /// What it computes.
    pub program: Program,
}

/// What a caller of a function must know.
#[derive(Clone, Debug)]
pub struct FunctionDescription {
    /// `main` where there is only one.
    pub name: String,
    /// What it takes.
    pub inputs: Vec<Feature>,
    /// What it answers.
    pub outputs: Vec<Feature>,
    /// What it keeps between calls.
    pub states: Vec<Feature>,
}

/// An input, output or state as callers see it.
#[derive(Clone, Debug)]
pub struct Feature {
    /// Name.
    pub name: String,
    /// Element type; `None` where it is no array.
    pub dtype: Option<DataType>,
    /// Extents by default; none are given for outputs that depend on the input.
    pub shape: Vec<usize>,
    /// Which other extents it may have.
    pub shapes: Shapes,
}

/// Shapes of an input besides its default.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Shapes {
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
            program: read_program(program)?,
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

fn read_program(program: mil::Program) -> Result<Program, PackageError> {
    let functions = program.functions.into_iter();
    let functions = functions.map(|(name, function)| {
        let function = read_function(&name, function)?;
        Ok((name, function))
    });
    Ok(Program {
        functions: functions.collect::<Result<_, _>>()?,
    })
}

fn read_function(name: &str, mut function: mil::Function) -> Result<Function, PackageError> {
    let fault = |problem: String| PackageError::program(format!("function `{name}`"), problem);
    let opset = function.opset;
    let Some(block) = function.block_specializations.remove(&opset) else {
        return Err(fault(format!(
            "no block for its own set of operations `{opset}`"
        )));
    };
    let (mut inputs, mut states) = (Vec::new(), Vec::new());
    for input in function.inputs {
        let state = matches!(
            input.r#type.as_ref().and_then(|ty| ty.r#type.as_ref()),
            Some(mil::value_type::Type::StateType(_))
        );
        let list = if state { &mut states } else { &mut inputs };
        list.push(port(input).map_err(fault)?);
    }
    let operations = block.operations.into_iter().enumerate();
    let operations = operations.map(|(index, operation)| {
        let kind = operation.r#type.clone();
        read_operation(index, operation).map_err(|problem| {
            PackageError::program(
                format!("function `{name}`, operation {index} ({kind})"),
                problem,
            )
        })
    });
    Ok(Function {
        inputs,
        states,
        operations: operations.collect::<Result<_, _>>()?,
        outputs: block.outputs,
        opset,
    })
}

fn read_operation(index: usize, operation: mil::Operation) -> Result<Operation, String> {
    let mut attributes = operation.attributes;
    let name = attributes.remove("name").and_then(|value| text(&value));
    let value = attributes.remove("val").map(constant).transpose()?;
    let name = name
        .or_else(|| operation.outputs.first().map(|output| output.name.clone()))
        .unwrap_or_else(|| format!("{} {index}", operation.r#type));
    let operand = |binding: mil::argument::Binding| match binding.binding {
        Some(mil::argument::binding::Binding::Name(name)) => Ok(Operand::Name(name)),
        Some(mil::argument::binding::Binding::Value(value)) => {
            constant(value).map(Operand::Constant)
        }
        None => Err("an operand that is neither a name nor a value".to_owned()),
    };
    let inputs = operation.inputs.into_iter().map(|(parameter, argument)| {
        let operands = argument.arguments.into_iter().map(operand);
        Ok((parameter, operands.collect::<Result<_, String>>()?))
    });
    let outputs = operation.outputs.into_iter().map(port);
    Ok(Operation {
        inputs: inputs.collect::<Result<_, String>>()?,
        outputs: outputs.collect::<Result<_, String>>()?,
        kind: operation.r#type,
        name,
        value,
        blocks: operation.blocks.len(),
    })
}

fn port(port: mil::NamedValueType) -> Result<Port, String> {
    let ty = tensor_type(port.r#type.as_ref()).map_err(|why| format!("`{}`: {why}", port.name))?;
    Ok(Port {
        name: port.name,
        ty,
    })
}

fn tensor_type(ty: Option<&mil::ValueType>) -> Result<TensorType, String> {
    use mil::value_type::Type;
    let tensor = match ty.and_then(|ty| ty.r#type.as_ref()) {
        Some(Type::TensorType(tensor)) => tensor,
        Some(Type::StateType(state)) => return tensor_type(state.wrapped_type.as_deref()),
        Some(_) => return Err("lists, tuples and dictionaries are not read here".into()),
        None => return Err("has no type".into()),
    };
    let extent = |dimension: &mil::Dimension| match dimension.dimension {
        Some(mil::dimension::Dimension::Constant(constant)) => usize::try_from(constant.size)
            .map(Some)
            .map_err(|_| "an extent beyond memory"),
        Some(mil::dimension::Dimension::Unknown(unknown)) if unknown.variadic => {
            Err("of a variable number of axes")
        }
        _ => Ok(None),
    };
    let shape: Vec<_> = tensor
        .dimensions
        .iter()
        .map(extent)
        .collect::<Result<_, _>>()?;
    if usize::try_from(tensor.rank) != Ok(shape.len()) {
        return Err(format!("rank {} with {} extents", tensor.rank, shape.len()));
    }
    Ok(TensorType {
        dtype: data_type(tensor.data_type)?,
        shape,
    })
}

fn data_type(code: i32) -> Result<DataType, String> {
    use mil::DataType as T;
    let unknown = || format!("element type {code} is not known here");
    Ok(match T::try_from(code).map_err(|_| unknown())? {
        T::Bool => DataType::Bool,
        T::String => DataType::String,
        T::Float16 => DataType::Float16,
        T::Float32 => DataType::Float32,
        T::Float64 => DataType::Float64,
        T::Bfloat16 => DataType::Bfloat16,
        T::Int4 => DataType::Int4,
        T::Int8 => DataType::Int8,
        T::Int16 => DataType::Int16,
        T::Int32 => DataType::Int32,
        T::Int64 => DataType::Int64,
        T::Uint1 => DataType::Uint1,
        T::Uint2 => DataType::Uint2,
        T::Uint3 => DataType::Uint3,
        T::Uint4 => DataType::Uint4,
        T::Uint6 => DataType::Uint6,
        T::Uint8 => DataType::Uint8,
        T::Uint16 => DataType::Uint16,
        T::Uint32 => DataType::Uint32,
        T::Uint64 => DataType::Uint64,
        T::UnusedType | T::Float8e4m3fn | T::Float8e5m2 => return Err(unknown()),
    })
}

fn constant(value: mil::Value) -> Result<Constant, String> {
    let ty = tensor_type(value.r#type.as_ref())?;
    let Some(shape) = ty.fixed() else {
        return Err("a constant of unknown extents".into());
    };
    let immediate = match value.value {
        Some(mil::value::Value::BlobFileValue(blob)) => {
            return Ok(Constant::Blob(Blob {
                file: blob.file_name,
                offset: blob.offset,
                dtype: ty.dtype,
                shape,
            }));
        }
        Some(mil::value::Value::ImmediateValue(immediate)) => immediate.value,
        None => None,
    };
    let Some(mil::value::immediate_value::Value::Tensor(tensor)) = immediate else {
        return Err("a constant without a tensor".into());
    };
    immediate_tensor(ty.dtype, &shape, tensor).map(Constant::Immediate)
}

fn immediate_tensor(
    dtype: DataType,
    shape: &[usize],
    tensor: mil::TensorValue,
) -> Result<Tensor, String> {
    use mil::tensor_value::Value;
    let count = elements(shape)?;
    let right = |found: usize| match found == count {
        true => Ok(()),
        false => Err(format!("{found} values for {shape:?}")),
    };
    match tensor.value {
        Some(Value::Floats(list)) if dtype.is_float() => {
            right(list.values.len())?;
            Ok(Tensor::floats(dtype, shape, list.values))
        }
        Some(Value::Doubles(list)) if dtype.is_float() => {
            right(list.values.len())?;
            let values = list.values.iter().map(|&value| value as f32);
            Ok(Tensor::floats(dtype, shape, values.collect()))
        }
        Some(Value::Ints(list)) => {
            right(list.values.len())?;
            Ok(Tensor::ints(dtype, shape, list.values))
        }
        Some(Value::LongInts(list)) => {
            right(list.values.len())?;
            let narrow = |&value: &i64| value.clamp(i32::MIN.into(), i32::MAX.into()) as i32;
            Ok(Tensor::ints(
                dtype,
                shape,
                list.values.iter().map(narrow).collect(),
            ))
        }
        Some(Value::Bools(list)) => {
            right(list.values.len())?;
            Ok(Tensor::bools(shape, list.values))
        }
        Some(Value::Strings(list)) if shape.is_empty() => {
            right(list.values.len())?;
            Ok(Tensor::text(&list.values[0]))
        }
        Some(Value::Bytes(list)) => weights::decode(dtype, shape, &list.values),
        // An empty message stands for an empty list.
        None if count == 0 => Ok(match dtype.is_float() {
            true => Tensor::floats(dtype, shape, Vec::new()),
            false => Tensor::ints(dtype, shape, Vec::new()),
        }),
        _ => Err(format!("values that are no {dtype} of {shape:?}")),
    }
}

fn text(value: &mil::Value) -> Option<String> {
    let Some(mil::value::Value::ImmediateValue(immediate)) = &value.value else {
        return None;
    };
    match &immediate.value {
        Some(mil::value::immediate_value::Value::Tensor(tensor)) => match &tensor.value {
            Some(mil::tensor_value::Value::Strings(list)) => list.values.first().cloned(),
            _ => None,
        },
        _ => None,
    }
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
