//! Sharing work out to threads.

use std::cell::UnsafeCell;

use super::pool::Pool;

/// Something for each worker, handed out by worker number.
pub(super) struct PerWorker<T>(Vec<UnsafeCell<T>>);

// SAFETY: `get` is the only access, and its caller vouches that no two threads
// use the same number at once.
unsafe impl<T: Send> Sync for PerWorker<T> {}

impl<T> PerWorker<T> {
    pub(super) fn new(workers: usize, make: impl Fn() -> T) -> Self {
        Self((0..workers).map(|_| UnsafeCell::new(make())).collect())
    }

    /// # Safety
    /// Nobody else uses number `worker` meanwhile, as [`Pool::run`] promises
    /// its tasks.
    #[allow(clippy::mut_from_ref)] // What the type is for.
    pub(super) unsafe fn get(&self, worker: usize) -> &mut T {
        // SAFETY: the caller's.
        unsafe { &mut *self.0[worker].get() }
    }
}

/// A slice that tasks write disjoint parts of.
#[derive(Clone, Copy)]
pub(super) struct Shared<T> {
    start: *mut T,
    len: usize,
}

// SAFETY: what is behind it is reached by `part` or through the pointer alone,
// both unsafe, and whoever does vouches that tasks touch disjoint elements.
unsafe impl<T: Send> Sync for Shared<T> {}
// SAFETY: as above.
unsafe impl<T: Send> Send for Shared<T> {}

impl<T> Shared<T> {
    pub(super) fn new(slice: &mut [T]) -> Self {
        Self {
            start: slice.as_mut_ptr(),
            len: slice.len(),
        }
    }

    /// # Safety
    /// The slice is still borrowed, and no other task uses these elements.
    #[allow(clippy::mut_from_ref)] // What the type is for.
    pub(super) unsafe fn part<'a>(self, start: usize, len: usize) -> &'a mut [T] {
        assert!(start + len <= self.len);
        // SAFETY: within the slice; the rest is the caller's.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(start), len) }
    }

    pub(super) fn as_ptr(&self) -> *mut T {
        self.start
    }
}

/// Runs `body(worker, job, rows)` over all rows of several jobs, in parts of at
/// most `most` rows.
pub(super) fn over_rows(
    pool: &Pool,
    rows: &[usize],
    most: usize,
    body: &(dyn Fn(usize, usize, std::ops::Range<usize>) + Sync),
) {
    let parts = |rows: &usize| rows.div_ceil(most);
    let tasks = rows.iter().map(parts).sum();
    pool.run(tasks, &|worker, task| {
        let mut part = task;
        for (job, rows) in rows.iter().enumerate() {
            let parts = parts(rows);
            if part < parts {
                let start = part * most;
                body(worker, job, start..rows.min(&(start + most)).to_owned());
                return;
            }
            part -= parts;
        }
    });
}
