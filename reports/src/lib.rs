//! Run records: what a run found, kept so that nothing is lost, and shown.
//!
//! A record is a folder: `run.json` holds the summary ([`RunRecord`]),
//! `samples.csv` every raw sample, `artifacts/` whatever else a suite keeps.
//! [`RunWriter`] writes it cell by cell, [`StoredRun`] reads it back, [`render`]
//! shows it.

mod reader;
mod record;
pub mod render;
mod writer;

pub use reader::{ReadError, StoredRun, StoredSample};
pub use record::{
    Better, CellRecord, EngineRecord, Failure, GitRevision, MachineRecord, Metric, ModelRecord,
    Provenance, RunRecord, SCHEMA, ShardRecord, Status, Tally, Verdict,
};
pub use writer::{RecordError, RunWriter, SampleRow};
