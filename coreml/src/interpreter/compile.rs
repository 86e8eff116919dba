//! From a function to steps: names become places, weights become values.

use std::collections::{BTreeMap, HashMap};

use super::{Action, Executable, Precision, Step, find, ops, settle};
use crate::error::PackageError;
use crate::program::{Constant, Function, Operand, Operation};
use crate::tensor::Tensor;
use crate::weights::{Blob, Weights};

/// Operations on states, which no function from operands to results can be.
const STATE_OPERATIONS: [&str; 3] = ["read_state", "write_state", "coreml_update_state"];

/// Weights that functions of one model share, by the blobs they come from.
pub(crate) type Shared = HashMap<(String, Vec<Blob>), Tensor>;

struct Compiler<'a> {
    weights: &'a Weights,
    shared: &'a mut Shared,
    places: HashMap<&'a str, usize>,
    values: Vec<Option<Tensor>>,
    states: Vec<&'a str>,
}

/// Makes `function`, called `name`, ready to run. Every weight is read now.
///
/// # Errors
/// [`PackageError::Program`] for operations that are not known here, names
/// without a value, and weights that do not decompress.
pub(crate) fn compile(
    name: &str,
    function: &Function,
    weights: &Weights,
    shared: &mut Shared,
) -> Result<Executable, PackageError> {
    let mut compiler = Compiler {
        weights,
        shared,
        places: HashMap::new(),
        values: Vec::new(),
        states: function
            .states
            .iter()
            .map(|port| port.name.as_str())
            .collect(),
    };
    let mut inputs = Vec::new();
    for port in &function.inputs {
        inputs.push((port.name.clone(), compiler.place(&port.name)));
    }
    let mut steps = Vec::new();
    for operation in &function.operations {
        if !is_known(&operation.kind) {
            return Err(PackageError::Unsupported {
                place: format!("function `{name}`, operation `{}`", operation.name),
                problem: format!("the interpreter does not know `{}`", operation.kind),
            });
        }
        let place = format!("function `{name}`, {} `{}`", operation.kind, operation.name);
        let step = compiler.operation(operation, place.clone());
        steps.extend(step.map_err(|problem| PackageError::program(place, problem))?);
    }
    let outputs = function.outputs.iter().map(|output| {
        let place = compiler.places.get(output.as_str()).copied();
        place.map(|place| (output.clone(), place)).ok_or_else(|| {
            let problem = format!("nothing makes its output `{output}`");
            PackageError::program(format!("function `{name}`"), problem)
        })
    });
    let outputs: Vec<_> = outputs.collect::<Result<_, _>>()?;
    let mut executable = Executable {
        inputs,
        values: compiler.values,
        steps,
        outputs,
    };
    free_early(&mut executable);
    Ok(executable)
}

/// Whether the interpreter executes operations of that kind.
pub(crate) fn is_known(kind: &str) -> bool {
    kind == "const" || STATE_OPERATIONS.contains(&kind) || find(kind).is_some()
}

impl<'a> Compiler<'a> {
    fn place(&mut self, name: &'a str) -> usize {
        self.values.push(None);
        self.places.insert(name, self.values.len() - 1);
        self.values.len() - 1
    }

    fn constant(&mut self, value: Tensor) -> usize {
        self.values.push(Some(value));
        self.values.len() - 1
    }

    fn read(&self, constant: &Constant) -> Result<Tensor, String> {
        match constant {
            Constant::Immediate(tensor) => Ok(tensor.clone()),
            Constant::Blob(blob) => self.weights.read(blob).map_err(|error| error.to_string()),
        }
    }

    /// The step of an operation; none for what is known before the first call.
    fn operation(
        &mut self,
        operation: &'a Operation,
        place: String,
    ) -> Result<Option<Step>, String> {
        if operation.kind == "const" || operation.kind.starts_with("constexpr_") {
            let value = self.constant_value(operation)?;
            let output = operation.outputs.first().ok_or("makes nothing")?;
            let slot = self.place(&output.name);
            self.values[slot] = Some(value);
            return Ok(None);
        }
        let action = match operation.kind.as_str() {
            "read_state" => Action::ReadState(self.state(operation, "input")?),
            "write_state" => Action::WriteState(self.state(operation, "input")?),
            "coreml_update_state" => Action::WriteState(self.state(operation, "state")?),
            kind => {
                Action::Compute(find(kind).ok_or("this operation is not known to the interpreter")?)
            }
        };
        let mut operands = Vec::new();
        for (parameter, list) in &operation.inputs {
            let mut slots = Vec::new();
            for operand in list {
                slots.push(match operand {
                    Operand::Constant(constant) => {
                        let value = self.read(constant)?;
                        self.constant(value)
                    }
                    Operand::Name(name) if self.states.contains(&name.as_str()) => continue,
                    Operand::Name(name) => *(self.places.get(name.as_str()))
                        .ok_or_else(|| format!("nothing before it makes `{name}`"))?,
                });
            }
            operands.push((parameter.clone(), slots));
        }
        let outputs = operation.outputs.iter();
        let outputs = outputs.map(|port| (self.place(&port.name), port.ty.clone()));
        Ok(Some(Step {
            action,
            operands,
            outputs: outputs.collect(),
            last_read: Vec::new(),
            place,
        }))
    }

    fn state(&self, operation: &Operation, parameter: &str) -> Result<String, String> {
        let name = operation.read(parameter).ok_or("names no state")?;
        match self.states.contains(&name) {
            true => Ok(name.into()),
            false => Err(format!("`{name}` is no state of the function")),
        }
    }

    /// The value of a constant, decompressed if need be and shared with the
    /// other functions.
    fn constant_value(&mut self, operation: &Operation) -> Result<Tensor, String> {
        let blobs: Vec<Blob> = operation.blobs().cloned().collect();
        let key = (operation.kind.clone(), blobs);
        if !key.1.is_empty()
            && let Some(known) = self.shared.get(&key)
        {
            return Ok(known.clone());
        }
        let value = if operation.kind == "const" {
            self.read(operation.value.as_ref().ok_or("has no value")?)?
        } else {
            let op = find(&operation.kind).ok_or("this compression is not known here")?;
            let mut operands = BTreeMap::new();
            for (parameter, list) in &operation.inputs {
                let tensors = list.iter().map(|operand| match operand {
                    Operand::Constant(constant) => self.read(constant),
                    Operand::Name(name) => {
                        let known = self.places.get(name.as_str());
                        let value = known.and_then(|&place| self.values[place].clone());
                        value.ok_or_else(|| format!("`{name}` is no constant"))
                    }
                });
                operands.insert(parameter.as_str(), tensors.collect::<Result<_, _>>()?);
            }
            let output = operation.outputs.first().ok_or("makes nothing")?;
            let call = ops::Call::new(operands.into_iter().collect(), Some(output.ty.dtype));
            let value = op(&call)?.into_iter().next().ok_or("makes nothing")?;
            // Weights are what they are, whatever is computed with them.
            settle(value, &output.ty, Precision::Declared)?
        };
        if !key.1.is_empty() {
            self.shared.insert(key, value.clone());
        }
        Ok(value)
    }
}

/// Notes at every step which values are read there for the last time.
fn free_early(executable: &mut Executable) {
    let mut needed: Vec<bool> = executable.values.iter().map(Option::is_some).collect();
    for (_, slot) in &executable.outputs {
        needed[*slot] = true;
    }
    for step in executable.steps.iter_mut().rev() {
        for &slot in step.operands.iter().flat_map(|(_, slots)| slots) {
            if !needed[slot] {
                needed[slot] = true;
                step.last_read.push(slot);
            }
        }
    }
}
