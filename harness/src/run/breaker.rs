//! A circuit breaker per engine: one that fails cell after cell shall not burn
//! hours.

use std::collections::VecDeque;

/// The share of cells that an engine is expected to get through.
const RELIABILITY: f64 = 0.95;

/// It opens when a reliable engine would fail as often with no more than this
/// chance.
const SIGNIFICANCE: f64 = 0.05;

/// Cells that it takes to judge an engine: one failure may be one suite's.
const MINIMUM: usize = 2;

/// Cells that are looked back on.
const WINDOW: usize = 20;

/// Cells that are left out before an engine is tried again.
const REST: usize = 2;

/// How a cell went, as far as the breaker cares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trial {
    /// The engine got through.
    Success,
    /// It failed.
    Failure,
    /// It took more time than it was given, which no engine may do twice.
    Breach,
}

/// Counts cells, not seconds, so that a run that is taken up again goes on as it
/// would have gone.
#[derive(Debug, Default)]
pub(crate) struct Breaker {
    /// The latest trials; whether each was a success.
    recent: VecDeque<bool>,
    state: State,
}

#[derive(Debug, Default)]
enum State {
    /// The engine runs.
    #[default]
    Closed,
    /// It does not, for so many cells more.
    Open { rest: usize, why: String },
    /// The next trial decides.
    HalfOpen,
}

impl Breaker {
    /// Why the engine must not run the next cell, if it must not. To be asked once
    /// a cell.
    pub(crate) fn refusal(&mut self) -> Option<String> {
        match &mut self.state {
            State::Closed | State::HalfOpen => None,
            State::Open { rest: 0, .. } => {
                self.state = State::HalfOpen;
                None
            }
            State::Open { rest, why } => {
                *rest -= 1;
                Some(format!("the circuit breaker is open: {why}"))
            }
        }
    }

    /// Takes in how a cell went that was not refused.
    pub(crate) fn note(&mut self, trial: Trial) {
        if self.recent.len() == WINDOW {
            self.recent.pop_front();
        }
        self.recent.push_back(trial == Trial::Success);
        let failures = self.recent.iter().filter(|success| !**success).count();
        let cells = self.recent.len();
        let unreliable = cells >= MINIMUM && chance(cells, failures) <= SIGNIFICANCE;
        let why = match (trial, &self.state) {
            (Trial::Success, State::HalfOpen) => {
                *self = Self::default();
                return;
            }
            (Trial::Breach, _) => "the engine overran its time".into(),
            (Trial::Failure, State::HalfOpen) => "the engine failed again when it was tried".into(),
            (Trial::Failure, _) if unreliable => {
                format!("the engine failed in {failures} of its last {cells} cells")
            }
            _ => return,
        };
        self.state = State::Open { rest: REST, why };
    }
}

/// The chance that an engine of that reliability fails in at least `failures` of
/// `cells`: the upper tail of a binomial distribution.
fn chance(cells: usize, failures: usize) -> f64 {
    let odds = (1.0 - RELIABILITY) / RELIABILITY;
    let mut term = RELIABILITY.powi(cells as i32);
    let mut below = 0.0;
    for k in 0..failures {
        below += term;
        term *= odds * (cells - k) as f64 / (k + 1) as f64;
    }
    1.0 - below
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn chances_are_binomial() {
        // scipy.stats.binom.sf(k - 1, n, 0.05)
        for (cells, failures, expected) in [
            (1, 1, 0.05),
            (2, 2, 0.0025),
            (7, 2, 0.044_380_542_187_499_976),
            (8, 2, 0.057_244_650_273_437_49),
            (20, 3, 0.075_483_673_788_496_26),
            (20, 4, 0.015_901_526_019_763_548),
            (5, 0, 1.0),
        ] {
            let found = chance(cells, failures);
            assert!(
                (found - expected).abs() < 1e-12,
                "{cells} {failures}: {found}"
            );
        }
    }

    fn after(trials: &[Trial]) -> Breaker {
        let mut breaker = Breaker::default();
        for &trial in trials {
            assert_eq!(breaker.refusal(), None);
            breaker.note(trial);
        }
        breaker
    }

    use Trial::{Breach, Failure, Success};

    #[test]
    fn one_failure_is_borne_and_two_are_not() {
        assert_eq!(after(&[Failure]).refusal(), None);
        assert_eq!(after(&[Success, Success, Failure]).refusal(), None);
        let why = after(&[Failure, Failure]).refusal().unwrap();
        assert!(why.contains("2 of its last 2"), "{why}");
    }

    #[test]
    fn overrunning_opens_it_at_once() {
        assert!(after(&[Breach]).refusal().is_some());
    }

    #[test]
    fn after_a_rest_it_is_tried_again() {
        let mut breaker = after(&[Failure, Failure]);
        for _ in 0..REST {
            assert!(breaker.refusal().is_some());
        }
        assert_eq!(breaker.refusal(), None);
        breaker.note(Failure);
        for _ in 0..REST {
            assert!(breaker.refusal().unwrap().contains("tried"));
        }
        assert_eq!(breaker.refusal(), None);
        breaker.note(Success);
        // The past is forgotten: one more failure is the first.
        assert_eq!(breaker.refusal(), None);
        breaker.note(Failure);
        assert_eq!(breaker.refusal(), None);
    }

    fn trials() -> impl Strategy<Value = Vec<Trial>> {
        let trial = prop_oneof![4 => Just(Success), 1 => Just(Failure), 1 => Just(Breach)];
        proptest::collection::vec(trial, 0..200)
    }

    proptest! {
        #[test]
        fn no_engine_is_left_out_for_good(trials in trials()) {
            let mut breaker = Breaker::default();
            let mut refused = 0;
            for trial in trials {
                if breaker.refusal().is_some() {
                    refused += 1;
                    prop_assert!(refused <= REST);
                } else {
                    refused = 0;
                    breaker.note(trial);
                }
            }
        }

        #[test]
        fn only_failures_open_it(trials in trials()) {
            let mut breaker = Breaker::default();
            let mut last = Success;
            for trial in trials {
                match breaker.refusal() {
                    Some(_) => prop_assert_ne!(last, Success),
                    None => {
                        breaker.note(trial);
                        last = trial;
                    }
                }
            }
        }

        #[test]
        fn a_reliable_engine_runs_every_cell(cells in 0..500usize, every in 11..100usize) {
            // Fails no more than one cell in eleven: at most two of twenty, which a
            // reliable engine does with a chance of 0.26.
            let mut breaker = Breaker::default();
            for cell in 1..=cells {
                prop_assert_eq!(breaker.refusal(), None);
                breaker.note(if cell % every == 0 { Failure } else { Success });
            }
        }
    }
}
