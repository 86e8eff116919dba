//! Where operations run, as the framework plans it that an engine leaves the choice to.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// What can compute an operation.
///
/// ```
/// use harness_engine::ComputeDevice;
///
/// assert_eq!(ComputeDevice::ALL.map(ComputeDevice::name), ["ane", "gpu", "cpu"]);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ComputeDevice {
    /// Apple's Neural Engine, or another NPU.
    NeuralEngine,
    /// The graphics processor.
    Gpu,
    /// The processor.
    Cpu,
}

impl ComputeDevice {
    /// Every device.
    pub const ALL: [Self; 3] = [Self::NeuralEngine, Self::Gpu, Self::Cpu];

    /// Name in metrics.
    ///
    /// ```
    /// use harness_engine::ComputeDevice;
    ///
    /// let metric = |device: ComputeDevice| format!("operations_on_{}", device.name());
    /// assert_eq!(metric(ComputeDevice::NeuralEngine), "operations_on_ane");
    /// ```
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::NeuralEngine => "ane",
            Self::Gpu => "gpu",
            Self::Cpu => "cpu",
        }
    }
}

impl fmt::Display for ComputeDevice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// An operation and where it is planned to run.
///
/// ```
/// use harness_engine::{ComputeDevice, PlacedOperation};
///
/// let softmax = PlacedOperation {
///     function: "decode".into(),
///     name: "attention_weights_3".into(),
///     kind: "softmax".into(),
///     preferred: ComputeDevice::Cpu,
///     supported: vec![ComputeDevice::Gpu, ComputeDevice::Cpu],
///     cost: Some(0.02),
/// };
/// // It is not the plan's choice that keeps it off the Neural Engine.
/// assert!(!softmax.supported.contains(&ComputeDevice::NeuralEngine));
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PlacedOperation {
    /// Function it belongs to, e.g. `decode`.
    pub function: String,
    /// Name of its first result.
    pub name: String,
    /// What it does, e.g. `matmul`.
    pub kind: String,
    /// Where it will run.
    pub preferred: ComputeDevice,
    /// Where it could.
    pub supported: Vec<ComputeDevice>,
    /// Estimated share of what its function takes, from 0 to 1, if there is an estimate.
    pub cost: Option<f64>,
}

/// A model's plan, and what it took to get there.
///
/// ```
/// use std::time::Duration;
/// use harness_engine::{ComputeDevice, PlacedOperation, Placement};
///
/// let operation = |name: &str, preferred, cost| PlacedOperation {
///     function: "decode".into(),
///     name: name.into(),
///     kind: "matmul".into(),
///     preferred,
///     supported: ComputeDevice::ALL.into(),
///     cost: Some(cost),
/// };
/// let plan = Placement {
///     operations: vec![
///         operation("q", ComputeDevice::NeuralEngine, 0.75),
///         operation("k", ComputeDevice::Gpu, 0.25),
///     ],
///     compile: Some(Duration::from_millis(900)),
///     load: Duration::from_millis(40),
/// };
/// let on_ane = plan.operations.iter().filter(|op| op.preferred == ComputeDevice::NeuralEngine);
/// assert_eq!(on_ane.filter_map(|op| op.cost).sum::<f64>(), 0.75);
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Placement {
    /// Operations in the order of their functions; constants are none.
    pub operations: Vec<PlacedOperation>,
    /// Time to compile the model; `None` when that was done before.
    pub compile: Option<Duration>,
    /// Time to load all functions of the compiled model.
    pub load: Duration,
}
