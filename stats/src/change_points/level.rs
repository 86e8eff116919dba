use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use statrs::distribution::{ContinuousCDF, Normal};

use crate::error::{StatsError, check_finite};

/// The p-value of any change of level in a series, however many there are: quick enough to
/// ask it of every series of a long history, and as small as the evidence is strong.
///
/// Ranks of a series without a change are a random order. The rank sum of the first `m` samples,
/// and that of any `m` that follow each other, is held against its mean in units of its
/// deviation `√(m (n - m)(n + 1)/12)`; the largest of each kind gives a p-value by the normal
/// distribution times the number of places. The result is twice the smaller of
/// the two. Bonferroni's bound needs no independence, and the tails of a rank sum are shorter than
/// the normal distribution's, so that false alarms are rarer than promised. Tied values are
/// ranked in a random order (of fixed seed), which keeps that true of
/// figures that take few values.
///
/// It sees changes of level alone. Where they are, [`pelt`](super::pelt) or
/// [`e_divisive`](super::e_divisive) tell. Cost: `n²/2` additions.
///
/// # Errors
/// [`StatsError::TooFew`] for fewer than two segments of `min_segment` samples (of at least
/// one), [`StatsError::NotFinite`].
///
/// ```
/// let step: Vec<f64> = (0..40).map(|i| f64::from(i * 7 % 11) + if i < 25 { 0.0 } else { 20.0 }).collect();
/// assert!(harness_stats::level_change_p(&step, 5)? < 1e-4);
/// let steady: Vec<f64> = (0..40).map(|i| f64::from(i * 7 % 11)).collect();
/// assert!(harness_stats::level_change_p(&steady, 5)? > 0.05);
/// # Ok::<(), harness_stats::StatsError>(())
/// ```
pub fn level_change_p(series: &[f64], min_segment: usize) -> Result<f64, StatsError> {
    let (n, min_segment) = (series.len(), min_segment.max(1));
    check_finite(series)?;
    if n < 2 * min_segment {
        let needed = 2 * min_segment;
        return Err(StatsError::TooFew { n, needed });
    }
    let sums = rank_sums(series);
    let mut largest = [0.0_f64; 2];
    let mut places = [0, 0];
    for m in min_segment..=n - min_segment {
        let deviation = ((m * (n - m) * (n + 1)) as f64 / 12.0).sqrt();
        let first = sums[m].abs();
        let any = (sums.iter().zip(&sums[m..]))
            .map(|(before, until)| (until - before).abs())
            .fold(0, i64::max);
        for (kind, (sum, count)) in [(first, 1), (any, n - m + 1)].into_iter().enumerate() {
            // Doubled, as the sums are.
            largest[kind] = largest[kind].max(sum as f64 / (2.0 * deviation));
            places[kind] += count;
        }
    }
    let normal = Normal::standard();
    let p = (largest.iter().zip(places))
        .map(|(z, places)| 2.0 * normal.sf(*z) * places as f64)
        .fold(1.0, f64::min);
    Ok((2.0 * p).min(1.0))
}

/// By end, twice the sum of the ranks before it over what it is expected to be.
fn rank_sums(series: &[f64]) -> Vec<i64> {
    let n = series.len();
    let mut stream = ChaCha8Rng::seed_from_u64(0);
    let mut order: Vec<(usize, u32)> = (0..n).map(|index| (index, stream.random())).collect();
    order.sort_by(|a, b| {
        let by_value = series[a.0].total_cmp(&series[b.0]);
        by_value.then(a.1.cmp(&b.1))
    });
    let mut sums = vec![0; n + 1];
    for (rank, (index, _)) in (1..).zip(order) {
        sums[index + 1] = 2 * rank - (n as i64 + 1);
    }
    let mut total = 0;
    for sum in &mut sums {
        total += *sum;
        *sum = total;
    }
    sums
}
