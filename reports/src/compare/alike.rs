//! Of the runs that a history has of two builds, those made alike.

use std::collections::BTreeMap;

use crate::{CellRecord, StoredRun};

/// What has to agree for cells to be held against each other.
type Made<'a> = (&'a str, Option<&'a BTreeMap<String, String>>, &'a str);

/// Where the runs of a cell differ in the model, a setting of the suite or the baseline engine,
/// keeps those of the one kind that both sides have most of, and says what it leaves out. Where
/// no kind is on both sides all stay, and the comparison says what stands in its way.
///
/// ```
/// use harness_reports::StoredRun;
/// use harness_reports::compare::keep_alike;
///
/// let run = StoredRun::open("tests/run".as_ref())?;
/// let mut longer = run.clone();
/// let settings = longer.record.provenance.settings.get_mut("perplexity");
/// settings.ok_or("no settings")?.insert("ctx".into(), "512".into());
///
/// let (mut base, mut head) = ([run.clone(), longer], [run]);
/// let notes = keep_alike(&mut base, &mut head);
/// assert!(notes[0].contains("1 runs of BASE and 0 of HEAD are left out"));
/// assert_eq!(base.map(|run| run.record.cells.len()), [2, 0]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn keep_alike(base: &mut [StoredRun], head: &mut [StoredRun]) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for cell in base.iter().chain(&*head).flat_map(|run| &run.record.cells) {
        if !names.contains(&cell.cell) {
            names.push(cell.cell.clone());
        }
    }
    let mut notes = Vec::new();
    for name in names {
        let leaving = {
            let (ours, theirs) = (kinds(base, &name), kinds(head, &name));
            let both = |(kind, runs): (&Made<'_>, &Vec<usize>)| {
                let others = theirs.get(kind)?;
                Some((runs.len().min(others.len()), runs.clone(), others.clone()))
            };
            let kept = ours.iter().filter_map(both).max_by_key(|(most, ..)| *most);
            kept.filter(|_| ours.len() > 1 || theirs.len() > 1)
                .map(|(_, a, b)| (others(&ours, &a), others(&theirs, &b)))
        };
        if let Some((a, b)) = leaving {
            notes.push(format!(
                "{name}: {} runs of BASE and {} of HEAD are left out, which had another model, \
                 other settings or another baseline",
                a.len(),
                b.len()
            ));
            for (side, leaving) in [(&mut *base, a), (&mut *head, b)] {
                for place in leaving {
                    side[place].record.cells.retain(|cell| cell.cell != name);
                }
            }
        }
    }
    notes
}

/// Places of the runs that have the cell, by how they were made.
fn kinds<'a>(side: &'a [StoredRun], name: &str) -> BTreeMap<Made<'a>, Vec<usize>> {
    let mut kinds: BTreeMap<Made<'a>, Vec<usize>> = BTreeMap::new();
    for (place, run) in side.iter().enumerate() {
        let of_name = |cell: &&CellRecord| cell.cell == name;
        if let Some(cell) = run.record.cells.iter().find(of_name) {
            let provenance = &run.record.provenance;
            let made = (
                cell.model_sha256.as_str(),
                provenance.settings.get(&cell.suite),
                provenance.baseline.as_str(),
            );
            kinds.entry(made).or_default().push(place);
        }
    }
    kinds
}

fn others(kinds: &BTreeMap<Made<'_>, Vec<usize>>, kept: &[usize]) -> Vec<usize> {
    let all = kinds.values().flatten().copied();
    all.filter(|place| !kept.contains(place)).collect()
}
