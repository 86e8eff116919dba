//! Runs of a commit, by the beginning of its hash.

use harness_reports::history::{Filter, History, RevisionError};

use crate::support::{on_both, run, stored};

on_both! {
    a_commit_is_known_by_its_beginning
    what_could_be_meant_is_named
}

fn history(url: &str) -> History {
    let mut history = History::open_or_create(url).unwrap();
    for (day, (revision, dirty)) in [
        ("abc1", false),
        ("abc2", false),
        ("abc2", true),
        ("abc2", false),
        ("d0", true),
    ]
    .into_iter()
    .enumerate()
    {
        let mut record = run(day as i64);
        let project = record.provenance.project.as_mut().unwrap();
        project.revision = format!("{revision:0<40}");
        project.dirty = dirty;
        history.add(&stored(record)).unwrap();
    }
    history
}

fn a_commit_is_known_by_its_beginning(url: &str) {
    let mut history = history(url);
    for (name, count) in [
        ("abc1", 1),
        ("abc2", 2),
        ("ABC20", 2),
        ("abc2-dirty", 1),
        ("d-dirty", 1),
    ] {
        let runs = history.runs_of(name, &Filter::default()).unwrap();
        assert_eq!(runs.len(), count, "{name}");
    }
}

fn what_could_be_meant_is_named(url: &str) {
    let mut history = history(url);
    let none = Filter {
        branch: Some("none".into()),
        ..Filter::default()
    };
    let all = Filter::default();
    for (name, filter, words) in [
        (
            "abc",
            &all,
            "is the beginning of several revisions, write more of one: abc200000000 (2 runs, main, 2026-01-04), abc200000000-dirty (1 run, main, 2026-01-03), abc100000000 (1 run",
        ),
        (
            "f",
            &all,
            "no run of revision `f`; the newest are: d00000000000-dirty (1 run",
        ),
        (
            "d0",
            &all,
            "are all of a changed work tree; write d00000000000-dirty",
        ),
        (
            "abc1-dirty",
            &all,
            "are all of the commit as it is; write abc100000000 to",
        ),
        ("abc1", &none, "nothing in it is of a commit and admitted"),
    ] {
        let error = history.runs_of(name, filter).unwrap_err();
        assert!(error.to_string().contains(words), "{name}: {error}");
        assert!(!matches!(error, RevisionError::History(_)));
    }
}
