//! Threads that wait for work on a spin.
//!
//! A decoded token is some hundred parallel steps of a few microseconds each,
//! so waking a sleeping thread for every step would cost more than the step.
//! Workers spin between steps and go to sleep only when none comes for a while.

use std::cell::UnsafeCell;
use std::hint::spin_loop;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

/// Rounds of spinning before a worker sleeps: some tens of microseconds, more
/// than the serial work between two steps.
const SPINS: usize = 2_000;

/// What a step runs: worker and task number.
type Body<'a> = &'a (dyn Fn(usize, usize) + Sync);

/// A fixed set of threads.
pub(super) struct Pool {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
    /// One step at a time.
    step: Mutex<()>,
}

struct Shared {
    /// Counts steps; a change tells workers to look at `body`.
    step: AtomicUsize,
    /// The body of the current step, its lifetime erased.
    body: UnsafeCell<Option<Body<'static>>>,
    tasks: AtomicUsize,
    next: AtomicUsize,
    /// Workers that have not finished the current step.
    running: AtomicUsize,
    panicked: AtomicBool,
    stop: AtomicBool,
    sleeping: Vec<AtomicBool>,
}

// SAFETY: `body` is written only between steps, when no worker reads it: the
// writer holds `Pool::step`, has seen `running` fall to zero, and publishes the
// write by the release store to `step` that workers acquire.
unsafe impl Sync for Shared {}
// SAFETY: the body it may hold is `Sync`, hence may be used from any thread.
unsafe impl Send for Shared {}

impl Pool {
    /// `threads` in all, the calling one included.
    pub(super) fn new(threads: usize) -> std::io::Result<Self> {
        let shared = Arc::new(Shared {
            step: AtomicUsize::new(0),
            body: UnsafeCell::new(None),
            tasks: AtomicUsize::new(0),
            next: AtomicUsize::new(0),
            running: AtomicUsize::new(0),
            panicked: AtomicBool::new(false),
            stop: AtomicBool::new(false),
            sleeping: (1..threads).map(|_| AtomicBool::new(false)).collect(),
        });
        let mut pool = Self {
            shared,
            threads: Vec::with_capacity(threads.saturating_sub(1)),
            step: Mutex::new(()),
        };
        for worker in 1..threads {
            let shared = Arc::clone(&pool.shared);
            let handle = thread::Builder::new()
                .name(format!("reference-{worker}"))
                .spawn(move || shared.work(worker))?;
            pool.threads.push(handle);
        }
        Ok(pool)
    }

    /// Threads, the calling one included.
    pub(super) fn threads(&self) -> usize {
        self.threads.len() + 1
    }

    /// Runs `body(worker, task)` for every task below `tasks` and returns when
    /// all are done. Workers take tasks in order as they come free; no two run
    /// under the same worker number at once.
    ///
    /// # Panics
    /// When a task did.
    pub(super) fn run(&self, tasks: usize, body: Body<'_>) {
        let _one_at_a_time = self.step.lock().unwrap_or_else(PoisonError::into_inner);
        let shared = &*self.shared;
        if self.threads.is_empty() || tasks <= 1 {
            (0..tasks).for_each(|task| body(0, task));
            return;
        }
        // SAFETY: only the lifetime changes. Workers use the body before they
        // count themselves out of `running`, which is awaited below.
        let erased: Body<'static> = unsafe { std::mem::transmute::<Body<'_>, Body<'static>>(body) };
        // SAFETY: no worker reads between steps; see `Sync`.
        unsafe { *shared.body.get() = Some(erased) };
        shared.tasks.store(tasks, Ordering::Relaxed);
        shared.next.store(0, Ordering::Relaxed);
        shared.running.store(self.threads.len(), Ordering::Relaxed);
        // Sequentially consistent with `sleeping`: either the worker sees the
        // step before it sleeps, or it is seen asleep here.
        shared.step.fetch_add(1, Ordering::SeqCst);
        for (sleeping, handle) in shared.sleeping.iter().zip(&self.threads) {
            if sleeping.load(Ordering::SeqCst) {
                handle.thread().unpark();
            }
        }
        shared.take_tasks(0, erased);
        let mut spins = 0;
        while shared.running.load(Ordering::Acquire) > 0 {
            spins += 1;
            // With more threads than processors, the one waited for needs ours.
            if spins > SPINS {
                thread::yield_now()
            } else {
                spin_loop()
            }
        }
        if shared.panicked.swap(false, Ordering::Relaxed) {
            panic!("a kernel panicked");
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        self.shared.step.fetch_add(1, Ordering::SeqCst);
        for handle in self.threads.drain(..) {
            handle.thread().unpark();
            // A worker that panicked has said so already.
            let _ = handle.join();
        }
    }
}

impl Shared {
    fn work(&self, worker: usize) {
        let mut seen = 0;
        loop {
            self.await_step(worker, seen);
            seen = self.step.load(Ordering::Acquire);
            if self.stop.load(Ordering::Acquire) {
                return;
            }
            // SAFETY: a step has been published and is not over before this
            // worker counts itself out.
            if let Some(body) = unsafe { *self.body.get() } {
                self.take_tasks(worker, body);
            }
            self.running.fetch_sub(1, Ordering::Release);
        }
    }

    fn await_step(&self, worker: usize, seen: usize) {
        for _ in 0..SPINS {
            if self.step.load(Ordering::Acquire) != seen {
                return;
            }
            spin_loop();
        }
        let sleeping = &self.sleeping[worker - 1];
        sleeping.store(true, Ordering::SeqCst);
        while self.step.load(Ordering::SeqCst) == seen {
            thread::park();
        }
        sleeping.store(false, Ordering::SeqCst);
    }

    fn take_tasks(&self, worker: usize, body: Body<'static>) {
        let run = AssertUnwindSafe(|| {
            loop {
                let task = self.next.fetch_add(1, Ordering::Relaxed);
                if task >= self.tasks.load(Ordering::Relaxed) {
                    return;
                }
                body(worker, task);
            }
        });
        if catch_unwind(run).is_err() {
            self.panicked.store(true, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_task_runs_once_in_every_step() {
        let pool = Pool::new(3).unwrap();
        for tasks in [0, 1, 2, 100] {
            for _ in 0..200 {
                let counts: Vec<AtomicUsize> = (0..tasks).map(|_| AtomicUsize::new(0)).collect();
                pool.run(tasks, &|_, task| {
                    counts[task].fetch_add(1, Ordering::Relaxed);
                });
                assert!(
                    counts
                        .iter()
                        .all(|count| count.load(Ordering::Relaxed) == 1)
                );
            }
        }
    }

    #[test]
    fn sleepers_wake() {
        let pool = Pool::new(2).unwrap();
        let count = AtomicUsize::new(0);
        for _ in 0..3 {
            thread::sleep(std::time::Duration::from_millis(20));
            pool.run(10, &|_, _| {
                count.fetch_add(1, Ordering::Relaxed);
            });
        }
        assert_eq!(count.into_inner(), 30);
    }

    #[test]
    fn a_panic_reaches_the_caller_and_the_pool_survives_it() {
        let pool = Pool::new(2).unwrap();
        let result = catch_unwind(AssertUnwindSafe(|| {
            pool.run(8, &|_, task| assert_ne!(task, 5));
        }));
        assert!(result.is_err());
        let count = AtomicUsize::new(0);
        pool.run(8, &|_, _| {
            count.fetch_add(1, Ordering::Relaxed);
        });
        assert_eq!(count.into_inner(), 8);
    }
}
