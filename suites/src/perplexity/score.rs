//! What a row of logits says of the token that came next.

use std::num::NonZeroUsize;
use std::thread;

use engine::{EngineError, FailureKind, Logits, TokenId};

use crate::distribution::{all_finite, compare, flip_probability, log_probability, top5};

/// One predicted token.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Score {
    /// `−ln p(token)`, in nats.
    nll: f64,
    rest: Rest,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Rest {
    Baseline {
        /// Chance that logit noise of the allowed size changes the best token.
        flip_risk: f64,
    },
    Candidate {
        /// `KL(baseline ‖ candidate)`, in nats.
        kld: f64,
        same_top: bool,
        /// Share of the baseline's five best that are among the candidate's.
        same_top5: f64,
    },
}

impl Score {
    /// Name, unit and value of what is recorded for each token.
    pub(super) fn samples(self) -> impl Iterator<Item = (&'static str, &'static str, f64)> {
        let nll = ("nll", "nat", self.nll);
        let rest = match self.rest {
            Rest::Baseline { flip_risk } => [Some(("flip_risk", "1", flip_risk)), None, None],
            Rest::Candidate {
                kld,
                same_top,
                same_top5,
            } => [
                Some(("kld", "nat", kld)),
                Some(("same_top", "bool", f64::from(u8::from(same_top)))),
                Some(("same_top5", "share", same_top5)),
            ],
        };
        [nll].into_iter().chain(rest.into_iter().flatten())
    }

    fn new(row: &[f32], expected: Option<&[f32]>, target: usize, sigma: f64) -> Self {
        let best = top5(row);
        let Some(expected) = expected else {
            return Self {
                nll: -log_probability(row, target),
                rest: Rest::Baseline {
                    flip_risk: flip_probability(row, best[0], sigma),
                },
            };
        };
        let compared = compare(expected, row);
        let theirs = top5(expected);
        let shared = theirs.iter().filter(|id| best.contains(id)).count();
        Self {
            nll: compared.log_sum_exp - f64::from(row[target]),
            rest: Rest::Candidate {
                kld: compared.kl,
                same_top: best[0] == theirs[0],
                same_top5: shared as f64 / theirs.len() as f64,
            },
        }
    }
}

/// Scores every row, on all processors. `expected` are the baseline's logits;
/// without them this is the baseline, whose margins are held against logit
/// noise of deviation `sigma`.
///
/// # Errors
/// [`FailureKind::Numerics`] for a NaN or an infinity.
pub(super) fn all(
    logits: &Logits,
    expected: Option<&Logits>,
    targets: &[TokenId],
    sigma: f64,
) -> Result<Vec<Score>, EngineError> {
    let score = |row: usize| {
        let values = logits.row(row);
        all_finite(values).then(|| {
            let expected = expected.map(|expected| expected.row(row));
            Score::new(values, expected, targets[row] as usize, sigma)
        })
    };
    let threads = thread::available_parallelism().map_or(1, NonZeroUsize::get);
    let share = targets.len().div_ceil(threads).max(1);
    let scores: Option<Vec<Score>> = thread::scope(|scope| {
        let workers: Vec<_> = (0..targets.len())
            .step_by(share)
            .map(|start| {
                let rows = start..(start + share).min(targets.len());
                scope.spawn(move || rows.map(score).collect::<Option<Vec<_>>>())
            })
            .collect();
        let mut scores = Vec::with_capacity(targets.len());
        for worker in workers {
            match worker.join() {
                Ok(part) => scores.extend(part?),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        Some(scores)
    });
    scores.ok_or_else(|| EngineError::new(FailureKind::Numerics, "NaN or infinite logits"))
}
