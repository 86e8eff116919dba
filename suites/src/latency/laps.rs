//! A stopwatch with laps.

use std::time::Duration;

use super::clock::Clock;

/// Durations of consecutive steps, one reading of the clock each.
///
/// The end of a step is the start of the next, so that no time between two steps is
/// lost. Room for all laps is made beforehand: a lap allocates nothing.
pub struct Laps<'a> {
    clock: &'a dyn Clock,
    started_ns: u64,
    last_ns: u64,
    laps_ns: Vec<u64>,
    computed_ns: Vec<u64>,
}

impl<'a> Laps<'a> {
    /// A stopwatch for `room` laps; more would allocate.
    #[must_use]
    pub fn new(clock: &'a dyn Clock, room: usize) -> Self {
        Self {
            clock,
            started_ns: 0,
            last_ns: 0,
            laps_ns: Vec::with_capacity(room),
            computed_ns: Vec::with_capacity(room),
        }
    }

    /// Forgets all laps and begins the first one.
    pub fn start(&mut self) {
        self.laps_ns.clear();
        self.computed_ns.clear();
        self.started_ns = self.clock.now_ns();
        self.last_ns = self.started_ns;
    }

    /// Ends a lap and begins the next.
    #[inline]
    pub fn lap(&mut self) {
        let now_ns = self.clock.now_ns();
        self.laps_ns.push(now_ns - self.last_ns);
        self.last_ns = now_ns;
    }

    /// Notes what an engine took in the last lap by its own clock, if it has one.
    #[inline]
    pub fn computed(&mut self, by_engine: Option<Duration>) {
        if let Some(by_engine) = by_engine {
            self.computed_ns.push(by_engine.as_nanos() as u64);
        }
    }

    /// What the engine took by its own clock: one a lap, or none.
    #[must_use]
    pub fn computed_ns(&self) -> &[u64] {
        match self.computed_ns.len() == self.laps_ns.len() {
            true => &self.computed_ns,
            false => &[],
        }
    }

    /// The laps since the start, in order.
    #[must_use]
    pub fn laps_ns(&self) -> &[u64] {
        &self.laps_ns
    }

    /// When the first lap began, by the clock.
    #[must_use]
    pub fn started_ns(&self) -> u64 {
        self.started_ns
    }

    /// When the last lap ended, by the clock.
    #[must_use]
    pub fn ended_ns(&self) -> u64 {
        self.last_ns
    }
}
