use super::dependence::inflation;
use super::{ChangePoint, ChangePointOptions, describe, relocate};
use crate::energy::Scan;
use crate::error::StatsError;
use crate::permutation::Permutations;
use crate::ranks::Ranks;

/// The change points of a series, by PELT: all of them are sought at once, so that
/// changes which cancel (up and down again) do not hide each other.
///
/// The segmentation that minimises the sum of its segments' costs plus a penalty for each change
/// (R. Killick, P. Fearnhead, I. A. Eckley, JASA 107, 2012). The cost is nonparametric, and so
/// deaf to outliers: minus twice the log-likelihood of a segment's empirical distribution function
/// `F` at `K = ⌈4 ln n⌉` of the series' quantiles `xₖ`, denser towards the tails,
/// `-2 ln(2n - 1)/K · Σ m (F ln F + (1 - F) ln(1 - F))` for `m` samples.
/// (K. Haynes, P. Fearnhead, I. A. Eckley, "A computationally efficient nonparametric approach
/// for changepoint detection", Statistics and Computing 27, 2017; their quantiles.) The penalty
/// is `3 ln n + 2 ln(1/alpha)`: a factor on `ln n` for the number of places, and
/// a term for the level, as of a likelihood ratio that exceeds `x` with probability `e^(-x/2)`.
/// The factors are empirical: the third of three tried on one set of simulated series, then held
/// against another (`docs/src/statistics.md`).
///
/// Where neighbours depend on each other, averages vary more than those of independent samples, and
/// noise looks like changes. So a first segmentation tells by how much, from the
/// correlation of neighbours within its segments; if that is more than chance makes it, a second one
/// pays that much more for each change, and the tests ask for that much more
/// (compare G. Romano, G. Rigaill, V. Runge, P. Fearnhead, JASA 117, 2022, who fit the correlation and
/// the changes at once).
///
/// Each change point is then tested like those of [`e_divisive`](super::e_divisive), in the
/// stretch between its neighbours; the weakest that is not significant leaves and its neighbours
/// are tested again. Neighbours that noise itself has placed make these p-values too small by
/// a little; it is the penalty that keeps noise from raising alarms, at about the share of `alpha`
/// (measured: `docs/src/statistics.md`), and a p-value is to rank the changes by.
///
/// Cost: `K n` for each start that cannot yet be ruled out: few when there are many changes,
/// a share of `n` when there are none. 10,000 samples of noise take seconds.
///
/// # Errors
/// As [`e_divisive`](super::e_divisive).
///
/// ```
/// use harness_stats::{ChangePointOptions, pelt};
///
/// let noise = |i: u32| f64::from(i * 37 % 101) / 101.0;
/// let bump: Vec<f64> = (0..90).map(|i| noise(i) + if (40..50).contains(&i) { 5.0 } else { 0.0 }).collect();
/// let found = pelt(&bump, ChangePointOptions::default())?;
/// assert_eq!(found.iter().map(|change| change.index).collect::<Vec<_>>(), [40, 50]);
/// # Ok::<(), harness_stats::StatsError>(())
/// ```
pub fn pelt(series: &[f64], options: ChangePointOptions) -> Result<Vec<ChangePoint>, StatsError> {
    options.check(series)?;
    let penalty = 3.0 * (series.len() as f64).ln() - 2.0 * options.test.alpha.ln();
    let mut indices = optimal_partition(series, options.min_segment, penalty, true);
    let inflation = inflation(series, &indices);
    if inflation > 1.0 {
        indices = optimal_partition(series, options.min_segment, penalty * inflation, true);
    }
    relocate(series, &mut indices, &options);
    let mut test = LocalTest {
        series,
        options: &options,
        inflation,
        permutations: Permutations::new(options.test),
    };
    let mut p_values: Vec<f64> = (0..indices.len())
        .map(|place| test.p_value(&indices, place))
        .collect();
    // The weakest leaves first; its neighbours then have more to be judged by.
    while let Some(weakest) = (0..indices.len())
        .filter(|&place| p_values[place] > options.test.alpha)
        .max_by(|&a, &b| p_values[a].total_cmp(&p_values[b]))
    {
        indices.remove(weakest);
        p_values.remove(weakest);
        let neighbours = p_values.iter_mut().enumerate();
        for (place, p) in neighbours.take(weakest + 1).skip(weakest.saturating_sub(1)) {
            *p = test.p_value(&indices, place);
        }
    }
    describe(series, indices, &p_values, &options)
}

/// Tests a change point in the stretch between its neighbours.
struct LocalTest<'a> {
    series: &'a [f64],
    options: &'a ChangePointOptions,
    inflation: f64,
    permutations: Permutations,
}

impl LocalTest<'_> {
    fn p_value(&mut self, indices: &[usize], place: usize) -> f64 {
        let start = if place == 0 { 0 } else { indices[place - 1] };
        let end = indices.get(place + 1).copied();
        let end = end.unwrap_or(self.series.len());
        let mut scan = Scan::new(&self.series[start..end]);
        let stretch = std::mem::take(&mut scan.series);
        let lengths = self.options.lengths(stretch.len());
        let energy = |scan: &mut Scan, series: &[u32]| {
            let best = scan.best(series, lengths.clone());
            best.map_or(0.0, |split| split.energy)
        };
        // Shuffled samples no longer depend on each other: their energies are that much smaller.
        let observed = energy(&mut scan, &stretch) / self.inflation;
        let mut shuffled = Vec::new();
        self.permutations.p_value(observed, |shuffle| {
            shuffle.fill(&mut shuffled, &stretch);
            energy(&mut scan, &shuffled)
        })
    }
}

/// The change points of the segmentation that minimises cost plus penalty, with
/// or without the pruning that spares time.
pub(super) fn optimal_partition(
    series: &[f64],
    min_segment: usize,
    penalty: f64,
    prune: bool,
) -> Vec<usize> {
    let n = series.len();
    let cost = Cost::new(series);
    // The cheapest segmentation of the first `end` samples, and where its last segment starts.
    let mut total = vec![f64::INFINITY; n + 1];
    let mut last_start = vec![0; n + 1];
    total[0] = -penalty;
    let mut candidates: Vec<Candidate> = Vec::new();
    for end in min_segment..=n {
        let start = end - min_segment;
        if total[start].is_finite() {
            candidates.push(Candidate {
                start,
                total: 0.0,
                dead_from: usize::MAX,
            });
        }
        candidates.retain(|candidate| candidate.dead_from > end);
        for candidate in &mut candidates {
            candidate.total = total[candidate.start] + cost.of(candidate.start, end);
            if candidate.total + penalty < total[end] {
                total[end] = candidate.total + penalty;
                last_start[end] = candidate.start;
            }
        }
        // From `end + min_segment` on, a segment starting at `end` is never worse.
        for candidate in &mut candidates {
            if prune && candidate.total > total[end] {
                candidate.dead_from = candidate.dead_from.min(end + min_segment);
            }
        }
    }
    let mut indices = Vec::new();
    let mut end = last_start[n];
    while end > 0 {
        indices.push(end);
        end = last_start[end];
    }
    indices.reverse();
    indices
}

/// A possible start of the last segment.
struct Candidate {
    start: usize,
    total: f64,
    /// From this end on the candidate cannot be the best.
    dead_from: usize,
}

/// The nonparametric cost of segments.
struct Cost {
    levels: usize,
    scale: f64,
    /// By end and level: twice how many of the samples before are below the
    /// level, those at it counted half.
    below: Vec<u32>,
    /// `c ln c` by doubled `c`.
    entropy: Vec<f64>,
}

impl Cost {
    fn new(series: &[f64]) -> Self {
        let n = series.len();
        let ranks = Ranks::new(series).doubled;
        let mut sorted = ranks.clone();
        sorted.sort_unstable();
        let levels = ((4.0 * (n as f64).ln()).ceil() as usize).min(n);
        let odds = ((2 * n - 1) as f64).ln();
        let at_levels: Vec<usize> = (0..levels)
            .map(|level| {
                let position = (2 * level + 1) as f64 / levels as f64 - 1.0;
                let p = 1.0 / (1.0 + (-odds * position).exp());
                sorted[((n - 1) as f64 * p) as usize]
            })
            .collect();
        let mut below = vec![0; levels];
        for (index, rank) in ranks.iter().enumerate() {
            for (level, at) in at_levels.iter().enumerate() {
                let halves = match rank.cmp(at) {
                    std::cmp::Ordering::Less => 2,
                    std::cmp::Ordering::Equal => 1,
                    std::cmp::Ordering::Greater => 0,
                };
                below.push(below[index * levels + level] + halves);
            }
        }
        let entropy = (0..=2 * n).map(|halves| {
            let count = halves as f64 / 2.0;
            if halves == 0 { 0.0 } else { count * count.ln() }
        });
        Self {
            levels,
            scale: 2.0 * odds / levels as f64,
            below,
            entropy: entropy.collect(),
        }
    }

    fn of(&self, start: usize, end: usize) -> f64 {
        let row = |place: usize| &self.below[place * self.levels..(place + 1) * self.levels];
        let length = 2 * (end - start);
        let sum: f64 = row(start)
            .iter()
            .zip(row(end))
            .map(|(before, until)| {
                let below = (until - before) as usize;
                self.entropy[length] - self.entropy[below] - self.entropy[length - below]
            })
            .sum();
        self.scale * sum
    }
}
