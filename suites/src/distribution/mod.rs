//! Next-token distributions from rows of logits; everything in f64.

mod exp;

pub(crate) use exp::exp;

use statrs::function::erf::erfc;

/// Two rows of logits as distributions, baseline `p` and candidate `q`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Compared {
    /// `KL(p ‖ q) = Σ p (ln p − ln q)` in nats.
    pub(crate) kl: f64,
    /// `ln Σ e^z` of the candidate.
    pub(crate) log_sum_exp: f64,
}

/// Holds `candidate` against `baseline`, of equal length.
pub(crate) fn compare(baseline: &[f32], candidate: &[f32]) -> Compared {
    // With a = max z, Z = Σ e^(z−a), and b, W alike for the candidate:
    // KL = Σ e^(z−a) ((z − a) − (ẑ − b)) / Z + ln W − ln Z, one exponential a
    // logit and engine.
    let (a, b) = (max(baseline), max(candidate));
    let [z_sum, w_sum, weighted] = exp::sums_of_two([baseline, candidate], [a, b]);
    let kl = weighted / z_sum + w_sum.ln() - z_sum.ln();
    Compared {
        // Rounding may leave a hair below the mathematical minimum of zero.
        kl: if kl < 0.0 { 0.0 } else { kl },
        log_sum_exp: b + w_sum.ln(),
    }
}

/// A lower bound of `KL(baseline ‖ candidate)` in nats, from the candidate's `ln q` of
/// some tokens: with all others taken for one outcome the divergence can only shrink
/// (data processing inequality; Cover and Thomas, Elements of Information Theory, 2.8).
pub(crate) fn kl_lower_bound(baseline: &[f32], known: &[(usize, f64)]) -> f64 {
    // What servers lose where they add up a softmax in f32 is a common factor of all that
    // they tell. It changes the bound in second order only, unless less is left for the
    // others than may be lost; then that is taken for it, which makes the bound smaller.
    let lost = baseline.len() as f64 * 2f64.powi(-24);
    let (mut kl, mut p_rest, mut q_rest) = (0.0, 1.0, 1.0);
    let normalizer = log_sum_exp(baseline);
    for &(id, ln_q) in known {
        let ln_p = f64::from(baseline[id]) - normalizer;
        kl += ln_p.exp() * (ln_p - ln_q);
        p_rest -= ln_p.exp();
        q_rest -= ln_q.exp();
    }
    if p_rest > 0.0 && known.len() < baseline.len() {
        kl += p_rest * (p_rest / q_rest.max(lost)).ln();
    }
    kl.max(0.0)
}

/// `log softmax(logits)[id]` in nats.
pub(crate) fn log_probability(logits: &[f32], id: usize) -> f64 {
    f64::from(logits[id]) - log_sum_exp(logits)
}

fn log_sum_exp(logits: &[f32]) -> f64 {
    let max = max(logits);
    max + exp::sum(logits, max).ln()
}

/// Whether every logit is a finite number.
pub(crate) fn all_finite(logits: &[f32]) -> bool {
    const EXPONENT: u32 = 0x7f80_0000;
    // Without a way out in the middle, so that it runs in vectors.
    let bad = |bad: bool, value: &f32| bad | (value.to_bits() & EXPONENT == EXPONENT);
    !logits.iter().fold(false, bad)
}

fn max(logits: &[f32]) -> f64 {
    f64::from(largest(logits))
}

fn largest(logits: &[f32]) -> f32 {
    // In lanes, or else every comparison waits for the one before.
    let mut lanes = [f32::NEG_INFINITY; 16];
    let (blocks, rest) = logits.as_chunks::<16>();
    let larger = |best: f32, value: f32| if value > best { value } else { best };
    for block in blocks {
        for (best, &value) in lanes.iter_mut().zip(block) {
            *best = larger(*best, value);
        }
    }
    lanes
        .into_iter()
        .chain(rest.iter().copied())
        .fold(f32::NEG_INFINITY, larger)
}

/// Ids of the five largest logits, best first; the lower id wins a tie.
pub(crate) fn top5(logits: &[f32]) -> Vec<usize> {
    top(logits, 5)
}

/// Ids of the `count` largest logits, best first; the lower id wins a tie.
pub(crate) fn top(logits: &[f32], count: usize) -> Vec<usize> {
    /// Stretches whose largest logit is too small are passed over.
    const STRETCH: usize = 128;
    let mut best: Vec<usize> = Vec::with_capacity(count + 1);
    let full = |best: &[usize], value: f32| {
        best.len() == count && best.last().is_none_or(|&last| value <= logits[last])
    };
    for (stretch, values) in logits.chunks(STRETCH).enumerate() {
        if full(&best, largest(values)) {
            continue;
        }
        for (offset, &value) in values.iter().enumerate() {
            if full(&best, value) {
                continue;
            }
            let at = best.partition_point(|&other| logits[other] >= value);
            best.insert(at, stretch * STRETCH + offset);
            best.truncate(count);
        }
    }
    best
}

/// Upper bound on the chance that independent normal errors of deviation
/// `sigma` on every logit put another token ahead of `best`: the sum over the
/// others of `Φ(−margin / (σ√2))`, at most 1.
pub(crate) fn flip_probability(logits: &[f32], best: usize, sigma: f64) -> f64 {
    if sigma == 0.0 {
        return 0.0;
    }
    let top = f64::from(logits[best]);
    let sum: f64 = logits
        .iter()
        .enumerate()
        .map(|(id, &value)| (id, (top - f64::from(value)) / (2.0 * sigma)))
        // Φ(−x/(σ√2)) = erfc(x/(2σ)) / 2, and erfc(6) is 2e-17.
        .filter(|&(id, x)| x < 6.0 && id != best)
        .map(|(_, x)| 0.5 * erfc(x))
        .sum();
    sum.min(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn kl_of_a_hand_computed_pair() {
        // p = (1/2, 1/2), q = (3/4, 1/4): KL = ½ ln(2/3) + ½ ln 2.
        let compared = compare(&[0.0, 0.0], &[3f32.ln(), 0.0]);
        let expected = 0.5 * (2f64 / 3.0).ln() + 0.5 * 2f64.ln();
        assert!((compared.kl - expected).abs() < 1e-7, "{compared:?}");
        assert!((compared.log_sum_exp - 4f64.ln()).abs() < 1e-7);
    }

    #[test]
    fn a_lower_bound_of_a_hand_computed_pair() {
        // p = (1/2, 1/4, 1/4), q = (1/4, 1/2, 1/4); of q only the first is known, so the
        // two others are one: ½ ln 2 + ½ ln(2/3).
        let p = [0.5f32.ln(), 0.25f32.ln(), 0.25f32.ln()];
        let bound = kl_lower_bound(&p, &[(0, 0.25f64.ln())]);
        let expected = 0.5 * 2f64.ln() + 0.5 * (2f64 / 3.0).ln();
        assert!((bound - expected).abs() < 1e-6, "{bound} {expected}");
    }

    #[test]
    fn nan_is_not_hidden() {
        assert!(compare(&[0.0, f32::NAN], &[0.0, 1.0]).kl.is_nan());
        assert!(compare(&[0.0, 1.0], &[0.0, f32::INFINITY]).kl.is_nan());
        assert!(log_probability(&[f32::NAN, 0.0], 1).is_nan());
    }

    #[test]
    fn flip_chance_of_one_rival_is_the_normal_tail() {
        // Margin 1, σ = 1/√2: the difference of the errors has deviation 1.
        let chance = flip_probability(&[1.0, 0.0], 0, 0.5f64.sqrt());
        assert!((chance - 0.158_655_254).abs() < 1e-9, "{chance}");
    }

    #[test]
    fn top5_prefers_the_lower_id_of_a_tie() {
        assert_eq!(top5(&[1.0, 3.0, 3.0, 0.0, 2.0, 2.0, 5.0]), [6, 1, 2, 4, 5]);
        assert_eq!(top5(&[0.0, 1.0]), [1, 0]);
    }

    proptest! {
        #[test]
        fn a_part_tells_no_more_than_the_whole(
            pair in prop::collection::vec((-20f32..20.0, -20f32..20.0), 2..40),
            known in 0usize..40,
        ) {
            let (p, q): (Vec<f32>, Vec<f32>) = pair.into_iter().unzip();
            let known: Vec<(usize, f64)> = (0..known.min(q.len()))
                .map(|id| (id, log_probability(&q, id)))
                .collect();
            let bound = kl_lower_bound(&p, &known);
            prop_assert!(bound >= 0.0);
            // What is left for the others is one less up to `len` numbers, so rounded by
            // len · 2⁻⁵³, and taken for len · 2⁻²⁴ at least: off by 2⁻²⁹ of itself.
            prop_assert!(bound <= compare(&p, &q).kl + 2f64.powi(-29));
        }

        #[test]
        fn kl_is_never_negative(
            pair in prop::collection::vec((-50f32..50.0, -50f32..50.0), 2..64),
        ) {
            let (a, b): (Vec<f32>, Vec<f32>) = pair.into_iter().unzip();
            prop_assert!(compare(&a, &b).kl >= 0.0);
        }

        #[test]
        fn both_ways_to_the_log_probability_agree(
            row in prop::collection::vec(-80f32..80.0, 1..64),
        ) {
            let one = f64::from(row[0]) - compare(&row, &row).log_sum_exp;
            prop_assert!((one - log_probability(&row, 0)).abs() < 1e-12);
        }

        #[test]
        fn log_probabilities_sum_to_one(row in prop::collection::vec(-80f32..80.0, 1..64)) {
            let sum: f64 = (0..row.len()).map(|id| log_probability(&row, id).exp()).sum();
            prop_assert!((sum - 1.0).abs() < 1e-12);
        }

        #[test]
        fn the_top_is_the_head_of_a_sort(
            row in prop::collection::vec((-40i8..40).prop_map(f32::from), 1..700),
            count in 0usize..12,
        ) {
            let mut ids: Vec<usize> = (0..row.len()).collect();
            ids.sort_by(|&a, &b| row[b].total_cmp(&row[a]));
            ids.truncate(count);
            prop_assert_eq!(top(&row, count), ids);
        }
    }
}
