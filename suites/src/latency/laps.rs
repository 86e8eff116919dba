//! A stopwatch with laps.

use std::time::Duration;

use super::clock::Clock;

/// Durations of consecutive steps, one reading of the clock each.
///
/// The end of a step is the start of the next, so that no time between two steps is
/// lost. Room for all laps is made beforehand: a lap allocates nothing.
///
/// ```
/// use harness_suites::latency::{Laps, MonotonicClock};
///
/// let clock = MonotonicClock::start();
/// let mut laps = Laps::new(&clock, 3);
/// laps.start();
/// for _ in 0..3 {
///     // What is measured.
///     laps.lap();
/// }
/// assert_eq!(laps.laps_ns().len(), 3);
/// let sum: u64 = laps.laps_ns().iter().sum();
/// assert_eq!(sum, laps.ended_ns() - laps.started_ns());
/// ```
pub struct Laps<'a> {
    clock: &'a dyn Clock,
    started_ns: u64,
    last_ns: u64,
    laps_ns: Vec<u64>,
    computed_ns: Vec<u64>,
}

impl<'a> Laps<'a> {
    /// A stopwatch for `room` laps; more would allocate.
    ///
    /// ```
    /// use harness_suites::latency::{Laps, MonotonicClock};
    ///
    /// let clock = MonotonicClock::start();
    /// let mut laps = Laps::new(&clock, 1);
    /// laps.start();
    /// laps.lap();
    /// laps.lap(); // Counts all the same.
    /// assert_eq!(laps.laps_ns().len(), 2);
    /// ```
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
    ///
    /// ```
    /// use harness_suites::latency::{Laps, MonotonicClock};
    ///
    /// let clock = MonotonicClock::start();
    /// let mut laps = Laps::new(&clock, 1);
    /// for _ in 0..2 {
    ///     laps.start();
    ///     laps.lap();
    /// }
    /// assert_eq!(laps.laps_ns().len(), 1);
    /// ```
    pub fn start(&mut self) {
        self.laps_ns.clear();
        self.computed_ns.clear();
        self.started_ns = self.clock.now_ns();
        self.last_ns = self.started_ns;
    }

    /// Ends a lap and begins the next.
    ///
    /// ```
    /// use harness_suites::latency::{Clock, Laps, MonotonicClock};
    ///
    /// let clock = MonotonicClock::start();
    /// let mut laps = Laps::new(&clock, 1);
    /// laps.start();
    /// clock.wait_until(laps.started_ns() + 100_000);
    /// laps.lap();
    /// assert!(laps.laps_ns()[0] >= 100_000);
    /// ```
    #[inline]
    pub fn lap(&mut self) {
        let now_ns = self.clock.now_ns();
        self.laps_ns.push(now_ns - self.last_ns);
        self.last_ns = now_ns;
    }

    /// Notes what an engine took in the last lap by its own clock, if it has one.
    #[inline]
    pub(super) fn computed(&mut self, by_engine: Option<Duration>) {
        if let Some(by_engine) = by_engine {
            self.computed_ns.push(by_engine.as_nanos() as u64);
        }
    }

    /// What the engine took by its own clock: one a lap, or none.
    #[must_use]
    pub(super) fn computed_ns(&self) -> &[u64] {
        match self.computed_ns.len() == self.laps_ns.len() {
            true => &self.computed_ns,
            false => &[],
        }
    }

    /// The laps since the start, in order.
    ///
    /// ```
    /// use harness_suites::latency::{Clock, Laps, MonotonicClock};
    ///
    /// let clock = MonotonicClock::start();
    /// let mut laps = Laps::new(&clock, 3);
    /// laps.start();
    /// for step in 1..=3 {
    ///     clock.wait_until(laps.started_ns() + step * 50_000);
    ///     laps.lap();
    /// }
    /// let [ttft_ns, second_ns, third_ns] = *laps.laps_ns() else { return Err("three laps") };
    /// assert!(ttft_ns >= 50_000);
    /// assert!(ttft_ns + second_ns + third_ns >= 150_000);
    /// # Ok::<(), &str>(())
    /// ```
    #[must_use]
    pub fn laps_ns(&self) -> &[u64] {
        &self.laps_ns
    }

    /// When the first lap began, by the clock.
    ///
    /// ```
    /// use harness_suites::latency::{Clock, Laps, MonotonicClock};
    ///
    /// let clock = MonotonicClock::start();
    /// let mut laps = Laps::new(&clock, 1);
    /// let due_ns = 100_000;
    /// clock.wait_until(due_ns);
    /// laps.start();
    /// // How long the request waited for its turn.
    /// assert!(laps.started_ns().checked_sub(due_ns).is_some());
    /// ```
    #[must_use]
    pub fn started_ns(&self) -> u64 {
        self.started_ns
    }

    /// When the last lap ended, by the clock.
    ///
    /// ```
    /// use harness_suites::latency::{Laps, MonotonicClock};
    ///
    /// let clock = MonotonicClock::start();
    /// let mut laps = Laps::new(&clock, 1);
    /// laps.start();
    /// assert_eq!(laps.ended_ns(), laps.started_ns()); // There is no lap yet.
    /// laps.lap();
    /// assert_eq!(laps.ended_ns(), laps.started_ns() + laps.laps_ns()[0]);
    /// ```
    #[must_use]
    pub fn ended_ns(&self) -> u64 {
        self.last_ns
    }
}
