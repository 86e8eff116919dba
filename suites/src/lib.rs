//! What is asked of an engine, one module a suite.
//!
//! A suite knows engines only through the seam (`engine`), and hands back
//! [`Measurement`]s and raw [`Sample`]s; who judges, records and shows them is
//! not its business. It runs once per [`Cell`].

pub mod accuracy;
mod cell;
pub mod chat;
mod distribution;
pub mod embedding;
mod float;
pub mod generation;
pub mod golden;
mod json;
pub mod kernels;
pub mod kv;
pub mod latency;
mod logits_file;
mod measurement;
pub mod memory;
pub mod parity;
pub mod perplexity;
pub mod placement;
mod reading;
mod settings;
pub mod soak;
mod text;

pub use accuracy::ItemsError;
pub use cell::{Cell, Defaults, Input, Open, Role, Shard, SuiteError, Variant};
pub use logits_file::{LogitsFile, LogitsFileError, LogitsWriter};
pub use measurement::{
    Basis, Better, Blocks, Comparison, Gate, Label, Measurement, Paired, Sample, Series, Statistic,
};
pub use settings::{Setting, SettingError, Settings};
pub use text::{TextError, Windows};

use engine::Capability;

/// A family of measurements.
pub trait Suite: Sync {
    /// Name on the command line and first part of metric names.
    fn name(&self) -> &'static str;

    /// One line for `harness suites`.
    fn about(&self) -> &'static str;

    /// The settings it reads.
    fn settings(&self) -> &'static [Setting];

    /// Its own gates: metric, and what is demanded of it.
    fn gates(&self) -> &'static [(&'static str, &'static str)];

    /// Powers an engine must have for this suite: all of one of these lists.
    fn requires(&self) -> &'static [&'static [Capability]];

    /// Checks settings and texts without running anything, so that a mistake
    /// shows before the first engine is opened.
    ///
    /// # Errors
    /// [`SuiteError::Setting`], [`SuiteError::Text`] or [`SuiteError::Items`].
    fn validate(&self, input: &Input<'_>) -> Result<(), SuiteError>;

    /// Whether engines are held against each other token by token. If not, each
    /// reads with its own model's tokenizer; else all read the baseline's tokens, and
    /// one whose model has another tokenizer is skipped.
    fn compares_tokens(&self) -> bool {
        true
    }

    /// Whether an engine's figures need none of the baseline's, so that they can be had
    /// where the baseline has no result.
    fn stands_alone(&self) -> bool {
        false
    }

    /// What its figures rest on that say nothing of it themselves, e.g.
    /// [`Basis::Machine`] where times are measured.
    fn basis(&self) -> Option<Basis> {
        None
    }

    /// Runs one cell, and returns the figures that rest on more than samples.
    ///
    /// # Errors
    /// [`SuiteError`]: the engine failed, the input is unusable, or the disk is.
    fn run(&self, cell: &mut Cell<'_>) -> Result<Vec<Measurement>, SuiteError>;

    /// Whether [`Cell::shard`] may leave some cases to other runs. Such a suite
    /// has all its figures from [`figures`](Self::figures); a sample's index tells
    /// its place among the cell's, and samples that several shards make under one
    /// index are the same in all of them.
    fn divisible(&self) -> bool {
        false
    }

    /// The figures that rest on samples alone: the cell's, and the baseline's for
    /// an engine held against it.
    ///
    /// # Errors
    /// [`SettingError`] for settings that [`validate`](Self::validate) refuses.
    fn figures(
        &self,
        _settings: &Settings,
        _samples: &Series,
        _baseline: Option<&Series>,
    ) -> Result<Vec<Measurement>, SettingError> {
        Ok(Vec::new())
    }
}

/// Every suite, in the order `--suite all` runs them.
#[must_use]
pub fn all() -> &'static [&'static dyn Suite] {
    &[
        &parity::Parity,
        &perplexity::Perplexity,
        &golden::Golden,
        &embedding::Embedding,
        &accuracy::Accuracy,
        &latency::Latency,
        &kv::Kv,
        &memory::Memory,
        &soak::Soak,
        &kernels::KernelsSuite,
        &placement::PlacementSuite,
    ]
}

/// The suite of that name.
#[must_use]
pub fn find(name: &str) -> Option<&'static dyn Suite> {
    all().iter().copied().find(|suite| suite.name() == name)
}
