//! What is wrong with a package, or would be on a device.

mod function;
mod promises;
mod states;

use std::collections::{HashMap, HashSet};
use std::fmt;

use crate::error::PackageError;
use crate::interpreter::compile;
use crate::package::Package;
use function::Checker;

/// How bad it is.
///
/// ```
/// use std::path::Path;
///
/// use harness_coreml::{Package, Severity, check};
///
/// let package = Package::open(Path::new("tests/packages/tiny-fp16.mlpackage"))?;
/// let worst = check(&package).iter().map(|finding| finding.severity).max();
/// assert!(worst < Some(Severity::Error));
/// # Ok::<(), harness_coreml::PackageError>(())
/// ```
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
///
/// ```
/// use std::path::Path;
///
/// use harness_coreml::{Package, check};
///
/// // A state is read again after its update, and written back from the old value.
/// let package = Package::open(Path::new("tests/packages/tiny-defect.mlpackage"))?;
/// let worst = &check(&package)[0];
/// assert!(worst.to_string().contains("update is lost"));
/// # Ok::<(), harness_coreml::PackageError>(())
/// ```
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

/// Everything that can be told about `package` without running it, the worst
/// first.
///
/// ```
/// use std::path::Path;
///
/// use harness_coreml::{Package, Severity, check};
///
/// let errors = |path: &str| -> Result<usize, harness_coreml::PackageError> {
///     let findings = check(&Package::open(Path::new(path))?).into_iter();
///     Ok(findings.filter(|finding| finding.severity == Severity::Error).count())
/// };
/// assert_eq!(errors("tests/packages/tiny-apple.mlpackage")?, 0);
/// assert_ne!(errors("tests/packages/tiny-defect.mlpackage")?, 0);
/// # Ok::<(), harness_coreml::PackageError>(())
/// ```
#[must_use]
pub fn check(package: &Package) -> Vec<Finding> {
    let specification = &package.specification;
    let mut findings = promises::version(package);
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
            Some(function) => findings.extend(promises::description_of(description, function)),
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
