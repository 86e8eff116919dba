use crate::error::StatsError;

/// Kendall's rank correlation `τ_b` of paired values, in `n log n` steps.
///
/// Over all pairs of pairs, concordant less discordant ones, over the geometric
/// mean of those not tied in the first and those not tied in the second value
/// (M. G. Kendall, "The Treatment of Ties in Ranking Problems", Biometrika 33,
/// 1945). 1 for the same order, −1 for the reverse. Without ties
/// `(1 − τ) / 2` is the share of pairs whose order differs. Discordant pairs are
/// the exchanges of a merge sort (W. R. Knight, "A Computer Method for Calculating
/// Kendall's Tau with Ungrouped Data", JASA 61, 1966).
///
/// # Errors
/// [`StatsError::TooFew`] below two pairs, [`StatsError::NotFinite`];
/// [`StatsError::StatisticNotFinite`] when all first or all second values are
/// equal, so that there is no order.
///
/// ```
/// // Of three pairs of pairs two agree.
/// let tau = harness_stats::kendall_tau_b(&[(1.0, 10.0), (2.0, 30.0), (3.0, 20.0)])?;
/// assert!((tau - 1.0 / 3.0).abs() < 1e-15);
/// # Ok::<(), harness_stats::StatsError>(())
/// ```
pub fn kendall_tau_b(pairs: &[(f64, f64)]) -> Result<f64, StatsError> {
    let n = pairs.len();
    if n < 2 {
        return Err(StatsError::TooFew { n, needed: 2 });
    }
    let finite = |&(x, y): &(f64, f64)| x.is_finite() && y.is_finite();
    if let Some(index) = pairs.iter().position(|pair| !finite(pair)) {
        return Err(StatsError::NotFinite { index });
    }
    // Adding zero makes −0 and 0 one value, as ties are counted by.
    let mut sorted: Vec<(f64, f64)> = pairs.iter().map(|&(x, y)| (x + 0.0, y + 0.0)).collect();
    sorted.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.total_cmp(&b.1)));
    let all = pairs_of(n);
    let tied_x = tied(&sorted, |a, b| a.0 == b.0);
    let tied_both = tied(&sorted, |a, b| a == b);
    let mut seconds: Vec<f64> = sorted.iter().map(|&(_, y)| y).collect();
    let discordant = exchanges(&mut seconds);
    let tied_y = tied(&seconds, |a, b| a == b);
    let concordant = all - tied_x - tied_y + tied_both - discordant;
    // One root of the product: of a square it is exact, so that one order gives 1.
    let scale = ((all - tied_x) as f64 * (all - tied_y) as f64).sqrt();
    if scale == 0.0 {
        return Err(StatsError::StatisticNotFinite);
    }
    Ok((concordant as f64 - discordant as f64) / scale)
}

fn pairs_of(n: usize) -> u64 {
    let n = n as u64;
    n * (n - 1) / 2
}

/// Pairs within runs of what `same` holds for equal.
fn tied<T>(sorted: &[T], same: impl Fn(&T, &T) -> bool) -> u64 {
    sorted.chunk_by(same).map(|run| pairs_of(run.len())).sum()
}

/// Sorts `values` and counts the pairs that stood in the wrong order.
fn exchanges(values: &mut [f64]) -> u64 {
    let n = values.len();
    let (mut from, mut to) = (values.to_vec(), vec![0.0; n]);
    let (mut count, mut width) = (0, 1);
    while width < n {
        for start in (0..n).step_by(2 * width) {
            let (middle, end) = ((start + width).min(n), (start + 2 * width).min(n));
            let (mut left, mut right) = (start, middle);
            for slot in &mut to[start..end] {
                if right == end || (left < middle && from[left] <= from[right]) {
                    *slot = from[left];
                    left += 1;
                } else {
                    *slot = from[right];
                    right += 1;
                    // It passes everything left of it.
                    count += (middle - left) as u64;
                }
            }
        }
        std::mem::swap(&mut from, &mut to);
        width *= 2;
    }
    values.copy_from_slice(&from);
    count
}
