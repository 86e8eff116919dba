//! A history as input.

use std::collections::HashMap;
use std::path::PathBuf;

use super::folders::children;
use super::input::Samples;
use super::{RunHead, SiteError, Source, Trend, TrendKey, TrendPoint};
use crate::history::{Filter, History, HistoryError, Run, RunId};
use crate::{RunRecord, StoredRun};

/// The runs of a history, and those of their folders that are at hand.
///
/// ```
/// use harness_reports::StoredRun;
/// use harness_reports::history::{Filter, History};
/// use harness_reports::site::{RunHistory, Source};
///
/// let folder = tempfile::tempdir()?;
/// let url = format!("sqlite:{}", folder.path().join("history.db").display());
/// let mut history = History::open_or_create(&url)?;
/// history.add(&StoredRun::open("tests/run".as_ref())?)?;
/// let mut source = RunHistory::open(history, Filter::default(), &[])?;
/// assert!(source.runs()[0].at_hand);
/// assert_eq!(source.trends()?.len(), 5 + 27);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct RunHistory {
    history: History,
    filter: Filter,
    ids: Vec<RunId>,
    runs: Vec<RunHead>,
    /// By place in `runs`.
    folders: HashMap<usize, PathBuf>,
    notes: Vec<String>,
}

impl RunHistory {
    /// The runs that `filter` admits. Folders of runs, in which samples are, are those in `places`
    /// (each a run, or a folder of runs), and where the history has seen them.
    ///
    /// # Errors
    /// [`SiteError::Source`] when the database refuses, [`SiteError::NothingAdmitted`] when there
    /// is no run; [`SiteError::Read`] for a place that is no run.
    ///
    /// ```
    /// use harness_reports::history::{Filter, History};
    /// use harness_reports::site::{RunHistory, SiteError};
    ///
    /// let folder = tempfile::tempdir()?;
    /// let url = format!("sqlite:{}", folder.path().join("history.db").display());
    /// let empty = RunHistory::open(History::open_or_create(&url)?, Filter::default(), &[]);
    /// assert!(matches!(empty, Err(SiteError::NothingAdmitted)));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn open(
        mut history: History,
        filter: Filter,
        places: &[PathBuf],
    ) -> Result<Self, SiteError> {
        let found = history.runs(&filter).map_err(failed)?;
        if found.is_empty() {
            return Err(SiteError::NothingAdmitted);
        }
        let by_sha: HashMap<&str, usize> = (found.iter().enumerate())
            .map(|(place, run)| (run.sha256.as_str(), place))
            .collect();
        let mut folders = HashMap::new();
        for (place, run) in found.iter().enumerate() {
            // Another run may be there by now.
            if run.folder.join("run.json").exists()
                && StoredRun::identify(&run.folder).is_ok_and(|sha256| sha256 == run.sha256)
            {
                folders.insert(place, run.folder.clone());
            }
        }
        let mut notes = Vec::new();
        for folder in named(places)? {
            match by_sha.get(StoredRun::identify(&folder)?.as_str()) {
                Some(place) => drop(folders.insert(*place, folder)),
                None => notes.push(format!(
                    "Left out: {} is not among these runs of the history; \
                     `harness history add` adds it",
                    folder.display()
                )),
            }
        }
        let heads = found.iter().enumerate();
        Ok(Self {
            runs: heads
                .map(|(place, run)| head(run, folders.contains_key(&place)))
                .collect(),
            ids: found.iter().map(|run| run.id).collect(),
            history,
            filter,
            folders,
            notes,
        })
    }
}

/// The folders of runs that `places` are or hold.
fn named(places: &[PathBuf]) -> Result<Vec<PathBuf>, SiteError> {
    let mut folders = Vec::new();
    for place in places {
        if place.join("run.json").exists() {
            folders.push(place.clone());
        } else {
            folders.extend(children(place)?);
        }
    }
    Ok(folders)
}

fn head(run: &Run, at_hand: bool) -> RunHead {
    let name = run.folder.file_name().unwrap_or("run".as_ref());
    RunHead {
        name: name.to_string_lossy().into(),
        at_hand,
        link: None,
        started: run.started,
        branch: run.branch.clone(),
        revision: run.revision.clone(),
        dirty: run.dirty,
        machine: run.machine.clone(),
        engines: run.engines.clone(),
        models: run.models.clone(),
        tally: run.tally,
    }
}

impl Source for RunHistory {
    fn runs(&self) -> &[RunHead] {
        &self.runs
    }

    fn notes(&self) -> &[String] {
        &self.notes
    }

    fn trends(&mut self) -> Result<Vec<Trend>, SiteError> {
        let places: HashMap<RunId, usize> = self.ids.iter().copied().zip(0..).collect();
        let mut trends = Vec::new();
        let outcome = self.history.each_series(&self.filter, |series| {
            let points = series.points.iter().filter_map(|point| {
                Some(TrendPoint {
                    run: *places.get(&point.run)?,
                    value: point.value?,
                    interval: point.ci_low.zip(point.ci_high),
                })
            });
            let points: Vec<TrendPoint> = points.collect();
            if points.is_empty() {
                return;
            }
            let key = series.key;
            trends.push(Trend {
                key: TrendKey {
                    metric: key.metric,
                    unit: key.unit,
                    engine: key.engine,
                    branch: key.branch,
                    machine: key.machine,
                    model_sha256: key.model_sha256,
                    settings: key.settings_sha256,
                },
                model: series.model,
                better: series.better,
                points,
            });
        });
        outcome.map_err(failed)?;
        Ok(trends)
    }

    fn record(&mut self, run: usize) -> Result<(RunRecord, Samples), SiteError> {
        if let Some(folder) = self.folders.get(&run) {
            let stored = StoredRun::open(folder)?;
            return Ok((stored.record, stored.samples));
        }
        let record = self.history.record(self.ids[run]).map_err(failed)?;
        Ok((record, Samples::new()))
    }
}

fn failed(error: HistoryError) -> SiteError {
    SiteError::Source(Box::new(error))
}
