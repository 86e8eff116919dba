//! An ML Program: functions of operations in single static assignment.

use std::collections::BTreeMap;

use crate::tensor::{DataType, Tensor};
use crate::weights::Blob;

/// The functions of a model, by name.
#[derive(Clone, Debug, Default)]
pub struct Program {
    /// `main`, or several.
    pub functions: BTreeMap<String, Function>,
}

/// One function: inputs, operations in order of execution, outputs.
#[derive(Clone, Debug)]
pub struct Function {
    /// Set of operations it is written for, e.g. `CoreML8`.
    pub opset: String,
    /// Tensors that a caller passes.
    pub inputs: Vec<Port>,
    /// Tensors that live on between calls.
    pub states: Vec<Port>,
    /// Its operations.
    pub operations: Vec<Operation>,
    /// Names of the values it answers.
    pub outputs: Vec<String>,
}

/// A named value and its type.
#[derive(Clone, Debug)]
pub struct Port {
    /// Name, unique in its function.
    pub name: String,
    /// Type.
    pub ty: TensorType,
}

/// Element type and extents; those unknown before a call are `None`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorType {
    /// Element type.
    pub dtype: DataType,
    /// Extents, outermost first.
    pub shape: Vec<Option<usize>>,
}

impl TensorType {
    /// The extents, when all are known.
    #[must_use]
    pub fn fixed(&self) -> Option<Vec<usize>> {
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
pub struct Operation {
    /// What it does, e.g. `matmul`.
    pub kind: String,
    /// Its own name, for messages.
    pub name: String,
    /// Operands by parameter.
    pub inputs: BTreeMap<String, Vec<Operand>>,
    /// Values it makes.
    pub outputs: Vec<Port>,
    /// The value of a `const`.
    pub value: Option<Constant>,
    /// Number of blocks inside it, of conditions and loops.
    pub blocks: usize,
}

/// What an operation reads.
#[derive(Clone, Debug)]
pub enum Operand {
    /// A value made elsewhere in the function.
    Name(String),
    /// A value written here.
    Constant(Constant),
}

/// A value that is part of the program.
#[derive(Clone, Debug)]
pub enum Constant {
    /// In the specification.
    Immediate(Tensor),
    /// In a weight file.
    Blob(Blob),
}

impl Operation {
    /// Names of all values that it reads.
    pub fn reads(&self) -> impl Iterator<Item = &str> {
        self.inputs
            .values()
            .flatten()
            .filter_map(|operand| match operand {
                Operand::Name(name) => Some(name.as_str()),
                Operand::Constant(_) => None,
            })
    }

    /// The value that `parameter` names, if it names one.
    #[must_use]
    pub fn read(&self, parameter: &str) -> Option<&str> {
        match self.inputs.get(parameter)?.first()? {
            Operand::Name(name) => Some(name),
            Operand::Constant(_) => None,
        }
    }

    /// All blobs that it holds.
    pub fn blobs(&self) -> impl Iterator<Item = &Blob> {
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
