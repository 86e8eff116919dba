//! The real binary, from arguments to records and exit codes.
//!
//! One test binary: every one more would be linked with all engines again.
#![allow(clippy::unwrap_used, clippy::expect_used)] // Fixture code of a test may panic.

mod accuracy;
mod bisect;
mod compare;
mod core_ml;
mod embedding;
mod end_to_end;
mod fetch;
mod folder;
mod gates;
mod generation;
mod golden;
mod history;
mod import;
mod init;
mod kernels;
mod kv;
mod latency;
mod memory;
mod openai;
mod perplexity;
mod placement;
mod planted;
mod quantize;
mod report;
mod revisions;
mod soak;
mod stdio;
mod support;
mod workers;
