//! The `harness` binary: arguments in, verdict out.
//!
//! Plan → cells → verdict → record; see `docs/` for the whole picture.

mod args;
mod compare;
mod config;
mod convert;
mod core_ml;
mod engines;
mod exit;
mod fetch;
mod golden;
#[cfg(feature = "dhat-heap")]
mod heap;
mod history;
mod import;
mod list;
mod merge;
mod model;
mod past;
mod plan;
mod provenance;
mod quantize;
mod report;
mod run;
mod sides;
mod turns;
mod verdict;

use std::process::ExitCode;

use clap::{CommandFactory, Parser};

use crate::args::{Arguments, Command};
use crate::exit::Exit;

fn main() -> ExitCode {
    let outcome = match Arguments::parse().command {
        Command::Run(arguments) => run::run(&arguments),
        Command::Worker => run::worker::worker(),
        Command::Merge(arguments) => merge::merge(&arguments),
        Command::Compare(arguments) => compare::compare(&arguments),
        Command::Report(arguments) => report::report(&arguments),
        Command::History(arguments) => history::run(&arguments),
        Command::Golden(arguments) => golden::run(&arguments),
        Command::Conformance(arguments) => run::conformance::check(&arguments),
        Command::Model(arguments) => model::run(&arguments),
        Command::Engines(format) => list::engines(format.format),
        Command::Suites(format) => list::suites(format.format),
        Command::Machine(format) => list::machine(format.format),
        Command::Completions { shell } => {
            let mut command = Arguments::command();
            clap_complete::generate(shell, &mut command, "harness", &mut std::io::stdout());
            Ok(Exit::Passed)
        }
    };
    let exit = outcome.unwrap_or_else(|error| {
        // `{:#}` puts the causes behind the message, on one line.
        anstream::eprintln!("\x1b[1;31merror:\x1b[0m {error:#}");
        Exit::BadInput
    });
    exit.into()
}
