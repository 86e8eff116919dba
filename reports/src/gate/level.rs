//! Figures that do not vary from run to run: what an engine answers to given tokens.

use std::ops::Range;

use stats::Margin;

use super::Judgement;
use super::past::{Candidate, Past};
use crate::Basis;
use crate::render::number;

/// As many equal values in a row are a level; and so many values beside it have left it. The same
/// as the shortest segment between two change points.
const STRETCH: usize = 5;

/// The stretch of `series` that is its present level, if it is a figure that has one.
///
/// What is exact, by the suite's word, has one from its first value on: any difference is a change,
/// but the level before is held on to until there is another. What is computed from answers has
/// one where it is seen not to vary; an engine may vary in its last bits, and is judged by how much.
pub(super) fn find(basis: Option<&Basis>, series: &[f64]) -> Option<Range<usize>> {
    let exact = match basis {
        Some(Basis::Exact) => true,
        Some(Basis::Paired(_)) => false,
        Some(Basis::Machine | Basis::Aside) | None => return None,
    };
    let mut end = series.len();
    let mut last = None;
    while end > 0 && series.len() - end < STRETCH {
        let value = series[end - 1];
        let before = series[..end].iter().rposition(|other| *other != value);
        let start = before.map_or(0, |before| before + 1);
        last.get_or_insert(start..end);
        if end - start >= STRETCH {
            return Some(start..end);
        }
        end = start;
    }
    last.filter(|_| exact)
}

pub(super) fn judge(candidate: &Candidate, past: &Past) -> Judgement {
    let level = candidate.level.unwrap_or_default();
    let excess = candidate.sign() * (candidate.value - level);
    let (value, threshold) = (candidate.value, candidate.threshold);
    let matters = candidate.effect.matters(excess, level, value, threshold);
    let places: Vec<usize> = candidate.stable.iter().map(|(place, _)| *place).collect();
    let now = candidate.change(value, level);
    let (scale, sign) = (candidate.scale(), candidate.sign());
    let margin = match candidate.margin() {
        Margin::OfCentre(share) => share * level.abs(),
        Margin::Absolute(excess) => excess,
    };
    Judgement::Held {
        limit: scale.back(scale.of(level) + sign * margin),
        over: excess > 0.0 && matters,
        why: format!(
            "history: {} in {}; now {now}, and from {threshold} {} on it matters",
            number(level),
            past.describe(&places),
            candidate.effect.unit(),
        ),
    }
}
