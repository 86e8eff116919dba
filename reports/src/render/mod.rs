//! A record as text: for people, for spreadsheets, for CI systems.

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
