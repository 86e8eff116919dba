//! Exact k-means of numbers on a line.
//!
//! Optimal clusters are intervals of the sorted numbers, so a dynamic program
//! over interval ends finds them: `D[c][j] = min_i D[c−1][i] + cost(i, j)` with
//! the squared error of an interval about its mean from prefix sums. The best
//! `i` never falls as `j` grows, which lets each row be filled by halving
//! (Wu 1991; Grønlund et al., arXiv:1701.07204): O(k n log n) in all.

use std::ops::Range;

/// A number and how often it occurs.
#[derive(Clone, Copy, Debug)]
pub(super) struct Weighted {
    pub(super) value: f64,
    pub(super) count: f64,
}

/// The ends of at most `k` intervals of `points`, sorted and distinct, whose
/// squared error about their means is least. The first of equal solutions wins.
pub(super) fn clusters(points: &[Weighted], k: usize) -> Vec<Range<usize>> {
    let n = points.len();
    if n <= k {
        return (0..n).map(|point| point..point + 1).collect();
    }
    let sums = Sums::of(points);
    // error[j]: of the best clusters of the first j points.
    let mut error: Vec<f64> = (0..=n).map(|end| sums.error(0, end)).collect();
    let mut starts = Vec::with_capacity(k - 1);
    for _ in 1..k {
        let mut row = Row {
            sums: &sums,
            before: &error,
            error: vec![0.0; n + 1],
            start: vec![0; n + 1],
        };
        row.fill(0..n + 1, 0..n + 1);
        let Row {
            error: next, start, ..
        } = row;
        error = next;
        starts.push(start);
    }
    let mut clusters = Vec::with_capacity(k);
    let mut end = n;
    for start in starts.iter().rev() {
        clusters.push(start[end]..end);
        end = start[end];
    }
    clusters.push(0..end);
    clusters.reverse();
    clusters.retain(|cluster| !cluster.is_empty());
    clusters
}

/// Mean of `points`.
pub(super) fn mean(points: &[Weighted]) -> f64 {
    let count: f64 = points.iter().map(|point| point.count).sum();
    points
        .iter()
        .map(|point| point.count * point.value)
        .sum::<f64>()
        / count
}

/// Sums over the first points: counts, numbers, squares.
struct Sums(Vec<[f64; 3]>);

impl Sums {
    fn of(points: &[Weighted]) -> Self {
        // About the mean, so that little cancels.
        let centre = mean(points);
        let mut sums = vec![[0.0; 3]];
        let mut sum = [0.0; 3];
        for &Weighted { value, count } in points {
            let value = value - centre;
            sum[0] += count;
            sum[1] += count * value;
            sum[2] += count * value * value;
            sums.push(sum);
        }
        Self(sums)
    }

    /// Squared error of points `start..end` about their mean.
    fn error(&self, start: usize, end: usize) -> f64 {
        let ([n0, x0, s0], [n1, x1, s1]) = (self.0[start], self.0[end]);
        if end <= start + 1 {
            return 0.0;
        }
        let x = x1 - x0;
        (s1 - s0 - x * x / (n1 - n0)).max(0.0)
    }
}

struct Row<'a> {
    sums: &'a Sums,
    before: &'a [f64],
    error: Vec<f64>,
    start: Vec<usize>,
}

impl Row<'_> {
    /// Fills `ends`, whose best starts lie in `starts`.
    fn fill(&mut self, ends: Range<usize>, starts: Range<usize>) {
        if ends.is_empty() {
            return;
        }
        let end = ends.start + ends.len() / 2;
        let (mut best, mut at) = (f64::INFINITY, starts.start);
        for start in starts.start..starts.end.min(end + 1) {
            let error = self.before[start] + self.sums.error(start, end);
            if error < best {
                (best, at) = (error, start);
            }
        }
        self.error[end] = best;
        self.start[end] = at;
        self.fill(ends.start..end, starts.start..at + 1);
        self.fill(end + 1..ends.end, at..starts.end);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Squared error of a cluster.
    fn error(points: &[Weighted]) -> f64 {
        let mean = mean(points);
        points
            .iter()
            .map(|point| point.count * (point.value - mean).powi(2))
            .sum()
    }

    /// The least error over all ways to cut `points[from..]` into `k` intervals.
    fn exhaustive(points: &[Weighted], from: usize, k: usize) -> f64 {
        if k == 1 {
            return error(&points[from..]);
        }
        (from + 1..=points.len() - (k - 1))
            .map(|cut| error(&points[from..cut]) + exhaustive(points, cut, k - 1))
            .fold(f64::INFINITY, f64::min)
    }

    proptest! {
        #[test]
        fn no_partition_is_better(
            values in prop::collection::btree_set(-1000i32..1000, 5..11),
            counts in prop::collection::vec(1u8..9, 11),
            k in 1usize..5,
        ) {
            let points: Vec<Weighted> = values
                .iter()
                .zip(&counts)
                .map(|(&value, &count)| Weighted { value: value.into(), count: count.into() })
                .collect();
            let found = clusters(&points, k);
            prop_assert!(found.len() <= k);
            prop_assert_eq!(found[0].start, 0);
            prop_assert_eq!(found[found.len() - 1].end, points.len());
            prop_assert!(found.windows(2).all(|pair| pair[0].end == pair[1].start));
            let found: f64 = found.iter().map(|cluster| error(&points[cluster.clone()])).sum();
            let least = exhaustive(&points, 0, k);
            // Squares of three-digit numbers in f64: rounding leaves 1e-9 of them.
            prop_assert!(found <= least + 1e-3, "{found} against {least}");
        }
    }
}
