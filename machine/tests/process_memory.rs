//! Holds `ProcessMemory` against what this program allocates and what the system says.
//!
//! One test in a program of its own: tests that run beside it would allocate too.

use std::hint::black_box;

use harness_machine::ProcessMemory;

const BLOCK_BYTES: u64 = 64 << 20;
/// For the allocator, the test runner and counters that the kernel updates in batches.
const SLACK_BYTES: u64 = 2 << 20;

#[test]
fn follows_what_is_touched() {
    let before = ProcessMemory::sample();
    // Ones: zeros would be mapped without being touched.
    let block = black_box(vec![1u8; BLOCK_BYTES as usize]);
    let during = ProcessMemory::sample();

    #[cfg(target_os = "linux")]
    {
        let page_bytes = harness_machine::Machine::detect().page_bytes.unwrap();
        let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
        let resident_pages: u64 = statm.split(' ').nth(1).unwrap().parse().unwrap();
        let apart = during
            .rss_bytes
            .unwrap()
            .abs_diff(resident_pages * page_bytes);
        assert!(apart <= SLACK_BYTES, "{apart} bytes from statm");
    }

    drop(block);
    let after = ProcessMemory::sample();

    let grown = during.rss_bytes.unwrap() - before.rss_bytes.unwrap();
    assert!(
        grown.abs_diff(BLOCK_BYTES) <= SLACK_BYTES,
        "grew by {grown}"
    );
    assert!(after.rss_bytes.unwrap() < before.rss_bytes.unwrap() + SLACK_BYTES);
    assert!(during.peak_rss_bytes >= during.rss_bytes);
    let remembered = after.peak_rss_bytes.unwrap();
    assert!(remembered + SLACK_BYTES >= during.rss_bytes.unwrap());

    if cfg!(target_os = "macos") {
        let charged = during.phys_footprint_bytes.unwrap() - before.phys_footprint_bytes.unwrap();
        assert!(
            charged.abs_diff(BLOCK_BYTES) <= SLACK_BYTES,
            "charged {charged}"
        );
        assert!(after.peak_phys_footprint_bytes >= during.phys_footprint_bytes);
    } else {
        assert_eq!(during.phys_footprint_bytes, None);
    }
}
