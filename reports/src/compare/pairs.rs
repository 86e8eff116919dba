//! Which figure is held against which, and what stands in the way.

use std::collections::BTreeMap;

use crate::{Basis, Better, CellRecord, Metric, Status, StoredRun};

/// One figure of one run.
#[derive(Clone, Copy)]
pub(super) struct Seen<'a> {
    pub(super) run: &'a StoredRun,
    pub(super) cell: &'a CellRecord,
    pub(super) metric: &'a Metric,
}

/// One figure on both sides.
pub(super) struct Pair<'a> {
    pub(super) cell: String,
    pub(super) metric: String,
    pub(super) unit: String,
    pub(super) better: Better,
    pub(super) headline: bool,
    pub(super) basis: Option<Basis>,
    pub(super) base: Vec<Seen<'a>>,
    pub(super) head: Vec<Seen<'a>>,
    /// What makes a comparison impossible.
    pub(super) obstacle: Option<String>,
    /// Whether the obstacle is that what worked does so no more.
    pub(super) broken: bool,
}

impl Pair<'_> {
    /// Whether it has the same value in all runs that have it.
    pub(super) fn constant(&self) -> bool {
        let mut values = (self.base.iter().chain(&self.head)).filter_map(|seen| seen.metric.value);
        values
            .next()
            .is_none_or(|first| values.all(|value| value == first))
    }
}

type Cells<'a> = Vec<(&'a StoredRun, &'a CellRecord)>;

pub(super) fn pairs<'a>(base: &'a [StoredRun], head: &'a [StoredRun]) -> Vec<Pair<'a>> {
    let mut names: Vec<&str> = Vec::new();
    for cell in base.iter().chain(head).flat_map(|run| &run.record.cells) {
        if !names.contains(&cell.cell.as_str()) {
            names.push(&cell.cell);
        }
    }
    let of = |side: &'a [StoredRun], name: &str| -> Cells<'a> {
        side.iter()
            .flat_map(|run| run.record.cells.iter().map(move |cell| (run, cell)))
            .filter(|(_, cell)| cell.cell == name)
            .collect()
    };
    names
        .into_iter()
        .flat_map(|name| cell(name, &of(base, name), &of(head, name)))
        .collect()
}

fn cell<'a>(name: &str, base: &Cells<'a>, head: &Cells<'a>) -> Vec<Pair<'a>> {
    let (obstacle, broken) = match unfinished(base, head) {
        Some((why, broken)) => (Some(why), broken),
        None => (unlike(base, head), false),
    };
    let mut all: Vec<Pair<'a>> = Vec::new();
    let mut at: BTreeMap<&'a str, usize> = BTreeMap::new();
    for (side, is_base) in [(base, true), (head, false)] {
        for &(run, cell) in side {
            for metric in &cell.metrics {
                let index = *at.entry(metric.name.as_str()).or_insert_with(|| {
                    all.push(Pair {
                        cell: name.into(),
                        metric: metric.name.clone(),
                        unit: metric.unit.clone(),
                        better: metric.better,
                        headline: metric.headline,
                        basis: None,
                        base: Vec::new(),
                        head: Vec::new(),
                        obstacle: obstacle.clone(),
                        broken: false,
                    });
                    all.len() - 1
                });
                let pair = &mut all[index];
                // The newest record knows best.
                pair.basis = metric.basis.clone().or(pair.basis.take());
                let seen = Seen { run, cell, metric };
                match is_base {
                    true => pair.base.push(seen),
                    false => pair.head.push(seen),
                }
            }
        }
    }
    for pair in &mut all {
        if pair.obstacle.is_none() {
            pair.obstacle = of_figure(pair);
        }
    }
    if broken {
        let suite = name.split('/').next().unwrap_or_default();
        all.push(Pair {
            cell: name.into(),
            metric: format!("{suite}.cell.completed"),
            unit: "bool".into(),
            better: Better::Higher,
            headline: true,
            basis: Some(Basis::Exact),
            base: Vec::new(),
            head: Vec::new(),
            obstacle,
            broken,
        });
    }
    all
}

/// A cell that is missing or did not run; and whether that is news.
fn unfinished(base: &Cells<'_>, head: &Cells<'_>) -> Option<(String, bool)> {
    for (side, name) in [(base, "BASE"), (head, "HEAD")] {
        if side.is_empty() {
            return Some((format!("{name} has no such cell"), false));
        }
    }
    let state = |side: &Cells<'_>| {
        side.iter().find_map(|(_, cell)| match &cell.status {
            Status::Completed => None,
            Status::Skipped { why } => Some((format!("skipped: {why}"), false)),
            Status::Failed(failure) => {
                let why = format!("the engine failed: {}: {}", failure.kind, failure.message);
                Some((why, true))
            }
        })
    };
    match (state(base), state(head)) {
        (None, None) => None,
        (None, Some((why, failed))) => Some((format!("HEAD: {why}"), failed)),
        (Some((why, _)), _) => Some((format!("BASE: {why}"), false)),
    }
}

/// What differs between the cells besides the engine's build.
fn unlike(base: &Cells<'_>, head: &Cells<'_>) -> Option<String> {
    let (run, first) = base.first()?;
    let short = |hash: &str| hash.get(..12).unwrap_or(hash).to_owned();
    for (other_run, other) in base.iter().chain(head) {
        if other.model_sha256 != first.model_sha256 {
            let (a, b) = (short(&first.model_sha256), short(&other.model_sha256));
            return Some(format!("other models: {a} and {b}"));
        }
        let settings = |run: &StoredRun| {
            let all = &run.record.provenance.settings;
            all.get(&first.suite).cloned().unwrap_or_default()
        };
        let (ours, theirs) = (settings(run), settings(other_run));
        for key in ours.keys().chain(theirs.keys()) {
            if ours.get(key) != theirs.get(key) {
                let show = |value: Option<&String>| value.map_or("unset".into(), Clone::clone);
                let (a, b) = (show(ours.get(key)), show(theirs.get(key)));
                let suite = &first.suite;
                return Some(format!("other settings: {suite}.{key} is {a} and {b}"));
            }
        }
    }
    None
}

/// What stands in the way of this figure.
fn of_figure(pair: &Pair<'_>) -> Option<String> {
    for (side, name) in [(&pair.base, "BASE"), (&pair.head, "HEAD")] {
        let Some(first) = side.first() else {
            return Some(format!("{name} has no such figure"));
        };
        if side.iter().all(|seen| seen.metric.value.is_none()) {
            let why = first.metric.why.as_deref().unwrap_or("undefined");
            return Some(format!("withheld in {name}: {why}"));
        }
    }
    let all = || pair.base.iter().chain(&pair.head);
    let differ = |of: fn(&Seen<'_>) -> String| {
        let mut values = all().map(of);
        let first = values.next()?;
        let other = values.find(|other| *other != first)?;
        Some((first, other))
    };
    if let Some((a, b)) = differ(|seen| seen.metric.unit.clone()) {
        return Some(format!("other units: {a} and {b}"));
    }
    match pair.basis {
        Some(Basis::Aside) => {
            Some("tells the conditions of the run, or what another figure tells".into())
        }
        Some(Basis::Machine) if pair.better == Better::Equal => {
            Some("tells the conditions of the run".into())
        }
        Some(Basis::Machine) => {
            let machine = |seen: &Seen<'_>| {
                let machine = &seen.run.record.provenance.machine;
                machine.fingerprint.clone()
            };
            differ(machine).map(|(a, b)| format!("other machines: {a} and {b}"))
        }
        _ => {
            let baseline = |seen: &Seen<'_>| seen.run.record.provenance.baseline.clone();
            differ(baseline).map(|(a, b)| format!("held against other baselines: {a} and {b}"))
        }
    }
}
