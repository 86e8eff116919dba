//! One way to speak to both databases: the statements are the same, `$1` and
//! on being their parameters, numbered as they first appear.

use std::collections::HashMap;
use std::error::Error;
use std::time::Duration;

use postgres::fallible_iterator::FallibleIterator;
use postgres::types::private::BytesMut;
use postgres::types::{FromSql, IsNull, ToSql, Type, to_sql_checked};
use rusqlite::types::{ToSqlOutput, ValueRef};

use super::HistoryError;

/// How long a writer waits for others.
pub(super) const PATIENCE: Duration = Duration::from_secs(120);

/// An open database.
#[allow(clippy::large_enum_variant)] // A history has one.
pub(super) enum Store {
    Sqlite(rusqlite::Connection),
    Postgres {
        client: postgres::Client,
        prepared: HashMap<String, postgres::Statement>,
    },
}

/// A parameter of a statement.
#[derive(Clone, Copy, Debug)]
pub(super) enum Value<'a> {
    Int(i64),
    Real(Option<f64>),
    Text(Option<&'a str>),
}

/// A row of an answer.
pub(super) enum Row<'a> {
    Sqlite(&'a rusqlite::Row<'a>),
    Postgres(&'a postgres::Row),
}

/// A row of `point`.
#[derive(Clone, Copy, Debug)]
pub(super) struct PointRow {
    pub(super) metric: i64,
    pub(super) cell: i64,
    pub(super) position: i64,
    pub(super) value: Option<f64>,
    pub(super) ci_low: Option<f64>,
    pub(super) ci_high: Option<f64>,
    pub(super) n: i64,
    pub(super) judgement: i64,
}

const POINT_COLUMNS: &str = "metric_id, cell_id, position, value, ci_low, ci_high, n, judgement_id";

impl Store {
    /// Runs several statements that have no parameters.
    pub(super) fn batch(&mut self, sql: &str) -> Result<(), HistoryError> {
        match self {
            Store::Sqlite(connection) => connection.execute_batch(sql)?,
            Store::Postgres { client, .. } => client.batch_execute(sql)?,
        }
        Ok(())
    }

    /// Runs a statement; returns how many rows it changed.
    pub(super) fn execute(&mut self, sql: &str, values: &[Value<'_>]) -> Result<u64, HistoryError> {
        match self {
            Store::Sqlite(connection) => {
                let mut statement = connection.prepare_cached(sql)?;
                Ok(statement.execute(rusqlite::params_from_iter(values))? as u64)
            }
            Store::Postgres { client, prepared } => {
                let statement = prepare(client, prepared, sql)?;
                let values: Vec<&(dyn ToSql + Sync)> =
                    values.iter().map(|value| value as _).collect();
                Ok(client.execute(&statement, &values)?)
            }
        }
    }

    /// Hands every row of the answer to `visit`.
    pub(super) fn each(
        &mut self,
        sql: &str,
        values: &[Value<'_>],
        mut visit: impl FnMut(&Row<'_>) -> Result<(), HistoryError>,
    ) -> Result<(), HistoryError> {
        match self {
            Store::Sqlite(connection) => {
                let mut statement = connection.prepare_cached(sql)?;
                let mut rows = statement.query(rusqlite::params_from_iter(values))?;
                while let Some(row) = rows.next()? {
                    visit(&Row::Sqlite(row))?;
                }
            }
            Store::Postgres { client, prepared } => {
                let statement = prepare(client, prepared, sql)?;
                let mut rows = client.query_raw(&statement, values)?;
                while let Some(row) = rows.next()? {
                    visit(&Row::Postgres(&row))?;
                }
            }
        }
        Ok(())
    }

    /// The rows of the answer as `read` makes them.
    pub(super) fn query<T>(
        &mut self,
        sql: &str,
        values: &[Value<'_>],
        mut read: impl FnMut(&Row<'_>) -> Result<T, HistoryError>,
    ) -> Result<Vec<T>, HistoryError> {
        let mut found = Vec::new();
        self.each(sql, values, |row| {
            found.push(read(row)?);
            Ok(())
        })?;
        Ok(found)
    }

    /// The first column of the first row.
    pub(super) fn number(
        &mut self,
        sql: &str,
        values: &[Value<'_>],
    ) -> Result<Option<i64>, HistoryError> {
        let found = self.query(sql, values, |row| row.int(0))?;
        Ok(found.first().copied())
    }

    /// Adds points. PostgreSQL gets them in one statement, for each costs a
    /// round trip.
    pub(super) fn insert_points(&mut self, points: &[PointRow]) -> Result<(), HistoryError> {
        match self {
            Store::Sqlite(connection) => {
                let mut statement = connection.prepare_cached(&format!(
                    "INSERT INTO point ({POINT_COLUMNS}) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)"
                ))?;
                for point in points {
                    statement.execute((
                        point.metric,
                        point.cell,
                        point.position,
                        point.value,
                        point.ci_low,
                        point.ci_high,
                        point.n,
                        point.judgement,
                    ))?;
                }
            }
            Store::Postgres { client, prepared } => {
                let statement = prepare(
                    client,
                    prepared,
                    &format!(
                        "INSERT INTO point ({POINT_COLUMNS}) SELECT * FROM unnest(\
                         $1::bigint[], $2::bigint[], $3::bigint[], $4::float8[], $5::float8[], \
                         $6::float8[], $7::bigint[], $8::bigint[])"
                    ),
                )?;
                let ints = |of: fn(&PointRow) -> i64| points.iter().map(of).collect::<Vec<_>>();
                let reals =
                    |of: fn(&PointRow) -> Option<f64>| points.iter().map(of).collect::<Vec<_>>();
                client.execute(
                    &statement,
                    &[
                        &ints(|p| p.metric),
                        &ints(|p| p.cell),
                        &ints(|p| p.position),
                        &reals(|p| p.value),
                        &reals(|p| p.ci_low),
                        &reals(|p| p.ci_high),
                        &ints(|p| p.n),
                        &ints(|p| p.judgement),
                    ],
                )?;
            }
        }
        Ok(())
    }

    /// Runs `work` as one transaction that sees one state of the history and
    /// changes nothing.
    pub(super) fn reading<T>(
        &mut self,
        work: impl FnOnce(&mut Self) -> Result<T, HistoryError>,
    ) -> Result<T, HistoryError> {
        let begin = match self {
            Store::Sqlite(_) => "BEGIN",
            Store::Postgres { .. } => "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY",
        };
        self.transaction(begin, work)
    }

    /// Runs `work` as one transaction, alone among writers; readers go on.
    pub(super) fn writing<T>(
        &mut self,
        work: impl FnOnce(&mut Self) -> Result<T, HistoryError>,
    ) -> Result<T, HistoryError> {
        let begin = match self {
            Store::Sqlite(_) => "BEGIN IMMEDIATE",
            // A run takes milliseconds, so that writers lose little by waiting for each other,
            // and none can be chosen as the victim of a deadlock.
            Store::Postgres { .. } => "BEGIN; LOCK TABLE run IN SHARE ROW EXCLUSIVE MODE",
        };
        self.transaction(begin, work)
    }

    pub(super) fn transaction<T>(
        &mut self,
        begin: &str,
        work: impl FnOnce(&mut Self) -> Result<T, HistoryError>,
    ) -> Result<T, HistoryError> {
        let outcome = self.batch(begin).and_then(|()| work(self));
        match outcome {
            Ok(value) => {
                self.batch("COMMIT")?;
                Ok(value)
            }
            Err(error) => {
                // The first error tells more than that of a connection that is gone.
                let _ = self.batch("ROLLBACK");
                Err(error)
            }
        }
    }
}

fn prepare(
    client: &mut postgres::Client,
    prepared: &mut HashMap<String, postgres::Statement>,
    sql: &str,
) -> Result<postgres::Statement, HistoryError> {
    if let Some(statement) = prepared.get(sql) {
        return Ok(statement.clone());
    }
    let statement = client.prepare(sql)?;
    prepared.insert(sql.to_owned(), statement.clone());
    Ok(statement)
}

impl Row<'_> {
    /// An integer of any width.
    pub(super) fn int(&self, column: usize) -> Result<i64, HistoryError> {
        Ok(match self {
            Row::Sqlite(row) => row.get(column)?,
            Row::Postgres(row) => row.try_get::<_, Int>(column)?.0,
        })
    }

    /// A float, or null.
    pub(super) fn real(&self, column: usize) -> Result<Option<f64>, HistoryError> {
        Ok(match self {
            Row::Sqlite(row) => row.get(column)?,
            Row::Postgres(row) => row.try_get(column)?,
        })
    }

    /// A string, or null.
    pub(super) fn optional_text(&self, column: usize) -> Result<Option<String>, HistoryError> {
        Ok(match self {
            Row::Sqlite(row) => row.get(column)?,
            Row::Postgres(row) => row.try_get(column)?,
        })
    }

    /// A string.
    pub(super) fn text(&self, column: usize) -> Result<String, HistoryError> {
        Ok(match self {
            Row::Sqlite(row) => row.get(column)?,
            Row::Postgres(row) => row.try_get(column)?,
        })
    }
}

impl Value<'_> {
    /// The same in JSON.
    pub(super) fn json(&self) -> serde_json::Value {
        match self {
            Value::Int(value) => (*value).into(),
            Value::Real(value) => (*value).into(),
            Value::Text(value) => (*value).into(),
        }
    }
}

impl rusqlite::ToSql for Value<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self {
            Value::Int(value) => ValueRef::Integer(*value),
            Value::Real(value) => value.map_or(ValueRef::Null, ValueRef::Real),
            Value::Text(value) => {
                value.map_or(ValueRef::Null, |text| ValueRef::Text(text.as_bytes()))
            }
        }))
    }
}

type Conversion<T> = Result<T, Box<dyn Error + Sync + Send>>;

impl ToSql for Value<'_> {
    fn to_sql(&self, ty: &Type, out: &mut BytesMut) -> Conversion<IsNull> {
        match self {
            Value::Int(value) if *ty == Type::INT2 => i16::try_from(*value)?.to_sql(ty, out),
            Value::Int(value) if *ty == Type::INT4 => i32::try_from(*value)?.to_sql(ty, out),
            Value::Int(value) => value.to_sql(ty, out),
            Value::Real(value) => value.to_sql(ty, out),
            Value::Text(value) => value.to_sql(ty, out),
        }
    }

    fn accepts(ty: &Type) -> bool {
        [Type::INT2, Type::INT4, Type::INT8, Type::FLOAT8, Type::TEXT].contains(ty)
    }

    to_sql_checked!();
}

/// An integer column of PostgreSQL, whatever its width.
struct Int(i64);

impl<'a> FromSql<'a> for Int {
    fn from_sql(ty: &Type, raw: &'a [u8]) -> Conversion<Self> {
        Ok(Int(match *ty {
            Type::INT2 => i16::from_sql(ty, raw)?.into(),
            Type::INT4 => i32::from_sql(ty, raw)?.into(),
            _ => i64::from_sql(ty, raw)?,
        }))
    }

    fn accepts(ty: &Type) -> bool {
        [Type::INT2, Type::INT4, Type::INT8].contains(ty)
    }
}
