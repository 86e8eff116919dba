//! `harness compare`: what changed from some runs to others.

use std::collections::HashSet;
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use reports::StoredRun;
use reports::compare::{self, Adjust, Comparison, Options, Outcome};
use reports::render::Style;

use crate::args::{AdjustArgument, CompareArguments, RunFormat};
use crate::exit::Exit;
use crate::verdict;

pub(crate) fn compare(arguments: &CompareArguments) -> Result<Exit> {
    ensure!(
        arguments.alpha > 0.0 && arguments.alpha < 1.0,
        "--alpha is a share between 0 and 1, not {}",
        arguments.alpha
    );
    if let Some(threshold) = arguments.threshold_pct {
        ensure!(
            threshold.is_finite() && threshold >= 0.0,
            "--threshold-pct is zero or more, not {threshold}"
        );
    }
    let options = Options {
        alpha: arguments.alpha,
        adjust: match arguments.adjust {
            AdjustArgument::Holm => Adjust::Holm,
            AdjustArgument::Bh => Adjust::Bh,
            AdjustArgument::None => Adjust::None,
        },
        threshold_pct: arguments.threshold_pct,
    };
    let base = runs(arguments.first.0.iter().chain(&arguments.base))?;
    let head = runs(arguments.second.0.iter().chain(&arguments.head))?;
    let comparison = compare::compare(&base, &head, options)?;
    print(&comparison, arguments)?;
    Ok(match comparison.count(Outcome::Regressed) {
        0 => Exit::Passed,
        _ => Exit::GateFailed,
    })
}

/// The records of one side.
fn runs<'a>(folders: impl Iterator<Item = &'a PathBuf>) -> Result<Vec<StoredRun>> {
    let mut seen = HashSet::new();
    folders
        .map(|folder| {
            let run = open(folder)?;
            let path = folder.canonicalize().unwrap_or_else(|_| folder.clone());
            let name = folder.display();
            ensure!(
                seen.insert(path),
                "{name} is given twice on one side; a run counts once"
            );
            Ok(run)
        })
        .collect()
}

/// A record whose figures say what they rest on: those of an older harness did not.
fn open(folder: &Path) -> Result<StoredRun> {
    let mut run = StoredRun::open(folder)?;
    for cell in &mut run.record.cells {
        let Some(suite) = suites::find(&cell.suite) else {
            continue;
        };
        for metric in &mut cell.metrics {
            if metric.basis.is_none() {
                metric.basis = suite.basis().map(verdict::recorded);
            }
        }
    }
    Ok(run)
}

fn print(comparison: &Comparison, arguments: &CompareArguments) -> Result<()> {
    let text = match arguments.format {
        RunFormat::Table => {
            let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
            let color = std::io::stdout().is_terminal() && !plain;
            compare::table(comparison, arguments.all, Style { color })
        }
        RunFormat::Json => serde_json::to_string_pretty(comparison)? + "\n",
        RunFormat::Csv => compare::csv(comparison)?,
        RunFormat::Junit => compare::junit(comparison)?,
        RunFormat::Markdown => compare::markdown(comparison),
    };
    std::io::stdout()
        .write_all(text.as_bytes())
        .context("cannot write to standard output")
}
