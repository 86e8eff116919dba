//! What memory this process holds.

use serde::{Deserialize, Serialize};

use crate::{platform, platform_memory};

/// Memory of the calling process at one instant.
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
    pub fn sample() -> Self {
        platform::process_memory()
    }
}

/// Memory of the calling process by what backs it. Slower than [`ProcessMemory`], since the
/// page tables are walked (about 1 ms a GiB), and exact for the same reason.
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
    pub fn sample() -> Result<Self, Unavailable> {
        platform_memory::breakdown()
    }

    /// Anonymous memory wherever it is: what a leak makes grow, and what neither mapped files
    /// nor swapping disturb.
    #[must_use]
    pub fn committed_bytes(&self) -> u64 {
        self.anonymous_bytes + self.swapped_bytes
    }
}

/// How often this process had to wait for a page, since it began.
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
pub fn reset_peak_rss() -> Result<(), Unavailable> {
    platform_memory::reset_peak_rss()
}

/// Has the allocator give unused memory back to the system, so that what remains is in use.
///
/// # Errors
/// [`Unavailable`] where the allocator cannot.
pub fn trim_heap() -> Result<(), Unavailable> {
    platform_memory::trim_heap()
}

/// What the process `pid` would free if it ended: on Linux its anonymous, shared and swapped
/// memory, on macOS its `phys_footprint`. Clean pages of mapped files, such as weights, can be
/// dropped at any time and do not count. `None` when it is gone or another user's.
pub fn charged_bytes(pid: u32) -> Option<u64> {
    platform::charged_bytes(pid)
}
