//! What a run tells while it lasts, on standard error.

use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

/// How much a run tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Talk {
    /// Nothing but what went wrong.
    Quiet,
    /// A bar a cell, where somebody watches.
    Bars,
    /// And a line for each cell that has ended, for logs.
    Lines,
}

/// Where in its plan a run is.
pub(super) struct Progress {
    talk: Talk,
    cells: usize,
    /// Which of them it is, from 1.
    cell: usize,
}

impl Progress {
    pub(super) fn new(talk: Talk, cells: usize) -> Self {
        let cell = 0;
        Self { talk, cells, cell }
    }

    /// Goes on to the next cell.
    pub(super) fn advance(&mut self) {
        self.cell += 1;
    }

    /// A bar for a worker that runs `cell`.
    pub(super) fn bar(&self, cell: &str) -> ProgressBar {
        match self.talk {
            Talk::Quiet => ProgressBar::hidden(),
            Talk::Bars | Talk::Lines => bar(&format!("[{}/{}] {cell}", self.cell, self.cells)),
        }
    }

    /// `cell`, which began at `clock`, has ended as `how` says.
    pub(super) fn ended(&self, cell: &str, clock: Instant, how: &str) {
        if self.talk == Talk::Lines {
            let (number, of, seconds) = (self.cell, self.cells, clock.elapsed().as_secs_f64());
            anstream::eprintln!("[{number}/{of}] {cell}: {how} after {seconds:.1} s");
        }
    }
}

/// A bar on standard error, with the time that is left; indicatif shows none when that is no terminal.
pub(crate) fn bar(what: &str) -> ProgressBar {
    let style = ProgressStyle::with_template("{msg} [{bar:24}] {pos}/{len} {eta} left")
        .unwrap_or_else(|_| ProgressStyle::default_bar());
    let bar = ProgressBar::no_length()
        .with_style(style)
        .with_message(what.to_owned());
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}
