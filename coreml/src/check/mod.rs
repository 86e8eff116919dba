//! What is wrong with a package, or would be on a device.

mod states;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;

use crate::error::PackageError;
use crate::interpreter::{compile, is_known};
use crate::package::Package;
use crate::program::{Constant, Function, Operand, Operation, Port};
use crate::spec::{Feature, FunctionDescription, Shapes, deployment_target};
use crate::tensor::DataType;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Worth knowing.
    Note,
    /// Wrong or slow on some devices, perhaps.
    Warning,
    /// Computes something else than it should, or nothing.
    Error,
}

/// One thing to know about a package.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// Function and operation, or the part of the package.
    pub place: String,
    /// What is the matter.
    pub what: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.what)
    }
}

/// Specification versions that first had something.
const IOS_18: i32 = 9;

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
struct Checker<'a> {
    place: String,
    function: &'a Function,
    findings: Vec<Finding>,
}

/// Everything that can be told about `package` without running it, the worst
/// first.
#[must_use]
pub fn check(package: &Package) -> Vec<Finding> {
    let specification = &package.specification;
    let mut findings = version(package);
    let described: HashSet<&str> = specification
        .functions
        .iter()
        .map(|function| function.name.as_str())
        .collect();
    let mut shared = HashMap::new();
    for (name, function) in &specification.program.functions {
        let mut checker = Checker {
            place: format!("function `{name}`"),
            function,
            findings: Vec::new(),
        };
        if !described.contains(name.as_str()) {
            checker.warn("is in the program and in no description: nobody can call it");
        }
        checker.order();
        checker.blobs(package);
        checker.narrow_ids(package);
        checker.neural_engine();
        states::check(&mut checker);
        let sound = !checker
            .findings
            .iter()
            .any(|f| f.severity == Severity::Error);
        // Decompresses every weight and resolves every name, as opening it would.
        if sound && let Err(error) = compile(name, function, &package.weights, &mut shared) {
            let severity = match error {
                PackageError::Unsupported { .. } => Severity::Warning,
                _ => Severity::Error,
            };
            let place = checker.place.clone();
            checker.add(severity, place, error.to_string());
        }
        findings.extend(checker.findings);
    }
    for description in &specification.functions {
        match specification.program.functions.get(&description.name) {
            Some(function) => findings.extend(description_of(description, function)),
            None => findings.push(Finding {
                severity: Severity::Error,
                place: format!("function `{}`", description.name),
                what: "is described and not in the program".into(),
            }),
        }
    }
    findings.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
    findings
}

/// What the specification's version promises, against what is used.
fn version(package: &Package) -> Vec<Finding> {
    let specification = &package.specification;
    let version = specification.version;
    let mut findings = Vec::new();
    let mut add = |severity, what: String| {
        findings.push(Finding {
            severity,
            place: format!("specification version {version}"),
            what,
        });
    };
    if deployment_target(version).is_none() {
        add(Severity::Warning, "is not known here".into());
    }
    let functions = specification.program.functions.values();
    let newer = [
        (specification.functions.len() > 1, "several functions"),
        (functions.clone().any(|f| !f.states.is_empty()), "states"),
    ];
    for (used, what) in newer {
        if used && version < IOS_18 {
            add(
                Severity::Error,
                format!("has no {what}, which came with version {IOS_18}"),
            );
        }
    }
    for function in functions {
        // CoreML5 came with version 6, and one a year since.
        let needs = function
            .opset
            .strip_prefix("CoreML")
            .and_then(|n| n.parse::<i32>().ok());
        match needs.map(|needs| needs + 1) {
            Some(needs) if needs > version => {
                add(
                    Severity::Error,
                    format!("has no operations {}", function.opset),
                );
            }
            Some(_) => {}
            None => add(
                Severity::Warning,
                format!("operations `{}` are not known", function.opset),
            ),
        }
    }
    if !specification
        .functions
        .iter()
        .any(|f| f.name == specification.default_function)
    {
        let name = &specification.default_function;
        add(
            Severity::Error,
            format!("the default function `{name}` is not there"),
        );
    }
    findings
}

/// What callers are told, against what the program takes and makes.
fn description_of(description: &FunctionDescription, function: &Function) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut compare = |kind: &str, features: &[Feature], ports: &[Port]| {
        let place = format!("function `{}`, {kind}", description.name);
        let mut add = |what: String| {
            findings.push(Finding {
                severity: Severity::Error,
                place: place.clone(),
                what,
            });
        };
        for feature in features {
            let Some(port) = ports.iter().find(|port| port.name == feature.name) else {
                add(format!(
                    "`{}` is described and not in the program",
                    feature.name
                ));
                continue;
            };
            if feature.dtype.is_some_and(|dtype| dtype != port.ty.dtype) {
                let told = feature
                    .dtype
                    .map_or(String::new(), |dtype| dtype.to_string());
                add(format!(
                    "`{}` is {}, described as {told}",
                    port.name, port.ty.dtype
                ));
            }
            if !feature.shape.is_empty() && !port.ty.admits(&feature.shape) {
                add(format!(
                    "`{}` is {:?}, described as {:?}",
                    port.name, port.ty.shape, feature.shape
                ));
            }
        }
        for port in ports {
            if !features.iter().any(|feature| feature.name == port.name) {
                add(format!(
                    "`{}` is in the program and not described",
                    port.name
                ));
            }
        }
    };
    let made = function
        .operations
        .iter()
        .flat_map(|operation| &operation.outputs);
    let made: Vec<Port> = made
        .filter(|port| function.outputs.contains(&port.name))
        .cloned()
        .collect();
    compare("inputs", &description.inputs, &function.inputs);
    compare("states", &description.states, &function.states);
    compare("outputs", &description.outputs, &made);
    findings
}

impl Checker<'_> {
    fn add(&mut self, severity: Severity, place: String, what: impl Into<String>) {
        self.findings.push(Finding {
            severity,
            place,
            what: what.into(),
        });
    }

    fn warn(&mut self, what: &str) {
        self.add(Severity::Warning, self.place.clone(), what);
    }

    fn at(&self, operation: &Operation) -> String {
        format!("{}, {} `{}`", self.place, operation.kind, operation.name)
    }

    /// Every value is made once, before it is read.
    fn order(&mut self) {
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
    fn blobs(&mut self, package: &Package) {
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
    fn narrow_ids(&mut self, package: &Package) {
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
    fn neural_engine(&mut self) {
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
