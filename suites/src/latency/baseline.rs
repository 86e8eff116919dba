//! The engine beside the baseline.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use stats::{Interval, hodges_lehmann};

use super::Run;
use super::answers::{DECODE, Steady};
use super::extent::CONFIDENCE;
use crate::{Better, Measurement, Role, SuiteError};

/// Where the baseline leaves its times.
const FILE: &str = "latency-baseline.json";

/// The baseline's steady times, in nanoseconds.
#[derive(Serialize, Deserialize)]
struct Times {
    ttft: Vec<f64>,
    tpot: Vec<f64>,
}

/// Leaves the baseline's times in the scratch folder, or holds a candidate's against them.
pub(super) fn compare(
    run: &Run<'_, '_>,
    length: usize,
    steady: &Steady,
) -> Result<Vec<Measurement>, SuiteError> {
    let path = run.cell.scratch.join(FILE);
    let scratch = |path: PathBuf| move |source| SuiteError::Scratch(path, source);
    if run.cell.role == Role::Baseline {
        let times = Times {
            ttft: steady.ttft_ns.clone(),
            tpot: steady.tpot_ns.clone(),
        };
        let text = serde_json::to_vec(&times).map_err(|e| scratch(path.clone())(e.into()))?;
        std::fs::write(&path, text).map_err(scratch(path))?;
        return Ok(Vec::new());
    }
    let text = std::fs::read(&path).map_err(scratch(path.clone()))?;
    let times: Times = serde_json::from_slice(&text).map_err(|e| scratch(path)(e.into()))?;
    let prompt = format!("prompt_{length}");
    Ok(vec![
        ratio(prompt, "ttft_ratio", &times.ttft, &steady.ttft_ns),
        ratio(DECODE.into(), "tpot_ratio", &times.tpot, &steady.tpot_ns),
    ])
}

/// How many times as long the candidate takes: the Hodges-Lehmann shift of logarithms.
fn ratio(case: String, metric: &'static str, baseline: &[f64], own: &[f64]) -> Measurement {
    let logarithms = |times: &[f64]| times.iter().map(|ns| ns.max(1.0).ln()).collect::<Vec<_>>();
    let (n, better) = (own.len() as u64, Better::Lower);
    match hodges_lehmann(&logarithms(baseline), &logarithms(own), CONFIDENCE) {
        Ok(shift) => Measurement {
            interval: Some(Interval {
                low: shift.interval.low.exp(),
                high: shift.interval.high.exp(),
                ..shift.interval
            }),
            why: Some(
                "measured one after the other, not in pairs: what the machine did meanwhile \
                 is in it, and no part of the interval"
                    .into(),
            ),
            ..Measurement::new(case, metric, "1", better, shift.value.exp(), n)
        },
        Err(error) => Measurement::withheld(case, metric, "1", better, n, error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn twice_the_time_is_a_ratio_of_two() {
        let baseline: Vec<f64> = (100..120).map(f64::from).collect();
        let own: Vec<f64> = baseline.iter().map(|ns| 2.0 * ns).collect();
        let ratio = ratio("decode".into(), "tpot_ratio", &baseline, &own);
        let interval = ratio.interval.unwrap();
        assert!((ratio.value - 2.0).abs() < 0.01, "{}", ratio.value);
        assert!(1.8 < interval.low && interval.high < 2.2);
    }
}
