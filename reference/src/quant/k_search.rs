//! GGML's searches for the scale of a K-quant's sub-block: every code is the
//! nearest level, and among several scales the one of least weighted error
//! wins. Sums run in order and in f32, so that results are GGML's to the bit.

/// Groups of a magnitude below this are taken as zero.
pub(super) const ZERO: f32 = 1e-15;

/// `value` rounded to the nearest integer, ties to even, if its magnitude is
/// below 2²². Others come out as some integer, which callers clamp.
pub(super) fn nearest(value: f32) -> i32 {
    // Adding 1.5 · 2²³ leaves the integer in the low bits of the sum.
    let bits = (value + 12_582_912.0).to_bits();
    (bits & 0x007f_ffff) as i32 - 0x0040_0000
}

/// Scales that the affine search tries: `(first + step · n + levels) / range`
/// for `n` from 0 to `steps`.
pub(super) struct Trials {
    pub(super) first: f32,
    pub(super) step: f32,
    pub(super) steps: u8,
    /// Whether errors count by magnitude instead of by square.
    pub(super) absolute: bool,
}

/// Codes `0..=levels` with `x ≈ scale · code − min`, `min ≥ 0`.
pub(super) struct Affine<const N: usize> {
    pub(super) codes: [u8; N],
    pub(super) scale: f32,
    pub(super) min: f32,
}

/// `make_qkx2_quants` of ggml-quants.c: a least-squares fit of scale and
/// minimum to the codes of every trial.
pub(super) fn affine<const N: usize>(
    x: &[f32; N],
    weights: &[f32; N],
    levels: u8,
    trials: &Trials,
) -> Affine<N> {
    let (mut min, mut max) = (x[0], x[0]);
    let mut sum_w = weights[0];
    let mut sum_x = sum_w * x[0];
    for (&x, &w) in x.iter().zip(weights).skip(1) {
        if x < min {
            min = x;
        }
        if x > max {
            max = x;
        }
        sum_w += w;
        sum_x += w * x;
    }
    // Zero stays representable.
    if min > 0.0 {
        min = 0.0;
    }
    if max == min {
        return Affine {
            codes: [0; N],
            scale: 0.0,
            min: -min,
        };
    }
    let codes_at = |inverse: f32, min: f32| {
        x.map(|x| nearest(inverse * (x - min)).clamp(0, i32::from(levels)) as u8)
    };
    let error = |codes: &[u8; N], scale: f32, min: f32| {
        let mut error = 0.0;
        for ((&code, &x), &w) in codes.iter().zip(x).zip(weights) {
            let difference = scale * f32::from(code) + min - x;
            error += w * if trials.absolute {
                difference.abs()
            } else {
                difference * difference
            };
        }
        error
    };
    let inverse = f32::from(levels) / (max - min);
    let mut scale = 1.0 / inverse;
    let mut codes = codes_at(inverse, min);
    let mut best = error(&codes, scale, min);
    for n in 0..=trials.steps {
        // The range counts from the best minimum so far, as GGML has it.
        let inverse = (trials.first + trials.step * f32::from(n) + f32::from(levels)) / (max - min);
        let trial = codes_at(inverse, min);
        let (mut sum_l, mut sum_l2, mut sum_xl) = (0.0, 0.0, 0.0);
        for ((&code, &x), &w) in trial.iter().zip(x).zip(weights) {
            let l = f32::from(code);
            sum_l += w * l;
            sum_l2 += w * l * l;
            sum_xl += w * l * x;
        }
        let determinant = sum_w * sum_l2 - sum_l * sum_l;
        if determinant > 0.0 {
            let mut this_scale = (sum_w * sum_xl - sum_x * sum_l) / determinant;
            let mut this_min = (sum_l2 * sum_x - sum_l * sum_xl) / determinant;
            if this_min > 0.0 {
                this_min = 0.0;
                this_scale = sum_xl / sum_l2;
            }
            let this = error(&trial, this_scale, this_min);
            if this < best {
                (codes, best, scale, min) = (trial, this, this_scale, this_min);
            }
        }
    }
    Affine {
        codes,
        scale,
        min: -min,
    }
}

/// Codes `0..2·zero` with `x ≈ scale · (code − zero)`.
pub(super) struct Symmetric<const N: usize> {
    pub(super) codes: [u8; N],
    pub(super) scale: f32,
}

/// `make_qx_quants` of ggml-quants.c with weights x²: the best of 19 scales
/// about the one that puts the extreme on the outermost level.
pub(super) fn symmetric<const N: usize>(x: &[f32; N], zero: u8) -> Symmetric<N> {
    let extreme = super::extreme(x);
    if extreme.abs() < ZERO {
        return Symmetric {
            codes: [0; N],
            scale: 0.0,
        };
    }
    let levels = i32::from(zero);
    let level = |inverse: f32, x: f32| nearest(inverse * x).clamp(-levels, levels - 1);
    let sums = |inverse: f32| {
        let (mut sum_lx, mut sum_l2) = (0.0, 0.0);
        for &x in x {
            let l = level(inverse, x) as f32;
            let w = x * x;
            sum_lx += w * x * l;
            sum_l2 += w * l * l;
        }
        (sum_lx, sum_l2)
    };
    let codes = |inverse: f32| x.map(|x| (levels + level(inverse, x)) as u8);
    let mut chosen = -f32::from(zero) / extreme;
    let (sum_lx, sum_l2) = sums(chosen);
    let mut scale = if sum_l2 == 0.0 { 0.0 } else { sum_lx / sum_l2 };
    let mut best = scale * sum_lx;
    for n in (-9..=9i8).filter(|&n| n != 0) {
        let inverse = -(f32::from(zero) + 0.1 * f32::from(n)) / extreme;
        let (sum_lx, sum_l2) = sums(inverse);
        if sum_l2 > 0.0 && sum_lx * sum_lx > best * sum_l2 {
            scale = sum_lx / sum_l2;
            best = scale * sum_lx;
            chosen = inverse;
        }
    }
    Symmetric {
        codes: codes(chosen),
        scale,
    }
}

/// `make_q3_quants` of ggml-quants.c with weights x²: codes are moved one by
/// one while the fit improves, for five rounds at most.
pub(super) fn coordinate_descent<const N: usize>(x: &[f32; N], zero: u8) -> Symmetric<N> {
    let extreme = super::extreme(x);
    if extreme.abs() < ZERO {
        return Symmetric {
            codes: [0; N],
            scale: 0.0,
        };
    }
    let levels = i32::from(zero);
    let clamped = |value: f32| nearest(value).clamp(-levels, levels - 1);
    let inverse = -f32::from(zero) / extreme;
    let mut codes = x.map(|x| clamped(inverse * x));
    let (mut sum_lx, mut sum_l2) = (0.0, 0.0);
    for (&x, &code) in x.iter().zip(&codes) {
        let (w, l) = (x * x, code as f32);
        sum_lx += w * x * l;
        sum_l2 += w * l * l;
    }
    for _ in 0..5 {
        let mut changed = false;
        for (&x, code) in x.iter().zip(&mut codes) {
            let (w, l) = (x * x, *code as f32);
            let without_lx = sum_lx - w * x * l;
            if without_lx > 0.0 {
                let without_l2 = sum_l2 - w * l * l;
                let moved = clamped(x * without_l2 / without_lx);
                if moved != *code {
                    let l = moved as f32;
                    let (lx, l2) = (without_lx + w * x * l, without_l2 + w * l * l);
                    if l2 > 0.0 && lx * lx * sum_l2 > sum_lx * sum_lx * l2 {
                        (*code, sum_lx, sum_l2) = (moved, lx, l2);
                        changed = true;
                    }
                }
            }
        }
        if !changed {
            break;
        }
    }
    Symmetric {
        codes: codes.map(|code| (code + levels) as u8),
        scale: if sum_l2 > 0.0 { sum_lx / sum_l2 } else { 0.0 },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nearest_rounds_ties_to_even() {
        for (value, rounded) in [(0.5, 0), (1.5, 2), (-0.5, 0), (-1.5, -2), (-7.49, -7)] {
            assert_eq!(nearest(value), rounded, "{value}");
        }
        assert_eq!(nearest(4_194_303.0), 4_194_303);
    }
}
