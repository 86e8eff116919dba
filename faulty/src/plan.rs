//! A plan as of an engine on a Neural Engine, which there is none of.

use std::time::Duration;

use engine::{ComputeDevice, PlacedOperation, Placement};

/// Operations of one layer, the dearest last.
const LAYER: [&str; 8] = [
    "layer_norm",
    "softmax",
    "silu",
    "mul",
    "add",
    "scaled_dot_product_attention",
    "matmul",
    "linear",
];

/// The plan of a model of `layers`, `off_ane` operations of each on the CPU.
pub(crate) fn pretended(layers: usize, off_ane: usize) -> Placement {
    // An operation costs as many parts as its place tells.
    let parts = (layers * LAYER.len() * (LAYER.len() + 1) / 2).max(1) as f64;
    let operation = |layer: usize, (index, kind): (usize, &&str)| PlacedOperation {
        function: "main".into(),
        name: format!("layer_{layer}_{kind}"),
        kind: (*kind).into(),
        preferred: match index < off_ane {
            true => ComputeDevice::Cpu,
            false => ComputeDevice::NeuralEngine,
        },
        supported: ComputeDevice::ALL.to_vec(),
        cost: Some((index + 1) as f64 / parts),
    };
    let layer = |layer| LAYER.iter().enumerate().map(move |at| operation(layer, at));
    Placement {
        operations: (0..layers).flat_map(layer).collect(),
        compile: None,
        load: Duration::ZERO,
    }
}
