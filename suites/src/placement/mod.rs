//! Suite `placement`: on which device does each operation run, and what does it cost to get
//! a model there?
//!
//! Frameworks that choose devices by themselves fall back without a word: one operation that
//! the Neural Engine does not take can bring its neighbours to the CPU. This suite reads the
//! plan that the framework tells. It says nothing of speed, which is suite `latency`'s business.

mod figures;

use std::path::Path;
use std::time::{Duration, Instant};

use engine::{Capability, PlacedOperation, Placement, Want};

use crate::{Basis, Better, Cell, Input, Measurement, Setting, Suite, SuiteError};

/// Case of the figures that concern no function: functions are never called so.
const OPEN: &str = "open";

/// The suite.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PlacementSuite;

impl Suite for PlacementSuite {
    fn name(&self) -> &'static str {
        "placement"
    }

    fn about(&self) -> &'static str {
        "which device each operation is planned for, by number and estimated cost; time to compile, \
         load and first predict"
    }

    fn settings(&self) -> &'static [Setting] {
        &[]
    }

    fn gates(&self) -> &'static [(&'static str, &'static str)] {
        &[(
            "ane_share, ane_cost_share",
            "none of its own; set e.g. \"placement.ane_share >= 0.9\"",
        )]
    }

    fn requires(&self) -> &'static [&'static [Capability]] {
        &[&[Capability::Placement]]
    }

    fn compares_tokens(&self) -> bool {
        false
    }

    fn stands_alone(&self) -> bool {
        true
    }

    fn validate(&self, input: &Input<'_>) -> Result<(), SuiteError> {
        Ok(input
            .settings
            .refuse_unknown(self.name(), self.settings())?)
    }

    fn basis(&self) -> Option<Basis> {
        Some(Basis::Exact)
    }

    fn run(&self, cell: &mut Cell<'_>) -> Result<Vec<Measurement>, SuiteError> {
        let start = Instant::now();
        let model = (cell.open)()?;
        let open = start.elapsed();
        (cell.progress)(1, 3);
        let start = Instant::now();
        model.session()?.extend(&[0], Want::Last)?;
        let first = start.elapsed();
        (cell.progress)(2, 3);
        let placement = model.placement()?;
        let (folder, stem) = cell.artifacts;
        write(&folder.join(format!("{stem}.placement.csv")), &placement)?;
        (cell.progress)(3, 3);
        let mut measurements = figures::all(&placement.operations);
        measurements.extend(times(&placement, open, first));
        Ok(measurements)
    }
}

/// What it took to get ready.
fn times(placement: &Placement, open: Duration, first: Duration) -> [Measurement; 4] {
    let figure = |metric: &'static str, took: Duration| Measurement {
        basis: Some(Basis::Machine),
        ..Measurement::new(OPEN, metric, "ns", Better::Lower, took.as_nanos() as f64, 1)
    };
    [
        figure("open_ns", open),
        match placement.compile {
            Some(took) => figure("compile_ns", took),
            None => Measurement::withheld(
                OPEN,
                "compile_ns",
                "ns",
                Better::Lower,
                0,
                "the model was compiled before",
            ),
        },
        figure("load_ns", placement.load),
        figure("first_prediction_ns", first),
    ]
}

/// Writes a line for each operation.
fn write(path: &Path, placement: &Placement) -> Result<(), SuiteError> {
    let written = || -> csv::Result<()> {
        let mut table = csv::Writer::from_path(path)?;
        table.write_record([
            "function",
            "operation",
            "kind",
            "preferred",
            "supported",
            "cost",
        ])?;
        for operation in &placement.operations {
            let PlacedOperation {
                function,
                name,
                kind,
                preferred,
                supported,
                cost,
            } = operation;
            let supported: Vec<_> = supported.iter().map(|device| device.name()).collect();
            let cost = cost.map_or(String::new(), |cost| cost.to_string());
            table.write_record([
                function,
                name,
                kind,
                preferred.name(),
                &supported.join(" "),
                &cost,
            ])?;
        }
        Ok(table.flush()?)
    };
    written().map_err(|error| SuiteError::Scratch(path.into(), error.into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use engine::ComputeDevice;

    #[test]
    fn a_model_compiled_before_has_no_time_of_compiling() {
        let placement = |compile| Placement {
            operations: Vec::new(),
            compile,
            load: Duration::from_nanos(2),
        };
        let told = |compile| times(&placement(compile), Duration::ZERO, Duration::ZERO)[1].value;
        assert_eq!(told(Some(Duration::from_nanos(7))), 7.0);
        assert!(told(None).is_nan());
    }

    #[test]
    fn the_table_has_every_operation() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("table.csv");
        let placement = Placement {
            operations: vec![PlacedOperation {
                function: "main".into(),
                name: "an \"odd\", name".into(),
                kind: "matmul".into(),
                preferred: ComputeDevice::Gpu,
                supported: vec![ComputeDevice::Gpu, ComputeDevice::Cpu],
                cost: Some(0.25),
            }],
            compile: None,
            load: Duration::ZERO,
        };
        write(&path, &placement).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(
            text.lines().nth(1),
            Some("main,\"an \"\"odd\"\", name\",matmul,gpu,gpu cpu,0.25")
        );
    }
}
