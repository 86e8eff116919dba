//! A record as text: for people, for spreadsheets, for CI systems.
//!
//! ```
//! use harness_reports::{StoredRun, render};
//!
//! let record = StoredRun::open("tests/run".as_ref())?.record;
//! // Two gates failed, whoever reads it.
//! assert_eq!(render::table(&record, render::Style::default()).matches("FAIL  ").count(), 2);
//! assert_eq!(render::markdown(&record).matches("- **fail** ").count(), 2);
//! assert_eq!(render::csv(&record)?.matches(",fail,").count(), 2);
//! assert_eq!(render::junit(&record)?.matches("<failure").count(), 2);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod csv;
pub(crate) mod grid;
mod junit;
mod markdown;
mod number;
mod scale;
mod table;

pub use self::csv::csv;
pub use self::junit::junit;
pub(crate) use self::markdown::escape;
pub use self::markdown::markdown;
pub use self::number::number;
pub use self::table::{Style, table};

#[cfg(test)]
pub(crate) mod fixtures;
