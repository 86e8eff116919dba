//! Sums of exponentials over rows of logits, in f64, eight lanes at a time.
//!
//! A vocabulary of 50,000 means 50,000 exponentials a token; calls of the C
//! library would take longer than a small model does. The arithmetic here is
//! the same on every processor, lane by lane, and so are the sums.

use std::f64::consts::{LN_2, LOG2_E};

const LANES: usize = 8;

/// `Σ e^(zᵢ − max)` over `row`, none of which may exceed `max`.
pub(super) fn sum(row: &[f32], max: f64) -> f64 {
    #[cfg(target_arch = "x86_64")]
    {
        if is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512dq") {
            // SAFETY: the processor was just asked for these instructions.
            return unsafe { x86::sum_avx512(row, max) };
        }
        if is_x86_feature_detected!("avx2") {
            // SAFETY: as above.
            return unsafe { x86::sum_avx2(row, max) };
        }
    }
    sum_lanes(row, max)
}

/// `Σ e^(aᵢ − a)`, `Σ e^(bᵢ − b)` and `Σ e^(aᵢ − a) ((aᵢ − a) − (bᵢ − b))` over two
/// rows of equal length, with `a` and `b` their maxima.
pub(super) fn sums_of_two(rows: [&[f32]; 2], maxima: [f64; 2]) -> [f64; 3] {
    #[cfg(target_arch = "x86_64")]
    {
        if is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512dq") {
            // SAFETY: the processor was just asked for these instructions.
            return unsafe { x86::sums_of_two_avx512(rows, maxima) };
        }
        if is_x86_feature_detected!("avx2") {
            // SAFETY: as above.
            return unsafe { x86::sums_of_two_avx2(rows, maxima) };
        }
    }
    sums_of_two_lanes(rows, maxima)
}

/// The same loops, compiled for wider registers. Nothing is contracted to fused
/// multiply-adds, so the bits do not change.
#[cfg(target_arch = "x86_64")]
mod x86 {
    #[target_feature(enable = "avx512f,avx512dq")]
    pub(super) fn sum_avx512(row: &[f32], max: f64) -> f64 {
        super::sum_lanes(row, max)
    }

    #[target_feature(enable = "avx2")]
    pub(super) fn sum_avx2(row: &[f32], max: f64) -> f64 {
        super::sum_lanes(row, max)
    }

    #[target_feature(enable = "avx512f,avx512dq")]
    pub(super) fn sums_of_two_avx512(rows: [&[f32]; 2], maxima: [f64; 2]) -> [f64; 3] {
        super::sums_of_two_lanes(rows, maxima)
    }

    #[target_feature(enable = "avx2")]
    pub(super) fn sums_of_two_avx2(rows: [&[f32]; 2], maxima: [f64; 2]) -> [f64; 3] {
        super::sums_of_two_lanes(rows, maxima)
    }
}

#[inline(always)]
fn sum_lanes(row: &[f32], max: f64) -> f64 {
    let mut sums = [0.0; LANES];
    let (blocks, rest) = row.as_chunks();
    for block in blocks {
        add(&mut sums, exponentials(below(block, max)));
    }
    for (sum, &value) in sums.iter_mut().zip(rest) {
        *sum += exp(f64::from(value) - max);
    }
    sums.iter().sum()
}

#[inline(always)]
fn sums_of_two_lanes([first, second]: [&[f32]; 2], [a, b]: [f64; 2]) -> [f64; 3] {
    let (mut ours, mut theirs, mut weighted) = ([0.0; LANES], [0.0; LANES], [0.0; LANES]);
    let (blocks, rest) = first.as_chunks();
    let (others, other_rest) = second.as_chunks();
    for (block, other) in blocks.iter().zip(others) {
        let (x, y) = (below(block, a), below(other, b));
        let e = exponentials(x);
        add(&mut ours, e);
        add(&mut theirs, exponentials(y));
        add(
            &mut weighted,
            std::array::from_fn(|lane| e[lane] * (x[lane] - y[lane])),
        );
    }
    for (lane, (&x, &y)) in rest.iter().zip(other_rest).enumerate() {
        let (x, y) = (f64::from(x) - a, f64::from(y) - b);
        let e = exp(x);
        ours[lane] += e;
        theirs[lane] += exp(y);
        weighted[lane] += e * (x - y);
    }
    [ours, theirs, weighted].map(|lanes| lanes.iter().sum())
}

#[inline(always)]
fn below(block: &[f32; LANES], max: f64) -> [f64; LANES] {
    std::array::from_fn(|lane| f64::from(block[lane]) - max)
}

#[inline(always)]
fn exponentials(x: [f64; LANES]) -> [f64; LANES] {
    std::array::from_fn(|lane| exp(x[lane]))
}

#[inline(always)]
fn add(sums: &mut [f64; LANES], values: [f64; LANES]) {
    for (sum, value) in sums.iter_mut().zip(values) {
        *sum += value;
    }
}

/// `e^x` for `x ≤ 0` within 4 units of the last place; `x` below −700, where
/// `e^x < 1e-304`, counts as −700, and so does −∞. NaN stays NaN.
///
/// `x = n ln 2 + r` with `|r| ≤ ln 2 / 2`: Taylor's polynomial of degree 13 leaves
/// out `r¹⁴/14! < 5e-18`, and `2ⁿ` is an exponent.
#[inline(always)]
pub(crate) fn exp(x: f64) -> f64 {
    /// Adding it rounds to a whole number, which stands in the lowest bits.
    const ROUND: f64 = 1.5 * (1u64 << 52) as f64;
    /// `ln 2` without its last 21 bits, so that small multiples are exact.
    const HIGH: f64 = f64::from_bits(LN_2.to_bits() & !((1 << 21) - 1));
    /// `ln 2` as f64 rounds it misses this much; and what `HIGH` leaves of it.
    const LOW: f64 = (LN_2 - HIGH) + 2.319_046_813_846_3e-17;
    let x = if x < -700.0 { -700.0 } else { x };
    let shifted = x * LOG2_E + ROUND;
    let n = shifted - ROUND;
    let r = x - n * HIGH - n * LOW;
    let mut value = INVERSE_FACTORIALS[13];
    for &coefficient in INVERSE_FACTORIALS[..13].iter().rev() {
        value = value * r + coefficient;
    }
    let power = f64::from_bits(shifted.to_bits().wrapping_add(1023) << 52);
    value * power
}

/// `1/k!`
const INVERSE_FACTORIALS: [f64; 14] = {
    let mut table = [1.0; 14];
    let mut factorial = 1.0;
    let mut k = 1;
    while k < table.len() {
        factorial *= k as f64;
        table[k] = 1.0 / factorial;
        k += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_the_exponential() {
        for step in 0..700_000 {
            let x = -f64::from(step) / 1000.0 * 0.999;
            let (ours, theirs) = (exp(x), x.exp());
            // Four units of ours, one of the library's.
            let slack = 5.0 * f64::EPSILON * theirs;
            assert!((ours - theirs).abs() <= slack, "e^{x}: {ours} {theirs}");
        }
        assert_eq!(exp(0.0), 1.0);
        assert!(exp(f64::NEG_INFINITY) < 1e-303);
        assert!(exp(f64::NAN).is_nan());
    }

    #[test]
    fn every_instruction_set_gives_the_same_bits() {
        let row = |seed: u32| -> Vec<f32> {
            (0..1003u32)
                .map(|i| ((i * 7919 + seed * 104_729) % 4001) as f32 / -97.0)
                .collect()
        };
        let (a, b) = (row(1), row(2));
        assert_eq!(sum(&a, 0.0).to_bits(), sum_lanes(&a, 0.0).to_bits());
        assert_eq!(
            sums_of_two([&a, &b], [0.0; 2]).map(f64::to_bits),
            sums_of_two_lanes([&a, &b], [0.0; 2]).map(f64::to_bits)
        );
    }
}
