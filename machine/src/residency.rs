//! Which bytes of this process are in physical memory.

use std::ops::Range;

use serde::{Deserialize, Serialize};
use sysinfo::{MemoryRefreshKind, System};

use crate::memory::Unavailable;
use crate::{Machine, platform_memory};

/// Where the bytes of some address ranges are.
///
/// Of a cache that was reserved, only what was written is in memory:
///
/// ```
/// use harness_machine::Residency;
///
/// let mut cache: Vec<u8> = Vec::with_capacity(64 << 20);
/// let reserved = cache.as_ptr() as usize..cache.as_ptr() as usize + cache.capacity();
/// cache.resize(1 << 20, 1);
/// if let Ok(residency) = Residency::of(&[reserved]) {
///     assert!(residency.resident_bytes + residency.swapped_bytes >= 1 << 20);
///     assert!(residency.resident_bytes < 64 << 20);
/// }
/// ```
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
    ///
    /// ```
    /// use harness_machine::Residency;
    ///
    /// let weights = vec![1_f32; 1 << 18];
    /// let bytes = weights.as_ptr_range();
    /// let written = Residency::of(&[bytes.start as usize..bytes.end as usize]);
    /// // 1 MiB, unless some of it was swapped out meanwhile.
    /// assert!(written.is_ok_and(|found| found.resident_bytes + found.swapped_bytes == 1 << 20));
    /// ```
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
///
/// ```
/// use harness_machine::{Machine, page_granule_bytes};
///
/// let cache = vec![0_u8; 4 << 20];
/// let range = cache.as_ptr() as usize..cache.as_ptr() as usize + cache.len();
/// if let (Ok(granule), Some(page)) = (page_granule_bytes(&[range]), Machine::detect().page_bytes) {
///     assert!(granule >= page && granule % page == 0);
/// }
/// ```
pub fn page_granule_bytes(ranges: &[Range<usize>]) -> Result<u64, Unavailable> {
    platform_memory::granule(ranges)
}

/// Asks the kernel to move these bytes out of physical memory now, as it does when memory is
/// short: pages of files back to the file, others to swap. Contents are kept. What was done
/// shows in [`Residency::of`]; without swap anonymous memory stays where it is.
///
/// # Errors
/// [`Unavailable`] where the kernel does not know or permit the request.
///
/// ```
/// use harness_machine::{Residency, page_out};
///
/// let cache = vec![7_u8; 1 << 20];
/// let range = cache.as_ptr() as usize..cache.as_ptr() as usize + cache.len();
/// let asked = page_out(std::slice::from_ref(&range));
/// if let (Ok(()), Ok(found)) = (asked, Residency::of(&[range])) {
///     println!("{} bytes went to swap", found.swapped_bytes);
/// }
/// assert!(cache.iter().all(|&byte| byte == 7), "contents are kept");
/// ```
pub fn page_out(ranges: &[Range<usize>]) -> Result<(), Unavailable> {
    let page_bytes = page_bytes()?;
    for range in ranges.iter().filter(|range| !range.is_empty()) {
        let start = range.start / page_bytes * page_bytes;
        platform_memory::page_out(start, range.end - start)?;
    }
    Ok(())
}

/// Room for memory that is moved out of physical memory; `None` where the system does not tell.
///
/// ```
/// use harness_machine::{State, swap_bytes};
///
/// if let (Some(used), Some(room)) = (State::sample().swap_used_bytes, swap_bytes()) {
///     assert!(used <= room);
/// }
/// ```
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
///
/// ```
/// use harness_machine::mapped_files;
///
/// // A constant of this program is in a file: the program's own.
/// let constant = "in the data of the program".as_ptr() as usize;
/// if let Ok(files) = mapped_files() {
///     assert!(files.iter().any(|range| range.contains(&constant)));
/// }
/// ```
pub fn mapped_files() -> Result<Vec<Range<usize>>, Unavailable> {
    platform_memory::mapped_files()
}
