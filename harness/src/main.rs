//! The `harness` binary.

use std::process::ExitCode;

fn main() -> ExitCode {
    harness::run(Vec::new())
}
