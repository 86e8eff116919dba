//! A stopwatch with laps.

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
        }
    }

    /// Forgets all laps and begins the first one.
    pub fn start(&mut self) {
        self.laps_ns.clear();
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
