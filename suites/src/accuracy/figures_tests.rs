use super::*;

const RULE: Rule = Rule {
    repeats: 1,
    max_drop_pct: 1.0,
    alpha: 0.05,
};

/// Answers to items that alternate between two categories.
fn answers(metric: &str, right: impl Fn(u64) -> bool, items: u64) -> Series {
    let mut series = Series::default();
    for item in 0..items {
        let case = if item % 2 == 0 { "even" } else { "odd" };
        series.push(case, metric, item, f64::from(u8::from(right(item))));
    }
    series
}

#[track_caller]
fn figure<'a>(figures: &'a [Measurement], case: &str, metric: &str) -> &'a Measurement {
    let mut named = figures
        .iter()
        .filter(|figure| figure.case == case && figure.metric == metric);
    let figure = named.next().unwrap_or_else(|| panic!("no {case}.{metric}"));
    assert!(named.next().is_none(), "{case}.{metric} twice");
    figure
}

/// Whether the gate of `case` admits its figure.
fn passes(figures: &[Measurement], case: &str) -> bool {
    let drop = figure(figures, case, "drop_pct");
    drop.gate.as_ref().unwrap().admits(drop.value)
}

#[test]
fn figures_worked_by_hand() {
    // 40 of 40 right against 32: every fifth is lost, four of either category.
    let base = answers("correct", |_| true, 40);
    let ours = answers("correct", |item| item % 5 != 0, 40);
    let figures = all(&ours, Some(&base), RULE);
    let value = |case, metric| figure(&figures, case, metric).value;
    assert_eq!(value("all", "acc"), 0.8);
    assert_eq!(value("odd", "acc"), 0.8);
    assert_eq!((value("all", "losses"), value("all", "gains")), (8.0, 0.0));
    assert_eq!(value("even", "losses"), 4.0);
    assert_eq!(value("all", "drop_pct"), 20.0);
    // 2 / 2⁸ and 2 / 2⁴.
    assert!((value("all", "mcnemar_p") - 0.0078125).abs() < 1e-15);
    assert!((value("odd", "mcnemar_p") - 0.125).abs() < 1e-15);
    // At 0.05 / 3 seven against one (p = 0.07) is chance, eight against none is not.
    let gate = figure(&figures, "all", "drop_pct").gate.clone().unwrap();
    assert_eq!(gate.bound, 100.0 * 6.0 / 40.0);
    assert!(!passes(&figures, "all"));
    // Four against none never are significant: chance explains them all.
    assert!(passes(&figures, "odd") && passes(&figures, "even"));
    let drop = figure(&figures, "all", "drop_pct").interval.unwrap();
    assert!(drop.low > 0.0 && drop.low < 20.0 && drop.high > 20.0);
    assert!(figures.iter().all(|figure| figure.metric != "acc_norm"));
    assert!(figure(&figures, "all", "acc").headline && !figure(&figures, "odd", "acc").headline);
}

#[test]
fn a_gate_needs_both_significance_and_size() {
    let items = 2_000;
    let base = answers("correct", |_| true, items);
    // 0.7 points, p = 2 / 2¹⁴: significant, and too small to matter.
    let few = answers("correct", |item| item >= 14, items);
    let figures = all(&few, Some(&base), RULE);
    assert!(figure(&figures, "all", "mcnemar_p").value < 0.001);
    assert!(passes(&figures, "all"));
    let strict = Rule {
        max_drop_pct: 0.5,
        ..RULE
    };
    assert!(!passes(&all(&few, Some(&base), strict), "all"));
    // 25 points of four items: large, and chance.
    let base = answers("correct", |_| true, 4);
    let one = answers("correct", |item| item > 0, 4);
    assert!(passes(&all(&one, Some(&base), RULE), "all"));
    // Better is never worse.
    let figures = all(&base, Some(&one), RULE);
    assert_eq!(figure(&figures, "all", "drop_pct").value, -25.0);
    assert!(passes(&figures, "all"));
}

#[test]
fn the_bound_is_where_the_test_turns() {
    for alpha in [0.05, 0.0125] {
        for differing in 0..60u64 {
            let net = explained_by_chance(differing, alpha);
            let p = |net: u64| {
                let first_only = (differing + net) / 2;
                let counts = PairedCounts {
                    first_only,
                    second_only: differing - first_only,
                    ..PairedCounts {
                        both: 1,
                        ..PairedCounts::default()
                    }
                };
                mcnemar(counts, 0.95).unwrap().p
            };
            assert!(net <= differing && (differing - net).is_multiple_of(2));
            assert!(p(net) > alpha, "{differing}: {net}");
            if net < differing {
                assert!(p(net + 2) <= alpha, "{differing}: {net}");
            }
        }
    }
}

#[test]
fn engines_as_good_as_the_baseline_seldom_fail() {
    // Every answer changes with probability 0.2, right to wrong as often as back.
    let mut state = 1u64;
    let mut random = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 11) as f64 / (1u64 << 53) as f64
    };
    let (trials, items) = (2_000, 120);
    let rule = Rule {
        max_drop_pct: 0.0,
        ..RULE
    };
    let mut alarms = 0;
    for _ in 0..trials {
        let base: Vec<bool> = (0..items).map(|_| random() < 0.5).collect();
        let ours: Vec<bool> = base
            .iter()
            .map(|&right| right != (random() < 0.2))
            .collect();
        let series = |right: Vec<bool>| answers("correct", move |item| right[item as usize], items);
        let figures = all(&series(ours), Some(&series(base)), rule);
        alarms += usize::from(
            !["all", "even", "odd"]
                .iter()
                .all(|case| passes(&figures, case)),
        );
    }
    // Half of alpha at most, since only losses fail: 2.5 % of 2,000 is 50, and a
    // binomial count is beyond 50 + 4.5 √(50 · 0.975) once in 300,000 times.
    assert!(alarms <= 81, "{alarms} of {trials}");
    assert!(alarms > 0, "it can fail");
}

#[test]
fn repeats_tell_the_consistency() {
    let rule = Rule { repeats: 3, ..RULE };
    let mut series = Series::default();
    // Item 0: the same three times; 1: another answer, as right; 2: right, then wrong.
    let given = [
        (1.0, 1.0),
        (1.0, 1.0),
        (1.0, 1.0),
        (0.0, 1.0),
        (1.0, 1.0),
        (0.0, 1.0),
        (0.0, 1.0),
        (1.0, 0.0),
        (2.0, 0.0),
    ];
    for (index, (answer, correct)) in (0..).zip(given) {
        series.push(ALL, "answer", index, answer);
        series.push(ALL, "correct", index, correct);
    }
    let figures = all(&series, None, rule);
    let value = |metric| figure(&figures, ALL, metric).value;
    assert_eq!(value("acc"), 1.0, "the first answers count");
    assert_eq!(value("acc_mean"), 7.0 / 9.0);
    assert_eq!(value("same_answer"), 1.0 / 3.0);
    assert_eq!(value("same_outcome"), 2.0 / 3.0);
    assert_eq!(figure(&figures, ALL, "acc").n, 3);
}

#[test]
fn other_items_and_empty_shards_are_not_compared() {
    let ours = answers("correct", |_| true, 10);
    let figures = all(&ours, Some(&answers("correct", |_| true, 8)), RULE);
    assert!(figures.iter().all(|figure| figure.gate.is_none()));
    assert_eq!(all(&Series::default(), Some(&ours), RULE), []);
}

#[test]
fn length_matters_to_the_normalized_accuracy_alone() {
    let mut ours = answers("correct", |item| item < 5, 10);
    for item in 0..10 {
        let case = if item % 2 == 0 { "even" } else { "odd" };
        ours.push(case, "correct_norm", item, 1.0);
    }
    let figures = all(&ours, Some(&ours), RULE);
    assert_eq!(figure(&figures, "all", "acc").value, 0.5);
    assert_eq!(figure(&figures, "all", "acc_norm").value, 1.0);
    assert_eq!(figure(&figures, "all", "norm_drop_pct").gate, None);
}
