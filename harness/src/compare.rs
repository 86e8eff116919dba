//! `harness compare`: what changed from some runs to others.

use std::io::IsTerminal;

use anyhow::{Result, anyhow, ensure};
use reports::compare::{self, Adjust, Comparison, Options, Outcome};
use reports::render::Style;

use crate::args::{AdjustArgument, CompareArguments, RunFormat, RunList};
use crate::exit::Exit;
use crate::output::emit;
use crate::{sides, turns};

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
    let [base, head] = sides::of(arguments)?;
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
    emit(&text)
}
