use serde::{Deserialize, Serialize};
use statrs::distribution::{ContinuousCDF, Normal};

use crate::error::{StatsError, check_finite};
use crate::ranks::{Ranks, exact_is_cheap, subset_sums};

/// Which departures from "no difference" a test looks for.
///
/// ```
/// use harness_stats::{Alternative, mann_whitney};
///
/// let (slow, fast) = ([7.0, 8.0, 9.0, 10.0], [1.0, 2.0, 3.0, 4.0]);
/// assert!(mann_whitney(&slow, &fast, Alternative::Greater)?.p < 0.02);
/// assert!(mann_whitney(&slow, &fast, Alternative::Less)?.p > 0.99);
/// # Ok::<(), harness_stats::StatsError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Alternative {
    /// Either way.
    TwoSided,
    /// The first sample tends to be smaller.
    Less,
    /// The first sample tends to be larger.
    Greater,
}

/// What [`mann_whitney`] found.
///
/// ```
/// use harness_stats::{Alternative, mann_whitney};
///
/// let test = mann_whitney(&[1.0, 4.0], &[2.0, 3.0], Alternative::TwoSided)?;
/// assert_eq!((test.u, test.p, test.exact), (2.0, 1.0, true));
/// # Ok::<(), harness_stats::StatsError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct MannWhitney {
    /// Pairs in which the first sample's value is the larger, ties counted half.
    /// Over `n₁ n₂` it estimates the chance that a value of the first sample
    /// exceeds one of the second.
    pub u: f64,
    /// The p-value, in `(0, 1]`.
    pub p: f64,
    /// Whether `p` is exact or from the normal approximation.
    pub exact: bool,
}

/// The Mann–Whitney U test (Wilcoxon rank-sum test) of two independent samples.
///
/// `U = R - n₁(n₁ + 1)/2`, `R` the sum of the first sample's midranks among all.
/// If both samples come from one population, every choice of `n₁` of the
/// midranks is equally likely. While `(n₁ + n₂) min(n₁, n₂) n₁ n₂ ≤ 12.5 million`
/// (50 a side, or 5 and 700) p is counted over all choices, with or without ties.
/// Beyond, `U` is taken as normal with mean `n₁n₂/2` and variance
/// `n₁n₂/12 ((N + 1) - Σ(t³ - t) / (N(N - 1)))`, `N = n₁ + n₂`, `t` the sizes of
/// groups of ties, and a continuity correction of one half. A two-sided p is
/// twice the smaller one-sided one, 1 at most.
/// (H. B. Mann, D. R. Whitney, Annals of Mathematical Statistics 18, 1947;
/// M. Hollander, D. A. Wolfe, E. Chicken, *Nonparametric Statistical Methods*,
/// 3rd ed., 2014, §4.1.)
///
/// # Errors
/// [`StatsError::Empty`] when either sample is, [`StatsError::NotFinite`].
///
/// ```
/// use harness_stats::{Alternative, mann_whitney};
///
/// let test = mann_whitney(&[1.0, 2.0, 3.0], &[4.0, 5.0, 6.0], Alternative::TwoSided)?;
/// // One of the 20 ways to choose three ranks of six, on either side.
/// assert!((test.p - 2.0 / 20.0).abs() < 1e-15);
/// # Ok::<(), harness_stats::StatsError>(())
/// ```
pub fn mann_whitney(
    first: &[f64],
    second: &[f64],
    alternative: Alternative,
) -> Result<MannWhitney, StatsError> {
    check_finite(first)?;
    check_finite(second)?;
    let (n1, n2) = (first.len(), second.len());
    let ranks = Ranks::new(&[first, second].concat());
    let doubled_sum: usize = ranks.doubled[..n1].iter().sum();
    let u = (doubled_sum - n1 * (n1 + 1)) as f64 / 2.0;
    let exact = exact_is_cheap(n1, n2);
    let (less, greater) = if exact {
        exact_tails(&ranks, n1)
    } else {
        normal_tails(u, n1 as f64, n2 as f64, ranks.tie_cubes)
    };
    let p = match alternative {
        Alternative::TwoSided => (2.0 * less.min(greater)).min(1.0),
        Alternative::Less => less,
        Alternative::Greater => greater,
    };
    Ok(MannWhitney { u, p, exact })
}

/// The probabilities of a rank sum of the first `n1` as small as seen and as large.
fn exact_tails(ranks: &Ranks, n1: usize) -> (f64, f64) {
    // Without ties the ranks need no doubling, which halves the work.
    let unit = if ranks.tied() { 1 } else { 2 };
    let all: Vec<usize> = ranks.doubled.iter().map(|rank| rank / unit).collect();
    let (first, second) = all.split_at(n1);
    // A small sum of one sample is a large one of the other: count the smaller sample.
    let (counted, mirrored) = if n1 <= second.len() {
        (first, false)
    } else {
        (second, true)
    };
    let sum: usize = counted.iter().sum();
    let probabilities = subset_sums(&all, counted.len());
    let low = probabilities[..=sum].iter().sum::<f64>().min(1.0);
    let high = probabilities[sum..].iter().sum::<f64>().min(1.0);
    if mirrored { (high, low) } else { (low, high) }
}

/// As [`exact_tails`], by the normal approximation.
fn normal_tails(u: f64, n1: f64, n2: f64, tie_cubes: f64) -> (f64, f64) {
    let n = n1 + n2;
    let variance = n1 * n2 / 12.0 * (n + 1.0 - tie_cubes / (n * (n - 1.0)));
    if variance <= 0.0 {
        // All values are equal: so is every rank sum.
        return (1.0, 1.0);
    }
    let tail = |u: f64| {
        let z = (u - n1 * n2 / 2.0 - 0.5) / variance.sqrt();
        // A p-value is never zero, even where the normal tail underflows.
        Normal::standard().sf(z).max(f64::MIN_POSITIVE)
    };
    (tail(n1 * n2 - u), tail(u))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_values_say_nothing() {
        for n in [3, 200] {
            let test = mann_whitney(&vec![1.0; n], &[1.0; 80], Alternative::TwoSided).unwrap();
            assert_eq!((test.p, test.exact), (1.0, n == 3));
        }
    }

    #[test]
    fn a_hopeless_p_is_not_zero() {
        let low: Vec<f64> = (0..5_000).map(f64::from).collect();
        let high: Vec<f64> = low.iter().map(|x| x + 1e6).collect();
        let test = mann_whitney(&low, &high, Alternative::Less).unwrap();
        assert!(test.p > 0.0 && test.p < 1e-300);
    }

    #[test]
    fn bad_input_is_an_error() {
        let either = Alternative::TwoSided;
        assert_eq!(mann_whitney(&[], &[1.0], either), Err(StatsError::Empty));
        assert_eq!(
            mann_whitney(&[1.0], &[0.0, f64::NAN], either),
            Err(StatsError::NotFinite { index: 1 })
        );
    }
}
