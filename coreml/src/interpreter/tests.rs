//! Operations against NumPy, on programs that coremltools wrote.

use serde::Deserialize;

use super::{Precision, States, compile};
use crate::spec::Specification;
use crate::tensor::{Data, DataType, Tensor};
use crate::weights::Weights;

#[derive(Deserialize)]
struct Case {
    name: String,
    kind: String,
    /// Terms summed for one result.
    terms: u32,
    /// Largest sum of their magnitudes.
    scale: f64,
    inputs: std::collections::BTreeMap<String, Array>,
    want: Array,
    spec: String,
    weights: String,
}

#[derive(Deserialize)]
struct Array {
    shape: Vec<usize>,
    float: bool,
    values: Vec<f64>,
}

impl Array {
    fn tensor(&self) -> Tensor {
        if self.float {
            let values = self.values.iter().map(|&value| value as f32).collect();
            return Tensor::floats(DataType::Float16, &self.shape, values);
        }
        let values = self.values.iter().map(|&value| value as i32).collect();
        Tensor::ints(DataType::Int32, &self.shape, values)
    }
}

fn bytes(hex: &str) -> Vec<u8> {
    let digit = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
    (0..hex.len()).step_by(2).map(digit).collect()
}

/// How far a result of `want` may be from it: half a place of f16 (in relation to
/// the value, or 2⁻²⁵ among subnormals), and before that in f32 one rounding for
/// each of the terms and eight for a library function, each of 2⁻²⁴ of what is
/// summed.
fn tolerance(want: f64, case: &Case) -> f64 {
    let computing = f64::from(case.terms + 8) * 2f64.powi(-24) * case.scale.max(want.abs());
    (want.abs() + computing) * 2f64.powi(-11) + 2f64.powi(-25) + computing
}

#[test]
fn every_operation_agrees_with_numpy() {
    let cases: Vec<Case> =
        serde_json::from_str(include_str!("../../tests/vectors/ops.json")).unwrap();
    let mut wrong = Vec::new();
    println!("{:45} {:>10} {:>10}", "operation", "worst", "allowed");
    for case in &cases {
        let specification = Specification::decode(&bytes(&case.spec)).unwrap();
        let mut weights = Weights::default();
        weights.insert("@model_path/weights/weight.bin", bytes(&case.weights));
        let function = &specification.program.functions["main"];
        let executable = compile("main", function, &weights, &mut Default::default())
            .unwrap_or_else(|error| panic!("{}: {error}", case.name));
        let inputs: Vec<_> = case
            .inputs
            .iter()
            .map(|(name, array)| (name.as_str(), array.tensor()))
            .collect();
        let mut states = States::default();
        let result = executable.run(
            &inputs,
            &mut states,
            &["result".into()],
            Precision::Declared,
        );
        let results = result.unwrap_or_else(|error| panic!("{}: {error}", case.name));
        let result = &results[0];
        assert_eq!(result.shape(), case.want.shape, "{}", case.name);
        let found = result.to_floats().unwrap();
        assert_eq!(
            case.kind == "float",
            matches!(result.data, Data::Float(_)),
            "{}",
            case.name
        );
        // The element nearest to its limit.
        let (mut worst, mut allowed) = (0.0, 1.0);
        for (&found, &want) in found.iter().zip(&case.want.values) {
            let error = (f64::from(found) - want).abs();
            let limit = if case.want.float {
                tolerance(want, case)
            } else {
                0.5
            };
            if error / limit >= worst / allowed {
                (worst, allowed) = (error, limit);
            }
        }
        println!("{:45} {worst:10.2e} {allowed:10.2e}", case.name);
        if worst > allowed {
            wrong.push(&case.name);
        }
    }
    assert!(wrong.is_empty(), "{wrong:?}");
    assert!(cases.len() > 100);
}
