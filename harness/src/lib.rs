//! The `harness` command: arguments in, verdict out.
//!
//! Plan → cells → verdict → record; see `docs/` for the whole picture. This library is one
//! function, for a command of your own that has an engine more; `examples/naive-llama/` is one.
//!
//! ```no_run
//! use std::process::ExitCode;
//! # use reference::Reference as Mine;
//!
//! fn main() -> ExitCode {
//!     harness::run(vec![Box::new(Mine)])
//! }
//! ```

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
mod init;
mod list;
mod man;
mod merge;
mod model;
mod output;
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

use anyhow::Result;
use clap::{CommandFactory, Parser};
use engine::Engine;

use crate::args::{Arguments, Command};
use crate::engines::Engines;
use crate::exit::Exit;
use crate::output::emit;

/// The whole of a `main`: does what the command line asks for, with `engines` beside those that are
/// built in, and returns the exit code.
///
/// Cells run in processes of their own, which are this same program under the hidden subcommand
/// `worker`; so call it first, before anything is printed or started.
///
/// ```no_run
/// use std::process::ExitCode;
///
/// // The command `harness` itself, with the engines that are built in.
/// fn main() -> ExitCode {
///     harness::run(Vec::new())
/// }
/// ```
#[must_use]
pub fn run(engines: Vec<Box<dyn Engine>>) -> ExitCode {
    let exit = Engines::with(engines).and_then(|engines| dispatch(&engines));
    let exit = exit.unwrap_or_else(|error| {
        // `{:#}` puts the causes behind the message, on one line.
        anstream::eprintln!("\x1b[1;31merror:\x1b[0m {error:#}");
        Exit::BadInput
    });
    exit.into()
}

fn dispatch(engines: &Engines) -> Result<Exit> {
    match Arguments::parse().command {
        Command::Run(arguments) => run::run(engines, &arguments),
        Command::Worker => run::worker::worker(engines),
        Command::Merge(arguments) => merge::merge(&arguments),
        Command::Compare(arguments) => compare::compare(&arguments),
        Command::Report(arguments) => report::report(&arguments),
        Command::History(arguments) => history::run(&arguments),
        Command::Golden(arguments) => golden::run(engines, &arguments),
        Command::Conformance(arguments) => run::conformance::check(engines, &arguments),
        Command::Model(arguments) => model::run(&arguments),
        Command::Engines(format) => list::engines(engines, format.format),
        Command::Suites(format) => list::suites(format.format),
        Command::Machine(format) => list::machine(format.format),
        Command::Init(arguments) => init::init(&arguments),
        Command::Man(arguments) => man::man(&arguments),
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Arguments::command(), "harness", &mut script);
            emit(script)?;
            Ok(Exit::Passed)
        }
    }
}
