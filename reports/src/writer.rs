//! Writing a record so that a killed run loses no finished cell.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::{CellRecord, RunRecord};

/// A record being written.
///
/// A cell's samples are appended to `samples.csv` and synced first; then
/// `run.json` is replaced by rename. Whatever moment the process dies at,
/// `run.json` is whole and `samples_bytes` in it says how much of
/// `samples.csv` counts.
#[derive(Debug)]
pub struct RunWriter {
    folder: PathBuf,
    samples: File,
    record: RunRecord,
}

/// One row of `samples.csv`.
#[derive(Clone, Debug, Serialize)]
pub struct SampleRow<'a> {
    /// [`CellRecord::cell`].
    pub cell: &'a str,
    /// The suite.
    pub suite: &'a str,
    /// Case within the suite.
    pub case: &'a str,
    /// Engine spec.
    pub engine: &'a str,
    /// What was observed.
    pub metric: &'a str,
    /// Its unit.
    pub unit: &'a str,
    /// Position in the series.
    pub index: u64,
    /// The observation.
    pub value: f64,
}

const COLUMNS: &str = "cell,suite,case,engine,metric,unit,index,value\n";

/// A record that cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// The folder already holds one.
    #[error("{0} already holds a run record; choose another folder with --out")]
    Exists(PathBuf),
    /// The disk refuses.
    #[error("cannot write {path}: {source}")]
    Io {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl RunWriter {
    /// Starts a record in `folder`, which is created if need be.
    ///
    /// # Errors
    /// [`RecordError::Exists`] when there is one already; nothing is
    /// overwritten.
    pub fn create(folder: &Path, record: RunRecord) -> Result<Self, RecordError> {
        let io = |path: &Path| {
            let path = path.to_owned();
            move |source| RecordError::Io { path, source }
        };
        fs::create_dir_all(folder).map_err(io(folder))?;
        if folder.join("run.json").exists() {
            return Err(RecordError::Exists(folder.into()));
        }
        let path = folder.join("samples.csv");
        let mut samples = OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(&path)
            .map_err(|source| match source.kind() {
                io::ErrorKind::AlreadyExists => RecordError::Exists(folder.into()),
                _ => io(&path)(source),
            })?;
        samples.write_all(COLUMNS.as_bytes()).map_err(io(&path))?;
        let mut this = Self {
            folder: folder.into(),
            samples,
            record,
        };
        this.record.samples_bytes = COLUMNS.len() as u64;
        this.save()?;
        Ok(this)
    }

    /// Adds a finished cell and its samples.
    ///
    /// # Errors
    /// [`RecordError::Io`] when the disk refuses.
    pub fn finish_cell(
        &mut self,
        cell: CellRecord,
        samples: &[SampleRow<'_>],
    ) -> Result<(), RecordError> {
        let path = self.folder.join("samples.csv");
        let bytes = rows(samples).map_err(|source| RecordError::Io {
            path: path.clone(),
            source,
        })?;
        self.samples
            .write_all(&bytes)
            .and_then(|()| self.samples.sync_data())
            .map_err(|source| RecordError::Io { path, source })?;
        self.record.samples_bytes += bytes.len() as u64;
        self.record.cells.push(cell);
        self.save()
    }

    /// Changes the record's head, e.g. to enter when the run ended.
    ///
    /// # Errors
    /// [`RecordError::Io`] when the disk refuses.
    pub fn update(&mut self, change: impl FnOnce(&mut RunRecord)) -> Result<(), RecordError> {
        change(&mut self.record);
        self.save()
    }

    /// The record so far.
    #[must_use]
    pub fn record(&self) -> &RunRecord {
        &self.record
    }

    fn save(&self) -> Result<(), RecordError> {
        let target = self.folder.join("run.json");
        replace(&target, &self.record).map_err(|source| RecordError::Io {
            path: target,
            source,
        })
    }
}

fn rows(samples: &[SampleRow<'_>]) -> io::Result<Vec<u8>> {
    let mut writer = csv::WriterBuilder::new()
        .has_headers(false)
        .from_writer(Vec::new());
    for sample in samples {
        writer.serialize(sample)?;
    }
    writer.into_inner().map_err(|error| error.into_error())
}

/// Writes `record` beside `target`, syncs, and renames it into place.
fn replace(target: &Path, record: &RunRecord) -> io::Result<()> {
    let draft = target.with_extension("json.tmp");
    let mut file = File::create(&draft)?;
    serde_json::to_writer_pretty(&mut file, record)?;
    file.write_all(b"\n")?;
    file.sync_all()?;
    fs::rename(&draft, target)?;
    // The rename itself is durable once the folder is.
    match target.parent() {
        Some(folder) => File::open(folder)?.sync_all(),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::fixtures::record;

    #[test]
    fn what_is_written_reads_back() {
        let folder = tempfile::tempdir().unwrap();
        let mut whole = record();
        let cells = std::mem::take(&mut whole.cells);
        let mut writer = RunWriter::create(folder.path(), whole).unwrap();
        for cell in &cells {
            let row = SampleRow {
                cell: &cell.cell,
                suite: "parity",
                case: "a,b",
                engine: "reference:threads=1,weights=q4_0",
                metric: "kl",
                unit: "nat",
                index: 7,
                value: 0.1,
            };
            writer.finish_cell(cell.clone(), &[row]).unwrap();
        }
        let text = fs::read_to_string(folder.path().join("run.json")).unwrap();
        let read: RunRecord = serde_json::from_str(&text).unwrap();
        assert_eq!(&read, writer.record());
        assert_eq!(read.cells, cells);
        let samples = fs::read_to_string(folder.path().join("samples.csv")).unwrap();
        assert_eq!(samples.len() as u64, read.samples_bytes);
        let last = csv::Reader::from_reader(samples.as_bytes())
            .records()
            .last()
            .unwrap()
            .unwrap();
        assert_eq!(&last[2], "a,b");
        assert_eq!(&last[7], "0.1");
    }

    #[test]
    fn an_existing_record_is_never_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        RunWriter::create(folder.path(), record()).unwrap();
        let again = RunWriter::create(folder.path(), record());
        assert!(matches!(again, Err(RecordError::Exists(_))));
    }
}
