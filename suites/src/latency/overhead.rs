//! What measuring costs: the same stopwatch around nothing.

use super::clock::Clock;
use super::extent::sorted;
use super::figures;
use super::laps::Laps;
use crate::{Better, Comparison, Gate, Measurement};

/// Batches of empty laps, and laps in a batch: a clock that ticks every 42 ns (Apple's)
/// tells nothing of one lap, but of the mean of many.
const BATCHES: usize = 31;
const LAPS: usize = 1_000;

/// Most that a sample may cost, in nanoseconds.
const LIMIT_NS: f64 = 1_000.0;

const CASE: &str = "overhead";

/// What one lap and one reading of the clock cost, and how finely it tells time.
#[derive(Clone, Debug)]
pub(super) struct Overhead {
    /// Mean duration of an empty lap in each batch.
    pub(super) lap_ns: Vec<f64>,
    read_ns: f64,
    /// Smallest step between two readings that differ.
    resolution_ns: u64,
}

impl Overhead {
    pub(super) fn measure(clock: &dyn Clock) -> Self {
        let mut laps = Laps::new(clock, LAPS);
        let lap_ns = (0..BATCHES)
            .map(|_| {
                laps.start();
                for _ in 0..LAPS {
                    laps.lap();
                }
                (laps.ended_ns() - laps.started_ns()) as f64 / LAPS as f64
            })
            .collect();
        let begun_ns = clock.now_ns();
        let (mut last_ns, mut resolution_ns) = (begun_ns, u64::MAX);
        for _ in 0..LAPS {
            let now_ns = clock.now_ns();
            if now_ns > last_ns {
                resolution_ns = resolution_ns.min(now_ns - last_ns);
            }
            last_ns = now_ns;
        }
        Self {
            lap_ns,
            read_ns: (last_ns - begun_ns) as f64 / LAPS as f64,
            resolution_ns,
        }
    }

    /// The figures, beside the median inter-token latency where there is one.
    pub(super) fn figures(&self, itl_ns: Option<f64>) -> Vec<Measurement> {
        let lap = figures::middle(CASE, "lap_ns", &sorted(&self.lap_ns));
        let share = itl_ns.map(|itl_ns| {
            let share = 100.0 * lap.value / itl_ns;
            Measurement::new(CASE, "share_of_itl_pct", "%", Better::Lower, share, lap.n)
        });
        let mut all = vec![
            Measurement {
                gate: Some(Gate {
                    comparison: Comparison::AtMost,
                    bound: LIMIT_NS,
                    because: "a clock this slow is part of what it measures".into(),
                }),
                ..lap
            },
            figures::duration(CASE, "clock_read_ns".into(), self.read_ns, LAPS),
            figures::duration(
                CASE,
                "clock_resolution_ns".into(),
                self.resolution_ns as f64,
                LAPS,
            ),
        ];
        all.extend(share);
        // What the stopwatch costs is no engine's doing.
        all.into_iter().map(Measurement::aside).collect()
    }
}
