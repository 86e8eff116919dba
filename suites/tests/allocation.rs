//! Measuring allocates nothing while it measures.
#![allow(clippy::unwrap_used)] // A test may panic.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use engine::{EngineError, KvUsage, Logits, Session, TokenId, Want};
use harness_suites::latency::{Laps, MonotonicClock, request};

/// Counts the allocations of each thread.
struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

// SAFETY: everything is left to the system's allocator, which keeps the contract.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's promises are passed on.
        unsafe { System.dealloc(pointer, layout) }
    }
}

/// Hands out logits that were made beforehand.
struct Prepared(Vec<Logits>);

impl Session for Prepared {
    fn extend(&mut self, _: &[TokenId], _: Want) -> Result<Logits, EngineError> {
        Ok(self.0.pop().unwrap())
    }

    fn truncate(&mut self, _: usize) -> Result<(), EngineError> {
        Ok(())
    }

    fn len(&self) -> usize {
        0
    }

    fn kv(&self) -> Option<KvUsage> {
        None
    }
}

#[test]
fn a_request_allocates_nothing_of_its_own() {
    let answer = [0; 1_000];
    let logits = |_| Logits::new(2, vec![0.5, 1.5]).unwrap();
    let mut session = Prepared((0..=answer.len()).map(logits).collect());
    let clock = MonotonicClock::start();
    let mut laps = Laps::new(&clock, 1 + answer.len());
    let before = ALLOCATIONS.get();
    request(&mut session, &[0], &answer, 2, &mut laps).unwrap();
    assert_eq!(ALLOCATIONS.get(), before);
    assert_eq!(laps.laps_ns().len(), 1 + answer.len());
    let sum: u64 = laps.laps_ns().iter().sum();
    assert_eq!(sum, laps.ended_ns() - laps.started_ns());
}
