//! The runs of both sides of a comparison: in folders, or of revisions in a history.

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use reports::StoredRun;
use reports::compare::keep_alike;
use reports::history::{DEFAULT_URL, Filter, History, Run};

use crate::args::CompareArguments;
use crate::verdict;

/// As few digits as git abbreviates a commit to.
const FEWEST_DIGITS: usize = 4;

/// The runs of BASE and of HEAD.
pub(crate) fn of(arguments: &CompareArguments) -> Result<[Vec<StoredRun>; 2]> {
    let mut past = Past {
        url: arguments.history.as_deref(),
        filter: Filter::from(&arguments.part),
        history: None,
    };
    let base = past.side(arguments.first.0.iter().chain(&arguments.base))?;
    let head = past.side(arguments.second.0.iter().chain(&arguments.head))?;
    let mut sides = [base, head];
    if past.history.is_some() {
        on_one_machine(&mut sides)?;
    }
    let [base, head] = &sides;
    let [mut base, mut head] = [past.read(base)?, past.read(head)?];
    if past.history.is_some() {
        for note in keep_alike(&mut base, &mut head) {
            anstream::eprintln!("{note}");
        }
    }
    Ok([base, head])
}

/// A run that was named.
enum Named {
    InFolder(Box<StoredRun>),
    InHistory(Box<Run>),
}

impl Named {
    fn machine(&self) -> &str {
        match self {
            Named::InFolder(run) => &run.record.provenance.machine.fingerprint,
            Named::InHistory(run) => &run.machine,
        }
    }
}

/// Where revisions are looked up, once there is one to look up.
struct Past<'a> {
    url: Option<&'a str>,
    filter: Filter,
    history: Option<History>,
}

impl Past<'_> {
    fn side<'a>(&mut self, names: impl Iterator<Item = &'a PathBuf>) -> Result<Vec<Named>> {
        let mut folders = HashSet::new();
        let mut known = HashSet::new();
        let mut all = Vec::new();
        for name in names {
            if let Some(revision) = self.revision(name) {
                let filter = self.filter.clone();
                for run in self.open()?.runs_of(revision, &filter)? {
                    ensure!(
                        known.insert(run.id),
                        "revision {revision} is given twice on one side; a run counts once"
                    );
                    all.push(Named::InHistory(Box::new(run)));
                }
                continue;
            }
            for folder in records(name)? {
                let path = folder.canonicalize().unwrap_or_else(|_| folder.clone());
                let name = folder.display();
                ensure!(
                    folders.insert(path),
                    "{name} is given twice on one side; a run counts once"
                );
                all.push(Named::InFolder(Box::new(StoredRun::open(&folder)?)));
            }
        }
        Ok(all)
    }

    /// The name as that of a commit, if it is no folder, and if it must be one or looks like one.
    fn revision<'a>(&self, name: &'a Path) -> Option<&'a str> {
        let text = name.to_str()?;
        let hash = text.strip_suffix("-dirty").unwrap_or(text);
        let looks_like_one =
            hash.len() >= FEWEST_DIGITS && hash.bytes().all(|byte| byte.is_ascii_hexdigit());
        (!name.exists() && (self.url.is_some() || looks_like_one)).then_some(text)
    }

    fn open(&mut self) -> Result<&mut History> {
        match &mut self.history {
            Some(history) => Ok(history),
            closed => {
                let named = std::env::var("HARNESS_HISTORY").ok();
                let url = self.url.or(named.as_deref()).unwrap_or(DEFAULT_URL);
                Ok(closed.insert(History::open(url)?))
            }
        }
    }

    fn read(&mut self, side: &[Named]) -> Result<Vec<StoredRun>> {
        let mut runs = Vec::new();
        for named in side {
            let mut run = match named {
                Named::InFolder(run) => (**run).clone(),
                Named::InHistory(run) => self.fetch(run)?,
            };
            complete(&mut run);
            self.filter.restrict(&mut run.record);
            runs.push(run);
        }
        Ok(runs)
    }

    /// A run of the history, with its samples if they still are where they were.
    fn fetch(&mut self, run: &Run) -> Result<StoredRun> {
        match StoredRun::open(&run.folder) {
            Ok(stored) if stored.sha256 == run.sha256 => Ok(stored),
            _ => Ok(StoredRun {
                sha256: run.sha256.clone(),
                ..StoredRun::of(self.open()?.record(run.id)?, run.folder.clone())
            }),
        }
    }
}

/// Leaves the runs of a history that were made on the one machine that both sides have. Where they
/// have none in common all stay, for what an engine answers may be compared all the same.
fn on_one_machine(sides: &mut [Vec<Named>; 2]) -> Result<()> {
    let [base, head] = sides.each_ref().map(|side| {
        let mut machines: BTreeMap<String, usize> = BTreeMap::new();
        for run in side {
            *machines.entry(run.machine().into()).or_default() += 1;
        }
        machines
    });
    let common: Vec<&String> = base.keys().filter(|it| head.contains_key(*it)).collect();
    match common[..] {
        [] => {}
        [machine] => {
            for side in sides {
                side.retain(|run| matches!(run, Named::InFolder(_)) || run.machine() == machine);
            }
        }
        _ => {
            let shown: Vec<String> = (common.iter())
                .map(|it| format!("{it} ({} runs against {})", base[*it], head[*it]))
                .collect();
            bail!(
                "both revisions were run on several machines; choose one with --machine: {}",
                shown.join(", ")
            );
        }
    }
    Ok(())
}

/// The folder itself, or, if it is no record but holds some, those.
fn records(folder: &Path) -> Result<Vec<PathBuf>> {
    let is_record = |folder: &Path| folder.join("run.json").is_file();
    if is_record(folder) || !folder.is_dir() {
        return Ok(vec![folder.into()]);
    }
    let shown = folder.display();
    let read = || format!("cannot read {shown}");
    let mut held = Vec::new();
    for entry in fs::read_dir(folder).with_context(read)? {
        let path = entry.with_context(read)?.path();
        if is_record(&path) {
            held.push(path);
        }
    }
    ensure!(!held.is_empty(), "{shown} is no run record and holds none");
    held.sort();
    Ok(held)
}

/// Has every figure say what it rests on: those of an older harness did not.
fn complete(run: &mut StoredRun) {
    for cell in &mut run.record.cells {
        let Some(suite) = suites::find(&cell.suite) else {
            continue;
        };
        for metric in &mut cell.metrics {
            if metric.basis.is_none() {
                metric.basis = suite.basis().map(verdict::recorded);
            }
        }
    }
}
