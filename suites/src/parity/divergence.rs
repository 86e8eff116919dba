//! How far two rows of logits are apart.

use stats::{Block, percentile};

use super::interval_of_mean;
use crate::distribution::{compare, flip_probability, top5};
use crate::{Basis, Better, Blocks, Comparison, Gate, Measurement, Paired, Statistic};

/// One position, baseline against candidate. Everything is computed in f64.
#[derive(Clone, Copy, Debug)]
pub(super) struct Row {
    max_abs: f64,
    /// Mean squared difference of raw logits.
    mean_sq: f64,
    /// Energies after centring: of the difference, and of the baseline.
    noise: f64,
    signal: f64,
    /// `KL(baseline ‖ candidate)` in nats.
    kl: f64,
    same_top1: bool,
    /// Share of the baseline's five best that are among the candidate's.
    same_top5: f64,
    /// What the tolerance allows here: KL, and the chance that the best flips.
    allowed_kl: f64,
    allowed_flip: f64,
}

impl Row {
    /// Compares two rows of equal length; `nmse_bound` is the noise the
    /// candidate is allowed, see [`super::gates`].
    pub(super) fn compare(baseline: &[f32], candidate: &[f32], nmse_bound: f64) -> Self {
        let (mut max_abs, mut sum_sq) = (0f64, 0f64);
        for (&a, &b) in baseline.iter().zip(candidate) {
            let difference = f64::from(b) - f64::from(a);
            max_abs = max_abs.max(difference.abs());
            sum_sq += difference * difference;
        }
        let vocab = baseline.len() as f64;
        let (noise, signal) = centred_energies(baseline, candidate);
        let (best, their_best) = (top5(baseline), top5(candidate));
        let shared = best.iter().filter(|id| their_best.contains(id)).count();
        // Standard deviation of an allowed logit error at this position.
        let sigma = (nmse_bound * signal / vocab).sqrt();
        Self {
            max_abs,
            mean_sq: sum_sq / vocab,
            noise,
            signal,
            kl: compare(baseline, candidate).kl,
            same_top1: best[0] == their_best[0],
            same_top5: shared as f64 / best.len() as f64,
            allowed_kl: 0.5 * sigma * sigma,
            allowed_flip: flip_probability(baseline, best[0], sigma),
        }
    }

    /// Name, unit and value of what is recorded for each position.
    pub(super) fn samples(&self) -> [(&'static str, &'static str, f64); 6] {
        [
            ("max_abs_error", "logit", self.max_abs),
            ("rms_error", "logit", self.mean_sq.sqrt()),
            ("nmse", "1", self.noise / self.signal),
            ("kl", "nat", self.kl),
            ("same_top1", "bool", f64::from(u8::from(self.same_top1))),
            ("same_top5", "share", self.same_top5),
        ]
    }
}

/// All positions together.
#[derive(Debug, Default)]
pub(super) struct Divergence {
    rows: Vec<Row>,
    /// Index of each window's first row.
    starts: Vec<usize>,
}

impl Divergence {
    /// Begins a window: rows until the next call depend on each other.
    pub(super) fn open_block(&mut self) {
        self.starts.push(self.rows.len());
    }

    pub(super) fn add(&mut self, row: &Row) {
        self.rows.push(*row);
    }

    fn blocks(&self, numerator: fn(&Row) -> f64, denominator: fn(&Row) -> f64) -> Vec<Block> {
        let ends = self.starts.iter().skip(1).copied().chain([self.rows.len()]);
        self.starts
            .iter()
            .zip(ends)
            .map(|(&start, end)| Block {
                numerator: self.rows[start..end].iter().map(numerator).sum(),
                denominator: self.rows[start..end].iter().map(denominator).sum(),
            })
            .collect()
    }

    /// Samples of the tokens of windows of one length.
    fn basis(&self, metric: &str) -> Option<Basis> {
        let samples = match metric {
            "kl_mean" => "kl",
            "same_top1" => "same_top1",
            "same_top5" => "same_top5",
            _ => return None,
        };
        let length = self.starts.get(1).copied().unwrap_or(self.rows.len());
        Some(Basis::Paired(Paired {
            samples: samples.into(),
            cases: Vec::new(),
            statistic: Statistic::Mean,
            blocks: Blocks::Length(length as u64),
        }))
    }

    /// The suite's figures and their gates.
    pub(super) fn measurements(&self, nmse_bound: f64, because: &str) -> Vec<Measurement> {
        let n = self.rows.len();
        let mean = |f: fn(&Row) -> f64| self.rows.iter().map(f).sum::<f64>() / n as f64;
        let ratio = |metric: &'static str,
                     unit: &'static str,
                     better,
                     headline,
                     f: fn(&Row) -> f64,
                     d: fn(&Row) -> f64| {
            let blocks = self.blocks(f, d);
            let total = |part: fn(&Block) -> f64| blocks.iter().map(part).sum::<f64>();
            let value = total(|b| b.numerator) / total(|b| b.denominator);
            Measurement {
                interval: interval_of_mean(&blocks),
                headline,
                basis: self.basis(metric),
                ..Measurement::new(super::CASE, metric, unit, better, value, n as u64)
            }
        };
        let one = |_: &Row| 1.0;
        let extreme = |metric: &'static str, unit: &'static str, value: f64| {
            Measurement::new(super::CASE, metric, unit, Better::Lower, value, n as u64)
        };

        let mut kl: Vec<f64> = self.rows.iter().map(|row| row.kl).collect();
        kl.sort_by(f64::total_cmp);
        let worst = kl.last().copied().unwrap_or(f64::NAN);

        let mut nmse = ratio("nmse", "1", Better::Lower, true, |r| r.noise, |r| r.signal);
        nmse.gate = Some(Gate {
            comparison: Comparison::AtMost,
            bound: nmse_bound,
            because: because.into(),
        });
        let mut kl_mean = ratio("kl_mean", "nat", Better::Lower, true, |r| r.kl, one);
        kl_mean.gate = Some(Gate {
            comparison: Comparison::AtMost,
            bound: mean(|row| row.allowed_kl),
            because: format!("half the allowed variance of a logit; {because}"),
        });
        let top1 = |row: &Row| f64::from(u8::from(row.same_top1));
        let mut same_top1 = ratio("same_top1", "share", Better::Higher, true, top1, one);
        let flips = mean(|row| row.allowed_flip);
        // Three standard errors of a share of n positions.
        let slack = 3.0 * (flips * (1.0 - flips) / n as f64).sqrt();
        same_top1.gate = Some(Gate {
            comparison: Comparison::AtLeast,
            bound: (1.0 - flips - slack).max(0.0),
            because: format!("flips expected from the baseline's own margins; {because}"),
        });
        let mut max_abs = extreme(
            "max_abs_error",
            "logit",
            self.rows.iter().map(|row| row.max_abs).fold(0.0, f64::max),
        );
        max_abs.headline = true;
        vec![
            max_abs,
            extreme("rms_error", "logit", mean(|row| row.mean_sq).sqrt()),
            nmse,
            kl_mean,
            extreme("kl_p99", "nat", percentile(&kl, 0.99).unwrap_or(f64::NAN)),
            extreme("kl_max", "nat", worst),
            same_top1,
            ratio(
                "same_top5",
                "share",
                Better::Higher,
                false,
                |r| r.same_top5,
                one,
            ),
        ]
    }
}

/// Energies `Σ(δ − mean δ)²` of the difference and `Σ(z − mean z)²` of the
/// baseline. A constant added to all logits changes no probability, so it
/// counts for neither.
pub(crate) fn centred_energies(baseline: &[f32], candidate: &[f32]) -> (f64, f64) {
    let mean =
        |values: &[f32]| values.iter().map(|&v| f64::from(v)).sum::<f64>() / values.len() as f64;
    let (mean_a, mean_b) = (mean(baseline), mean(candidate));
    let (mut noise, mut signal) = (0.0, 0.0);
    for (&a, &b) in baseline.iter().zip(candidate) {
        let (a, b) = (f64::from(a) - mean_a, f64::from(b) - mean_b);
        noise += (b - a) * (b - a);
        signal += a * a;
    }
    (noise, signal)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn equal_rows_do_not_diverge(row in prop::collection::vec(-50f32..50.0, 8..64)) {
            let same = Row::compare(&row, &row, 1e-3);
            prop_assert_eq!(same.max_abs, 0.0);
            prop_assert_eq!(same.noise, 0.0);
            prop_assert_eq!(same.kl, 0.0);
            prop_assert!(same.same_top1);
            prop_assert_eq!(same.same_top5, 1.0);
        }

        #[test]
        fn a_constant_changes_nothing(
            row in prop::collection::vec(-50f32..50.0, 8..64),
            shift in -16i8..16,
        ) {
            let shifted: Vec<f32> = row.iter().map(|v| v + f32::from(shift)).collect();
            // f32 addition rounds: |z| < 66, so by at most 2^-18 a logit, and
            // KL by at most the largest difference twice.
            let row = Row::compare(&row, &shifted, 1e-3);
            prop_assert!(row.kl < 2.0 * 2f64.powi(-18));
            prop_assert!(row.noise <= 64.0 * 2f64.powi(-36));
        }
    }
}
