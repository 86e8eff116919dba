//! Linux: memory of this process by `/proc/self`.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader};
use std::ops::Range;
use std::os::unix::fs::FileExt;

use crate::memory::{MemoryBreakdown, Unavailable};
use crate::residency::{Page, page_bytes};

const HUGE_PAGE_SIZE: &str = "/sys/kernel/mm/transparent_hugepage/hpage_pmd_size";

fn unreadable(path: &str) -> impl Fn(io::Error) -> Unavailable {
    move |error| Unavailable(format!("cannot read {path}: {error}"))
}

pub(crate) fn breakdown() -> Result<MemoryBreakdown, Unavailable> {
    const PATH: &str = "/proc/self/smaps_rollup";
    let text = fs::read_to_string(PATH).map_err(unreadable(PATH))?;
    breakdown_in(&text).ok_or_else(|| Unavailable(format!("{PATH} lacks a line")))
}

/// Reads the text of `smaps_rollup`.
fn breakdown_in(rollup: &str) -> Option<MemoryBreakdown> {
    let bytes = |key| rollup.lines().find_map(|line| field(line, key));
    let (rss_bytes, anonymous_bytes) = (bytes("Rss")?, bytes("Anonymous")?);
    Some(MemoryBreakdown {
        rss_bytes,
        pss_bytes: bytes("Pss"),
        private_bytes: bytes("Private_Clean")
            .zip(bytes("Private_Dirty"))
            .map(|(clean, dirty)| clean + dirty),
        anonymous_bytes,
        file_mapped_bytes: rss_bytes.saturating_sub(anonymous_bytes),
        huge_page_bytes: bytes("AnonHugePages"),
        swapped_bytes: bytes("Swap")?,
    })
}

/// The bytes of `Key:   123 kB`.
fn field(line: &str, key: &str) -> Option<u64> {
    let kib = line.strip_prefix(key)?.strip_prefix(':')?;
    let kib = kib.trim().strip_suffix("kB")?.trim_end();
    kib.parse::<u64>().ok()?.checked_mul(1024)
}

pub(crate) fn reset_peak_rss() -> Result<(), Unavailable> {
    // "5" is for this: Documentation/filesystems/proc.rst.
    const PATH: &str = "/proc/self/clear_refs";
    fs::write(PATH, "5").map_err(|error| Unavailable(format!("cannot write {PATH}: {error}")))
}

#[cfg(target_env = "gnu")]
pub(crate) fn trim_heap() -> Result<(), Unavailable> {
    // SAFETY: gives back what nobody uses; thread-safe. It returns 0 when there was nothing.
    unsafe { libc::malloc_trim(0) };
    Ok(())
}

#[cfg(not(target_env = "gnu"))]
pub(crate) fn trim_heap() -> Result<(), Unavailable> {
    Err(Unavailable(
        "this C library cannot be asked to give memory back".into(),
    ))
}

/// Bits of an entry of the page map: Documentation/admin-guide/mm/pagemap.rst. These are told
/// without privileges.
mod bit {
    pub(super) const EXCLUSIVE: u64 = 1 << 56;
    pub(super) const FILE: u64 = 1 << 61;
    pub(super) const SWAPPED: u64 = 1 << 62;
    pub(super) const PRESENT: u64 = 1 << 63;
}

/// Tells `each` what became of `count` pages from page number `first` on.
pub(crate) fn pages(
    first: usize,
    count: usize,
    _page_bytes: usize,
    mut each: impl FnMut(usize, Page),
) -> Result<(), Unavailable> {
    const PATH: &str = "/proc/self/pagemap";
    const ENTRY: usize = size_of::<u64>();
    let map = File::open(PATH).map_err(unreadable(PATH))?;
    let mut buffer = [0u8; 512 * ENTRY];
    let mut done = 0;
    while done < count {
        let wanted = (count - done).min(buffer.len() / ENTRY);
        let entries = &mut buffer[..wanted * ENTRY];
        map.read_exact_at(entries, ((first + done) * ENTRY) as u64)
            .map_err(unreadable(PATH))?;
        for (index, entry) in entries.as_chunks::<ENTRY>().0.iter().enumerate() {
            each(done + index, page(u64::from_ne_bytes(*entry)));
        }
        done += wanted;
    }
    Ok(())
}

fn page(entry: u64) -> Page {
    if entry & bit::SWAPPED != 0 {
        Page::Swapped
    } else if entry & bit::PRESENT != 0 && entry & (bit::EXCLUSIVE | bit::FILE) != 0 {
        Page::Resident
    } else {
        Page::Absent
    }
}

pub(crate) fn granule(ranges: &[Range<usize>]) -> Result<u64, Unavailable> {
    const PATH: &str = "/proc/self/smaps";
    let smaps = File::open(PATH).map_err(unreadable(PATH))?;
    let huge = huge_pages_in(BufReader::new(smaps), ranges).map_err(unreadable(PATH))?;
    if !huge {
        return Ok(page_bytes()? as u64);
    }
    let text = fs::read_to_string(HUGE_PAGE_SIZE).map_err(unreadable(HUGE_PAGE_SIZE))?;
    text.trim()
        .parse()
        .map_err(|_| Unavailable(format!("{HUGE_PAGE_SIZE} holds no number")))
}

/// Whether by the text of `smaps` any of `ranges` is, or may come to be, on huge pages. Smaller
/// transparent pages than the huge ones make a mapping eligible too.
fn huge_pages_in(smaps: impl BufRead, ranges: &[Range<usize>]) -> io::Result<bool> {
    let mut concerned = false;
    for line in smaps.lines() {
        let line = line?;
        if let Some((addresses, _)) = mapping(&line) {
            concerned = ranges
                .iter()
                .any(|range| range.start < addresses.end && addresses.start < range.end);
        } else if concerned {
            let eligible = line
                .strip_prefix("THPeligible:")
                .is_some_and(|value| value.trim() == "1");
            if eligible || field(&line, "AnonHugePages").is_some_and(|bytes| bytes > 0) {
                return Ok(true);
            }
        }
    }
    Ok(false)
}

/// Addresses and the rest of a line such as `7f00-7f80 r--p 00000000 08:01 42   /bin/x`.
fn mapping(line: &str) -> Option<(Range<usize>, &str)> {
    let (addresses, rest) = line.split_once(' ')?;
    let (start, end) = addresses.split_once('-')?;
    let address = |text| usize::from_str_radix(text, 16).ok();
    Some((address(start)?..address(end)?, rest))
}

pub(crate) fn page_out(start: usize, bytes: usize) -> Result<(), Unavailable> {
    let address = std::ptr::with_exposed_provenance_mut(start);
    // SAFETY: this advice changes where pages are, never what they hold; for addresses that
    // are not mapped the call fails.
    match unsafe { libc::madvise(address, bytes, libc::MADV_PAGEOUT) } {
        0 => Ok(()),
        _ => Err(Unavailable::last_os_error("madvise(MADV_PAGEOUT)")),
    }
}

pub(crate) fn mapped_files() -> Result<Vec<Range<usize>>, Unavailable> {
    const PATH: &str = "/proc/self/maps";
    let maps = fs::read_to_string(PATH).map_err(unreadable(PATH))?;
    Ok(mapped_files_in(&maps))
}

/// The read-only mappings of named files in the text of `maps`.
fn mapped_files_in(maps: &str) -> Vec<Range<usize>> {
    maps.lines()
        .filter_map(mapping)
        .filter(|(_, rest)| {
            let mut words = rest.split_ascii_whitespace();
            let permissions = words.next().unwrap_or_default();
            let file = words.nth(3).is_some_and(|path| path.starts_with('/'));
            permissions.starts_with("r-") && file
        })
        .map(|(addresses, _)| addresses)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMAPS: &str = "\
7f0000000000-7f0000200000 rw-p 00000000 00:00 0
Size:               2048 kB
AnonHugePages:         0 kB
THPeligible:           0
7f0000200000-7f0000600000 rw-p 00000000 00:00 0                          [heap]
AnonHugePages:         0 kB
THPeligible:           1
7f0000600000-7f0000a00000 rw-p 00000000 00:00 0
AnonHugePages:      2048 kB
VmFlags: rd wr mr mw me
";

    #[test]
    fn huge_pages_are_those_of_the_mapping_concerned() {
        let huge =
            |start, end| huge_pages_in(SMAPS.as_bytes(), std::slice::from_ref(&(start..end)));
        assert!(!huge(0x7f00_0000_0000, 0x7f00_0020_0000).unwrap());
        assert!(huge(0x7f00_0000_0000, 0x7f00_0020_0001).unwrap());
        assert!(huge(0x7f00_0060_0000, 0x7f00_0060_0001).unwrap());
        assert!(!huge(0x7f00_00a0_0000, 0x7f00_00b0_0000).unwrap());
    }

    #[test]
    fn only_files_mapped_for_reading_are_told() {
        let maps = "\
1000-2000 r--p 00000000 08:01 42                         /model with space.gguf
2000-3000 r-xp 00000000 08:01 42                         /bin/harness
3000-4000 rw-p 00000000 08:01 42                         /bin/harness
4000-5000 r--p 00000000 00:00 0                          [vvar]
5000-6000 r--p 00000000 00:00 0
nonsense
";
        assert_eq!(mapped_files_in(maps), [0x1000..0x2000, 0x2000..0x3000]);
    }

    #[test]
    fn a_rollup_is_read_whole_or_not_at_all() {
        let rollup = "\
55d7-7fff ---p 00000000 00:00 0                          [rollup]
Rss:                1764 kB
Pss:                 246 kB
Private_Clean:        36 kB
Private_Dirty:       116 kB
Anonymous:           116 kB
AnonHugePages:         0 kB
Swap:                  8 kB
";
        let read = breakdown_in(rollup).unwrap();
        assert_eq!(read.rss_bytes, 1764 << 10);
        assert_eq!(read.private_bytes, Some(152 << 10));
        assert_eq!(read.file_mapped_bytes, (1764 - 116) << 10);
        assert_eq!(read.committed_bytes(), 124 << 10);
        assert_eq!(breakdown_in("Rss: 1 kB\n"), None);
        assert_eq!(field("Rss: 99999999999999999999 kB", "Rss"), None);
    }

    #[test]
    fn pages_of_zeros_hold_no_memory() {
        let private = bit::PRESENT | bit::EXCLUSIVE;
        assert_eq!(page(private), Page::Resident);
        assert_eq!(page(bit::PRESENT | bit::FILE), Page::Resident);
        assert_eq!(page(bit::PRESENT), Page::Absent);
        assert_eq!(page(bit::SWAPPED), Page::Swapped);
        assert_eq!(page(0), Page::Absent);
    }
}
