//! What a specification promises, against what the program has.

use super::{Finding, Severity};
use crate::package::Package;
use crate::program::{Function, Port};
use crate::spec::{Feature, FunctionDescription, deployment_target};

/// Specification versions that first had something.
const IOS_18: i32 = 9;

/// What the specification's version promises, against what is used.
pub(super) fn version(package: &Package) -> Vec<Finding> {
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
pub(super) fn description_of(
    description: &FunctionDescription,
    function: &Function,
) -> Vec<Finding> {
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
