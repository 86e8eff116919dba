//! How sure a difference is.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use statrs::distribution::{ContinuousCDF, Normal, StudentsT};
use stats::{
    Alternative, Block, BootstrapOptions, PairedCounts, RatioTest, detectable_shift,
    hodges_lehmann, mann_whitney, mcnemar, median, ratio_interval, ratio_test,
};

use super::pairs::{Pair, Seen};
use super::{Adjust, turns};
use crate::{Basis, Blocks, Paired, Statistic, StoredSample};

/// How a figure of one build was held against the other's.
///
/// ```
/// use harness_reports::StoredRun;
/// use harness_reports::compare::{Method, Options, compare};
///
/// let base = StoredRun::open("tests/run".as_ref())?;
/// let mut head = base.clone();
/// for metric in &mut head.record.cells[0].metrics {
///     metric.value = metric.value.map(|value| 1.1 * value);
/// }
/// // Without samples a perplexity is left with its interval; a size on disk never needed any.
/// head.samples.clear();
/// let rows = compare(&[base], &[head], Options::default())?.rows;
/// let of = |name: &str| rows.iter().find(|row| row.metric.ends_with(name)).and_then(|row| row.method);
/// assert_eq!(of(".ppl"), Some(Method::Intervals));
/// assert_eq!(of(".bits_per_weight"), Some(Method::Exact));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Method {
    /// The same value in every run, or different ones of a figure that does not vary.
    Exact,
    /// Run against run: Mann–Whitney and Hodges–Lehmann on the runs' figures.
    Runs,
    /// Pair of runs by pair, made in turn: t of the ratios under flips of the pairs' signs, jointly for
    /// all figures, and Hodges–Lehmann.
    Turns,
    /// Token by token: differences, in blocks of dependent tokens.
    PairedBlocks,
    /// Item by item: McNemar.
    McNemar,
    /// By the figures' own intervals, as if they were normal and independent.
    Intervals,
}

impl Method {
    /// The name used in every format.
    #[must_use]
    pub(crate) fn name(self) -> &'static str {
        match self {
            Method::Exact => "exact",
            Method::Runs => "runs",
            Method::Turns => "runs in turn",
            Method::PairedBlocks => "paired blocks",
            Method::McNemar => "McNemar",
            Method::Intervals => "intervals",
        }
    }
}

/// What a test found, in the figure's unit.
pub(super) struct Finding {
    pub(super) method: Method,
    pub(super) shift: f64,
    pub(super) interval: Option<(f64, f64)>,
    /// None where there is nothing to test.
    pub(super) p: Option<f64>,
    /// The same, adjusted for all figures that were tested jointly.
    pub(super) p_joint: Option<f64>,
    /// Runs on either side, where they are the units.
    pub(super) runs: Option<(usize, usize)>,
    pub(super) note: Option<String>,
    pub(super) noise: Noise,
}

/// What the detectable shift is computed from.
pub(super) enum Noise {
    None,
    Runs(Vec<f64>, Vec<f64>),
    /// Of differences on a scale of logarithms or not.
    Turns {
        standard_error: f64,
        pairs: usize,
        /// A larger t is significant among all figures.
        critical_t: f64,
        scale: turns::Scale,
    },
    /// And what a shift of the mean is in the figure's unit.
    Blocks(RatioTest, Scale),
    /// Standard error.
    Normal(f64),
}

/// From the mean of differences to the shift of the figure.
#[derive(Clone, Copy)]
pub(super) enum Scale {
    Times(f64),
    /// Of a figure of this size that is exp of the mean.
    Exp(f64),
}

impl Scale {
    fn apply(self, difference: f64) -> f64 {
        match self {
            Scale::Times(factor) => factor * difference,
            Scale::Exp(base) => base * difference.exp_m1(),
        }
    }
}

impl Finding {
    /// The smallest shift that would have been significant at `level` with probability `power`.
    pub(super) fn detectable(&self, level: f64, adjust: Adjust, power: f64) -> Option<f64> {
        let shift = match &self.noise {
            Noise::None => return None,
            Noise::Runs(base, head) => detectable_shift(base, head, level, power).ok()?,
            Noise::Turns {
                standard_error,
                pairs,
                critical_t,
                scale,
            } => {
                let critical = match adjust {
                    Adjust::Holm => *critical_t,
                    Adjust::Bh | Adjust::None => StudentsT::new(0.0, 1.0, *pairs as f64 - 1.0)
                        .ok()?
                        .inverse_cdf(1.0 - level / 2.0),
                };
                scale.apply((critical + normal_quantile(power)) * standard_error)
            }
            Noise::Blocks(test, scale) => scale.apply(test.detectable(level, power).ok()?),
            Noise::Normal(error) => {
                let z = normal_quantile(1.0 - level / 2.0) + normal_quantile(power);
                error * z
            }
        };
        Some(shift.abs()).filter(|shift| shift.is_finite())
    }
}

/// The smallest p-value that Mann and Whitney's test can have: one of all ways to deal out the
/// runs, on either side.
pub(super) fn least_p(base: usize, head: usize) -> f64 {
    let ways = (1..=base).fold(1.0, |ways, i| ways * (head + i) as f64 / i as f64);
    (2.0 / ways).min(1.0)
}

/// The median of the runs that have the figure.
pub(super) fn middle(side: &[Seen<'_>]) -> Option<f64> {
    let mut values = values(side);
    values.sort_by(f64::total_cmp);
    median(&values).ok()
}

fn values(side: &[Seen<'_>]) -> Vec<f64> {
    side.iter().filter_map(|seen| seen.metric.value).collect()
}

/// Holds both sides against each other, or says why they cannot be.
pub(super) fn find(pair: &Pair<'_>, alpha: f64) -> Result<Finding, String> {
    if let Some(obstacle) = &pair.obstacle {
        return Err(obstacle.clone());
    }
    let (base, head) = (values(&pair.base), values(&pair.head));
    if pair.constant() {
        return Ok(exact(0.0));
    }
    match &pair.basis {
        Some(Basis::Machine) => runs(base, head, alpha),
        Some(Basis::Exact) => {
            let (a, b) = (middle(&pair.base), middle(&pair.head));
            Ok(exact(b.unwrap_or(f64::NAN) - a.unwrap_or(f64::NAN)))
        }
        Some(Basis::Paired(paired)) => match (sampled(&pair.base), sampled(&pair.head)) {
            (Ok(base), Ok(head)) => of_samples(paired, base, head, alpha),
            (Err(gone), _) | (_, Err(gone)) => intervals(pair, alpha)
                .map(|finding| Finding {
                    note: Some(format!("by both intervals, as if independent: {gone}")),
                    ..finding
                })
                .map_err(|_| format!("it differs, and {gone}; compare the run records")),
        },
        Some(Basis::Aside) | None => intervals(pair, alpha),
    }
}

/// The first run that has the figure, and its samples at hand: what an engine answers is the same
/// in all.
fn sampled<'a>(side: &[Seen<'a>]) -> Result<Seen<'a>, String> {
    let having = || side.iter().filter(|seen| seen.metric.value.is_some());
    let at_hand = having().find(|seen| !seen.run.samples.is_empty());
    at_hand.copied().ok_or_else(|| {
        let folder = having().next().map(|seen| seen.run.folder.display());
        let folder = folder.map(|folder| folder.to_string()).unwrap_or_default();
        format!("its samples are not in {folder} any more")
    })
}

fn exact(shift: f64) -> Finding {
    Finding {
        method: Method::Exact,
        shift,
        interval: None,
        p: None,
        p_joint: None,
        runs: None,
        note: None,
        noise: Noise::None,
    }
}

/// The runs are the units.
fn runs(base: Vec<f64>, head: Vec<f64>, alpha: f64) -> Result<Finding, String> {
    let told = |error: stats::StatsError| error.to_string();
    let test = mann_whitney(&base, &head, Alternative::TwoSided).map_err(told)?;
    let shift = hodges_lehmann(&base, &head, 1.0 - alpha);
    let sorted_differences = || {
        let differences = base.iter().flat_map(|a| head.iter().map(move |b| b - a));
        let mut differences: Vec<f64> = differences.collect();
        differences.sort_by(f64::total_cmp);
        differences
    };
    Ok(Finding {
        method: Method::Runs,
        // With too few runs for an interval, the estimate still stands.
        shift: match &shift {
            Ok(shift) => shift.value,
            Err(_) => median(&sorted_differences()).map_err(told)?,
        },
        interval: shift.ok().map(|s| (s.interval.low, s.interval.high)),
        p: Some(test.p),
        p_joint: None,
        runs: Some((base.len(), head.len())),
        note: None,
        noise: Noise::Runs(base, head),
    })
}

/// Samples of the same tokens, texts or items.
fn of_samples(
    paired: &Paired,
    base: Seen<'_>,
    head: Seen<'_>,
    alpha: f64,
) -> Result<Finding, String> {
    let (a, b) = (series(paired, base), series(paired, head));
    if a.is_empty() || !a.keys().eq(b.keys()) {
        let samples = &paired.samples;
        return Err(format!(
            "the samples {samples} are not of the same tokens or items"
        ));
    }
    let told = |error: stats::StatsError| error.to_string();
    if paired.statistic == Statistic::Share {
        let Blocks::Length(repeats) = paired.blocks else {
            return Err("items without a number of repeats".into());
        };
        // Of several answers to one item the first counts.
        let first = |key: &(usize, u64)| key.1.is_multiple_of(repeats.max(1));
        let answers = a.iter().zip(&b).filter(|((key, _), _)| first(key));
        let counts =
            PairedCounts::from_pairs(answers.map(|((_, a), (_, b))| (*a == 1.0, *b == 1.0)));
        let test = mcnemar(counts, 1.0 - alpha).map_err(told)?;
        let half = (test.interval.high - test.interval.low) / 2.0;
        return Ok(Finding {
            method: Method::McNemar,
            shift: test.difference,
            interval: Some((test.interval.low, test.interval.high)),
            p: Some(test.p),
            p_joint: None,
            runs: None,
            note: None,
            noise: Noise::Normal(half / normal_quantile(1.0 - alpha / 2.0)),
        });
    }
    let blocks = blocks(paired, base, &a, &b);
    let test = ratio_test(&blocks).map_err(told)?;
    let value = |seen: Seen<'_>| seen.metric.value.unwrap_or(f64::NAN);
    let mean = a.values().sum::<f64>() / a.len() as f64;
    let scale = match paired.statistic {
        Statistic::ExpMean => Scale::Exp(value(base)),
        _ if mean == 0.0 => Scale::Times(1.0),
        _ => Scale::Times(value(base) / mean),
    };
    let options = BootstrapOptions {
        confidence: 1.0 - alpha,
        ..BootstrapOptions::default()
    };
    let interval = ratio_interval(&blocks, options).ok().map(|estimate| {
        let ends = [estimate.interval.low, estimate.interval.high].map(|end| scale.apply(end));
        (ends[0].min(ends[1]), ends[0].max(ends[1]))
    });
    Ok(Finding {
        method: Method::PairedBlocks,
        shift: scale.apply(test.value),
        interval,
        p: Some(test.p),
        p_joint: None,
        runs: None,
        note: None,
        noise: Noise::Blocks(test, scale),
    })
}

/// Samples by case and index.
fn series(paired: &Paired, seen: Seen<'_>) -> BTreeMap<(usize, u64), f64> {
    let cases = cases(paired, seen);
    samples(seen)
        .filter(|sample| sample.metric == paired.samples)
        .filter_map(|sample| {
            let case = cases.iter().position(|case| *case == sample.case)?;
            Some(((case, sample.index), sample.value))
        })
        .collect()
}

fn samples<'a>(seen: Seen<'a>) -> impl Iterator<Item = &'a StoredSample> {
    seen.run.samples.get(&seen.cell.cell).into_iter().flatten()
}

/// The figure's own case is the middle of `suite.case.metric`.
fn cases<'a>(paired: &'a Paired, seen: Seen<'a>) -> Vec<&'a str> {
    match paired.cases.is_empty() {
        true => seen.metric.name.split('.').nth(1).into_iter().collect(),
        false => paired.cases.iter().map(String::as_str).collect(),
    }
}

/// Sums of differences over stretches of dependent samples.
fn blocks(
    paired: &Paired,
    seen: Seen<'_>,
    base: &BTreeMap<(usize, u64), f64>,
    head: &BTreeMap<(usize, u64), f64>,
) -> Vec<Block> {
    let starts: Vec<u64> = match &paired.blocks {
        Blocks::Length(_) => Vec::new(),
        Blocks::StartOf(metric) => {
            let mut starts: Vec<u64> = samples(seen)
                .filter(|sample| sample.metric == *metric)
                .map(|sample| sample.index)
                .collect();
            starts.sort_unstable();
            starts
        }
    };
    let number = |index: u64| match paired.blocks {
        Blocks::Length(length) => index / length.max(1),
        Blocks::StartOf(_) => starts.partition_point(|&start| start <= index) as u64,
    };
    let mut blocks: BTreeMap<(usize, u64), Block> = BTreeMap::new();
    for ((key, a), b) in base.iter().zip(head.values()) {
        let block = blocks.entry((key.0, number(key.1))).or_insert(Block {
            numerator: 0.0,
            denominator: 0.0,
        });
        block.numerator += b - a;
        block.denominator += 1.0;
    }
    blocks.into_values().collect()
}

/// Two figures by their own intervals: the difference of two normal estimates.
fn intervals(pair: &Pair<'_>, alpha: f64) -> Result<Finding, String> {
    let one = |side: &[Seen<'_>]| {
        let metric = side.iter().find_map(|seen| {
            let metric = seen.metric;
            Some((
                metric.value?,
                metric.ci_low?,
                metric.ci_high?,
                metric.confidence?,
            ))
        });
        let why =
            "it differs, and the record has neither samples nor an interval to say how surely";
        let (value, low, high, confidence) = metric.ok_or(why)?;
        let z = normal_quantile((1.0 + confidence) / 2.0);
        Ok::<_, String>((value, (high - low) / 2.0 / z))
    };
    let ((a, a_error), (b, b_error)) = (one(&pair.base)?, one(&pair.head)?);
    let error = a_error.hypot(b_error);
    let shift = b - a;
    let half = error * normal_quantile(1.0 - alpha / 2.0);
    Ok(Finding {
        method: Method::Intervals,
        shift,
        interval: Some((shift - half, shift + half)),
        p: Some((2.0 * normal_tail(shift.abs() / error)).clamp(f64::MIN_POSITIVE, 1.0)),
        p_joint: None,
        runs: None,
        note: Some("as if the two were independent; the record does not pair their samples".into()),
        noise: Noise::Normal(error),
    })
}

fn normal_quantile(p: f64) -> f64 {
    Normal::standard().inverse_cdf(p)
}

fn normal_tail(z: f64) -> f64 {
    Normal::standard().sf(z)
}
