//! What is wrong inside a function.

use std::collections::{BTreeMap, HashSet};

use super::{Finding, Severity};
use crate::interpreter::is_known;
use crate::package::Package;
use crate::program::{Constant, Function, Operand, Operation};
use crate::tensor::DataType;

/// Operations that the Neural Engine is not known to run; the runtime moves them,
/// and often their neighbours, to the CPU.
const OFF_THE_NEURAL_ENGINE: [&str; 12] = [
    "band_part",
    "cond",
    "cumsum",
    "einsum",
    "gather_along_axis",
    "one_hot",
    "range_1d",
    "reduce_argmax",
    "scatter",
    "topk",
    "while_loop",
    "non_zero",
];

/// Findings of one function.
pub(super) struct Checker<'a> {
    pub(super) place: String,
    pub(super) function: &'a Function,
    pub(super) findings: Vec<Finding>,
}

impl Checker<'_> {
    pub(super) fn add(&mut self, severity: Severity, place: String, what: impl Into<String>) {
        self.findings.push(Finding {
            severity,
            place,
            what: what.into(),
        });
    }

    pub(super) fn warn(&mut self, what: &str) {
        self.add(Severity::Warning, self.place.clone(), what);
    }

    pub(super) fn at(&self, operation: &Operation) -> String {
        format!("{}, {} `{}`", self.place, operation.kind, operation.name)
    }

    /// Every value is made once, before it is read.
    pub(super) fn order(&mut self) {
        let function = self.function;
        let ports = function.inputs.iter().chain(&function.states);
        let mut known: HashSet<&str> = ports.map(|port| port.name.as_str()).collect();
        let all = function
            .operations
            .iter()
            .flat_map(|operation| &operation.outputs);
        let all: HashSet<&str> = all.map(|port| port.name.as_str()).collect();
        for operation in &function.operations {
            let place = self.at(operation);
            if operation.blocks > 0 {
                self.add(
                    Severity::Warning,
                    place.clone(),
                    "its inner blocks are not looked into",
                );
            }
            for name in operation.reads().filter(|name| !known.contains(name)) {
                let what = match all.contains(name) {
                    true => format!(
                        "reads `{name}`, which is made only later: a cycle or a wrong order"
                    ),
                    false => format!("reads `{name}`, which nothing makes"),
                };
                self.findings.push(Finding {
                    severity: Severity::Error,
                    place: place.clone(),
                    what,
                });
            }
            for port in &operation.outputs {
                if !known.insert(&port.name) {
                    let what = format!("makes `{}`, which there is already", port.name);
                    self.add(Severity::Error, place.clone(), what);
                }
            }
        }
        for name in function
            .outputs
            .iter()
            .filter(|name| !known.contains(name.as_str()))
        {
            let what = format!("nothing makes its output `{name}`");
            self.add(Severity::Error, self.place.clone(), what);
        }
    }

    /// Weights are where the program says, and of the type it says.
    pub(super) fn blobs(&mut self, package: &Package) {
        for operation in &self.function.operations {
            for blob in operation.blobs() {
                if let Err(error) = package.weights.bytes(blob) {
                    self.add(Severity::Error, self.at(operation), error.to_string());
                }
            }
            let declared = operation.outputs.first().map(|port| &port.ty);
            let (dtype, shape) = match &operation.value {
                Some(Constant::Immediate(tensor)) => (tensor.dtype, &tensor.shape),
                Some(Constant::Blob(blob)) => (blob.dtype, &blob.shape),
                None => continue,
            };
            if declared.is_some_and(|ty| ty.dtype != dtype || !ty.admits(shape)) {
                let what = format!("its value, {dtype} of {shape:?}, is not of its type");
                self.add(Severity::Error, self.at(operation), what);
            }
        }
    }

    /// Token ids that pass through 16 bits wrap around in large vocabularies.
    pub(super) fn narrow_ids(&mut self, package: &Package) {
        const MOST: usize = i16::MAX as usize + 1;
        let rows = |operation: &Operation| -> Option<usize> {
            let Some(Operand::Name(table)) = operation.inputs.get("x")?.first() else {
                return None;
            };
            let all = self.function.operations.iter().flat_map(|o| &o.outputs);
            let port = all.into_iter().find(|port| port.name == *table)?;
            port.ty.shape.first().copied().flatten()
        };
        let gathers = self
            .function
            .operations
            .iter()
            .filter(|o| o.kind == "gather");
        let largest = gathers.filter_map(rows).max().unwrap_or(0);
        let vocabulary = package
            .config()
            .ok()
            .flatten()
            .map_or(largest, |config| config.model.vocab);
        if vocabulary.max(largest) <= MOST {
            return;
        }
        let narrow = self.function.operations.iter().find(|operation| {
            operation.kind == "cast"
                && operation
                    .outputs
                    .first()
                    .is_some_and(|port| port.ty.dtype == DataType::Int16)
                && operation
                    .reads()
                    .any(|name| self.function.inputs.iter().any(|i| i.name == name))
        });
        if let Some(operation) = narrow {
            let what = format!(
                "token ids pass through int16, and the vocabulary has {}: ids from {MOST} on wrap around",
                vocabulary.max(largest)
            );
            self.add(Severity::Error, self.at(operation), what);
        }
    }

    /// What keeps a function, or parts of it, off the Neural Engine.
    pub(super) fn neural_engine(&mut self) {
        let mut found: BTreeMap<String, usize> = BTreeMap::new();
        for operation in &self.function.operations {
            if operation.kind == "const" || operation.kind.starts_with("constexpr_") {
                continue;
            }
            if OFF_THE_NEURAL_ENGINE.contains(&operation.kind.as_str()) {
                *found.entry(format!("`{}`", operation.kind)).or_default() += 1;
            }
            for port in &operation.outputs {
                if port.ty.dtype == DataType::Float32 {
                    *found.entry("results in f32".into()).or_default() += 1;
                }
                if port.ty.shape.len() > 5 {
                    *found.entry("more than five axes".into()).or_default() += 1;
                }
            }
            if !is_known(&operation.kind) {
                let what = format!("the interpreter does not know `{}`", operation.kind);
                self.add(Severity::Warning, self.at(operation), what);
            }
        }
        let ports = self.function.inputs.iter();
        if ports.into_iter().any(|port| port.ty.fixed().is_none()) {
            let what = "has flexible shapes, which the Neural Engine runs only where they are \
                        enumerated";
            self.add(Severity::Note, self.place.clone(), what);
        }
        for (what, count) in found {
            let what = format!("{count} operations the Neural Engine does not run: {what}");
            self.add(Severity::Note, self.place.clone(), what);
        }
    }
}
