//! Memory while something happens.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use machine::{MemoryBreakdown, PageFaults, ProcessMemory};

/// How often memory is looked at. A look takes some 20 µs.
const PERIOD: Duration = Duration::from_millis(1);

/// What was seen.
#[derive(Debug)]
pub(super) struct Watched {
    /// Resident bytes by time, in microseconds from the start.
    pub(super) rss: Vec<(u64, u64)>,
    /// What was resident afterwards.
    after: Option<u64>,
    /// The kernel's own account of the peak, where it could be made to start anew.
    kernel_peak: Option<u64>,
    /// Page faults in the meantime, or why they are not known.
    pub(super) faults: Result<PageFaults, String>,
}

impl Watched {
    /// The most that was resident at once; `None` where the system does not tell.
    ///
    /// The kernel's account misses no peak, but it and the samples lag by some pages; what was
    /// resident afterwards is exact.
    pub(super) fn peak_bytes(&self) -> Option<u64> {
        let sampled = self.rss.iter().map(|&(_, bytes)| bytes).max();
        sampled.max(self.kernel_peak).max(self.after)
    }
}

/// Does `work` while another thread samples what is resident.
pub(super) fn watch<T>(work: impl FnOnce() -> T) -> (T, Watched) {
    let fresh = machine::reset_peak_rss().is_ok();
    let before = PageFaults::sample();
    let done = AtomicBool::new(false);
    let (result, rss) = thread::scope(|scope| {
        let sampler = scope.spawn(|| sample_until(&done));
        // Also when `work` panics, or the scope would wait for ever.
        let stop = Stop(&done);
        let result = work();
        drop(stop);
        (result, sampler.join().unwrap_or_default())
    });
    let faults = before
        .and_then(|before| {
            let after = PageFaults::sample()?;
            Ok(PageFaults {
                minor: after.minor - before.minor,
                major: after.major - before.major,
            })
        })
        .map_err(|why| why.to_string());
    let watched = Watched {
        rss,
        after: MemoryBreakdown::sample().ok().map(|kinds| kinds.rss_bytes),
        kernel_peak: ProcessMemory::sample().peak_rss_bytes.filter(|_| fresh),
        faults,
    };
    (result, watched)
}

struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn sample_until(done: &AtomicBool) -> Vec<(u64, u64)> {
    let clock = Instant::now();
    let mut samples = Vec::new();
    loop {
        // The last look is after the work.
        let last = done.load(Ordering::Relaxed);
        if let Some(bytes) = ProcessMemory::sample().rss_bytes {
            samples.push((clock.elapsed().as_micros() as u64, bytes));
        }
        if last {
            return samples;
        }
        thread::sleep(PERIOD);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_passing_peak_is_seen() {
        const BYTES: usize = 64 << 20;
        let before = ProcessMemory::sample().rss_bytes.unwrap();
        let ((), watched) = watch(|| {
            let block = std::hint::black_box(vec![1u8; BYTES]);
            thread::sleep(20 * PERIOD);
            drop(block);
        });
        // Other tests of this program may free memory at the same time.
        let peak = watched.peak_bytes().unwrap();
        assert!(peak > before + BYTES as u64 / 2, "{before} to {peak}");
        assert!(watched.faults.unwrap().minor > 0);
        assert!(watched.rss.len() > 2);
    }
}
