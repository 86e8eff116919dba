//! How busy other programs keep the machine.

use std::mem::MaybeUninit;
use std::thread;
use std::time::{Duration, Instant};

use sysinfo::{CpuRefreshKind, System};

/// Load of all programs but this one, between two looks.
///
/// ```
/// use std::thread;
/// use harness_machine::OtherLoad;
///
/// // A benchmark waits for quiet, and gives up some time.
/// if let Some(mut load) = OtherLoad::new() {
///     let mut looks = Vec::new();
///     while looks.len() < 2 && looks.last().is_none_or(|&cores| cores > 0.1) {
///         thread::sleep(OtherLoad::LEAST_INTERVAL);
///         looks.extend(load.busy_cores());
///     }
///     assert!(looks.iter().all(|&cores| cores >= 0.0));
/// }
/// ```
#[derive(Debug)]
pub struct OtherLoad {
    system: System,
    own: Duration,
    at: Instant,
}

impl OtherLoad {
    /// Ticks of the kernel's accounting are 10 ms: over less time than this they tell little.
    pub const LEAST_INTERVAL: Duration = Duration::from_millis(500);

    /// Share of all cores that other programs may keep busy without making timings suspect.
    pub const HARMLESS_SHARE: f64 = 0.1;

    /// Takes the first look; `None` where the system does not tell.
    pub fn new() -> Option<Self> {
        let mut system = System::new().ok()?;
        system.refresh_cpu_specifics(CpuRefreshKind::nothing().with_usage());
        Some(Self {
            system,
            own: own_cpu_time()?,
            at: Instant::now(),
        })
    }

    /// How many cores other programs kept busy since the last look, on average; `None` if that
    /// was less than [`LEAST_INTERVAL`](Self::LEAST_INTERVAL) ago, and the interval goes on.
    ///
    /// ```
    /// use harness_machine::{Machine, OtherLoad};
    ///
    /// if let (Some(mut load), Some(cores)) = (OtherLoad::new(), Machine::detect().logical_cores) {
    ///     std::thread::sleep(OtherLoad::LEAST_INTERVAL);
    ///     let busy = load.busy_cores();
    ///     assert!(busy.is_some_and(|busy| busy <= f64::from(cores)), "{busy:?} of {cores}");
    /// }
    /// ```
    pub fn busy_cores(&mut self) -> Option<f64> {
        let wall = self.at.elapsed();
        if wall < Self::LEAST_INTERVAL {
            return None;
        }
        self.system
            .refresh_cpu_specifics(CpuRefreshKind::nothing().with_usage());
        let own = own_cpu_time()?;
        let cores = self.system.cpus().len() as f64;
        let all = f64::from(self.system.global_cpu_usage()) / 100.0 * cores;
        let ours = own.saturating_sub(self.own).as_secs_f64() / wall.as_secs_f64();
        (self.own, self.at) = (own, Instant::now());
        Some((all - ours).max(0.0))
    }

    /// The same after as long as it takes, which is [`LEAST_INTERVAL`](Self::LEAST_INTERVAL) since the
    /// last look at most; `None` where the system does not tell.
    ///
    /// ```
    /// use harness_machine::OtherLoad;
    ///
    /// let load = OtherLoad::new();
    /// // … what has to be done first anyway …
    /// if let Some(cores) = load.and_then(OtherLoad::settle) {
    ///     println!("other programs keep {cores:.1} cores busy");
    /// }
    /// ```
    pub fn settle(mut self) -> Option<f64> {
        thread::sleep(Self::LEAST_INTERVAL.saturating_sub(self.at.elapsed()));
        self.busy_cores()
    }
}

/// Processor time of this process, in user and kernel mode, all threads together.
fn own_cpu_time() -> Option<Duration> {
    let mut time = MaybeUninit::<libc::timespec>::zeroed();
    // SAFETY: `time` has room for what is written, and all zeros are a valid `timespec`.
    let time = unsafe {
        if libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, time.as_mut_ptr()) != 0 {
            return None;
        }
        time.assume_init()
    };
    Some(Duration::new(
        u64::try_from(time.tv_sec).ok()?,
        u32::try_from(time.tv_nsec).ok()?,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_glance_tells_nothing() {
        let mut load = OtherLoad::new().unwrap();
        assert_eq!(load.busy_cores(), None);
    }

    #[test]
    fn who_waits_is_told() {
        let cores = std::thread::available_parallelism().unwrap().get() as f64;
        let others = OtherLoad::new().unwrap().settle().unwrap();
        assert!((0.0..=cores).contains(&others), "{others} of {cores}");
    }

    #[test]
    fn own_work_is_no_other_load() {
        let cores = std::thread::available_parallelism().unwrap().get() as f64;
        let mut load = OtherLoad::new().unwrap();
        let before = own_cpu_time().unwrap();
        let clock = Instant::now();
        while clock.elapsed() < 2 * OtherLoad::LEAST_INTERVAL {
            std::hint::black_box(0u64);
        }
        assert!(own_cpu_time().unwrap() > before);
        let others = load.busy_cores().unwrap();
        assert!((0.0..=cores).contains(&others), "{others} of {cores}");
    }
}
