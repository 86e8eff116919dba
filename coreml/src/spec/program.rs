//! The program in a specification, from its protocol buffer.

use coreml_proto::proto as pb;
use pb::mil_spec as mil;

use crate::error::PackageError;
use crate::program::{Constant, Function, Operand, Operation, Port, Program, TensorType};
use crate::tensor::{DataType, Tensor, elements};
use crate::weights::{self, Blob};

pub(super) fn read_program(program: mil::Program) -> Result<Program, PackageError> {
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
