//! Run folders as input.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use super::input::Samples;
use super::{RunHead, SiteError, Source, Trend, TrendKey, TrendPoint};
use crate::{ReadError, RunRecord, StoredRun};

/// Records read from folders.
///
/// ```
/// use harness_reports::site::{RunFolders, Source};
///
/// // A folder of runs; what is no run is left out.
/// let source = RunFolders::open(&["tests".into()])?;
/// assert_eq!(source.runs().len(), 1);
/// assert!(source.notes().is_empty());
/// # Ok::<(), harness_reports::site::SiteError>(())
/// ```
#[derive(Debug)]
pub struct RunFolders {
    folders: Vec<PathBuf>,
    runs: Vec<RunHead>,
    notes: Vec<String>,
    trends: BTreeMap<TrendKey, Trend>,
}

impl RunFolders {
    /// Reads records: each of `places` is a folder with a record, or one of such folders.
    ///
    /// # Errors
    /// [`SiteError::Empty`] when there is no record at all, [`SiteError::Read`] when a
    /// place that was named is a record that cannot be read; of a folder of records those that cannot be read are
    /// left out, with a note.
    ///
    /// ```
    /// use harness_reports::site::{RunFolders, Source};
    ///
    /// let folder = tempfile::tempdir()?;
    /// std::fs::create_dir(folder.path().join("damaged"))?;
    /// std::fs::write(folder.path().join("damaged/run.json"), "{")?;
    /// let source = RunFolders::open(&["tests/run".into(), folder.path().into()])?;
    /// assert_eq!(source.runs().len(), 1);
    /// assert!(source.notes()[0].starts_with("Left out: "));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn open(places: &[PathBuf]) -> Result<Self, SiteError> {
        let mut records: Vec<(PathBuf, RunRecord)> = Vec::new();
        let mut notes = Vec::new();
        for place in places {
            if place.join("run.json").exists() {
                let record = RunRecord::read(place)?;
                records.push((place.clone(), record));
                continue;
            }
            for folder in children(place)? {
                match RunRecord::read(&folder) {
                    Ok(record) => records.push((folder, record)),
                    Err(error) => notes.push(format!("Left out: {error}")),
                }
            }
        }
        if records.is_empty() {
            let places: Vec<String> = places.iter().map(|p| p.display().to_string()).collect();
            return Err(SiteError::Empty(places.join(", ")));
        }
        // The same folder may have been named twice.
        records.sort_by(|a, b| (a.1.provenance.started, &a.0).cmp(&(b.1.provenance.started, &b.0)));
        records.dedup_by(|a, b| a.0.canonicalize().ok() == b.0.canonicalize().ok());
        let mut this = Self {
            folders: Vec::new(),
            runs: Vec::new(),
            notes,
            trends: BTreeMap::new(),
        };
        for (folder, record) in records {
            this.add(folder, &record);
        }
        Ok(this)
    }

    fn add(&mut self, folder: PathBuf, record: &RunRecord) {
        let run = self.runs.len();
        let head = RunHead::of(record, &folder);
        let provenance = &record.provenance;
        for cell in &record.cells {
            let settings = provenance.settings.get(&cell.suite);
            let settings = format!("{} {settings:?}", provenance.baseline);
            let model = (provenance.models.iter()).find(|model| model.sha256 == cell.model_sha256);
            for metric in &cell.metrics {
                let Some(value) = metric.value else { continue };
                let key = TrendKey {
                    metric: metric.name.clone(),
                    unit: metric.unit.clone(),
                    engine: cell.title(),
                    branch: head.branch.clone(),
                    machine: head.machine.clone(),
                    model_sha256: cell.model_sha256.clone(),
                    settings: settings.clone(),
                };
                let trend = self.trends.entry(key).or_insert_with_key(|key| Trend {
                    key: key.clone(),
                    model: model.map(|model| model.name.clone()).unwrap_or_default(),
                    better: metric.better,
                    points: Vec::new(),
                });
                trend.points.push(TrendPoint {
                    run,
                    value,
                    interval: metric.ci_low.zip(metric.ci_high),
                });
            }
        }
        self.folders.push(folder);
        self.runs.push(head);
    }
}

impl RunHead {
    /// Of the record in `folder`.
    pub(crate) fn of(record: &RunRecord, folder: &Path) -> Self {
        let provenance = &record.provenance;
        let project = provenance.project.as_ref();
        let name = folder.canonicalize().unwrap_or_else(|_| folder.into());
        Self {
            name: (name.file_name()).map_or("run".into(), |name| name.to_string_lossy().into()),
            at_hand: true,
            link: None,
            started: provenance.started,
            branch: project.and_then(|project| project.branch.clone()),
            revision: project.map(|project| project.revision.clone()),
            dirty: project.is_some_and(|project| project.dirty),
            machine: provenance.machine.fingerprint.clone(),
            engines: provenance.plan.engines.clone(),
            models: provenance
                .models
                .iter()
                .map(|model| model.name.clone())
                .collect(),
            tally: record.tally(),
        }
    }
}

/// Folders in `place` that hold a record.
pub(super) fn children(place: &Path) -> Result<Vec<PathBuf>, SiteError> {
    let io = |source| ReadError::Io {
        path: place.into(),
        source,
    };
    let mut folders = Vec::new();
    let entries = match fs::read_dir(place) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Err(SiteError::Empty(place.display().to_string()));
        }
        entries => entries.map_err(io)?,
    };
    for entry in entries {
        let folder = entry.map_err(io)?.path();
        if folder.join("run.json").exists() {
            folders.push(folder);
        }
    }
    folders.sort();
    Ok(folders)
}

impl Source for RunFolders {
    fn runs(&self) -> &[RunHead] {
        &self.runs
    }

    fn notes(&self) -> &[String] {
        &self.notes
    }

    fn trends(&mut self) -> Result<Vec<Trend>, SiteError> {
        Ok(std::mem::take(&mut self.trends).into_values().collect())
    }

    fn record(&mut self, run: usize) -> Result<(RunRecord, Samples), SiteError> {
        let stored = StoredRun::open(&self.folders[run])?;
        Ok((stored.record, stored.samples))
    }
}
