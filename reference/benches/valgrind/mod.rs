//! What benchmarks that count instructions share; those of other packages include this file.

use std::io::ErrorKind;
use std::process::Command;

/// Runs `main`, which `gungraun::main!` has made, or says what this machine lacks for it.
pub(crate) fn run(main: fn()) {
    // Under Valgrind, where the runner calls us back, nothing is missing.
    let called_back = std::env::args().any(|argument| argument == "--gungraun-run");
    match missing().filter(|_| !called_back) {
        Some("valgrind") => eprintln!("no instructions counted: valgrind is not installed"),
        Some(_) => eprintln!(
            "no instructions counted: gungraun-runner is not installed; get it with\n    \
             cargo install gungraun-runner --version 0.20.0"
        ),
        None => main(),
    }
}

/// The first program that these benchmarks need and the machine lacks.
fn missing() -> Option<&'static str> {
    let runner = option_env!("GUNGRAUN_RUNNER").unwrap_or("gungraun-runner");
    let absent = |program: &str| {
        let run = Command::new(program).arg("--version").output();
        run.is_err_and(|error| error.kind() == ErrorKind::NotFound)
    };
    let programs = [(runner, "gungraun-runner"), ("valgrind", "valgrind")];
    programs
        .into_iter()
        .find(|(program, _)| absent(program))
        .map(|(_, name)| name)
}
