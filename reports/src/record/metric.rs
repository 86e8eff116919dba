//! Figures, and what became of them.

use serde::{Deserialize, Serialize};

/// A figure and what became of it.
///
/// ```
/// use harness_reports::{StoredRun, Verdict};
///
/// let record = StoredRun::open("tests/run".as_ref())?.record;
/// let mut metrics = record.cells[1].metrics.iter();
/// let growth = metrics.find(|metric| metric.name.ends_with(".delta_pct")).ok_or("not there")?;
/// assert_eq!((growth.gate.as_deref(), growth.verdict), (Some("<= 2"), Verdict::Fail));
/// // 28 tokens do not tell much.
/// let width = growth.ci_high.zip(growth.ci_low).map(|(high, low)| high - low);
/// assert!(width > growth.value);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Metric {
    /// `suite.case.metric`.
    pub name: String,
    /// Unit of `value`.
    pub unit: String,
    /// Which direction is good.
    pub better: Better,
    /// The figure; null when it is undefined (a mean of nothing).
    pub value: Option<f64>,
    /// How many samples it rests on.
    pub n: u64,
    /// Lower end of the confidence interval.
    pub ci_low: Option<f64>,
    /// Upper end of the confidence interval.
    pub ci_high: Option<f64>,
    /// Confidence level, a fraction.
    pub confidence: Option<f64>,
    /// What it was held against, e.g. `<= 0.05`.
    pub gate: Option<String>,
    /// What came of that.
    pub verdict: Verdict,
    /// Where the gate comes from, or why there is none.
    pub why: Option<String>,
    /// Whether it belongs in a table that fits a terminal.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub headline: bool,
    /// Whether it puts the rows of that table in order, smallest first.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub ranks: bool,
    /// How it may be held against the same figure of another run; by its interval if nothing
    /// better is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub basis: Option<Basis>,
}

/// What a figure rests on, as far as it matters for a comparison of runs.
///
/// ```
/// use harness_reports::{Basis, Metric, StoredRun};
///
/// let record = StoredRun::open("tests/run".as_ref())?.record;
/// let exact = |metric: &&Metric| metric.basis == Some(Basis::Exact);
/// let exact = record.cells[1].metrics.iter().filter(exact).map(|metric| metric.name.as_str());
/// assert_eq!(exact.collect::<Vec<_>>(), ["perplexity.llama_cpp.bits_per_weight"]);
/// # Ok::<(), harness_reports::ReadError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Basis {
    /// It varies from run to run with whatever else the machine does: only several runs can tell
    /// a change.
    Machine,
    /// It is the same in every run of the same engine: any difference is a change.
    Exact,
    /// It tells the conditions of a run, or repeats what another figure tells: not judged.
    Aside,
    /// It is computed from samples that another run has of the same tokens, texts or items.
    Paired(Paired),
}

/// Samples of `samples.csv` that pair up with another run's by their index.
///
/// ```
/// use harness_reports::{Basis, Statistic, StoredRun};
///
/// let run = StoredRun::open("tests/run".as_ref())?;
/// let cell = &run.record.cells[0];
/// let perplexity = &cell.metrics[0];
/// let Some(Basis::Paired(paired)) = &perplexity.basis else {
///     return Err("a perplexity is compared token by token".into());
/// };
/// let samples = run.samples[&cell.cell].iter().filter(|sample| sample.metric == paired.samples);
/// let values: Vec<f64> = samples.map(|sample| sample.value).collect();
/// assert_eq!((paired.samples.as_str(), paired.statistic), ("nll", Statistic::ExpMean));
/// let mean = values.iter().sum::<f64>() / values.len() as f64;
/// assert!(perplexity.value.is_some_and(|value| (mean.exp() / value - 1.0).abs() < 1e-12));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Paired {
    /// Their metric.
    pub samples: String,
    /// Cases they are filed under; the figure's own if there are none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cases: Vec<String>,
    /// What is made of them.
    pub statistic: Statistic,
    /// Which of them depend on each other.
    pub blocks: Blocks,
}

/// How a figure is computed from its samples.
///
/// ```
/// use harness_reports::{Basis, Metric, Statistic, StoredRun};
///
/// let cell = &StoredRun::open("tests/run".as_ref())?.record.cells[0];
/// let statistic = |metric: &Metric| match &metric.basis {
///     Some(Basis::Paired(paired)) => Some((paired.samples.clone(), paired.statistic)),
///     _ => None,
/// };
/// // A perplexity and its bits per token are two views of the same samples.
/// assert_eq!(statistic(&cell.metrics[0]), Some(("nll".into(), Statistic::ExpMean)));
/// assert_eq!(statistic(&cell.metrics[2]), Some(("nll".into(), Statistic::Mean)));
/// # Ok::<(), harness_reports::ReadError>(())
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
/// use harness_reports::{Basis, Blocks, Paired, StoredRun};
///
/// let run = StoredRun::open("tests/run".as_ref())?;
/// let cell = &run.record.cells[0];
/// let Some(Basis::Paired(Paired { blocks: Blocks::StartOf(metric), .. })) = &cell.metrics[0].basis
/// else {
///     return Err("a perplexity has windows for blocks".into());
/// };
/// let starts = run.samples[&cell.cell].iter().filter(|sample| sample.metric == *metric);
/// let starts: Vec<u64> = starts.map(|sample| sample.index).collect();
/// assert_eq!(starts, [9, 25, 41, 57]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Blocks {
    /// So many indices each.
    Length(u64),
    /// Each begins at an index of the samples of this metric.
    StartOf(String),
}

/// Which direction of a figure is good.
///
/// ```
/// use harness_reports::{Better, StoredRun};
///
/// let cell = &StoredRun::open("tests/run".as_ref())?.record.cells[1];
/// let of = |name: &str| cell.metrics.iter().find(|metric| metric.name.ends_with(name)).map(|m| m.better);
/// assert_eq!(of(".kld_mean"), Some(Better::Lower));
/// assert_eq!(of(".same_top"), Some(Better::Higher));
/// assert_eq!(of(".delta_p_mean"), Some(Better::Equal));
/// # Ok::<(), harness_reports::ReadError>(())
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

/// What came of holding a figure against its gate.
///
/// ```
/// use harness_reports::{StoredRun, Verdict};
///
/// let cell = &StoredRun::open("tests/run".as_ref())?.record.cells[1];
/// let count = |verdict| cell.metrics.iter().filter(|metric| metric.verdict == verdict).count();
/// assert_eq!([Verdict::Pass, Verdict::Fail, Verdict::Skip, Verdict::Info].map(count), [1, 2, 0, 24]);
/// # Ok::<(), harness_reports::ReadError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// The gate admits it.
    Pass,
    /// The gate does not.
    Fail,
    /// It could not be judged.
    Skip,
    /// There is no gate.
    Info,
}

impl Verdict {
    /// The name used in every format.
    #[must_use]
    pub(crate) fn name(self) -> &'static str {
        match self {
            Verdict::Pass => "pass",
            Verdict::Fail => "fail",
            Verdict::Skip => "skip",
            Verdict::Info => "info",
        }
    }

    /// What goes by `name`.
    #[must_use]
    pub(crate) fn from_name(name: &str) -> Option<Self> {
        let all = [Self::Pass, Self::Fail, Self::Skip, Self::Info];
        all.into_iter().find(|verdict| verdict.name() == name)
    }
}

impl Better {
    /// The name used in every format.
    #[must_use]
    pub(crate) fn name(self) -> &'static str {
        match self {
            Better::Lower => "lower",
            Better::Higher => "higher",
            Better::Equal => "equal",
        }
    }

    /// What goes by `name`.
    #[must_use]
    pub(crate) fn from_name(name: &str) -> Option<Self> {
        let all = [Self::Lower, Self::Higher, Self::Equal];
        all.into_iter().find(|better| better.name() == name)
    }
}
