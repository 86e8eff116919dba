//! Runs made in turn: the first of the one build beside the first of the other, and so on.
//!
//! What else a machine does comes and goes within minutes, so two runs made one after the other are
//! more alike than two of the same build made an hour apart. Held against each other pair by pair,
//! what both met cancels (L. Bulej et al., "Duet benchmarking", ICPE 2020, have them run at once).

use stats::{median, paired_shift, sign_flips};

use super::evidence::{Finding, Method, Noise};
use super::pairs::{Pair, Seen};
use crate::{Basis, StoredRun};

/// Runs made in turn, in pairs of neighbours.
pub(super) struct Turns<'a>(Vec<[&'a StoredRun; 2]>);

/// How differences of a figure are taken.
#[derive(Clone, Copy)]
pub(super) enum Scale {
    /// Of logarithms, from a figure of this size.
    Ratio(f64),
    /// Of the figures themselves, which zero or negative ones need.
    Plain,
}

impl Scale {
    pub(super) fn apply(self, difference: f64) -> f64 {
        match self {
            Scale::Ratio(base) => base * difference.exp_m1(),
            Scale::Plain => difference,
        }
    }
}

/// The smallest p-value of so many pairs: that of one pattern of signs, or its opposite.
pub(super) fn least_p(pairs: usize) -> f64 {
    0.5_f64
        .powi(i32::try_from(pairs).unwrap_or(i32::MAX) - 1)
        .min(1.0)
}

/// The fewest pairs that can be significant at `level`.
pub(super) fn fewest(level: f64) -> usize {
    (1..1_000).find(|&n| least_p(n) <= level).unwrap_or(1_000)
}

impl<'a> Turns<'a> {
    /// The pairs, if the order of the runs' start is one of each build, again and again, whichever
    /// of the two comes first; and if they are enough for a test at `alpha`.
    pub(super) fn of(base: &'a [StoredRun], head: &'a [StoredRun], alpha: f64) -> Option<Self> {
        if base.len() != head.len() || base.len() < fewest(alpha) {
            return None;
        }
        let side = |runs: &'a [StoredRun], is_head| runs.iter().map(move |run| (run, is_head));
        let mut runs: Vec<(&StoredRun, bool)> = side(base, false).chain(side(head, true)).collect();
        runs.sort_by_key(|(run, _)| run.record.provenance.started);
        let starts = |run: &StoredRun| run.record.provenance.started;
        if runs
            .windows(2)
            .any(|two| starts(two[0].0) == starts(two[1].0))
        {
            return None;
        }
        runs.chunks_exact(2)
            .map(|two| match (two[0], two[1]) {
                ((base, false), (head, true)) | ((head, true), (base, false)) => Some([base, head]),
                _ => None,
            })
            .collect::<Option<_>>()
            .map(Self)
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether a figure is to be judged by these pairs.
    pub(super) fn judge(&self, pair: &Pair<'_>) -> bool {
        pair.basis == Some(Basis::Machine) && pair.obstacle.is_none() && !pair.constant()
    }

    /// Holds all `figures` against each other at once, at a family-wise level of `alpha`.
    pub(super) fn find(
        &self,
        figures: &[&Pair<'_>],
        alpha: f64,
        confidence: f64,
    ) -> Vec<Result<Finding, String>> {
        let taken: Vec<(Vec<Option<f64>>, Scale)> =
            figures.iter().map(|pair| self.differences(pair)).collect();
        let enough = |differences: &[Option<f64>]| {
            let n = differences.iter().flatten().count();
            (least_p(n) <= alpha).then_some(n).ok_or_else(|| {
                let (of, needed) = (self.len(), fewest(alpha));
                format!(
                    "{n} of {of} pairs of runs made in turn have it; {needed} can tell a change"
                )
            })
        };
        let tested: Vec<Vec<Option<f64>>> = (taken.iter().map(|(differences, _)| differences))
            .filter(|differences| enough(differences).is_ok())
            .cloned()
            .collect();
        let found = match sign_flips(&tested, alpha) {
            Ok(found) => found,
            Err(error) => return figures.iter().map(|_| Err(error.to_string())).collect(),
        };
        let mut tests = found.iter();
        taken
            .iter()
            .map(|(differences, scale)| {
                let n = enough(differences)?;
                let test = tests.next().ok_or("untested")?;
                let present: Vec<f64> = differences.iter().copied().flatten().collect();
                let told = |error: stats::StatsError| error.to_string();
                let shift = paired_shift(&present, confidence);
                let value = match &shift {
                    Ok(shift) => shift.value,
                    Err(_) => {
                        let mut sorted = present;
                        sorted.sort_by(f64::total_cmp);
                        median(&sorted).map_err(told)?
                    }
                };
                let interval = shift.ok().map(|shift| shift.interval);
                Ok(Finding {
                    method: Method::Turns,
                    shift: scale.apply(value),
                    interval: interval.map(|ends| (scale.apply(ends.low), scale.apply(ends.high))),
                    p: Some(test.p),
                    p_joint: Some(test.p_adjusted),
                    runs: None,
                    note: None,
                    noise: Noise::Turns {
                        standard_error: test.standard_error,
                        pairs: n,
                        critical_t: test.critical_t,
                        scale: *scale,
                    },
                })
            })
            .collect()
    }

    /// One a pair of runs, where both have the figure.
    fn differences(&self, pair: &Pair<'_>) -> (Vec<Option<f64>>, Scale) {
        let value = |side: &[Seen<'_>], run: &StoredRun| {
            let seen = side.iter().find(|seen| std::ptr::eq(seen.run, run))?;
            seen.metric.value
        };
        let values: Vec<Option<(f64, f64)>> = (self.0.iter())
            .map(|[base, head]| value(&pair.base, base).zip(value(&pair.head, head)))
            .collect();
        let positive = values.iter().flatten().all(|(a, b)| *a > 0.0 && *b > 0.0);
        let middle = super::evidence::middle(&pair.base).unwrap_or(f64::NAN);
        let scale = match positive {
            true => Scale::Ratio(middle),
            false => Scale::Plain,
        };
        let difference = |(base, head): (f64, f64)| match positive {
            true => (head / base).ln(),
            false => head - base,
        };
        let differences = values.into_iter().map(|two| two.map(difference));
        (differences.collect(), scale)
    }
}
