//! What memory this process holds.

use serde::{Deserialize, Serialize};

use crate::{platform, platform_memory};

/// Memory of the calling process at one instant.
///
/// ```
/// use harness_machine::ProcessMemory;
///
/// let memory = ProcessMemory::sample();
/// let mib = memory.rss_bytes.map(|bytes| bytes as f64 / f64::from(1 << 20));
/// assert!(mib.is_some_and(|mib| mib > 0.5), "{memory:?}");
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessMemory {
    /// Pages in physical memory, including those of mapped files such as weights.
    pub rss_bytes: Option<u64>,
    /// Largest `rss_bytes` in the life of the process. Linux notes it from counters that lag
    /// by some pages, so it may lie a few hundred KiB below an `rss_bytes` seen earlier.
    pub peak_rss_bytes: Option<u64>,
    /// On macOS, what the process is charged for, and what Activity Monitor shows: dirty,
    /// compressed and swapped pages and buffers shared with the GPU, but no clean pages of
    /// mapped files.
    pub phys_footprint_bytes: Option<u64>,
    /// On macOS, the largest `phys_footprint_bytes` in the life of the process.
    pub peak_phys_footprint_bytes: Option<u64>,
}

impl ProcessMemory {
    /// Reads the memory of this process.
    ///
    /// What loading a model takes, by the pages that became resident:
    ///
    /// ```
    /// use harness_machine::ProcessMemory;
    ///
    /// let before = ProcessMemory::sample().rss_bytes;
    /// let weights = vec![1_u8; 64 << 20];
    /// let after = ProcessMemory::sample().rss_bytes;
    /// let mib = after.zip(before).map(|(after, before)| (after - before) >> 20);
    /// assert!(mib.is_some_and(|mib| mib > 60), "{mib:?} of {}", weights.len() >> 20);
    /// ```
    pub fn sample() -> Self {
        platform::process_memory()
    }
}

/// Memory of the calling process by what backs it. Slower than [`ProcessMemory`], since the
/// page tables are walked (about 1 ms a GiB), and exact for the same reason.
///
/// ```
/// use harness_machine::MemoryBreakdown;
///
/// if let Ok(memory) = MemoryBreakdown::sample() {
///     assert!(memory.anonymous_bytes > 0, "a process has a stack");
///     assert!(memory.private_bytes.is_none_or(|private| private <= memory.rss_bytes));
/// }
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemoryBreakdown {
    /// Pages in physical memory.
    pub rss_bytes: u64,
    /// On Linux, the same with each shared page divided by the number of processes that map it.
    pub pss_bytes: Option<u64>,
    /// On Linux, pages that no other process maps.
    pub private_bytes: Option<u64>,
    /// Pages that no file backs: heap, stacks, anonymous maps. Nobody can take them away but
    /// by swapping or compressing them.
    pub anonymous_bytes: u64,
    /// Pages of mapped files and of shared memory.
    pub file_mapped_bytes: u64,
    /// On Linux, pages of anonymous memory that are huge.
    pub huge_page_bytes: Option<u64>,
    /// Anonymous memory that was moved out: swapped, on macOS compressed.
    pub swapped_bytes: u64,
}

impl MemoryBreakdown {
    /// Reads the memory of this process.
    ///
    /// # Errors
    /// [`Unavailable`] where the system does not tell.
    ///
    /// A leak is anonymous memory that grows:
    ///
    /// ```
    /// use harness_machine::MemoryBreakdown;
    ///
    /// let anonymous = || MemoryBreakdown::sample().map(|memory| memory.anonymous_bytes);
    /// let before = anonymous();
    /// std::mem::forget(vec![1_u8; 8 << 20]);
    /// let grown = anonymous().and_then(|after| before.map(|before| after - before));
    /// assert!(grown.is_ok_and(|bytes| bytes > 7 << 20));
    /// ```
    pub fn sample() -> Result<Self, Unavailable> {
        platform_memory::breakdown()
    }

    /// Anonymous memory wherever it is: what a leak makes grow, and what neither mapped files
    /// nor swapping disturb.
    ///
    /// ```
    /// use harness_machine::MemoryBreakdown;
    ///
    /// let before = MemoryBreakdown { anonymous_bytes: 300, swapped_bytes: 0, ..Default::default() };
    /// let after = MemoryBreakdown { anonymous_bytes: 100, swapped_bytes: 200, ..before };
    /// // It lost physical memory, and leaked none.
    /// assert_eq!(before.committed_bytes(), after.committed_bytes());
    /// ```
    #[must_use]
    pub fn committed_bytes(&self) -> u64 {
        self.anonymous_bytes + self.swapped_bytes
    }
}

/// How often this process had to wait for a page, since it began.
///
/// ```
/// use harness_machine::PageFaults;
///
/// let before = PageFaults::sample()?;
/// let touched = vec![1_u8; 8 << 20]; // New pages, each touched once.
/// let after = PageFaults::sample()?;
/// assert!(after.minor > before.minor, "{}", touched.len());
/// # Ok::<(), harness_machine::Unavailable>(())
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PageFaults {
    /// Faults that needed no disk: first touches, copies, pages of the file cache.
    pub minor: u64,
    /// Faults that read from disk or swap.
    pub major: u64,
}

impl PageFaults {
    /// Reads the counts of this process, all threads together.
    ///
    /// # Errors
    /// [`Unavailable`] where the system does not tell.
    pub fn sample() -> Result<Self, Unavailable> {
        let mut usage = std::mem::MaybeUninit::<libc::rusage>::zeroed();
        // SAFETY: `usage` has room for what is written, and all zeros are a valid `rusage`.
        let usage = unsafe {
            if libc::getrusage(libc::RUSAGE_SELF, usage.as_mut_ptr()) != 0 {
                return Err(Unavailable::last_os_error("getrusage"));
            }
            usage.assume_init()
        };
        let count = |faults| u64::try_from(faults).unwrap_or(0);
        Ok(Self {
            minor: count(usage.ru_minflt),
            major: count(usage.ru_majflt),
        })
    }
}

/// Why this machine cannot tell or do something.
///
/// ```
/// use harness_machine::page_out;
///
/// // Nothing is mapped at address 0, and macOS never does it.
/// let why = page_out(&[0..1]).map_err(|why| why.to_string());
/// assert!(why.is_err_and(|why| why.contains("MADV_PAGEOUT") || why.contains("macOS")));
/// ```
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Unavailable(pub(crate) String);

impl Unavailable {
    /// What `errno` says of the call just made.
    pub(crate) fn last_os_error(call: &str) -> Self {
        Self(format!("{call}: {}", std::io::Error::last_os_error()))
    }
}

/// Sets [`ProcessMemory::peak_rss_bytes`] back to what is resident now.
///
/// # Errors
/// [`Unavailable`] where the system does not permit it; macOS never does.
///
/// So that what a program took to start hides no later peak:
///
/// ```
/// use harness_machine::{ProcessMemory, reset_peak_rss};
///
/// drop(vec![1_u8; 64 << 20]);
/// let peak = || ProcessMemory::sample().peak_rss_bytes;
/// let before = peak();
/// if reset_peak_rss().is_ok() {
///     assert!(peak() < before);
/// }
/// ```
pub fn reset_peak_rss() -> Result<(), Unavailable> {
    platform_memory::reset_peak_rss()
}

/// Has the allocator give unused memory back to the system, so that what remains is in use.
///
/// # Errors
/// [`Unavailable`] where the allocator cannot.
///
/// ```
/// use harness_machine::{MemoryBreakdown, trim_heap};
///
/// let texts: Vec<String> = (0..100_000).map(|n| format!("text {n}")).collect();
/// let committed = || MemoryBreakdown::sample().map(|memory| memory.committed_bytes());
/// let before = committed();
/// drop(texts); // The allocator may keep it for later.
/// if let (Ok(()), Ok(before), Ok(after)) = (trim_heap(), before, committed()) {
///     assert!(after < before);
/// }
/// ```
pub fn trim_heap() -> Result<(), Unavailable> {
    platform_memory::trim_heap()
}

/// What the process `pid` would free if it ended: on Linux its anonymous, shared and swapped
/// memory, on macOS its `phys_footprint`. Clean pages of mapped files, such as weights, can be
/// dropped at any time and do not count. `None` when it is gone or another user's.
///
/// A supervisor looks after what its workers take:
///
/// ```
/// use harness_machine::charged_bytes;
///
/// assert!(charged_bytes(std::process::id()).is_some_and(|bytes| bytes > 0));
/// assert_eq!(charged_bytes(u32::MAX), None, "no such process");
/// ```
pub fn charged_bytes(pid: u32) -> Option<u64> {
    platform::charged_bytes(pid)
}
