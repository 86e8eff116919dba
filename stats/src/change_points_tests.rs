use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use statrs::distribution::{ContinuousCDF, Normal};

use super::*;

fn noise(stream: &mut ChaCha8Rng, n: usize) -> Vec<f64> {
    let normal = Normal::standard();
    (0..n)
        .map(|_| normal.inverse_cdf(stream.random::<f64>().max(f64::MIN_POSITIVE)))
        .collect()
}

fn options(seed: u64) -> ChangePointOptions {
    ChangePointOptions {
        test: PermutationOptions {
            permutations: 199,
            seed,
            ..PermutationOptions::default()
        },
        ..ChangePointOptions::default()
    }
}

#[test]
fn noise_alone_raises_the_nominal_share_of_alarms() {
    let trials = 400;
    let mut stream = ChaCha8Rng::seed_from_u64(1);
    let mut alarms = [0; 2];
    for seed in 0..trials {
        let series = noise(&mut stream, 60);
        for (method, alarms) in [e_divisive, pelt].iter().zip(&mut alarms) {
            *alarms += u32::from(!method(&series, options(seed)).unwrap().is_empty());
        }
    }
    // Bin(400, 0.05) exceeds 38 with probability 5e-5.
    assert!(alarms[0] <= 38, "{alarms:?}");
    assert!(alarms[1] <= 38, "{alarms:?}");
}

#[test]
fn steps_are_found_where_they_are() {
    let mut stream = ChaCha8Rng::seed_from_u64(2);
    let mut series = noise(&mut stream, 120);
    for x in &mut series[40..80] {
        *x += 5.0;
    }
    for x in &mut series[80..] {
        *x += 2.0;
    }
    // Outliers on either side of a change must not matter.
    series[10] = 1e6;
    series[100] = -1e6;
    for method in [e_divisive, pelt] {
        let found = method(&series, options(0)).unwrap();
        let directions: Vec<Direction> = found.iter().map(|change| change.direction).collect();
        assert_eq!(directions, [Direction::Up, Direction::Down], "{found:?}");
        for (change, (at, step)) in found.iter().zip([(40, 5.0), (80, -3.0)]) {
            assert!(change.index.abs_diff(at) <= 1, "{change:?}");
            assert!(
                change.bracket.0 < at && at <= change.bracket.1,
                "{change:?}"
            );
            assert!((change.size.value - step).abs() < 1.0, "{change:?}");
            assert!(0.0 < change.p && change.p <= 0.05);
        }
    }
}

#[test]
fn a_change_of_spread_is_one_of_shape() {
    let mut stream = ChaCha8Rng::seed_from_u64(3);
    let mut series = noise(&mut stream, 300);
    for x in &mut series[150..] {
        *x *= 8.0;
    }
    for method in [e_divisive, pelt] {
        let found = method(&series, options(0)).unwrap();
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].direction, Direction::Shape);
        assert!(found[0].index.abs_diff(150) < 10);
    }
}

#[test]
fn pelt_sees_a_bump_and_a_long_series() {
    let mut stream = ChaCha8Rng::seed_from_u64(4);
    let mut series = noise(&mut stream, 3_000);
    for x in &mut series[1_000..1_030] {
        *x += 4.0;
    }
    let found = pelt(&series, options(0)).unwrap();
    let indices: Vec<usize> = found.iter().map(|change| change.index).collect();
    assert!(indices.len() == 2, "{indices:?}");
    assert!(indices[0].abs_diff(1_000) <= 1 && indices[1].abs_diff(1_030) <= 1);
}

#[test]
fn a_quick_look_keeps_its_promise_and_sees_what_matters() {
    let trials = 2_000;
    let mut stream = ChaCha8Rng::seed_from_u64(7);
    // Continuous noise, and figures of few values, of which some are rare.
    for (n, values) in [(10, 0.0), (30, 0.0), (100, 0.0), (100, 1.0), (60, 0.2)] {
        let mut alarms = 0;
        for _ in 0..trials {
            let mut series = noise(&mut stream, n);
            if values > 0.0 {
                series.iter_mut().for_each(|x| *x = (*x * values).round());
            }
            alarms += u32::from(level_change_p(&series, 5).unwrap() <= 0.05);
        }
        // Bin(2000, 0.05) exceeds 138 with probability 1e-4.
        assert!(alarms <= 138, "{n} {values}: {alarms}");
    }
    // Three deviations for the last tenth of 100, or in between: noise has such a p-value
    // less than once in the number of series a large history has.
    for range in [90..100, 40..52] {
        let mut series = noise(&mut stream, 100);
        for x in &mut series[range] {
            *x += 3.0;
        }
        assert!(level_change_p(&series, 5).unwrap() < 1e-2);
    }
    let mut series = noise(&mut stream, 100);
    for x in &mut series[50..] {
        *x += 3.0;
    }
    assert!(level_change_p(&series, 5).unwrap() < 1e-10);
}

#[test]
fn brackets_hold_the_change() {
    let trials = 60;
    let mut stream = ChaCha8Rng::seed_from_u64(5);
    let mut held = 0;
    for seed in 0..trials {
        let mut series = noise(&mut stream, 80);
        for x in &mut series[40..] {
            *x += 2.0;
        }
        let found = e_divisive(&series, options(seed)).unwrap();
        held += usize::from(
            found
                .iter()
                .any(|change| change.bracket.0 < 40 && 40 <= change.bracket.1),
        );
    }
    // Bin(60, 0.95) is below 50 with probability 5e-4.
    assert!(held >= 50, "{held}");
}

/// What pruning leaves out cannot be the best: the plain optimal partition agrees.
#[test]
fn pruning_changes_nothing() {
    let mut stream = ChaCha8Rng::seed_from_u64(6);
    for trial in 0..10 {
        let mut series = noise(&mut stream, 90);
        for x in &mut series[30 + trial..60] {
            *x += 0.3 * trial as f64;
        }
        let pruned = pelt::optimal_partition(&series, 5, 9.0, true);
        assert_eq!(
            pruned,
            pelt::optimal_partition(&series, 5, 9.0, false),
            "{trial}"
        );
    }
}

#[test]
fn bad_input_is_an_error() {
    let options = ChangePointOptions::default();
    for method in [e_divisive, pelt] {
        assert_eq!(method(&[], options), Err(StatsError::Empty));
        assert_eq!(
            method(&[1.0, f64::NAN], options),
            Err(StatsError::NotFinite { index: 1 })
        );
        assert_eq!(
            method(&[1.0; 9], options),
            Err(StatsError::TooFew { n: 9, needed: 10 })
        );
        let short = ChangePointOptions {
            min_segment: 3,
            ..options
        };
        assert_eq!(
            method(&[1.0; 9], short),
            Err(StatsError::TooFew { n: 3, needed: 4 })
        );
        assert_eq!(method(&[1.0; 30], options), Ok(vec![]));
    }
}
