//! False alarms and power of `harness compare` on real runs of one build; see
//! `scripts/compare-calibration`.
//!
//! From a stretch of runs that were made one after the other, drawn at random, each two neighbours are
//! dealt out by a coin, one to either side: what runs of two builds made in turn would be, if the
//! builds do not differ, or if all times of one are stretched. Beside it, on the samples of the same
//! runs: criterion's rule (bootstrap t test at 5 %, and a change over 1 % by the interval of the
//! mean's change), and Mann–Whitney at 5 % for each figure, both on all samples of a side as if they
//! were independent.

mod stretch;

use std::collections::BTreeMap;
use std::error::Error;
use std::path::PathBuf;

use harness_reports::compare::{Options, Outcome, compare};
use harness_reports::{Basis, StoredRun};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use stats::{Alternative, mann_whitney, mean, wilson_interval};

/// Criterion's default.
const NOISE_THRESHOLD: f64 = 0.01;
/// Criterion takes 100,000, which moves its 5 % by little and would take days here.
const RESAMPLES: usize = 200;

/// Samples of a series that the two other methods see of a run.
const MOST_SAMPLES: usize = 20;

/// Raw times of a run by case and metric.
type Times = BTreeMap<(String, String), Vec<f64>>;

struct Run {
    stored: StoredRun,
    times: Times,
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let trials: usize = arguments.next().ok_or("how many trials?")?.parse()?;
    let sizes: Vec<usize> = (arguments.next().ok_or("how many runs a side?")?)
        .split(',')
        .map(str::parse)
        .collect::<Result<_, _>>()?;
    let mut runs = arguments
        .map(|folder| read(PathBuf::from(folder)))
        .collect::<Result<Vec<Run>, _>>()?;
    runs.sort_by_key(|run| run.stored.record.provenance.started);
    println!("{} runs, {trials} comparisons a row\n", runs.len());
    println!(
        "| runs a side | times | any figure | median token | undisturbed token | criterion's rule | \
         Mann–Whitney, no correction |"
    );
    println!("|---|---|---|---|---|---|---|");
    for size in sizes {
        if 2 * size > runs.len() {
            println!("| {size} | too few runs | | | | | |");
            continue;
        }
        for stretch in [1.0, 1.03, 1.05, 1.1] {
            row(&runs, size, stretch, trials)?;
        }
    }
    Ok(())
}

/// Without the samples of `compare`, which for times does not need them.
fn read(folder: PathBuf) -> Result<Run, Box<dyn Error>> {
    let mut stored = StoredRun::open(&folder)?;
    let mut times = Times::new();
    for sample in std::mem::take(&mut stored.samples).into_values().flatten() {
        if sample.unit == "ns" {
            let series = times.entry((sample.case, sample.metric)).or_default();
            if series.len() < MOST_SAMPLES {
                series.push(sample.value);
            }
        }
    }
    // One engine, and one that is the same.
    stored.record.cells.truncate(1);
    for metric in stored
        .record
        .cells
        .iter_mut()
        .flat_map(|cell| &mut cell.metrics)
    {
        metric.basis = metric.basis.take().or(Some(Basis::Machine));
    }
    Ok(Run { stored, times })
}

fn row(runs: &[Run], size: usize, stretch: f64, trials: usize) -> Result<(), Box<dyn Error>> {
    let mut random = ChaCha8Rng::seed_from_u64(size as u64);
    // Alarms: either direction where nothing changed, for all are false; slower where times were
    // stretched.
    let mut alarms = [0u64; 5];
    for _ in 0..trials {
        let first = random.random_range(0..=(runs.len() - 2 * size) as u64) as usize;
        let (mut base, mut head) = (Vec::new(), Vec::new());
        for one in (first..first + 2 * size).step_by(2) {
            let turned = random.random::<bool>();
            base.push(one + usize::from(turned));
            head.push(one + usize::from(!turned));
        }
        let side = |numbers: &[usize]| -> Vec<StoredRun> {
            numbers
                .iter()
                .map(|&number| runs[number].stored.clone())
                .collect()
        };
        let mut stretched = side(&head);
        let metrics = stretched.iter_mut();
        let metrics = metrics.flat_map(|run| &mut run.record.cells[0].metrics);
        stretch::slow(metrics, stretch);
        let found = compare(&side(&base), &stretched, Options::default())?;
        let alarm = |metric: &str| {
            found.rows.iter().any(|row| {
                let named = metric.is_empty() || row.metric == metric;
                let changed = row.outcome == Outcome::Regressed
                    || stretch == 1.0 && row.outcome == Outcome::Improved;
                named && changed
            })
        };
        let figures = ["", "latency.decode.itl_p50_ns", "latency.decode.itl_p25_ns"];
        for (count, metric) in alarms.iter_mut().zip(figures) {
            *count += u64::from(alarm(metric));
        }

        let pooled = |numbers: &[usize], key: &(String, String), factor: f64| -> Vec<f64> {
            let series = numbers
                .iter()
                .filter_map(|&number| runs[number].times.get(key));
            series.flatten().map(|ns| ns * factor).collect()
        };
        let token = ("decode".to_owned(), "itl_ns".to_owned());
        let keys: Vec<_> = match stretch == 1.0 {
            true => runs[0].times.keys().collect(),
            false => vec![&token],
        };
        let mut others = [false; 2];
        for key in keys {
            let (a, b) = (pooled(&base, key, 1.0), pooled(&head, key, stretch));
            if a.len() > 1 && b.len() > 1 {
                let right_way = stretch == 1.0 || mean(&b)? > mean(&a)?;
                others[0] |= right_way && criterion(&a, &b, &mut random)?;
                others[1] |= mann_whitney(&a, &b, Alternative::TwoSided)?.p <= 0.05;
            }
        }
        for (count, alarm) in alarms[3..].iter_mut().zip(others) {
            *count += u64::from(alarm);
        }
    }
    let share = |count: u64| -> Result<String, Box<dyn Error>> {
        let interval = wilson_interval(count, trials as u64, 0.95)?;
        let [value, low, high] =
            [count as f64 / trials as f64, interval.low, interval.high].map(|share| 100.0 * share);
        Ok(format!("{value:.1} % ({low:.1} to {high:.1})"))
    };
    let what = match stretch == 1.0 {
        true => "as they are: false alarms".into(),
        false => format!("{:+.0} %: found", 100.0 * (stretch - 1.0)),
    };
    let shares = alarms
        .map(share)
        .into_iter()
        .collect::<Result<Vec<_>, _>>()?;
    println!("| {size} | {what} | {} |", shares.join(" | "));
    Ok(())
}

/// As criterion 0.5 to 0.8 decides: Welch's t against its bootstrap from the pooled samples at 5 %,
/// and the 95 % percentile bootstrap interval of the change of the mean beyond the noise threshold.
fn criterion(a: &[f64], b: &[f64], random: &mut ChaCha8Rng) -> Result<bool, Box<dyn Error>> {
    let pooled = [a, b].concat();
    let observed = welch(a, b)?.abs();
    let mut as_large = 0;
    let mut changes = Vec::with_capacity(RESAMPLES);
    for _ in 0..RESAMPLES {
        let mut draw = |from: &[f64], n: usize| -> Vec<f64> {
            let n_from = from.len() as u64;
            (0..n)
                .map(|_| from[random.random_range(0..n_from) as usize])
                .collect()
        };
        let t = welch(&draw(&pooled, a.len()), &draw(&pooled, b.len()))?;
        as_large += usize::from(t.abs() >= observed);
        changes.push(mean(&draw(b, b.len()))? / mean(&draw(a, a.len()))? - 1.0);
    }
    changes.sort_by(f64::total_cmp);
    let (low, high) = (
        changes[RESAMPLES / 40],
        changes[RESAMPLES - 1 - RESAMPLES / 40],
    );
    let significant = (as_large as f64 / RESAMPLES as f64) < 0.05;
    Ok(significant && (low > NOISE_THRESHOLD || high < -NOISE_THRESHOLD))
}

fn welch(a: &[f64], b: &[f64]) -> Result<f64, Box<dyn Error>> {
    let error = |x: &[f64]| -> Result<f64, Box<dyn Error>> {
        let m = mean(x)?;
        let squares: f64 = x.iter().map(|v| (v - m) * (v - m)).sum();
        Ok(squares / (x.len() - 1) as f64 / x.len() as f64)
    };
    let t = (mean(a)? - mean(b)?) / (error(a)? + error(b)?).sqrt();
    // Two draws of one value each time differ by nothing.
    Ok(if t.is_nan() { 0.0 } else { t })
}
