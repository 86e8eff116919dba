//! What goes in comes out, and what is asked for is found.

use harness_reports::history::{Added, Filter, History, HistoryError, Retention};
use harness_reports::{Failure, RunRecord, Status, Verdict};
use jiff::{SignedDuration, Timestamp};

use crate::support::{metric, on_both, run, stored};

on_both! {
    what_goes_in_comes_out
    a_run_is_stored_once
    a_run_that_was_cut_off_is_refused
    unlike_runs_are_different_series
    points_are_in_the_order_of_time
    filters_admit_what_they_say
    old_runs_go
}

fn what_goes_in_comes_out(url: &str) {
    let mut history = History::open_or_create(url).unwrap();
    let mut record = run(0);
    record.cells[0].metrics[0].value = None;
    record.cells[0].metrics[0].verdict = Verdict::Skip;
    record.cells[0].metrics[1].gate = None;
    record.cells[0].metrics[1].confidence = None;
    // Twice the same name, long texts, the ends of the range.
    let mut twice = record.cells[0].metrics[1].clone();
    twice.why = Some("x\u{1f980}\n".repeat(5000));
    (twice.ci_low, twice.value, twice.ci_high) = (Some(f64::MIN), Some(5e-324), Some(f64::MAX));
    record.cells[0].metrics.push(twice);
    record.cells[1].stands_in_for = Some("metal".into());
    record.cells[1].metrics.clear();
    record.cells[1].work = None;
    record.cells[1].status = Status::Failed(Failure {
        kind: "crash".into(),
        message: "nul \0 inside".into(),
        evidence: None,
    });
    record.telemetry.failures.insert("crash".into(), 1);
    assert_eq!(history.add(&stored(record.clone())).unwrap(), Added::Stored);

    let mut history = History::open(url).unwrap();
    let runs = history.runs(&Filter::default()).unwrap();
    let [found] = &runs[..] else {
        panic!("{runs:?}");
    };
    assert_eq!(history.record(found.id).unwrap(), record);
    assert_eq!(found.folder.to_str(), Some("/runs/one"));
    assert_eq!(found.started, record.provenance.started);
    assert_eq!(found.branch.as_deref(), Some("main"));
    assert_eq!(found.engines, ["a", "b:weights=q4_0"]);
    assert_eq!(found.models, ["tiny"]);
    assert_eq!(found.tally, record.tally());
    assert_eq!(found.sha256, stored(record).sha256);
}

fn a_run_is_stored_once(url: &str) {
    let mut history = History::open_or_create(url).unwrap();
    let once = stored(run(0));
    assert_eq!(history.add(&once).unwrap(), Added::Stored);
    assert_eq!(history.add(&once).unwrap(), Added::AlreadyThere);
    let mut other = run(0);
    other.cells[0].metrics[0].n += 1;
    assert_eq!(history.add(&stored(other)).unwrap(), Added::Stored);
    assert_eq!(history.runs(&Filter::default()).unwrap().len(), 2);
    let series = history.series(&Filter::default()).unwrap();
    assert!(series.iter().all(|series| series.points.len() == 2));
}

fn a_run_that_was_cut_off_is_refused(url: &str) {
    let mut history = History::open_or_create(url).unwrap();
    let mut record = run(0);
    record.provenance.ended = None;
    let refused = history.add(&stored(record));
    assert!(matches!(refused, Err(HistoryError::Unfinished(_))));
    assert!(history.runs(&Filter::default()).unwrap().is_empty());
    // And the connection is of use after that.
    history.add(&stored(run(0))).unwrap();
}

fn unlike_runs_are_different_series(url: &str) {
    let mut history = History::open_or_create(url).unwrap();
    let differences: [fn(&mut RunRecord); 8] = [
        |_| (),
        |record| record.provenance.machine.fingerprint = "f".repeat(16),
        |record| record.provenance.project.as_mut().unwrap().branch = Some("topic".into()),
        |record| record.provenance.project.as_mut().unwrap().branch = None,
        |record| record.cells[0].model_sha256 = "ef".repeat(32),
        |record| record.cells[0].stands_in_for = Some("metal".into()),
        |record| record.provenance.baseline = "b".into(),
        |record| {
            let latency = record.provenance.settings.get_mut("latency").unwrap();
            latency.insert("ctx".into(), "1024".into());
        },
    ];
    for (difference, day) in differences.iter().zip(0..) {
        let mut record = run(day);
        record.cells.truncate(1);
        record.cells[0].metrics.truncate(1);
        difference(&mut record);
        history.add(&stored(record)).unwrap();
    }
    // What else differs is not the figures' business.
    let mut same = run(100);
    same.cells.truncate(1);
    same.cells[0].metrics.truncate(1);
    same.cells[0].engine.version = "2".into();
    same.cells[0].metrics[0].headline = false;
    same.provenance.machine.identity = serde_json::json!({"os_version": "26"});
    history.add(&stored(same)).unwrap();

    let series = history.series(&Filter::default()).unwrap();
    assert_eq!(series.len(), differences.len());
    let mut counts: Vec<usize> = series.iter().map(|series| series.points.len()).collect();
    counts.sort_unstable();
    assert_eq!(counts, [1, 1, 1, 1, 1, 1, 1, 2]);
    assert!(series.is_sorted_by(|a, b| a.key < b.key));
}

fn points_are_in_the_order_of_time(url: &str) {
    let mut history = History::open_or_create(url).unwrap();
    for day in [3, 0, 2, 1] {
        history.add(&stored(run(day))).unwrap();
    }
    for series in history.series(&Filter::default()).unwrap() {
        let values: Vec<f64> = series
            .points
            .iter()
            .map(|point| point.value.unwrap())
            .collect();
        let expected = if series.key.unit == "ms" {
            [10.0, 11.0, 12.0, 13.0]
        } else {
            [100.0, 99.0, 98.0, 97.0]
        };
        assert_eq!(values, expected);
        assert_eq!(series.model, "tiny");
        let judgement = &series.points[0].judgement;
        assert_eq!(judgement.gate.as_deref(), Some("<= 1000"));
        assert_eq!(judgement.verdict, Verdict::Pass);
        assert_eq!(judgement.confidence, Some(0.95));
    }
    let starts: Vec<Timestamp> = (history.runs(&Filter::default()).unwrap().iter())
        .map(|run| run.started)
        .collect();
    assert!(starts.is_sorted());
}

fn filters_admit_what_they_say(url: &str) {
    let mut history = History::open_or_create(url).unwrap();
    for day in 0..4 {
        let mut record = run(day);
        if day == 3 {
            record.provenance.machine.fingerprint = "other".into();
            record.provenance.project.as_mut().unwrap().branch = Some("topic".into());
            record.provenance.project.as_mut().unwrap().revision = "%a_".into();
            record.cells.truncate(1);
            record.cells[0].metrics = vec![metric("kv.peak", "B", 1.0)];
        }
        history.add(&stored(record)).unwrap();
    }
    let mut count = |filter: Filter| {
        let runs = history.runs(&filter).unwrap().len();
        let series = history.series(&filter).unwrap();
        let points: usize = series.iter().map(|series| series.points.len()).sum();
        (runs, points)
    };
    let text = |text: &str| Some(text.to_owned());
    let all = Filter::default();
    assert_eq!(count(all.clone()), (4, 13));
    let day = |day: i64| Some(run(day).provenance.started);
    for (filter, expected) in [
        (
            Filter {
                branch: text("main"),
                ..all.clone()
            },
            (3, 12),
        ),
        (
            Filter {
                branch: text("topic"),
                ..all.clone()
            },
            (1, 1),
        ),
        (
            Filter {
                branch: text("mai"),
                ..all.clone()
            },
            (0, 0),
        ),
        (
            Filter {
                machine: text("other"),
                ..all.clone()
            },
            (1, 1),
        ),
        (
            Filter {
                engine: text("a"),
                ..all.clone()
            },
            (4, 7),
        ),
        (
            Filter {
                engine: text("b"),
                ..all.clone()
            },
            (3, 6),
        ),
        (
            Filter {
                engine: text("b:weights=q4_0"),
                ..all.clone()
            },
            (3, 6),
        ),
        (
            Filter {
                model: text("tiny"),
                ..all.clone()
            },
            (4, 13),
        ),
        (
            Filter {
                model: text("abab"),
                ..all.clone()
            },
            (4, 13),
        ),
        (
            Filter {
                model: text("ba"),
                ..all.clone()
            },
            (0, 0),
        ),
        (
            Filter {
                revision: text(&format!("{:040x}", 2)),
                ..all.clone()
            },
            (1, 4),
        ),
        (
            Filter {
                revision: text("000"),
                ..all.clone()
            },
            (3, 12),
        ),
        (
            Filter {
                revision: text("%"),
                ..all.clone()
            },
            (1, 1),
        ),
        (
            Filter {
                revision: text("' OR 1=1 --"),
                ..all.clone()
            },
            (0, 0),
        ),
        (
            Filter {
                metric: text("*.ttft"),
                ..all.clone()
            },
            (4, 6),
        ),
        (
            Filter {
                metric: text("kv.peak"),
                ..all.clone()
            },
            (4, 1),
        ),
        (
            Filter {
                since: day(1),
                until: day(2),
                ..all.clone()
            },
            (2, 8),
        ),
        (
            Filter {
                since: Some(Timestamp::MAX),
                ..all.clone()
            },
            (0, 0),
        ),
        (
            Filter {
                since: Some(Timestamp::MIN),
                until: Some(Timestamp::MAX),
                ..all.clone()
            },
            (4, 13),
        ),
        (
            Filter {
                branch: text("main"),
                engine: text("b"),
                metric: text("*decode"),
                ..all
            },
            (3, 3),
        ),
    ] {
        assert_eq!(count(filter.clone()), expected, "{filter:?}");
    }
}

fn old_runs_go(url: &str) {
    let mut history = History::open_or_create(url).unwrap();
    for day in 0..10 {
        let mut record = run(day);
        if day < 3 {
            record.provenance.project.as_mut().unwrap().branch = Some("topic".into());
            record.cells[0].engine.version = "old".into();
        }
        history.add(&stored(record)).unwrap();
    }
    let now = run(10).provenance.started;
    assert_eq!(history.prune(Retention::default(), now).unwrap(), 0);
    let retention = Retention {
        keep_days: Some(4),
        keep_last: Some(2),
    };
    // Days 6 to 9 are recent; 1 and 2 are the last of their branch.
    assert_eq!(history.prune(retention, now).unwrap(), 4);
    assert_eq!(history.prune(retention, now).unwrap(), 0);
    let left: Vec<SignedDuration> = (history.runs(&Filter::default()).unwrap().iter())
        .map(|run| now.duration_since(run.started))
        .collect();
    let days = |days: i64| SignedDuration::from_hours(24 * days);
    assert_eq!(left, [9, 8, 4, 3, 2, 1].map(days));
    let points: usize = (history.series(&Filter::default()).unwrap().iter())
        .map(|series| series.points.len())
        .sum();
    assert_eq!(points, 6 * 4);
    for run in history.runs(&Filter::default()).unwrap() {
        let record = history.record(run.id).unwrap();
        assert!(record.cells.iter().all(|cell| cell.metrics.len() == 2));
    }
    // A run that went may come back.
    assert_eq!(history.add(&stored(run(5))).unwrap(), Added::Stored);
}
