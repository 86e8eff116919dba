use super::{ChangePointOptions, level_change_p, pelt};
use crate::error::StatsError;

/// A series is searched from this p-value down: the penalty of [`pelt`] admits hardly any change to
/// which the quick look gives more than 0.05.
const WORTH_A_SEARCH: f64 = 0.2;

/// Where the last stable stretch of a series begins: with the first sample that is surely after its
/// last change point by [`pelt`], at 0 if there is none. Series too short to have one are stable.
///
/// # Errors
/// As [`pelt`], but for the length of the series.
///
/// ```
/// use harness_stats::{ChangePointOptions, last_segment};
///
/// let step: Vec<f64> = (0..40).map(|i| f64::from(i * 7 % 11) + if i < 25 { 0.0 } else { 20.0 }).collect();
/// assert_eq!(last_segment(&step, ChangePointOptions::default())?, 25);
/// assert_eq!(last_segment(&step[..25], ChangePointOptions::default())?, 0);
/// assert_eq!(last_segment(&step[..3], ChangePointOptions::default())?, 0);
/// # Ok::<(), harness_stats::StatsError>(())
/// ```
pub fn last_segment(series: &[f64], options: ChangePointOptions) -> Result<usize, StatsError> {
    // A constant cannot change, and most figures of correctness are.
    if series.windows(2).all(|two| two[0] == two[1]) {
        return Ok(0);
    }
    let p = match level_change_p(series, options.min_segment) {
        Err(StatsError::TooFew { .. }) => return Ok(0),
        p => p?,
    };
    if p > WORTH_A_SEARCH {
        return Ok(0);
    }
    let changes = pelt(series, options)?;
    Ok(changes.last().map_or(0, |change| change.bracket.1))
}
