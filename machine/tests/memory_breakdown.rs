//! Holds `MemoryBreakdown`, `PageFaults` and the peak's reset against what this program does.
//!
//! One test in a program of its own: tests that run beside it would allocate too.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used)] // Fixture code of a test may panic.

use std::fs;
use std::hint::black_box;

use harness_machine::{MemoryBreakdown, PageFaults, ProcessMemory, reset_peak_rss, trim_heap};
use memmap2::Mmap;

const BLOCK_BYTES: u64 = 16 << 20;
/// For the allocator, the test runner and counters that the kernel updates in batches.
const SLACK_BYTES: u64 = 1 << 20;

#[test]
fn kinds_of_memory_are_told_apart() {
    let page_bytes = harness_machine::Machine::detect().page_bytes.unwrap();
    let grown = |after: u64, before: u64| after.saturating_sub(before);
    let near = |bytes: u64| bytes.abs_diff(BLOCK_BYTES) <= SLACK_BYTES;

    let (before, faults) = (
        MemoryBreakdown::sample().unwrap(),
        PageFaults::sample().unwrap(),
    );
    let block = black_box(vec![1u8; BLOCK_BYTES as usize]);
    let held = MemoryBreakdown::sample().unwrap();
    let touched = PageFaults::sample().unwrap().minor - faults.minor;
    assert!(near(grown(held.anonymous_bytes, before.anonymous_bytes)));
    assert!(near(grown(
        held.private_bytes.unwrap(),
        before.private_bytes.unwrap()
    )));
    assert!(grown(held.file_mapped_bytes, before.file_mapped_bytes) < SLACK_BYTES);
    assert!(held.pss_bytes.unwrap() <= held.rss_bytes);
    // Unless the allocator asks for huge pages, a fault a page.
    let huge = held.huge_page_bytes.unwrap();
    assert!(touched >= (BLOCK_BYTES - huge.min(BLOCK_BYTES)) / page_bytes);

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    fs::write(&path, &block).unwrap();
    drop(block);
    // SAFETY: nobody changes the file while it is mapped.
    let map = unsafe { Mmap::map(&fs::File::open(&path).unwrap()) }.unwrap();
    assert_eq!(
        map.iter().map(|&byte| u64::from(byte)).sum::<u64>(),
        BLOCK_BYTES
    );
    let mapped = MemoryBreakdown::sample().unwrap();
    assert!(near(grown(
        mapped.file_mapped_bytes,
        before.file_mapped_bytes
    )));
    assert!(grown(mapped.anonymous_bytes, before.anonymous_bytes) < SLACK_BYTES);
    drop(map);

    // The peak is forgotten once it is past.
    trim_heap().unwrap();
    let peak = || ProcessMemory::sample().peak_rss_bytes.unwrap();
    let old = peak();
    reset_peak_rss().unwrap();
    assert!(
        peak() + BLOCK_BYTES <= old + SLACK_BYTES,
        "{old} to {}",
        peak()
    );
}
