//! Gates against history: what a run is held against, and what is said of it.

use anyhow::{Context, Result, bail, ensure};
use reports::RunRecord;
use reports::gate::{Held, PastGate, hold};
use reports::history::{DEFAULT_URL, History, HistoryError};
use toml::{Table, Value};

/// A history that a run is to be held against.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct AgainstHistory {
    /// Where it is; by the environment if nobody says.
    pub(crate) url: Option<String>,
    pub(crate) gate: PastGate,
}

impl AgainstHistory {
    /// Reads the table `[history]` of a configuration.
    pub(crate) fn read(table: Table) -> Result<Self> {
        let mut read = Self::default();
        for (key, value) in table {
            let number = match &value {
                Value::Float(number) => Some(*number),
                Value::Integer(number) => Some(*number as f64),
                _ => None,
            };
            match (key.as_str(), value, number) {
                ("url", Value::String(url), _) => read.url = Some(url),
                ("branch", Value::String(branch), _) => read.gate.branch = Some(branch),
                ("alpha", _, Some(alpha)) => {
                    ensure!(
                        alpha > 0.0 && alpha < 1.0,
                        "history.alpha is a share between 0 and 1, not {alpha}"
                    );
                    read.gate.alpha = alpha;
                }
                ("threshold_pct", _, Some(percent)) => {
                    ensure!(
                        percent.is_finite() && percent >= 0.0,
                        "history.threshold_pct is zero or more, not {percent}"
                    );
                    read.gate.threshold_pct = Some(percent);
                }
                ("url" | "branch", ..) => bail!("`history.{key}` must be a string"),
                ("alpha" | "threshold_pct", ..) => {
                    bail!("`history.{key}` must be a number")
                }
                _ => bail!("`history.{key}` is none of url, branch, alpha and threshold_pct"),
            }
        }
        Ok(read)
    }

    /// The history, unless there is none yet: a first run has no past.
    pub(crate) fn open(&self) -> Result<Option<History>> {
        let named = std::env::var("HARNESS_HISTORY").ok();
        let url = self.url.as_deref().or(named.as_deref());
        match History::open(url.unwrap_or(DEFAULT_URL)) {
            Err(HistoryError::Missing(_)) => Ok(None),
            opened => Ok(Some(opened?)),
        }
    }

    /// Holds a run against its past, and says on standard error what came of it.
    pub(crate) fn hold(&self, record: &mut RunRecord) -> Result<()> {
        let held = match self.open()? {
            Some(mut history) => hold(&mut history, record, &self.gate)
                .context("cannot hold the run against its history")?,
            None => {
                anstream::eprintln!(
                    "history: there is none yet; `harness history add RUN` starts one"
                );
                return Ok(());
            }
        };
        say(&held);
        Ok(())
    }
}

fn say(held: &Held) {
    let plural = |count: usize| if count == 1 { "" } else { "s" };
    anstream::eprintln!(
        "history: {} run{} before this one; {} figure{} held against theirs, {} worse",
        held.runs,
        plural(held.runs),
        held.held,
        plural(held.held),
        held.failed
    );
    for (why, count) in &held.left_out {
        anstream::eprintln!("history: {count} figure{} not held: {why}", plural(*count));
    }
}
