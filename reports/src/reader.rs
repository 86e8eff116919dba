//! Reading a record back.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::digest::digest;
use crate::{CellRecord, RunRecord, SCHEMA, SampleRow};

/// A record on disk.
///
/// ```
/// use harness_reports::StoredRun;
///
/// let run = StoredRun::open("tests/run".as_ref())?;
/// for cell in &run.record.cells {
///     let samples = &run.samples[&cell.cell];
///     let scored = samples.iter().filter(|sample| sample.metric == "nll").count() as u64;
///     assert_eq!(scored, cell.metrics[0].n);
/// }
/// # Ok::<(), harness_reports::ReadError>(())
/// ```
#[derive(Clone, Debug)]
pub struct StoredRun {
    /// Its folder.
    pub folder: PathBuf,
    /// SHA-256 of the content of `run.json`, however it is spaced and ordered.
    pub sha256: String,
    /// The summary.
    pub record: RunRecord,
    /// Samples by [`CellRecord::cell`](crate::CellRecord::cell), in the order of
    /// the file.
    pub samples: HashMap<String, Vec<StoredSample>>,
}

/// One row of `samples.csv`.
///
/// ```
/// use harness_reports::StoredRun;
///
/// let run = StoredRun::open("tests/run".as_ref())?;
/// let worst = run.samples["perplexity/reference"].iter().filter(|sample| sample.metric == "nll");
/// let worst = worst.max_by(|a, b| a.value.total_cmp(&b.value)).ok_or("no samples")?;
/// // The token that the model expected least, with a probability of exp(-10.5).
/// assert_eq!((worst.index, worst.unit.as_str()), (61, "nat"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct StoredSample {
    /// Case within the suite.
    pub case: String,
    /// What was observed.
    pub metric: String,
    /// Its unit.
    pub unit: String,
    /// Position in the series.
    pub index: u64,
    /// The observation.
    pub value: f64,
}

impl StoredSample {
    /// Its row in the record that `cell` is to be part of.
    ///
    /// ```
    /// use harness_reports::{RunRecord, RunWriter, StoredRun};
    ///
    /// let run = StoredRun::open("tests/run".as_ref())?;
    /// let folder = tempfile::tempdir()?;
    /// // A copy of the first cell alone.
    /// let head = RunRecord { cells: Vec::new(), ..run.record.clone() };
    /// let mut writer = RunWriter::create(folder.path(), head)?;
    /// let cell = &run.record.cells[0];
    /// let rows: Vec<_> = run.samples[&cell.cell].iter().map(|sample| sample.row(cell)).collect();
    /// writer.finish_cell(cell.clone(), &rows)?;
    /// assert_eq!(StoredRun::open(folder.path())?.samples[&cell.cell], run.samples[&cell.cell]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn row<'a>(&'a self, cell: &'a CellRecord) -> SampleRow<'a> {
        SampleRow {
            cell: &cell.cell,
            suite: &cell.suite,
            case: &self.case,
            engine: &cell.engine.spec,
            metric: &self.metric,
            unit: &self.unit,
            index: self.index,
            value: self.value,
        }
    }
}

/// A row as it stands in the file; serde would guess at types if it were nested.
#[derive(Deserialize)]
struct Row {
    cell: String,
    case: String,
    metric: String,
    unit: String,
    index: u64,
    value: f64,
}

/// What every layout has.
#[derive(Deserialize)]
struct Version {
    schema: u32,
}

/// A record that cannot be read.
///
/// ```
/// use harness_reports::{ReadError, StoredRun};
///
/// let folder = tempfile::tempdir()?;
/// std::fs::write(folder.path().join("run.json"), r#"{"schema": 99}"#)?;
/// match StoredRun::open(folder.path()) {
///     Err(ReadError::Malformed { why, .. }) => assert!(why.contains("a newer harness wrote it")),
///     other => panic!("{other:?}"),
/// }
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// A file is missing or the disk refuses.
    #[error("cannot read run record {path}: {source}")]
    Io {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file is not what it should be.
    #[error("{path} is no run record of this version: {why}")]
    Malformed {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
}

impl StoredRun {
    /// Reads the record in `folder`.
    ///
    /// # Errors
    /// [`ReadError`] when a file is missing, cut short or malformed, or of
    /// another schema.
    ///
    /// ```
    /// use harness_reports::StoredRun;
    ///
    /// let run = StoredRun::open("tests/run".as_ref())?;
    /// assert_eq!(run.record.cells.len(), run.samples.len());
    /// let missing = StoredRun::open("tests/no-run".as_ref()).map_err(|error| error.to_string());
    /// assert!(missing.is_err_and(|why| why.starts_with("cannot read run record tests/no-run")));
    /// # Ok::<(), harness_reports::ReadError>(())
    /// ```
    pub fn open(folder: &Path) -> Result<Self, ReadError> {
        let (record, value) = parse(folder)?;
        let samples = samples(&folder.join("samples.csv"), record.samples_bytes)?;
        Ok(Self {
            folder: folder.into(),
            sha256: digest(&value),
            record,
            samples,
        })
    }

    /// The SHA-256 that [`StoredRun::open`] would give the record in `folder`.
    ///
    /// # Errors
    /// [`ReadError`] when `run.json` is missing, malformed, or of another schema.
    ///
    /// ```
    /// use harness_reports::StoredRun;
    ///
    /// let folder = tempfile::tempdir()?;
    /// let text = std::fs::read_to_string("tests/run/run.json")?;
    /// let spaced = text.replace("\": ", "\" :  ");
    /// std::fs::write(folder.path().join("run.json"), spaced)?;
    /// let original = StoredRun::open("tests/run".as_ref())?;
    /// assert_eq!(StoredRun::identify(folder.path())?, original.sha256);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn identify(folder: &Path) -> Result<String, ReadError> {
        Ok(digest(&parse(folder)?.1))
    }

    /// A record that never was on disk, and has no samples.
    ///
    /// ```
    /// use harness_reports::StoredRun;
    ///
    /// let run = StoredRun::open("tests/run".as_ref())?;
    /// let mut record = run.record.clone();
    /// record.cells.truncate(1);
    /// let changed = StoredRun::of(record, "elsewhere".into());
    /// assert_ne!(changed.sha256, run.sha256);
    /// assert!(changed.samples.is_empty());
    /// # Ok::<(), harness_reports::ReadError>(())
    /// ```
    #[must_use]
    pub fn of(record: RunRecord, folder: PathBuf) -> Self {
        Self {
            folder,
            sha256: digest(&serde_json::json!(record)),
            record,
            samples: HashMap::new(),
        }
    }
}

impl RunRecord {
    /// Reads the record in `folder`, without its samples.
    ///
    /// # Errors
    /// [`ReadError`] when `run.json` is missing, malformed, or of another schema.
    pub(crate) fn read(folder: &Path) -> Result<Self, ReadError> {
        Ok(parse(folder)?.0)
    }
}

/// The record in `folder`, and all its fields: those that this version does not know
/// count for its digest too.
fn parse(folder: &Path) -> Result<(RunRecord, serde_json::Value), ReadError> {
    let path = folder.join("run.json");
    let text = fs::read_to_string(&path).map_err(io(&path))?;
    let malformed = |why: String| ReadError::Malformed {
        path: path.clone(),
        why,
    };
    // Before anything else: a newer layout may have nothing that this one asks for.
    let Version { schema } =
        serde_json::from_str(&text).map_err(|error| malformed(error.to_string()))?;
    if schema != SCHEMA {
        let advice = match schema > SCHEMA {
            true => "; a newer harness wrote it, and it takes one to read it",
            false => "",
        };
        let why = format!("its schema is {schema}, not {SCHEMA}{advice}");
        return Err(malformed(why));
    }
    let record = serde_json::from_str(&text).map_err(|error| malformed(error.to_string()))?;
    let value = serde_json::from_str(&text).map_err(|error| malformed(error.to_string()))?;
    Ok((record, value))
}

/// The first `bytes` of the file: whatever follows belongs to no finished cell.
fn samples(path: &Path, bytes: u64) -> Result<HashMap<String, Vec<StoredSample>>, ReadError> {
    let malformed = |why: String| ReadError::Malformed {
        path: path.into(),
        why,
    };
    let file = File::open(path).map_err(io(path))?;
    let found = file.metadata().map_err(io(path))?.len();
    if found < bytes {
        return Err(malformed(format!("{found} bytes instead of {bytes}")));
    }
    let mut samples: HashMap<String, Vec<StoredSample>> = HashMap::new();
    for row in csv::Reader::from_reader(BufReader::new(file.take(bytes))).deserialize() {
        let row: Row = row.map_err(|error| malformed(error.to_string()))?;
        samples.entry(row.cell).or_default().push(StoredSample {
            case: row.case,
            metric: row.metric,
            unit: row.unit,
            index: row.index,
            value: row.value,
        });
    }
    Ok(samples)
}

fn io(path: &Path) -> impl Fn(io::Error) -> ReadError + use<> {
    let path = path.to_owned();
    move |source| ReadError::Io {
        path: path.clone(),
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::fixtures::record;
    use crate::{RunWriter, SampleRow};

    fn written(folder: &Path) -> RunRecord {
        let mut whole = record();
        let cells = std::mem::take(&mut whole.cells);
        let mut writer = RunWriter::create(folder, whole).unwrap();
        for cell in cells {
            let name = cell.cell.clone();
            let row = SampleRow {
                cell: &name,
                suite: "parity",
                case: "5",
                engine: "reference",
                metric: "kl",
                unit: "nat",
                index: 7,
                value: 0.1 + 0.2,
            };
            writer.finish_cell(cell, &[row.clone(), row]).unwrap();
        }
        writer.record().clone()
    }

    #[test]
    fn every_bit_comes_back() {
        let folder = tempfile::tempdir().unwrap();
        let record = written(folder.path());
        let run = StoredRun::open(folder.path()).unwrap();
        assert_eq!(run.record, record);
        for cell in &record.cells {
            let samples = &run.samples[&cell.cell];
            assert_eq!(samples.len(), 2);
            assert_eq!(samples[1].case, "5");
            assert_eq!(samples[1].value.to_bits(), (0.1f64 + 0.2).to_bits());
        }
    }

    #[test]
    fn rows_of_an_unfinished_cell_do_not_count() {
        let folder = tempfile::tempdir().unwrap();
        written(folder.path());
        let path = folder.path().join("samples.csv");
        let whole = fs::read_to_string(&path).unwrap();
        fs::write(&path, whole.clone() + "cut off").unwrap();
        StoredRun::open(folder.path()).unwrap();
        fs::write(&path, &whole[..whole.len() - 1]).unwrap();
        let error = StoredRun::open(folder.path()).unwrap_err().to_string();
        assert!(error.contains("samples.csv"), "{error}");
    }

    #[test]
    fn missing_and_foreign_files_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let error = StoredRun::open(folder.path()).unwrap_err().to_string();
        assert!(error.contains("run.json"), "{error}");
        fs::write(folder.path().join("run.json"), "{}").unwrap();
        let error = StoredRun::open(folder.path()).unwrap_err().to_string();
        assert!(error.contains("no run record"), "{error}");
        fs::write(folder.path().join("run.json"), r#"{"schema": 99}"#).unwrap();
        let error = StoredRun::open(folder.path()).unwrap_err().to_string();
        assert!(error.contains("a newer harness wrote it"), "{error}");
    }
}
