//! Where operations run, as the framework plans it that an engine leaves the choice to.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// What can compute an operation.
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
#[derive(Clone, Debug, PartialEq)]
pub struct Placement {
    /// Operations in the order of their functions; constants are none.
    pub operations: Vec<PlacedOperation>,
    /// Time to compile the model; `None` when that was done before.
    pub compile: Option<Duration>,
    /// Time to load all functions of the compiled model.
    pub load: Duration,
}
