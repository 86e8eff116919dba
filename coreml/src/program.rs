//! An ML Program: functions of operations in single static assignment.

use std::collections::BTreeMap;

use crate::tensor::{DataType, Tensor};
use crate::weights::Blob;

/// The functions of a model, by name.
#[derive(Clone, Debug, Default)]
pub(crate) struct Program {
    /// `main`, or several.
    pub(crate) functions: BTreeMap<String, Function>,
}

/// One function: inputs, operations in order of execution, outputs.
#[derive(Clone, Debug)]
pub(crate) struct Function {
    /// Set of operations it is written for, e.g. `CoreML8`.
    pub(crate) opset: String,
    /// Tensors that a caller passes.
    pub(crate) inputs: Vec<Port>,
    /// Tensors that live on between calls.
    pub(crate) states: Vec<Port>,
    /// Its operations.
    pub(crate) operations: Vec<Operation>,
    /// Names of the values it answers.
    pub(crate) outputs: Vec<String>,
}

/// A named value and its type.
#[derive(Clone, Debug)]
pub(crate) struct Port {
    /// Name, unique in its function.
    pub(crate) name: String,
    /// Type.
    pub(crate) ty: TensorType,
}

/// Element type and extents; those unknown before a call are `None`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TensorType {
    /// Element type.
    pub(crate) dtype: DataType,
    /// Extents, outermost first.
    pub(crate) shape: Vec<Option<usize>>,
}

impl TensorType {
    /// The extents, when all are known.
    pub(crate) fn fixed(&self) -> Option<Vec<usize>> {
        self.shape.iter().copied().collect()
    }

    /// Whether a tensor of `shape` is one of this type.
    pub(crate) fn admits(&self, shape: &[usize]) -> bool {
        self.shape.len() == shape.len()
            && (self.shape.iter().zip(shape)).all(|(want, found)| want.is_none_or(|n| n == *found))
    }
}

/// One operation.
#[derive(Clone, Debug)]
pub(crate) struct Operation {
    /// What it does, e.g. `matmul`.
    pub(crate) kind: String,
    /// Its own name, for messages.
    pub(crate) name: String,
    /// Operands by parameter.
    pub(crate) inputs: BTreeMap<String, Vec<Operand>>,
    /// Values it makes.
    pub(crate) outputs: Vec<Port>,
    /// The value of a `const`.
    pub(crate) value: Option<Constant>,
    /// Number of blocks inside it, of conditions and loops.
    pub(crate) blocks: usize,
}

/// What an operation reads.
#[derive(Clone, Debug)]
pub(crate) enum Operand {
    /// A value made elsewhere in the function.
    Name(String),
    /// A value written here.
    Constant(Constant),
}

/// A value that is part of the program.
#[derive(Clone, Debug)]
pub(crate) enum Constant {
    /// In the specification.
    Immediate(Tensor),
    /// In a weight file.
    Blob(Blob),
}

impl Operation {
    /// Names of all values that it reads.
    pub(crate) fn reads(&self) -> impl Iterator<Item = &str> {
        self.inputs
            .values()
            .flatten()
            .filter_map(|operand| match operand {
                Operand::Name(name) => Some(name.as_str()),
                Operand::Constant(_) => None,
            })
    }

    /// The value that `parameter` names, if it names one.
    pub(crate) fn read(&self, parameter: &str) -> Option<&str> {
        match self.inputs.get(parameter)?.first()? {
            Operand::Name(name) => Some(name),
            Operand::Constant(_) => None,
        }
    }

    /// All blobs that it holds.
    pub(crate) fn blobs(&self) -> impl Iterator<Item = &Blob> {
        let operands = self.inputs.values().flatten();
        let constants = operands.filter_map(|operand| match operand {
            Operand::Constant(constant) => Some(constant),
            Operand::Name(_) => None,
        });
        constants
            .chain(&self.value)
            .filter_map(|constant| match constant {
                Constant::Blob(blob) => Some(blob),
                Constant::Immediate(_) => None,
            })
    }
}
