//! `harness compare`: what changed from some runs to others.

use std::collections::HashSet;
use std::fs;
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, ensure};
use reports::StoredRun;
use reports::compare::{self, Adjust, Comparison, Options, Outcome};
use reports::render::Style;

use crate::args::{AdjustArgument, CompareArguments, RunFormat, RunList};
use crate::exit::Exit;
use crate::{turns, verdict};

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
    if !arguments.make.is_empty() {
        make(arguments)?;
    }
    let base = runs(arguments.first.0.iter().chain(&arguments.base))?;
    let head = runs(arguments.second.0.iter().chain(&arguments.head))?;
    let comparison = compare::compare(&base, &head, options)?;
    print(&comparison, arguments)?;
    Ok(match comparison.count(Outcome::Regressed) {
        0 => Exit::Passed,
        _ => Exit::GateFailed,
    })
}

/// Makes the runs.
fn make(arguments: &CompareArguments) -> Result<()> {
    let side = |list: &'_ RunList, name: &str| match list.0.as_slice() {
        [folder] => Ok(folder.clone()),
        _ => Err(anyhow!(
            "runs are made into one folder a side; {name} names several"
        )),
    };
    let (base, head) = (
        side(&arguments.first, "BASE")?,
        side(&arguments.second, "HEAD")?,
    );
    ensure!(base != head, "BASE and HEAD are one folder");
    let sides = [
        turns::Side {
            folder: &base,
            program: arguments.base_harness.as_ref(),
        },
        turns::Side {
            folder: &head,
            program: arguments.head_harness.as_ref(),
        },
    ];
    turns::make(sides, arguments.runs.into(), &arguments.make)
}

/// The records of one side.
fn runs<'a>(folders: impl Iterator<Item = &'a PathBuf>) -> Result<Vec<StoredRun>> {
    let mut seen = HashSet::new();
    let mut all = Vec::new();
    for folder in folders {
        for folder in records(folder)? {
            let run = open(&folder)?;
            let path = folder.canonicalize().unwrap_or_else(|_| folder.clone());
            let name = folder.display();
            ensure!(
                seen.insert(path),
                "{name} is given twice on one side; a run counts once"
            );
            all.push(run);
        }
    }
    Ok(all)
}

/// The folder itself, or, if it is no record but holds some, those.
fn records(folder: &Path) -> Result<Vec<PathBuf>> {
    let is_record = |folder: &Path| folder.join("run.json").is_file();
    if is_record(folder) || !folder.is_dir() {
        return Ok(vec![folder.into()]);
    }
    let shown = folder.display();
    let read = || format!("cannot read {shown}");
    let mut held = Vec::new();
    for entry in fs::read_dir(folder).with_context(read)? {
        let path = entry.with_context(read)?.path();
        if is_record(&path) {
            held.push(path);
        }
    }
    ensure!(!held.is_empty(), "{shown} is no run record and holds none");
    held.sort();
    Ok(held)
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
