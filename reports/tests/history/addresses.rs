//! Where a history may be, and what is no history.

use std::fs;

use harness_reports::history::{History, HistoryError};

use crate::support::{Place, meddle, on_both, run, stored};

on_both! {
    a_history_that_is_not_there_is_not_made_by_opening
    a_later_schema_is_refused
    somebody_elses_tables_are_left_alone
}

fn a_history_that_is_not_there_is_not_made_by_opening(url: &str) {
    for _ in 0..2 {
        assert!(matches!(History::open(url), Err(HistoryError::Missing(_))));
    }
    History::open_or_create(url)
        .unwrap()
        .add(&stored(run(0)))
        .unwrap();
    History::open(url).unwrap();
}

fn a_later_schema_is_refused(url: &str) {
    drop(History::open_or_create(url).unwrap());
    meddle(url, "UPDATE harness_history SET version = 99");
    for error in [History::open(url).err(), History::open_or_create(url).err()] {
        let error = error.unwrap();
        assert!(
            matches!(error, HistoryError::Newer { found: 99, .. }),
            "{error}"
        );
        assert!(error.to_string().contains("update harness"), "{error}");
    }
}

fn somebody_elses_tables_are_left_alone(url: &str) {
    if url.starts_with("postgres") {
        meddle(url, "CREATE SCHEMA harness");
    }
    meddle(url, "CREATE TABLE visits (page TEXT)");
    for error in [History::open(url).err(), History::open_or_create(url).err()] {
        assert!(matches!(error, Some(HistoryError::Foreign(_))), "{error:?}");
    }
    meddle(url, "DROP TABLE visits");
    History::open_or_create(url).unwrap();
}

#[test]
fn what_is_no_address_is_refused() {
    for url in [
        "",
        "history.db",
        "mysql://x/y",
        "sqlite:",
        "sqlite::memory:",
        "postgres://h:x/d",
    ] {
        let error = History::open_or_create(url).err();
        assert!(
            matches!(error, Some(HistoryError::Url { .. })),
            "{url}: {error:?}"
        );
    }
}

#[test]
fn what_is_no_database_is_left_alone() {
    let place = Place::sqlite();
    let path = place.folder.path().join("history.db");
    let text = "not a database, but longer than the header of one\n".repeat(100);
    fs::write(&path, &text).unwrap();
    let error = History::open_or_create(&place.url).err();
    assert!(matches!(error, Some(HistoryError::Foreign(_))), "{error:?}");
    assert_eq!(fs::read_to_string(&path).unwrap(), text);
    let folder = format!("sqlite:{}", place.folder.path().display());
    assert!(History::open(&folder).is_err());
}

#[test]
fn nobody_listening_is_an_error() {
    // Port 1 needs root and is nobody's.
    let error = History::open("postgres://me:secret@127.0.0.1:1/db?connect_timeout=5")
        .err()
        .unwrap();
    assert!(matches!(error, HistoryError::Postgres(_)), "{error:?}");
    assert!(!format!("{error:?}").contains("secret"));
}
