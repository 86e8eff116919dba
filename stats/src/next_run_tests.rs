use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

const NO_MARGIN: Margin = Margin::Absolute(0.0);

fn held(columns: &[Vec<f64>], next: usize, alpha: f64) -> Result<NextRun, StatsError> {
    let pasts: Vec<Vec<f64>> = (columns.iter())
        .map(|column| {
            let past = column.iter().enumerate().filter(|(run, _)| *run != next);
            past.map(|(_, value)| *value).collect()
        })
        .collect();
    let figures: Vec<NextFigure<'_>> = (columns.iter().zip(&pasts))
        .map(|(column, past)| NextFigure {
            past,
            next: column[next],
            margin: NO_MARGIN,
        })
        .collect();
    next_run(&figures, alpha)
}

/// Columns of figures of `runs` runs, with ties or without.
fn columns(runs: usize) -> impl Strategy<Value = Vec<Vec<f64>>> {
    let value = prop_oneof![(-3..4i32).prop_map(f64::from), -1e3..1e3];
    vec(vec(value, runs), 1..6)
}

proptest! {
    /// The promise itself: of any runs, whichever is the new one, at most a share alpha of the
    /// choices raises an alarm.
    #[test]
    fn whatever_the_values_few_runs_are_out_of_line(
        columns in (20usize..60).prop_flat_map(columns),
        alpha in 0.05..0.3,
    ) {
        let runs = columns[0].len();
        let alarms = (0..runs)
            .filter(|next| match held(&columns, *next, alpha) {
                Ok(held) => held.bounds.iter().any(|bound| bound.over),
                Err(StatsError::TooFew { .. }) => false,
                Err(error) => panic!("{error}"),
            })
            .count();
        prop_assert!(alarms as f64 <= alpha * runs as f64 * (1.0 + 1e-9), "{} of {}", alarms, runs);
    }

    /// One figure alone is held against an order statistic.
    #[test]
    fn one_figure_has_the_classical_bound(
        past in vec(-1e3..1e3, 19..80),
        next in -2e3..2e3,
        alpha in 0.05..0.3,
    ) {
        let figure = NextFigure { past: &past, next, margin: NO_MARGIN };
        let Ok(held) = next_run(&[figure], alpha) else {
            return Ok(());
        };
        let mut sorted = past.clone();
        sorted.sort_by(|a, b| b.total_cmp(a));
        let k = (alpha * (past.len() + 1) as f64 / held.dependence) as usize;
        // At or below the centre nothing is too large.
        let expected = next > sorted[k - 1] && next > held.bounds[0].centre;
        prop_assert_eq!(held.bounds[0].over, expected);
        prop_assert_eq!(held.bounds[0].over, held.bounds[0].p <= alpha);
    }

    #[test]
    fn units_do_not_matter(
        columns in (25usize..40).prop_flat_map(columns),
        shift in -100..100i32,
        scale in 1..5i32,
    ) {
        let scale = f64::from(1 << scale);
        // Whole numbers, and powers of two: no rounding.
        let whole: Vec<Vec<f64>> = (columns.iter())
            .map(|column| column.iter().map(|x| x.round()).collect())
            .collect();
        let other: Vec<Vec<f64>> = (whole.iter())
            .map(|column| column.iter().map(|x| x * scale + f64::from(shift) * scale).collect())
            .collect();
        if let (Ok(a), Ok(b)) = (held(&whole, 0, 0.1), held(&other, 0, 0.1)) {
            for (a, b) in a.bounds.iter().zip(&b.bounds) {
                prop_assert_eq!(a.over, b.over);
                prop_assert!((a.p - b.p).abs() < 1e-12);
            }
        }
    }
}

proptest! {
    /// What is let pass is told: over the limit there is an alarm, and below it none.
    #[test]
    fn the_limit_is_where_alarms_begin(
        columns in (25usize..40).prop_flat_map(columns),
        share in 0.0..0.1,
        beyond in 0.9..1.1,
    ) {
        let last = columns[0].len() - 1;
        let figures: Vec<NextFigure<'_>> = (columns.iter())
            .map(|column| NextFigure {
                past: &column[..last],
                next: column[last],
                margin: Margin::OfCentre(share),
            })
            .collect();
        let Ok(held) = next_run(&figures, 0.1) else {
            return Ok(());
        };
        for (figure, bound) in figures.iter().zip(&held.bounds) {
            let (excess, most) = (figure.next - bound.centre, bound.limit - bound.centre);
            if excess < most * (1.0 - 1e-9) {
                prop_assert!(!bound.over, "{excess} {most}");
            }
            if excess > most * (1.0 + 1e-9) && excess > 0.0 {
                prop_assert!(bound.over, "{excess} {most}");
            }
        }
        // The same of another value, whose own excess changes nothing for the other figures.
        let bound = held.bounds[0];
        if bound.limit.is_finite() && bound.limit > bound.centre && figures.len() == 1 {
            let mut again = figures.clone();
            again[0].next = bound.centre + beyond * (bound.limit - bound.centre);
            let other = next_run(&again, 0.1).unwrap().bounds[0];
            let excess = again[0].next - other.centre;
            prop_assert_eq!(other.over, excess > (other.limit - other.centre) * (1.0 + 1e-12));
        }
    }
}

#[test]
fn a_wild_figure_does_not_hide_a_quiet_one() {
    let quiet: Vec<f64> = (0..40)
        .map(|i| 100.0 + f64::from(i * 7 % 11) / 10.0)
        .collect();
    // One run in ten takes up to a hundred times as long.
    let wild: Vec<f64> = (0..40)
        .map(|i| match i % 10 {
            3 => 100.0 * f64::from(i),
            _ => 10.0 + f64::from(i * 5 % 7),
        })
        .collect();
    let figure = |past, next| NextFigure {
        past,
        next,
        margin: Margin::OfCentre(0.02),
    };
    let held = next_run(&[figure(&quiet, 105.0), figure(&wild, 12.0)], 0.05).unwrap();
    assert!(held.bounds[0].over && !held.bounds[1].over, "{held:?}");
}

#[test]
fn what_does_not_matter_is_no_alarm() {
    let past: Vec<f64> = (0..40)
        .map(|i| 100.0 + f64::from(i * 7 % 11) / 100.0)
        .collect();
    let over = |next, margin| {
        let figure = NextFigure {
            past: &past,
            next,
            margin,
        };
        next_run(&[figure], 0.05).unwrap().bounds[0]
    };
    assert!(over(101.5, NO_MARGIN).over);
    let bound = over(101.5, Margin::OfCentre(0.02));
    assert!(!bound.over && bound.p == 1.0);
    assert!(bound.limit > 102.0 && bound.limit < 102.2, "{bound:?}");
    assert!(over(102.2, Margin::OfCentre(0.02)).over);
    assert!(over(102.2, Margin::Absolute(2.0)).over);
    assert!(!over(98.0, NO_MARGIN).over, "better is not worse");
}

#[test]
fn what_never_varied_and_does_now_is_an_alarm() {
    let past = [5.0; 19];
    let figure = |next| NextFigure {
        past: &past,
        next,
        margin: Margin::OfCentre(0.01),
    };
    let bounds = next_run(&[figure(5.0), figure(5.1)], 0.05).unwrap().bounds;
    assert!(!bounds[0].over && bounds[1].over, "{bounds:?}");
}

#[test]
fn too_little_and_nonsense_are_refused() {
    let past: Vec<f64> = (0..18).map(|i| f64::from(i * 7 % 11)).collect();
    let figure = |past, next| NextFigure {
        past,
        next,
        margin: NO_MARGIN,
    };
    let too_few = Err(StatsError::TooFew { n: 18, needed: 19 });
    assert_eq!(next_run(&[figure(&past, 1.0)], 0.05), too_few);
    assert_eq!(next_run(&[], 0.05), Err(StatsError::Empty));
    let not_finite = Err(StatsError::NotFinite { index: 18 });
    assert_eq!(next_run(&[figure(&past, f64::NAN)], 0.05), not_finite);
    let unequal = [figure(&past, 1.0), figure(&past[1..], 1.0)];
    let mismatch = Err(StatsError::LengthMismatch {
        left: 18,
        right: 17,
    });
    assert_eq!(next_run(&unequal, 0.05), mismatch);
    let bad = Err(StatsError::BadAlpha { alpha: 0.0 });
    assert_eq!(next_run(&[figure(&past, 1.0)], 0.0), bad);
    // A ramp: each run is like the last, and 19 are far too few.
    let ramp: Vec<f64> = (0..19).map(f64::from).collect();
    let refused = next_run(&[figure(&ramp, 19.0)], 0.05);
    assert!(
        matches!(refused, Err(StatsError::TooFew { needed, .. }) if needed > 60),
        "{refused:?}"
    );
}
