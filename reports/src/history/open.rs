//! From an address to a database with the present schema.

use std::collections::HashMap;
use std::fs;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use postgres::NoTls;
use postgres::config::SslMode;
use rusqlite::{ErrorCode, OpenFlags};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::HistoryError;
use super::store::{PATIENCE, Store};

/// What has become of the schema, in order. Those that were released are never
/// changed; a new version is a new file.
const MIGRATIONS: &[&str] = &[
    include_str!("migrations/1.sql"),
    include_str!("migrations/2.sql"),
];

/// Opens the history at `url`; `create` makes it if there is none.
pub(super) fn open(url: &str, create: bool) -> Result<Store, HistoryError> {
    let at = without_password(url);
    connect(url, &at, create).map_err(|error| match error {
        HistoryError::Sqlite(error)
            if error.sqlite_error_code() == Some(ErrorCode::NotADatabase) =>
        {
            HistoryError::Foreign(at)
        }
        other => other,
    })
}

fn connect(url: &str, at: &str, create: bool) -> Result<Store, HistoryError> {
    let mut store = if let Some(path) = url.strip_prefix("sqlite:") {
        sqlite(path, at, create)?
    } else if url.starts_with("postgres://") || url.starts_with("postgresql://") {
        postgres(url, at)?
    } else {
        let why = "it starts with neither sqlite: nor postgres://";
        return Err(HistoryError::Url {
            url: at.into(),
            why: why.into(),
        });
    };
    if found(&mut store, at)?.is_none() && !create {
        return Err(HistoryError::Missing(at.into()));
    }
    if matches!(store, Store::Sqlite(_)) {
        write_ahead(&mut store)?;
    }
    migrate(&mut store, at)?;
    Ok(store)
}

fn sqlite(path: &str, at: &str, create: bool) -> Result<Store, HistoryError> {
    if path.is_empty() || path.starts_with(':') {
        return Err(HistoryError::Url {
            url: at.into(),
            why: "it has no file".into(),
        });
    }
    let path = Path::new(path.strip_prefix("//").unwrap_or(path));
    if !path.exists() {
        if !create {
            return Err(HistoryError::Missing(at.into()));
        }
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).map_err(HistoryError::io(folder))?;
        }
    }
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
        | OpenFlags::SQLITE_OPEN_CREATE
        | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = rusqlite::Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(PATIENCE)?;
    connection.set_prepared_statement_cache_capacity(64);
    // FULL: what was reported as stored outlives a power cut. The cache is in KiB.
    connection.execute_batch(
        "PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON; PRAGMA cache_size = -65536;",
    )?;
    Ok(Store::Sqlite(connection))
}

/// Readers and a writer do not wait for each other in this mode. Turning it on
/// may fail at once while others do the same, whatever the timeout.
fn write_ahead(store: &mut Store) -> Result<(), HistoryError> {
    let start = Instant::now();
    loop {
        match store.query("PRAGMA journal_mode = WAL", &[], |row| row.text(0)) {
            Err(HistoryError::Sqlite(error))
                if error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy)
                    && start.elapsed() < PATIENCE =>
            {
                thread::sleep(Duration::from_millis(5));
            }
            other => return other.map(drop),
        }
    }
}

fn postgres(url: &str, at: &str) -> Result<Store, HistoryError> {
    let wrong = |why: String| HistoryError::Url {
        url: at.into(),
        why,
    };
    let config: postgres::Config = url
        .parse()
        .map_err(|error: postgres::Error| wrong(causes(&error)))?;
    let mut client = match (
        config.get_ssl_mode(),
        MakeRustlsConnect::with_native_certs(),
    ) {
        // Without root certificates no server can be trusted, so that encryption is lost only
        // where the address does not insist on it.
        (SslMode::Disable, _) | (SslMode::Prefer, Err(_)) => config.connect(NoTls)?,
        (_, Ok((tls, _))) => config.connect(tls)?,
        (_, Err(_)) => return Err(wrong("TLS finds no root certificates here".into())),
    };
    client.batch_execute(&format!(
        "SET client_min_messages TO warning; SET search_path TO harness; SET lock_timeout TO {}",
        PATIENCE.as_millis()
    ))?;
    Ok(Store::Postgres {
        client,
        prepared: HashMap::new(),
    })
}

/// An error and what is behind it, on one line.
fn causes(error: &dyn std::error::Error) -> String {
    let behind = std::iter::successors(error.source(), |error| error.source());
    behind.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

/// An address without its password, or anything that holds none as it is.
///
/// ```
/// use harness_reports::history::without_password;
///
/// let url = "postgres://runner:secret@db.example.org/harness";
/// assert_eq!(without_password(url), "postgres://runner:***@db.example.org/harness");
/// assert_eq!(without_password("sqlite:history.db"), "sqlite:history.db");
/// ```
#[must_use]
pub fn without_password(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else {
        return url.into();
    };
    let end = rest.find('/').unwrap_or(rest.len());
    let login = rest[..end].rfind('@').and_then(|at| {
        let colon = rest[..at].find(':')?;
        Some((&rest[..colon], &rest[at..]))
    });
    match login {
        Some((user, host)) => format!("{scheme}://{user}:***{host}"),
        None => url.into(),
    }
}

/// The version of the schema, if there is one and this program knows it.
fn found(store: &mut Store, at: &str) -> Result<Option<i64>, HistoryError> {
    // In PostgreSQL other tables have schemas of their own.
    let tables = match store {
        Store::Sqlite(_) => "SELECT name FROM sqlite_master",
        Store::Postgres { .. } => {
            "SELECT CAST(tablename AS TEXT) AS name FROM pg_tables \
                                   WHERE schemaname = 'harness'"
        }
    };
    // In one statement, lest somebody make the history between two.
    let counted = store.query(
        &format!(
            "SELECT COUNT(CASE WHEN name = 'harness_history' THEN 1 END), COUNT(*) \
             FROM ({tables}) AS tables"
        ),
        &[],
        |row| Ok((row.int(0)?, row.int(1)?)),
    )?;
    match counted.first() {
        None | Some((0, 0)) => return Ok(None),
        Some((0, _)) => return Err(HistoryError::Foreign(at.into())),
        Some(_) => {}
    }
    let version = store.number("SELECT version FROM harness_history", &[])?;
    let known = MIGRATIONS.len() as i64;
    match version {
        Some(found) if found > known => Err(HistoryError::Newer {
            at: at.into(),
            found,
            known,
        }),
        Some(found) => Ok(Some(found)),
        None => Err(HistoryError::Damaged(format!("{at} has no version"))),
    }
}

/// Brings the schema up to date, once, however many programs try.
fn migrate(store: &mut Store, at: &str) -> Result<(), HistoryError> {
    let known = MIGRATIONS.len() as i64;
    if found(store, at)? == Some(known) {
        return Ok(());
    }
    let begin = match store {
        Store::Sqlite(_) => "BEGIN IMMEDIATE",
        // Any number will do, if all take the same.
        Store::Postgres { .. } => "BEGIN; SELECT pg_advisory_xact_lock(6011205)",
    };
    store.transaction(begin, |store| {
        let version = found(store, at)?;
        if version.is_none() {
            if matches!(store, Store::Postgres { .. }) {
                store.batch("CREATE SCHEMA IF NOT EXISTS harness")?;
            }
            store.batch(
                "CREATE TABLE harness_history (version INTEGER NOT NULL);
                 INSERT INTO harness_history (version) VALUES (0);",
            )?;
        }
        for migration in &MIGRATIONS[usize::try_from(version.unwrap_or(0)).unwrap_or(0)..] {
            let sql = dialect(store, migration);
            store.batch(&sql)?;
        }
        store.batch(&format!("UPDATE harness_history SET version = {known}"))
    })
}

/// A migration in the words of the database.
fn dialect(store: &Store, sql: &str) -> String {
    match store {
        Store::Sqlite(_) => sql.into(),
        Store::Postgres { .. } => sql
            .replace(
                "INTEGER PRIMARY KEY",
                "INTEGER GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY",
            )
            .replace(" WITHOUT ROWID", ""),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_not_shown() {
        for (url, text) in [
            ("postgres://me:secret@host/db", "postgres://me:***@host/db"),
            (
                "postgres://me:a@b:c@host:1/db",
                "postgres://me:***@host:1/db",
            ),
            ("postgres://me:secret@host", "postgres://me:***@host"),
            ("postgres://me@host:5432/db", "postgres://me@host:5432/db"),
            ("sqlite:a:b@c", "sqlite:a:b@c"),
        ] {
            assert_eq!(without_password(url), text);
        }
    }
}
