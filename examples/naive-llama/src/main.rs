//! The command `harness`, with one engine more.

use std::process::ExitCode;

fn main() -> ExitCode {
    harness::run(vec![Box::new(naive_llama::NaiveLlama)])
}
