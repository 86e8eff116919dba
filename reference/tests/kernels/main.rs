//! Every kernel on every instruction set of the machine against plain f64 loops.
//!
//! Bounds are those of floating-point summation (Higham, *Accuracy and
//! Stability of Numerical Algorithms*, ch. 3 and 4): with unit roundoff
//! u = 2⁻²⁴, a term that goes through at most n roundings is off by a relative
//! γ(n) = n·u / (1 − n·u), whatever the order of the sum. Such bounds grow past
//! the size of single terms, so that one left out of a long sum would pass.
//! Hence each sum is also tested on small integers, where f32 makes no error
//! and nothing but the exact result passes.
#![allow(clippy::unwrap_used)] // Fixture code of a test may panic.

mod attention;
mod elementwise;
mod products;
mod refusals;

use harness_reference::kernels::Kernels;

/// f32's unit roundoff.
const U: f64 = 1.0 / (1 << 24) as f64;

/// γ(n): the relative error that n roundings may add up to.
fn gamma(n: usize) -> f64 {
    let nu = n as f64 * U;
    nu / (1.0 - nu)
}

fn each_isa(mut check: impl FnMut(&Kernels)) {
    for name in Kernels::available() {
        check(&Kernels::named(name).unwrap());
    }
}

/// SplitMix64 (Steele et al. 2014): shapes are proptest's to choose and shrink,
/// numbers follow from one seed.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// Even over `low..high`.
    fn float(&mut self, low: f32, high: f32) -> f32 {
        low + (high - low) * (self.next() >> 40) as f32 * U as f32
    }

    /// An integer of `low..=high`.
    fn integer(&mut self, low: i32, high: i32) -> f32 {
        (low + (self.next() % (high - low + 1) as u64) as i32) as f32
    }

    /// Magnitudes over six decades, with zeros among them.
    fn wide(&mut self) -> f32 {
        match self.next() % 8 {
            0 => 0.0,
            _ => self.float(-1.0, 1.0) * 10f32.powi(self.integer(-3, 3) as i32),
        }
    }

    fn floats(&mut self, len: usize, low: f32, high: f32) -> Vec<f32> {
        (0..len).map(|_| self.float(low, high)).collect()
    }

    fn integers(&mut self, len: usize, low: i32, high: i32) -> Vec<f32> {
        (0..len).map(|_| self.integer(low, high)).collect()
    }

    fn wides(&mut self, len: usize) -> Vec<f32> {
        (0..len).map(|_| self.wide()).collect()
    }

    fn bytes(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| self.next() as u8).collect()
    }
}
