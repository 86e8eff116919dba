//! What must hold of tests, shifts, slopes and change points for any samples.

use harness_stats::{
    Alternative, ChangePointOptions, PermutationOptions, StatsError, WarmUp, benjamini_hochberg,
    e_divisive, hodges_lehmann, holm, mann_whitney, pelt, prediction_interval, theil_sen, warm_up,
};
use proptest::collection::vec;
use proptest::prelude::*;

/// Values with many ties.
fn coarse(range: std::ops::Range<usize>) -> impl Strategy<Value = Vec<f64>> {
    vec((-9..9_i32).prop_map(f64::from), range)
}

/// Values without ties, even among differences of two samples, but for bad luck.
fn fine(range: std::ops::Range<usize>) -> impl Strategy<Value = Vec<f64>> {
    vec(-1e3..1e3_f64, range)
}

fn options() -> ChangePointOptions {
    ChangePointOptions {
        test: PermutationOptions {
            permutations: 99,
            ..PermutationOptions::default()
        },
        ..ChangePointOptions::default()
    }
}

proptest! {
    #[test]
    fn swapped_samples_mirror_the_test(x in coarse(1..70), y in coarse(1..70)) {
        let test = |x, y, alternative| mann_whitney(x, y, alternative);
        let two_sided = test(&x, &y, Alternative::TwoSided)?;
        prop_assert!(0.0 < two_sided.p && two_sided.p <= 1.0);
        let swapped = test(&y, &x, Alternative::TwoSided)?;
        prop_assert_eq!(two_sided.u + swapped.u, (x.len() * y.len()) as f64);
        prop_assert!((two_sided.p - swapped.p).abs() < 1e-12);
        let (less, greater) = (test(&x, &y, Alternative::Less)?, test(&y, &x, Alternative::Greater)?);
        prop_assert!((less.p - greater.p).abs() < 1e-12);
    }

    #[test]
    fn the_shift_interval_inverts_the_test(x in fine(4..75), y in fine(4..75), shift in -2e3..2e3_f64) {
        let moved: Vec<f64> = y.iter().map(|y| y + shift).collect();
        let interval = hodges_lehmann(&x, &moved, 0.95)?.interval;
        let rejected = mann_whitney(&x, &moved, Alternative::TwoSided)?.p <= 0.05;
        prop_assert_eq!(rejected, !(interval.low..=interval.high).contains(&0.0));
    }

    #[test]
    fn shifts_are_within_the_differences_and_mirror(x in coarse(4..40), y in coarse(4..40)) {
        let there = hodges_lehmann(&x, &y, 0.9)?;
        let back = hodges_lehmann(&y, &x, 0.9)?;
        prop_assert_eq!(there.value, -back.value);
        prop_assert_eq!((there.interval.low, there.interval.high), (-back.interval.high, -back.interval.low));
        prop_assert!(there.interval.low <= there.value && there.value <= there.interval.high);
    }

    #[test]
    fn slopes_are_those_of_all_pairs(y in coarse(8..30), slope in -5..5_i32) {
        let x: Vec<f64> = (0..y.len()).map(|i| (i / 2 * 4) as f64).collect();
        let tilted: Vec<f64> = x.iter().zip(&y).map(|(x, y)| f64::from(slope) * x + y).collect();
        let mut all: Vec<f64> = Vec::new();
        for j in 0..x.len() {
            for i in (0..j).filter(|&i| x[i] != x[j]) {
                all.push((tilted[j] - tilted[i]) / (x[j] - x[i]));
            }
        }
        all.sort_by(f64::total_cmp);
        let median = (all[(all.len() - 1) / 2] + all[all.len() / 2]) / 2.0;
        // Few points with ties may promise too little.
        match theil_sen(&x, &tilted, 0.8) {
            Ok(fit) => {
                prop_assert!((fit.value - median).abs() < 1e-12);
                prop_assert!(fit.interval.low <= fit.value && fit.value <= fit.interval.high);
            }
            Err(error) => {
                let too_few = matches!(error, StatsError::TooFew { .. });
                prop_assert!(too_few);
            }
        }
    }

    /// Holm is the closed test whose intersections are tested by Bonferroni: the
    /// p-value of a hypothesis is the largest over all sets of which it is one.
    #[test]
    fn holm_is_the_closure_of_bonferroni(p in vec((0..=20_u32).prop_map(|p| f64::from(p) / 20.0), 1..8)) {
        let adjusted = holm(&p)?;
        for (index, adjusted) in adjusted.iter().enumerate() {
            let mut closed: f64 = 0.0;
            for set in (1..1_u32 << p.len()).filter(|set| set >> index & 1 == 1) {
                let members = || (0..p.len()).filter(|i| set >> i & 1 == 1);
                let smallest = members().map(|i| p[i]).fold(1.0, f64::min);
                closed = closed.max((members().count() as f64 * smallest).min(1.0));
            }
            prop_assert!((adjusted - closed).abs() < 1e-15);
        }
    }

    #[test]
    fn adjusted_p_values_keep_the_order(p in vec(0.0..=1.0_f64, 1..40)) {
        let (holm, bh) = (holm(&p)?, benjamini_hochberg(&p)?);
        for i in 0..p.len() {
            prop_assert!(p[i] <= bh[i] && bh[i] <= holm[i] && holm[i] <= 1.0);
            for j in 0..p.len() {
                prop_assert!(p[i] > p[j] || (holm[i] <= holm[j] && bh[i] <= bh[j]));
            }
        }
    }

    #[test]
    fn predictions_follow_scale_and_order(samples in coarse(4..60)) {
        let next = prediction_interval(&samples, 0.9)?;
        prop_assert!(next.interval.low <= next.value && next.value <= next.interval.high);
        let doubled: Vec<f64> = samples.iter().rev().map(|x| 2.0 * x).collect();
        let twice = prediction_interval(&doubled, 0.9)?;
        prop_assert_eq!(twice.interval.high, 2.0 * next.interval.high);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn change_points_ascend_and_repeat(series in coarse(10..80), step in 0..12_i32, at in 0..80_usize) {
        let mut series = series;
        for x in series.iter_mut().skip(at) {
            *x += f64::from(step);
        }
        for method in [e_divisive, pelt] {
            let found = method(&series, options())?;
            prop_assert_eq!(&found, &method(&series, options())?);
            let mut last = 0;
            for change in &found {
                prop_assert!(change.index >= last + 5 && change.index + 5 <= series.len());
                prop_assert!(change.bracket.0 < change.index && change.index <= change.bracket.1);
                prop_assert!(change.bracket.1 < series.len());
                prop_assert!(0.0 < change.p && change.p <= 0.05);
                last = change.index;
            }
        }
    }

    #[test]
    fn places_have_no_unit(series in coarse(20..60), step in 0..12_i32) {
        let mut series = series;
        for x in series.iter_mut().skip(10) {
            *x += f64::from(step);
        }
        let scaled: Vec<f64> = series.iter().map(|x| x * 1024.0).collect();
        for method in [e_divisive, pelt] {
            let places = |series: &[f64]| -> Result<Vec<_>, StatsError> {
                let found = method(series, options())?;
                Ok(found.iter().map(|change| (change.index, change.bracket)).collect())
            };
            prop_assert_eq!(places(&series)?, places(&scaled)?);
        }
    }

    #[test]
    fn monotone_transforms_change_nothing_but_places(series in coarse(20..60), step in 0..12_i32) {
        let mut series = series;
        for x in series.iter_mut().skip(10) {
            *x += f64::from(step);
        }
        let transformed: Vec<f64> = series.iter().map(|x| (x / 5.0).exp()).collect();
        for method in [e_divisive, pelt] {
            let found = |series: &[f64]| -> Result<Vec<f64>, StatsError> {
                Ok(method(series, options())?.iter().map(|change| change.p).collect())
            };
            prop_assert_eq!(found(&series)?, found(&transformed)?);
        }
        let settled = warm_up(&series, options().test)?;
        prop_assert_eq!(settled, warm_up(&transformed, options().test)?);
        if let WarmUp::Settled { at } = settled {
            prop_assert!(at <= series.len() / 2);
        }
    }
}
