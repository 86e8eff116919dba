//! What the benchmarks of statistics compute on.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// `n` times in nanoseconds about `level`, with the long right tail that times have.
pub(crate) fn times(n: usize, level: f64, seed: u64) -> Vec<f64> {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut one = || level * (1.0 - 0.02 * f64::ln(1.0 - random.random::<f64>()));
    (0..n).map(|_| one()).collect()
}
