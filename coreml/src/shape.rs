//! The shape of a model, as its converter notes it or as its program shows it.

use engine::{ModelConfig, NumberFormat};

use crate::error::PackageError;
use crate::names::Names;
use crate::package::Package;
use crate::program::{Function, Port};
use crate::signature::{Signature, Widths};
use crate::summary::Summary;

/// No extent of a model is larger.
const MOST: usize = 1 << 31;

/// What is known of a package's model.
#[derive(Clone, Debug)]
pub(crate) struct Shape {
    pub(crate) model: ModelConfig,
    /// How matrices are stored.
    pub(crate) weights: NumberFormat,
}

impl Shape {
    /// From the converter's note, or else from `function`, one that answers logits.
    ///
    /// # Errors
    /// For a damaged note, and for sizes that nothing tells.
    pub(crate) fn of(
        package: &Package,
        function: &Function,
        signature: &Signature,
        names: &Names,
    ) -> Result<Self, PackageError> {
        let mut shape = match package.config()? {
            Some(config) => Self {
                weights: config.scheme.format(),
                model: config.model,
            },
            None => Self::shown(package, function, signature, names)?,
        };
        shape.model.context = names.context.unwrap_or(shape.model.context);
        shape.model.heads = names.heads.unwrap_or(shape.model.heads);
        let model = &shape.model;
        let sizes = [
            model.layers,
            model.hidden,
            model.feed_forward,
            model.vocab,
            model.context,
            model.heads,
        ];
        match sizes.iter().all(|size| (1..=MOST).contains(size)) {
            true => Ok(shape),
            false => Err(PackageError::Specification(format!(
                "sizes that no model has: {sizes:?} layers, hidden, feed-forward, vocabulary, \
                 context, heads"
            ))),
        }
    }

    /// As far as tensors show it. Query heads are taken to be as wide as keys, and the
    /// axes of a state to end in places and features of a head.
    fn shown(
        package: &Package,
        function: &Function,
        signature: &Signature,
        names: &Names,
    ) -> Result<Self, PackageError> {
        let missing = |what: &str| {
            Err(PackageError::Specification(format!(
                "nothing in the package tells {what}"
            )))
        };
        let made = || function.operations.iter().flat_map(|o| &o.outputs);
        let width = |name: &String| {
            let port = made().find(|port| port.name == *name)?;
            port.ty.shape.last().copied().flatten()
        };
        let parts: Option<Vec<usize>> = signature.outputs.iter().map(width).collect();
        let parts = parts.unwrap_or_default();
        let vocab = (parts.iter()).try_fold(0usize, |sum, part| sum.checked_add(*part));
        let Some(vocab) = vocab.filter(|&vocab| vocab > 0) else {
            return missing("the size of its vocabulary");
        };
        let states: Vec<Vec<usize>> = (function.states.iter())
            .filter_map(|port| port.ty.fixed())
            .collect();
        let state = states.first().map_or(&[][..], Vec::as_slice);
        let from_end = |axis: usize| state.iter().rev().nth(axis).copied();
        let covered = match signature.widths {
            Some(Widths::All(width)) => Some(width),
            Some(Widths::End(longest)) => {
                let held = from_end(1).unwrap_or(usize::MAX).min(longest);
                (held != usize::MAX).then_some(held)
            }
            None => from_end(1),
        };
        let Some(context) = names.context.or(covered).filter(|&context| context > 0) else {
            return missing("how many tokens it holds; name it by context=");
        };
        let layers = match (states.len(), state) {
            // Keys and values of all layers in one, or in one each.
            (1, [both, _, _, _, ..]) => both / 2,
            (2, [layers, _, _, _, _]) => *layers,
            // One each for every layer.
            (count, _) => count / 2,
        };
        let weights: Vec<[usize; 2]> = made().filter_map(matrix).collect();
        let table = weights.iter().find(|[rows, _]| *rows == vocab);
        let head_dim = from_end(0).unwrap_or(1).max(1);
        let kv_heads = from_end(2).unwrap_or(1).max(1);
        let hidden = table.map_or(kv_heads.saturating_mul(head_dim), |[_, columns]| *columns);
        let inner = weights.iter();
        let inner = inner.filter(|[rows, _]| *rows != vocab && !parts.contains(rows));
        let inner = inner.filter(|[rows, columns]| *rows == hidden || *columns == hidden);
        let summary = Summary::new(package);
        Ok(Self {
            model: ModelConfig {
                architecture: "ml_program".into(),
                layers: layers.max(1),
                hidden,
                feed_forward: inner.map(|[r, c]| *r.max(c)).max().unwrap_or(hidden),
                heads: (hidden / head_dim).max(1),
                kv_heads,
                head_dim,
                vocab,
                context,
                parameters: summary.weights.iter().map(|w| w.weights).sum(),
            },
            weights: stored(&summary),
        })
    }
}

/// Rows and columns of a weight that is a matrix, or a convolution of one place.
fn matrix(port: &Port) -> Option<[usize; 2]> {
    match port.ty.fixed()?.as_slice() {
        [rows, columns] | [rows, columns, 1, 1] => Some([*rows, *columns]),
        _ => None,
    }
}

/// The number format with the noise of how most weights are stored.
fn stored(summary: &Summary) -> NumberFormat {
    let most = summary.weights.iter().max_by_key(|weights| weights.weights);
    match most.map_or("", |most| most.scheme.as_str()) {
        "palette of uint4" => NumberFormat::Palette4G16,
        "blocks of int4" | "blocks of uint4" => NumberFormat::Int4B32,
        "blocks of int8" | "blocks of uint8" => NumberFormat::Q8_0,
        "float32" => NumberFormat::F32,
        _ => NumberFormat::F16,
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use proptest::prelude::*;

    use super::*;
    use crate::engine::signatures;
    use crate::signature::Answer;
    use crate::spec::Specification;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(400))]

        /// Whatever byte changes, the package is refused, or has sizes that a model may have.
        #[test]
        fn changed_bytes_never_panic(at in 0usize..1 << 20, value in any::<u8>(), anemll in any::<bool>()) {
            let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/packages");
            let folder = folder.join(match anemll {
                true => "tiny-anemll.mlpackage",
                false => "tiny-apple.mlpackage",
            });
            let mut bytes = fs::read(folder.join("Data/com.apple.CoreML/model.mlmodel")).unwrap();
            let at = at % bytes.len();
            bytes[at] = value;
            let whole = Package::open(&folder).unwrap();
            let Ok(specification) = Specification::decode(&bytes) else {
                return Ok(());
            };
            let (package, names) = (Package { specification, ..whole }, Names::default());
            for (name, signature) in signatures(&package, &names).into_iter().flatten() {
                let function = &package.specification.program.functions[&name];
                if signature.answer == Answer::Logits
                    && let Ok(shape) = Shape::of(&package, function, &signature, &names)
                {
                    prop_assert!((1..=MOST).contains(&shape.model.vocab));
                    let inputs = signature.inputs(&[1], 0);
                    prop_assert!(!inputs.is_empty());
                }
            }
        }
    }
}
