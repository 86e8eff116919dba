//! How fast kernels are: operations and bytes a second, and which share that is of the fastest
//! this engine was seen to do.

use engine::{EngineError, FailureKind, Kernels, NumberFormat};
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
pub(super) const STEPS: u64 = 14;

/// A timed shape.
struct Timed {
    case: Case,
    name: String,
    /// Multiplications and additions of a run.
    flop: f64,
    /// Bytes that a run must read and write.
    bytes: f64,
}

/// Times every shape.
pub(super) fn measure(
    kernels: &dyn Kernels,
    extent: Extent,
    cell: &mut Cell<'_>,
    total: u64,
) -> Result<Vec<Measurement>, EngineError> {
    let mut results = Vec::new();
    for (timed, done) in shapes(extent).into_iter().zip(total - STEPS + 1..) {
        let samples = time(kernels, &timed, extent.repeats);
        match samples {
            Err(error) if error.kind() == FailureKind::Unsupported => {}
            Err(error) => return Err(error),
            Ok((samples, by_device)) => {
                for (index, &value) in (0..).zip(&samples) {
                    (cell.samples)(Sample {
                        case: timed.name.clone().into(),
                        metric: "run_ns".into(),
                        unit: "ns".into(),
                        index,
                        value,
                    });
                }
                results.push((timed, samples, by_device));
            }
        }
        (cell.progress)(done, total);
    }
    // The roof: the most of each that any of these kernels reached.
    let most = |amount: fn(&Timed) -> f64| {
        let rates = results
            .iter()
            .filter_map(|(timed, samples, _)| Some(amount(timed) / median(&sorted(samples)).ok()?));
        rates.fold(0.0, f64::max)
    };
    let (flop_roof, byte_roof) = (most(|timed| timed.flop), most(|timed| timed.bytes));
    Ok(results
        .iter()
        .flat_map(|(timed, samples, by_device)| {
            let clock = match by_device {
                true => "by the device's clock",
                false => "by the host's clock, launches included",
            };
            let rates = [
                ("gflop_per_s", "GFLOP/s", timed.flop, flop_roof),
                ("gb_per_s", "GB/s", timed.bytes, byte_roof),
            ];
            rates
                .into_iter()
                .flat_map(move |(metric, unit, amount, roof)| {
                    let rate = rate(&timed.name, metric, unit, amount, samples);
                    let share = Measurement::new(
                        timed.name.clone(),
                        format!("{metric}_share"),
                        "%",
                        Better::Higher,
                        100.0 * rate.value / roof,
                        rate.n,
                    );
                    let why = Some("of the fastest kernel of this run".into());
                    let rate = Measurement {
                        why: Some(clock.into()),
                        headline: true,
                        ..rate
                    };
                    [
                        rate,
                        Measurement {
                            why,
                            ..share.aside()
                        },
                    ]
                })
        })
        .collect())
}

/// Nanoseconds a run, and whether the device told them.
fn time(
    kernels: &dyn Kernels,
    timed: &Timed,
    repeats: usize,
) -> Result<(Vec<f64>, bool), EngineError> {
    let call = timed.case.call();
    let mut kernel = kernels.prepare(&call)?;
    // Warms up caches and clocks, and tells how many runs last long enough.
    kernel.time(1)?;
    let once = kernel.time(1)?;
    let runs = (LEAST_NS / once.total_ns.max(1.0)).ceil();
    let runs = (runs as u32).clamp(1, MOST_RUNS);
    let mut samples = Vec::with_capacity(repeats);
    for _ in 0..repeats {
        samples.push(kernel.time(runs)?.total_ns / f64::from(runs));
    }
    Ok((samples, once.by_device))
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
fn shapes(extent: Extent) -> Vec<Timed> {
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
            shapes.push(Timed {
                case: Case::product(format, [size, size, tokens], Numbers::Random, operands, rng),
                name: format!("{kind}.{format}"),
                flop: 2.0 * (size * size * tokens) as f64,
                bytes: (weights + 2 * 4 * size * tokens) as f64,
            });
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
        shapes.push(Timed {
            case: Case::attention(shape, kv, rng),
            name: name.into(),
            flop: 4.0 * (seen * 8 * 64) as f64,
            bytes: (2 * 4 * queries + element * cached) as f64,
        });
    }
    let length = 4 * size * size;
    shapes.push(Timed {
        case: Case::swiglu(length, rng),
        name: "stream".into(),
        flop: 0.0,
        bytes: 12.0 * length as f64,
    });
    shapes
}
