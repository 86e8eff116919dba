//! Executes programs on the CPU, one operation after the other.
//!
//! Every operation computes in f32 (norms and sums of squares in f64) and its
//! result is rounded once to the type that the program declares, half precision
//! by `round to nearest even`: what a device that is faithful to the program would
//! do. Devices differ from it by the order of sums and by what they fuse.

mod compile;
mod ops;
#[cfg(test)]
mod tests;

use std::collections::HashMap;

use crate::program::TensorType;
use crate::tensor::{Data, DataType, Tensor};

pub(crate) use compile::{Shared, compile, is_known};
use ops::{Op, find};

/// What floating-point results are rounded to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Precision {
    /// What the program declares.
    Declared,
    /// Nothing: f32 all the way.
    F32,
}

/// A function, ready to run.
pub(crate) struct Executable {
    /// Names of its inputs and where they go.
    inputs: Vec<(String, usize)>,
    /// Values that are there before the first step; none elsewhere.
    values: Vec<Option<Tensor>>,
    steps: Vec<Step>,
    outputs: Vec<(String, usize)>,
}

struct Step {
    action: Action,
    /// Parameters and where their operands are.
    operands: Vec<(String, Vec<usize>)>,
    outputs: Vec<(usize, TensorType)>,
    /// Values that nobody reads any more.
    last_read: Vec<usize>,
    /// For messages.
    place: String,
}

enum Action {
    Compute(Op),
    ReadState(String),
    WriteState(String),
}

/// The states of one context, by name.
pub(crate) type States = HashMap<String, Tensor>;

/// What went wrong, and where.
#[derive(Debug, thiserror::Error)]
#[error("{place}: {problem}")]
pub(crate) struct Fault {
    pub(crate) place: String,
    pub(crate) problem: String,
}

impl Executable {
    /// Runs the function on `inputs` and returns its outputs `wanted`.
    pub(crate) fn run(
        &self,
        inputs: &[(&str, Tensor)],
        states: &mut States,
        wanted: &[String],
        precision: Precision,
    ) -> Result<Vec<Tensor>, Fault> {
        let mut values = self.values.clone();
        let missing = |what: String| Fault {
            place: "call".into(),
            problem: what,
        };
        for (name, slot) in &self.inputs {
            let given = inputs.iter().find(|(given, _)| given == name);
            let (_, value) = given.ok_or_else(|| missing(format!("input `{name}` is missing")))?;
            values[*slot] = Some(value.clone());
        }
        for step in &self.steps {
            step.run(&mut values, states, precision)
                .map_err(|problem| Fault {
                    place: step.place.clone(),
                    problem,
                })?;
        }
        let output = |wanted: &String| {
            let output = self.outputs.iter().find(|(name, _)| name == wanted);
            output
                .and_then(|(_, slot)| values[*slot].take())
                .ok_or_else(|| missing(format!("no output `{wanted}`")))
        };
        wanted.iter().map(output).collect()
    }
}

impl Step {
    fn run(
        &self,
        values: &mut [Option<Tensor>],
        states: &mut States,
        precision: Precision,
    ) -> Result<(), String> {
        let mut operands = Vec::with_capacity(self.operands.len());
        for (parameter, slots) in &self.operands {
            let tensors: Option<Vec<Tensor>> =
                slots.iter().map(|&slot| values[slot].clone()).collect();
            let tensors = tensors.ok_or("an operand has no value yet")?;
            operands.push((parameter.as_str(), tensors));
        }
        for &slot in &self.last_read {
            values[slot] = None;
        }
        let call = ops::Call::new(operands, self.outputs.first().map(|(_, ty)| ty.dtype));
        let state = |name: &str| format!("state `{name}` is not there");
        let results = match &self.action {
            Action::Compute(op) => op(&call)?,
            Action::ReadState(name) => vec![states.get(name).cloned().ok_or_else(|| state(name))?],
            Action::WriteState(name) => {
                let held = states.get_mut(name).ok_or_else(|| state(name))?;
                let value = call.one("data").or_else(|_| call.one("value"))?;
                if value.shape != held.shape {
                    return Err(format!(
                        "{:?} written to a state of {:?}",
                        value.shape, held.shape
                    ));
                }
                *held = value.clone();
                vec![value.clone()]
            }
        };
        // A write without outputs answers nothing.
        if results.len() < self.outputs.len() {
            return Err(format!(
                "{} results for {} outputs",
                results.len(),
                self.outputs.len()
            ));
        }
        for (result, (slot, ty)) in results.into_iter().zip(&self.outputs) {
            values[*slot] = Some(settle(result, ty, precision)?);
        }
        Ok(())
    }
}

/// `result` as the program declares it.
fn settle(mut result: Tensor, ty: &TensorType, precision: Precision) -> Result<Tensor, String> {
    if !ty.admits(&result.shape) {
        return Err(format!(
            "computes the shape {:?}, where the program declares {:?}",
            result.shape, ty.shape
        ));
    }
    let same_kind = match &result.data {
        Data::Float(_) => ty.dtype.is_float(),
        Data::Int(_) => !ty.dtype.is_float() && ty.dtype.bits().is_some(),
        Data::Bool(_) => ty.dtype == DataType::Bool,
        Data::Text(_) => ty.dtype == DataType::String,
    };
    if !same_kind {
        return Err(format!(
            "computes {}, where the program declares {}",
            result.dtype, ty.dtype
        ));
    }
    result.dtype = ty.dtype;
    if ty.dtype == DataType::Float16 && precision == Precision::Declared {
        result.round_to_f16();
    }
    Ok(result)
}
