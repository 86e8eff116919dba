//! What is asked of an engine, one module a suite.
//!
//! A suite knows engines only through the seam (`engine`), and hands back
//! [`Measurement`]s and raw [`Sample`]s; who judges, records and shows them is
//! not its business. It runs once per [`Cell`].

mod cell;
mod logits_file;
mod measurement;
pub mod parity;
mod settings;
mod text;

pub use cell::{Cell, Input, Role, SuiteError, Variant};
pub use logits_file::{LogitsFile, LogitsFileError, LogitsWriter};
pub use measurement::{Better, Comparison, Gate, Measurement, Sample};
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

    /// Powers an engine must have for this suite.
    fn requires(&self) -> &'static [Capability];

    /// Checks settings and texts without running anything, so that a mistake
    /// shows before the first engine is opened.
    ///
    /// # Errors
    /// [`SuiteError::Setting`] or [`SuiteError::Text`].
    fn validate(&self, input: &Input<'_>) -> Result<(), SuiteError>;

    /// Runs one cell.
    ///
    /// # Errors
    /// [`SuiteError`]: the engine failed, the input is unusable, or the disk is.
    fn run(&self, cell: &mut Cell<'_>) -> Result<Vec<Measurement>, SuiteError>;
}

/// Every suite, in the order `--suite all` runs them.
#[must_use]
pub fn all() -> &'static [&'static dyn Suite] {
    &[&parity::Parity]
}

/// The suite of that name.
#[must_use]
pub fn find(name: &str) -> Option<&'static dyn Suite> {
    all().iter().copied().find(|suite| suite.name() == name)
}
