//! Many at once.

use std::collections::BTreeSet;
use std::sync::Barrier;
use std::thread;

use harness_reports::history::{Added, Filter, History};

use crate::support::{on_both, run, stored};

on_both! {
    thirty_two_writers_lose_and_double_nothing
    readers_see_whole_runs
}

const WRITERS: i64 = 32;
/// Runs that one writer alone has.
const OWN: i64 = 3;
/// Runs that all writers have.
const SHARED: i64 = 2;

fn thirty_two_writers_lose_and_double_nothing(url: &str) {
    // None has made the history before: they also race for its schema.
    let barrier = Barrier::new(WRITERS as usize);
    let outcomes: Vec<Added> = thread::scope(|scope| {
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| {
                let barrier = &barrier;
                scope.spawn(move || {
                    barrier.wait();
                    let mut history = History::open_or_create(url).unwrap();
                    let own = (0..OWN).map(|number| SHARED + writer * OWN + number);
                    let days: Vec<i64> = own.chain(0..SHARED).collect();
                    let add = |day| history.add(&stored(run(day))).unwrap();
                    days.into_iter().map(add).collect::<Vec<Added>>()
                })
            })
            .collect();
        let outcomes = writers
            .into_iter()
            .flat_map(|writer| writer.join().unwrap());
        outcomes.collect()
    });
    let runs = WRITERS * OWN + SHARED;
    let stored = outcomes.iter().filter(|outcome| **outcome == Added::Stored);
    assert_eq!(stored.count() as i64, runs);

    let mut history = History::open(url).unwrap();
    let found = history.runs(&Filter::default()).unwrap();
    assert_eq!(found.len() as i64, runs);
    let days: BTreeSet<_> = found.iter().map(|run| run.revision.clone()).collect();
    let expected: BTreeSet<_> = (0..runs).map(|day| Some(format!("{day:040x}"))).collect();
    assert_eq!(days, expected);
    for series in history.series(&Filter::default()).unwrap() {
        let mut values: Vec<f64> = series
            .points
            .iter()
            .map(|point| point.value.unwrap())
            .collect();
        values.sort_by(f64::total_cmp);
        let mut expected: Vec<f64> = (0..runs)
            .map(|day| {
                if series.key.unit == "ms" {
                    10.0 + day as f64
                } else {
                    100.0 - day as f64
                }
            })
            .collect();
        expected.sort_by(f64::total_cmp);
        assert_eq!(values, expected);
    }
}

fn readers_see_whole_runs(url: &str) {
    let mut writer = History::open_or_create(url).unwrap();
    thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let mut history = History::open(url).unwrap();
            loop {
                let series = history.series(&Filter::default()).unwrap();
                let counts: BTreeSet<usize> =
                    series.iter().map(|series| series.points.len()).collect();
                assert!(counts.len() <= 1, "{counts:?}");
                if counts.contains(&40) {
                    return;
                }
            }
        });
        for day in 0..40 {
            writer.add(&stored(run(day))).unwrap();
        }
        reader.join().unwrap();
    });
}
