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
/// of its own bound: what one run more than `k = ⌊alpha (n + 1)⌋` of the `n + 1` exceed, or the figure's
/// margin if that is more. Below the margin it counts as nothing. That unit knows a
/// figure's tail: a maximum, which some runs exceed a hundredfold, then counts no more than a median does.
/// Ratios had better be given as logarithms.
///
/// A run is measured by its worst figure, its second, fourth, eighth worst and so on: the first finds
/// what has got much worse, the last what is a little worse everywhere, and none heeds what is out in
/// fewer figures. Each counts in units of what one run more than `k` reach, and a run is
/// as bad as the largest of them. If nothing has changed the `n + 1` runs are exchangeable, and each is
/// the worst with the same probability, whatever the distributions of the figures and however these
/// depend on each other: the new run is among the `k` worst with probability `alpha` at most.
///
/// Of a run that is, those figures are over by which alone it would be one of the `k` worst too: a
/// figure in which nothing has changed is named with probability `alpha` at most, whatever the others
/// do. If there is none, as where many are a little worse, the one that is out by most is. The p-value
/// of a figure that counts is the run's, or its own if that is larger.
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
    // Units are the same whichever run is the new one, which the dependence is not.
    let share = alpha * (1.0 + ROUNDING) * (n + 1) as f64;
    let (worst, allowed) = (share as usize, (share / dependence) as usize);
    let scored: Vec<Scored> = (figures.iter())
        .map(|figure| Scored::new(figure, worst, allowed))
        .collect::<Result<_, _>>()?;
    // Whether the run is one of the worst is asked first, and then which of its figures are.
    let badness = Badness::new(&scored, worst, allowed);
    let alone: Vec<usize> = (scored.iter())
        .map(|figure| figure.as_bad().max(badness.as_bad))
        .collect();
    let for_all = (0..scored.len())
        .max_by(|a, b| scored[*a].next().total_cmp(&scored[*b].next()))
        .filter(|_| alone.iter().all(|as_bad| *as_bad > allowed));
    let bounds = scored.iter().enumerate().map(|(place, figure)| {
        let critical = badness.critical(figure.next());
        let (limit, as_bad) = match for_all == Some(place) {
            true => (figure.scale * critical, badness.as_bad),
            false => (
                figure.own_limit.max(figure.own_scale * critical),
                alone[place],
            ),
        };
        let counts = figure.next() > 0.0;
        NextBound {
            centre: figure.centre,
            limit: figure.centre + limit.max(figure.margin),
            p: match counts {
                true => (dependence * as_bad as f64 / (n + 1) as f64).min(1.0),
                false => 1.0,
            },
            over: counts && as_bad <= allowed,
        }
    });
    Ok(NextRun {
        dependence,
        bounds: bounds.collect(),
    })
}

/// How bad runs are.
struct Badness {
    /// How many runs are as bad as the new one, itself among them.
    as_bad: usize,
    /// Scores of the new run, the largest first.
    next: Vec<f64>,
    /// Ranks of the scores that are looked at, from 0, and the largest score there that does not
    /// make the new run one of the `allowed` worst.
    limits: Vec<(usize, f64)>,
}

impl Badness {
    fn new(scored: &[Scored], worst: usize, allowed: usize) -> Self {
        let runs = scored[0].scores.len();
        let sorted = |run: usize| largest_first(scored.iter().map(|figure| figure.scores[run]));
        let sorted: Vec<Vec<f64>> = (0..runs).map(sorted).collect();
        let ranks: Vec<usize> = std::iter::successors(Some(1), |rank| Some(2 * rank))
            .take_while(|rank| *rank <= scored.len())
            .map(|rank| rank - 1)
            .collect();
        let unit = |rank: &usize| {
            let scores = largest_first(sorted.iter().map(|scores| scores[*rank]));
            // Where so few runs have any that count, those are worse than all others.
            scores[worst.min(runs - 1)].max(1.0 / MOST)
        };
        let units: Vec<f64> = ranks.iter().map(unit).collect();
        let bad = |scores: &Vec<f64>| {
            let all = ranks.iter().zip(&units);
            all.map(|(rank, unit)| scores[*rank] / unit)
                .fold(0.0, f64::max)
        };
        let next = sorted[runs - 1].clone();
        let before = largest_first(sorted[..runs - 1].iter().map(bad));
        // The same score from two figures is not quite the same number.
        let new = bad(&next) * (1.0 - ROUNDING);
        let critical = before[allowed.clamp(1, before.len()) - 1];
        Self {
            as_bad: 1 + before.partition_point(|before| *before >= new),
            next,
            limits: (ranks.iter().zip(&units))
                .map(|(rank, unit)| (*rank, critical * unit))
                .collect(),
        }
    }

    /// The largest score in place of `score`, which is one of the new run's, that does not make the
    /// run one of the `allowed` worst; 0 if it is whatever this one may be.
    fn critical(&self, score: f64) -> f64 {
        let place = self.next.partition_point(|next| *next > score);
        let other = |rank: usize| self.next.get(if rank < place { rank } else { rank + 1 });
        let mut critical = f64::INFINITY;
        for (rank, limit) in &self.limits {
            // Of the others, one is at this rank if this score is smaller, and one above if it is larger.
            let over =
                |score: Option<&f64>| score.is_some_and(|score| score * (1.0 - ROUNDING) > *limit);
            if over(other(*rank)) {
                return 0.0;
            }
            if *rank == 0 || over(other(*rank - 1)) {
                critical = critical.min(*limit);
            }
        }
        critical
    }
}

/// A larger score is as good as this one: what has never varied and does now.
const MOST: f64 = 1e9;

fn largest_first(values: impl Iterator<Item = f64>) -> Vec<f64> {
    let mut sorted: Vec<f64> = values.collect();
    sorted.sort_by(|a, b| b.total_cmp(a));
    sorted
}

/// A figure of all runs, the new one last, on the scale that all figures share.
struct Scored {
    centre: f64,
    margin: f64,
    /// What excesses were divided by, and what they would be if the new run were one of the `worst`.
    scale: f64,
    own_scale: f64,
    /// The largest excess that does not make the new run one of the `allowed` worst by this figure
    /// alone, of what counts.
    own_limit: f64,
    scores: Vec<f64>,
}

impl Scored {
    fn new(figure: &NextFigure<'_>, worst: usize, allowed: usize) -> Result<Self, StatsError> {
        let mut values = figure.past.to_vec();
        values.push(figure.next);
        let mut sorted = values.clone();
        sorted.sort_by(f64::total_cmp);
        let centre = interpolated(&sorted, 0.5);
        let margin = match figure.margin {
            Margin::OfCentre(share) => share * centre.abs(),
            Margin::Absolute(excess) => excess,
        };
        let before = largest_first(figure.past.iter().map(|value| value - centre));
        let next = finite(figure.next - centre)?;
        let nth = |count: usize| before[count.clamp(1, before.len()) - 1].max(margin);
        let own_scale = finite(nth(worst))?;
        // What one run more than the `worst` reaches, the new one among them.
        let scale = nth(worst + 1).max(next.min(own_scale));
        let score = |value: &f64| match value - centre {
            excess if excess > 0.0 && excess >= margin => (excess / scale).min(MOST),
            _ => 0.0,
        };
        Ok(Self {
            centre,
            margin,
            scale,
            own_scale,
            own_limit: nth(allowed),
            scores: values.iter().map(score).collect(),
        })
    }

    fn before_and_next(&self) -> (&[f64], f64) {
        match self.scores.split_last() {
            Some((next, before)) => (before, *next),
            None => (&[], 0.0),
        }
    }

    /// The new run's score.
    fn next(&self) -> f64 {
        self.before_and_next().1
    }

    /// How many runs are as bad as the new one by this figure alone, itself among them.
    fn as_bad(&self) -> usize {
        let (before, next) = self.before_and_next();
        let as_bad = |score: &&f64| **score >= next * (1.0 - ROUNDING);
        1 + before.iter().filter(as_bad).count()
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
