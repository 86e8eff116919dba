//! Where a series is best split in two, by the energy distance of ranks.

use std::ops::RangeInclusive;

use crate::ranks::Ranks;

/// A split of a series and how different its two sides are.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Split {
    /// Length of the left side.
    pub(crate) at: usize,
    /// `mk/(m + k)` times the energy distance of the sides, in units of the series' length.
    pub(crate) energy: f64,
}

/// Finds the best split of a series, or of any rearrangement of it.
///
/// With sides `X` of `m` and `Y` of `k` midranks (among all `n = m + k`), the energy of a split is
/// `mk/n² (2/mk Σ|Xᵢ - Yⱼ| - 1/m² ΣΣ|Xᵢ - Xⱼ| - 1/k² ΣΣ|Yᵢ - Yⱼ|)`: the
/// two-sample energy statistic with exponent 1 (G. J. Székely, M. L. Rizzo, Journal of Statistical
/// Planning and Inference 143, 2013), which on ranks is the Cramér–von Mises
/// criterion. On average it is the same for every split of noise.
///
/// Sums of doubled midranks are whole numbers: results are exact and the same on every machine.
/// Cost of a scan: `O(n log n)`, since a tree over the ranks tells what one more
/// sample adds to a side.
pub(crate) struct Scan {
    /// The samples in the order given, each as the index of its value among the distinct ones.
    pub(crate) series: Vec<u32>,
    /// By distinct value: twice its midrank.
    ranks: Vec<i64>,
    /// By distinct value: the sum of its distances to all samples.
    to_all: Vec<i64>,
    /// The sum of distances over all pairs of samples.
    all_pairs: i64,
    /// Fenwick tree over the distinct values: how many samples are left of the split, and their sum.
    left: Vec<(i64, i64)>,
}

impl Scan {
    /// The values must be finite.
    pub(crate) fn new(values: &[f64]) -> Self {
        let doubled = Ranks::new(values).doubled;
        let mut sorted = doubled.clone();
        sorted.sort_unstable();
        let mut ranks = sorted.clone();
        ranks.dedup();
        let series = doubled
            .iter()
            .map(|rank| ranks.partition_point(|r| r < rank) as u32)
            .collect();
        let n = sorted.len() as i64;
        let sum: i64 = sorted.iter().map(|&rank| rank as i64).sum();
        let (mut below, mut sum_below) = (0, 0);
        let mut to_all = Vec::with_capacity(ranks.len());
        let mut all_ordered_pairs = 0;
        for group in sorted.chunk_by(|a, b| a == b) {
            let (rank, size) = (group[0] as i64, group.len() as i64);
            let above = n - below;
            let distances = rank * below - sum_below + (sum - sum_below) - rank * above;
            to_all.push(distances);
            all_ordered_pairs += distances * size;
            below += size;
            sum_below += rank * size;
        }
        Self {
            series,
            left: vec![(0, 0); ranks.len() + 1],
            ranks: ranks.into_iter().map(|rank| rank as i64).collect(),
            to_all,
            all_pairs: all_ordered_pairs / 2,
        }
    }

    /// The split of greatest energy among those whose left side has one of these
    /// lengths, the first if several; none if there is no such split.
    pub(crate) fn best(&mut self, series: &[u32], lengths: RangeInclusive<usize>) -> Option<Split> {
        let n = series.len();
        self.left.fill((0, 0));
        let (mut left_pairs, mut right_pairs) = (0, self.all_pairs);
        let (mut count, mut sum) = (0, 0);
        let mut best: Option<Split> = None;
        let last = (*lengths.end()).min(n.saturating_sub(1));
        for (index, &value) in series[..last].iter().enumerate() {
            let rank = self.ranks[value as usize];
            let (below, sum_below) = self.up_to(value);
            let to_left = rank * (2 * below - count) + sum - 2 * sum_below;
            left_pairs += to_left;
            right_pairs -= self.to_all[value as usize] - to_left;
            self.insert(value, rank);
            count += 1;
            sum += rank;
            let at = index + 1;
            if at < *lengths.start() {
                continue;
            }
            let across = self.all_pairs - left_pairs - right_pairs;
            let (m, k) = (at as f64, (n - at) as f64);
            // Doubled ranks, but unordered pairs within a side: the twos cancel.
            let energy = across as f64 - left_pairs as f64 * (k / m) - right_pairs as f64 * (m / k);
            let energy = energy / (n as f64 * n as f64);
            if best.is_none_or(|best| energy > best.energy) {
                best = Some(Split { at, energy });
            }
        }
        best
    }

    /// Number and sum of the samples on the left at or below a value.
    fn up_to(&self, value: u32) -> (i64, i64) {
        let mut node = value as usize + 1;
        let (mut count, mut sum) = (0, 0);
        while node > 0 {
            count += self.left[node].0;
            sum += self.left[node].1;
            node &= node - 1;
        }
        (count, sum)
    }

    fn insert(&mut self, value: u32, rank: i64) {
        let mut node = value as usize + 1;
        while node < self.left.len() {
            self.left[node].0 += 1;
            self.left[node].1 += rank;
            node += node & node.wrapping_neg();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The definition, term by term.
    fn energy(ranks: &[f64], at: usize) -> f64 {
        let (x, y) = ranks.split_at(at);
        let mean = |a: &[f64], b: &[f64]| {
            let sum: f64 = a
                .iter()
                .flat_map(|p| b.iter().map(move |q| (p - q).abs()))
                .sum();
            sum / (a.len() * b.len()) as f64
        };
        let n = ranks.len() as f64;
        let weight = (x.len() * y.len()) as f64 / (n * n);
        weight * (2.0 * mean(x, y) - mean(x, x) - mean(y, y))
    }

    #[test]
    fn a_scan_agrees_with_the_definition() {
        for modulus in [3, 7, 101] {
            let values: Vec<f64> = (0..23_u32).map(|i| f64::from(i * i % modulus)).collect();
            let doubled = Ranks::new(&values).doubled;
            let ranks: Vec<f64> = doubled.iter().map(|&rank| rank as f64 / 2.0).collect();
            let mut scan = Scan::new(&values);
            let series = scan.series.clone();
            for at in 1..values.len() {
                let found = scan.best(&series, at..=at).unwrap();
                assert_eq!(found.at, at);
                let expected = energy(&ranks, at);
                assert!((found.energy - expected).abs() < 1e-12, "{modulus} {at}");
            }
        }
    }

    #[test]
    fn a_scan_agrees_with_scipy() {
        let vectors = include_str!("../tests/vectors/comparison.json");
        let vectors: serde_json::Value = serde_json::from_str(vectors).unwrap();
        for case in vectors["energy"].as_array().unwrap() {
            let values = case["values"].as_array().unwrap();
            let values: Vec<f64> = values.iter().map(|x| x.as_f64().unwrap()).collect();
            let at = case["at"].as_u64().unwrap() as usize;
            let mut scan = Scan::new(&values);
            let series = scan.series.clone();
            let found = scan.best(&series, at..=at).unwrap();
            // SciPy sums over the distribution functions, and squares a root.
            assert!(
                (found.energy - case["energy"].as_f64().unwrap()).abs() < 1e-13,
                "{case}"
            );
        }
    }

    #[test]
    fn splits_outside_the_series_are_none() {
        let mut scan = Scan::new(&[1.0, 2.0, 3.0]);
        let series = scan.series.clone();
        assert_eq!(scan.best(&series, 3..=9), None);
        assert_eq!(scan.best(&series, 2..=9).map(|split| split.at), Some(2));
    }
}
