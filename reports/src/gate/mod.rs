//! Gates against history: a run held against those before it, without a threshold set by hand.
//!
//! Every figure that has a direction is held against its past on the same machine, engine, model,
//! branch and settings, as far as that is one level: since its last change point. What varies from
//! run to run is judged jointly ([`stats::next_run`]): if nothing has changed, *any* figure of a
//! run fails with a probability of alpha at most. What an engine answers does not vary, and there
//! the level itself is the bound. Both need an excess that matters, too. What varies is held against
//! runs at a load like its own.
//!
//! ```
//! use harness_reports::StoredRun;
//! use harness_reports::gate::{PastGate, hold};
//! use harness_reports::history::History;
//! use jiff::SignedDuration;
//!
//! let folder = tempfile::tempdir()?;
//! let url = format!("sqlite:{}", folder.path().join("history.db").display());
//! let mut history = History::open_or_create(&url)?;
//! let run = StoredRun::open("tests/run".as_ref())?;
//! for night in 0..3 {
//!     let mut record = run.record.clone();
//!     record.provenance.started += SignedDuration::from_hours(24 * night);
//!     // Held against those before it first, then one of them.
//!     let held = hold(&mut history, &mut record, &PastGate::default())?;
//!     assert_eq!((held.runs, held.failed), (night as usize, 0));
//!     history.add(&StoredRun::of(record, run.folder.clone()))?;
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod family;
mod level;
mod load;
mod past;

use serde::{Deserialize, Serialize};

use crate::history::{History, HistoryError};
use crate::render::number;
use crate::{Better, Metric, RunRecord, Verdict};
use load::Alike;
use past::{Candidate, Past};
use stats::min_runs_before;

/// How a run is held against a history.
///
/// ```
/// use harness_reports::gate::PastGate;
///
/// let strict = PastGate { branch: Some("main".into()), alpha: 0.01, ..PastGate::default() };
/// // As a record keeps it.
/// let json = serde_json::to_string(&strict)?;
/// assert_eq!(json, r#"{"branch":"main","alpha":0.01}"#);
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PastGate {
    /// The branch whose runs it is held against; the run's own if `None`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub branch: Option<String>,
    /// Chance of a false alarm that is put up with, over all figures of a run together.
    pub alpha: f64,
    /// Excess that matters, in per cent or, of shares, in points; by the kind of figure if `None`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub threshold_pct: Option<f64>,
}

impl Default for PastGate {
    /// The run's own branch, 5 %, thresholds by the kind of figure.
    fn default() -> Self {
        Self {
            branch: None,
            alpha: 0.05,
            threshold_pct: None,
        }
    }
}

/// What came of holding a run against its past.
///
/// ```
/// use harness_reports::StoredRun;
/// use harness_reports::gate::{PastGate, hold};
/// use harness_reports::history::History;
///
/// // The first run has no past.
/// let folder = tempfile::tempdir()?;
/// let url = format!("sqlite:{}", folder.path().join("history.db").display());
/// let mut history = History::open_or_create(&url)?;
/// let mut record = StoredRun::open("tests/run".as_ref())?.record;
/// let held = hold(&mut history, &mut record, &PastGate::default())?;
/// assert_eq!((held.runs, held.held, held.failed), (0, 0, 0));
/// let left_out: usize = held.left_out.iter().map(|(_why, figures)| figures).sum();
/// assert!(left_out > 0);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Held {
    /// Runs before it on the same machine and branch.
    pub runs: usize,
    /// Figures that were held against theirs.
    pub held: usize,
    /// Those of them that are worse than their past.
    pub failed: usize,
    /// Figures that are worse, and left out because too few runs began at such a load.
    pub other_load: usize,
    /// Figures that could not be held against theirs, by why; those too.
    pub left_out: Vec<(String, usize)>,
}

/// What became of a figure.
enum Judgement {
    /// The limit, whether it is kept, and what it rests on.
    Held { limit: f64, over: bool, why: String },
    /// Why not.
    LeftOut(String),
}

impl Judgement {
    fn over(&self) -> bool {
        matches!(self, Judgement::Held { over: true, .. })
    }
}

/// Holds every figure of `record` that has a direction against its past, and enters what came of it:
/// a figure that is worse than its past fails; one without a gate of its own has this one.
///
/// # Errors
/// When the history cannot be read.
///
/// ```
/// use harness_reports::gate::{PastGate, hold};
/// use harness_reports::history::History;
/// use harness_reports::{StoredRun, Verdict};
/// use jiff::SignedDuration;
///
/// let folder = tempfile::tempdir()?;
/// let url = format!("sqlite:{}", folder.path().join("history.db").display());
/// let mut history = History::open_or_create(&url)?;
/// let yesterday = StoredRun::open("tests/run".as_ref())?;
/// history.add(&yesterday)?;
///
/// let mut today = yesterday.record.clone();
/// today.provenance.started += SignedDuration::from_hours(24);
/// let weights = &mut today.cells[0].metrics[4];
/// assert_eq!(weights.name, "perplexity.llama_cpp.bits_per_weight");
/// weights.value = weights.value.map(|bits| 2.0 * bits);
/// let held = hold(&mut history, &mut today, &PastGate::default())?;
/// assert_eq!((held.runs, held.failed), (1, 1));
/// assert_eq!(today.cells[0].metrics[4].verdict, Verdict::Fail);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn hold(
    history: &mut History,
    record: &mut RunRecord,
    gate: &PastGate,
) -> Result<Held, HistoryError> {
    // Alpha has been checked, and 0 runs are never enough.
    let needed = min_runs_before(gate.alpha, 1.0).unwrap_or(usize::MAX);
    let past = Past::read(history, record, gate, needed)?;
    let mut held = Held {
        runs: past.runs(),
        ..Held::default()
    };
    let (steady, varying): (Vec<&Candidate>, Vec<&Candidate>) =
        (past.candidates.iter()).partition(|candidate| candidate.level.is_some());
    let mut judged = family::judge(&varying, &past, gate.alpha, needed);
    if let Alike::TooFew(why) = &past.alike {
        for judgement in judged.iter_mut().filter(|judgement| judgement.over()) {
            *judgement = Judgement::LeftOut(why.clone());
            held.other_load += 1;
        }
    }
    judged.extend(
        steady
            .iter()
            .map(|candidate| level::judge(candidate, &past)),
    );
    for (candidate, judgement) in varying.iter().chain(&steady).zip(judged) {
        let metric = &mut record.cells[candidate.cell].metrics[candidate.metric];
        match judgement {
            Judgement::Held { limit, over, why } => {
                held.held += 1;
                held.failed += usize::from(over);
                enter(metric, limit, over, why);
            }
            Judgement::LeftOut(why) => {
                let same = |(other, _): &&mut (String, usize)| *other == why;
                match held.left_out.iter_mut().find(same) {
                    Some((_, count)) => *count += 1,
                    None => held.left_out.push((why.clone(), 1)),
                }
                let note = format!("not held against history: {why}");
                metric.why.get_or_insert(note);
            }
        }
    }
    Ok(held)
}

/// The verdict of a figure. A gate of its own that it keeps or fails stands, unless it is worse
/// than its past.
fn enter(metric: &mut Metric, limit: f64, over: bool, why: String) {
    let stands = match metric.verdict {
        Verdict::Fail => true,
        Verdict::Pass => !over,
        Verdict::Skip | Verdict::Info => false,
    };
    if stands {
        return;
    }
    let sign = match metric.better {
        Better::Higher => ">=",
        Better::Lower | Better::Equal => "<=",
    };
    metric.gate = Some(format!("{sign} {}", number(limit)));
    metric.verdict = match over {
        true => Verdict::Fail,
        false => Verdict::Pass,
    };
    metric.why = Some(match metric.why.take() {
        Some(note) if !over => format!("{why}; {note}"),
        _ => why,
    });
}
