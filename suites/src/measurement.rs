//! What a suite hands back.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};
use stats::Interval;

use crate::float;

/// Name of a case, a metric or a unit: most are known when a suite is written, some
/// come from what it reads.
pub type Label = Cow<'static, str>;

/// One raw observation.
///
/// ```
/// use harness_suites::Sample;
///
/// let sample = Sample {
///     case: "decode".into(),
///     metric: "itl_ns".into(),
///     unit: "ns".into(),
///     index: 7,
///     value: 8.1e6,
/// };
/// let told = serde_json::to_string(&sample)?;
/// assert_eq!(serde_json::from_str::<Sample>(&told)?, sample);
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    /// Case within the suite, e.g. `heldout`.
    pub case: Label,
    /// What was observed.
    pub metric: Label,
    /// Its unit.
    pub unit: Label,
    /// Position in the series; what it counts is the suite's to say.
    pub index: u64,
    /// The observation.
    #[serde(with = "float")]
    pub value: f64,
}

/// The samples of one cell by case and metric, in the order they were made.
///
/// ```
/// use harness_suites::Series;
///
/// let mut series = Series::default();
/// series.push("heldout", "nll", 0, 2.5);
/// series.push("heldout", "nll", 1, 0.1);
/// assert_eq!(series.of("heldout", "nll"), [(0, 2.5), (1, 0.1)]);
/// assert!(series.of("heldout", "kld").is_empty());
/// assert_eq!(series.cases().collect::<Vec<_>>(), ["heldout"]);
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Series(BTreeMap<(String, String), Vec<(u64, f64)>>);

impl Series {
    /// Appends an observation.
    ///
    /// ```
    /// use harness_suites::Series;
    ///
    /// let mut series = Series::default();
    /// series.push("decode", "itl_ns", 1, 8.1e6);
    /// series.push("decode", "itl_ns", 0, 7.9e6);
    /// // In the order they were made, whatever their index.
    /// assert_eq!(series.of("decode", "itl_ns"), [(1, 8.1e6), (0, 7.9e6)]);
    /// ```
    pub fn push(&mut self, case: &str, metric: &str, index: u64, value: f64) {
        let key = (case.to_owned(), metric.to_owned());
        self.0.entry(key).or_default().push((index, value));
    }

    /// Indices and values of one metric; none if it was never observed.
    ///
    /// ```
    /// use harness_suites::{Sample, Series};
    ///
    /// let sample = |index, value| Sample {
    ///     case: "all".into(),
    ///     metric: "correct".into(),
    ///     unit: "1".into(),
    ///     index,
    ///     value,
    /// };
    /// let series: Series = [sample(0, 1.0), sample(1, 0.0)].into_iter().collect();
    /// let right = series.of("all", "correct").iter().filter(|(_, value)| *value == 1.0);
    /// assert_eq!(right.count(), 1);
    /// ```
    #[must_use]
    pub fn of(&self, case: &str, metric: &str) -> &[(u64, f64)] {
        let key = (case.to_owned(), metric.to_owned());
        self.0.get(&key).map_or(&[], Vec::as_slice)
    }

    /// Names of the cases, each once, in alphabetical order.
    ///
    /// ```
    /// use harness_suites::Series;
    ///
    /// let mut series = Series::default();
    /// for (case, metric) in [("prompt_64", "ttft_ns"), ("decode", "itl_ns"), ("decode", "ttft_ns")] {
    ///     series.push(case, metric, 0, 1.0);
    /// }
    /// assert_eq!(series.cases().collect::<Vec<_>>(), ["decode", "prompt_64"]);
    /// ```
    pub fn cases(&self) -> impl Iterator<Item = &str> {
        let mut last = None;
        self.0.keys().filter_map(move |(case, _)| {
            let new = last.replace(case) != Some(case);
            new.then_some(case.as_str())
        })
    }
}

impl FromIterator<Sample> for Series {
    fn from_iter<I: IntoIterator<Item = Sample>>(samples: I) -> Self {
        let mut series = Self::default();
        for sample in samples {
            series.push(&sample.case, &sample.metric, sample.index, sample.value);
        }
        series
    }
}

/// A figure computed from samples.
///
/// ```
/// use harness_suites::{Better, Comparison, Gate, Measurement};
/// use stats::Interval;
///
/// let figure = Measurement {
///     interval: Some(Interval { low: 0.4, high: 1.2, confidence: 0.95 }),
///     gate: Some(Gate {
///         comparison: Comparison::AtMost,
///         bound: 2.0,
///         because: "what may be lost".into(),
///     }),
///     ..Measurement::new("heldout", "delta_pct", "%", Better::Lower, 0.8, 12_750)
/// };
/// assert!(figure.gate.is_some_and(|gate| gate.admits(figure.value)));
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Measurement {
    /// Case within the suite.
    pub case: Label,
    /// Name, unique within suite and case.
    pub metric: Label,
    /// Unit of `value`.
    pub unit: Label,
    /// Which direction is good.
    pub better: Better,
    /// The figure.
    #[serde(with = "float")]
    pub value: f64,
    /// How many samples it rests on.
    pub n: u64,
    /// Confidence interval, where one can be had.
    #[serde(with = "float::interval")]
    pub interval: Option<Interval>,
    /// What the suite itself demands.
    pub gate: Option<Gate>,
    /// Why the figure is withheld, if its value is NaN; else what to know of it.
    pub why: Option<String>,
    /// Whether it belongs in a table that fits a terminal.
    pub headline: bool,
    /// Whether it puts the rows of that table in order, smallest first.
    pub ranks: bool,
    /// How it may be held against the same figure of another run; by its interval if nothing
    /// better is known.
    #[serde(default)]
    pub basis: Option<Basis>,
}

/// What a figure rests on, as far as it matters for a comparison of runs.
///
/// ```
/// use harness_suites::{Basis, find};
///
/// // Whether one run before and one after a change can tell that it changed something.
/// let one_run_tells = |basis: &Basis| matches!(basis, Basis::Exact | Basis::Paired(_));
/// assert!(one_run_tells(&Basis::Exact));
/// let timed = find("latency").and_then(|suite| suite.basis()).ok_or("no basis")?;
/// assert!(!one_run_tells(&timed));
/// # Ok::<(), &str>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Basis {
    /// It varies from run to run with whatever else the machine does: only several runs can tell
    /// a change.
    Machine,
    /// It is the same in every run of the same engine: any difference is a change.
    Exact,
    /// It tells the conditions of a run, or repeats what another figure tells: not to be judged.
    Aside,
    /// It is computed from samples that another run has of the same tokens, texts or items.
    Paired(Paired),
}

/// Samples that pair up by their index.
///
/// ```
/// use harness_suites::{Basis, Series, Settings, Statistic, find};
///
/// let suite = find("perplexity").ok_or("no such suite")?;
/// let mut samples = Series::default();
/// samples.push("llama_cpp", "nll", 1, 2.0);
/// let figures = suite.figures(&Settings::default(), &samples, None)?;
/// let Some(Basis::Paired(paired)) = &figures[0].basis else {
///     return Err("a perplexity is compared token by token".into());
/// };
/// assert_eq!(paired.samples, "nll");
/// assert_eq!(paired.statistic, Statistic::ExpMean);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Paired {
    /// Their metric.
    pub samples: Label,
    /// Cases they are filed under; the figure's own if there are none.
    pub cases: Vec<Label>,
    /// What is made of them.
    pub statistic: Statistic,
    /// Which of them depend on each other.
    pub blocks: Blocks,
}

/// How a figure is computed from its samples.
///
/// ```
/// use harness_suites::Statistic;
///
/// let of = |statistic, samples: &[f64]| {
///     let mean = samples.iter().sum::<f64>() / samples.len() as f64;
///     match statistic {
///         Statistic::ExpMean => mean.exp(),
///         Statistic::Mean | Statistic::Share => mean,
///     }
/// };
/// // Tokens that had one chance in two and in eight are as hard as one in four.
/// let nll = [2.0_f64.ln(), 8.0_f64.ln()];
/// assert!((of(Statistic::ExpMean, &nll) - 4.0).abs() < 1e-12);
/// assert_eq!(of(Statistic::Share, &[1.0, 0.0, 1.0, 1.0]), 0.75);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Statistic {
    /// Their mean, or a multiple of it.
    Mean,
    /// exp of their mean.
    ExpMean,
    /// The share of ones among independent zeros and ones.
    Share,
}

/// Stretches of a series whose samples depend on each other.
///
/// ```
/// use harness_suites::Blocks;
///
/// let together = |blocks: &Blocks, starts: &[u64], a: u64, b: u64| match blocks {
///     Blocks::Length(length) => a / length == b / length,
///     Blocks::StartOf(_) => !starts.iter().any(|&start| a.min(b) < start && start <= a.max(b)),
/// };
/// assert!(together(&Blocks::Length(64), &[], 0, 63));
/// assert!(!together(&Blocks::Length(64), &[], 63, 64));
/// // Windows of a text need not be equally long.
/// assert!(together(&Blocks::StartOf("text_bytes".into()), &[0, 100], 63, 64));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Blocks {
    /// So many indices each.
    Length(u64),
    /// Each begins at an index of the samples of this metric.
    StartOf(Label),
}

impl Measurement {
    /// A figure without interval or gate that does not make headlines.
    ///
    /// ```
    /// use harness_suites::{Better, Measurement};
    ///
    /// let size = Measurement::new("weights", "size_bytes", "bytes", Better::Lower, 4.2e6, 1);
    /// assert!(size.interval.is_none() && size.gate.is_none() && !size.headline);
    /// // The same figure for a table that fits a terminal.
    /// let shown = Measurement { headline: true, ..size };
    /// assert_eq!((&*shown.metric, shown.value), ("size_bytes", 4.2e6));
    /// ```
    pub fn new(
        case: impl Into<Label>,
        metric: impl Into<Label>,
        unit: impl Into<Label>,
        better: Better,
        value: f64,
        n: u64,
    ) -> Self {
        Self {
            case: case.into(),
            metric: metric.into(),
            unit: unit.into(),
            better,
            value,
            n,
            interval: None,
            gate: None,
            why: None,
            headline: false,
            ranks: false,
            basis: None,
        }
    }

    /// The same figure, which is not to be judged between runs.
    #[must_use]
    pub(crate) fn aside(self) -> Self {
        Self {
            basis: Some(Basis::Aside),
            ..self
        }
    }

    /// A figure that `n` samples do not support, or that cannot be had here. It
    /// passes no gate, and without one it is skipped.
    ///
    /// ```
    /// use harness_suites::{Better, Measurement};
    ///
    /// let why = "60 samples, 662 are needed";
    /// let p99 = Measurement::withheld("decode", "itl_p99_ns", "ns", Better::Lower, 60, why);
    /// assert!(p99.value.is_nan());
    /// assert_eq!((p99.n, p99.why.as_deref()), (60, Some(why)));
    /// ```
    pub fn withheld(
        case: impl Into<Label>,
        metric: impl Into<Label>,
        unit: impl Into<Label>,
        better: Better,
        n: u64,
        why: impl Into<String>,
    ) -> Self {
        Self {
            why: Some(why.into()),
            ..Self::new(case, metric, unit, better, f64::NAN, n)
        }
    }
}

/// Which direction of a figure is good.
///
/// ```
/// use harness_suites::Better;
///
/// let worse = |better, before: f64, after: f64| match better {
///     Better::Lower => after > before,
///     Better::Higher => after < before,
///     Better::Equal => after != before,
/// };
/// assert!(worse(Better::Lower, 8.1, 9.4)); // Milliseconds a token.
/// assert!(!worse(Better::Higher, 0.61, 0.64)); // Questions answered rightly.
/// ```
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
///
/// ```
/// use harness_suites::{Comparison, Gate};
///
/// let gate = Gate { comparison: Comparison::AtMost, bound: 2.0, because: "max_delta_pct".into() };
/// assert_eq!(format!("{} {}", gate.comparison, gate.bound), "<= 2");
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Gate {
    /// How the figure is held against the bound.
    pub comparison: Comparison,
    /// The bound, in the figure's unit.
    #[serde(with = "float")]
    pub bound: f64,
    /// Where the bound comes from.
    pub because: String,
}

/// How a figure is held against a bound.
///
/// ```
/// use harness_suites::Comparison::{AtLeast, AtMost, Exactly};
///
/// let signs = [AtMost, AtLeast, Exactly].map(|comparison| comparison.to_string());
/// assert_eq!(signs, ["<=", ">=", "=="]);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
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
    ///
    /// ```
    /// use harness_suites::{Comparison, Gate};
    ///
    /// let gate = |comparison| Gate { comparison, bound: 1.0, because: String::new() };
    /// assert!(gate(Comparison::AtMost).admits(0.5));
    /// assert!(!gate(Comparison::Exactly).admits(0.5));
    /// assert!(!gate(Comparison::AtLeast).admits(f64::NAN));
    /// ```
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

    #[test]
    fn every_bit_survives_json() {
        for value in [
            0.1 + 0.2,
            -0.0,
            5e-324,
            f64::MAX,
            7.0,
            f64::INFINITY,
            f64::NEG_INFINITY,
            f64::NAN,
        ] {
            let measurement = Measurement {
                interval: Some(Interval {
                    low: value,
                    high: value,
                    confidence: 0.95,
                }),
                ..Measurement::new("case", "metric", "1", Better::Lower, value, 1)
            };
            let json = serde_json::to_string(&measurement).unwrap();
            let read: Measurement = serde_json::from_str(&json).unwrap();
            assert_eq!(read.value.to_bits(), value.to_bits(), "{json}");
            let interval = read.interval.unwrap();
            assert_eq!(interval.low.to_bits(), value.to_bits(), "{json}");
            assert_eq!(interval.high.to_bits(), value.to_bits(), "{json}");
        }
        let none = Measurement::new("case", "metric", "1", Better::Lower, 1.0, 1);
        let json = serde_json::to_string(&none).unwrap();
        assert_eq!(serde_json::from_str::<Measurement>(&json).unwrap(), none);
    }
}
