//! Which part of a history is wanted.

use jiff::Timestamp;

use super::HistoryError;
use super::add::nanoseconds;
use super::store::Value;
use crate::{ModelRecord, RunRecord};

/// Which part of a history is wanted; a field that is `None` admits everything.
///
/// ```
/// use harness_reports::StoredRun;
/// use harness_reports::history::{Filter, History};
///
/// let folder = tempfile::tempdir()?;
/// let url = format!("sqlite:{}", folder.path().join("history.db").display());
/// let mut history = History::open_or_create(&url)?;
/// history.add(&StoredRun::open("tests/run".as_ref())?)?;
/// let count = |history: &mut History, metric: &str| {
///     let filter = Filter { metric: Some(metric.into()), ..Filter::default() };
///     history.series(&filter).map(|series| series.len())
/// };
/// assert_eq!(count(&mut history, "perplexity.*.ppl")?, 2);
/// assert_eq!(count(&mut history, "*_naive")?, 8);
/// assert_eq!(count(&mut history, "latency.*")?, 0);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Branch of the project under test.
    pub branch: Option<String>,
    /// Commit of the project under test, or the beginning of one.
    pub revision: Option<String>,
    /// Fingerprint of the machine.
    pub machine: Option<String>,
    /// Engine spec, or id for all specs of an engine.
    pub engine: Option<String>,
    /// Name of the model, or the beginning of its SHA-256.
    pub model: Option<String>,
    /// `suite.case.metric`; `*` stands for any characters.
    pub metric: Option<String>,
    /// No run that began earlier.
    pub since: Option<Timestamp>,
    /// No run that began later.
    pub until: Option<Timestamp>,
}

/// The condition on rows of `run`, `cell`, `engine` and `model`, and its
/// parameters.
pub(super) struct Condition<'a> {
    pub(super) sql: String,
    pub(super) values: Vec<Value<'a>>,
}

impl Filter {
    pub(super) fn condition(&self) -> Result<Condition<'_>, HistoryError> {
        let mut all = Condition {
            sql: "1 = 1".into(),
            values: Vec::new(),
        };
        // The casts tell PostgreSQL the type of a parameter that nothing else gives away.
        let starts = |column: &str| {
            format!("substr({column}, 1, length(CAST(? AS TEXT))) = CAST(? AS TEXT)")
        };
        let texts = [
            (&self.branch, "run.branch = ?".to_owned()),
            (&self.revision, starts("run.revision")),
            (&self.machine, "run.machine = ?".to_owned()),
            (
                &self.engine,
                "(engine.spec = ? OR engine.engine = ?)".to_owned(),
            ),
            (
                &self.model,
                format!("(model.name = ? OR {})", starts("model.sha256")),
            ),
        ];
        for (wanted, sql) in &texts {
            if let Some(wanted) = wanted {
                all.push(sql, Value::Text(Some(wanted)));
            }
        }
        for (wanted, sql) in [
            (self.since, "run.started_ns >= ?"),
            (self.until, "run.started_ns <= ?"),
        ] {
            if let Some(wanted) = wanted {
                // No run began at a time that cannot be written, so that the next best will do.
                let limit = nanoseconds(wanted).unwrap_or(if wanted < Timestamp::UNIX_EPOCH {
                    i64::MIN
                } else {
                    i64::MAX
                });
                all.push(sql, Value::Int(limit));
            }
        }
        Ok(all)
    }

    /// Leaves of a record the cells of the wanted engine and model, and of those the wanted
    /// metrics.
    ///
    /// ```
    /// use harness_reports::StoredRun;
    /// use harness_reports::history::Filter;
    ///
    /// let mut record = StoredRun::open("tests/run".as_ref())?.record;
    /// let filter = Filter {
    ///     engine: Some("reference:weights=q4_0".into()),
    ///     metric: Some("*.delta_pct".into()),
    ///     ..Filter::default()
    /// };
    /// filter.restrict(&mut record);
    /// assert_eq!((record.cells.len(), record.cells[0].metrics.len()), (1, 1));
    /// # Ok::<(), harness_reports::ReadError>(())
    /// ```
    pub fn restrict(&self, record: &mut RunRecord) {
        let models = &record.provenance.models;
        record.cells.retain(|cell| {
            let engine = &cell.engine;
            let named = |model: &&ModelRecord| model.sha256 == cell.model_sha256;
            let name = models.iter().find(named).map(|model| &model.name);
            let of_engine = (self.engine.as_ref())
                .is_none_or(|wanted| engine.spec == *wanted || engine.id == *wanted);
            let of_model = (self.model.as_ref()).is_none_or(|wanted| {
                name == Some(wanted) || cell.model_sha256.starts_with(wanted.as_str())
            });
            of_engine && of_model
        });
        for cell in &mut record.cells {
            cell.metrics.retain(|metric| self.admits(&metric.name));
        }
    }

    /// Whether a metric of this name is wanted.
    pub(super) fn admits(&self, name: &str) -> bool {
        self.metric
            .as_deref()
            .is_none_or(|pattern| matches(pattern, name))
    }
}

impl<'a> Condition<'a> {
    fn push(&mut self, sql: &str, value: Value<'a>) {
        self.values.push(value);
        let number = format!("${}", self.values.len());
        self.sql += " AND ";
        self.sql += &sql.replace('?', &number);
    }
}

/// Whether `pattern`, where `*` stands for any characters, is all of `name`.
fn matches(pattern: &str, name: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = parts.next().and_then(|first| name.strip_prefix(first)) else {
        return false;
    };
    let mut parts: Vec<&str> = parts.collect();
    let Some(last) = parts.pop() else {
        return rest.is_empty();
    };
    for part in parts {
        let Some(at) = rest.find(part) else {
            return false;
        };
        rest = &rest[at + part.len()..];
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_stand_for_any_characters() {
        for (pattern, name, expected) in [
            ("a.b", "a.b", true),
            ("a.b", "a.b.c", false),
            ("a.*", "a.b.c", true),
            ("*.c", "a.b.c", true),
            ("a*c", "a.b.c", true),
            ("*", "", true),
            ("**", "x", true),
            ("a*b*c", "a.b.c", true),
            ("a*a", "a", false),
            ("a*c*c", "a.c", false),
            ("", "a", false),
        ] {
            assert_eq!(matches(pattern, name), expected, "{pattern} {name}");
        }
    }
}
