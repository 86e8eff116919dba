//! Run records: what a run found, kept so that nothing is lost, and shown.
//!
//! A record is a folder: `run.json` holds the summary ([`RunRecord`]),
//! `samples.csv` every raw sample, `artifacts/` whatever else a suite keeps.
//! [`RunWriter`] writes it cell by cell, [`StoredRun`] reads it back, [`render`]
//! shows it as text, [`site`] as pages with plots. [`history`] keeps those of many
//! runs, [`compare`] tells what changed from some runs to others,
//! [`import`] makes records of what other benchmark programs measured.
//!
//! ```
//! use harness_reports::{StoredRun, render};
//!
//! let run = StoredRun::open("tests/run".as_ref())?;
//! assert_eq!((run.record.suites(), run.record.tally().gates_failed), (vec!["perplexity"], 2));
//! assert_eq!(run.samples["perplexity/reference"].len(), 61);
//! assert!(render::markdown(&run.record).starts_with("### perplexity against `reference`"));
//! # Ok::<(), harness_reports::ReadError>(())
//! ```

pub mod compare;
mod digest;
pub mod gate;
pub mod history;
pub mod import;
pub mod plot;
mod reader;
mod record;
pub mod render;
pub mod site;
mod writer;

pub use reader::{ReadError, StoredRun, StoredSample};
pub use record::{
    Basis, Better, Blocks, CellRecord, EngineRecord, Evidence, Failure, GitRevision, MachineRecord,
    Metric, ModelRecord, Paired, PlanRecord, Provenance, RunRecord, SCHEMA, ShardRecord, Statistic,
    Status, Tally, Telemetry, Verdict, Work,
};
pub use writer::{RecordError, RunWriter, SampleRow};
