//! Which bytes of this process are in physical memory.

use std::ops::Range;

use serde::{Deserialize, Serialize};
use sysinfo::{MemoryRefreshKind, System};

use crate::memory::Unavailable;
use crate::{Machine, platform_memory};

/// Where the bytes of some address ranges are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Residency {
    /// Bytes on pages in physical memory. Of a page that a range covers in part, that part.
    pub resident_bytes: u64,
    /// Bytes on pages that were swapped out or, on macOS, compressed.
    pub swapped_bytes: u64,
}

/// What became of a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Page {
    /// Never touched, or given back.
    Absent,
    /// In physical memory.
    Resident,
    /// Moved out of it, content kept.
    Swapped,
}

impl Residency {
    /// Looks up where the bytes of `ranges`, addresses of this process, are.
    ///
    /// On Linux by the kernel's page map: a page counts as resident if it is present and this
    /// process alone maps it, or if it is a file's. So the kernel's page of zeros, which stands
    /// in for memory that was read but never written, does not count, and neither do pages
    /// shared with a forked child.
    ///
    /// # Errors
    /// [`Unavailable`] where the system does not tell.
    pub fn of(ranges: &[Range<usize>]) -> Result<Self, Unavailable> {
        let page_bytes = page_bytes()?;
        let mut residency = Self::default();
        for range in ranges.iter().filter(|range| !range.is_empty()) {
            let first = range.start / page_bytes;
            let pages = range.end.div_ceil(page_bytes) - first;
            platform_memory::pages(first, pages, page_bytes, |index, page| {
                let start = (first + index) * page_bytes;
                let end = (start + page_bytes).min(range.end);
                let bytes = (end - start.max(range.start)) as u64;
                match page {
                    Page::Absent => {}
                    Page::Resident => residency.resident_bytes += bytes,
                    Page::Swapped => residency.swapped_bytes += bytes,
                }
            })?;
        }
        Ok(residency)
    }
}

pub(crate) fn page_bytes() -> Result<usize, Unavailable> {
    Machine::page_bytes()
        .and_then(|bytes| usize::try_from(bytes).ok())
        .ok_or_else(|| Unavailable("the system does not tell the size of a page".into()))
}

/// In how large pieces the memory at `ranges` can become resident: a page, or a huge page
/// where the kernel may use one (on Linux, transparent huge pages).
///
/// # Errors
/// [`Unavailable`] where the system does not tell.
pub fn page_granule_bytes(ranges: &[Range<usize>]) -> Result<u64, Unavailable> {
    platform_memory::granule(ranges)
}

/// Asks the kernel to move these bytes out of physical memory now, as it does when memory is
/// short: pages of files back to the file, others to swap. Contents are kept. What was done
/// shows in [`Residency::of`]; without swap anonymous memory stays where it is.
///
/// # Errors
/// [`Unavailable`] where the kernel does not know or permit the request.
pub fn page_out(ranges: &[Range<usize>]) -> Result<(), Unavailable> {
    let page_bytes = page_bytes()?;
    for range in ranges.iter().filter(|range| !range.is_empty()) {
        let start = range.start / page_bytes * page_bytes;
        platform_memory::page_out(start, range.end - start)?;
    }
    Ok(())
}

/// Room for memory that is moved out of physical memory; `None` where the system does not tell.
#[must_use]
pub fn swap_bytes() -> Option<u64> {
    let mut system = System::new().ok()?;
    system.refresh_memory_specifics(MemoryRefreshKind::nothing().with_swap());
    Some(system.total_swap())
}

/// Where files are mapped for reading only into this process: programs and libraries, and
/// weights of engines that map them.
///
/// # Errors
/// [`Unavailable`] where the system does not tell.
pub fn mapped_files() -> Result<Vec<Range<usize>>, Unavailable> {
    platform_memory::mapped_files()
}
