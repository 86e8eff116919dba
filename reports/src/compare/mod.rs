//! What changed from some runs of one build to some runs of another, and how sure that is.
//!
//! Each side is one run or several of the same build. What a machine measures differs from run to
//! run, so there the runs are the independent units and not the samples within them (T. Kalibera,
//! R. Jones, "Rigorous benchmarking in reasonable time", ISMM 2013); what an engine answers to
//! given tokens does not, and is held against each other token by token. [`Basis`] says which of
//! the two a figure is.
//!
//! ```
//! use harness_reports::StoredRun;
//! use harness_reports::compare::{self, Options, compare};
//!
//! let base = StoredRun::open("tests/run".as_ref())?;
//! let mut head = base.clone();
//! head.record.cells[0].metrics[4].value = Some(32.0);
//! let comment = compare::markdown(&compare(&[base], &[head], Options::default())?);
//! assert!(comment.starts_with("### ❌ 1 regressed, 0 improved,"));
//! assert!(comment.contains("| 16.22 | 32 | +97.30 % |"));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! [`Basis`]: crate::Basis

mod adjust;
mod alike;
mod effect;
mod evidence;
mod pairs;
mod render;
#[cfg(test)]
mod tests;
mod turns;

use std::collections::HashSet;
use std::path::PathBuf;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{Better, GitRevision, StoredRun};
pub use adjust::Adjust;
pub use alike::keep_alike;
pub(crate) use effect::{Effect, Threshold};
use evidence::Finding;
pub use evidence::Method;
use pairs::Pair;
pub use render::{csv, junit, markdown, table};
use turns::Turns;

/// Version of the layout of a comparison as JSON and CSV. It rises when a field changes its
/// meaning or goes; new fields do not raise it.
pub const COMPARISON_SCHEMA: u32 = 1;

/// Power at which the detectable effect is told.
pub const POWER: f64 = 0.8;

/// How to judge.
///
/// ```
/// use harness_reports::compare::{Adjust, Options};
///
/// let exploring = Options { adjust: Adjust::Bh, threshold_pct: Some(1.0), ..Options::default() };
/// assert_eq!(exploring.alpha, 0.05);
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Options {
    /// Chance of a false alarm that is put up with, over all figures together.
    pub alpha: f64,
    /// How p-values are adjusted for their number.
    pub adjust: Adjust,
    /// Effect that matters, in per cent or, of shares, in points; by the kind of figure if `None`.
    pub threshold_pct: Option<f64>,
}

impl Default for Options {
    /// 5 %, Holm, thresholds by the kind of figure.
    fn default() -> Self {
        Self {
            alpha: 0.05,
            adjust: Adjust::Holm,
            threshold_pct: None,
        }
    }
}

/// What changed.
///
/// ```
/// use harness_reports::StoredRun;
/// use harness_reports::compare::{Comparison, Options, Outcome, compare};
///
/// let run = [StoredRun::open("tests/run".as_ref())?];
/// let comparison = compare(&run, &run, Options::default())?;
/// assert_eq!(comparison.count(Outcome::Regressed), 0);
/// // As `harness compare --format json` writes it.
/// let json = serde_json::to_string(&comparison)?;
/// assert_eq!(serde_json::from_str::<Comparison>(&json)?, comparison);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    /// [`COMPARISON_SCHEMA`] of the writer.
    pub schema: u32,
    /// Chance of a false alarm over all figures together.
    pub alpha: f64,
    /// How p-values are adjusted.
    pub adjust: Adjust,
    /// Number of p-values.
    pub tests: usize,
    /// Pairs of runs made in turn that times were held against each other by; 0 if they were not.
    #[serde(default)]
    pub turns: usize,
    /// Runs of the one build.
    pub base: Vec<RunName>,
    /// Runs of the other.
    pub head: Vec<RunName>,
    /// One a figure, in the order of the records.
    pub rows: Vec<Row>,
}

/// Which run; [`Comparison`] has those of both sides.
///
/// ```
/// use harness_reports::StoredRun;
/// use harness_reports::compare::{Options, compare};
///
/// let run = [StoredRun::open("tests/run".as_ref())?];
/// let base = compare(&run, &run, Options::default())?.base.remove(0);
/// assert_eq!(base.folder, run[0].folder);
/// assert_eq!(base.project.and_then(|project| project.branch).as_deref(), Some("main"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunName {
    /// Folder of the record.
    pub folder: PathBuf,
    /// When it began.
    pub started: Timestamp,
    /// Revision of the project that it was started in.
    pub project: Option<GitRevision>,
    /// Fingerprint of its machine.
    pub machine: String,
}

/// One figure on both sides.
///
/// ```
/// use harness_reports::compare::{Options, Outcome, compare};
/// use harness_reports::{Basis, StoredRun};
///
/// let run = StoredRun::open("tests/run".as_ref())?;
/// let runs = |times: [f64; 5]| {
///     times.map(|itl_ns| {
///         let mut record = run.record.clone();
///         record.cells.truncate(1);
///         record.cells[0].metrics.truncate(1);
///         let metric = &mut record.cells[0].metrics[0];
///         (metric.unit, metric.value) = ("ns".into(), Some(itl_ns));
///         metric.basis = Some(Basis::Machine);
///         StoredRun::of(record, "elsewhere".into())
///     })
/// };
/// let base = runs([8.00e6, 8.04e6, 8.08e6, 8.12e6, 8.16e6]);
/// let head = runs([8.02e6, 8.06e6, 8.10e6, 8.14e6, 8.18e6]);
/// let row = &compare(&base, &head, Options::default())?.rows[0];
/// assert_eq!((row.outcome, row.base_runs), (Outcome::NoChange, 5));
/// // A change of less than this many per cent may have been missed.
/// assert!(row.detectable > row.effect);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// The cell: suite and engine.
    pub cell: String,
    /// `suite.case.metric`.
    pub metric: String,
    /// Unit of the values and the shift.
    pub unit: String,
    /// Which direction is good.
    pub better: Better,
    /// Whether it makes headlines.
    pub headline: bool,
    /// The figure of the one build: the median over its runs.
    pub base: Option<f64>,
    /// The figure of the other build.
    pub head: Option<f64>,
    /// Runs that have it.
    pub base_runs: usize,
    /// Runs that have it.
    pub head_runs: usize,
    /// Samples a run that it rests on: the fewest of any run.
    pub n: u64,
    /// How they were held against each other.
    pub method: Option<Method>,
    /// By how much larger the second is, as the method estimates it.
    pub shift: Option<f64>,
    /// Lower end of the shift's interval, at a confidence of `1 - alpha`.
    pub shift_low: Option<f64>,
    /// Upper end.
    pub shift_high: Option<f64>,
    /// The shift in per cent of `base` or, of shares, in percentage points.
    pub effect: Option<f64>,
    /// `%` or `pp`.
    pub effect_unit: String,
    /// The effect from which on it matters, in the same unit.
    pub threshold: f64,
    /// p-value of no difference.
    pub p: Option<f64>,
    /// The same, adjusted for the number of figures.
    pub p_adjusted: Option<f64>,
    /// Smallest effect that would have been found with probability [`POWER`], in the same unit.
    pub detectable: Option<f64>,
    /// What it comes to.
    pub outcome: Outcome,
    /// Why it cannot be compared, or what else to know.
    pub why: Option<String>,
}

/// What became of a figure.
///
/// ```
/// use harness_reports::StoredRun;
/// use harness_reports::compare::{Options, Outcome, compare};
///
/// let base = [StoredRun::open("tests/run".as_ref())?];
/// let outcome = |bits_per_weight: Option<f64>| {
///     let mut head = base.clone();
///     head[0].record.cells[0].metrics[4].value = bits_per_weight;
///     compare(&base, &head, Options::default()).map(|comparison| comparison.rows[4].outcome)
/// };
/// assert_eq!(outcome(Some(16.21903734525094))?, Outcome::NoChange);
/// assert_eq!(outcome(Some(8.5))?, Outcome::Improved);
/// assert_eq!(outcome(Some(32.0))?, Outcome::Regressed);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It is worse: significantly so, and by as much as matters.
    Regressed,
    /// It is better, in the same sense.
    Improved,
    /// Neither.
    NoChange,
    /// It cannot be told.
    NotComparable,
}

impl Outcome {
    /// The name that people read.
    #[must_use]
    pub(crate) fn name(self) -> &'static str {
        match self {
            Outcome::Regressed => "regressed",
            Outcome::Improved => "improved",
            Outcome::NoChange => "no change",
            Outcome::NotComparable => "not comparable",
        }
    }
}

/// Runs that cannot be compared.
///
/// ```
/// use harness_reports::StoredRun;
/// use harness_reports::compare::{CompareError, Options, compare};
///
/// let run = StoredRun::open("tests/run".as_ref())?;
/// let twice = compare(&[run.clone()], &[run.clone(), run], Options::default());
/// assert!(matches!(twice, Err(CompareError::Twice(_))));
/// # Ok::<(), harness_reports::ReadError>(())
/// ```
#[derive(Debug, thiserror::Error)]
pub enum CompareError {
    /// One run counts once.
    #[error("{0} is given twice on one side; a run counts once")]
    Twice(PathBuf),
    /// There is nothing on one side.
    #[error("{0} has no run")]
    Empty(&'static str),
}

/// Holds the runs of one build against those of another.
///
/// # Errors
/// [`CompareError`] when a side has no run, or the same one twice.
///
/// ```
/// use harness_reports::StoredRun;
/// use harness_reports::compare::{Method, Options, Outcome, compare};
///
/// let base = StoredRun::open("tests/run".as_ref())?;
/// let mut head = base.clone();
/// // Every token half a nat less likely.
/// let cell = &mut head.record.cells[0];
/// cell.metrics[0].value = cell.metrics[0].value.map(|perplexity| perplexity * 0.5_f64.exp());
/// let samples = head.samples.get_mut(&cell.cell).ok_or("no samples")?;
/// samples.iter_mut().filter(|sample| sample.metric == "nll").for_each(|nll| nll.value += 0.5);
///
/// let comparison = compare(&[base], &[head], Options::default())?;
/// let perplexity = &comparison.rows[0];
/// assert_eq!(perplexity.metric, "perplexity.llama_cpp.ppl");
/// assert_eq!(perplexity.method, Some(Method::PairedBlocks));
/// assert_eq!(perplexity.outcome, Outcome::Regressed);
/// // exp(0.5) - 1
/// assert!(perplexity.effect.is_some_and(|percent| (percent - 64.87).abs() < 0.01));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn compare(
    base: &[StoredRun],
    head: &[StoredRun],
    options: Options,
) -> Result<Comparison, CompareError> {
    for (side, name) in [(base, "BASE"), (head, "HEAD")] {
        let mut seen = HashSet::new();
        if side.is_empty() {
            return Err(CompareError::Empty(name));
        }
        // Runs of a history may all have been made in one folder, one after the other.
        if let Some(run) = (side.iter()).find(|run| !seen.insert((&run.folder, &run.sha256))) {
            return Err(CompareError::Twice(run.folder.clone()));
        }
    }
    let pairs = pairs::pairs(base, head);
    let turns = Turns::of(base, head, options.alpha);
    let (findings, families) = find(&pairs, turns.as_ref(), options);
    let tests = (findings.iter().flatten()).filter(|finding| finding.p.is_some());
    let tests = tests.count();
    let adjusted = adjust::adjust(&findings, options.adjust, families);
    let level = options.adjust.level(options.alpha / families, tests);
    let rows = pairs
        .iter()
        .zip(findings)
        .zip(adjusted)
        .map(|((pair, finding), p_adjusted)| match finding {
            Err(why) => not_comparable(pair, why, options),
            Ok(finding) => judged(pair, &finding, p_adjusted, level, options),
        })
        .collect();
    let names = |side: &[StoredRun]| side.iter().map(run_name).collect();
    Ok(Comparison {
        schema: COMPARISON_SCHEMA,
        alpha: options.alpha,
        adjust: options.adjust,
        tests,
        turns: turns.map_or(0, |turns| turns.len()),
        base: names(base),
        head: names(head),
        rows,
    })
}

/// What the tests found, and how many families of them have to share alpha.
fn find(
    pairs: &[Pair<'_>],
    turns: Option<&Turns<'_>>,
    options: Options,
) -> (Vec<Result<Finding, String>>, f64) {
    let in_turn = |pair: &Pair<'_>| turns.filter(|turns| turns.judge(pair));
    let alone = pairs.iter().map(|pair| match in_turn(pair) {
        Some(_) => Err(String::new()),
        None => evidence::find(pair, options.alpha),
    });
    let mut findings: Vec<Result<Finding, String>> = alone.collect();
    adjust::leave_out_hopeless(&mut findings, options);
    let others = (findings.iter().flatten()).any(|finding| finding.p.is_some());
    let Some(turns) = turns else {
        return (findings, 1.0);
    };
    let (places, figures): (Vec<usize>, Vec<&Pair<'_>>) = (pairs.iter().enumerate())
        .filter(|(_, pair)| turns.judge(pair))
        .unzip();
    let families = match options.adjust {
        Adjust::Holm if others && !figures.is_empty() => 2.0,
        _ => 1.0,
    };
    let found = turns.find(&figures, options.alpha / families, 1.0 - options.alpha);
    for (place, finding) in places.into_iter().zip(found) {
        findings[place] = finding;
    }
    (findings, families)
}

impl Comparison {
    /// How many rows have this outcome.
    ///
    /// ```
    /// use harness_reports::StoredRun;
    /// use harness_reports::compare::{Options, Outcome, compare};
    ///
    /// let base = StoredRun::open("tests/run".as_ref())?;
    /// let mut head = base.clone();
    /// let weights = &mut head.record.cells[0].metrics[4];
    /// assert_eq!(weights.name, "perplexity.llama_cpp.bits_per_weight");
    /// weights.value = Some(8.5);
    /// let comparison = compare(&[base], &[head], Options::default())?;
    /// let counts = [Outcome::Improved, Outcome::Regressed].map(|outcome| comparison.count(outcome));
    /// assert_eq!(counts, [1, 0]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn count(&self, outcome: Outcome) -> usize {
        self.of(outcome).count()
    }

    /// Rows of this outcome, headlines first.
    pub(crate) fn of(&self, outcome: Outcome) -> impl Iterator<Item = &Row> {
        let with = move |headline| {
            let rows = self.rows.iter();
            rows.filter(move |row| row.outcome == outcome && row.headline == headline)
        };
        with(true).chain(with(false))
    }
}

fn judged(
    pair: &Pair<'_>,
    finding: &Finding,
    p_adjusted: Option<f64>,
    level: f64,
    options: Options,
) -> Row {
    let mut row = row(pair, options);
    let effect = Effect::of(&pair.unit);
    let (base, head) = (row.base.unwrap_or(f64::NAN), row.head.unwrap_or(f64::NAN));
    let percent = |shift: f64| effect.size(shift, base);
    row.method = Some(finding.method);
    row.shift = Some(finding.shift);
    row.shift_low = finding.interval.map(|interval| interval.0);
    row.shift_high = finding.interval.map(|interval| interval.1);
    row.effect = percent(finding.shift);
    row.p = finding.p;
    row.p_adjusted = p_adjusted;
    row.detectable = finding
        .detectable(level, options.adjust, POWER)
        .and_then(percent);
    let significant = match p_adjusted {
        Some(p) => p <= options.alpha,
        // What is exact needs no test.
        None => finding.shift != 0.0,
    };
    let matters = effect.matters(finding.shift, base, head, row.threshold);
    row.outcome = match (significant && matters, pair.better) {
        (false, _) => Outcome::NoChange,
        (true, Better::Equal) => Outcome::Regressed,
        (true, Better::Lower) if finding.shift < 0.0 => Outcome::Improved,
        (true, Better::Higher) if finding.shift > 0.0 => Outcome::Improved,
        (true, _) => Outcome::Regressed,
    };
    row.why = finding.note.clone();
    row
}

fn not_comparable(pair: &Pair<'_>, why: String, options: Options) -> Row {
    Row {
        outcome: match pair.broken {
            true => Outcome::Regressed,
            false => Outcome::NotComparable,
        },
        why: Some(why),
        ..row(pair, options)
    }
}

/// What is known without a comparison.
fn row(pair: &Pair<'_>, options: Options) -> Row {
    let all = || pair.base.iter().chain(&pair.head);
    Row {
        cell: pair.cell.clone(),
        metric: pair.metric.clone(),
        unit: pair.unit.clone(),
        better: pair.better,
        headline: pair.headline,
        base: evidence::middle(&pair.base),
        head: evidence::middle(&pair.head),
        base_runs: pair.base.len(),
        head_runs: pair.head.len(),
        n: all().map(|seen| seen.metric.n).min().unwrap_or_default(),
        method: None,
        shift: None,
        shift_low: None,
        shift_high: None,
        effect: None,
        effect_unit: Effect::of(&pair.unit).unit().into(),
        threshold: options
            .threshold_pct
            .unwrap_or_else(|| Threshold::of(pair.basis.as_ref())),
        p: None,
        p_adjusted: None,
        detectable: None,
        outcome: Outcome::NotComparable,
        why: None,
    }
}

fn run_name(run: &StoredRun) -> RunName {
    let provenance = &run.record.provenance;
    RunName {
        folder: run.folder.clone(),
        started: provenance.started,
        project: provenance.project.clone(),
        machine: provenance.machine.fingerprint.clone(),
    }
}
