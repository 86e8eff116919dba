//! One cycle: open, prefill, decode, close.

use std::time::Instant;

use engine::{EngineError, Model};
use machine::MemoryBreakdown;

use super::Plan;
use super::conditions::Conditions;
use crate::reading::last_row;

/// What a cycle took. Plain numbers, so that a vector of them never grows by itself; NaN is
/// what could not be had.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cycle {
    /// To open the model, if it was.
    pub(super) open_ns: f64,
    /// To open a session.
    pub(super) session_ns: f64,
    /// To read the prompt.
    pub(super) prefill_ns: f64,
    /// To decode a token, on average.
    pub(super) decode_ns: f64,
    /// Anonymous memory of the process once the session is closed.
    pub(super) committed_bytes: f64,
    /// The machine meanwhile.
    pub(super) conditions: Conditions,
}

impl Cycle {
    /// No zeros: their pages would not be touched.
    pub(super) const TOUCHED: Self = Self {
        open_ns: f64::NAN,
        session_ns: f64::NAN,
        prefill_ns: f64::NAN,
        decode_ns: f64::NAN,
        committed_bytes: f64::NAN,
        conditions: Conditions::UNKNOWN,
    };

    pub(super) fn run(
        model: &dyn Model,
        plan: &Plan,
        open_ns: Option<f64>,
    ) -> Result<Self, EngineError> {
        let vocab = model.config().vocab;
        let (prompt, rest) = plan.tokens.split_at(plan.prompt);
        let clock = Instant::now();
        let mut session = model.session()?;
        let session_ns = clock.elapsed().as_nanos() as f64;
        let clock = Instant::now();
        last_row(&mut *session, prompt, vocab)?;
        let prefill_ns = clock.elapsed().as_nanos() as f64;
        let clock = Instant::now();
        for token in rest {
            last_row(&mut *session, std::slice::from_ref(token), vocab)?;
        }
        let decode_ns = clock.elapsed().as_nanos() as f64 / rest.len() as f64;
        drop(session);
        let memory = match model.in_this_process() {
            true => MemoryBreakdown::sample().ok(),
            false => None,
        };
        Ok(Self {
            open_ns: open_ns.unwrap_or(f64::NAN),
            session_ns,
            prefill_ns,
            decode_ns,
            committed_bytes: memory.map_or(f64::NAN, |memory| memory.committed_bytes() as f64),
            conditions: Conditions::UNKNOWN,
        })
    }

    /// Metric, unit and value of all that is known.
    pub(super) fn samples(&self) -> impl Iterator<Item = (&'static str, &'static str, f64)> {
        let own = [
            ("open_ns", "ns", self.open_ns),
            ("session_ns", "ns", self.session_ns),
            ("prefill_ns", "ns", self.prefill_ns),
            ("decode_ns", "ns", self.decode_ns),
            ("committed_bytes", "B", self.committed_bytes),
        ];
        let all = own.into_iter().chain(self.conditions.samples());
        all.filter(|(_, _, value)| !value.is_nan())
    }
}
