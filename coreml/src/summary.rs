//! A package at a glance.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::package::Package;
use crate::program::{Operation, Port};
use crate::spec::{Feature, deployment_target};
use crate::weights::Blob;

/// What a package holds.
///
/// ```
/// use std::path::Path;
///
/// use harness_coreml::{Package, Summary};
///
/// let summary = Summary::new(&Package::open(Path::new("tests/packages/tiny-fp16.mlpackage"))?);
/// let target = summary.minimum_deployment_target;
/// assert!(target.is_some_and(|systems| systems.contains("iOS 18")));
/// # Ok::<(), harness_coreml::PackageError>(())
/// ```
#[derive(Clone, Debug, Serialize)]
pub struct Summary {
    /// Version of the specification.
    pub specification_version: i32,
    /// The oldest systems that run it.
    pub minimum_deployment_target: Option<&'static str>,
    /// Semantic version of the model.
    pub model_version: String,
    /// One line about it.
    pub about: String,
    /// Whatever its makers noted.
    pub metadata: BTreeMap<String, String>,
    /// Its functions.
    pub functions: Vec<FunctionSummary>,
    /// Bytes in weight files by storage, each blob once.
    pub weights: Vec<WeightBytes>,
}

/// A function at a glance.
///
/// ```
/// use std::path::Path;
///
/// use harness_coreml::{Package, Summary};
///
/// let summary = Summary::new(&Package::open(Path::new("tests/packages/tiny-fp16.mlpackage"))?);
/// let main = &summary.functions[0];
/// // Two layers' keys and values, 64 positions of two heads of 8, in half precision.
/// assert_eq!(main.state_bytes, 2 * 2 * 64 * 2 * 8 * 2);
/// assert!(main.operations.contains_key("matmul"));
/// # Ok::<(), harness_coreml::PackageError>(())
/// ```
#[derive(Clone, Debug, Serialize)]
pub struct FunctionSummary {
    /// Name.
    pub name: String,
    /// `name: type of shape`.
    pub inputs: Vec<String>,
    /// The same.
    pub outputs: Vec<String>,
    /// The same.
    pub states: Vec<String>,
    /// Bytes of all states.
    pub state_bytes: u64,
    /// How often each operation stands in it, constants left out.
    pub operations: BTreeMap<String, usize>,
}

/// Weights stored one way.
///
/// ```
/// use std::path::Path;
///
/// use harness_coreml::{Package, Summary};
///
/// let summary = Summary::new(&Package::open(Path::new("tests/packages/tiny-multi.mlpackage"))?);
/// let palettes = summary.weights.iter().find(|w| w.scheme == "palette of uint4");
/// let palettes = palettes.ok_or("no palettes")?;
/// // Four bits, and tables that matter in so small a model.
/// assert!(palettes.bytes * 8 > palettes.weights * 4);
/// assert_eq!(palettes.tensors, 2 * 7);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Serialize)]
pub struct WeightBytes {
    /// Storage: an element type, or a compression with the type of its codes.
    pub scheme: String,
    /// Tensors.
    pub tensors: u64,
    /// Weights they stand for.
    pub weights: u64,
    /// Bytes, tables and scales included.
    pub bytes: u64,
}

impl Summary {
    /// Summarises `package`.
    ///
    /// ```
    /// use std::path::Path;
    ///
    /// use harness_coreml::{Package, Summary};
    ///
    /// let package = Package::open(Path::new("tests/packages/tiny-multi.mlpackage"))?;
    /// let summary = Summary::new(&package);
    /// let names: Vec<&str> = summary.functions.iter().map(|f| f.name.as_str()).collect();
    /// assert!(names.contains(&"encode"));
    /// # Ok::<(), harness_coreml::PackageError>(())
    /// ```
    #[must_use]
    pub fn new(package: &Package) -> Self {
        let specification = &package.specification;
        let functions = specification.functions.iter().filter_map(|description| {
            let function = specification.program.functions.get(&description.name)?;
            let mut operations = BTreeMap::new();
            for operation in function.operations.iter().filter(|o| o.kind != "const") {
                *operations.entry(operation.kind.clone()).or_default() += 1;
            }
            let bytes = |port: &Port| {
                let elements: Option<usize> = port
                    .ty
                    .fixed()?
                    .into_iter()
                    .try_fold(1usize, usize::checked_mul);
                Some(elements? as u64 * port.ty.dtype.bits()? as u64 / 8)
            };
            Some(FunctionSummary {
                name: description.name.clone(),
                inputs: description.inputs.iter().map(feature).collect(),
                outputs: description.outputs.iter().map(feature).collect(),
                states: description.states.iter().map(feature).collect(),
                state_bytes: function.states.iter().filter_map(bytes).sum(),
                operations,
            })
        });
        Self {
            specification_version: specification.version,
            minimum_deployment_target: deployment_target(specification.version),
            model_version: specification.model_version.clone(),
            about: specification.about.clone(),
            metadata: specification.metadata.clone(),
            functions: functions.collect(),
            weights: weights(package),
        }
    }
}

fn feature(feature: &Feature) -> String {
    let dtype = feature
        .dtype
        .map_or("no array".into(), |dtype| dtype.to_string());
    match feature.shape.is_empty() {
        true => format!("{}: {dtype}", feature.name),
        false => format!(
            "{}: {dtype} of {}",
            feature.name,
            feature.shapes.text(&feature.shape)
        ),
    }
}

fn weights(package: &Package) -> Vec<WeightBytes> {
    let mut totals: BTreeMap<String, WeightBytes> = BTreeMap::new();
    let mut seen: Vec<&Blob> = Vec::new();
    let size = |blob: &Blob| {
        package
            .weights
            .bytes(blob)
            .map_or(0, |bytes| bytes.len() as u64)
    };
    let functions = package.specification.program.functions.values();
    for operation in functions.flat_map(|function| &function.operations) {
        let own: Vec<&Blob> = operation.blobs().collect();
        let Some(largest) = own
            .iter()
            .max_by_key(|blob| blob.shape.iter().product::<usize>())
        else {
            continue;
        };
        if seen.contains(largest) {
            continue;
        }
        let total = totals
            .entry(scheme(operation, largest))
            .or_insert_with(|| WeightBytes {
                scheme: scheme(operation, largest),
                tensors: 0,
                weights: 0,
                bytes: 0,
            });
        total.tensors += 1;
        total.weights += largest.shape.iter().product::<usize>() as u64;
        total.bytes += own.iter().map(|blob| size(blob)).sum::<u64>();
        seen.extend(own);
    }
    totals.into_values().collect()
}

fn scheme(operation: &Operation, blob: &Blob) -> String {
    match operation.kind.strip_prefix("constexpr_") {
        None => blob.dtype.to_string(),
        Some("lut_to_dense") => format!("palette of {}", blob.dtype),
        Some("blockwise_shift_scale") => format!("blocks of {}", blob.dtype),
        Some(other) => format!("{other} of {}", blob.dtype),
    }
}
