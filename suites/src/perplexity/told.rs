//! Windows read by an engine that keeps its logits and tells log-probabilities.
//!
//! The perplexity is exact: it needs the probability of the text's own tokens alone. Of
//! the divergence from the baseline only a lower bound can be had.

use engine::{EngineError, FailureKind, Model, TokenId};

use super::{Place, Plan, bits_per_weight, text_bytes, unsupported};
use crate::distribution::{kl_lower_bound, top5};
use crate::{Cell, Role, SuiteError};

/// Most probable tokens that are asked for: as many as `same_top5` takes, and what a
/// bound gains by more is little.
const TOP: usize = 10;

/// Reads all windows, each in a request of its own.
pub(super) fn run(
    cell: &mut Cell<'_>,
    model: &dyn Model,
    plan: &Plan,
    most: usize,
) -> Result<(), SuiteError> {
    let place = Place::new(cell, 0, &plan.base_logits, &plan.windows);
    let mut baseline = match cell.role {
        Role::Candidate => Some(place.open_as_wide_as_it_is()?),
        Role::Baseline if cell.candidates > 0 || place.kept() => {
            return Err(unsupported(
                "the engine keeps its logits, which others are to be held against; name another \
                 baseline",
            )
            .into());
        }
        Role::Baseline => None,
    };
    if model.config().parameters > 0 {
        let bits = bits_per_weight(model, cell.model_bytes);
        plan.record(cell, "bits_per_weight", "bit", 0, bits);
    }
    let top = if baseline.is_some() { TOP.min(most) } else { 0 };
    let mut row = 0;
    for (done, window) in plan.windows.iter().enumerate() {
        let bytes = text_bytes(cell.input.tokenizer, window)?;
        plan.record(cell, "text_bytes", "B", window.first, bytes as f64);
        let from = window.context.len() + 1 - window.targets.len();
        // What is read ends with the last target, which no row of logits comes after.
        let mut tokens = window.context[..from].to_vec();
        tokens.extend(&window.targets);
        let scores = model.score(&tokens, from, top)?;
        let mut tell = |metric, unit, index, value| plan.record(cell, metric, unit, index, value);
        for (place, (scores, &target)) in scores.iter().zip(&window.targets).enumerate() {
            let index = window.first + place as u64;
            tell("nll", "nat", index, -scores.log_probability);
            let Some(file) = &mut baseline else { continue };
            let expected = file.rows(row + place, 1)?;
            let expected = expected.row(0);
            let known = known(&scores.top, target, scores.log_probability, expected.len())?;
            let bound = kl_lower_bound(expected, &known);
            tell("top_k_kld", "nat", index, bound);
            let theirs = top5(expected);
            if let Some((best, _)) = scores.top.first() {
                let same = *best as usize == theirs[0];
                tell("same_top", "bool", index, f64::from(u8::from(same)));
            }
            if top >= theirs.len() {
                let best: Vec<usize> = scores.top.iter().map(|&(id, _)| id as usize).collect();
                let best = &best[..best.len().min(theirs.len())];
                let shared = theirs.iter().filter(|id| best.contains(id)).count();
                let share = shared as f64 / theirs.len() as f64;
                tell("same_top5", "share", index, share);
            }
        }
        row += window.targets.len();
        (cell.progress)(done as u64 + 1, plan.windows.len() as u64);
    }
    Ok(())
}

/// Every token whose log-probability is told, once.
///
/// # Errors
/// [`FailureKind::Protocol`] for one that the baseline does
/// not have.
pub(crate) fn known(
    top: &[(TokenId, f64)],
    target: TokenId,
    log_probability: f64,
    vocab: usize,
) -> Result<Vec<(usize, f64)>, EngineError> {
    let mut known: Vec<(usize, f64)> = top.iter().map(|&(id, ln)| (id as usize, ln)).collect();
    if known.iter().all(|&(id, _)| id != target as usize) {
        known.push((target as usize, log_probability));
    }
    match known.iter().find(|(id, _)| *id >= vocab) {
        None => Ok(known),
        Some((id, _)) => Err(EngineError::new(
            FailureKind::Protocol,
            format!("token {id} where the baseline has a vocabulary of {vocab}"),
        )),
    }
}
