//! The teacher-forced pass over an engine that keeps its logits and tells
//! log-probabilities: of the text's tokens, and of the most probable ones.
//!
//! NMSE and KL take whole rows. In their place stand, over what is told:
//!
//! * `top_k_kl_lower_bound`: with all tokens that are not told taken for one outcome the
//!   divergence can only shrink (data processing inequality), so an engine whose bound is
//!   over the gate of `kl_mean` would have failed it. Below, an error may still hide among
//!   the other tokens.
//! * `top_k_log_probability_rms`: errors `δ` of deviation `σ` on every logit change
//!   `ln p(i)` by `δ_i − E_p δ`, of variance `σ² ((1 − p_i)² + Σ_{j≠i} p_j²) ≤ 2 σ²`.
//!
//! `σ` is the one that [`super::gates`] allows a position.

use engine::{EngineError, FailureKind, Model, Scores};
use stats::Block;

use super::{MARK, Mark, centred_energies, interval_of_mean, read_json};
use crate::distribution::{flip_probability, kl_lower_bound, log_probability, top5};
use crate::logits_file::LogitsFile;
use crate::perplexity::known;
use crate::text::Windows;
use crate::{
    Basis, Better, Blocks, Cell, Comparison, Gate, Measurement, Paired, Role, Sample, Statistic,
    SuiteError,
};

/// Most probable tokens that are asked for.
const TOP: usize = 20;

/// One position.
#[derive(Clone, Copy, Debug, Default)]
struct Position {
    nll: f64,
    kl_bound: f64,
    /// Mean square over the tokens told.
    square: f64,
    same_top1: f64,
    same_top5: f64,
    /// What the tolerance allows here.
    allowed_variance: f64,
    allowed_flip: f64,
}

/// Holds what `model` tells of all windows against the baseline's logits.
pub(super) fn run(
    cell: &mut Cell<'_>,
    model: &dyn Model,
    windows: &Windows,
    most: usize,
) -> Result<Vec<Measurement>, SuiteError> {
    if cell.role == Role::Baseline {
        return Err(EngineError::new(
            FailureKind::Unsupported,
            "the engine keeps its logits, which others are to be held against; name another \
             baseline",
        )
        .into());
    }
    let mark: Mark = read_json(&cell.scratch.join(MARK))?;
    let (count, length) = (windows.count(), windows.length());
    let path = cell.scratch.join("parity-baseline.npy");
    let mut file = LogitsFile::open_as_wide_as_it_is(&path, count, length)?;
    let nmse_bound = mark.nmse_bound(model.numerics(), model.config());
    let top = TOP.min(most);
    let (mut positions, mut first) = (Vec::new(), None);
    let steps = count as u64 + 1;
    for (index, tokens) in windows.iter().enumerate() {
        let scores = model.score(tokens, 1, top)?;
        let expected = file.window(index)?;
        for (place, told) in scores.iter().enumerate() {
            let position = compare(expected.row(place), told, tokens[place + 1], nmse_bound)?;
            let at = (index * (length - 1) + place) as u64;
            for (metric, unit, value) in position.samples(top) {
                (cell.samples)(Sample {
                    case: super::CASE.into(),
                    metric: metric.into(),
                    unit: unit.into(),
                    index: at,
                    value,
                });
            }
            positions.push(position);
        }
        first.get_or_insert(scores);
        (cell.progress)(index as u64 + 1, steps);
    }
    let repeated = model.score(windows.first(), 1, top)?;
    (cell.progress)(steps, steps);
    let told = Told {
        positions,
        length: length - 1,
        top,
    };
    let mut all = told.measurements(&mark.reason(model.numerics()));
    all.push(differing(&first.unwrap_or_default(), &repeated));
    Ok(all)
}

fn compare(
    expected: &[f32],
    told: &Scores,
    target: u32,
    nmse_bound: f64,
) -> Result<Position, EngineError> {
    let known = known(&told.top, target, told.log_probability, expected.len())?;
    let squares = known
        .iter()
        .map(|&(id, ln)| (ln - log_probability(expected, id)).powi(2));
    let (_, signal) = centred_energies(expected, expected);
    let variance = nmse_bound * signal / expected.len() as f64;
    let theirs = top5(expected);
    let best: Vec<usize> = told.top.iter().map(|&(id, _)| id as usize).collect();
    let five = &best[..best.len().min(theirs.len())];
    let shared = theirs.iter().filter(|id| five.contains(id)).count();
    Ok(Position {
        nll: -told.log_probability,
        kl_bound: kl_lower_bound(expected, &known),
        square: squares.sum::<f64>() / known.len() as f64,
        same_top1: f64::from(u8::from(best.first() == theirs.first())),
        same_top5: shared as f64 / theirs.len() as f64,
        allowed_variance: variance,
        allowed_flip: flip_probability(expected, theirs[0], variance.sqrt()),
    })
}

impl Position {
    /// Name, unit and value of what is recorded, as far as `top` tokens tell.
    fn samples(&self, top: usize) -> impl Iterator<Item = (&'static str, &'static str, f64)> {
        let one = (top > 0).then_some(("same_top1", "bool", self.same_top1));
        let five = (top >= 5).then_some(("same_top5", "share", self.same_top5));
        [
            ("nll", "nat", self.nll),
            ("top_k_kl", "nat", self.kl_bound),
            ("top_k_log_probability_error", "nat", self.square.sqrt()),
        ]
        .into_iter()
        .chain(one)
        .chain(five)
    }
}

struct Told {
    positions: Vec<Position>,
    /// Positions of a window.
    length: usize,
    top: usize,
}

impl Told {
    fn mean(&self, of: fn(&Position) -> f64) -> f64 {
        self.positions.iter().map(of).sum::<f64>() / self.positions.len() as f64
    }

    /// A mean over positions, with its interval by windows.
    fn figure(
        &self,
        metric: &'static str,
        unit: &'static str,
        better: Better,
        samples: Option<&'static str>,
        of: fn(&Position) -> f64,
    ) -> Measurement {
        let windows = self.positions.chunks(self.length);
        let blocks: Vec<Block> = windows
            .map(|window| Block {
                numerator: window.iter().map(of).sum(),
                denominator: window.len() as f64,
            })
            .collect();
        let n = self.positions.len() as u64;
        Measurement {
            interval: interval_of_mean(&blocks),
            headline: true,
            basis: samples.map(|samples| {
                Basis::Paired(Paired {
                    samples: samples.into(),
                    cases: Vec::new(),
                    statistic: Statistic::Mean,
                    blocks: Blocks::Length(self.length as u64),
                })
            }),
            ..Measurement::new(super::CASE, metric, unit, better, self.mean(of), n)
        }
    }

    fn measurements(&self, because: &str) -> Vec<Measurement> {
        let lower = Better::Lower;
        let (n, top) = (self.positions.len() as u64, self.top);
        let gate = |comparison, bound, because: String| {
            Some(Gate {
                comparison,
                bound,
                because,
            })
        };
        let mut kl = self.figure(
            "top_k_kl_lower_bound",
            "nat",
            lower,
            Some("top_k_kl"),
            |p| p.kl_bound,
        );
        kl.gate = gate(
            Comparison::AtMost,
            0.5 * self.mean(|p| p.allowed_variance),
            format!(
                "half the allowed variance of a logit bounds the whole divergence, of which \
                 {top} tokens tell a part; {because}"
            ),
        );
        let mut rms = self.figure("top_k_log_probability_rms", "nat", lower, None, |p| {
            p.square
        });
        rms.value = rms.value.sqrt();
        rms.interval = rms.interval.map(|interval| stats::Interval {
            low: interval.low.max(0.0).sqrt(),
            high: interval.high.max(0.0).sqrt(),
            ..interval
        });
        rms.gate = gate(
            Comparison::AtMost,
            (2.0 * self.mean(|p| p.allowed_variance)).sqrt(),
            format!("twice the allowed variance of a logit; {because}"),
        );
        let mut all = vec![kl, rms];
        if top > 0 {
            let mut same = self.figure(
                "same_top1",
                "share",
                Better::Higher,
                Some("same_top1"),
                |p| p.same_top1,
            );
            let flips = self.mean(|p| p.allowed_flip);
            // Three standard errors of a share of n positions.
            let slack = 3.0 * (flips * (1.0 - flips) / n as f64).sqrt();
            same.gate = gate(
                Comparison::AtLeast,
                (1.0 - flips - slack).max(0.0),
                format!("flips expected from the baseline's own margins; {because}"),
            );
            all.push(same);
        }
        if top >= 5 {
            let mut five = self.figure(
                "same_top5",
                "share",
                Better::Higher,
                Some("same_top5"),
                |p| p.same_top5,
            );
            five.headline = false;
            all.push(five);
        }
        let mut perplexity = self.figure("perplexity", "1", lower, None, |p| p.nll);
        perplexity.value = perplexity.value.exp();
        perplexity.interval = perplexity.interval.map(|interval| stats::Interval {
            low: interval.low.exp(),
            high: interval.high.exp(),
            ..interval
        });
        all.push(perplexity);
        all
    }
}

/// What differs between two readings of one window. Servers share a batch between
/// whatever requests are there, so that sums may come in another order: no gate.
fn differing(first: &[Scores], repeated: &[Scores]) -> Measurement {
    let pairs = first.iter().zip(repeated);
    let differing = pairs.filter(|(a, b)| a != b).count();
    Measurement::new(
        "repeat",
        "differing_scores",
        "positions",
        Better::Lower,
        differing as f64,
        first.len() as u64,
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::distribution::top;

    fn told(row: &[f32], target: u32, count: usize) -> Scores {
        Scores {
            log_probability: log_probability(row, target as usize),
            top: top(row, count)
                .into_iter()
                .map(|id| (id as u32, log_probability(row, id)))
                .collect(),
        }
    }

    #[test]
    fn an_equal_engine_is_equal_and_another_is_seen() {
        let row = [3.0f32, 2.0, 1.0, 0.0, -1.0, -2.0, -3.0];
        let same = compare(&row, &told(&row, 4, 5), 4, 1e-3).unwrap();
        assert!(same.square < 1e-20);
        assert_eq!((same.same_top1, same.same_top5), (1.0, 1.0));
        // No more than what a server may lose in its sum.
        assert!(same.kl_bound < 1e-5, "{}", same.kl_bound);
        let mut other = row;
        other.swap(0, 1);
        let seen = compare(&row, &told(&other, 4, 5), 4, 1e-3).unwrap();
        assert_eq!((seen.same_top1, seen.same_top5), (0.0, 1.0));
        assert!(seen.kl_bound > 0.1 && seen.square > 0.1);
    }

    #[test]
    fn a_token_that_the_baseline_lacks_is_a_breach() {
        let row = [1.0f32, 0.0];
        let scores = Scores {
            log_probability: -1.0,
            top: vec![(7, -0.5)],
        };
        let error = compare(&row, &scores, 1, 1e-3).unwrap_err();
        assert_eq!(error.kind(), FailureKind::Protocol);
    }
}
