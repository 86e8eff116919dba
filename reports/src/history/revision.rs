//! The runs of a commit, however it is abbreviated.

use std::fmt::Write;

use super::{Filter, History, HistoryError, Run};

/// How many commits are proposed where one is not found.
const PROPOSED: usize = 8;
/// How the name of a commit ends whose work tree had been changed.
const DIRTY: &str = "-dirty";

/// A name that stands for no one commit of a history.
///
/// ```
/// use harness_reports::StoredRun;
/// use harness_reports::history::{Filter, History, RevisionError};
///
/// let folder = tempfile::tempdir()?;
/// let url = format!("sqlite:{}", folder.path().join("history.db").display());
/// let mut history = History::open_or_create(&url)?;
/// history.add(&StoredRun::open("tests/run".as_ref())?)?;
/// let all = Filter::default();
/// let unknown = history.runs_of("0123abcd", &all);
/// match unknown {
///     Err(RevisionError::Unknown { candidates, .. }) => {
///         assert_eq!(candidates, "a3d00da1b633 (1 run, main, 2026-11-22)");
///     }
///     other => panic!("{other:?}"),
/// }
/// // No work tree was changed.
/// assert!(matches!(history.runs_of("a3d-dirty", &all), Err(RevisionError::Dirtiness { .. })));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, thiserror::Error)]
pub enum RevisionError {
    /// No run is of such a commit.
    #[error("the history has no run of revision `{name}`{but}; {of}: {candidates}")]
    Unknown {
        /// What was given.
        name: String,
        /// Whether a filter leaves it out.
        but: &'static str,
        /// What the candidates are.
        of: &'static str,
        /// Commits that there are, the newest first.
        candidates: String,
    },
    /// There are no runs at all to choose from.
    #[error("the history has no run of revision `{0}`: nothing in it is of a commit and admitted")]
    Empty(String),
    /// Several commits begin like this.
    #[error("`{name}` is the beginning of several revisions, write more of one: {candidates}")]
    Ambiguous {
        /// What was given.
        name: String,
        /// Which.
        candidates: String,
    },
    /// The work tree was changed where it should not be, or the other way about.
    #[error("the runs of {revision} are all of {found}; write {revision}{suffix} to mean those")]
    Dirtiness {
        /// The commit.
        revision: String,
        /// What its runs are of.
        found: &'static str,
        /// How those are named.
        suffix: &'static str,
    },
    /// The history cannot be read.
    #[error(transparent)]
    History(#[from] HistoryError),
}

impl History {
    /// The runs of one commit that `filter` admits, by their start. `name` is the beginning of the
    /// commit's hash; runs of a work tree that differed from it are another build, and named by
    /// `-dirty` behind it. The filter's own revision and metric are left aside.
    ///
    /// # Errors
    /// [`RevisionError`] names the commits that could be meant.
    ///
    /// ```
    /// use harness_reports::StoredRun;
    /// use harness_reports::history::{Filter, History};
    ///
    /// let folder = tempfile::tempdir()?;
    /// let url = format!("sqlite:{}", folder.path().join("history.db").display());
    /// let mut history = History::open_or_create(&url)?;
    /// history.add(&StoredRun::open("tests/run".as_ref())?)?;
    /// let runs = history.runs_of("a3d00d", &Filter::default())?;
    /// assert_eq!(runs[0].revision.as_deref(), Some("a3d00da1b633c8349fdd401096f30a73c34520f8"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn runs_of(&mut self, name: &str, filter: &Filter) -> Result<Vec<Run>, RevisionError> {
        let filter = Filter {
            revision: None,
            ..filter.clone()
        };
        let runs = self.runs(&filter)?;
        let (hash, dirty) = match name.strip_suffix(DIRTY) {
            Some(hash) => (hash, true),
            None => (name, false),
        };
        let hash = hash.to_ascii_lowercase();
        let begins = |run: &&Run| (run.revision.as_ref()).is_some_and(|it| it.starts_with(&hash));
        let found: Vec<&Run> = runs.iter().filter(begins).collect();
        let Some(first) = found.first() else {
            let all = self.runs(&Filter::default())?;
            return Err(unknown(name, &runs, all.iter().any(|run| begins(&run))));
        };
        if found.iter().any(|run| run.revision != first.revision) {
            let candidates = candidates(&found, usize::MAX);
            let name = name.into();
            return Err(RevisionError::Ambiguous { name, candidates });
        }
        let kept: Vec<Run> = (found.iter().filter(|run| run.dirty == dirty))
            .map(|run| (*run).clone())
            .collect();
        if kept.is_empty() {
            let (found, suffix) = match dirty {
                true => ("the commit as it is", ""),
                false => ("a changed work tree", DIRTY),
            };
            return Err(RevisionError::Dirtiness {
                revision: short(first.revision.as_deref().unwrap_or_default()).into(),
                found,
                suffix,
            });
        }
        Ok(kept)
    }
}

fn unknown(name: &str, admitted: &[Run], elsewhere: bool) -> RevisionError {
    let named: Vec<&Run> = (admitted.iter())
        .filter(|run| run.revision.is_some())
        .collect();
    if named.is_empty() {
        return RevisionError::Empty(name.into());
    }
    let (but, of) = match elsewhere {
        true => (" that the filters admit", "they admit"),
        false => ("", "the newest are"),
    };
    RevisionError::Unknown {
        name: name.into(),
        but,
        of,
        candidates: candidates(&named, PROPOSED),
    }
}

/// The commits of `runs`, which are in the order of their start, the newest first.
fn candidates(runs: &[&Run], most: usize) -> String {
    let mut builds: Vec<(&Run, usize)> = Vec::new();
    for run in runs.iter().rev() {
        let same = |other: &&mut (&Run, usize)| {
            (&other.0.revision, other.0.dirty) == (&run.revision, run.dirty)
        };
        match builds.iter_mut().find(same) {
            Some((_, count)) => *count += 1,
            None => builds.push((run, 1)),
        }
    }
    let mut text = String::new();
    for (place, (run, count)) in builds.iter().take(most).enumerate() {
        let comma = if place == 0 { "" } else { ", " };
        let revision = short(run.revision.as_deref().unwrap_or_default());
        let dirty = if run.dirty { DIRTY } else { "" };
        let plural = if *count == 1 { "run" } else { "runs" };
        let branch = run.branch.as_deref().unwrap_or("no branch");
        let day = run.started.strftime("%Y-%m-%d");
        // Writing to a String cannot fail.
        let _ = write!(
            text,
            "{comma}{revision}{dirty} ({count} {plural}, {branch}, {day})"
        );
    }
    if builds.len() > most {
        let _ = write!(text, " and {} more", builds.len() - most);
    }
    text
}

/// As much of a hash as tells commits apart.
fn short(hash: &str) -> &str {
    hash.get(..12).unwrap_or(hash)
}
