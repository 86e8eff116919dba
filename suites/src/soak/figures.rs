//! Slopes over the cycles.

use stats::{Estimate, median, theil_sen};

use super::conditions::Suspicions;
use super::cycle::Cycle;
use super::{LEAST_CYCLES, MAX_LEAK_BYTES};
use crate::reading::told;
use crate::{Better, Comparison, Gate, Measurement};

pub(super) const CASE: &str = "cycles";

const CONFIDENCE: f64 = 0.95;

/// Share of the cycles at the start that no slope sees: allocators reach their size in them,
/// threads their stacks, caches their content.
const WARM_UP: usize = 10;

/// Most points of a slope. Neighbouring cycles share the state of allocator and machine, which
/// would make the interval too narrow; medians of groups depend on each other less.
const MOST_GROUPS: usize = 50;

/// All figures of a soak.
pub(super) fn all(cycles: &[Cycle], max_leak_bytes: Option<u64>) -> Vec<Measurement> {
    let mut figures = leak(cycles, max_leak_bytes);
    figures.push(Measurement {
        headline: true,
        ..drift("drift_pct", cycles, |_| true)
    });
    figures.push(undisturbed_drift(cycles));
    figures.push(suspicious(cycles));
    figures.push(Measurement {
        headline: true,
        ..Measurement::new(
            CASE,
            "count",
            "cycles",
            Better::Higher,
            cycles.len() as f64,
            cycles.len() as u64,
        )
    });
    figures
}

fn leak(cycles: &[Cycle], max_leak_bytes: Option<u64>) -> Vec<Measurement> {
    let points = points(cycles, |cycle| Some(cycle.committed_bytes));
    let n = points.len() as u64;
    let slope = if cycles.iter().any(|cycle| cycle.committed_bytes.is_nan()) {
        Err("the system does not tell what memory the engine holds".into())
    } else {
        slope(&points)
    };
    let page = machine::Machine::detect().page_bytes;
    let page = page.ok_or_else(|| "the system does not tell the size of a page".to_owned());
    let bound = match max_leak_bytes {
        Some(bytes) => Ok((bytes, format!("set by {}", MAX_LEAK_BYTES.key))),
        None => page.map(|page| {
            (
                page,
                "one page, the least that a process can grow by".into(),
            )
        }),
    };
    let gated = slope
        .clone()
        .and_then(|slope| bound.map(|bound| (slope.interval.low, bound)));
    let gate = gated.as_ref().ok().map(|(_, (bytes, why))| Gate {
        comparison: Comparison::AtMost,
        bound: *bytes as f64,
        because: format!(
            "lower end of the {:.0} % interval; {why}",
            100.0 * CONFIDENCE
        ),
    });
    let figure = |metric, value| told(CASE, metric, "B", Better::Lower, value, n);
    vec![
        Measurement {
            interval: slope.as_ref().ok().map(|slope| slope.interval),
            headline: true,
            ..figure("leak_bytes", slope.map(|slope| slope.value))
        },
        Measurement {
            gate,
            ..figure("leak_low_bytes", gated.map(|(low, _)| low))
        },
    ]
}

/// Change of the decode time over the whole run, by the cycles that `counts` picks.
fn drift(metric: &'static str, cycles: &[Cycle], counts: impl Fn(&Cycle) -> bool) -> Measurement {
    let points = points(cycles, |cycle| counts(cycle).then_some(cycle.decode_ns));
    let n = points.len() as u64;
    let estimate = slope(&points).and_then(|slope| {
        let mut times: Vec<f64> = points.iter().map(|&(_, ns)| ns).collect();
        times.sort_by(f64::total_cmp);
        let median = median(&times).map_err(|why| why.to_string())?;
        let percent = 100.0 * cycles.len() as f64 / median;
        Ok(Estimate {
            value: percent * slope.value,
            interval: stats::Interval {
                low: percent * slope.interval.low,
                high: percent * slope.interval.high,
                ..slope.interval
            },
            ..slope
        })
    });
    Measurement {
        interval: estimate.as_ref().ok().map(|estimate| estimate.interval),
        ..told(
            CASE,
            metric,
            "%",
            Better::Equal,
            estimate.map(|estimate| estimate.value),
            n,
        )
    }
}

/// The drift once more, without the cycles that were disturbed.
fn undisturbed_drift(cycles: &[Cycle]) -> Measurement {
    const METRIC: &str = "undisturbed_drift_pct";
    let disturbed = count(cycles, Suspicions::any);
    let left = cycles.len() - disturbed;
    if left < LEAST_CYCLES {
        let why = format!(
            "{disturbed} of {} cycles were disturbed, and {LEAST_CYCLES} are needed that were not",
            cycles.len()
        );
        let n = left as u64;
        return Measurement::withheld(CASE, METRIC, "%", Better::Equal, n, why);
    }
    drift(METRIC, cycles, |cycle| !cycle.conditions.suspicions.any())
}

/// How many cycles ran under conditions that make their times suspicious, and which.
fn suspicious(cycles: &[Cycle]) -> Measurement {
    let reasons: Vec<String> = Suspicions::NAMES
        .iter()
        .enumerate()
        .map(|(index, name)| (count(cycles, |s| s.list()[index]), name))
        .filter(|(cycles, _)| *cycles > 0)
        .map(|(cycles, name)| format!("{cycles} {name}"))
        .collect();
    let value = count(cycles, Suspicions::any) as f64;
    Measurement {
        why: (!reasons.is_empty()).then(|| {
            let reasons = reasons.join(", ");
            format!("{reasons}: the times of these cycles are suspicious")
        }),
        headline: true,
        ..Measurement::new(
            CASE,
            "suspicious",
            "cycles",
            Better::Lower,
            value,
            cycles.len() as u64,
        )
    }
}

fn count(cycles: &[Cycle], is: impl Fn(Suspicions) -> bool) -> usize {
    let found = cycles
        .iter()
        .filter(|cycle| is(cycle.conditions.suspicions));
    found.count()
}

/// Points of a slope: groups of neighbouring cycles after the warm-up, by the medians of their
/// indices and of `figure`, where there is one.
fn points(cycles: &[Cycle], figure: impl Fn(&Cycle) -> Option<f64>) -> Vec<(f64, f64)> {
    let warm_up = cycles.len().div_ceil(WARM_UP);
    let taken: Vec<(f64, f64)> = cycles
        .iter()
        .enumerate()
        .skip(warm_up)
        .filter_map(|(index, cycle)| Some((index as f64, figure(cycle)?)))
        .collect();
    let size = taken.len().div_ceil(MOST_GROUPS).max(1);
    let middle = |mut values: Vec<f64>| {
        values.sort_by(f64::total_cmp);
        median(&values).unwrap_or(f64::NAN)
    };
    taken
        .chunks(size)
        .map(|group| {
            let (x, y): (Vec<f64>, Vec<f64>) = group.iter().copied().unzip();
            (middle(x), middle(y))
        })
        .collect()
}

fn slope(points: &[(f64, f64)]) -> Result<Estimate, String> {
    let (x, y): (Vec<f64>, Vec<f64>) = points.iter().copied().unzip();
    theil_sen(&x, &y, CONFIDENCE).map_err(|why| why.to_string())
}

#[cfg(test)]
#[path = "figures_tests.rs"]
mod tests;
