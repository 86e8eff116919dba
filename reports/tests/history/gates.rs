//! Runs held against their past.

use harness_reports::gate::{Held, PastGate, hold};
use harness_reports::history::History;
use harness_reports::{Basis, Better, Metric, RunRecord, Verdict};

use crate::support::{on_both, run, stored};

on_both! {
    a_run_like_those_before_passes
    a_run_that_is_worse_fails_by_name
    a_level_that_changed_is_left_behind
    other_machines_branches_and_settings_do_not_count
    answers_are_held_against_their_level
    what_a_suite_demands_stands
    a_load_not_seen_before_is_no_regression
    a_load_that_has_just_begun_is_no_regression
    a_run_is_held_against_runs_at_its_load
}

/// A figure that varies within a per cent or so, and one of an answer that does not.
fn night(day: i64) -> RunRecord {
    let mut record = run(day);
    record.provenance.project.as_mut().unwrap().revision = format!("{day:02x}{:0<38}", "");
    for (place, cell) in record.cells.iter_mut().enumerate() {
        let wobble = (day * 7919 + place as i64 * 31) % 101;
        for (metric, (better, level)) in cell
            .metrics
            .iter_mut()
            .zip([(Better::Lower, 10.0), (Better::Higher, 100.0)])
        {
            *metric = Metric {
                better,
                value: Some(level * (1.0 + wobble as f64 / 10_000.0)),
                basis: Some(Basis::Machine),
                ..plain(metric)
            };
        }
        cell.metrics.push(Metric {
            name: "latency.chat.bits".into(),
            unit: "logits".into(),
            value: Some(3.0),
            basis: Some(Basis::Exact),
            ..plain(&cell.metrics[0])
        });
    }
    record
}

fn plain(metric: &Metric) -> Metric {
    Metric {
        gate: None,
        verdict: Verdict::Info,
        why: None,
        ..metric.clone()
    }
}

/// A history of so many nights, each changed by day.
fn history(url: &str, nights: i64, change: impl Fn(i64, &mut RunRecord)) -> History {
    let mut history = History::open_or_create(url).unwrap();
    for day in 0..nights {
        let mut record = night(day);
        change(day, &mut record);
        history.add(&stored(record)).unwrap();
    }
    history
}

fn held(history: &mut History, record: &mut RunRecord) -> Held {
    hold(history, record, &PastGate::default()).unwrap()
}

fn times(metric: &mut Metric, factor: f64) {
    metric.value = metric.value.map(|value| value * factor);
}

fn a_run_like_those_before_passes(url: &str) {
    let mut history = history(url, 25, |_, _| ());
    let mut record = night(25);
    let came = held(&mut history, &mut record);
    assert_eq!((came.runs, came.held, came.failed), (25, 6, 0));
    assert!(came.left_out.is_empty(), "{came:?}");
    let metric = &record.cells[0].metrics[0];
    assert_eq!(metric.verdict, Verdict::Pass);
    assert!(
        metric.gate.as_ref().unwrap().starts_with("<= 10."),
        "{metric:?}"
    );
    let why = metric.why.as_ref().unwrap();
    assert!(why.contains("of 25 runs 0000000000..1800000000"), "{why}");
    assert!(why.contains("over 4 figures"), "{why}");
    assert!(
        record.cells[0].metrics[1]
            .gate
            .as_ref()
            .unwrap()
            .starts_with(">= 9")
    );
}

fn a_run_that_is_worse_fails_by_name(url: &str) {
    let mut history = history(url, 25, |_, _| ());
    let mut record = night(25);
    times(&mut record.cells[1].metrics[0], 1.2);
    times(&mut record.cells[0].metrics[1], 0.8);
    // Better is not worse.
    times(&mut record.cells[0].metrics[0], 0.5);
    let came = held(&mut history, &mut record);
    assert_eq!((came.held, came.failed), (6, 2));
    for (cell, metric, change) in [(1, 0, "now +1"), (0, 1, "now -2")] {
        let metric = &record.cells[cell].metrics[metric];
        assert_eq!(metric.verdict, Verdict::Fail);
        let why = metric.why.as_ref().unwrap();
        assert!(why.contains(change) && why.contains("p = 0.038"), "{why}");
    }
    assert_eq!(record.tally().gates_failed, 2);

    // Eighteen runs are too few, whatever the run is like.
    let mut early = night(18);
    times(&mut early.cells[1].metrics[0], 9.0);
    let came = held(&mut history, &mut early);
    assert_eq!((came.runs, came.held, came.failed), (18, 2, 0));
    assert_eq!(
        came.left_out,
        [("needs n >= 19: 18 runs recorded".into(), 4)]
    );
    let metric = &early.cells[1].metrics[0];
    assert_eq!(metric.verdict, Verdict::Info);
    assert!(
        metric.why.as_ref().unwrap().contains("needs n >= 19"),
        "{metric:?}"
    );
}

fn a_level_that_changed_is_left_behind(url: &str) {
    let slower = |day: i64, record: &mut RunRecord| {
        if day >= 30 {
            times(&mut record.cells[0].metrics[0], 1.5);
        }
    };
    let mut history = history(url, 60, slower);
    // On the new level; then 35 nights earlier, five after the change.
    let mut record = night(60);
    slower(60, &mut record);
    let came = held(&mut history, &mut record);
    assert_eq!((came.held, came.failed), (6, 0), "{came:?}");
    assert!(
        record.cells[0].metrics[0]
            .why
            .as_ref()
            .unwrap()
            .contains("of 30 runs")
    );
    times(&mut record.cells[0].metrics[0], 1.1);
    assert_eq!(held(&mut history, &mut record).failed, 1);

    let mut soon = night(36);
    slower(36, &mut soon);
    let came = held(&mut history, &mut soon);
    assert_eq!((came.held, came.failed), (5, 0), "{came:?}");
    assert_eq!(came.left_out.len(), 1);
    assert!(
        came.left_out[0].0.ends_with("runs since it changed"),
        "{came:?}"
    );
}

fn other_machines_branches_and_settings_do_not_count(url: &str) {
    let mut history = history(url, 25, |day, record| match day % 5 {
        0 => record.provenance.machine.fingerprint = "other".into(),
        1 => record.provenance.project.as_mut().unwrap().branch = Some("topic".into()),
        2 => {
            let settings = record.provenance.settings.get_mut("latency");
            settings.unwrap().insert("ctx".into(), "9".into());
        }
        _ => {}
    });
    let mut record = night(25);
    let came = held(&mut history, &mut record);
    assert_eq!((came.runs, came.held), (15, 2));
    assert_eq!(
        came.left_out,
        [("needs n >= 19: 10 runs recorded".into(), 4)]
    );
    // A branch of its own is held against another by name, a detached head against none.
    record.provenance.project.as_mut().unwrap().branch = None;
    assert_eq!(held(&mut history, &mut record.clone()).runs, 0);
    let topic = PastGate {
        branch: Some("topic".into()),
        ..PastGate::default()
    };
    assert_eq!(hold(&mut history, &mut record, &topic).unwrap().runs, 5);
}

fn answers_are_held_against_their_level(url: &str) {
    let mut history = history(url, 5, |_, _| ());
    let bits = |record: &mut RunRecord, value| {
        record.cells[0].metrics[2].value = Some(value);
    };
    let mut record = night(5);
    bits(&mut record, 4.0);
    let came = held(&mut history, &mut record);
    assert_eq!((came.held, came.failed), (2, 1));
    let why = record.cells[0].metrics[2].why.clone().unwrap();
    assert!(
        why.contains("history: 3 in 5 runs 0000000000..0400000000"),
        "{why}"
    );
    // One run before is enough for what never varies.
    let mut second = night(1);
    bits(&mut second, 4.0);
    assert_eq!(held(&mut history, &mut second).failed, 1);
    // The level before is held on to until the new one has stood for five runs.
    for day in 5..10 {
        let mut record = night(day);
        bits(&mut record, 4.0);
        assert_eq!(held(&mut history, &mut record.clone()).failed, 1);
        history.add(&stored(record)).unwrap();
    }
    let mut record = night(10);
    bits(&mut record, 4.0);
    assert_eq!(held(&mut history, &mut record).failed, 0);
}

fn what_a_suite_demands_stands(url: &str) {
    let mut history = history(url, 25, |_, _| ());
    let own = |record: &mut RunRecord, verdict| {
        let metric = &mut record.cells[0].metrics[0];
        metric.gate = Some("<= 11".into());
        metric.why = Some("derived".into());
        metric.verdict = verdict;
    };
    let gate = |record: &RunRecord| record.cells[0].metrics[0].gate.clone().unwrap();
    let mut record = night(25);
    own(&mut record, Verdict::Pass);
    held(&mut history, &mut record);
    assert_eq!(gate(&record), "<= 11");
    times(&mut record.cells[0].metrics[0], 1.05);
    held(&mut history, &mut record);
    assert_ne!(gate(&record), "<= 11");
    assert_eq!(record.cells[0].metrics[0].verdict, Verdict::Fail);
    own(&mut record, Verdict::Fail);
    held(&mut history, &mut record);
    assert_eq!(gate(&record), "<= 11");
}

fn load(record: &mut RunRecord, load: f64) {
    let machine = &mut record.provenance.machine;
    machine.identity["logical_cores"] = 4.into();
    machine.state_at_start = serde_json::json!({"load_average_1min": load});
}

fn a_load_not_seen_before_is_no_regression(url: &str) {
    // 18 nights were as busy as the last of them, which is one too few.
    let mut history = history(url, 38, |day, record| {
        load(record, if day < 20 { 0.4 } else { 6.0 });
    });
    for (now, failed) in [(0.4, 1), (2.3, 1), (7.9, 0)] {
        let mut record = night(38);
        load(&mut record, now);
        times(&mut record.cells[0].metrics[0], 1.2);
        let came = held(&mut history, &mut record);
        let other_load = 1 - failed;
        assert_eq!(
            (came.held, came.failed, came.other_load),
            (5 + failed, failed, other_load),
            "{now}: {came:?}"
        );
        if other_load == 1 {
            let (why, count) = &came.left_out[0];
            assert!(
                why.contains("18 runs before began within 2.0 of its load average of 7.9"),
                "{why}"
            );
            assert_eq!(
                (*count, record.cells[0].metrics[0].verdict),
                (1, Verdict::Info)
            );
        }
        // What an engine answers does not depend on that.
        record.cells[0].metrics[2].value = Some(9.0);
        assert_eq!(held(&mut history, &mut record).failed, failed + 1);
    }
}

/// The load average does not tell yet.
fn a_load_that_has_just_begun_is_no_regression(url: &str) {
    let others = |record: &mut RunRecord, cores: f64| {
        load(record, 0.4);
        record.provenance.machine.state_at_start["other_busy_cores"] = cores.into();
    };
    let mut history = history(url, 37, |day, record| match day % 2 {
        0 => others(record, 0.1),
        // Of an earlier version, which did not look: 18 of them are one too few.
        _ => load(record, 0.4),
    });
    for (cores, failed) in [(0.2, 1), (2.0, 1), (3.9, 0)] {
        let mut record = night(37);
        others(&mut record, cores);
        times(&mut record.cells[0].metrics[0], 1.2);
        let came = held(&mut history, &mut record);
        assert_eq!(
            (came.failed, came.other_load),
            (failed, 1 - failed),
            "{cores}: {came:?}"
        );
        if failed == 0 {
            let (why, _) = &came.left_out[0];
            let expected = "18 runs before began within 2.0 of its load average of 0.4 and of the \
                            3.9 cores that others kept busy";
            assert!(why.contains(expected), "{why}");
        }
    }
}

/// Nights in turn on a quiet machine and on a busy one, where all takes half as long again.
fn a_run_is_held_against_runs_at_its_load(url: &str) {
    let busy = |record: &mut RunRecord, at: f64| {
        load(record, at);
        for cell in &mut record.cells {
            times(&mut cell.metrics[0], 1.5);
            times(&mut cell.metrics[1], 1.0 / 1.5);
        }
    };
    let mut history = history(url, 50, |day, record| match day % 2 {
        0 => load(record, 0.3),
        _ => busy(record, 9.0 + (day % 6) as f64),
    });
    let mut quiet = night(50);
    load(&mut quiet, 0.9);
    assert_eq!(held(&mut history, &mut quiet.clone()).failed, 0);
    let mut slow = quiet.clone();
    times(&mut slow.cells[0].metrics[0], 1.1);
    assert_eq!(held(&mut history, &mut slow).failed, 1);
    let why = slow.cells[0].metrics[0].why.clone().unwrap();
    assert!(why.contains("of 25 runs"), "{why}");
    assert!(why.contains("at load 0.0 to 2.9;"), "{why}");

    let mut record = night(50);
    busy(&mut record, 12.0);
    assert_eq!(held(&mut history, &mut record.clone()).failed, 0);
    times(&mut record.cells[0].metrics[0], 1.1);
    assert_eq!(held(&mut history, &mut record).failed, 1);
    let why = record.cells[0].metrics[0].why.clone().unwrap();
    assert!(why.contains("of 25 runs"), "{why}");
    assert!(why.contains("at load 10.0 to 14.0;"), "{why}");
}
