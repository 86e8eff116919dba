//! Holds `Residency` against what this program does to its pages and against `smaps`, the
//! kernel's other account of them.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used)] // Fixture code of a test may panic.

use std::fs;
use std::ops::Range;

use harness_machine::{Machine, Residency, mapped_files, page_granule_bytes, page_out};
use memmap2::{Advice, Mmap, MmapMut, MmapOptions, UncheckedAdvice};

fn page() -> usize {
    Machine::detect().page_bytes.unwrap() as usize
}

fn addresses(bytes: &[u8]) -> Range<usize> {
    let start = bytes.as_ptr().addr();
    start..start + bytes.len()
}

fn resident(bytes: &[u8]) -> u64 {
    Residency::of(&[addresses(bytes)]).unwrap().resident_bytes
}

/// The `Rss` of the mappings that lie within `bytes`, by `smaps`.
fn smaps_rss(bytes: &[u8]) -> u64 {
    let range = addresses(bytes);
    let smaps = fs::read_to_string("/proc/self/smaps").unwrap();
    let (mut inside, mut kib) = (false, 0);
    for line in smaps.lines() {
        let head = line.split(' ').next().unwrap();
        if let Some((start, end)) = head.split_once('-') {
            let address = |text| usize::from_str_radix(text, 16).unwrap();
            inside = range.start <= address(start) && address(end) <= range.end;
        } else if inside && let Some(rss) = line.strip_prefix("Rss:") {
            kib += rss
                .trim()
                .strip_suffix("kB")
                .unwrap()
                .trim()
                .parse::<u64>()
                .unwrap();
        }
    }
    kib * 1024
}

/// A mapping that the kernel merges with no neighbour, so that `smaps` has a line of its own
/// for it: one page on either side cannot be touched.
struct Alone {
    map: MmapMut,
}

impl Alone {
    fn new(pages: usize) -> Self {
        let map = MmapOptions::new()
            .len((pages + 2) * page())
            .map_anon()
            .unwrap();
        for edge in [0, pages + 1] {
            let address = map.as_ptr().wrapping_add(edge * page()).cast_mut().cast();
            // SAFETY: a page of `map` that nobody reads or writes.
            let status = unsafe { libc::mprotect(address, page(), libc::PROT_NONE) };
            assert_eq!(status, 0);
        }
        Self { map }
    }

    fn bytes(&mut self) -> &mut [u8] {
        let end = self.map.len() - page();
        &mut self.map[page()..end]
    }

    /// Gives pages back to the kernel.
    fn give_back(&mut self, pages: Range<usize>) {
        // SAFETY: nothing refers to the bytes, which read as zeros from now on.
        unsafe {
            self.map.unchecked_advise_range(
                UncheckedAdvice::DontNeed,
                (1 + pages.start) * page(),
                pages.len() * page(),
            )
        }
        .unwrap();
    }
}

#[test]
fn touched_pages_are_resident_until_given_back() {
    let page = page();
    let mut map = Alone::new(1000);
    assert_eq!(resident(map.bytes()), 0);
    // Every third page.
    for index in (0..1000).step_by(3) {
        map.bytes()[index * page + 7] = 1;
    }
    assert_eq!(resident(map.bytes()), 334 * page as u64);
    assert_eq!(resident(map.bytes()), smaps_rss(map.bytes()));
    // 300, 303, … 597 among them.
    map.give_back(300..600);
    assert_eq!(resident(map.bytes()), 234 * page as u64);
    assert_eq!(resident(map.bytes()), smaps_rss(map.bytes()));
}

#[test]
fn reading_untouched_memory_makes_nothing_resident() {
    let mut map = Alone::new(16);
    let sum: u64 = map.bytes().iter().map(|&byte| u64::from(byte)).sum();
    assert_eq!(sum, 0);
    assert_eq!(smaps_rss(map.bytes()), 0);
    assert_eq!(resident(map.bytes()), 0);
}

#[test]
fn of_a_page_in_part_that_part_counts() {
    let page = page();
    let mut map = Alone::new(4);
    map.bytes()[page..3 * page].fill(1);
    assert_eq!(resident(&map.bytes()[page - 10..page + 1]), 1);
    assert_eq!(
        resident(&map.bytes()[page + 5..2 * page + 6]),
        page as u64 + 1
    );
    assert_eq!(resident(&map.bytes()[3 * page - 1..4 * page]), 1);
    assert_eq!(resident(&[]), 0);
}

#[test]
fn huge_pages_become_resident_whole() {
    const HUGE: usize = 2 << 20;
    let small = Alone::new(4);
    let range = addresses(&small.map[page()..2 * page()]);
    let mut map = MmapMut::map_anon(3 * HUGE).unwrap();
    if map.advise(Advice::HugePage).is_err() {
        return; // A kernel without them.
    }
    let offset = map.as_ptr().align_offset(HUGE);
    map[offset] = 1;
    let granule = page_granule_bytes(&[addresses(&map)]).unwrap();
    let whole = resident(&map);
    assert_eq!(granule, HUGE as u64);
    // Where no huge page was free, one page is.
    assert!([HUGE as u64, page() as u64].contains(&whole), "{whole}");
    if fs::read_to_string("/sys/kernel/mm/transparent_hugepage/enabled")
        .unwrap()
        .contains("[madvise]")
    {
        assert_eq!(page_granule_bytes(&[range]).unwrap(), page() as u64);
    }
}

#[test]
fn files_go_out_and_come_back() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("weights");
    let content: Vec<u8> = (0..64 * page()).map(|index| (index % 251) as u8).collect();
    fs::write(&path, &content).unwrap();
    let file = fs::File::open(&path).unwrap();
    file.sync_all().unwrap();
    // SAFETY: nobody changes the file while it is mapped.
    let map = unsafe { Mmap::map(&file) }.unwrap();
    assert_eq!(&map[..], &content[..]);
    assert_eq!(resident(&map), map.len() as u64);
    assert!(mapped_files().unwrap().contains(&addresses(&map)));

    page_out(&[addresses(&map)]).unwrap();
    // Not every file system gives up its pages; what it says it must mean.
    let left = resident(&map);
    assert_eq!(left, smaps_rss(&map));
    assert!(left < map.len() as u64, "{left} bytes stayed");
    assert_eq!(&map[..], &content[..]);
}
