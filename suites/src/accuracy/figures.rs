//! From samples to figures.
//!
//! A sample's index is `item · repeats + repeat`. Items are taken for independent
//! of one another, an item's repeats are not: accuracies and comparisons rest on
//! the first answers alone.

use std::collections::BTreeMap;

use stats::{
    Block, BootstrapOptions, Interval, PairedCounts, mcnemar, ratio_interval, wilson_interval,
};

use super::items::ALL;
use crate::{
    Basis, Better, Blocks, Comparison, Gate, Label, Measurement, Paired, Series, Statistic,
};

/// What figures need to know of the settings.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rule {
    /// Answers an item.
    pub(super) repeats: u64,
    /// Loss of accuracy that does not matter, in percentage points.
    pub(super) max_drop_pct: f64,
    /// Chance of a false alarm, all gates of a cell together.
    pub(super) alpha: f64,
}

/// Level of every interval.
const CONFIDENCE: f64 = 0.95;

/// All figures of a cell: of all items, then of each category.
pub(super) fn all(samples: &Series, baseline: Option<&Series>, rule: Rule) -> Vec<Measurement> {
    let cases: Vec<&str> = samples.cases().collect();
    let categories: Vec<&str> = cases.iter().copied().filter(|case| *case != ALL).collect();
    let mut groups = vec![(ALL, cases.as_slice())];
    groups.extend(
        categories
            .iter()
            .map(|name| (*name, std::slice::from_ref(name))),
    );
    let rule = Rule {
        // Bonferroni: each group has a gate.
        alpha: rule.alpha / groups.len() as f64,
        ..rule
    };
    groups
        .into_iter()
        .flat_map(|(name, cases)| {
            let group = Group { name, cases, rule };
            group.figures(samples, baseline)
        })
        .collect()
}

/// Items whose answers are taken together.
struct Group<'a> {
    name: &'a str,
    /// Cases that their samples are filed under.
    cases: &'a [&'a str],
    rule: Rule,
}

/// Values by item, one a repeat.
type ByItem = BTreeMap<u64, Vec<f64>>;

/// Names of a measure of accuracy and of what compares it.
struct Names {
    sample: &'static str,
    accuracy: &'static str,
    drop: &'static str,
    losses: &'static str,
    gains: &'static str,
    p: &'static str,
}

/// Answers as they are.
const PLAIN: Names = Names {
    sample: "correct",
    accuracy: "acc",
    drop: "drop_pct",
    losses: "losses",
    gains: "gains",
    p: "mcnemar_p",
};

/// Choices by their likelihood per byte.
const PER_BYTE: Names = Names {
    sample: "correct_norm",
    accuracy: "acc_norm",
    drop: "norm_drop_pct",
    losses: "norm_losses",
    gains: "norm_gains",
    p: "norm_mcnemar_p",
};

impl Group<'_> {
    fn figures(&self, samples: &Series, baseline: Option<&Series>) -> Vec<Measurement> {
        let mut figures = Vec::new();
        for names in [PLAIN, PER_BYTE] {
            let ours = self.values(samples, names.sample);
            if ours.is_empty() {
                continue;
            }
            let right = ours.values().filter(|repeats| repeats[0] == 1.0).count() as u64;
            let mut accuracy = self.share(names.accuracy, right, ours.len() as u64);
            accuracy.basis = Some(self.basis(names.sample));
            figures.push(accuracy);
            if let Some(baseline) = baseline {
                figures.extend(self.compared(&names, &ours, &self.values(baseline, names.sample)));
            }
        }
        if self.rule.repeats > 1 {
            figures.extend(self.consistency(samples));
        }
        figures
    }

    /// Answers to the same items; of several to one item the first counts.
    fn basis(&self, samples: &'static str) -> Basis {
        Basis::Paired(Paired {
            samples: samples.into(),
            cases: (self.cases.iter())
                .map(|case| Label::from((*case).to_owned()))
                .collect(),
            statistic: Statistic::Share,
            blocks: Blocks::Length(self.rule.repeats),
        })
    }

    fn values(&self, samples: &Series, metric: &str) -> ByItem {
        let mut values = ByItem::new();
        for case in self.cases {
            for &(index, value) in samples.of(case, metric) {
                let item = values.entry(index / self.rule.repeats).or_default();
                item.push(value);
            }
        }
        values
    }

    /// The candidate's answers against the baseline's to the same items.
    fn compared(&self, names: &Names, ours: &ByItem, baseline: &ByItem) -> Vec<Measurement> {
        // Other items than the baseline's cannot be held against it.
        if !ours.keys().eq(baseline.keys()) {
            return Vec::new();
        }
        let pairs = baseline.values().zip(ours.values());
        let counts = PairedCounts::from_pairs(pairs.map(|(a, b)| (a[0] == 1.0, b[0] == 1.0)));
        let Ok(test) = mcnemar(counts, CONFIDENCE) else {
            return Vec::new();
        };
        let items = ours.len() as u64;
        let (losses, gains) = (counts.first_only, counts.second_only);
        let points = |items_lost: f64| 100.0 * items_lost / items as f64;
        let figure = |metric: &'static str, unit: &'static str, better, value| {
            self.figure(metric, unit, better, value, items)
        };
        let lower = Better::Lower;
        let mut drop = figure(
            names.drop,
            "pp",
            lower,
            points(losses as f64 - gains as f64),
        );
        drop.interval = Some(Interval {
            low: -100.0 * test.interval.high,
            high: -100.0 * test.interval.low,
            ..test.interval
        });
        if names.drop == PLAIN.drop {
            let chance = points(explained_by_chance(losses + gains, self.rule.alpha) as f64);
            drop.gate = Some(Gate {
                comparison: Comparison::AtMost,
                bound: chance.max(self.rule.max_drop_pct),
                because: format!(
                    "accuracy.max_drop_pct is {}, and chance explains up to {chance:.4} when {} \
                     answers turn from right to wrong or back, by McNemar's exact test at {:.4}",
                    self.rule.max_drop_pct,
                    losses + gains,
                    self.rule.alpha
                ),
            });
            drop.headline = self.name == ALL;
        }
        // Against the baseline of this run; between runs, the accuracy itself tells.
        [
            drop,
            figure(names.losses, "items", lower, losses as f64),
            figure(names.gains, "items", Better::Higher, gains as f64),
            figure(names.p, "probability", Better::Higher, test.p),
        ]
        .map(Measurement::aside)
        .into()
    }

    /// Whether answers were the same every time.
    fn consistency(&self, samples: &Series) -> Vec<Measurement> {
        let answers = self.values(samples, "answer");
        let correct = self.values(samples, "correct");
        let steady = |values: &ByItem| {
            let steady = |repeats: &&Vec<f64>| repeats.iter().all(|value| *value == repeats[0]);
            values.values().filter(steady).count() as u64
        };
        let n = answers.len() as u64;
        let blocks: Vec<Block> = correct
            .values()
            .map(|repeats| Block {
                numerator: repeats.iter().sum(),
                denominator: repeats.len() as f64,
            })
            .collect();
        let mean = ratio_interval(&blocks, BootstrapOptions::default());
        let (right, all) = blocks.iter().fold((0.0, 0.0), |(right, all), block| {
            (right + block.numerator, all + block.denominator)
        });
        vec![
            Measurement {
                interval: mean.ok().map(|estimate| estimate.interval),
                ..self.figure("acc_mean", "share", Better::Higher, right / all, all as u64)
            },
            self.share("same_answer", steady(&answers), n),
            self.share("same_outcome", steady(&correct), n),
        ]
    }

    /// A share of items with Wilson's interval.
    fn share(&self, metric: &'static str, successes: u64, items: u64) -> Measurement {
        let value = successes as f64 / items as f64;
        Measurement {
            interval: wilson_interval(successes, items, CONFIDENCE).ok(),
            headline: self.name == ALL && metric != "same_outcome",
            ..self.figure(metric, "share", Better::Higher, value, items)
        }
    }

    fn figure(
        &self,
        metric: &'static str,
        unit: &'static str,
        better: Better,
        value: f64,
        n: u64,
    ) -> Measurement {
        let case: Label = self.name.to_owned().into();
        Measurement::new(case, metric, unit, better, value, n)
    }
}

/// The largest net loss of items among `differing` ones that McNemar's exact test
/// does not find significant: `losses − gains` with `losses + gains = differing`
/// and `p > alpha`, or all of them where not even that is significant.
fn explained_by_chance(differing: u64, alpha: f64) -> u64 {
    let significant = |losses: u64| {
        let counts = PairedCounts {
            first_only: losses,
            second_only: differing - losses,
            ..PairedCounts::default()
        };
        mcnemar(counts, CONFIDENCE).is_ok_and(|test| test.p <= alpha)
    };
    let even = differing.div_ceil(2);
    let losses = (even..=differing).take_while(|&losses| !significant(losses));
    losses.last().map_or(0, |losses| 2 * losses - differing)
}

#[cfg(test)]
#[path = "figures_tests.rs"]
mod tests;
