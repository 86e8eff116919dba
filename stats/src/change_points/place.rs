use std::f64::consts::{PI, TAU};
use std::ops::Range;

use super::dependence::inflation;
use super::{ChangePointOptions, stretches};
use crate::error::{StatsError, tail};
use crate::percentile::interpolated;
use crate::summary::{sample_std, scaled_mad};

/// Places and noise are estimated from each other this often at most; mostly the second changes nothing.
const ROUNDS: usize = 3;

/// Moves each change point to where its distance from the change is expected to be least, and tells between
/// which samples the change lies with the confidence asked for.
///
/// Segments have levels (medians) and noise of one distribution, which is estimated from the deviations of all
/// samples from their levels. If it explains the samples better by more than `½ ln n` a change (G. Schwarz, Annals of
/// Statistics 6, 1978), every segment has a spread of its own besides. All places between the
/// neighbours of a change point are as likely at first, so a place is as probable as the samples are likely by
/// it; where neighbouring samples depend on each other, the logarithm of that counts for as much less as
/// [`inflation`] says.
///
/// Of a small change in much noise the most likely place is off by more than the mean of all places by their
/// probabilities is: variances are as 26 to 19.3 (I. A. Ibragimov, R. Z. Has'minskii, *Statistical Estimation*,
/// 1981, chapter VII). Distances of two shortest segments and more count alike, lest a faint chance far away decides.
/// Of a large change all of these are the same place.
///
/// Which changes there are is left as it is. Without any noise the places are left too, and sure.
pub(super) fn place(
    series: &[f64],
    indices: &mut [usize],
    options: &ChangePointOptions,
) -> Result<Vec<(usize, usize)>, StatsError> {
    let tail = tail(options.confidence)?;
    let reach = 2 * options.min_segment;
    let mut brackets: Vec<(usize, usize)> =
        indices.iter().map(|&index| (index - 1, index)).collect();
    if indices.is_empty() {
        return Ok(brackets);
    }
    for _ in 0..ROUNDS {
        let before = indices.to_vec();
        let Some(model) = Model::best(series, &before) else {
            break;
        };
        let inflation = inflation(series, &before);
        for change in 0..indices.len() {
            let start = if change == 0 { 0 } else { indices[change - 1] };
            let end = before.get(change + 1).copied().unwrap_or(series.len());
            let allowed = start + options.min_segment..end - options.min_segment + 1;
            let likely = model.probabilities(change, start, &allowed, inflation);
            let index = allowed.start + nearest(&likely, reach);
            indices[change] = index;
            let low = allowed.start + quantile(&likely, tail);
            let high = allowed.start + quantile(&likely, 1.0 - tail);
            brackets[change] = (low.min(index) - 1, high.max(index));
        }
        if indices == before {
            break;
        }
    }
    Ok(brackets)
}

/// The first index at which the sum of the weights up to it reaches a share of them all.
fn quantile(weights: &[f64], share: f64) -> usize {
    let all: f64 = weights.iter().sum();
    let mut sum = 0.0;
    let reached = weights.iter().position(|weight| {
        sum += weight;
        sum >= share * all
    });
    reached.unwrap_or(weights.len() - 1)
}

/// The index whose distance from one drawn by these weights is expected to be least, distances of `reach`
/// and more counting alike.
fn nearest(weights: &[f64], reach: usize) -> usize {
    let near = |at: usize| {
        let peers = at.saturating_sub(reach)..(at + reach).min(weights.len());
        peers
            .map(|peer| weights[peer] * (reach - peer.abs_diff(at)) as f64)
            .sum::<f64>()
    };
    (0..weights.len())
        .map(|at| (at, near(at)))
        .fold(
            (0, 0.0),
            |best, next| {
                if next.1 > best.1 { next } else { best }
            },
        )
        .0
}

/// Levels with noise, fitted to the segments of a series.
struct Model<'a> {
    series: &'a [f64],
    levels: Vec<Level>,
    /// Every sample's deviation from its level, in spreads of its segment.
    deviations: Vec<f64>,
    noise: Noise,
    /// The sum over all samples of the logarithm of their densities.
    log_likelihood: f64,
}

#[derive(Clone, Copy)]
struct Level {
    centre: f64,
    spread: f64,
    /// Of the spread in units of the one that all segments have together.
    log_spread: f64,
}

impl<'a> Model<'a> {
    /// The better of one spread for all segments and one for each.
    fn best(series: &'a [f64], indices: &[usize]) -> Option<Self> {
        let segments = stretches(indices, series.len());
        let sorted = |mut values: Vec<f64>| {
            values.sort_by(f64::total_cmp);
            values
        };
        let mut own = Vec::with_capacity(segments.len());
        let mut deviations = Vec::with_capacity(series.len());
        for segment in &segments {
            let sorted = sorted(series[segment.clone()].to_vec());
            let (centre, spread) = (interpolated(&sorted, 0.5), scaled_mad(&sorted).ok()?);
            own.push((centre, spread));
            deviations.extend(series[segment.clone()].iter().map(|x| x - centre));
        }
        let by_median = scaled_mad(&sorted(deviations.clone())).ok()?;
        let common = if by_median > 0.0 {
            by_median
        } else {
            sample_std(&deviations).ok()?
        };
        if common == 0.0 {
            return None;
        }
        let levels = |by_itself: bool| {
            let levels = own.iter().map(|&(centre, own)| {
                let spread = if by_itself && own > 0.0 { own } else { common };
                Level {
                    centre,
                    spread,
                    log_spread: (spread / common).ln(),
                }
            });
            Self::fit(series, &segments, levels.collect())
        };
        let (together, apart) = (levels(false), levels(true));
        let price = 0.5 * (series.len() as f64).ln() * indices.len() as f64;
        Some(if apart.log_likelihood - price > together.log_likelihood {
            apart
        } else {
            together
        })
    }

    fn fit(series: &'a [f64], segments: &[Range<usize>], levels: Vec<Level>) -> Self {
        let deviations: Vec<f64> = (segments.iter().zip(&levels))
            .flat_map(|(segment, level)| {
                let samples = series[segment.clone()].iter();
                samples.map(|x| (x - level.centre) / level.spread)
            })
            .collect();
        let mut model = Self {
            series,
            noise: Noise::of(&deviations),
            deviations,
            levels,
            log_likelihood: 0.0,
        };
        model.log_likelihood = (segments.iter().enumerate())
            .flat_map(|(level, segment)| segment.clone().map(move |index| (index, level)))
            .map(|(index, level)| model.log_density(index, level))
            .sum();
        model
    }

    /// The logarithm of the density of a sample if it were at a level, as all other samples tell it.
    fn log_density(&self, index: usize, level: usize) -> f64 {
        let level = self.levels[level];
        let deviation = (self.series[index] - level.centre) / level.spread;
        let density = self.noise.density(deviation, self.deviations[index]);
        // Deviations may be so large that their tails are zero, or infinite.
        density.max(f64::MIN_POSITIVE).ln() - level.log_spread
    }

    /// How likely the samples are by the place of a change, in units of the most likely one.
    fn probabilities(
        &self,
        change: usize,
        start: usize,
        allowed: &Range<usize>,
        inflation: f64,
    ) -> Vec<f64> {
        let mut log_likelihood = 0.0;
        let mut by_place = Vec::with_capacity(allowed.len());
        for place in start + 1..allowed.end {
            log_likelihood +=
                self.log_density(place - 1, change) - self.log_density(place - 1, change + 1);
            if place >= allowed.start {
                by_place.push(log_likelihood);
            }
        }
        let most = by_place.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        by_place
            .iter()
            .map(|each| ((each - most) / inflation).exp())
            .collect()
    }
}

/// The distribution of deviations of a spread of about 1: a kernel density estimate (B. W. Silverman, *Density
/// Estimation*, 1986: normal kernels, rule 3.31), on a grid.
struct Noise {
    samples: usize,
    bandwidth: f64,
    /// The sum of all samples' kernels, from `-REACH` on in steps of a cell.
    kernels: Vec<f64>,
}

/// What is further out than this many spreads has tails alone.
const REACH: f64 = 20.0;
/// Straight lines between the points of a grid so fine err by 1 % of a kernel's peak at most
/// (`step²/8` times its second derivative).
const CELLS_A_BANDWIDTH: f64 = 4.0;
/// The share of Cauchy's distribution (of the same quartiles as a normal one of spread 1) in the density.
/// Where other samples are rare, it bounds what an outlier says about where it belongs.
const TAILS: f64 = 0.05;
const CAUCHY_SCALE: f64 = 0.674_489_750_196_081_7;

impl Noise {
    fn of(deviations: &[f64]) -> Self {
        let samples = deviations.len();
        let bandwidth = 0.9 * (samples as f64).powf(-0.2);
        let cell = bandwidth / CELLS_A_BANDWIDTH;
        let cells = (2.0 * REACH / cell).ceil() as usize + 1;
        let mut counts = vec![0.0; cells + 1];
        for deviation in deviations
            .iter()
            .filter(|deviation| deviation.abs() < REACH)
        {
            let position = (deviation + REACH) / cell;
            let (below, share) = (position as usize, position.fract());
            counts[below] += 1.0 - share;
            counts[below + 1] += share;
        }
        let mut kernels = vec![0.0; cells + 1];
        let width = (4.0 * CELLS_A_BANDWIDTH) as usize;
        for (at, count) in counts.iter().enumerate().filter(|(_, count)| **count > 0.0) {
            let near = at.saturating_sub(width)..(at + width + 1).min(kernels.len());
            for other in near {
                kernels[other] += count * kernel(other.abs_diff(at) as f64 * cell, bandwidth);
            }
        }
        Self {
            samples,
            bandwidth,
            kernels,
        }
    }

    /// The density at a deviation, from all samples but one whose own deviation is `without`.
    fn density(&self, deviation: f64, without: f64) -> f64 {
        let mut of_all = 0.0;
        if deviation.abs() < REACH {
            let position = (deviation + REACH) * CELLS_A_BANDWIDTH / self.bandwidth;
            let (below, share) = (position as usize, position.fract());
            of_all = self.kernels[below] * (1.0 - share) + self.kernels[below + 1] * share;
        }
        let of_others = (of_all - kernel(deviation - without, self.bandwidth)).max(0.0);
        let tails = 1.0 / (PI * CAUCHY_SCALE * (1.0 + (deviation / CAUCHY_SCALE).powi(2)));
        (1.0 - TAILS) * of_others / (self.samples - 1) as f64 + TAILS * tails
    }
}

/// The density of a normal distribution at a distance from its mean.
fn kernel(distance: f64, deviation: f64) -> f64 {
    (-0.5 * (distance / deviation).powi(2)).exp() / (deviation * TAU.sqrt())
}
