//! How fast kernels are: operations and bytes a second, and which share that is of the roof.

use engine::{EngineError, FailureKind, Kernels, NumberFormat, PreparedKernel, Roof};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use stats::{Interval, median, quantile_interval};

use super::Extent;
use super::blocks::{self, Numbers};
use super::cases::{AttentionShape, Case};
use crate::{Better, Cell, Measurement, Sample};

const CONFIDENCE: f64 = 0.95;
/// What a timing should last at least, so that clocks and launches do not matter.
const LEAST_NS: f64 = 20e6;
/// Most runs of a kernel in one timing.
const MOST_RUNS: u32 = 1000;
/// Timed shapes, for the progress bar.
pub(super) const SHAPES: usize = 14;

/// A kernel that is timed.
struct Timed {
    name: String,
    /// What it may round its operands to.
    operands: NumberFormat,
    /// Multiplications and additions of a run.
    flop: f64,
    /// Bytes that a run must read and write.
    bytes: f64,
}

/// Its timings.
struct Timings {
    timed: Timed,
    /// Nanoseconds of a run.
    ns: Vec<f64>,
    by_device: bool,
}

/// What nothing can be faster than.
struct Ceiling {
    per_ns: f64,
    because: String,
}

/// Times the `roofs` and every shape, of which `done` of `total` steps come before.
pub(super) fn measure(
    kernels: &dyn Kernels,
    roofs: Vec<Roof<'_>>,
    extent: Extent,
    cell: &mut Cell<'_>,
    (mut done, total): (u64, u64),
) -> Result<Vec<Measurement>, EngineError> {
    let (mut ceilings, mut reached) = (Vec::new(), Vec::new());
    for mut roof in roofs {
        let timed = Timed {
            name: format!("roof.{}", roof.name),
            operands: roof.operands,
            flop: roof.flop,
            bytes: roof.bytes,
        };
        ceilings.push(time(&mut *roof.kernel, timed, extent.repeats, cell)?);
        done += 1;
        (cell.progress)(done, total);
    }
    for (case, timed) in shapes(extent) {
        match kernels.prepare(&case.call()) {
            Err(error) if error.kind() == FailureKind::Unsupported => {}
            Err(error) => return Err(error),
            Ok(mut kernel) => reached.push(time(&mut *kernel, timed, extent.repeats, cell)?),
        }
        done += 1;
        (cell.progress)(done, total);
    }
    let mut measurements = Vec::new();
    for timings in &ceilings {
        measurements.extend(timings.rates(|_, _| None));
    }
    for timings in &reached {
        let ceiling = |amount, operands| match fastest(&ceilings, amount, operands) {
            Some((per_ns, name)) if per_ns > 0.0 => Some(Ceiling {
                because: format!("of what `{name}` reached"),
                per_ns,
            }),
            _ => fastest(&reached, amount, operands).map(|(per_ns, name)| Ceiling {
                because: format!("of the fastest kernel of this run, `{name}`"),
                per_ns,
            }),
        };
        measurements.extend(timings.rates(ceiling));
    }
    Ok(measurements)
}

/// The most that one of these reached in a nanosecond, and its name: of those that round their operands
/// no more than to `operands`, or of all, as where bytes count.
fn fastest(
    among: &[Timings],
    amount: fn(&Timed) -> f64,
    operands: Option<NumberFormat>,
) -> Option<(f64, &str)> {
    let comparable = |other: &&Timings| {
        let its = other.timed.operands;
        operands.is_none_or(|operands| its == NumberFormat::F32 || its == operands)
    };
    let rates = (among.iter().filter(comparable))
        .filter_map(|other| Some((other.rate(amount)?, other.timed.name.as_str())));
    rates.max_by(|a, b| a.0.total_cmp(&b.0))
}

/// Times `kernel` and tells every timing.
fn time(
    kernel: &mut dyn PreparedKernel,
    timed: Timed,
    repeats: usize,
    cell: &mut Cell<'_>,
) -> Result<Timings, EngineError> {
    // Warms up caches and clocks, and tells how many runs last long enough.
    kernel.time(1)?;
    let once = kernel.time(1)?;
    let runs = (LEAST_NS / once.total_ns.max(1.0)).ceil();
    let runs = (runs as u32).clamp(1, MOST_RUNS);
    let mut ns = Vec::with_capacity(repeats);
    for index in 0..repeats as u64 {
        let value = kernel.time(runs)?.total_ns / f64::from(runs);
        ns.push(value);
        (cell.samples)(Sample {
            case: timed.name.clone().into(),
            metric: "run_ns".into(),
            unit: "ns".into(),
            index,
            value,
        });
    }
    Ok(Timings {
        timed,
        ns,
        by_device: once.by_device,
    })
}

impl Timings {
    /// Amounts a nanosecond, by the median.
    fn rate(&self, amount: fn(&Timed) -> f64) -> Option<f64> {
        Some(amount(&self.timed) / median(&sorted(&self.ns)).ok()?)
    }

    /// Operations and bytes a second, where the kernel has any, and the share that is of the
    /// `ceiling` over each.
    fn rates(
        &self,
        ceiling: impl Fn(fn(&Timed) -> f64, Option<NumberFormat>) -> Option<Ceiling>,
    ) -> Vec<Measurement> {
        let timed = &self.timed;
        let clock = match self.by_device {
            true => "by the device's clock",
            false => "by the host's clock, launches included",
        };
        let flop: fn(&Timed) -> f64 = |timed| timed.flop;
        let bytes: fn(&Timed) -> f64 = |timed| timed.bytes;
        let kinds = [
            ("gflop_per_s", "GFLOP/s", flop, Some(timed.operands)),
            ("gb_per_s", "GB/s", bytes, None),
        ];
        let mut measurements = Vec::new();
        for (metric, unit, amount, operands) in kinds {
            if amount(timed) == 0.0 {
                continue;
            }
            let rate = rate(&timed.name, metric, unit, amount(timed), &self.ns);
            let share = ceiling(amount, operands).map(|ceiling| {
                let share = Measurement::new(
                    timed.name.clone(),
                    format!("{metric}_share"),
                    "%",
                    Better::Higher,
                    100.0 * rate.value / ceiling.per_ns,
                    rate.n,
                );
                Measurement {
                    why: Some(ceiling.because),
                    ..share.aside()
                }
            });
            measurements.push(Measurement {
                why: Some(clock.into()),
                headline: true,
                ..rate
            });
            measurements.extend(share);
        }
        measurements
    }
}

/// Amounts a second over 10⁹, were each sample the time of one.
fn rate(
    case: &str,
    metric: &'static str,
    unit: &'static str,
    amount: f64,
    samples: &[f64],
) -> Measurement {
    let sorted = sorted(samples);
    let n = samples.len() as u64;
    let case = case.to_owned();
    let interval = quantile_interval(&sorted, 0.5, CONFIDENCE).ok();
    match median(&sorted) {
        Ok(ns) => Measurement {
            interval: interval.map(|interval| Interval {
                low: amount / interval.high,
                high: amount / interval.low,
                ..interval
            }),
            ..Measurement::new(case, metric, unit, Better::Higher, amount / ns, n)
        },
        Err(why) => Measurement::withheld(case, metric, unit, Better::Higher, n, why.to_string()),
    }
}

fn sorted(samples: &[f64]) -> Vec<f64> {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted
}

/// Products of one and of many tokens in every format, attention of one and of many, and a stream
/// through memory.
fn shapes(extent: Extent) -> Vec<(Case, Timed)> {
    let mut rng = ChaCha8Rng::seed_from_u64(extent.seed);
    let rng = &mut rng;
    let size = extent.size;
    let mut shapes = Vec::new();
    for format in blocks::FORMATS {
        for tokens in [1, size / 4] {
            let operands = match format {
                NumberFormat::F32 => NumberFormat::F32,
                _ => NumberFormat::F16,
            };
            let (block, block_bytes) = blocks::block(format);
            let weights = size * size / block * block_bytes;
            let kind = if tokens == 1 { "matvec" } else { "gemm" };
            let shape = [size, size, tokens];
            shapes.push((
                Case::product(format, shape, Numbers::Random, operands, rng),
                Timed {
                    name: format!("{kind}.{format}"),
                    operands,
                    flop: 2.0 * (size * size * tokens) as f64,
                    bytes: (weights + 2 * 4 * size * tokens) as f64,
                },
            ));
        }
    }
    for (name, kv, start, tokens) in [
        ("decode_attention.f32", NumberFormat::F32, size - 1, 1),
        ("decode_attention.f16", NumberFormat::F16, size - 1, 1),
        ("prefill_attention.f32", NumberFormat::F32, 0, size / 4),
    ] {
        let shape = AttentionShape {
            heads: 8,
            kv_heads: 2,
            dim: 64,
            start,
            tokens,
        };
        // Positions that queries see, all together.
        let seen = (0..tokens).map(|token| start + token + 1).sum::<usize>();
        let element = if kv == NumberFormat::F16 { 2 } else { 4 };
        let (queries, cached) = (8 * 64 * tokens, 2 * 2 * 64 * (start + tokens));
        shapes.push((
            Case::attention(shape, kv, rng),
            Timed {
                name: name.into(),
                operands: NumberFormat::F32,
                flop: 4.0 * (seen * 8 * 64) as f64,
                bytes: (2 * 4 * queries + element * cached) as f64,
            },
        ));
    }
    let length = 4 * size * size;
    shapes.push((
        Case::swiglu(length, rng),
        Timed {
            name: "stream".into(),
            operands: NumberFormat::F32,
            flop: 0.0,
            bytes: 12.0 * length as f64,
        },
    ));
    shapes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn timings(name: &str, operands: NumberFormat, ns: f64) -> Timings {
        Timings {
            timed: Timed {
                name: name.into(),
                operands,
                flop: 100.0,
                bytes: 50.0,
            },
            ns: vec![ns; 3],
            by_device: false,
        }
    }

    #[test]
    fn kernels_are_held_against_those_that_may_round_as_much() {
        let all = [
            timings("single", NumberFormat::F32, 10.0),
            timings("half", NumberFormat::F16, 5.0),
        ];
        let flop = |operands| fastest(&all, |timed| timed.flop, Some(operands));
        assert_eq!(flop(NumberFormat::F32), Some((10.0, "single")));
        assert_eq!(flop(NumberFormat::F16), Some((20.0, "half")));
        // Bytes are bytes.
        let bytes = fastest(&all, |timed| timed.bytes, None);
        assert_eq!(bytes, Some((10.0, "half")));
        assert_eq!(fastest(&[], |timed| timed.bytes, None), None);
    }
}
