//! What time it is, and waiting for it.

use std::hint::spin_loop;
use std::thread;
use std::time::{Duration, Instant};

/// Monotonic time in nanoseconds from an origin of the clock's own.
///
/// One that a test moves:
///
/// ```
/// use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
///
/// use harness_suites::latency::{Clock, Laps};
///
/// struct Hands(AtomicU64);
///
/// impl Clock for Hands {
///     fn now_ns(&self) -> u64 {
///         self.0.load(Relaxed)
///     }
///     fn wait_until(&self, then_ns: u64) {
///         self.0.fetch_max(then_ns, Relaxed);
///     }
/// }
///
/// let clock = Hands(AtomicU64::new(0));
/// let mut laps = Laps::new(&clock, 1);
/// laps.start();
/// clock.wait_until(250);
/// laps.lap();
/// assert_eq!(laps.laps_ns(), [250]);
/// ```
pub trait Clock: Sync {
    /// Now.
    ///
    /// ```
    /// use harness_suites::latency::{Clock, MonotonicClock};
    ///
    /// let clock = MonotonicClock::start();
    /// let before_ns = clock.now_ns();
    /// // … what is timed …
    /// let took_ns = clock.now_ns().checked_sub(before_ns);
    /// assert!(took_ns.is_some()); // It never goes back.
    /// ```
    fn now_ns(&self) -> u64;

    /// Returns at `then_ns`, or at once if that is past.
    ///
    /// ```
    /// use harness_suites::latency::{Clock, MonotonicClock};
    ///
    /// let clock = MonotonicClock::start();
    /// // A request every millisecond, whatever the one before it took.
    /// for request in 1..=3 {
    ///     let due_ns = request * 1_000_000;
    ///     clock.wait_until(due_ns);
    ///     assert!(clock.now_ns() >= due_ns);
    /// }
    /// ```
    fn wait_until(&self, then_ns: u64);
}

/// The system's monotonic clock, read without a system call: `CLOCK_MONOTONIC` on
/// Linux, `CLOCK_UPTIME_RAW` on macOS.
///
/// Linux's is held to the second of the network time by at most 500 parts in a
/// million, and never stepped; it is preferred to `CLOCK_MONOTONIC_RAW`, which some
/// kernels and virtual machines answer by a system call only.
///
/// ```
/// use harness_suites::latency::{Clock, MonotonicClock};
///
/// let clock = MonotonicClock::start();
/// // A copy has the same origin, so that times of several threads can be compared.
/// let copy = clock;
/// let times_ns = [clock.now_ns(), copy.now_ns(), clock.now_ns()];
/// assert!(times_ns.is_sorted());
/// ```
#[derive(Clone, Copy, Debug)]
pub struct MonotonicClock(Instant);

impl MonotonicClock {
    /// A clock that stands at zero now.
    ///
    /// ```
    /// use harness_suites::latency::{Clock, MonotonicClock};
    ///
    /// let clock = MonotonicClock::start();
    /// clock.wait_until(1_000_000);
    /// assert!(clock.now_ns() >= 1_000_000);
    /// ```
    #[must_use]
    pub fn start() -> Self {
        Self(Instant::now())
    }
}

/// How long before the time a waiting thread stops sleeping and looks at the clock
/// instead: longer than a timer of an idle system is late.
const SPIN_NS: u64 = 200_000;

impl Clock for MonotonicClock {
    #[inline]
    fn now_ns(&self) -> u64 {
        // Enough for 584 years.
        self.0.elapsed().as_nanos() as u64
    }

    fn wait_until(&self, then_ns: u64) {
        loop {
            let left_ns = then_ns.saturating_sub(self.now_ns());
            match left_ns {
                0 => return,
                _ if left_ns > SPIN_NS => {
                    thread::sleep(Duration::from_nanos(left_ns - SPIN_NS));
                }
                _ => spin_loop(),
            }
        }
    }
}
