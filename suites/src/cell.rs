//! What a suite is given.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use engine::{EngineError, Model, Tokenizer};
use serde::{Deserialize, Serialize};

use crate::accuracy::ItemsError;
use crate::golden::GoldenError;
use crate::logits_file::LogitsFileError;
use crate::{Sample, SettingError, Settings, TextError};

/// One engine to be put through one suite.
///
/// ```
/// use engine::{Engine, EngineOptions, ModelArtifact};
/// use harness_suites::{Cell, Defaults, Input, Role, Settings, Shard, find};
/// use reference::{Reference, Source, tokenizer};
///
/// let model = ModelArtifact::embedded(fixtures::MODEL_NAME, fixtures::MODEL);
/// let tokenizer = tokenizer::open(&Source::open(&model)?)?;
/// let suite = find("perplexity").ok_or("no such suite")?;
/// let mut settings = Settings::default();
/// settings.set("ctx", "64");
/// settings.set("chunks", "2");
/// settings.complete(suite.settings(), false);
/// let input = Input {
///     tokenizer: &*tokenizer,
///     model_sha256: &model.sha256,
///     defaults: Defaults { text: fixtures::HELDOUT, ..Defaults::default() },
///     settings: &settings,
/// };
/// suite.validate(&input)?;
///
/// let folder = tempfile::tempdir()?;
/// let mut samples = Vec::new();
/// let mut figures = suite.run(&mut Cell {
///     open: &|| Reference.open(&model, &EngineOptions::default()),
///     variant: &|_, _| None,
///     input,
///     role: Role::Baseline,
///     candidates: 0,
///     engine: "reference",
///     model_path: None,
///     model_sha256: &model.sha256,
///     model_bytes: model.size_bytes,
///     shard: Shard::WHOLE,
///     scratch: folder.path(),
///     artifacts: (folder.path(), "reference"),
///     progress: &|_, _| {},
///     samples: &mut |sample| samples.push(sample),
/// })?;
/// figures.extend(suite.figures(&settings, &samples.into_iter().collect(), None)?);
///
/// let perplexity = figures.iter().find(|figure| figure.metric == "ppl").ok_or("none")?;
/// // One who knows nothing has to choose among 4096 tokens.
/// assert!(1.0 < perplexity.value && perplexity.value < 4096.0);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Cell<'a> {
    /// Opens the engine on its model.
    pub open: Open<'a>,
    /// Opens the same engine with one option changed.
    pub variant: Variant<'a>,
    /// What the engine is asked to read.
    pub input: Input<'a>,
    /// Whether this engine sets the mark or is held to it.
    pub role: Role,
    /// How many engines are held against the baseline.
    pub candidates: usize,
    /// Id, version and options of the engine.
    pub engine: &'a str,
    /// The model's file or folder, unless it is linked into the program.
    pub model_path: Option<&'a Path>,
    /// SHA-256 of the model's file or folder.
    pub model_sha256: &'a str,
    /// Size of the model's file or folder, as it is stored.
    pub model_bytes: u64,
    /// Which of the cases to run, for a suite that can be split.
    pub shard: Shard,
    /// Folder that the cells of a run share, for what the baseline leaves to
    /// the engines held against it. It is gone after the run.
    pub scratch: &'a Path,
    /// Folder for what is to be kept with the record, and the stem that names
    /// this engine in it.
    pub artifacts: (&'a Path, &'a str),
    /// Told of progress: steps done, steps in all.
    pub progress: &'a dyn Fn(u64, u64),
    /// Takes raw samples as they are made.
    pub samples: &'a mut dyn FnMut(Sample),
}

/// Opens an engine on its model, anew at every call: what opening costs belongs to
/// the suite that asks for it.
pub type Open<'a> = &'a dyn Fn() -> Result<Box<dyn Model>, EngineError>;

/// Opens an engine with option `.0` set to `.1`; `None` when it has
/// no such option.
pub type Variant<'a> = &'a dyn Fn(&str, &str) -> Option<Result<Box<dyn Model>, EngineError>>;

/// What every engine of a run is asked to read, and how.
///
/// ```
/// use engine::ModelArtifact;
/// use harness_suites::{Defaults, Input, Settings, find};
/// use reference::{Source, tokenizer};
///
/// let model = ModelArtifact::embedded(fixtures::MODEL_NAME, fixtures::MODEL);
/// let mut settings = Settings::default();
/// settings.set("text", "no/such/file.txt");
/// let input = Input {
///     tokenizer: &*tokenizer::open(&Source::open(&model)?)?,
///     model_sha256: &model.sha256,
///     defaults: Defaults::default(),
///     settings: &settings,
/// };
/// // Found before any engine is opened.
/// let suite = find("parity").ok_or("no such suite")?;
/// let refused = suite.validate(&input).map_err(|error| error.to_string());
/// assert!(refused.is_err_and(|why| why.starts_with("cannot read text no/such/file.txt")));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy)]
pub struct Input<'a> {
    /// The tokenizer of the baseline's model, or of the engine's own where a suite
    /// does not compare tokens.
    pub tokenizer: &'a dyn Tokenizer,
    /// SHA-256 of the model that the tokenizer belongs to.
    pub model_sha256: &'a str,
    /// What to read where the settings name nothing.
    pub defaults: Defaults<'a>,
    /// The suite's settings.
    pub settings: &'a Settings,
}

/// Embedded material.
///
/// ```
/// use harness_suites::Defaults;
/// use harness_suites::golden::Prompt;
///
/// let embedded = Defaults {
///     text: fixtures::HELDOUT,
///     items: fixtures::ITEMS,
///     prompts: fixtures::PROMPTS,
///     goldens: fixtures::GOLDENS,
/// };
/// let prompts = Prompt::parse("embedded prompts".as_ref(), embedded.prompts)?;
/// assert_eq!(prompts.len(), embedded.goldens.len());
/// # Ok::<(), harness_suites::golden::GoldenError>(())
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct Defaults<'a> {
    /// Text.
    pub text: &'a str,
    /// Questions, one JSON object a line.
    pub items: &'a str,
    /// Prompts, one JSON object a line.
    pub prompts: &'a str,
    /// Transcripts, for the model that is theirs: names and texts of their files.
    pub goldens: &'a [(&'a str, &'a str)],
}

/// One of several runs that share the cases of a suite; written `I/N`.
///
/// ```
/// use harness_suites::Shard;
///
/// let second: Shard = "2/4".parse()?;
/// assert_eq!((second.index(), second.count()), (1, 4));
/// assert_eq!(second.to_string(), "2/4");
/// assert!("5/4".parse::<Shard>().is_err());
/// # Ok::<(), String>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shard {
    /// Which one, from zero.
    index: usize,
    /// How many there are.
    count: usize,
}

impl Shard {
    /// All cases.
    pub const WHOLE: Self = Self { index: 0, count: 1 };

    /// Whether `case`, counted from zero, is this shard's.
    ///
    /// ```
    /// use harness_suites::Shard;
    ///
    /// let second: Shard = "2/4".parse()?;
    /// let cases: Vec<usize> = (0..10).filter(|&case| second.takes(case)).collect();
    /// assert_eq!(cases, [1, 5, 9]);
    /// assert!((0..10).all(|case| Shard::WHOLE.takes(case)));
    /// # Ok::<(), String>(())
    /// ```
    #[must_use]
    pub fn takes(self, case: usize) -> bool {
        case % self.count == self.index
    }

    /// Which one, from zero.
    ///
    /// ```
    /// use harness_suites::Shard;
    ///
    /// // People count from one.
    /// assert_eq!("1/4".parse::<Shard>()?.index(), 0);
    /// # Ok::<(), String>(())
    /// ```
    #[must_use]
    pub fn index(self) -> usize {
        self.index
    }

    /// How many there are.
    ///
    /// ```
    /// use harness_suites::Shard;
    ///
    /// assert_eq!("1/4".parse::<Shard>()?.count(), 4);
    /// assert_eq!(Shard::WHOLE.count(), 1);
    /// # Ok::<(), String>(())
    /// ```
    #[must_use]
    pub fn count(self) -> usize {
        self.count
    }
}

impl FromStr for Shard {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let numbers = text.split_once('/').and_then(|(index, count)| {
            let (index, count) = (index.parse::<usize>().ok()?, count.parse().ok()?);
            (1..=count).contains(&index).then_some((index, count))
        });
        let (index, count) = numbers.ok_or("write I/N with I from 1 to N, e.g. 2/4")?;
        Ok(Self {
            index: index - 1,
            count,
        })
    }
}

impl fmt::Display for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.index + 1, self.count)
    }
}

/// Part an engine plays in a run.
///
/// ```
/// use harness_suites::Role;
///
/// // As records have it.
/// let role: Role = serde_json::from_str(r#""candidate""#)?;
/// assert_eq!(role, Role::Candidate);
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Others are held against it. Its cell runs first.
    Baseline,
    /// It is held against the baseline.
    Candidate,
}

/// Why a cell has no result.
///
/// ```
/// use engine::{EngineError, FailureKind};
/// use harness_suites::{Settings, SuiteError, find};
///
/// // What the engine did is a finding, all else is bad input.
/// let exit_code = |error: &SuiteError| match error {
///     SuiteError::Engine(_) => 3,
///     _ => 2,
/// };
/// let hung = EngineError::new(FailureKind::Timeout, "no answer within 60 s");
/// assert_eq!(exit_code(&hung.into()), 3);
///
/// let suite = find("soak").ok_or("no such suite")?;
/// let mut settings = Settings::default();
/// settings.set("cycels", "10");
/// let typo = settings.refuse_unknown(suite.name(), suite.settings());
/// assert!(typo.is_err_and(|error| exit_code(&error.into()) == 2));
/// # Ok::<(), &str>(())
/// ```
#[derive(Debug, thiserror::Error)]
pub enum SuiteError {
    /// The engine failed; a finding about the engine.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// A setting cannot be used.
    #[error(transparent)]
    Setting(#[from] SettingError),
    /// The text cannot be used.
    #[error(transparent)]
    Text(#[from] TextError),
    /// An item cannot be used.
    #[error(transparent)]
    Items(#[from] ItemsError),
    /// The shared folder cannot be used.
    #[error("cannot use {0}: {1}")]
    Scratch(PathBuf, io::Error),
    /// Transcripts or prompts cannot be used.
    #[error(transparent)]
    Golden(#[from] GoldenError),
    /// Logits could not be kept or read back.
    #[error(transparent)]
    Logits(#[from] LogitsFileError),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_share_all_cases() {
        let shards: Vec<Shard> = (1..=3).map(|i| format!("{i}/3").parse().unwrap()).collect();
        for case in 0..20 {
            let takers = shards.iter().filter(|shard| shard.takes(case)).count();
            assert_eq!(takers, 1, "case {case}");
        }
        assert!((0..20).all(|case| Shard::WHOLE.takes(case)));
        assert_eq!(shards[1].to_string(), "2/3");
    }

    #[test]
    fn malformed_shards_are_refused() {
        for text in ["", "1", "0/4", "5/4", "1/0", "a/4", "1/b", "-1/2", "1/2/3"] {
            assert!(text.parse::<Shard>().is_err(), "{text}");
        }
    }
}
