//! CSV out and in.

use std::fs;
use std::path::Path;

use harness_reports::history::{Filter, History, HistoryError, Imported};
use harness_reports::{Basis, Better, Blocks, Metric, Paired, RunRecord, Statistic, Verdict};
use proptest::prelude::*;

use crate::support::{Place, on_both, run, stored};

on_both! {
    an_export_comes_back_to_the_byte
    a_bad_line_is_named_and_nothing_kept
    an_export_replaces_nothing
}

const FILES: [&str; 3] = ["runs.csv", "cells.csv", "points.csv"];

fn files(folder: &Path) -> Vec<String> {
    FILES
        .map(|name| fs::read_to_string(folder.join(name)).unwrap())
        .into()
}

/// A run with what CSV and databases get wrong.
fn nasty(day: i64) -> RunRecord {
    let mut record = run(day);
    let metrics = &mut record.cells[1].metrics;
    metrics[0].why = Some("comma, \"quote\"\r\nline\n, \u{e9}\u{1f980} ' ; \t".into());
    metrics[0].gate = Some(" <script>".into());
    metrics[0].value = Some(-0.0);
    metrics[0].ci_low = Some(0.1 + 0.2);
    metrics[0].ci_high = Some(1e300);
    metrics[1].value = None;
    metrics[1].n = i64::MAX as u64;
    metrics[1].ci_low = Some(f64::MIN_POSITIVE / 3.0);
    record.provenance.project = None;
    record.provenance.machine.identity = serde_json::json!({"chip": "\"x\",\ny"});
    record.cells[0].engine.spec = "stdio:command=./a b,c".into();
    record
}

fn an_export_comes_back_to_the_byte(url: &str) {
    let mut first = History::open_or_create(url).unwrap();
    for record in [nasty(2), run(0), run(1), nasty(3)] {
        first.add(&stored(record)).unwrap();
    }
    let place = Place::sqlite();
    let folder = place.folder.path();
    first.export(&folder.join("one")).unwrap();
    let one = files(&folder.join("one"));

    let others = [
        Some(place.url.clone()),
        Place::postgres().map(|place| place.url),
    ];
    for (other, number) in others.into_iter().flatten().zip(0..) {
        let mut second = History::open_or_create(&other).unwrap();
        let imported = second.import(&folder.join("one")).unwrap();
        let expected = Imported {
            stored: 4,
            already_there: 0,
        };
        assert_eq!(imported, expected);
        let out = folder.join(format!("two{number}"));
        second.export(&out).unwrap();
        assert_eq!(files(&out), one);
        let again = second.import(&folder.join("one")).unwrap();
        assert_eq!(
            again,
            Imported {
                stored: 0,
                already_there: 4
            }
        );
        let records = |history: &mut History| -> Vec<RunRecord> {
            let runs = history.runs(&Filter::default()).unwrap();
            runs.iter()
                .map(|run| history.record(run.id).unwrap())
                .collect()
        };
        assert_eq!(records(&mut first), records(&mut second));
    }
}

fn a_bad_line_is_named_and_nothing_kept(url: &str) {
    let place = Place::sqlite();
    let mut source = History::open_or_create(&place.url).unwrap();
    for day in 0..3 {
        source.add(&stored(run(day))).unwrap();
    }
    let folder = place.folder.path().join("export");
    source.export(&folder).unwrap();
    let whole = files(&folder);
    let mut history = History::open_or_create(url).unwrap();
    // File, line, what is replaced there, by what.
    for (file, line, from, to) in [
        (0, 1, "sha256", "sha"),
        (0, 3, "2,", "5,"),
        (0, 3, ",main,", ",topic,"),
        (0, 4, "{", "["),
        (1, 4, ",latency,", ","),
        (1, 4, "2026", "20x6"),
        (1, 7, "3,2", "3,3"),
        (2, 2, ",lower,", ",wider,"),
        (2, 3, ",30,", ",-30,"),
        (2, 5, "99.9", "0x1"),
        (2, 5, "99.9", "NaN"),
        (2, 13, "3,2", "4,2"),
    ] {
        let mut lines: Vec<String> = whole[file].lines().map(String::from).collect();
        let changed = lines[line - 1].replacen(from, to, 1);
        assert_ne!(changed, lines[line - 1], "{file} {line} {from}");
        lines[line - 1] = changed;
        fs::write(folder.join(FILES[file]), lines.join("\n")).unwrap();
        let error = history.import(&folder).unwrap_err();
        fs::write(folder.join(FILES[file]), &whole[file]).unwrap();
        match &error {
            HistoryError::Malformed {
                path, line: found, ..
            } => {
                assert!(path.ends_with(FILES[file]), "{error}");
                assert_eq!(*found, line as u64, "{error}");
            }
            other => panic!("{other}"),
        }
        assert!(history.runs(&Filter::default()).unwrap().is_empty());
    }
    fs::remove_file(folder.join("cells.csv")).unwrap();
    let error = history.import(&folder).unwrap_err().to_string();
    assert!(error.contains("cells.csv"), "{error}");
}

fn an_export_replaces_nothing(url: &str) {
    let mut history = History::open_or_create(url).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let error = history.export(folder.path()).unwrap_err().to_string();
    assert!(error.contains("exists already"), "{error}");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    // An empty history is three headers, and comes back as one.
    let out = folder.path().join("a/b");
    history.export(&out).unwrap();
    assert_eq!(history.import(&out).unwrap(), Imported::default());
}

fn any_basis() -> impl Strategy<Value = Basis> {
    let paired = |samples: String, cases, blocks| {
        Basis::Paired(Paired {
            samples,
            cases,
            statistic: Statistic::ExpMean,
            blocks,
        })
    };
    let blocks = prop_oneof![
        any::<u64>().prop_map(Blocks::Length),
        "[^\0]{0,4}".prop_map(Blocks::StartOf)
    ];
    let cases = proptest::collection::vec("[^\0]{0,4}", 0..3);
    prop_oneof![
        Just(Basis::Machine),
        Just(Basis::Exact),
        Just(Basis::Aside),
        ("[^\0]{0,6}", cases, blocks).prop_map(move |(s, c, b)| paired(s, c, b)),
    ]
}

fn any_metric() -> impl Strategy<Value = Metric> {
    let text = || proptest::option::of("[^\0]{1,12}");
    let real =
        || proptest::option::of(any::<f64>().prop_filter("JSON has none", |v| v.is_finite()));
    let verdict = prop_oneof![
        Just(Verdict::Pass),
        Just(Verdict::Fail),
        Just(Verdict::Skip),
        Just(Verdict::Info)
    ];
    let better = prop_oneof![
        Just(Better::Lower),
        Just(Better::Higher),
        Just(Better::Equal)
    ];
    (
        ("[^\0]{0,12}", "[^\0]{0,4}", better, verdict, text(), text()),
        (real(), real(), real(), real(), 0..=i64::MAX as u64),
        any::<(bool, bool)>(),
        proptest::option::of(any_basis()),
    )
        .prop_map(
            |(
                (name, unit, better, verdict, gate, why),
                (a, b, c, d, n),
                (headline, ranks),
                basis,
            )| {
                Metric {
                    name,
                    unit,
                    better,
                    value: a,
                    n,
                    ci_low: b,
                    ci_high: c,
                    confidence: d,
                    gate,
                    verdict,
                    why,
                    headline,
                    ranks,
                    basis,
                }
            },
        )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn any_figures_come_back(metrics in proptest::collection::vec(any_metric(), 0..8)) {
        let place = Place::sqlite();
        let folder = place.folder.path();
        let mut record = run(0);
        record.cells[0].metrics = metrics;
        let mut history = History::open_or_create(&place.url).unwrap();
        history.add(&stored(record.clone())).unwrap();
        history.export(&folder.join("one")).unwrap();
        let runs = history.runs(&Filter::default()).unwrap();
        prop_assert_eq!(history.record(runs[0].id).unwrap(), record.clone());

        let other = Place::sqlite();
        let mut history = History::open_or_create(&other.url).unwrap();
        history.import(&folder.join("one")).unwrap();
        history.export(&folder.join("two")).unwrap();
        prop_assert_eq!(files(&folder.join("one")), files(&folder.join("two")));
        let runs = history.runs(&Filter::default()).unwrap();
        prop_assert_eq!(history.record(runs[0].id).unwrap(), record);
    }
}
