//! What is asked of an engine, one module a suite:
//!
//! | suite | question |
//! |---|---|
//! | `parity` | does it compute what the baseline computes? |
//! | `perplexity` | how well does it predict a text, and what did its weights' format cost? |
//! | `golden` | does it still say what was recorded? |
//! | `embedding` | do its vectors of texts say what the baseline's say? |
//! | `accuracy` | how many questions does it answer rightly? |
//! | `latency` | how long does a user wait, and for what? |
//! | `kv` | what does its KV cache take, by theory, by its word, and in pages? |
//! | `memory` | what does it take from the machine, when, and does it give it back? |
//! | `soak` | does it leak or slow down when it is used again and again? |
//! | `kernels` | does every operation compute what it should, and how fast? |
//! | `placement` | on which device does each operation run? |
//!
//! [`find`] gives them by name, [`all`] in order. A suite knows engines only through the seam (`engine`), and hands back
//! [`Measurement`]s and raw [`Sample`]s; who judges, records and shows them is
//! not its business. It runs once per [`Cell`].
//!
//! ```
//! use engine::Capability;
//! use harness_suites::all;
//!
//! // What an engine can be put through that makes vectors of texts and shows no logits.
//! let offered = [Capability::Embeddings];
//! let can = |powers: &&[Capability]| powers.iter().all(|power| offered.contains(power));
//! let suites = all().iter().filter(|suite| suite.requires().iter().any(can));
//! let names: Vec<&str> = suites.map(|suite| suite.name()).collect();
//! assert_eq!(names, ["golden", "embedding", "latency", "memory", "soak"]);
//! ```

mod accuracy;
mod cell;
pub mod chat;
mod distribution;
mod embedding;
mod float;
pub mod generation;
pub mod golden;
mod json;
mod kernels;
mod kv;
pub mod latency;
mod logits_file;
mod measurement;
mod memory;
mod parity;
mod perplexity;
mod placement;
mod reading;
mod settings;
mod soak;
mod text;

pub use accuracy::ItemsError;
pub use cell::{Cell, Defaults, Input, Open, Role, Shard, SuiteError, Variant};
pub use logits_file::LogitsFileError;
pub use measurement::{
    Basis, Better, Blocks, Comparison, Gate, Label, Measurement, Paired, Sample, Series, Statistic,
};
pub use settings::{Setting, SettingError, Settings};
pub use text::TextError;

use engine::Capability;

/// A family of measurements.
///
/// What it reads, demands and needs is known before it runs; [`Cell`] shows a run.
///
/// ```
/// use engine::Capability;
/// use harness_suites::find;
///
/// let suite = find("embedding").ok_or("no such suite")?;
/// assert_eq!(suite.requires(), [[Capability::Embeddings]]);
/// assert!(suite.gates().contains(&("cosine_min", ">= min_cosine")));
/// let limit = suite.settings().iter().find(|setting| setting.key == "min_cosine");
/// assert_eq!(limit.map(|setting| setting.default), Some("0.99"));
/// # Ok::<(), &str>(())
/// ```
pub trait Suite: Sync {
    /// Name on the command line and first part of metric names.
    ///
    /// ```
    /// use harness_suites::find;
    ///
    /// let suite = find("golden").ok_or("no such suite")?;
    /// let gated = suite.gates().iter().map(|(metric, _)| format!("{}.{metric}", suite.name()));
    /// assert_eq!(gated.collect::<Vec<_>>(), ["golden.unexplained", "golden.retokenized"]);
    /// # Ok::<(), &str>(())
    /// ```
    fn name(&self) -> &'static str;

    /// One line for `harness suites`.
    ///
    /// ```
    /// for suite in harness_suites::all() {
    ///     let line = format!("{:<12} {}", suite.name(), suite.about());
    ///     assert_eq!(line.lines().count(), 1);
    /// }
    /// ```
    fn about(&self) -> &'static str;

    /// The settings it reads.
    ///
    /// ```
    /// use harness_suites::find;
    ///
    /// let suite = find("kv").ok_or("no such suite")?;
    /// let keys: Vec<&str> = suite.settings().iter().map(|setting| setting.key).collect();
    /// assert_eq!(keys, ["text", "ctx", "step"]);
    /// # Ok::<(), &str>(())
    /// ```
    fn settings(&self) -> &'static [Setting];

    /// Its own gates: metric, and what is demanded of it.
    ///
    /// ```
    /// use harness_suites::find;
    ///
    /// let suite = find("latency").ok_or("no such suite")?;
    /// let (metric, demanded) = suite.gates()[0];
    /// assert_eq!(format!("{metric} {demanded}"), "overhead.lap_ns <= 1000, what a sample may cost");
    /// # Ok::<(), &str>(())
    /// ```
    fn gates(&self) -> &'static [(&'static str, &'static str)];

    /// Powers an engine must have for this suite: all of one of these lists.
    ///
    /// ```
    /// use harness_suites::{Suite, all};
    ///
    /// // What any engine can be put through.
    /// let takes_any = |suite: &&&dyn Suite| suite.requires().iter().any(|powers| powers.is_empty());
    /// let names: Vec<&str> = all().iter().filter(takes_any).map(|suite| suite.name()).collect();
    /// assert_eq!(names, ["golden", "latency", "memory", "soak"]);
    /// ```
    fn requires(&self) -> &'static [&'static [Capability]];

    /// Checks settings and texts without running anything, so that a mistake
    /// shows before the first engine is opened.
    ///
    /// # Errors
    /// [`SuiteError::Setting`], [`SuiteError::Text`] or [`SuiteError::Items`].
    ///
    /// ```
    /// use engine::ModelArtifact;
    /// use harness_suites::{Defaults, Input, Settings, SuiteError, find};
    /// use reference::{Source, tokenizer};
    ///
    /// let model = ModelArtifact::embedded(fixtures::MODEL_NAME, fixtures::MODEL);
    /// let mut settings = Settings::default();
    /// settings.set("ctx", "many");
    /// let input = Input {
    ///     tokenizer: &*tokenizer::open(&Source::open(&model)?)?,
    ///     model_sha256: &model.sha256,
    ///     defaults: Defaults { text: fixtures::HELDOUT, ..Defaults::default() },
    ///     settings: &settings,
    /// };
    /// let suite = find("perplexity").ok_or("no such suite")?;
    /// assert!(matches!(suite.validate(&input), Err(SuiteError::Setting(_))));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    fn validate(&self, input: &Input<'_>) -> Result<(), SuiteError>;

    /// Whether engines are held against each other token by token. If not, each
    /// reads with its own model's tokenizer; else all read the baseline's tokens, and
    /// one whose model has another tokenizer is skipped.
    ///
    /// ```
    /// use harness_suites::find;
    ///
    /// let compares_tokens = |name| find(name).map(|suite| suite.compares_tokens());
    /// assert_eq!(compares_tokens("parity"), Some(true));
    /// // Answers are right or wrong, however they are cut into tokens.
    /// assert_eq!(compares_tokens("accuracy"), Some(false));
    /// ```
    fn compares_tokens(&self) -> bool {
        true
    }

    /// Whether an engine's figures need none of the baseline's, so that they can be had
    /// where the baseline has no result.
    ///
    /// ```
    /// let stand_alone = harness_suites::all().iter().filter(|suite| suite.stands_alone());
    /// let names: Vec<&str> = stand_alone.map(|suite| suite.name()).collect();
    /// assert_eq!(names, ["placement"]);
    /// ```
    fn stands_alone(&self) -> bool {
        false
    }

    /// What its figures rest on that say nothing of it themselves, e.g.
    /// [`Basis::Machine`] where times are measured.
    ///
    /// ```
    /// use harness_suites::{Basis, find};
    ///
    /// let basis = |name| find(name).and_then(|suite| suite.basis());
    /// assert_eq!(basis("latency"), Some(Basis::Machine));
    /// // Each of its figures tells its own.
    /// assert_eq!(basis("perplexity"), None);
    /// ```
    fn basis(&self) -> Option<Basis> {
        None
    }

    /// Runs one cell, and returns the figures that rest on more than samples; [`Cell`]
    /// has an example.
    ///
    /// # Errors
    /// [`SuiteError`]: the engine failed, the input is unusable, or the disk is.
    fn run(&self, cell: &mut Cell<'_>) -> Result<Vec<Measurement>, SuiteError>;

    /// Whether [`Cell::shard`] may leave some cases to other runs. Such a suite
    /// has all its figures from [`figures`](Self::figures); a sample's index tells
    /// its place among the cell's, and samples that several shards make under one
    /// index are the same in all of them.
    ///
    /// ```
    /// let divisible = harness_suites::all().iter().filter(|suite| suite.divisible());
    /// let names: Vec<&str> = divisible.map(|suite| suite.name()).collect();
    /// assert_eq!(names, ["perplexity", "accuracy"]);
    /// ```
    fn divisible(&self) -> bool {
        false
    }

    /// The figures that rest on samples alone: the cell's, and the baseline's for
    /// an engine held against it.
    ///
    /// # Errors
    /// [`SettingError`] for settings that [`validate`](Self::validate) refuses.
    ///
    /// ```
    /// use harness_suites::{Series, Settings, find};
    ///
    /// let suite = find("perplexity").ok_or("no such suite")?;
    /// let mut settings = Settings::default();
    /// settings.complete(suite.settings(), false);
    /// // A window of three tokens that had one chance in two, four and eight.
    /// let mut samples = Series::default();
    /// samples.push("llama_cpp", "text_bytes", 1, 11.0);
    /// for (index, chances) in [(1, 2.0_f64), (2, 4.0), (3, 8.0)] {
    ///     samples.push("llama_cpp", "nll", index, chances.ln());
    /// }
    /// let figures = suite.figures(&settings, &samples, None)?;
    /// let perplexity = figures.iter().find(|figure| figure.metric == "ppl");
    /// assert!(perplexity.is_some_and(|figure| (figure.value - 4.0).abs() < 1e-12));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    fn figures(
        &self,
        _settings: &Settings,
        _samples: &Series,
        _baseline: Option<&Series>,
    ) -> Result<Vec<Measurement>, SettingError> {
        Ok(Vec::new())
    }
}

/// Every suite, in the order `--suite all` runs them.
///
/// ```
/// use harness_suites::{Basis, all};
///
/// let timed = all().iter().filter(|suite| suite.basis() == Some(Basis::Machine));
/// let names: Vec<&str> = timed.map(|suite| suite.name()).collect();
/// assert_eq!(names, ["latency", "kv", "memory", "soak", "kernels"]);
/// ```
#[must_use]
pub fn all() -> &'static [&'static dyn Suite] {
    &[
        &parity::Parity,
        &perplexity::Perplexity,
        &golden::Golden,
        &embedding::Embedding,
        &accuracy::Accuracy,
        &latency::Latency,
        &kv::Kv,
        &memory::Memory,
        &soak::Soak,
        &kernels::KernelsSuite,
        &placement::PlacementSuite,
    ]
}

/// The suite of that name.
///
/// ```
/// let suite = harness_suites::find("latency").ok_or("no such suite")?;
/// assert_eq!(suite.name(), "latency");
/// assert!(harness_suites::find("latencies").is_none());
/// # Ok::<(), &str>(())
/// ```
#[must_use]
pub fn find(name: &str) -> Option<&'static dyn Suite> {
    all().iter().copied().find(|suite| suite.name() == name)
}
