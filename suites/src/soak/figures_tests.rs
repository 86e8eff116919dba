use proptest::prelude::*;

use super::*;
use crate::soak::conditions::Conditions;

fn cycle(committed_bytes: f64, decode_ns: f64) -> Cycle {
    Cycle {
        committed_bytes,
        decode_ns,
        ..Cycle::TOUCHED
    }
}

/// A process of 20 MiB whose allocator grows in the first cycles and jitters by some pages.
fn soak(cycles: usize, leak_bytes: f64, jitter: &[u8]) -> Vec<Cycle> {
    (0..cycles)
        .map(|index| {
            let warm_up = 300_000.0 * (1.0 - (-(index as f64) / 2.0).exp());
            let pages = f64::from(jitter[index % jitter.len()] % 8);
            let bytes = (20 << 20) as f64 + warm_up + 4096.0 * pages;
            cycle(bytes + leak_bytes * index as f64, 1e6)
        })
        .collect()
}

fn named<'a>(figures: &'a [Measurement], metric: &str) -> &'a Measurement {
    figures.iter().find(|m| m.metric == metric).unwrap()
}

fn raises(cycles: &[Cycle]) -> bool {
    let figures = all(cycles, Some(4096));
    let low = named(&figures, "leak_low_bytes");
    !low.gate.as_ref().unwrap().admits(low.value)
}

proptest! {
    #[test]
    fn a_leak_of_64_kib_a_cycle_is_found(
        cycles in 60usize..=200,
        jitter in prop::collection::vec(any::<u8>(), 200),
    ) {
        prop_assert!(raises(&soak(cycles, 65_536.0, &jitter)));
    }

    #[test]
    fn a_healthy_process_raises_nothing(
        cycles in 60usize..=200,
        jitter in prop::collection::vec(any::<u8>(), 200),
    ) {
        prop_assert!(!raises(&soak(cycles, 0.0, &jitter)));
    }

    #[test]
    fn the_slope_of_a_line_is_its_own(cycles in 10usize..2_000, leak in -1e6f64..1e6) {
        let line: Vec<Cycle> = (0..cycles).map(|i| cycle(1e9 + leak * i as f64, 1.0)).collect();
        let figures = all(&line, None);
        let found = named(&figures, "leak_bytes").value;
        prop_assert!((found - leak).abs() <= 1e-6 * leak.abs() + 1e-4, "{found} for {leak}");
    }
}

#[test]
fn one_step_is_no_leak() {
    // An arena that is made in the middle of a run, once.
    let mut cycles = soak(200, 0.0, &[0]);
    for late in &mut cycles[110..] {
        late.committed_bytes += 4e6;
    }
    assert!(!raises(&cycles));
}

#[test]
fn drift_is_per_cent_of_the_whole_run() {
    // From 1.00 ms to 1.10 ms in 100 cycles; the median is 1.055 ms behind the warm-up.
    let cycles: Vec<Cycle> = (0..100)
        .map(|index| cycle(0.0, 1e6 + 1e3 * f64::from(index)))
        .collect();
    let figures = all(&cycles, None);
    let drift = named(&figures, "drift_pct").value;
    assert!((drift - 100.0 * 1e5 / 1.0545e6).abs() < 1e-6, "{drift}");
}

#[test]
fn disturbed_cycles_are_marked_and_left_out() {
    let mut cycles: Vec<Cycle> = (0..100).map(|_| cycle(0.0, 1e6)).collect();
    let other_load = Conditions {
        suspicions: Suspicions {
            other_load: true,
            ..Suspicions::default()
        },
        ..Conditions::UNKNOWN
    };
    for late in &mut cycles[50..] {
        late.conditions = other_load;
        late.decode_ns = 2e6;
    }
    let figures = all(&cycles, None);
    assert!(named(&figures, "drift_pct").value > 50.0);
    assert_eq!(named(&figures, "undisturbed_drift_pct").value, 0.0);
    let suspicious = named(&figures, "suspicious");
    assert_eq!(suspicious.value, 50.0);
    assert!(
        suspicious
            .why
            .as_ref()
            .unwrap()
            .contains("50 beside other load")
    );

    for cycle in &mut cycles {
        cycle.conditions = other_load;
    }
    let figures = all(&cycles, None);
    let withheld = named(&figures, "undisturbed_drift_pct");
    assert!(withheld.value.is_nan());
    assert!(withheld.why.as_ref().unwrap().contains("100 of 100"));
}

#[test]
fn what_cannot_be_told_is_withheld() {
    let cycles: Vec<Cycle> = (0..100).map(|_| cycle(f64::NAN, 1e6)).collect();
    let figures = all(&cycles, None);
    for metric in ["leak_bytes", "leak_low_bytes"] {
        let figure = named(&figures, metric);
        assert!(figure.value.is_nan() && figure.why.is_some() && figure.gate.is_none());
    }
    // Too few for an interval.
    let few = all(&soak(4, 0.0, &[0]), None);
    assert!(named(&few, "leak_bytes").why.is_some());
}
