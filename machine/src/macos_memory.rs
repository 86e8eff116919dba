//! macOS: memory of this process by its task port.

use std::ffi::{c_int, c_void};
use std::ops::Range;
use std::ptr;

use mach2::kern_return::{KERN_SUCCESS, kern_return_t};
use mach2::port::mach_port_t;
use mach2::traps::mach_task_self;
use mach2::vm_types::{mach_vm_address_t, mach_vm_size_t};

use crate::memory::{MemoryBreakdown, Unavailable};
use crate::platform;
use crate::residency::{Page, page_bytes};

// <mach/mach_vm.h> and <malloc/malloc.h>, part of libSystem.
unsafe extern "C" {
    fn mach_vm_page_range_query(
        target_map: mach_port_t,
        address: mach_vm_address_t,
        size: mach_vm_size_t,
        dispositions: mach_vm_address_t,
        dispositions_count: *mut mach_vm_size_t,
    ) -> kern_return_t;
    fn malloc_zone_pressure_relief(zone: *mut c_void, goal: usize) -> usize;
}
// <mach/vm_statistics.h>
const VM_PAGE_QUERY_PAGE_PRESENT: c_int = 0x1;
const VM_PAGE_QUERY_PAGE_PAGED_OUT: c_int = 0x10;

pub(crate) fn breakdown() -> Result<MemoryBreakdown, Unavailable> {
    let (info, _) = platform::task_vm_info()
        .ok_or_else(|| Unavailable("task_info(TASK_VM_INFO) failed".into()))?;
    Ok(MemoryBreakdown {
        rss_bytes: info.resident_size,
        anonymous_bytes: info.internal,
        file_mapped_bytes: info.external,
        swapped_bytes: info.compressed,
        ..MemoryBreakdown::default()
    })
}

pub(crate) fn reset_peak_rss() -> Result<(), Unavailable> {
    Err(Unavailable(
        "macOS keeps the peak of a process for its whole life".into(),
    ))
}

pub(crate) fn trim_heap() -> Result<(), Unavailable> {
    // SAFETY: a null zone stands for all of them and 0 for as much as can be given back.
    unsafe { malloc_zone_pressure_relief(ptr::null_mut(), 0) };
    Ok(())
}

/// Tells `each` what became of `count` pages from page number `first` on.
pub(crate) fn pages(
    first: usize,
    count: usize,
    page_bytes: usize,
    mut each: impl FnMut(usize, Page),
) -> Result<(), Unavailable> {
    let mut buffer: [c_int; 512] = [0; 512];
    let mut done = 0;
    while done < count {
        let wanted = (count - done).min(buffer.len());
        let mut filled = wanted as mach_vm_size_t;
        // SAFETY: `buffer` has room for `filled` dispositions, beyond which nothing is
        // written; `filled` becomes the number of them. Pages are looked at, not touched.
        let status = unsafe {
            mach_vm_page_range_query(
                mach_task_self(),
                ((first + done) * page_bytes) as mach_vm_address_t,
                (wanted * page_bytes) as mach_vm_size_t,
                buffer.as_mut_ptr().expose_provenance() as mach_vm_address_t,
                &raw mut filled,
            )
        };
        if status != KERN_SUCCESS || filled != wanted as mach_vm_size_t {
            return Err(Unavailable(format!(
                "mach_vm_page_range_query: status {status}, {filled} of {wanted} pages"
            )));
        }
        for (index, &disposition) in buffer[..wanted].iter().enumerate() {
            each(done + index, page(disposition));
        }
        done += wanted;
    }
    Ok(())
}

fn page(disposition: c_int) -> Page {
    if disposition & VM_PAGE_QUERY_PAGE_PRESENT != 0 {
        Page::Resident
    } else if disposition & VM_PAGE_QUERY_PAGE_PAGED_OUT != 0 {
        Page::Swapped
    } else {
        Page::Absent
    }
}

/// macOS uses larger pages only where they are asked for by name, which no allocator does.
pub(crate) fn granule(_ranges: &[Range<usize>]) -> Result<u64, Unavailable> {
    Ok(page_bytes()? as u64)
}

pub(crate) fn page_out(_start: usize, _bytes: usize) -> Result<(), Unavailable> {
    Err(Unavailable(
        "macOS lets no process page out memory on request".into(),
    ))
}

pub(crate) fn mapped_files() -> Result<Vec<Range<usize>>, Unavailable> {
    Err(Unavailable(
        "mapped files are looked for to be paged out, which macOS does not do on request".into(),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dispositions_are_told_apart() {
        assert_eq!(page(VM_PAGE_QUERY_PAGE_PRESENT), Page::Resident);
        assert_eq!(page(VM_PAGE_QUERY_PAGE_PAGED_OUT), Page::Swapped);
        assert_eq!(page(0), Page::Absent);
    }
}
