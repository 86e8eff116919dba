//! The history, on SQLite and, where `HARNESS_TEST_POSTGRES` names a server
//! (`scripts/with-postgres`), on PostgreSQL: the same tests on both.

#![allow(clippy::unwrap_used)]

mod addresses;
mod concurrency;
mod gates;
mod keeping;
mod revisions;
mod support;
mod transfer;
mod upgrade;
