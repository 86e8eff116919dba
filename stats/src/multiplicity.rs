use crate::error::StatsError;

/// Holm's step-down p-values: rejecting those at or below `alpha` keeps the
/// chance of *any* false rejection at `alpha`, however the tests depend on each other.
///
/// With `p₍₁₎ ≤ … ≤ p₍ₘ₎`: `min(1, max over j ≤ i of (m - j + 1) p₍ⱼ₎)`, in the order given.
/// (S. Holm, Scandinavian Journal of Statistics 6, 1979.)
///
/// # Errors
/// [`StatsError::BadPValue`] for a p-value that is NaN or outside `[0, 1]`.
///
/// ```
/// let adjusted = harness_stats::holm(&[0.01, 0.04, 0.03])?;
/// assert_eq!(adjusted, [0.03, 0.06, 0.06]);
/// # Ok::<(), harness_stats::StatsError>(())
/// ```
pub fn holm(p_values: &[f64]) -> Result<Vec<f64>, StatsError> {
    let order = ascending(p_values)?;
    let mut adjusted = vec![0.0; p_values.len()];
    let mut largest: f64 = 0.0;
    for (smaller, &index) in order.iter().enumerate() {
        let factor = (p_values.len() - smaller) as f64;
        largest = largest.max(factor * p_values[index]).min(1.0);
        adjusted[index] = largest;
    }
    Ok(adjusted)
}

/// Benjamini and Hochberg's step-up p-values: rejecting those at or below
/// `alpha` keeps the expected share of false rejections among all at `alpha`,
/// for tests that are independent or positively dependent.
///
/// With `p₍₁₎ ≤ … ≤ p₍ₘ₎`: `min(1, min over j ≥ i of m p₍ⱼ₎ / j)`, in the order given.
/// (Y. Benjamini, Y. Hochberg, Journal of the Royal Statistical Society B 57, 1995.)
///
/// # Errors
/// As [`holm`].
///
/// ```
/// let adjusted = harness_stats::benjamini_hochberg(&[0.01, 0.04, 0.03])?;
/// assert_eq!(adjusted, [0.03, 0.04, 0.04]);
/// # Ok::<(), harness_stats::StatsError>(())
/// ```
pub fn benjamini_hochberg(p_values: &[f64]) -> Result<Vec<f64>, StatsError> {
    let order = ascending(p_values)?;
    let mut adjusted = vec![0.0; p_values.len()];
    let mut smallest: f64 = 1.0;
    for (smaller, &index) in order.iter().enumerate().rev() {
        let factor = p_values.len() as f64 / (smaller + 1) as f64;
        smallest = smallest.min(factor * p_values[index]);
        adjusted[index] = smallest;
    }
    Ok(adjusted)
}

/// The order that sorts checked p-values.
fn ascending(p_values: &[f64]) -> Result<Vec<usize>, StatsError> {
    if let Some(index) = p_values.iter().position(|p| !(0.0..=1.0).contains(p)) {
        let p = p_values[index];
        return Err(StatsError::BadPValue { index, p });
    }
    let mut order: Vec<usize> = (0..p_values.len()).collect();
    order.sort_by(|&a, &b| p_values[a].total_cmp(&p_values[b]));
    Ok(order)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_tests_need_no_adjustment() {
        assert_eq!(holm(&[]), Ok(vec![]));
        assert_eq!(benjamini_hochberg(&[]), Ok(vec![]));
        assert_eq!(holm(&[0.2]), Ok(vec![0.2]));
    }

    #[test]
    fn what_is_no_p_value_is_refused() {
        for bad in [-0.1, 1.1, f64::NAN] {
            assert!(matches!(
                holm(&[0.5, bad]),
                Err(StatsError::BadPValue { index: 1, .. })
            ));
            assert!(benjamini_hochberg(&[bad]).is_err());
        }
    }
}
