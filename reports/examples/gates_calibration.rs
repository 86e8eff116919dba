//! False alarms and power of gates against history on real runs of one build; see
//! `scripts/gates-calibration`.
//!
//! Runs that were made one after the other are added to a history in that order, and each is held
//! against it first, by the gates themselves: as it is, when every alarm is false, and with all its
//! times stretched. Beside it, what the gates would say if they did not know the load of the machine.

mod stretch;

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use harness_reports::gate::{Held, PastGate, hold};
use harness_reports::history::{History, Retention};
use harness_reports::{Metric, RunRecord, StoredRun, Verdict};
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;
use stats::{min_runs_before, wilson_interval};

/// What is done to a run's times.
struct Change {
    factor: f64,
    /// Of figures whose names begin with this; the others are as they were.
    of: &'static str,
}

const fn times(of: &'static str, factor: f64) -> Change {
    Change { factor, of }
}

/// As they are, all slower, a slower prefill, and one figure.
const CHANGES: [Change; 10] = [
    times("", 1.0),
    times("", 1.03),
    times("", 1.05),
    times("", 1.1),
    times("", 1.15),
    times("", 1.2),
    times("latency.prompt_", 1.2),
    times("latency.prompt_", 1.5),
    times("latency.prompt_", 2.0),
    times("latency.decode.itl_p50_ns", 2.0),
];
/// Every so many runs are changed, for finding change points anew each time takes long.
const CHANGED_EVERY: usize = 5;

/// Which runs a run is held against.
#[derive(Clone, Copy)]
enum Past {
    /// Those of the other folder, and no more.
    Given,
    /// All before it.
    All,
    /// The last so many before it.
    Last(usize),
}

/// What came of holding runs against their past.
#[derive(Clone, Copy, Default)]
struct Count {
    runs: u64,
    judged: u64,
    alarms: u64,
    /// Alarms that there would have been if the load were not known, and runs judged then.
    blind: [u64; 2],
    /// Runs with figures that are worse, and left out because too few before began at such a load.
    excused: u64,
    /// Of the figures in which nothing had changed, those that failed and those that were held.
    unchanged: [u64; 2],
}

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1).map(PathBuf::from);
    let mut runs = read(&arguments.next().ok_or("which folder of runs?")?)?;
    let before = arguments.next().map(|folder| read(&folder)).transpose()?;
    if let Some(before) = &before {
        make_later(&mut runs, before);
    }
    println!("{}", describe("judged", &runs));
    let pasts: &[Past] = match &before {
        Some(before) => {
            println!("{}", describe("before them", before));
            &[Past::Given, Past::All]
        }
        None => &[Past::All, Past::Last(19), Past::Last(39)],
    };
    println!(
        "\n| held against | times | runs judged | alarm | worse, but at another load | \
         unchanged figures that failed | alarm if the load were not known |\n|---|---|---|---|---|---|---|"
    );
    let mut promised = true;
    for past in pasts {
        let counts = calibrate(before.as_deref().unwrap_or_default(), &runs, *past)?;
        for (change, count) in CHANGES.iter().zip(&counts) {
            println!("{}", row(*past, change, count)?);
        }
        promised &= kept(&counts[0])?;
    }
    if !promised {
        println!("\nmore false alarms than promised");
    }
    Ok(ExitCode::from(u8::from(!promised)))
}

/// The runs of a folder, in the order in which they were made.
fn read(folder: &Path) -> Result<Vec<StoredRun>, Box<dyn Error>> {
    let mut runs = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.join("run.json").is_file() {
            let mut run = StoredRun::open(&path)?;
            // A history has no use for samples, and these are runs of one build wherever the
            // harness was started.
            run.samples.clear();
            run.record.provenance.project = None;
            runs.push(run);
        }
    }
    runs.sort_by_key(|run| run.record.provenance.started);
    match runs.is_empty() {
        true => Err(format!("no runs in {}", folder.display()).into()),
        false => Ok(runs),
    }
}

/// Whenever they were made, `runs` come after those before them.
fn make_later(runs: &mut [StoredRun], before: &[StoredRun]) {
    let started = |run: &StoredRun| run.record.provenance.started;
    if let (Some(first), Some(last)) = (runs.first(), before.last()) {
        let earlier = started(last).duration_since(started(first)).as_secs();
        let delay = SignedDuration::from_secs(earlier.max(-1) + 1);
        for run in runs {
            run.record.provenance.started += delay;
        }
    }
}

fn describe(what: &str, runs: &[StoredRun]) -> String {
    let loads = runs.iter().filter_map(|run| {
        run.record.provenance.machine.state_at_start["load_average_1min"].as_f64()
    });
    let mut loads: Vec<f64> = loads.collect();
    loads.sort_by(f64::total_cmp);
    let load = match (loads.first(), loads.get(loads.len() / 2), loads.last()) {
        (Some(least), Some(median), Some(most)) => {
            format!("load average {least:.1} to {most:.1}, median {median:.1}")
        }
        _ => "load average unknown".into(),
    };
    format!("{what}: {} runs, {load}", runs.len())
}

/// One count a change.
fn calibrate(
    before: &[StoredRun],
    runs: &[StoredRun],
    past: Past,
) -> Result<[Count; CHANGES.len()], Box<dyn Error>> {
    let gate = PastGate::default();
    let needed = min_runs_before(gate.alpha, 1.0)?;
    let folder = tempfile::tempdir()?;
    let url = format!("sqlite:{}", folder.path().join("history.db").display());
    let mut history = History::open_or_create(&url)?;
    for run in before {
        history.add(run)?;
    }
    let mut counts = [Count::default(); CHANGES.len()];
    let mut known = before.len();
    for (place, run) in runs.iter().enumerate() {
        let enough = match past {
            Past::Given | Past::All => known >= needed,
            Past::Last(count) => known >= count,
        };
        if enough {
            let changes = match place.is_multiple_of(CHANGED_EVERY) {
                true => CHANGES.len(),
                false => 1,
            };
            for (change, count) in CHANGES[..changes].iter().zip(&mut counts) {
                let mut record = change.of(&run.record);
                let held = hold(&mut history, &mut record, &gate)?;
                count.enter(change, &held, &record);
            }
            let mut blind = run.record.clone();
            blind.provenance.machine.state_at_start = Value::Null;
            let held = hold(&mut history, &mut blind, &gate)?;
            counts[0].blind[0] += u64::from(held.failed > 0);
            counts[0].blind[1] += u64::from(held.held > 0);
        }
        if !matches!(past, Past::Given) {
            history.add(run)?;
            known += 1;
        }
        if let Past::Last(count) = past {
            let last = Retention {
                keep_last: Some(count),
                ..Retention::default()
            };
            history.prune(last, Timestamp::now())?;
        }
    }
    Ok(counts)
}

impl Change {
    /// The run, had this happened.
    fn of(&self, record: &RunRecord) -> RunRecord {
        let mut record = record.clone();
        let metrics = record.cells.iter_mut().flat_map(|cell| &mut cell.metrics);
        let slower = metrics.filter(|metric| metric.name.starts_with(self.of));
        stretch::slow(slower, self.factor);
        record
    }

    fn is_none(&self) -> bool {
        self.factor == 1.0
    }

    fn concerns(&self, metric: &Metric) -> bool {
        !self.is_none() && metric.name.starts_with(self.of)
    }
}

impl Count {
    fn enter(&mut self, change: &Change, held: &Held, record: &RunRecord) {
        self.runs += 1;
        self.judged += u64::from(held.held > 0);
        self.alarms += u64::from(held.failed > 0);
        self.excused += u64::from(held.other_load > 0);
        let metrics = record.cells.iter().flat_map(|cell| &cell.metrics);
        for metric in metrics.filter(|metric| !change.concerns(metric)) {
            let why = metric.why.as_deref().unwrap_or_default();
            if why.starts_with("history: median") {
                self.unchanged[0] += u64::from(metric.verdict == Verdict::Fail);
                self.unchanged[1] += 1;
            }
        }
    }
}

fn row(past: Past, change: &Change, count: &Count) -> Result<String, Box<dyn Error>> {
    let past = match past {
        Past::Given => "those before them alone".into(),
        Past::All => "all before".into(),
        Past::Last(count) => format!("the last {count}"),
    };
    let per_cent = 100.0 * (change.factor - 1.0);
    let times = match (change.is_none(), change.of) {
        (true, _) => "as they are: false alarms".into(),
        (false, "") => format!("+{per_cent:.0} %: found"),
        (false, of) => format!("`{of}` alone +{per_cent:.0} %: found"),
    };
    let blind = match change.is_none() {
        true => share(count.blind[0], count.blind[1])?,
        false => String::new(),
    };
    // Figures of a run depend on each other, so that there is no simple interval.
    let unchanged = match count.unchanged {
        [_, 0] => String::new(),
        [failed, held] => format!("{:.1} %", 100.0 * failed as f64 / held as f64),
    };
    Ok(format!(
        "| {past} | {times} | {} of {} | {} | {} | {unchanged} | {blind} |",
        count.judged,
        count.runs,
        share(count.alarms, count.judged)?,
        count.excused,
    ))
}

/// In per cent, with Wilson's 95 % interval.
fn share(count: u64, of: u64) -> Result<String, Box<dyn Error>> {
    if of == 0 {
        return Ok("none judged".into());
    }
    let interval = wilson_interval(count, of, 0.95)?;
    let [value, low, high] =
        [count as f64 / of as f64, interval.low, interval.high].map(|share| 100.0 * share);
    Ok(format!("{value:.1} % ({low:.1} to {high:.1})"))
}

/// Whether there are not clearly more false alarms than promised.
fn kept(count: &Count) -> Result<bool, Box<dyn Error>> {
    let alpha = PastGate::default().alpha;
    Ok(count.judged == 0 || wilson_interval(count.alarms, count.judged, 0.95)?.low <= alpha)
}
