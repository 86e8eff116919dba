//! Ranks of samples, and the distribution of a sum of ranks.

/// Twice the midrank of each value among all of them, in the order given, and
/// what ties cost. Doubled ranks are whole numbers, so sums of them are exact.
pub(crate) struct Ranks {
    /// `2, 4, …, 2n` for distinct ascending values; tied values share the mean of theirs.
    pub(crate) doubled: Vec<usize>,
    /// `Σ (t³ - t)` over the groups of `t` tied values.
    pub(crate) tie_cubes: f64,
}

impl Ranks {
    /// The values must be finite.
    pub(crate) fn new(values: &[f64]) -> Self {
        let mut order: Vec<usize> = (0..values.len()).collect();
        order.sort_by(|&a, &b| values[a].total_cmp(&values[b]));
        let mut doubled = vec![0; values.len()];
        let mut tie_cubes = 0.0;
        let mut start = 0;
        for group in order.chunk_by(|&a, &b| values[a] == values[b]) {
            let end = start + group.len();
            for &index in group {
                doubled[index] = start + end + 1;
            }
            let t = group.len() as f64;
            tie_cubes += t * t * t - t;
            start = end;
        }
        Self { doubled, tie_cubes }
    }

    pub(crate) fn tied(&self) -> bool {
        self.tie_cubes > 0.0
    }
}

/// The probability of each sum, from zero, of `take` of the numbers drawn
/// without replacement.
///
/// Counts subsets by size and sum, one number at a time: additions of positive
/// terms only, so every probability is good to `ranks.len()` roundings.
/// Cost: less than `ranks.len() · take ·` the largest sum.
pub(crate) fn subset_sums(ranks: &[usize], take: usize) -> Vec<f64> {
    let mut ascending = ranks.to_vec();
    ascending.sort_unstable();
    let width = ascending.iter().rev().take(take).sum::<usize>() + 1;
    // Row k counts the subsets of k numbers; `largest[k]` is the largest sum in it so far.
    let mut rows = vec![0.0; (take + 1) * width];
    let mut largest = vec![0; take + 1];
    rows[0] = 1.0;
    for (seen, &rank) in ascending.iter().enumerate() {
        for size in (1..=take.min(seen + 1)).rev() {
            let (smaller, row) = rows.split_at_mut(size * width);
            let smaller = &smaller[(size - 1) * width..][..=largest[size - 1]];
            for (count, less) in row[rank..].iter_mut().zip(smaller) {
                *count += less;
            }
            largest[size] = largest[size - 1] + rank;
        }
    }
    let mut counts = rows.split_off(take * width);
    let total: f64 = counts.iter().sum();
    for count in &mut counts {
        *count /= total;
    }
    counts
}

/// Whether [`subset_sums`] of two samples of these sizes takes milliseconds.
///
/// The bound on `(n₁ + n₂) min(n₁, n₂) n₁ n₂` admits 50 a side, or 5 and 700.
pub(crate) fn exact_is_cheap(n1: usize, n2: usize) -> bool {
    let (n1, n2) = (n1 as f64, n2 as f64);
    (n1 + n2) * n1.min(n2) * n1 * n2 <= 12.5e6
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ties_share_the_mean_rank() {
        let ranks = Ranks::new(&[3.0, 1.0, 3.0, 0.0, -0.0]);
        assert_eq!(ranks.doubled, [9, 6, 9, 3, 3]);
        assert_eq!(ranks.tie_cubes, 12.0);
    }

    #[test]
    fn sums_are_counted() {
        // Of 1, 1, 2, 3 two at a time: 2, 3, 3, 4, 4, 5.
        let sixths = subset_sums(&[1, 2, 1, 3], 2).into_iter().map(|p| p * 6.0);
        assert!(sixths.map(f64::round).eq([0.0, 0.0, 1.0, 2.0, 2.0, 1.0]));
    }
}
