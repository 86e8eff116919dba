//! Writing a record so that a killed run loses no finished cell.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::{CellRecord, ReadError, RunRecord, StoredRun};

/// A record being written.
///
/// A cell's samples are appended to `samples.csv` and synced first; then
/// `run.json` is replaced by rename. Whatever moment the process dies at,
/// `run.json` is whole and `samples_bytes` in it says how much of
/// `samples.csv` counts.
///
/// ```
/// use harness_reports::{RunRecord, RunWriter, StoredRun};
///
/// let record = StoredRun::open("tests/run".as_ref())?.record;
/// let folder = tempfile::tempdir()?;
/// let head = RunRecord { cells: Vec::new(), ..record.clone() };
/// let mut writer = RunWriter::create(folder.path(), head)?;
/// for cell in record.cells {
///     writer.finish_cell(cell, &[])?;
///     // Whatever happens from here on, the cell is kept.
///     assert_eq!(StoredRun::open(folder.path())?.record, *writer.record());
/// }
/// let ended = record.provenance.ended;
/// writer.update(|record| record.provenance.ended = ended)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct RunWriter {
    folder: PathBuf,
    samples: File,
    record: RunRecord,
}

/// One row of `samples.csv`.
///
/// ```
/// use harness_reports::{RunRecord, RunWriter, SampleRow, StoredRun};
///
/// let mut record = StoredRun::open("tests/run".as_ref())?.record;
/// let cell = record.cells.swap_remove(0);
/// let row = SampleRow {
///     cell: &cell.cell,
///     suite: &cell.suite,
///     case: "llama_cpp",
///     engine: &cell.engine.spec,
///     metric: "nll",
///     unit: "nat",
///     index: 9,
///     value: 0.1 + 0.2,
/// };
/// let folder = tempfile::tempdir()?;
/// let mut writer = RunWriter::create(folder.path(), RunRecord { cells: Vec::new(), ..record })?;
/// writer.finish_cell(cell.clone(), &[row])?;
/// let text = std::fs::read_to_string(folder.path().join("samples.csv"))?;
/// let line = "perplexity/reference,perplexity,llama_cpp,reference,nll,nat,9,0.30000000000000004";
/// assert_eq!(text.lines().last(), Some(line));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
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
///
/// ```
/// use harness_reports::{RecordError, RunWriter, StoredRun};
///
/// let record = StoredRun::open("tests/run".as_ref())?.record;
/// let taken = RunWriter::create("tests/run".as_ref(), record);
/// assert!(matches!(taken, Err(RecordError::Exists(_))));
/// # Ok::<(), harness_reports::ReadError>(())
/// ```
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// The folder already holds one.
    #[error("{0} already holds a run record; choose another folder with --out")]
    Exists(PathBuf),
    /// Another process is writing it.
    #[error("{0} is being written by another process; wait for it, or stop it")]
    Busy(PathBuf),
    /// There is nothing to go on with.
    #[error(transparent)]
    Read(#[from] ReadError),
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
    ///
    /// ```
    /// use harness_reports::{RunRecord, RunWriter, StoredRun};
    ///
    /// let record = StoredRun::open("tests/run".as_ref())?.record;
    /// let folder = tempfile::tempdir()?;
    /// let head = RunRecord { cells: Vec::new(), ..record };
    /// RunWriter::create(&folder.path().join("runs/1"), head.clone())?;
    /// assert!(RunWriter::create(&folder.path().join("runs/1"), head).is_err());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
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
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(io(&path))?;
        lock(&samples, folder)?;
        // One that was killed before it had a record left this much, or less.
        let mut found = Vec::new();
        let beyond = COLUMNS.len() as u64 + 1;
        let mut start = (&samples).take(beyond);
        start.read_to_end(&mut found).map_err(io(&path))?;
        if !COLUMNS.as_bytes().starts_with(&found) || folder.join("run.json").exists() {
            return Err(RecordError::Exists(folder.into()));
        }
        samples.rewind().map_err(io(&path))?;
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

    /// Goes on with the record in `folder`, behind its last finished cell, and
    /// returns what was there.
    ///
    /// # Errors
    /// [`RecordError::Busy`] while another process writes it, [`RecordError::Read`]
    /// for what is no record, [`RecordError::Io`] when the disk refuses.
    ///
    /// ```
    /// use harness_reports::{RunRecord, RunWriter, StoredRun};
    ///
    /// let mut record = StoredRun::open("tests/run".as_ref())?.record;
    /// let second = record.cells.split_off(1);
    /// let first = std::mem::take(&mut record.cells);
    /// let folder = tempfile::tempdir()?;
    /// let mut killed = RunWriter::create(folder.path(), record)?;
    /// killed.finish_cell(first[0].clone(), &[])?;
    /// drop(killed);
    ///
    /// let (mut writer, run) = RunWriter::resume(folder.path())?;
    /// assert_eq!(run.record.cells, first);
    /// writer.finish_cell(second[0].clone(), &[])?;
    /// assert_eq!(writer.record().cells.len(), 2);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn resume(folder: &Path) -> Result<(Self, StoredRun), RecordError> {
        let path = folder.join("samples.csv");
        let io = |source| RecordError::Io {
            path: path.clone(),
            source,
        };
        let mut samples = OpenOptions::new().write(true).open(&path).map_err(io)?;
        // Before the record is read, or it might grow in between.
        lock(&samples, folder)?;
        let run = StoredRun::open(folder)?;
        // What a cell left that was cut off.
        samples.set_len(run.record.samples_bytes).map_err(io)?;
        samples.seek(SeekFrom::End(0)).map_err(io)?;
        let this = Self {
            folder: folder.into(),
            samples,
            record: run.record.clone(),
        };
        Ok((this, run))
    }

    /// Adds a finished cell and its samples.
    ///
    /// # Errors
    /// [`RecordError::Io`] when the disk refuses.
    ///
    /// ```
    /// use harness_reports::{RunRecord, RunWriter, StoredRun};
    ///
    /// let mut run = StoredRun::open("tests/run".as_ref())?;
    /// let cell = run.record.cells.remove(0);
    /// let samples = &run.samples[&cell.cell];
    /// let rows: Vec<_> = samples.iter().map(|sample| sample.row(&cell)).collect();
    /// let folder = tempfile::tempdir()?;
    /// let head = RunRecord { cells: Vec::new(), ..run.record };
    /// RunWriter::create(folder.path(), head)?.finish_cell(cell.clone(), &rows)?;
    /// assert_eq!(StoredRun::open(folder.path())?.samples[&cell.cell], *samples);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
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
        self.record.telemetry.count(&cell);
        self.record.cells.push(cell);
        self.save()
    }

    /// Changes the record's head, e.g. to enter when the run ended.
    ///
    /// # Errors
    /// [`RecordError::Io`] when the disk refuses.
    ///
    /// ```
    /// use harness_reports::{RunWriter, StoredRun};
    ///
    /// let record = StoredRun::open("tests/run".as_ref())?.record;
    /// let folder = tempfile::tempdir()?;
    /// let mut writer = RunWriter::create(folder.path(), record)?;
    /// writer.update(|record| record.provenance.gates.push("perplexity.delta_pct <= 1".into()))?;
    /// let stored = StoredRun::open(folder.path())?.record;
    /// assert_eq!(stored.provenance.gates, ["perplexity.delta_pct <= 1"]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn update(&mut self, change: impl FnOnce(&mut RunRecord)) -> Result<(), RecordError> {
        change(&mut self.record);
        self.save()
    }

    /// The record so far.
    ///
    /// ```
    /// use harness_reports::{RunWriter, StoredRun};
    ///
    /// let record = StoredRun::open("tests/run".as_ref())?.record;
    /// let folder = tempfile::tempdir()?;
    /// let writer = RunWriter::create(folder.path(), record)?;
    /// assert_eq!(writer.record().tally().gates_failed, 2);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
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

/// Holds the record in `folder` for this process, for as long as `samples` is
/// open. A file system without locks is taken at its word.
fn lock(samples: &File, folder: &Path) -> Result<(), RecordError> {
    match samples.try_lock() {
        Err(TryLockError::WouldBlock) => Err(RecordError::Busy(folder.into())),
        Ok(()) | Err(TryLockError::Error(_)) => Ok(()),
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

    #[test]
    fn a_start_that_was_cut_off_is_no_record() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("samples.csv");
        for left in ["", "cell,su", COLUMNS] {
            let _ = fs::remove_file(folder.path().join("run.json"));
            fs::write(&path, left).unwrap();
            RunWriter::create(folder.path(), record()).unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), COLUMNS);
        }
        fs::remove_file(folder.path().join("run.json")).unwrap();
        for mine in ["x", &format!("{COLUMNS}x")] {
            fs::write(&path, mine).unwrap();
            let taken = RunWriter::create(folder.path(), record());
            assert!(matches!(taken, Err(RecordError::Exists(_))));
            assert_eq!(fs::read_to_string(&path).unwrap(), mine);
        }
    }

    #[test]
    fn a_record_that_was_cut_off_goes_on() {
        let folder = tempfile::tempdir().unwrap();
        let mut whole = record();
        let cells = std::mem::take(&mut whole.cells);
        let row = |cell: &'static str| SampleRow {
            cell,
            suite: "parity",
            case: "c",
            engine: "e",
            metric: "kl",
            unit: "nat",
            index: 0,
            value: 1.5,
        };
        let mut writer = RunWriter::create(folder.path(), whole).unwrap();
        writer.finish_cell(cells[0].clone(), &[row("a")]).unwrap();
        let busy = RunWriter::resume(folder.path());
        assert!(matches!(busy, Err(RecordError::Busy(_))));
        drop(writer);

        let path = folder.path().join("samples.csv");
        let mut samples = fs::read_to_string(&path).unwrap();
        fs::write(&path, samples.clone() + "cut o").unwrap();
        let (mut writer, stored) = RunWriter::resume(folder.path()).unwrap();
        assert_eq!(stored.record.cells, cells[..1]);
        writer.finish_cell(cells[2].clone(), &[row("b")]).unwrap();
        samples += "b,parity,c,e,kl,nat,0,1.5\n";
        assert_eq!(fs::read_to_string(&path).unwrap(), samples);
        let read = StoredRun::open(folder.path()).unwrap().record;
        assert_eq!(read.cells, [cells[0].clone(), cells[2].clone()]);
        assert_eq!(read.telemetry.failures["crash"], 1);
    }
}
