//! Requests as users send them: one after the other, by a schedule, several at once.

use std::panic;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use engine::{EngineError, Model};

use super::arrivals::MOST_REQUESTS;
use super::asked::Asked;
use super::clock::Clock;
use super::laps::Laps;

/// When requests are sent.
pub(super) enum Arrivals {
    /// As soon as the one before is answered, for so many nanoseconds.
    Closed(u64),
    /// At these times after the start, whatever became of those before.
    Open(Vec<u64>),
}

/// The times of one request, by the clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Served {
    /// When it was to be sent: by the schedule, or when its client was free.
    pub(super) intended_ns: u64,
    /// When a server took it up.
    pub(super) started_ns: u64,
    /// When the first token was there.
    pub(super) first_ns: u64,
    /// When the last token was there.
    pub(super) ended_ns: u64,
}

impl Served {
    /// What its sender waited. Counted from the intended time, so a stall is in the
    /// response of every request that it held up, and not only of the one that it hit.
    pub(super) fn response_ns(&self) -> u64 {
        self.ended_ns - self.intended_ns
    }

    /// What the engine took.
    pub(super) fn service_ns(&self) -> u64 {
        self.ended_ns - self.started_ns
    }

    /// What it waited for a server.
    pub(super) fn queue_ns(&self) -> u64 {
        self.started_ns - self.intended_ns
    }

    /// What its sender waited for the first token.
    pub(super) fn ttft_ns(&self) -> u64 {
        self.first_ns - self.intended_ns
    }
}

/// What became of all requests.
#[derive(Default)]
pub(super) struct Log {
    /// In the order of the intended times.
    pub(super) served: Vec<Served>,
    /// Inter-token latencies of all of them, in no order.
    pub(super) itl_ns: Vec<u64>,
    /// How late idle servers took up their requests: the harness's own doing.
    pub(super) late_ns: Vec<u64>,
}

impl Log {
    /// From the first intended time to the last token, in seconds.
    pub(super) fn span_s(&self) -> f64 {
        let begun_ns = self.served.first().map_or(0, |first| first.intended_ns);
        let ended_ns = self.served.iter().map(|served| served.ended_ns).max();
        ended_ns.map_or(0.0, |ended_ns| (ended_ns - begun_ns) as f64 / 1e9)
    }

    fn append(&mut self, mut other: Self) {
        self.served.append(&mut other.served);
        self.itl_ns.append(&mut other.itl_ns);
        self.late_ns.append(&mut other.late_ns);
    }
}

/// Equal requests, each in a session of its own.
pub(super) struct Traffic<'a> {
    pub(super) clock: &'a dyn Clock,
    pub(super) arrivals: Arrivals,
    pub(super) asked: Asked<'a>,
}

impl Traffic<'_> {
    /// Serves all requests on this thread, first come, first served; `alive` is called
    /// between them.
    ///
    /// # Errors
    /// The engine's.
    pub(super) fn serve(
        &self,
        model: &dyn Model,
        alive: &mut dyn FnMut(),
    ) -> Result<Log, EngineError> {
        let counter = AtomicUsize::new(0);
        self.take_turns(model, &counter, self.clock.now_ns(), alive)
    }

    /// Serves all requests on `servers` threads, this one included.
    ///
    /// # Errors
    /// The engine's.
    pub(super) fn serve_on_threads(
        &self,
        model: &(dyn Model + Sync),
        servers: usize,
        alive: &mut dyn FnMut(),
    ) -> Result<Log, EngineError> {
        let counter = AtomicUsize::new(0);
        let begun_ns = self.clock.now_ns();
        let mut log = thread::scope(|scope| {
            let take_turns = || self.take_turns(model, &counter, begun_ns, &mut || ());
            let others: Vec<_> = (1..servers).map(|_| scope.spawn(take_turns)).collect();
            let mut log = self.take_turns(model, &counter, begun_ns, alive)?;
            for other in others {
                log.append(
                    other
                        .join()
                        .unwrap_or_else(|cause| panic::resume_unwind(cause))?,
                );
            }
            Ok(log)
        })?;
        log.served.sort_by_key(|served| served.intended_ns);
        Ok(log)
    }

    /// Serves one request after the other until none is left to be taken.
    fn take_turns(
        &self,
        model: &dyn Model,
        counter: &AtomicUsize,
        begun_ns: u64,
        alive: &mut dyn FnMut(),
    ) -> Result<Log, EngineError> {
        let most = match &self.arrivals {
            Arrivals::Closed(_) => MOST_REQUESTS,
            Arrivals::Open(schedule) => schedule.len(),
        };
        // Nothing is allocated once requests come.
        let mut log = Log {
            served: Vec::with_capacity(most),
            itl_ns: Vec::with_capacity(most * self.asked.answer.len()),
            late_ns: Vec::with_capacity(most),
        };
        let mut laps = Laps::new(self.clock, 1 + self.asked.answer.len());
        while let Some(intended_ns) = self.intended_ns(counter, begun_ns) {
            let idle = self.clock.now_ns() < intended_ns;
            self.clock.wait_until(intended_ns);
            let started_ns = self.clock.now_ns();
            self.asked.make(model, &mut laps)?;
            let (first, others) = laps.laps_ns().split_at(1);
            log.served.push(Served {
                intended_ns,
                started_ns,
                first_ns: laps.started_ns() + first[0],
                ended_ns: laps.ended_ns(),
            });
            log.itl_ns.extend(others);
            if idle {
                log.late_ns.push(started_ns - intended_ns);
            }
            alive();
        }
        Ok(log)
    }

    fn intended_ns(&self, counter: &AtomicUsize, begun_ns: u64) -> Option<u64> {
        let number = counter.fetch_add(1, Ordering::Relaxed);
        match &self.arrivals {
            Arrivals::Closed(span_ns) => {
                let now_ns = self.clock.now_ns();
                // One is served even where time is short.
                let goes_on = now_ns - begun_ns < *span_ns || number == 0;
                (goes_on && number < MOST_REQUESTS).then_some(now_ns)
            }
            Arrivals::Open(schedule) => Some(begun_ns + schedule.get(number)?),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::latency::arrivals::{Process, schedule};
    use crate::latency::extent::sorted;
    use crate::latency::fake::{FakeClock, FakeModel};

    const MS: u64 = 1_000_000;
    const SECOND: u64 = 1_000 * MS;

    /// Requests of 5 ms each, the 300th with a stall of a second.
    fn log(arrivals: Arrivals) -> Log {
        let clock = FakeClock::default();
        let model = FakeModel::new(&clock, MS, (300, SECOND));
        let traffic = Traffic {
            clock: &clock,
            arrivals,
            asked: Asked {
                prompt: &[0, 1, 0],
                text: "",
                answer: &[1, 0],
            },
        };
        traffic.serve(&model, &mut || ()).unwrap()
    }

    fn percentile_ms(log: &Log, p: f64) -> f64 {
        let responses: Vec<f64> = log
            .served
            .iter()
            .map(|served| served.response_ns() as f64 / MS as f64)
            .collect();
        stats::percentile(&sorted(&responses), p).unwrap()
    }

    #[test]
    fn an_open_loop_shows_the_stall_that_a_closed_loop_hides() {
        let closed = log(Arrivals::Closed(6 * SECOND));
        // 300 requests in 1.5 s, one of 1.005 s, then 5 ms each again.
        assert_eq!(closed.served.len(), 1_000);
        assert_eq!(percentile_ms(&closed, 0.99), 5.0);
        assert_eq!(percentile_ms(&closed, 1.0), 1_005.0);

        // A request every 10 ms. The stall ends 1.005 s after its request came; the k-th
        // after it waits 1.005 s - k · 5 ms, so that 199 have a queue before them.
        let arrivals = schedule(Process::Constant, 100.0, 6 * SECOND, 0);
        let open = log(Arrivals::Open(arrivals));
        assert_eq!(open.served.len(), 600);
        let late = open.served.iter().filter(|served| served.queue_ns() > 0);
        assert_eq!(late.count(), 199);
        assert_eq!(open.served[301].response_ns(), 1_000 * MS);
        assert_eq!(percentile_ms(&open, 0.5), 5.0);
        // At rank 599 p from zero, between the 61st and 60th longest, the 7th and 6th.
        assert!((percentile_ms(&open, 0.9) - (705.0 + 0.1 * 5.0)).abs() < 1e-6);
        assert!((percentile_ms(&open, 0.99) - (975.0 + 0.01 * 5.0)).abs() < 1e-6);
        // The engine's own time hides it as the closed loop does.
        let services = open.served.iter().map(Served::service_ns);
        assert_eq!(services.filter(|&ns| ns > 5 * MS).count(), 1);
    }

    #[test]
    fn times_add_up() {
        let open = log(Arrivals::Open(vec![0, MS, 20 * MS]));
        let second = open.served[1];
        assert_eq!((second.intended_ns, second.started_ns), (MS, 5 * MS));
        assert_eq!(
            second.queue_ns() + second.service_ns(),
            second.response_ns()
        );
        assert_eq!((second.ttft_ns(), second.response_ns()), (7 * MS, 9 * MS));
        assert_eq!(open.itl_ns, [MS; 6]);
        assert_eq!(open.late_ns, [0], "the third found an idle server");
        assert_eq!(open.span_s(), 0.025);
    }

    #[test]
    fn threads_share_the_requests() {
        let clock = FakeClock::default();
        let model = FakeModel::new(&clock, MS, (usize::MAX, 0));
        let traffic = Traffic {
            clock: &clock,
            arrivals: Arrivals::Open((0..100).map(|i| i * MS).collect()),
            asked: Asked {
                prompt: &[0],
                text: "",
                answer: &[1],
            },
        };
        let log = traffic.serve_on_threads(&model, 3, &mut || ()).unwrap();
        let intended: Vec<u64> = log.served.iter().map(|served| served.intended_ns).collect();
        assert_eq!(intended, (0..100).map(|i| i * MS).collect::<Vec<_>>());
        assert_eq!(log.itl_ns.len(), 100);
    }
}
