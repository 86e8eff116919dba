//! Which runs before began on a machine about as busy as it was for the new one.
//!
//! What varies depends on what else the machine does, and a promise for runs of all loads together
//! promises nothing for the few at one of them. So the runs that a run is held against are those at
//! about its load, chosen by that and nothing else. Where they are too few nobody knows what such a
//! load does to the engine: the run is held against all, and does not fail. Nor will busier runs do
//! for quieter ones: two sessions at once were seen to take turns faster when others were busy.

use serde_json::Value;

use crate::MachineRecord;

/// Loads that differ by no more threads a core, or busy cores of all, are about equal.
const ABOUT: f64 = 0.5;

/// How busy the machine was before a run.
#[derive(Clone, Copy)]
struct Load {
    /// Threads, in the last minute: it remembers what has just ended, and the run before.
    average: f64,
    /// Cores kept busy by other programs at that moment: what has just begun.
    others: Option<f64>,
}

impl Load {
    fn of(state: &Value) -> Option<Self> {
        Some(Self {
            average: state["load_average_1min"].as_f64()?,
            others: state["other_busy_cores"].as_f64(),
        })
    }

    fn is_about(self, other: Self, about: f64) -> bool {
        let near = |a: f64, b: f64| (a - b).abs() <= about;
        let others = self.others.zip(other.others);
        near(self.average, other.average) && others.is_none_or(|(a, b)| near(a, b))
    }
}

/// The runs that a run is held against.
pub(super) enum Alike {
    All,
    Chosen {
        /// In words, to stand behind their number.
        which: String,
        /// By the place of the run.
        members: Vec<bool>,
    },
    /// All, for too few are like it: why the run does not fail.
    TooFew(String),
}

impl Alike {
    /// Chooses among runs that began in these `states`, so that at least `needed` values of a figure
    /// are left; `pasts` has them for each figure, by the place of the run.
    pub(super) fn choose<'a>(
        machine: &MachineRecord,
        states: impl Iterator<Item = Option<&'a Value>>,
        pasts: &[Vec<(usize, f64)>],
        needed: usize,
    ) -> Self {
        let loads: Vec<Option<Load>> = states.map(|state| state.and_then(Load::of)).collect();
        let now = match Load::of(&machine.state_at_start) {
            Some(now) if loads.iter().any(Option::is_some) => now,
            _ => return Alike::All,
        };
        let about = ABOUT * machine.identity["logical_cores"].as_f64().unwrap_or(1.0);
        let members: Vec<bool> = (loads.iter())
            .map(|load| load.is_some_and(|load| load.is_about(now, about)))
            .collect();
        let left = |past: &Vec<(usize, f64)>| past.iter().filter(|(run, _)| members[*run]).count();
        let count = pasts.iter().map(left).max().unwrap_or_default();
        if count < needed {
            let others = match now.others {
                Some(cores) => format!(" and of the {cores:.1} cores that others kept busy"),
                None => String::new(),
            };
            return Alike::TooFew(format!(
                "worse, but at another load: {count} runs before began within {about:.1} of its load \
                 average of {:.1}{others}, and {needed} are needed; run it again",
                now.average
            ));
        }
        match members.iter().all(|member| *member) {
            true => Alike::All,
            false => {
                let around =
                    |load: f64| format!("{:.1} to {:.1}", (load - about).max(0.0), load + about);
                let others = match now.others {
                    Some(cores) => format!(", others {}", around(cores)),
                    None => String::new(),
                };
                let which = format!(" at load {}{others}", around(now.average));
                Alike::Chosen { which, members }
            }
        }
    }

    /// Those of `values`, which go by the place of the run, that are held against.
    pub(super) fn of(&self, values: &[(usize, f64)]) -> Vec<(usize, f64)> {
        let alike = |(run, _): &&(usize, f64)| match self {
            Alike::Chosen { members, .. } => members[*run],
            Alike::All | Alike::TooFew(_) => true,
        };
        values.iter().filter(alike).copied().collect()
    }

    /// What the runs have in common, to stand behind their number; empty if nothing.
    pub(super) fn which(&self) -> &str {
        match self {
            Alike::Chosen { which, .. } => which,
            Alike::All | Alike::TooFew(_) => "",
        }
    }
}
