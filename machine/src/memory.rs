//! What memory this process holds.

use serde::{Deserialize, Serialize};

use crate::platform;

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
