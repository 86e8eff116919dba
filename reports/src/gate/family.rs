//! Figures that vary from run to run, all at once.

use std::collections::BTreeSet;

use stats::{NextFigure, StatsError, next_run};

use super::Judgement;
use super::past::{Candidate, Past};
use crate::render::number;

/// Judges `candidates` in their order; each takes `needed` runs at least.
pub(super) fn judge(
    candidates: &[&Candidate],
    past: &Past,
    alpha: f64,
    needed: usize,
) -> Vec<Judgement> {
    let (members, window) = choose(candidates, needed);
    let pasts: Vec<Vec<f64>> = (members.iter())
        .map(|place| {
            let candidate = candidates[*place];
            let common = (candidate.stable.iter()).filter(|(run, _)| window.contains(run));
            let scale = candidate.scale();
            common
                .map(|(_, value)| candidate.sign() * scale.of(*value))
                .collect()
        })
        .collect();
    let figures: Vec<NextFigure<'_>> = (members.iter().zip(&pasts))
        .map(|(place, past)| NextFigure {
            past,
            next: candidates[*place].sign()
                * candidates[*place].scale().of(candidates[*place].value),
            margin: candidates[*place].margin(),
        })
        .collect();
    let held = next_run(&figures, alpha);
    let runs = window.iter().copied().collect::<Vec<usize>>();
    let runs = past.describe(&runs) + past.alike.which();
    (candidates.iter().enumerate())
        .map(|(place, candidate)| {
            let Some(member) = members.iter().position(|member| *member == place) else {
                return Judgement::LeftOut(why_not(candidate, past, needed));
            };
            match &held {
                Ok(held) => {
                    let bound = held.bounds[member];
                    let sign = candidate.sign();
                    let scale = candidate.scale();
                    let (centre, limit) = (
                        scale.back(sign * bound.centre),
                        scale.back(sign * bound.limit),
                    );
                    let most = if sign > 0.0 { "at most" } else { "at least" };
                    Judgement::Held {
                        limit,
                        over: bound.over,
                        why: format!(
                            "history: median {} of {runs}; now {}, {most} {}; p = {:.3} over {} figures",
                            number(centre),
                            candidate.change(candidate.value, centre),
                            candidate.change(limit, centre),
                            bound.p,
                            members.len(),
                        ),
                    }
                }
                Err(StatsError::TooFew { n, needed }) => Judgement::LeftOut(format!(
                    "needs n >= {needed}, for runs depend on those before them: {n} runs"
                )),
                Err(error) => Judgement::LeftOut(error.to_string()),
            }
        })
        .collect()
}

/// Which figures can be held together, and the runs that have all of them: figures with the longest
/// past come first, and one joins if it leaves as many runs as are needed. Of all that joined the first
/// so many are held that have the most values together, where runs count up to twice as many as are
/// needed: one figure that has few runs is not worth the runs of all others.
fn choose(candidates: &[&Candidate], needed: usize) -> (Vec<usize>, BTreeSet<usize>) {
    let mut order: Vec<usize> = (0..candidates.len())
        .filter(|place| candidates[*place].stable.len() >= needed)
        .collect();
    order.sort_by_key(|place| std::cmp::Reverse(candidates[*place].stable.len()));
    let mut members = Vec::new();
    let mut window: Option<BTreeSet<usize>> = None;
    let mut best = (0, 0, BTreeSet::new());
    for place in order {
        let runs = candidates[place].stable.iter().map(|(run, _)| *run);
        let common: BTreeSet<usize> = match &window {
            None => runs.collect(),
            Some(window) => runs.filter(|run| window.contains(run)).collect(),
        };
        if common.len() < needed {
            continue;
        }
        members.push(place);
        let values = members.len() * common.len().min(2 * needed);
        if values >= best.0 {
            best = (values, members.len(), common.clone());
        }
        window = Some(common);
    }
    members.truncate(best.1);
    (members, best.2)
}

fn why_not(candidate: &Candidate, past: &Past, needed: usize) -> String {
    let runs = candidate.stable.len();
    let plural = if runs == 1 { "run" } else { "runs" };
    let which = past.alike.which();
    match (runs >= needed, candidate.changed) {
        (true, _) => "its runs are others than those of the other figures".into(),
        (false, true) => format!("needs n >= {needed}: {runs} {plural}{which} since it changed"),
        (false, false) => format!("needs n >= {needed}: {runs} {plural}{which} recorded"),
    }
}
