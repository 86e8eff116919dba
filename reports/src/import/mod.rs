//! Results of benchmarks of functions, as criterion and gungraun leave them, as cells of a record: so that
//! they stand in one history and one report with what suites measure.
//!
//! ```
//! use harness_reports::Basis;
//! use harness_reports::import::{Results, Tool};
//!
//! let folder = "../harness/tests/vectors/benchmarks/gungraun".as_ref();
//! let cell = Results::read(Tool::Gungraun, folder)?.cell;
//! let mut counts = cell.metrics.iter().filter(|metric| metric.basis == Some(Basis::Exact));
//! // Instructions are counted, not timed: any difference is a change.
//! assert!(counts.any(|metric| metric.name.ends_with(".instructions")));
//! # Ok::<(), harness_reports::import::ImportError>(())
//! ```

pub mod criterion;
mod gungraun;

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use jiff::{SignedDuration, Timestamp};
use stats::quantile_interval;

use self::criterion::Throughput;
use crate::{Basis, Better, CellRecord, EngineRecord, Metric, Status, StoredSample, Verdict};

/// Confidence of intervals of medians.
const CONFIDENCE: f64 = 0.95;
/// Larger files are not what these tools write; criterion's hold some 40 bytes a sample.
const MOST_BYTES: u64 = 16 << 20;
/// Folders within folders that are looked into; criterion needs 4, gungraun 5.
const MOST_DEPTH: usize = 16;

/// What engine cells of imported results have: the project's own code, run by `cargo bench`.
pub const ENGINE: &str = "cargo-bench";

/// Whose results.
///
/// ```
/// use harness_reports::import::Tool;
///
/// assert_eq!([Tool::Criterion, Tool::Gungraun].map(Tool::name), ["criterion", "gungraun"]);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tool {
    /// Wall times.
    Criterion,
    /// Counts by Valgrind.
    Gungraun,
}

impl Tool {
    /// Name of the suite that its results become.
    ///
    /// ```
    /// use harness_reports::import::{Results, Tool};
    ///
    /// let folder = "../harness/tests/vectors/benchmarks/criterion".as_ref();
    /// let cell = Results::read(Tool::Criterion, folder)?.cell;
    /// assert_eq!(cell.suite, Tool::Criterion.name());
    /// # Ok::<(), harness_reports::import::ImportError>(())
    /// ```
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Tool::Criterion => "criterion",
            Tool::Gungraun => "gungraun",
        }
    }
}

/// All results of a tool.
///
/// ```
/// use harness_reports::import::{Results, Tool};
///
/// let folder = "../harness/tests/vectors/benchmarks/criterion".as_ref();
/// let results = Results::read(Tool::Criterion, folder)?;
/// assert_eq!(results.measured.len(), 2);
/// assert_eq!(results.measured.iter().max(), Some(&results.ended));
/// let times = results.samples.iter().filter(|sample| sample.metric == "wall_ns");
/// assert!(times.count() > 0 && results.cell.metrics.iter().all(|metric| metric.n > 0));
/// # Ok::<(), harness_reports::import::ImportError>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Results {
    /// When the first benchmark began.
    pub started: Timestamp,
    /// When the last one ended.
    pub ended: Timestamp,
    /// When each ended, in order of the cell's cases.
    pub measured: Vec<Timestamp>,
    /// The cell that they make.
    pub cell: CellRecord,
    /// Its samples.
    pub samples: Vec<StoredSample>,
}

/// Results that cannot be had.
///
/// ```
/// use harness_reports::import::{ImportError, Results, Tool};
///
/// let folder = tempfile::tempdir()?;
/// match Results::read(Tool::Criterion, folder.path()) {
///     Err(ImportError::Empty { advice, .. }) => assert_eq!(advice, "run `cargo bench` first"),
///     other => panic!("{other:?}"),
/// }
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// The disk refuses.
    #[error("cannot read {path}: {source}")]
    Io {
        /// Which file or folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file is not what the tool writes.
    #[error("{path} is no result of {tool}: {why}")]
    Malformed {
        /// Which file.
        path: PathBuf,
        /// Whose it should be.
        tool: &'static str,
        /// What is wrong with it.
        why: String,
    },
    /// There is nothing.
    #[error("{path} holds no results of {tool}; {advice}")]
    Empty {
        /// Which folder.
        path: PathBuf,
        /// Whose results were wanted.
        tool: &'static str,
        /// What to do.
        advice: &'static str,
    },
    /// A series would have two meanings.
    #[error("{first} and {second} are both benchmark {case}; rename one of them")]
    Twice {
        /// Its name as a case.
        case: String,
        /// A file of one.
        first: PathBuf,
        /// A file of the other.
        second: PathBuf,
    },
}

/// One benchmark.
struct Benchmark {
    id: String,
    started: Timestamp,
    ended: Timestamp,
    metrics: Vec<Metric>,
    samples: Vec<StoredSample>,
}

impl Results {
    /// Reads all results in `folder` and the folders within, e.g. `target/criterion`.
    ///
    /// # Errors
    /// [`ImportError`] names the file that is damaged or not the tool's.
    ///
    /// ```
    /// use harness_reports::import::{Results, Tool};
    ///
    /// let folder = "../harness/tests/vectors/benchmarks/gungraun".as_ref();
    /// let results = Results::read(Tool::Gungraun, folder)?;
    /// assert_eq!(results.cell.cell, "gungraun/cargo-bench");
    /// let counts = results.cell.metrics.iter().find(|metric| metric.name.ends_with(".instructions"));
    /// assert!(counts.is_some_and(|counts| counts.value > Some(0.0)));
    /// # Ok::<(), harness_reports::import::ImportError>(())
    /// ```
    pub fn read(tool: Tool, folder: &Path) -> Result<Self, ImportError> {
        let mut files = Vec::new();
        let marker = match tool {
            Tool::Criterion => "new/benchmark.json",
            Tool::Gungraun => "summary.json",
        };
        find(folder, marker, MOST_DEPTH, &mut files)?;
        let mut benchmarks: BTreeMap<String, (PathBuf, Benchmark)> = BTreeMap::new();
        for path in files {
            let benchmark = match tool {
                Tool::Criterion => timed(&path)?,
                Tool::Gungraun => counted(&path)?,
            };
            let case = benchmark.id.clone();
            if let Some((first, _)) = benchmarks.insert(case.clone(), (path.clone(), benchmark)) {
                let second = path;
                return Err(ImportError::Twice {
                    case,
                    first,
                    second,
                });
            }
        }
        let all = || benchmarks.values().map(|(_, benchmark)| benchmark);
        let started = all().map(|benchmark| benchmark.started).min();
        let ended = all().map(|benchmark| benchmark.ended).max();
        let Some((started, ended)) = started.zip(ended) else {
            return Err(ImportError::Empty {
                path: folder.into(),
                tool: tool.name(),
                advice: match tool {
                    Tool::Criterion => "run `cargo bench` first",
                    Tool::Gungraun => "run its benchmarks with `-- --save-summary=json` first",
                },
            });
        };
        let measured = all().map(|benchmark| benchmark.ended).collect();
        let (mut metrics, mut samples) = (Vec::new(), Vec::new());
        for (_, benchmark) in benchmarks.into_values() {
            metrics.extend(benchmark.metrics);
            samples.extend(benchmark.samples);
        }
        let cell = cell(tool, (started, ended), metrics);
        Ok(Self {
            started,
            ended,
            measured,
            cell,
            samples,
        })
    }
}

fn cell(tool: Tool, (started, ended): (Timestamp, Timestamp), metrics: Vec<Metric>) -> CellRecord {
    CellRecord {
        cell: format!("{}/{ENGINE}", tool.name()),
        suite: tool.name().into(),
        engine: EngineRecord {
            spec: ENGINE.into(),
            id: ENGINE.into(),
            version: String::new(),
            device: "cpu".into(),
            options: BTreeMap::new(),
        },
        stands_in_for: None,
        model_sha256: String::new(),
        status: Status::Completed,
        started,
        wall_s: ended.duration_since(started).as_secs_f64(),
        work: None,
        metrics,
    }
}

/// Files that end in `marker`, by path. Links are not followed: they may lead in circles.
fn find(
    folder: &Path,
    marker: &str,
    depth: usize,
    found: &mut Vec<PathBuf>,
) -> Result<(), ImportError> {
    let io = io(folder);
    let mut entries: Vec<fs::DirEntry> = fs::read_dir(folder)
        .and_then(Iterator::collect)
        .map_err(&io)?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let kind = entry.file_type().map_err(&io)?;
        if kind.is_dir() && depth > 0 {
            find(&entry.path(), marker, depth - 1, found)?;
        } else if kind.is_file() && entry.path().ends_with(marker) {
            found.push(entry.path());
        }
    }
    Ok(())
}

/// A benchmark of criterion's. It ended when its samples were written.
fn timed(path: &Path) -> Result<Benchmark, ImportError> {
    let malformed = malformed(Tool::Criterion, path);
    let named = criterion::benchmark(&read(path)?).map_err(malformed)?;
    let path = path.with_file_name("sample.json");
    let malformed = self::malformed(Tool::Criterion, &path);
    let timing = criterion::timing(named, &read(&path)?).map_err(&malformed)?;
    let written = fs::metadata(&path).and_then(|file| file.modified());
    let written = written.map_err(io(&path))?;
    let ended = Timestamp::try_from(written).map_err(|error| malformed(error.to_string()))?;
    let elapsed_ns: f64 = timing.elapsed_ns.iter().sum();
    let started = ended.checked_sub(SignedDuration::from_nanos(elapsed_ns as i64));

    let case = case(&timing.id);
    let wall_ns = timing.wall_ns();
    let mut sorted = wall_ns.clone();
    sorted.sort_by(f64::total_cmp);
    let median = stats::median(&sorted).map_err(|error| malformed(error.to_string()))?;
    let interval = quantile_interval(&sorted, 0.5, CONFIDENCE);
    let n = sorted.len() as u64;
    let figure = |name: &str, unit: &str, better, value| Metric {
        n,
        ..metric(Tool::Criterion, &case, name, unit, better, value)
    };
    let mut metrics = vec![figure("wall_ns", "ns", Better::Lower, median)];
    metrics[0].basis = Some(Basis::Machine);
    match interval {
        Ok(interval) => {
            metrics[0].ci_low = Some(interval.low);
            metrics[0].ci_high = Some(interval.high);
            metrics[0].confidence = Some(interval.confidence);
        }
        Err(error) => metrics[0].why = Some(format!("no interval: {error}")),
    }
    metrics.extend(timing.throughput.iter().map(|work| {
        let (name, unit, amount) = match work {
            Throughput::Bytes(bytes) => ("bytes_per_s", "B/s", bytes),
            Throughput::Elements(elements) => ("elements_per_s", "1/s", elements),
        };
        figure(name, unit, Better::Higher, *amount as f64 * 1e9 / median)
    }));
    let columns = [
        ("wall_ns", "ns", &wall_ns),
        ("iterations", "1", &timing.iterations),
    ];
    let samples = columns.into_iter().flat_map(|(name, unit, values)| {
        let case = &case;
        (0..).zip(values).map(move |(index, value)| StoredSample {
            case: case.clone(),
            metric: name.into(),
            unit: unit.into(),
            index,
            value: *value,
        })
    });
    Ok(Benchmark {
        samples: samples.collect(),
        id: case,
        started: started.unwrap_or(ended),
        ended,
        metrics,
    })
}

/// A benchmark of gungraun's.
fn counted(path: &Path) -> Result<Benchmark, ImportError> {
    let malformed = malformed(Tool::Gungraun, path);
    let counts = gungraun::counts(&read(path)?).map_err(&malformed)?;
    let started: Timestamp = (counts.started.parse())
        .map_err(|error| malformed(format!("started_at is {:?}: {error}", counts.started)))?;
    let took = SignedDuration::from_nanos(i64::try_from(counts.duration_ns).unwrap_or(i64::MAX));
    let case = case(&counts.id);
    let metrics = counts.figures.iter().map(|figure| {
        let (name, unit) = (figure.name, figure.unit);
        let better = match name {
            "l1_hits" => Better::Equal,
            _ => Better::Lower,
        };
        let mut metric = metric(Tool::Gungraun, &case, name, unit, better, figure.value);
        if figure.exact {
            metric.basis = Some(Basis::Exact);
        }
        metric
    });
    Ok(Benchmark {
        metrics: metrics.collect(),
        samples: Vec::new(),
        id: case,
        started,
        ended: started.checked_add(took).unwrap_or(started),
    })
}

/// A figure of one sample that nothing judges.
fn metric(tool: Tool, case: &str, name: &str, unit: &str, better: Better, value: f64) -> Metric {
    Metric {
        name: format!("{}.{case}.{name}", tool.name()),
        unit: unit.into(),
        better,
        value: Some(value),
        n: 1,
        ci_low: None,
        ci_high: None,
        confidence: None,
        gate: None,
        verdict: Verdict::Info,
        why: None,
        headline: false,
        ranks: false,
        basis: Some(Basis::Aside),
    }
}

/// A name as the middle of `suite.case.metric`, which has dots of its own.
fn case(id: &str) -> String {
    let plain = |c: char| match c {
        '.' => '_',
        c if c.is_control() => ' ',
        c => c,
    };
    id.chars().map(plain).collect()
}

fn read(path: &Path) -> Result<String, ImportError> {
    let size = fs::metadata(path).map_err(io(path))?.len();
    if size > MOST_BYTES {
        let why = format!("{size} bytes, more than {MOST_BYTES}");
        return Err(io(path)(io::Error::other(why)));
    }
    fs::read_to_string(path).map_err(io(path))
}

fn io(path: &Path) -> impl Fn(io::Error) -> ImportError + use<> {
    let path = path.to_owned();
    move |source| ImportError::Io {
        path: path.clone(),
        source,
    }
}

fn malformed(tool: Tool, path: &Path) -> impl Fn(String) -> ImportError + use<> {
    let (tool, path) = (tool.name(), path.to_owned());
    move |why| ImportError::Malformed {
        path: path.clone(),
        tool,
        why,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cases_have_no_dots() {
        assert_eq!(case("gemm/0.5\n"), "gemm/0_5 ");
    }
}
