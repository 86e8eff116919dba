//! Whether a run is held against those before it as promised: beside NumPy and SciPy
//! (`scripts/oracles/next_run_scipy.py`), and by simulation from fixed seeds.

// Clippy allows these in test functions, but not in their helpers.
#![allow(clippy::unwrap_used)]

use harness_stats::{
    ChangePointOptions, Margin, NextFigure, NextRun, PermutationOptions, StatsError, last_segment,
    min_runs_before, next_run,
};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::Value;
use statrs::distribution::{Binomial, ContinuousCDF, DiscreteCDF, Normal};

const ALPHA: f64 = 0.05;
const FIGURES: usize = 20;

#[test]
fn runs_are_judged_as_by_scipy() {
    let vectors: Value = serde_json::from_str(include_str!("vectors/next_run.json")).unwrap();
    let numbers = |value: &Value| -> Vec<f64> {
        let all = value.as_array().unwrap().iter();
        all.map(|x| x.as_f64().unwrap()).collect()
    };
    let (mut alarms, mut held) = (0, 0);
    for case in vectors["cases"].as_array().unwrap() {
        let pasts: Vec<Vec<f64>> = case["past"]
            .as_array()
            .unwrap()
            .iter()
            .map(numbers)
            .collect();
        let margin = Margin::OfCentre(case["margin"].as_f64().unwrap());
        let figures: Vec<NextFigure<'_>> = (pasts.iter().zip(numbers(&case["next"])))
            .map(|(past, next)| NextFigure { past, next, margin })
            .collect();
        let dependence = case["dependence"].as_f64().unwrap();
        let centres = numbers(&case["centre"]);
        let check = |found: &NextRun, p_values: &Value| {
            assert!(
                (found.dependence / dependence - 1.0).abs() < 1e-12,
                "{case}"
            );
            for ((bound, centre), p) in found.bounds.iter().zip(&centres).zip(numbers(p_values)) {
                assert!((bound.centre - centre).abs() < 1e-12 * centre.abs());
                let adjusted = (p * dependence).min(1.0);
                assert!(
                    (bound.p - adjusted).abs() < 1e-12,
                    "{} {adjusted}: {case}",
                    bound.p
                );
            }
        };
        // At this level the runs suffice however they depend on each other.
        check(&next_run(&figures, 0.5).unwrap(), &case["p"][1]);
        match next_run(&figures, ALPHA) {
            Ok(found) => {
                held += 1;
                check(&found, &case["p"][0]);
                for bound in found.bounds {
                    assert_eq!(bound.over, bound.p <= ALPHA * (1.0 + 1e-12), "{case}");
                    alarms += usize::from(bound.over);
                }
            }
            Err(StatsError::TooFew { n, needed }) => {
                assert!(n < needed && needed == min_runs_before(ALPHA, dependence).unwrap());
            }
            Err(error) => panic!("{error}"),
        }
    }
    assert!(held > 20 && alarms > 5, "{held} {alarms}");
}

/// How neighbours depend on each other, and what becomes of a standard normal number.
#[derive(Clone, Copy)]
struct Noise {
    name: &'static str,
    correlation: f64,
    shape: fn(f64) -> f64,
}

const NOISES: [Noise; 5] = [
    Noise {
        name: "normal",
        correlation: 0.0,
        shape: |z| z,
    },
    Noise {
        name: "lognormal",
        correlation: 0.0,
        shape: f64::exp,
    },
    Noise {
        name: "heavy-tailed",
        correlation: 0.0,
        shape: |z| (1.5 * z).sinh(),
    },
    Noise {
        name: "AR(1) 0.3",
        correlation: 0.3,
        shape: |z| z,
    },
    Noise {
        name: "AR(1) 0.6",
        correlation: 0.6,
        shape: |z| z,
    },
];

/// Figures of runs, by figure. Half of a figure's variance is the run's, and of all figures.
fn runs(stream: &mut ChaCha8Rng, noise: Noise, figures: usize, runs: usize) -> Vec<Vec<f64>> {
    let normal = Normal::standard();
    let mut draw = || normal.inverse_cdf(stream.random::<f64>().max(f64::MIN_POSITIVE));
    let r = noise.correlation;
    let mut state = vec![0.0; figures + 1];
    let mut columns = vec![Vec::new(); figures];
    // What the first runs start from is forgotten after 30.
    for run in 0..runs + 30 {
        for value in &mut state {
            *value = r * *value + (1.0 - r * r).sqrt() * draw();
        }
        if run >= 30 {
            for (column, own) in columns.iter_mut().zip(&state[1..]) {
                column.push((noise.shape)((own + state[0]) / 2.0_f64.sqrt()));
            }
        }
    }
    columns
}

/// What becomes of the last of `columns`' runs, held against those before.
enum Judged {
    TooFew,
    Quiet,
    Alarm,
}

fn hold(columns: &[Vec<f64>]) -> Result<NextRun, StatsError> {
    let figures: Vec<NextFigure<'_>> = (columns.iter())
        .map(|column| NextFigure {
            past: &column[..column.len() - 1],
            next: column[column.len() - 1],
            margin: Margin::Absolute(0.0),
        })
        .collect();
    next_run(&figures, ALPHA)
}

fn judge(columns: &[Vec<f64>]) -> Judged {
    match hold(columns) {
        Ok(held) if held.bounds.iter().any(|bound| bound.over) => Judged::Alarm,
        Ok(_) => Judged::Quiet,
        Err(StatsError::TooFew { .. }) => Judged::TooFew,
        Err(error) => panic!("{error}"),
    }
}

/// The same for a history whose last stable stretch has to be found first, as a gate does it.
fn judge_last_segment(columns: &[Vec<f64>]) -> Judged {
    let options = ChangePointOptions {
        test: PermutationOptions {
            permutations: 199,
            ..PermutationOptions::default()
        },
        ..ChangePointOptions::default()
    };
    let runs = columns[0].len();
    let needed = min_runs_before(ALPHA, 1.0).unwrap();
    let starts = columns
        .iter()
        .map(|column| last_segment(&column[..runs - 1], options).unwrap());
    let stable: Vec<(usize, &Vec<f64>)> = (starts.zip(columns))
        .filter(|(start, _)| runs - 1 - start >= needed)
        .collect();
    let Some(first) = stable.iter().map(|(start, _)| *start).max() else {
        return Judged::TooFew;
    };
    let cut: Vec<Vec<f64>> = stable
        .iter()
        .map(|(_, column)| column[first..].to_vec())
        .collect();
    judge(&cut)
}

/// Alarms and runs that could be judged, of `trials`.
fn count(
    noise: Noise,
    figures: usize,
    before: usize,
    trials: u64,
    mut judge: impl FnMut(&mut Vec<Vec<f64>>) -> Judged,
) -> (u64, u64) {
    let mut stream = ChaCha8Rng::seed_from_u64((figures * before) as u64);
    let (mut alarms, mut judged) = (0, 0);
    for _ in 0..trials {
        let mut columns = runs(&mut stream, noise, figures, before + 1);
        match judge(&mut columns) {
            Judged::TooFew => {}
            Judged::Quiet => judged += 1,
            Judged::Alarm => (alarms, judged) = (alarms + 1, judged + 1),
        }
    }
    (alarms, judged)
}

/// The most events of probability `share` at most that `trials` show, but for one chance in a million.
fn most(trials: u64, share: f64) -> u64 {
    Binomial::new(share, trials)
        .unwrap()
        .inverse_cdf(1.0 - 1e-6)
}

#[test]
fn false_alarms_are_as_few_as_promised() {
    for noise in NOISES {
        for before in [19, 39, 100] {
            let trials = 1_000;
            let (alarms, judged) = count(noise, FIGURES, before, trials, |columns| judge(columns));
            let name = noise.name;
            assert!(
                alarms <= most(judged, ALPHA),
                "{name} {before}: {alarms} of {judged}"
            );
            // Nor is the gate asleep.
            let awake = noise.correlation > 0.0 || (judged > 700 && alarms > 15);
            assert!(awake, "{name} {before}: {alarms} of {judged}");
        }
    }
}

/// Six deviations, or as much of what has longer tails.
fn six_deviations(noise: &Noise) -> f64 {
    (noise.shape)(3.0) - (noise.shape)(-3.0)
}

#[test]
fn what_has_not_changed_is_seldom_named() {
    let trials = 300;
    for noise in &NOISES[..3] {
        for shifted in [1, 10, 15] {
            let shift = 2.0 * six_deviations(noise);
            let [alarms, worse, others] = named(*noise, 39, shifted, shift, trials);
            let name = noise.name;
            // Half the variance is common to the figures of a run, which are therefore taken for one.
            let share = others as f64 / (FIGURES - shifted) as f64;
            assert!(
                share <= most(trials, ALPHA) as f64,
                "{name} {shifted}: {others}"
            );
            assert!(others > 0, "{name} {shifted}: the others vary too");
            // Who raises the alarm is named.
            assert!(
                worse >= alarms && alarms > trials / 3,
                "{name} {shifted}: {alarms} {worse}"
            );
        }
    }
}

#[test]
fn a_level_that_has_changed_is_left_behind() {
    for noise in NOISES {
        let trials = 60;
        let (alarms, judged) = count(noise, 6, 100, trials, |columns| {
            for column in columns.iter_mut() {
                let after = column[50..].iter_mut();
                after.for_each(|value| *value += six_deviations(&noise));
            }
            judge_last_segment(columns)
        });
        let name = noise.name;
        assert!(
            alarms <= most(judged, ALPHA),
            "{name}: {alarms} of {judged}"
        );
        assert!(judged > trials / 2, "{name}: {judged}");
    }
}

/// Of `FIGURES` figures the first `shifted` are worse by `shift` deviations: how many of `trials`
/// runs raise an alarm, and how many of those figures and of the others are named.
fn named(noise: Noise, before: usize, shifted: usize, shift: f64, trials: u64) -> [u64; 3] {
    let mut stream = ChaCha8Rng::seed_from_u64((shifted * before) as u64);
    let mut counts = [0; 3];
    for _ in 0..trials {
        let mut columns = runs(&mut stream, noise, FIGURES, before + 1);
        for column in &mut columns[..shifted] {
            column[before] += shift;
        }
        let bounds = hold(&columns).map(|held| held.bounds).unwrap_or_default();
        counts[0] += u64::from(bounds.iter().any(|bound| bound.over));
        for (figure, bound) in bounds.iter().enumerate() {
            let kind = if figure < shifted { 1 } else { 2 };
            counts[kind] += u64::from(bound.over);
        }
    }
    counts
}

/// The tables of `docs/src/statistics.md`:
/// `cargo test --release -p harness-stats --test next_run -- --ignored --nocapture`.
#[test]
#[ignore = "simulates for minutes"]
fn tables() {
    let percent = |(alarms, judged): (u64, u64), trials: u64| {
        let held = match judged == trials {
            true => String::new(),
            false => format!(" of {:.0} % judged", 100.0 * judged as f64 / trials as f64),
        };
        format!("{:.1}{held}", 100.0 * alarms as f64 / judged.max(1) as f64)
    };
    let trials = 1_000;
    println!("| noise | 1 figure, n = 19 | 20 figures, n = 19 | 39 | 100 | 200 figures, n = 39 |");
    println!("|---|---|---|---|---|---|");
    for noise in NOISES {
        let row = [(1, 19), (20, 19), (20, 39), (20, 100), (200, 39)].map(|(figures, before)| {
            let trials = if figures > 100 { trials / 4 } else { trials };
            let counts = count(noise, figures, before, trials, |columns| judge(columns));
            percent(counts, trials)
        });
        println!("| {} | {} |", noise.name, row.join(" | "));
    }
    let trials = 300;
    println!("\n| noise, level found first | false alarms |\n|---|---|");
    for noise in NOISES {
        let counts = count(noise, FIGURES, 120, trials, |columns| {
            judge_last_segment(columns)
        });
        println!("| {} | {} |", noise.name, percent(counts, trials));
    }
    let trials = 500;
    for (what, shifted, shifts) in [
        ("one figure of 20", 1, vec![2.0, 3.0, 4.0, 5.0, 6.0, 8.0]),
        ("all 20 figures", FIGURES, vec![1.0, 2.0, 3.0]),
    ] {
        println!("\n| shift of {what}, in deviations | n = 19 | 39 | 100 | 300 |");
        println!("|---|---|---|---|---|");
        for shift in shifts {
            let row = [19, 39, 100, 300].map(|before| {
                let counts = count(NOISES[0], FIGURES, before, trials, |columns| {
                    for column in &mut columns[..shifted] {
                        column[before] += shift;
                    }
                    judge(columns)
                });
                format!("{:.0}", 100.0 * counts.0 as f64 / trials as f64)
            });
            println!("| {shift} | {} |", row.join(" | "));
        }
    }
    println!(
        "\n| worse, of 20 figures | by deviations | n | runs that raise an alarm | of what is worse, named | of the \
         others, named |\n|---|---|---|---|---|---|"
    );
    for (shifted, shift) in [
        (1, 8.0),
        (5, 4.0),
        (10, 3.0),
        (10, 8.0),
        (15, 8.0),
        (20, 2.0),
    ] {
        for before in [19, 39, 100] {
            let [alarms, worse, others] = named(NOISES[0], before, shifted, shift, trials);
            let share = |count: u64, of: usize| match of {
                0 => "–".into(),
                of => format!("{:.1}", 100.0 * count as f64 / (of as u64 * trials) as f64),
            };
            println!(
                "| {shifted} | {shift} | {before} | {} | {} | {} |",
                share(alarms, 1),
                share(worse, shifted),
                share(others, FIGURES - shifted)
            );
        }
    }
}
