//! What must hold for any samples.

use harness_stats::{
    Block, BootstrapOptions, Method, StatsError, bootstrap_interval, mean, median,
    min_samples_for_quantile, min_samples_for_quantile_interval, percentile, quantile_interval,
    quantile_upper_bound, ratio_interval, sample_std, scaled_mad, wilson_interval,
};
use proptest::collection::vec;
use proptest::prelude::*;

fn sorted(range: impl Into<proptest::collection::SizeRange>) -> impl Strategy<Value = Vec<f64>> {
    vec(-1e6..1e6_f64, range).prop_map(|mut samples| {
        samples.sort_by(f64::total_cmp);
        samples
    })
}

fn any_finite() -> impl Strategy<Value = f64> {
    any::<f64>().prop_filter("finite", |x| x.is_finite())
}

fn blocks(range: std::ops::Range<usize>) -> impl Strategy<Value = Vec<Block>> {
    vec((-1e3..1e3_f64, 1.0..1e3_f64), range).prop_map(|pairs| {
        let block = |(numerator, denominator)| Block {
            numerator,
            denominator,
        };
        pairs.into_iter().map(block).collect()
    })
}

fn level() -> impl Strategy<Value = f64> {
    0.001..0.999_f64
}

fn options(seed: u64) -> BootstrapOptions {
    BootstrapOptions {
        resamples: 400,
        seed,
        ..BootstrapOptions::default()
    }
}

proptest! {
    #[test]
    fn percentiles_ascend_within_the_sample(
        mut samples in vec(any_finite(), 1..40), p in 0.0..=1.0, q in 0.0..=1.0
    ) {
        samples.sort_by(f64::total_cmp);
        let (p, q): (f64, f64) = if p <= q { (p, q) } else { (q, p) };
        let (low, high) = (percentile(&samples, p)?, percentile(&samples, q)?);
        prop_assert!(samples[0] <= low && low <= high && high <= samples[samples.len() - 1]);
    }

    #[test]
    fn percentiles_at_whole_ranks_are_samples(samples in sorted(2..40), pick in any::<prop::sample::Index>()) {
        let rank = pick.index(samples.len());
        let got = percentile(&samples, rank as f64 / (samples.len() - 1) as f64)?;
        prop_assert!((got - samples[rank]).abs() < 1e-8);
    }

    #[test]
    fn spreads_ignore_shifts_and_follow_scale(samples in sorted(2..40), shift in -1e6..1e6_f64, scale in 0.1..10.0_f64) {
        let moved: Vec<f64> = samples.iter().map(|x| scale * x + shift).collect();
        for spread in [sample_std, scaled_mad] {
            prop_assert!((spread(&moved)? - scale * spread(&samples)?).abs() < 1e-6);
        }
        prop_assert!((mean(&moved)? - scale * mean(&samples)? - shift).abs() < 1e-6);
    }

    #[test]
    fn quantile_intervals_hold_the_sample_quantile_and_nest(
        samples in sorted(1..300), p in level(), a in level(), b in level()
    ) {
        let (a, b) = if a <= b { (a, b) } else { (b, a) };
        if let Ok(wide) = quantile_interval(&samples, p, b) {
            let narrow = quantile_interval(&samples, p, a)?;
            prop_assert!(wide.low <= narrow.low && narrow.low <= narrow.high && narrow.high <= wide.high);
            // The two-sided end is the one-sided bound with half the error.
            prop_assert_eq!(wide.high, quantile_upper_bound(&samples, p, (1.0 + b) / 2.0)?);
        }
        if b >= 0.5 && let Ok(interval) = quantile_interval(&samples, p, b) {
            let middle = samples[((p * samples.len() as f64) as usize).min(samples.len() - 1)];
            prop_assert!(interval.low <= middle && middle <= interval.high);
        }
    }

    #[test]
    fn the_minimal_sample_is_enough_and_one_less_is_not(p in 0.01..0.99_f64, confidence in level()) {
        let needed = min_samples_for_quantile(p, confidence)?;
        let attained = |n: usize| 1.0 - p.powf(n as f64);
        prop_assert!(attained(needed) >= confidence - 1e-12);
        prop_assert!(needed == 1 || attained(needed - 1) < confidence);
        let samples = vec![0.0; needed];
        prop_assert!(quantile_upper_bound(&samples, p, confidence).is_ok());
        if needed > 1 {
            let few = StatsError::TooFew { n: needed - 1, needed };
            prop_assert_eq!(quantile_upper_bound(&samples[1..], p, confidence), Err(few));
        }
        let both = min_samples_for_quantile_interval(p, confidence)?;
        prop_assert!(both >= min_samples_for_quantile(p, confidence)?);
        prop_assert_eq!(both, min_samples_for_quantile_interval(1.0 - p, confidence)?);
    }

    #[test]
    fn wilson_holds_the_share_and_mirrors(trials in 1..10_000_u64, pick in 0.0..=1.0, confidence in level()) {
        let successes = (pick * trials as f64) as u64;
        let share = successes as f64 / trials as f64;
        let interval = wilson_interval(successes, trials, confidence)?;
        prop_assert!(0.0 <= interval.low && interval.high <= 1.0);
        prop_assert!(interval.low <= share && share <= interval.high);
        let mirrored = wilson_interval(trials - successes, trials, confidence)?;
        prop_assert!((interval.low - (1.0 - mirrored.high)).abs() < 1e-12);
    }

    #[test]
    fn constant_samples_are_degenerate(x in -1e6..1e6_f64, n in 4..20_usize) {
        let estimate = bootstrap_interval(&vec![x; n], mean, options(0))?;
        prop_assert_eq!(estimate.method, Method::Degenerate);
        prop_assert_eq!((estimate.interval.low, estimate.interval.high), (estimate.value, estimate.value));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn bootstraps_ignore_order_and_repeat(
        (samples, shuffled) in vec(-1e3..1e3_f64, 4..30).prop_flat_map(|s| (Just(s.clone()), Just(s).prop_shuffle())),
        seed in any::<u64>(),
    ) {
        let first = bootstrap_interval(&samples, median, options(seed))?;
        prop_assert_eq!(first, bootstrap_interval(&shuffled, median, options(seed))?);
        prop_assert!(first.interval.low <= first.interval.high);
        let extremes = samples.iter().fold((f64::MAX, f64::MIN), |(l, h), &x| (l.min(x), h.max(x)));
        prop_assert!(extremes.0 <= first.interval.low && first.interval.high <= extremes.1);
    }

    #[test]
    fn statistics_see_ascending_samples(samples in vec(-1e3..1e3_f64, 4..30)) {
        let checked = |xs: &[f64]| {
            assert!(xs.is_sorted());
            mean(xs)
        };
        bootstrap_interval(&samples, checked, options(0))?;
    }

    #[test]
    fn block_ratios_ignore_order_and_follow_scale(
        (given, shuffled) in blocks(2..70).prop_flat_map(|b| (Just(b.clone()), Just(b).prop_shuffle())),
        seed in any::<u64>(),
    ) {
        let first = ratio_interval(&given, options(seed))?;
        prop_assert_eq!(first, ratio_interval(&shuffled, options(seed))?);
        prop_assert!(first.interval.low <= first.interval.high);
        // Doubling every numerator is exact in binary.
        let doubled: Vec<Block> = given
            .iter()
            .map(|b| Block { numerator: 2.0 * b.numerator, ..*b })
            .collect();
        let twice = ratio_interval(&doubled, options(seed))?;
        prop_assert_eq!(twice.interval.low, 2.0 * first.interval.low);
        prop_assert_eq!(twice.interval.high, 2.0 * first.interval.high);
    }

    #[test]
    fn more_confidence_is_not_narrower(given in blocks(2..70)) {
        let less = ratio_interval(&given, BootstrapOptions { confidence: 0.8, ..options(0) })?;
        let more = ratio_interval(&given, options(0))?;
        prop_assert!(more.interval.low <= less.interval.low);
        prop_assert!(less.interval.high <= more.interval.high);
    }
}
