use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use crate::error::{StatsError, check_alpha};
use crate::percentile::interpolated;

/// Beyond so many pairs signs are drawn, not all gone through.
const EXACT_PAIRS: usize = 14;

/// Sign patterns drawn beyond that, besides the observed one.
const DRAWN: usize = 9_999;

/// Differences count for so many times their median size at most: 1.345 standard deviations of
/// normal ones, Huber's constant, which costs 5 % of the samples where there are no outliers.
const CAP: f64 = 1.995;

/// Statistics that differ by no more than rounding are equal.
const ROUNDING: f64 = 1e-12;

/// What [`sign_flips`] found of one figure.
///
/// ```
/// use harness_stats::sign_flips;
///
/// let differences = [5.1, 4.8, 5.05, 4.9, 5.15, 4.98].map(Some).to_vec();
/// let found = sign_flips(&[differences], 0.05)?[0];
/// // All six the same way: two of 64 patterns of signs.
/// assert_eq!(found.p, 2.0 / 64.0);
/// assert!(found.t > found.critical_t);
/// # Ok::<(), harness_stats::StatsError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct SignFlip {
    /// Student's t of the capped differences; infinite if they are all equal but not zero.
    pub t: f64,
    /// Standard error of their mean, likewise.
    pub standard_error: f64,
    /// Share of sign patterns with a t as large, either way, in `(0, 1]`.
    pub p: f64,
    /// The same for all figures together: significant at `alpha` means no false alarm
    /// among all figures, but with probability `alpha`.
    pub p_adjusted: f64,
    /// A larger `|t|` is significant at `alpha` among all figures.
    pub critical_t: f64,
}

/// Tests many figures of the same pairs of runs at once: has any of them shifted from the first
/// run of a pair to the second?
///
/// `figures[f][i]` is the difference of figure `f` in pair `i`; `None` where the pair lacks it. If
/// nothing distinguishes the two runs of a pair, either could have come first, and every pattern
/// of signs of the pairs is as likely as the one observed, whatever the noise looks like and
/// however the figures depend on each other. So the signs of whole pairs are flipped, for all
/// figures together; p is the share of patterns with a `|t|` as large, the observed one counted.
/// So that a single outlier does not hide what all other pairs agree in, a difference counts for twice
/// the median size of all at most; sizes are the same under every pattern, so p is no less exact.
/// (J. S. Maritz, "A note on exact robust confidence intervals for location", Biometrika 66, 1979.)
/// Up to 14 pairs go through all patterns, beyond, 9,999 are drawn (seeded).
///
/// Adjusted p-values are the step-down ones of the largest statistic (P. H. Westfall, S. S. Young,
/// *Resampling-Based Multiple Testing*, 1993, algorithm 4.1): the share of patterns in which *any* figure whose
/// score is not larger reaches the observed one. The score is the normal quantile of t, by Wallace's formula
/// `(8f + 1)/(8f + 3) √(f ln(1 + t²/f))` for `f` degrees of freedom (D. L. Wallace, Annals of Mathematical
/// Statistics 30, 1959), so that figures which few pairs have do not set the pace for the rest. Figures that move together count as one, so
/// that a family of many costs little; Holm's procedure would take each for news.
///
/// The smallest p of `n` pairs is `2 / 2ⁿ`, adjusted or not.
///
/// # Errors
/// [`StatsError::LengthMismatch`] when figures have different numbers of pairs;
/// [`StatsError::TooFew`] for a figure with fewer than two differences; [`StatsError::NotFinite`],
/// [`StatsError::BadAlpha`].
///
/// ```
/// let steady = [0.1, -0.2, 0.05, -0.1, 0.15, -0.02].map(Some).to_vec();
/// let slower = [5.1, 4.8, 5.05, 4.9, 5.15, 4.98].map(Some).to_vec();
/// let found = harness_stats::sign_flips(&[steady, slower], 0.05)?;
/// assert!(found[0].p_adjusted > 0.5);
/// assert_eq!(found[1].p_adjusted, 2.0 / 64.0);
/// # Ok::<(), harness_stats::StatsError>(())
/// ```
pub fn sign_flips(figures: &[Vec<Option<f64>>], alpha: f64) -> Result<Vec<SignFlip>, StatsError> {
    check_alpha(alpha)?;
    let pairs = figures.first().map_or(0, Vec::len);
    let figures = figures
        .iter()
        .map(|differences| Figure::new(differences, pairs))
        .collect::<Result<Vec<_>, _>>()?;
    let observed: Vec<f64> = figures
        .iter()
        .map(|figure| figure.score(&vec![1.0; pairs]))
        .collect();
    let reached: Vec<f64> = observed
        .iter()
        .map(|score| score * (1.0 - ROUNDING))
        .collect();
    let mut order: Vec<usize> = (0..figures.len()).collect();
    order.sort_by(|&a, &b| observed[a].total_cmp(&observed[b]));

    let mut alone = vec![0_usize; figures.len()];
    let mut together = vec![0_usize; figures.len()];
    let mut largest = Vec::new();
    patterns(pairs, |signs| {
        let mut most: f64 = 0.0;
        for &index in &order {
            let score = figures[index].score(signs);
            most = most.max(score);
            alone[index] += usize::from(score >= reached[index]);
            together[index] += usize::from(most >= reached[index]);
        }
        largest.push(most);
    });

    let count = largest.len() as f64;
    // No figure is more significant than one with a larger t.
    let mut as_many = 0;
    for &index in order.iter().rev() {
        as_many = as_many.max(together[index]);
        together[index] = as_many;
    }
    largest.sort_by(|a, b| b.total_cmp(a));
    let critical = match largest.get((alpha * (1.0 + ROUNDING) * count) as usize) {
        Some(&score) if largest.first().is_some_and(|&most| most > score) => score,
        // Even the largest of all has too large a share.
        _ => f64::INFINITY,
    };
    let tests = figures.iter().enumerate().map(|(index, figure)| {
        let mean = figure.mean(&vec![1.0; pairs]);
        SignFlip {
            t: mean.signum() * figure.t(mean),
            standard_error: figure.error(mean),
            p: alone[index] as f64 / count,
            p_adjusted: together[index] as f64 / count,
            critical_t: figure.t_of(critical),
        }
    });
    Ok(tests.collect())
}

/// Calls `visit` with patterns of signs, the observed one (all positive) first. A pattern and its
/// opposite give the same `|t|`, so the last sign stays where all are gone through.
fn patterns(pairs: usize, mut visit: impl FnMut(&[f64])) {
    let mut signs = vec![1.0; pairs];
    if pairs <= EXACT_PAIRS {
        for pattern in 0..1_usize << pairs.saturating_sub(1) {
            for (pair, sign) in signs.iter_mut().enumerate() {
                *sign = if pattern >> pair & 1 == 1 { -1.0 } else { 1.0 };
            }
            visit(&signs);
        }
        return;
    }
    visit(&signs);
    let mut stream = ChaCha8Rng::seed_from_u64(0);
    for _ in 0..DRAWN {
        for sign in &mut signs {
            *sign = if stream.random::<bool>() { -1.0 } else { 1.0 };
        }
        visit(&signs);
    }
}

/// Capped differences of one figure; zero where there is none, which no sum notices.
struct Figure {
    differences: Vec<f64>,
    n: f64,
    squares: f64,
}

impl Figure {
    fn new(differences: &[Option<f64>], pairs: usize) -> Result<Self, StatsError> {
        if differences.len() != pairs {
            return Err(StatsError::LengthMismatch {
                left: pairs,
                right: differences.len(),
            });
        }
        let n = differences.iter().flatten().count();
        if n < 2 {
            return Err(StatsError::TooFew { n, needed: 2 });
        }
        let not_finite = |d: &Option<f64>| d.is_some_and(|d| !d.is_finite());
        if let Some(index) = differences.iter().position(not_finite) {
            return Err(StatsError::NotFinite { index });
        }
        let mut sizes: Vec<f64> = differences.iter().flatten().map(|d| d.abs()).collect();
        sizes.sort_by(f64::total_cmp);
        // Where most are zero there is no size to go by.
        let cap = match CAP * interpolated(&sizes, 0.5) {
            0.0 => f64::INFINITY,
            cap => cap,
        };
        let differences: Vec<f64> = (differences.iter())
            .map(|d| d.unwrap_or(0.0).clamp(-cap, cap))
            .collect();
        Ok(Self {
            squares: differences.iter().map(|d| d * d).sum(),
            differences,
            n: n as f64,
        })
    }

    fn mean(&self, signs: &[f64]) -> f64 {
        let signed = self.differences.iter().zip(signs);
        signed.map(|(d, s)| d * s).sum::<f64>() / self.n
    }

    /// Standard error of a mean, the squares being the same under every pattern.
    fn error(&self, mean: f64) -> f64 {
        let spread = (self.squares - self.n * mean * mean).max(0.0);
        // What is left of equal differences is rounding.
        match spread <= ROUNDING * self.squares {
            true => 0.0,
            false => (spread / (self.n - 1.0) / self.n).sqrt(),
        }
    }

    /// The size of t for a mean.
    fn t(&self, mean: f64) -> f64 {
        match self.squares > 0.0 {
            true => mean.abs() / self.error(mean),
            false => 0.0,
        }
    }

    /// The normal quantile of `|t|` under a pattern of signs.
    fn score(&self, signs: &[f64]) -> f64 {
        let t = self.t(self.mean(signs));
        let freedom = self.n - 1.0;
        self.wallace() * (freedom * (t * t / freedom).ln_1p()).sqrt()
    }

    /// The `|t|` of a score.
    fn t_of(&self, score: f64) -> f64 {
        let freedom = self.n - 1.0;
        let score = score / self.wallace();
        (freedom * (score * score / freedom).exp_m1()).sqrt()
    }

    fn wallace(&self) -> f64 {
        let freedom = self.n - 1.0;
        (8.0 * freedom + 1.0) / (8.0 * freedom + 3.0)
    }
}

#[cfg(test)]
#[path = "sign_flip_tests.rs"]
mod tests;
