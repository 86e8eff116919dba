//! Shares of devices.

use std::collections::BTreeMap;

use engine::{ComputeDevice, PlacedOperation};

use crate::{Better, Measurement};

/// Kinds of operations that a reason names, the commonest first.
const MOST_KINDS: usize = 6;

/// All figures of `operations`, function by function.
pub(super) fn all(operations: &[PlacedOperation]) -> Vec<Measurement> {
    let mut functions: Vec<&str> = Vec::new();
    for operation in operations {
        if !functions.contains(&operation.function.as_str()) {
            functions.push(&operation.function);
        }
    }
    let of = |function: &str| {
        let own = operations.iter().filter(|o| o.function == function);
        figures(function, &own.collect::<Vec<_>>())
    };
    functions.into_iter().flat_map(of).collect()
}

fn figures(function: &str, operations: &[&PlacedOperation]) -> Vec<Measurement> {
    // A dot would end the name of the case.
    let case = function.replace('.', "_");
    let count = operations.len() as u64;
    let mut measurements = Vec::new();
    for device in ComputeDevice::ALL {
        let better = match device {
            ComputeDevice::NeuralEngine => Better::Higher,
            ComputeDevice::Gpu | ComputeDevice::Cpu => Better::Equal,
        };
        let on = |operation: &&&PlacedOperation| operation.preferred == device;
        let share = operations.iter().filter(on).count() as f64 / count as f64;
        let metric = format!("{device}_share");
        let headline = device == ComputeDevice::NeuralEngine;
        measurements.push(Measurement {
            headline,
            ..Measurement::new(case.clone(), metric, "share", better, share, count)
        });
        let metric = format!("{device}_cost_share");
        measurements.push(match cost_share(operations, device) {
            Some((share, n)) => Measurement {
                headline,
                ..Measurement::new(case.clone(), metric, "share", better, share, n)
            },
            None => Measurement::withheld(
                case.clone(),
                metric,
                "share",
                better,
                0,
                "the framework estimates no costs",
            ),
        });
    }
    let figure = |metric: &'static str, value: usize| {
        let (unit, better) = ("operations", Better::Lower);
        Measurement::new(case.clone(), metric, unit, better, value as f64, count)
    };
    let ane = ComputeDevice::NeuralEngine;
    let off: Vec<_> = (operations.iter())
        .filter(|operation| operation.preferred != ane)
        .collect();
    let refused = (off.iter()).filter(|operation| !operation.supported.contains(&ane));
    let switches = operations
        .windows(2)
        .filter(|pair| pair[0].preferred != pair[1].preferred);
    measurements.extend([
        Measurement {
            why: (!off.is_empty()).then(|| kinds(off.iter().map(|o| o.kind.as_str()))),
            headline: true,
            ..figure("off_ane", off.len())
        },
        Measurement {
            why: Some("of these, the Neural Engine does not take".into()),
            ..figure("refused_by_ane", refused.count())
        },
        Measurement {
            why: Some("from one operation to the next in order".into()),
            ..figure("device_changes", switches.count())
        },
    ]);
    measurements
}

/// The share of estimated costs on `device`, and how many operations have an estimate.
fn cost_share(operations: &[&PlacedOperation], device: ComputeDevice) -> Option<(f64, u64)> {
    let (mut on, mut all, mut count) = (0.0, 0.0, 0);
    for operation in operations {
        let Some(cost) = operation.cost.filter(|cost| cost.is_finite()) else {
            continue;
        };
        count += 1;
        all += cost;
        if operation.preferred == device {
            on += cost;
        }
    }
    (all > 0.0).then_some((on / all, count))
}

/// Kinds with their numbers, the commonest first.
fn kinds<'a>(all: impl Iterator<Item = &'a str>) -> String {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for kind in all {
        *counts.entry(kind).or_default() += 1;
    }
    let mut counts: Vec<_> = counts.into_iter().collect();
    counts.sort_by_key(|&(_, count)| std::cmp::Reverse(count));
    let named = counts.iter().take(MOST_KINDS);
    let named: Vec<String> = named
        .map(|(kind, count)| format!("{count} {kind}"))
        .collect();
    match counts.len() > MOST_KINDS {
        true => format!("{} and others", named.join(", ")),
        false => named.join(", "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn operation(
        function: &str,
        kind: &str,
        preferred: ComputeDevice,
        cost: Option<f64>,
    ) -> PlacedOperation {
        PlacedOperation {
            function: function.into(),
            name: format!("{kind}_0"),
            kind: kind.into(),
            preferred,
            supported: match kind {
                "gather" => vec![ComputeDevice::Cpu],
                _ => ComputeDevice::ALL.to_vec(),
            },
            cost,
        }
    }

    fn value(measurements: &[Measurement], case: &str, metric: &str) -> f64 {
        let mut all = measurements.iter();
        let found = all.find(|m| m.case == case && m.metric == metric);
        found.unwrap().value
    }

    #[test]
    fn shares_are_of_a_function() {
        use ComputeDevice::{Cpu, Gpu, NeuralEngine as Ane};
        let operations = [
            operation("decode", "gather", Cpu, Some(0.1)),
            operation("decode", "matmul", Ane, Some(0.5)),
            operation("decode", "softmax", Cpu, Some(0.1)),
            operation("decode", "matmul", Ane, Some(0.1)),
            operation("pre.fill", "matmul", Gpu, None),
        ];
        let found = all(&operations);
        let of = |case, metric| value(&found, case, metric);
        assert_eq!(of("decode", "ane_share"), 0.5);
        assert_eq!(of("decode", "cpu_share"), 0.5);
        assert_eq!(of("decode", "gpu_share"), 0.0);
        // Costs need not sum to one.
        assert!((of("decode", "ane_cost_share") - 0.75).abs() < 1e-12);
        assert_eq!(of("decode", "off_ane"), 2.0);
        assert_eq!(of("decode", "refused_by_ane"), 1.0);
        assert_eq!(of("decode", "device_changes"), 3.0);
        assert_eq!(of("pre_fill", "gpu_share"), 1.0);
        assert!(of("pre_fill", "ane_cost_share").is_nan());
        let off = found.iter().find(|m| m.metric == "off_ane").unwrap();
        assert_eq!(off.why.as_deref(), Some("1 gather, 1 softmax"));
    }

    #[test]
    fn shares_of_cost_ignore_what_is_no_number() {
        let operations = [
            operation("main", "matmul", ComputeDevice::Cpu, Some(f64::NAN)),
            operation("main", "matmul", ComputeDevice::NeuralEngine, Some(2.0)),
            operation("main", "matmul", ComputeDevice::Gpu, None),
        ];
        assert_eq!(value(&all(&operations), "main", "ane_cost_share"), 1.0);
        assert!(all(&[]).is_empty());
    }
}
