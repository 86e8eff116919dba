//! What a suite hands back.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};
use stats::Interval;

/// One raw observation.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sample {
    /// Case within the suite, e.g. `heldout`.
    pub case: &'static str,
    /// What was observed.
    pub metric: &'static str,
    /// Its unit.
    pub unit: &'static str,
    /// Position in the series; what it counts is the suite's to say.
    pub index: u64,
    /// The observation.
    pub value: f64,
}

/// The samples of one cell by case and metric, in the order they were made.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Series(BTreeMap<(String, String), Vec<(u64, f64)>>);

impl Series {
    /// Appends an observation.
    pub fn push(&mut self, case: &str, metric: &str, index: u64, value: f64) {
        let key = (case.to_owned(), metric.to_owned());
        self.0.entry(key).or_default().push((index, value));
    }

    /// Indices and values of one metric; none if it was never observed.
    #[must_use]
    pub fn of(&self, case: &str, metric: &str) -> &[(u64, f64)] {
        let key = (case.to_owned(), metric.to_owned());
        self.0.get(&key).map_or(&[], Vec::as_slice)
    }
}

impl FromIterator<Sample> for Series {
    fn from_iter<I: IntoIterator<Item = Sample>>(samples: I) -> Self {
        let mut series = Self::default();
        for sample in samples {
            series.push(sample.case, sample.metric, sample.index, sample.value);
        }
        series
    }
}

/// A figure computed from samples.
#[derive(Clone, Debug, PartialEq)]
pub struct Measurement {
    /// Case within the suite.
    pub case: &'static str,
    /// Name, unique within suite and case.
    pub metric: &'static str,
    /// Unit of `value`.
    pub unit: &'static str,
    /// Which direction is good.
    pub better: Better,
    /// The figure.
    pub value: f64,
    /// How many samples it rests on.
    pub n: u64,
    /// Confidence interval, where one can be had.
    pub interval: Option<Interval>,
    /// What the suite itself demands.
    pub gate: Option<Gate>,
    /// Whether it belongs in a table that fits a terminal.
    pub headline: bool,
    /// Whether it puts the rows of that table in order, smallest first.
    pub ranks: bool,
}

/// Which direction of a figure is good.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Better {
    /// Less is better.
    Lower,
    /// More is better.
    Higher,
    /// It should stay as it is.
    Equal,
}

/// A demand on a figure.
#[derive(Clone, Debug, PartialEq)]
pub struct Gate {
    /// How the figure is held against the bound.
    pub comparison: Comparison,
    /// The bound, in the figure's unit.
    pub bound: f64,
    /// Where the bound comes from.
    pub because: String,
}

/// How a figure is held against a bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comparison {
    /// The figure must not exceed the bound.
    AtMost,
    /// The figure must reach the bound.
    AtLeast,
    /// The figure must be the bound.
    Exactly,
}

impl Gate {
    /// Whether `value` meets the demand; NaN never does.
    #[must_use]
    pub fn admits(&self, value: f64) -> bool {
        match self.comparison {
            Comparison::AtMost => value <= self.bound,
            Comparison::AtLeast => value >= self.bound,
            Comparison::Exactly => value == self.bound,
        }
    }
}

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Comparison::AtMost => "<=",
            Comparison::AtLeast => ">=",
            Comparison::Exactly => "==",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nan_passes_no_gate() {
        for comparison in [Comparison::AtMost, Comparison::AtLeast, Comparison::Exactly] {
            let gate = Gate {
                comparison,
                bound: 1.0,
                because: String::new(),
            };
            assert!(!gate.admits(f64::NAN));
            assert!(gate.admits(1.0));
        }
    }
}
