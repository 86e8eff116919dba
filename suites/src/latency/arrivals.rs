//! When requests come.

use std::str::FromStr;

use rand::SeedableRng;
use rand::distr::{Distribution, StandardUniform};
use rand_chacha::ChaCha8Rng;

/// Most requests of one case, which bounds the memory for their times.
pub(super) const MOST_REQUESTS: usize = 1 << 14;

/// The process that requests come by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Process {
    /// At equal distances.
    Constant,
    /// Independently of each other: distances are exponential.
    Poisson,
}

impl FromStr for Process {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "constant" => Ok(Self::Constant),
            "poisson" => Ok(Self::Poisson),
            _ => Err("expected constant or poisson".into()),
        }
    }
}

/// Arrivals in nanoseconds after the start: the first at once, then those that come
/// within `span_ns`. The same seed gives the same schedule.
pub(super) fn schedule(process: Process, rate_per_s: f64, span_ns: u64, seed: u64) -> Vec<u64> {
    let mean_ns = 1e9 / rate_per_s;
    let mut stream = ChaCha8Rng::seed_from_u64(seed);
    let mut at_ns = 0.0;
    let mut schedule = Vec::new();
    while schedule.is_empty() || (at_ns < span_ns as f64 && schedule.len() < MOST_REQUESTS) {
        schedule.push(at_ns as u64);
        at_ns += match process {
            Process::Constant => mean_ns,
            // The inverse of 1 - exp(-t / mean), at a number in [0, 1).
            Process::Poisson => {
                let u: f64 = StandardUniform.sample(&mut stream);
                -(-u).ln_1p() * mean_ns
            }
        };
    }
    schedule
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn constant_arrivals_are_equally_far_apart() {
        let schedule = schedule(Process::Constant, 1_000.0, 5_000_000, 1);
        assert_eq!(schedule, [0, 1_000_000, 2_000_000, 3_000_000, 4_000_000]);
    }

    #[test]
    fn one_request_always_comes() {
        assert_eq!(schedule(Process::Constant, 1e-9, 1, 1), [0]);
        assert_eq!(
            schedule(Process::Poisson, 1e300, 1_000, 1).len(),
            MOST_REQUESTS
        );
    }

    #[test]
    fn poisson_arrivals_have_exponential_gaps() {
        let n = MOST_REQUESTS;
        let arrivals = schedule(Process::Poisson, 1_000.0, u64::MAX, 7);
        let mut gaps: Vec<f64> = arrivals
            .windows(2)
            .map(|pair| (pair[1] - pair[0]) as f64 / 1e6)
            .collect();
        gaps.sort_by(f64::total_cmp);
        // Kolmogorov and Smirnov's distance to 1 - exp(-t); by the Dvoretzky-Kiefer-Wolfowitz
        // inequality it exceeds `bound` once in a million seeds.
        let steps = gaps.iter().enumerate();
        let distance = steps
            .map(|(rank, gap)| (-(-gap).exp_m1() - rank as f64 / (n - 1) as f64).abs())
            .fold(0.0, f64::max);
        let bound = ((2e6_f64).ln() / 2.0 / (n - 1) as f64).sqrt() + 1.0 / (n - 1) as f64;
        assert!(distance < bound, "{distance} against {bound}");
        assert_eq!(arrivals, schedule(Process::Poisson, 1_000.0, u64::MAX, 7));
        assert_ne!(arrivals, schedule(Process::Poisson, 1_000.0, u64::MAX, 8));
    }
}
