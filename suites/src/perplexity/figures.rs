//! From samples to figures.
//!
//! Tokens of a window depend on each other, so intervals take whole windows for
//! the independent units ([`ratio_interval`]). Beside each stands, as `…_naive`,
//! the interval of one who takes tokens for independent, as llama.cpp does.

use std::f64::consts::LN_2;

use stats::{
    Block, BootstrapOptions, Interval, mean_interval, min_samples_for_quantile_interval,
    percentile, ratio_interval, wilson_interval,
};

use super::Allowance;
use crate::{Basis, Better, Blocks, Comparison, Gate, Measurement, Paired, Series, Statistic};

/// All figures of a cell; see the module for what the samples are.
pub(super) fn all(
    case: &'static str,
    samples: &Series,
    baseline: Option<&Series>,
    allowed: Allowance,
) -> Vec<Measurement> {
    let tokens = Tokens::new(case, samples);
    if tokens.nll.is_empty() {
        return Vec::new();
    }
    let figures = Figures { case, tokens };
    let mut all = figures.own();
    if let Some(baseline) = baseline {
        all.extend(figures.paired(&Tokens::new(case, baseline), allowed));
    }
    all.extend(figures.bits_per_weight());
    if let Some(baseline) = baseline {
        all.extend(figures.cost_per_byte(&Tokens::new(case, baseline)));
    }
    all
}

/// The samples of one engine.
struct Tokens<'a> {
    nll: &'a [(u64, f64)],
    flip_risk: &'a [(u64, f64)],
    kld: &'a [(u64, f64)],
    /// Of an engine that keeps its logits, what its divergence is at least.
    top_k_kld: &'a [(u64, f64)],
    same_top: &'a [(u64, f64)],
    same_top5: &'a [(u64, f64)],
    /// Index of each window's first token, and bytes of text in the window.
    text_bytes: &'a [(u64, f64)],
    bits_per_weight: Option<f64>,
}

impl<'a> Tokens<'a> {
    fn new(case: &str, samples: &'a Series) -> Self {
        let of = |metric| samples.of(case, metric);
        Self {
            nll: of("nll"),
            flip_risk: of("flip_risk"),
            kld: of("kld"),
            top_k_kld: of("top_k_kld"),
            same_top: of("same_top"),
            same_top5: of("same_top5"),
            text_bytes: of("text_bytes"),
            bits_per_weight: of("bits_per_weight").first().map(|&(_, bits)| bits),
        }
    }
}

struct Figures<'a> {
    case: &'static str,
    tokens: Tokens<'a>,
}

/// A figure's value with its interval by windows and its naive interval.
struct Pair {
    value: f64,
    blocks: Option<Interval>,
    naive: Option<Interval>,
}

impl Pair {
    /// The pair that an increasing function makes of it.
    fn map(&self, function: impl Fn(f64) -> f64) -> Self {
        let both = |interval: Interval| Interval {
            low: function(interval.low),
            high: function(interval.high),
            ..interval
        };
        Self {
            value: function(self.value),
            blocks: self.blocks.map(both),
            naive: self.naive.map(both),
        }
    }
}

/// Names of a figure and its naive twin, and how to read them.
struct Name(&'static str, &'static str, &'static str, Better);

impl Figures<'_> {
    fn own(&self) -> Vec<Measurement> {
        let nll = self.mean(self.tokens.nll);
        let per_byte = over(&self.blocks(self.tokens.nll, |_, bytes| bytes)).map(|x| x / LN_2);
        let lower = Better::Lower;
        let mut all = self.both(Name("ppl", "ppl_naive", "1", lower), &nll.map(f64::exp));
        all[0].headline = true;
        let bits = nll.map(|nats| nats / LN_2);
        all.push(self.figure("bits_per_token", "bit", lower, bits.value, bits.blocks));
        all.push(self.figure(
            "bits_per_byte",
            "bit",
            lower,
            per_byte.value,
            per_byte.blocks,
        ));
        all
    }

    /// Figures against the baseline, on the same tokens.
    fn paired(&self, baseline: &Tokens<'_>, allowed: Allowance) -> Vec<Measurement> {
        let pairs = || self.tokens.nll.iter().zip(baseline.nll);
        // A cell of other tokens than the baseline's cannot be held against it.
        if self.tokens.nll.len() != baseline.nll.len() || pairs().any(|(a, b)| a.0 != b.0) {
            return Vec::new();
        }
        let lower = Better::Lower;
        let difference: Vec<(u64, f64)> = pairs().map(|(a, b)| (a.0, a.1 - b.1)).collect();
        let ratio = self.mean(&difference);
        let mut all = self.both(Name("ln_ratio", "ln_ratio_naive", "nat", lower), &ratio);

        let growth = ratio.map(|nats| 100.0 * nats.exp_m1());
        let name = Name("delta_pct", "delta_pct_naive", "%", lower);
        all.extend(self.both(name, &growth).into_iter().map(|mut figure| {
            if figure.metric == "delta_pct" {
                figure.headline = true;
                figure.gate = Some(Gate {
                    comparison: Comparison::AtMost,
                    bound: allowed.delta_pct,
                    because: "the growth that perplexity.max_delta_pct allows".into(),
                });
            }
            figure
        }));
        if self.tokens.kld.is_empty() {
            all.extend(self.least_divergence(allowed));
        } else {
            all.extend(self.divergence(allowed));
        }
        all.extend(self.probabilities(pairs().map(|(a, b)| {
            let points = 100.0 * ((-a.1).exp() - (-b.1).exp());
            (a.0, points)
        })));
        if !self.tokens.same_top.is_empty() {
            all.extend(self.agreement(baseline, allowed));
        }
        all
    }

    fn divergence(&self, allowed: Allowance) -> Vec<Measurement> {
        let lower = Better::Lower;
        let name = Name("kld_mean", "kld_mean_naive", "nat", lower);
        let mut all = self.both(name, &self.mean(self.tokens.kld));
        all[0].headline = true;
        all[0].gate = Some(Gate {
            comparison: Comparison::AtMost,
            bound: allowed.kld(),
            because: format!(
                "a text of the baseline's own would gain {} % in perplexity",
                allowed.delta_pct
            ),
        });
        let sorted = sorted(self.tokens.kld);
        for (metric, p) in [("kld_p99", 0.99), ("kld_p999", 0.999)] {
            // A sample whose maximum need not reach the percentile cannot tell it.
            if min_samples_for_quantile_interval(p, 0.95).is_ok_and(|least| sorted.len() >= least) {
                all.push(self.figure(metric, "nat", lower, quantile(&sorted, p), None));
            }
        }
        all.push(self.figure("kld_max", "nat", lower, quantile(&sorted, 1.0), None));
        all
    }

    /// The same of an engine of which only some log-probabilities are known: a bound that
    /// it must not exceed either, though it may hide what is among all other tokens.
    fn least_divergence(&self, allowed: Allowance) -> Option<Measurement> {
        if self.tokens.top_k_kld.is_empty() {
            return None;
        }
        let least = self.mean(self.tokens.top_k_kld);
        let (metric, lower) = ("top_k_kld_lower_bound", Better::Lower);
        let mut figure = self.figure(metric, "nat", lower, least.value, least.blocks);
        figure.headline = true;
        figure.gate = Some(Gate {
            comparison: Comparison::AtMost,
            bound: allowed.kld(),
            because: format!(
                "the whole divergence may not exceed what costs {} % in perplexity; the engine \
                 tells a part of it",
                allowed.delta_pct
            ),
        });
        Some(figure)
    }

    /// Change of the probability of the text's own token, in percentage points.
    fn probabilities(&self, changes: impl Iterator<Item = (u64, f64)>) -> Vec<Measurement> {
        let changes: Vec<(u64, f64)> = changes.collect();
        let same = Better::Equal;
        let name = Name("delta_p_mean", "delta_p_mean_naive", "%", same);
        let mut all = self.both(name, &self.mean(&changes));
        let squares: Vec<(u64, f64)> = changes.iter().map(|&(i, x)| (i, x * x)).collect();
        let rms = self.mean(&squares).map(|square| square.max(0.0).sqrt());
        all.push(self.figure("delta_p_rms", "%", Better::Lower, rms.value, rms.blocks));
        let sorted = sorted(&changes);
        for (metric, p) in [
            ("delta_p_min", 0.0),
            ("delta_p_p1", 0.01),
            ("delta_p_p5", 0.05),
            ("delta_p_p50", 0.5),
            ("delta_p_p95", 0.95),
            ("delta_p_p99", 0.99),
            ("delta_p_max", 1.0),
        ] {
            all.push(self.figure(metric, "%", same, quantile(&sorted, p), None));
        }
        all
    }

    fn agreement(&self, baseline: &Tokens<'_>, allowed: Allowance) -> Vec<Measurement> {
        let higher = Better::Higher;
        let mut top = self.mean(self.tokens.same_top);
        let same = self.tokens.same_top.iter().filter(|&&(_, x)| x == 1.0);
        let n = self.tokens.same_top.len();
        top.naive = wilson_interval(same.count() as u64, n as u64, CONFIDENCE).ok();
        let mut all = self.both(Name("same_top", "same_top_naive", "share", higher), &top);
        all[0].headline = true;
        let flips = self.mean(baseline.flip_risk).value;
        // Three standard errors of a share of n positions.
        let slack = 3.0 * (flips * (1.0 - flips) / n as f64).sqrt();
        all[0].gate = Some(Gate {
            comparison: Comparison::AtLeast,
            bound: (1.0 - flips - slack).max(0.0),
            because: format!(
                "flips expected from the baseline's own margins under logit noise that costs \
                 {} % in perplexity",
                allowed.delta_pct
            ),
        });
        if self.tokens.same_top5.is_empty() {
            return all;
        }
        let five = self.mean(self.tokens.same_top5);
        all.extend(self.both(Name("same_top5", "same_top5_naive", "share", higher), &five));
        all
    }

    fn bits_per_weight(&self) -> Option<Measurement> {
        let bits = self.tokens.bits_per_weight?;
        let mut figure = self.figure("bits_per_weight", "bit", Better::Lower, bits, None);
        figure.n = 1;
        figure.headline = true;
        figure.basis = Some(Basis::Exact);
        Some(figure)
    }

    /// Mean KLD for each byte saved on a weight; undefined where none is.
    fn cost_per_byte(&self, baseline: &Tokens<'_>) -> Option<Measurement> {
        let saved = (baseline.bits_per_weight? - self.tokens.bits_per_weight?) / 8.0;
        if saved <= 0.0 || self.tokens.kld.is_empty() {
            return None;
        }
        let cost = self.mean(self.tokens.kld).map(|kld| kld / saved);
        let lower = Better::Lower;
        let mut figure = self.figure("cost_per_byte", "nat/B", lower, cost.value, cost.blocks);
        figure.headline = true;
        figure.ranks = true;
        Some(figure)
    }

    /// The mean of per-token values over all windows.
    fn mean(&self, values: &[(u64, f64)]) -> Pair {
        let plain: Vec<f64> = values.iter().map(|&(_, x)| x).collect();
        let naive = mean_interval(&plain, CONFIDENCE);
        Pair {
            naive: naive.ok().map(|estimate| estimate.interval),
            ..over(&self.blocks(values, |tokens, _| tokens as f64))
        }
    }

    /// Sums over each window; `denominator` makes what they are divided by of
    /// the window's number of tokens and bytes.
    fn blocks(&self, values: &[(u64, f64)], denominator: impl Fn(usize, f64) -> f64) -> Vec<Block> {
        let windows = self.tokens.text_bytes;
        let ends = windows.iter().skip(1).map(|&(first, _)| first);
        let mut rest = values;
        windows
            .iter()
            .zip(ends.chain([u64::MAX]))
            .map(|(&(_, bytes), end)| {
                let (own, others) = rest.split_at(rest.partition_point(|&(index, _)| index < end));
                rest = others;
                Block {
                    numerator: own.iter().map(|&(_, x)| x).sum(),
                    denominator: denominator(own.len(), bytes),
                }
            })
            .collect()
    }

    fn both(&self, name: Name, pair: &Pair) -> Vec<Measurement> {
        let Name(metric, naive, unit, better) = name;
        vec![
            self.figure(metric, unit, better, pair.value, pair.blocks),
            self.figure(naive, unit, better, pair.value, pair.naive),
        ]
    }

    fn figure(
        &self,
        metric: &'static str,
        unit: &'static str,
        better: Better,
        value: f64,
        interval: Option<Interval>,
    ) -> Measurement {
        let n = self.tokens.nll.len() as u64;
        Measurement {
            interval,
            basis: basis(metric),
            ..Measurement::new(self.case, metric, unit, better, value, n)
        }
    }
}

/// Level of every interval; [`BootstrapOptions`] has the same.
const CONFIDENCE: f64 = 0.95;

/// What a figure rests on. Those against the baseline are asides: between runs, the figures of
/// the engine itself tell more.
fn basis(metric: &str) -> Option<Basis> {
    let of = |samples: &'static str, statistic| {
        Some(Basis::Paired(Paired {
            samples: samples.into(),
            cases: Vec::new(),
            statistic,
            blocks: Blocks::StartOf("text_bytes".into()),
        }))
    };
    match metric {
        "ppl" => of("nll", Statistic::ExpMean),
        "bits_per_token" => of("nll", Statistic::Mean),
        "kld_mean" | "cost_per_byte" => of("kld", Statistic::Mean),
        "top_k_kld_lower_bound" => of("top_k_kld", Statistic::Mean),
        "same_top" => of("same_top", Statistic::Mean),
        "same_top5" => of("same_top5", Statistic::Mean),
        "ln_ratio" | "delta_pct" | "bits_per_byte" => Some(Basis::Aside),
        _ if metric.ends_with("_naive") || metric.starts_with("delta_p_") => Some(Basis::Aside),
        _ => None,
    }
}

/// `Σ numerators / Σ denominators` with the interval by blocks.
fn over(blocks: &[Block]) -> Pair {
    let total = |part: fn(&Block) -> f64| blocks.iter().map(part).sum::<f64>();
    let estimate = ratio_interval(blocks, BootstrapOptions::default());
    Pair {
        value: total(|block| block.numerator) / total(|block| block.denominator),
        blocks: estimate.ok().map(|estimate| estimate.interval),
        naive: None,
    }
}

fn sorted(values: &[(u64, f64)]) -> Vec<f64> {
    let mut sorted: Vec<f64> = values.iter().map(|&(_, x)| x).collect();
    sorted.sort_by(f64::total_cmp);
    sorted
}

fn quantile(sorted: &[f64], p: f64) -> f64 {
    percentile(sorted, p).unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CASE: &str = "llama_cpp";

    /// Two engines on three windows of two tokens; the candidate is worse by
    /// 0.1, 0.2 and 0.3 nats a token.
    fn engines() -> (Series, Series) {
        let (mut ours, mut base) = (Series::default(), Series::default());
        base.push(CASE, "bits_per_weight", 0, 16.0);
        ours.push(CASE, "bits_per_weight", 0, 4.0);
        for window in 0..3u64 {
            for series in [&mut ours, &mut base] {
                series.push(CASE, "text_bytes", 10 * window, 7.0);
            }
            for token in 0..2 {
                let (index, nll) = (10 * window + token, 1.0 + token as f64);
                base.push(CASE, "nll", index, nll);
                base.push(CASE, "flip_risk", index, 0.25);
                ours.push(CASE, "nll", index, nll + 0.1 * (window + 1) as f64);
                ours.push(CASE, "kld", index, 0.3);
                ours.push(CASE, "same_top", index, token as f64);
                ours.push(CASE, "same_top5", index, 0.8);
            }
        }
        (ours, base)
    }

    fn figure<'a>(figures: &'a [Measurement], metric: &str) -> &'a Measurement {
        let mut named = figures.iter().filter(|figure| figure.metric == metric);
        let figure = named.next().unwrap_or_else(|| panic!("no {metric}"));
        assert!(named.next().is_none(), "{metric} twice");
        figure
    }

    #[track_caller]
    fn close(a: f64, b: f64) {
        assert!((a - b).abs() < 1e-12, "{a} {b}");
    }

    #[test]
    fn figures_of_a_case_worked_by_hand() {
        let (ours, base) = engines();
        let allowed = Allowance { delta_pct: 2.0 };
        let figures = all(CASE, &ours, Some(&base), allowed);
        let value = |metric| figure(&figures, metric).value;
        close(value("ppl"), 1.7f64.exp());
        close(value("bits_per_token"), 1.7 / LN_2);
        close(value("bits_per_byte"), 6.0 * 1.7 / LN_2 / 21.0);
        close(value("ln_ratio"), 0.2);
        close(value("delta_pct"), 100.0 * 0.2f64.exp_m1());
        close(value("kld_mean"), 0.3);
        close(value("same_top"), 0.5);
        close(value("same_top5"), 0.8);
        // Twelve bits are one and a half bytes.
        close(value("cost_per_byte"), 0.2);
        assert!(figures.iter().all(|figure| figure.metric != "kld_p999"));

        // By windows: means 0.1, 0.2, 0.3, so 0.2 ± t₂ 0.1/√3, t₂ = 4.30265.
        let ratio = figure(&figures, "ln_ratio").interval.unwrap();
        assert!((ratio.high - 0.2 - 4.302_652_73 * 0.1 / 3f64.sqrt()).abs() < 1e-8);
        let naive = figure(&figures, "ln_ratio_naive").interval.unwrap();
        assert!(naive.high < ratio.high);

        let gate = |metric| figure(&figures, metric).gate.as_ref().unwrap();
        close(gate("delta_pct").bound, 2.0);
        close(gate("kld_mean").bound, 1.02f64.ln());
        close(
            gate("same_top").bound,
            0.75 - 3.0 * (0.25 * 0.75 / 6.0f64).sqrt(),
        );
    }

    #[test]
    fn the_baseline_and_an_empty_shard_have_no_paired_figures() {
        let (_, base) = engines();
        let allowed = Allowance { delta_pct: 2.0 };
        let figures = all(CASE, &base, None, allowed);
        assert!(figures.iter().all(|figure| figure.gate.is_none()));
        close(figure(&figures, "ppl").value, 1.5f64.exp());
        assert_eq!(all(CASE, &Series::default(), Some(&base), allowed), []);
    }
}
