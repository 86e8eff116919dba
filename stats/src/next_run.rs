use crate::change_points::variance_factor;
use crate::error::{StatsError, check_alpha, check_finite, finite};
use crate::order_statistic::ROUNDING;
use crate::percentile::interpolated;
use crate::ranks::Ranks;

/// A figure of a run, to be held against the same figure of runs before it. The larger, the worse.
///
/// ```
/// use harness_stats::{Margin, NextFigure, next_run};
///
/// // Tokens per second: less is worse.
/// let past = [240.0, 243.0, 239.0, 241.0].map(|rate: f64| -rate).repeat(6);
/// let halved = NextFigure { past: &past, next: -120.0, margin: Margin::OfCentre(0.02) };
/// assert!(next_run(&[halved], 0.05)?.bounds[0].over);
/// # Ok::<(), harness_stats::StatsError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct NextFigure<'a> {
    /// Its values in the runs before, in their order.
    pub past: &'a [f64],
    /// Its value now.
    pub next: f64,
    /// A smaller excess over the centre does not matter.
    pub margin: Margin,
}

/// An excess that matters.
///
/// ```
/// use harness_stats::{Margin, NextFigure, next_run};
///
/// let past = [8.0; 19];
/// let over = |margin| next_run(&[NextFigure { past: &past, next: 8.3, margin }], 0.05);
/// assert!(over(Margin::Absolute(0.2))?.bounds[0].over);
/// // 5 % of 8 is 0.4.
/// assert!(!over(Margin::OfCentre(0.05))?.bounds[0].over);
/// # Ok::<(), harness_stats::StatsError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Margin {
    /// A share of the centre's size.
    OfCentre(f64),
    /// In the unit of the figure.
    Absolute(f64),
}

/// What a run was held against.
///
/// ```
/// use harness_stats::{Margin, NextFigure, next_run};
///
/// // A drift: each run is like its neighbours.
/// let past: Vec<f64> = (0..60).map(|night| 100.0 + f64::from(night)).collect();
/// let figure = NextFigure { past: &past, next: 160.0, margin: Margin::Absolute(1.0) };
/// let held = next_run(&[figure], 0.5)?;
/// assert!(held.dependence > 2.0);
/// assert_eq!(held.bounds.len(), 1);
/// # Ok::<(), harness_stats::StatsError>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct NextRun {
    /// By how much each p-value was multiplied because neighbouring runs depend on each other.
    pub dependence: f64,
    /// One a figure, in the order given.
    pub bounds: Vec<NextBound>,
}

/// What a figure was held against.
///
/// ```
/// use harness_stats::{Margin, NextFigure, next_run};
///
/// let past = [8.0, 8.1, 7.9, 8.2, 7.8].repeat(4);
/// let bound = |next| {
///     let figure = NextFigure { past: &past, next, margin: Margin::Absolute(0.05) };
///     next_run(&[figure], 0.05).map(|held| held.bounds[0])
/// };
/// let passed = bound(8.1)?;
/// assert_eq!((passed.centre, passed.over), (8.0, false));
/// assert!(bound(passed.limit + 0.2)?.over);
/// # Ok::<(), harness_stats::StatsError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct NextBound {
    /// The median of all runs, the new one among them.
    pub centre: f64,
    /// The largest value that would have been let pass, as the other figures are.
    pub limit: f64,
    /// The p-value, adjusted for all figures.
    pub p: f64,
    /// Whether the figure is over its limit.
    pub over: bool,
}

/// The fewest runs before that [`next_run`] can hold a run against: the new one is the worst of
/// `n + 1` with probability `1/(n + 1)`, so `n = ⌈dependence/alpha⌉ - 1`. 19 at 5 %, if runs do
/// not depend on each other.
///
/// # Errors
/// [`StatsError::BadAlpha`].
///
/// ```
/// assert_eq!(harness_stats::min_runs_before(0.05, 1.0)?, 19);
/// assert_eq!(harness_stats::min_runs_before(0.01, 1.0)?, 99);
/// # Ok::<(), harness_stats::StatsError>(())
/// ```
pub fn min_runs_before(alpha: f64, dependence: f64) -> Result<usize, StatsError> {
    check_alpha(alpha)?;
    let runs = dependence.max(1.0) / alpha * (1.0 - ROUNDING);
    Ok((runs.ceil() as usize).saturating_sub(1).max(1))
}

/// Upper prediction bounds for all figures of the next run at once: if it is a run like those
/// before, *any* figure is over its bound with probability `alpha` at most.
///
/// A figure's excess over the median of all `n + 1` runs, the new one among them, counts in units
/// of the root mean square of all runs' excesses (and of a quarter of the margin, lest what hardly
/// varies raise alarms for the rest), and as nothing where it is below the figure's margin. That
/// unit knows a figure's tail: a maximum, which some runs exceed a hundredfold, then counts
/// no more than a median does. Ratios had better be given as logarithms.
///
/// A run is measured twice: by its worst figure, which finds what has got much worse, and by
/// the sum over figures of up to two units each, which finds what has made many a little
/// worse, when single figures of some runs are out by more. Both count in units of what one run more
/// than `k = ⌊alpha (n + 1)⌋` of the `n + 1` reach, and a run is as bad as the larger. If nothing
/// has changed the `n + 1` runs are exchangeable, and each is the worst with the same probability,
/// whatever the distributions of the figures and however these depend on each other: the new run is
/// among the `k` worst with probability `alpha` at most.
///
/// Of a run that is, those figures are over by which alone it would be one of the `k` worst too: a
/// figure in which nothing has changed is named with probability `alpha` at most, whatever the others
/// do. If there is none, as where many are a little worse, it is the one that is out by most. The p-value
/// of a figure that counts is the larger share of runs as bad as the new one: were this its worst
/// figure, and by this figure alone.
///
/// For one figure this is the classical bound for one future observation, the `k`-th largest value
/// (G. J. Hahn, W. Q. Meeker, *Statistical Intervals*, 1991, §5.4; S. S. Wilks 1941). For many it
/// is a conformal prediction region (V. Vovk, A. Gammerman, G. Shafer, *Algorithmic Learning in a
/// Random World*, 2005, ch. 2). Bounds by figure would need `n ≥ m/alpha - 1` runs for `m` figures (9,999 for 500).
///
/// Runs that depend on their neighbours are exchangeable only nearly (V. Chernozhukov, K. Wüthrich,
/// Y. Zhu, COLT 2018): the last of a drifting series is too often its worst. p-values are
/// multiplied by `√((1 + r)/(1 - r))` for the correlation `r` of neighbouring runs' ranks, if
/// it is larger than its standard error `1/√n`. The root is empirical: it is what AR(1) noise of 0.3
/// and 0.6 was seen to need (`docs/src/statistics.md`).
///
/// Cost: `m n log n`.
///
/// # Errors
/// [`StatsError::TooFew`] below [`min_runs_before`]; [`StatsError::LengthMismatch`] for figures of
/// unequal numbers of runs; [`StatsError::Empty`] without figures, [`StatsError::NotFinite`],
/// [`StatsError::BadAlpha`], [`StatsError::StatisticNotFinite`] on overflow.
///
/// ```
/// use harness_stats::{Margin, NextFigure, next_run};
///
/// let past: Vec<f64> = (0..24).map(|night| 100.0 + f64::from(night * 7 % 11) / 10.0).collect();
/// let figure = |next| NextFigure { past: &past, next, margin: Margin::OfCentre(0.02) };
/// let held = next_run(&[figure(101.2), figure(104.0)], 0.05)?;
/// assert!(!held.bounds[0].over && held.bounds[1].over);
/// assert_eq!(held.bounds[1].p, 1.0 / 25.0);
/// # Ok::<(), harness_stats::StatsError>(())
/// ```
pub fn next_run(figures: &[NextFigure<'_>], alpha: f64) -> Result<NextRun, StatsError> {
    check_alpha(alpha)?;
    let n = figures.first().ok_or(StatsError::Empty)?.past.len();
    for figure in figures {
        check_finite(figure.past)?;
        check_finite(&[figure.next]).map_err(|_| StatsError::NotFinite { index: n })?;
        if figure.past.len() != n {
            return Err(StatsError::LengthMismatch {
                left: n,
                right: figure.past.len(),
            });
        }
    }
    let dependence = dependence(figures, n);
    let needed = min_runs_before(alpha, dependence)?;
    if n < needed {
        return Err(StatsError::TooFew { n, needed });
    }
    let scored: Vec<Scored> = (figures.iter().map(Scored::new)).collect::<Result<_, _>>()?;
    let badness = Badness::new(&scored, n, alpha);
    let allowed = (alpha * (1.0 + ROUNDING) * (n + 1) as f64 / dependence) as usize;
    let critical = badness.critical(allowed);
    // Whether the run is one of the worst is asked first, and then which of its figures are.
    let joint: Vec<usize> = scored.iter().map(|figure| badness.as_bad(figure)).collect();
    let own: Vec<usize> = scored.iter().map(Scored::as_bad).collect();
    let named = |figure: usize| joint[figure].max(own[figure]) <= allowed;
    let most = (0..scored.len())
        .max_by(|a, b| scored[*a].next().total_cmp(&scored[*b].next()))
        .filter(|_| !(0..scored.len()).any(named));
    let bounds = scored.iter().enumerate().map(|(place, figure)| {
        let mut as_bad = joint[place];
        let mut limit = figure.margin.max(figure.largest(critical));
        if most != Some(place) {
            as_bad = as_bad.max(own[place]);
            limit = limit.max(figure.own_limit(allowed));
        }
        NextBound {
            centre: figure.centre,
            limit: figure.centre + limit,
            p: (dependence * as_bad as f64 / (n + 1) as f64).min(1.0),
            over: as_bad <= allowed,
        }
    });
    Ok(NextRun {
        dependence,
        bounds: bounds.collect(),
    })
}

/// What a figure adds to the sum of its run, at most: with more, single figures that are far out
/// would make up the sums too.
const MOST_OF_ONE: f64 = 2.0;

/// How bad runs are.
struct Badness {
    /// Of the runs before, the worst first.
    before: Vec<f64>,
    /// The new run's, by its sum.
    by_sum: f64,
    /// The score of a worst figure that counts as one.
    unit: f64,
}

impl Badness {
    fn new(scored: &[Scored], n: usize, alpha: f64) -> Self {
        let over = |join: fn(f64, f64) -> f64| -> Vec<f64> {
            let run = |run| scored.iter().map(move |figure| figure.scores[run]);
            (0..=n).map(|place| run(place).fold(0.0, join)).collect()
        };
        let worst = over(f64::max);
        let sums = over(|sum, score| sum + score.min(MOST_OF_ONE));
        let place = (alpha * (1.0 + ROUNDING) * (n + 1) as f64) as usize;
        let unit = |all: &[f64]| {
            let mut sorted = all.to_vec();
            sorted.sort_by(|a, b| b.total_cmp(a));
            // Where so few runs have any figure that counts, those are worse than all others.
            sorted[place.min(n)].max(1e-9)
        };
        let units = (unit(&worst), unit(&sums));
        let both = worst.iter().zip(&sums);
        let mut before: Vec<f64> = both
            .take(n)
            .map(|(worst, sum)| (worst / units.0).max(sum / units.1))
            .collect();
        before.sort_by(|a, b| b.total_cmp(a));
        Self {
            before,
            by_sum: sums[n] / units.1,
            unit: units.0,
        }
    }

    /// How many runs are as bad as the new one, itself among them, if this is its worst figure; more
    /// than all if that does not count.
    fn as_bad(&self, figure: &Scored) -> usize {
        match figure.next() {
            score if score > 0.0 => {
                // The same number of deviations of two figures is not quite the same number.
                let new = (score / self.unit).max(self.by_sum) * (1.0 - ROUNDING);
                1 + self.before.partition_point(|before| *before >= new)
            }
            _ => self.before.len() + 2,
        }
    }

    /// The largest score that does not make the new run one of the `allowed` worst.
    fn critical(&self, allowed: usize) -> f64 {
        let last = self.before[allowed.clamp(1, self.before.len()) - 1];
        match self.by_sum * (1.0 - ROUNDING) > last {
            true => 0.0,
            false => last * self.unit,
        }
    }
}

/// A figure of all runs, the new one last, on the scale that all figures share.
struct Scored {
    centre: f64,
    margin: f64,
    /// Mean square of the excesses before, over all runs, and what is added to it.
    square: f64,
    /// What excesses were divided by.
    scale: f64,
    scores: Vec<f64>,
}

/// As much of the margin is added to the noise of each figure.
const SHARE_OF_MARGIN: f64 = 0.25;

impl Scored {
    fn new(figure: &NextFigure<'_>) -> Result<Self, StatsError> {
        let mut values = figure.past.to_vec();
        values.push(figure.next);
        let mut sorted = values.clone();
        sorted.sort_by(f64::total_cmp);
        let centre = interpolated(&sorted, 0.5);
        let margin = match figure.margin {
            Margin::OfCentre(share) => share * centre.abs(),
            Margin::Absolute(excess) => excess,
        };
        let square = |value: &f64| (value - centre).max(0.0).powi(2) / values.len() as f64;
        let before = figure.past.iter().map(square).sum::<f64>();
        let before = before + (SHARE_OF_MARGIN * margin).powi(2);
        let scale = finite((before + square(&figure.next)).sqrt())?;
        let score = |value: &f64| match value - centre {
            excess if excess > 0.0 && excess >= margin => excess / scale,
            _ => 0.0,
        };
        Ok(Self {
            centre,
            margin,
            square: before,
            scale,
            scores: values.iter().map(score).collect(),
        })
    }

    /// The new run's score.
    fn next(&self) -> f64 {
        self.before_and_next().1
    }

    fn before_and_next(&self) -> (&[f64], f64) {
        match self.scores.split_last() {
            Some((next, before)) => (before, *next),
            None => (&[], 0.0),
        }
    }

    /// How many runs are as bad as the new one by this figure alone, itself among them.
    fn as_bad(&self) -> usize {
        let (before, next) = self.before_and_next();
        let as_bad = |score: &&f64| **score >= next * (1.0 - ROUNDING);
        1 + before.iter().filter(as_bad).count()
    }

    /// The largest excess that does not make the new run one of the `allowed` worst by this figure
    /// alone; of what counts.
    fn own_limit(&self, allowed: usize) -> f64 {
        let mut before = self.before_and_next().0.to_vec();
        before.sort_by(|a, b| b.total_cmp(a));
        before[allowed.clamp(1, before.len()) - 1] * self.scale
    }

    /// The largest excess whose score, of which it is a part itself, is no more than `score`.
    fn largest(&self, score: f64) -> f64 {
        let own_share = score * score / self.scores.len() as f64;
        match own_share < 1.0 {
            true => score * (self.square / (1.0 - own_share)).sqrt(),
            false => f64::INFINITY,
        }
    }
}

/// What p-values are to be multiplied by.
fn dependence(figures: &[NextFigure<'_>], n: usize) -> f64 {
    let ranks: Vec<Vec<usize>> = (figures.iter())
        .map(|figure| Ranks::new(figure.past).doubled)
        .collect();
    // Figures of a run depend on each other, and may be worth no more than one series.
    variance_factor(ranks.iter().map(Vec::as_slice), n).sqrt()
}

#[cfg(test)]
#[path = "next_run_tests.rs"]
mod tests;
