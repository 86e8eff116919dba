use std::path::PathBuf;

use proptest::prelude::*;

use super::*;
use crate::render::Style;
use crate::render::fixtures::record;
use crate::{Basis, Blocks, Failure, Metric, Paired, Statistic, Status, StoredSample};

/// A run of one cell with these figures.
fn run(name: &str, metrics: Vec<Metric>) -> StoredRun {
    let mut record = record();
    record.cells.truncate(1);
    record.cells[0].metrics = metrics;
    StoredRun::of(record, PathBuf::from(name))
}

fn metric(name: &str, value: f64, basis: Basis) -> Metric {
    let mut metric = record().cells[0].metrics[0].clone();
    metric.name = name.into();
    metric.unit = "ns".into();
    metric.value = Some(value);
    metric.basis = Some(basis);
    metric
}

/// Runs of one time each.
fn times(name: &str, values: &[f64]) -> Vec<StoredRun> {
    let one = |(i, value): (usize, &f64)| {
        let time = metric("latency.decode.itl_p50_ns", *value, Basis::Machine);
        run(&format!("{name}{i}"), vec![time])
    };
    values.iter().enumerate().map(one).collect()
}

fn compared(base: &[StoredRun], head: &[StoredRun]) -> Comparison {
    compare(base, head, Options::default()).unwrap()
}

const STEADY: [f64; 5] = [100.0, 101.0, 102.0, 103.0, 104.0];

#[test]
fn a_slowdown_over_several_runs_is_a_regression() {
    let slow: Vec<f64> = STEADY.iter().map(|x| x * 1.1).collect();
    let found = compared(&times("a", &STEADY), &times("b", &slow));
    let row = &found.rows[0];
    assert_eq!(row.outcome, Outcome::Regressed);
    assert_eq!(row.method, Some(Method::Runs));
    // 2 of the 252 ways to deal out ten runs.
    assert!((row.p.unwrap() - 2.0 / 252.0).abs() < 1e-12);
    assert!((row.effect.unwrap() - 10.0).abs() < 0.5, "{row:?}");
    let found = compared(&times("b", &slow), &times("a", &STEADY));
    assert_eq!(found.rows[0].outcome, Outcome::Improved);
}

/// Puts the starts of runs in order: base, head, head, base and so on.
fn in_turn(base: &mut [StoredRun], head: &mut [StoredRun]) {
    for (i, (a, b)) in base.iter_mut().zip(head).enumerate() {
        let (first, second) = if i % 2 == 0 { (a, b) } else { (b, a) };
        let second_of = |n: usize| jiff::Timestamp::from_second(n as i64).unwrap();
        first.record.provenance.started = second_of(2 * i);
        second.record.provenance.started = second_of(2 * i + 1);
    }
}

#[test]
fn runs_made_in_turn_are_held_against_each_other_pair_by_pair() {
    // The machine's pace changes from pair to pair by far more than the builds differ.
    let pace = [100.0, 180.0, 130.0, 240.0, 110.0, 160.0, 90.0, 200.0];
    let noise = [0.1, -0.2, 0.3, -0.1, 0.2, 0.0, -0.3, 0.15];
    let slow: Vec<f64> = pace.iter().zip(noise).map(|(x, e)| x * 1.05 + e).collect();
    let (mut base, mut head) = (times("a", &pace), times("b", &slow));
    let apart = compared(&base, &head);
    assert_eq!((apart.turns, apart.rows[0].outcome), (0, Outcome::NoChange));

    in_turn(&mut base, &mut head);
    let found = compared(&base, &head);
    let row = &found.rows[0];
    assert_eq!((found.turns, row.method), (8, Some(Method::Turns)));
    assert_eq!(row.outcome, Outcome::Regressed, "{row:?}");
    assert_eq!(
        (row.p, row.p_adjusted),
        (Some(2.0 / 256.0), Some(2.0 / 256.0))
    );
    assert!((row.effect.unwrap() - 5.0).abs() < 0.3, "{row:?}");
    assert!(row.detectable.unwrap() < 2.0, "{row:?}");
    let text = table(&found, false, Style::default());
    assert!(text.contains("8 pairs of runs made in turn"), "{text}");

    // Two of one build in a row, or too few pairs: no turns.
    head[7].record.provenance.started = jiff::Timestamp::from_second(99).unwrap();
    base[7].record.provenance.started = jiff::Timestamp::from_second(-1).unwrap();
    assert_eq!(compared(&base, &head).turns, 0);
    let (mut base, mut head) = (times("a", &pace[..5]), times("b", &slow[..5]));
    in_turn(&mut base, &mut head);
    assert_eq!(compared(&base, &head).turns, 0);
}

#[test]
fn pairs_that_lack_a_figure_are_left_out() {
    let pace = [100.0, 180.0, 130.0, 240.0, 110.0, 160.0, 90.0];
    let slow: Vec<f64> = pace.iter().map(|x| x * 1.1).collect();
    let (mut base, mut head) = (times("a", &pace), times("b", &slow));
    in_turn(&mut base, &mut head);
    head[2].record.cells[0].metrics[0].value = None;
    let row = compared(&base, &head).rows.remove(0);
    assert_eq!((row.outcome, row.p), (Outcome::Regressed, Some(2.0 / 64.0)));
    head[3].record.cells[0].metrics[0].value = None;
    let row = compared(&base, &head).rows.remove(0);
    assert_eq!(row.outcome, Outcome::NotComparable);
    let why = row.why.unwrap();
    assert!(
        why.contains("5 of 7 pairs") && why.contains("6 can"),
        "{why}"
    );
}

#[test]
fn what_is_significant_but_small_is_no_change() {
    let near = |from: f64| -> Vec<f64> { (0..5).map(|i| from + f64::from(i) / 10.0).collect() };
    let options = |threshold_pct| Options {
        threshold_pct,
        ..Options::default()
    };
    let (base, head) = (times("a", &near(100.0)), times("b", &near(101.0)));
    let judged = |threshold| compare(&base, &head, options(threshold)).unwrap().rows[0].outcome;
    assert_eq!(judged(None), Outcome::NoChange);
    assert_eq!(judged(Some(0.5)), Outcome::Regressed);
}

#[test]
fn one_run_a_side_cannot_tell_of_times() {
    let found = compared(&times("a", &[100.0]), &times("b", &[150.0]));
    let row = &found.rows[0];
    assert_eq!(row.outcome, Outcome::NotComparable);
    assert!(
        row.why.as_ref().unwrap().contains("4 runs a side can"),
        "{row:?}"
    );
    assert_eq!((row.base, row.head), (Some(100.0), Some(150.0)));
}

#[test]
fn too_few_runs_do_not_burden_the_others() {
    // 5 against 5 runs can be significant among 6 figures, not among 7.
    for (figures, outcome) in [(6, Outcome::Regressed), (7, Outcome::NotComparable)] {
        let side = |name: &str, factor: f64| -> Vec<StoredRun> {
            let one = |(i, value): (usize, &f64)| {
                let figure = |k| {
                    metric(
                        &format!("latency.decode.t{k}_ns"),
                        value * factor,
                        Basis::Machine,
                    )
                };
                run(&format!("{name}{i}"), (0..figures).map(figure).collect())
            };
            STEADY.iter().enumerate().map(one).collect()
        };
        let found = compared(&side("a", 1.0), &side("b", 2.0));
        assert!(
            found.rows.iter().all(|row| row.outcome == outcome),
            "{figures}"
        );
    }
}

/// A run with `values` of four windows of two tokens each.
fn tokens(name: &str, values: &[f64; 8]) -> StoredRun {
    let basis = Basis::Paired(Paired {
        samples: "nll".into(),
        cases: vec![],
        statistic: Statistic::ExpMean,
        blocks: Blocks::StartOf("start".into()),
    });
    let mean = values.iter().sum::<f64>() / 8.0;
    let mut run = run(name, vec![metric("perplexity.c.ppl", mean.exp(), basis)]);
    let sample = |metric: &str, index, value| StoredSample {
        case: "c".into(),
        metric: metric.into(),
        unit: "nat".into(),
        index,
        value,
    };
    let mut samples: Vec<StoredSample> = (0..4).map(|w| sample("start", 10 * w, 1.0)).collect();
    for (i, value) in values.iter().enumerate() {
        let index = 10 * (i as u64 / 2) + i as u64 % 2;
        samples.push(sample("nll", index, *value));
    }
    let cell = run.record.cells[0].cell.clone();
    run.samples.insert(cell, samples);
    run
}

const NLL: [f64; 8] = [1.0, 3.0, 2.0, 5.0, 1.5, 2.5, 4.0, 0.5];

#[test]
fn tokens_are_paired_and_their_windows_are_the_units() {
    // By windows 0.1, 0.2, 0.3 and 0.4 nats a token: 0.25 ± t₃ · 0.1291 / √4.
    let worse: Vec<f64> = (0..8).map(|i| NLL[i] + 0.1 * (i / 2 + 1) as f64).collect();
    let found = compared(
        &[tokens("a", &NLL)],
        &[tokens("b", &worse.try_into().unwrap())],
    );
    let row = &found.rows[0];
    assert_eq!(
        (row.method, row.outcome),
        (Some(Method::PairedBlocks), Outcome::Regressed)
    );
    assert!((row.effect.unwrap() - 100.0 * 0.25f64.exp_m1()).abs() < 1e-9);
    // SciPy: 2 * stats.t.sf(0.25 / (0.129099445 / 2), 3)
    assert!((row.p.unwrap() - 0.030_466).abs() < 1e-5, "{row:?}");
    let high = row.base.unwrap() * (0.25f64 + 3.182_446_305 * 0.129_099_445 / 2.0).exp_m1();
    assert!((row.shift_high.unwrap() - high).abs() < 1e-6);
}

#[test]
fn other_tokens_cannot_be_paired() {
    let mut other = tokens("b", &NLL.map(|x| x + 1.0));
    for samples in other.samples.values_mut() {
        samples.pop();
    }
    let found = compared(&[tokens("a", &NLL)], &[other]);
    assert!(
        found.rows[0]
            .why
            .as_ref()
            .unwrap()
            .contains("not of the same tokens")
    );
}

#[test]
fn answers_are_held_against_each_other_item_by_item() {
    let answers = |name: &str, right: fn(u64) -> bool| {
        let basis = Basis::Paired(Paired {
            samples: "correct".into(),
            cases: vec!["x".into()],
            statistic: Statistic::Share,
            blocks: Blocks::Length(1),
        });
        let share = (0..20).filter(|i| right(*i)).count() as f64 / 20.0;
        let mut acc = metric("accuracy.all.acc", share, basis);
        (acc.unit, acc.better) = ("share".into(), Better::Higher);
        let mut run = run(name, vec![acc]);
        let sample = |index| StoredSample {
            case: "x".into(),
            metric: "correct".into(),
            unit: "bool".into(),
            index,
            value: f64::from(u8::from(right(index))),
        };
        let cell = run.record.cells[0].cell.clone();
        run.samples.insert(cell, (0..20).map(sample).collect());
        run
    };
    // Eight answers turn wrong, none right: p is 2 / 2⁸.
    let found = compared(&[answers("a", |_| true)], &[answers("b", |i| i >= 8)]);
    let row = &found.rows[0];
    assert_eq!(
        (row.method, row.outcome),
        (Some(Method::McNemar), Outcome::Regressed)
    );
    assert!((row.p.unwrap() - 2.0 / 256.0).abs() < 1e-12);
    assert_eq!(row.effect, Some(-40.0));
}

#[test]
fn what_never_varies_needs_no_test() {
    let one = |name: &str, value| run(name, vec![metric("kv.growth.bytes", value, Basis::Exact)]);
    let found = compared(&[one("a", 1.0)], &[one("b", 2.0)]);
    assert_eq!(
        (found.rows[0].outcome, found.tests),
        (Outcome::Regressed, 0)
    );
    let found = compared(&[one("a", 1.0)], &[one("b", 1.0)]);
    assert_eq!(found.rows[0].outcome, Outcome::NoChange);
}

#[test]
fn unlike_runs_are_told_apart() {
    let reason = |change: &dyn Fn(&mut StoredRun)| {
        let mut head = times("b", &STEADY);
        head.iter_mut().for_each(change);
        let found = compared(&times("a", &STEADY), &head);
        let row = &found.rows[0];
        assert_eq!(row.outcome, Outcome::NotComparable, "{row:?}");
        row.why.clone().unwrap()
    };
    assert!(reason(&|run| run.record.cells[0].model_sha256 = "ff".into()).contains("other models"));
    let machine = reason(&|run| run.record.provenance.machine.fingerprint = "1".into());
    assert!(machine.contains("other machines: 0 and 1"), "{machine}");
    let settings = reason(&|run| {
        let set = [("ctx".to_owned(), "9".to_owned())].into();
        run.record.provenance.settings.insert("parity".into(), set);
    });
    assert!(settings.contains("parity.ctx is unset and 9"), "{settings}");
    let missing = reason(&|run| run.record.cells.clear());
    assert!(missing.contains("HEAD has no such cell"), "{missing}");
    let withheld = reason(&|run| {
        let metric = &mut run.record.cells[0].metrics[0];
        (metric.value, metric.why) = (None, Some("9 samples are too few".into()));
    });
    assert!(
        withheld.contains("withheld in HEAD: 9 samples"),
        "{withheld}"
    );
}

#[test]
fn an_engine_that_fails_where_it_worked_is_a_regression() {
    let mut head = times("b", &STEADY);
    for run in &mut head {
        run.record.cells[0].metrics.clear();
        run.record.cells[0].status = Status::Failed(Failure {
            kind: "crash".into(),
            message: "SIGSEGV".into(),
            evidence: None,
        });
    }
    let found = compared(&times("a", &STEADY), &head);
    let row = found.of(Outcome::Regressed).next().unwrap();
    assert_eq!(row.metric, "parity.cell.completed");
    assert!(row.why.as_ref().unwrap().contains("crash: SIGSEGV"));
    let found = compared(&head, &times("a", &STEADY));
    assert_eq!(found.count(Outcome::Regressed), 0);
}

#[test]
fn a_run_counts_once() {
    let base = times("a", &STEADY);
    let twice = [base[0].clone(), base[0].clone()];
    let refused = compare(&twice, &base, Options::default());
    assert!(matches!(refused, Err(CompareError::Twice(_))));
    assert!(compare(&[], &base, Options::default()).is_err());
}

#[test]
fn every_format_tells_the_regression() {
    let slow: Vec<f64> = STEADY.iter().map(|x| x * 1.1).collect();
    let mut head = times("b", &slow);
    head[0].record.cells[0]
        .metrics
        .push(metric("latency.<script>|.x", 1.0, Basis::Machine));
    let found = compared(&times("a", &STEADY), &head);

    let text = table(&found, false, Style::default());
    assert!(
        text.contains("1 regressed, 0 improved, 0 no change, 1 not comparable"),
        "{text}"
    );
    let text = markdown(&found);
    assert!(
        text.contains("&lt;script&gt;") || text.contains("&lt;script>"),
        "{text}"
    );
    let bars = |line: &str| line.replace("\\|", "").matches('|').count();
    let lines: Vec<&str> = text.lines().filter(|line| line.starts_with('|')).collect();
    assert_eq!(lines.len(), 3 + 4, "{text}");
    assert!(lines.iter().all(|line| bars(line) == 9), "{text}");
    assert!(junit(&found).unwrap().contains(r#"tests="2" failures="1""#));
    let text = csv(&found).unwrap();
    let rows = ::csv::Reader::from_reader(text.as_bytes()).into_records();
    assert_eq!(rows.map(Result::unwrap).count(), 2);
    let json = serde_json::to_string(&found).unwrap();
    assert_eq!(serde_json::from_str::<Comparison>(&json).unwrap(), found);
}

proptest! {
    #[test]
    fn swapping_the_sides_flips_the_verdicts(
        a in prop::collection::vec(1.0f64..100.0, 4..9),
        b in prop::collection::vec(1.0f64..100.0, 4..9),
    ) {
        let (a, b) = (times("a", &a), times("b", &b));
        let there = compared(&a, &b);
        let back = compared(&b, &a);
        let flipped = match there.rows[0].outcome {
            Outcome::Regressed => Outcome::Improved,
            Outcome::Improved => Outcome::Regressed,
            other => other,
        };
        prop_assert_eq!(back.rows[0].outcome, flipped);
        let (p, q) = (there.rows[0].p, back.rows[0].p);
        prop_assert!(p.zip(q).is_none_or(|(p, q)| (p - q).abs() < 1e-12));
    }

    #[test]
    fn a_run_against_itself_has_not_changed(values in prop::collection::vec(-9.0f64..9.0, 8)) {
        let run = tokens("a", &values.try_into().unwrap());
        let found = compared(std::slice::from_ref(&run), std::slice::from_ref(&run));
        prop_assert_eq!(found.rows[0].outcome, Outcome::NoChange);
    }
}
