//! Suite `accuracy`: how many questions does a model answer rightly?
//!
//! A file of items is put to every engine: multiple choice by log-likelihood, or
//! written answers that are judged. Every item is answered alone, so a cell's items
//! can be shared out, and engines are compared item by item, whatever tokens their
//! models read.

mod answers;
mod choices;
mod figures;
mod items;
mod judge;
mod questions;

use std::path::PathBuf;

use engine::{Capability, EngineError, FailureKind, Model, Predictions};

use crate::generation::Sampling;
use crate::{
    Cell, Input, Measurement, Sample, Series, Setting, SettingError, Settings, Suite, SuiteError,
};
use answers::{Answers, Transcript};
use figures::Rule;
use items::ALL;
use judge::Normalization;
use questions::{Asked, Question};

const ITEMS: Setting = Setting {
    key: "items",
    default: "",
    quick: "",
    unit: "file",
    help: "JSON Lines file of questions; empty means the embedded ones",
};
const LIMIT: Setting = Setting {
    key: "limit",
    default: "0",
    quick: "54",
    unit: "items",
    help: "how many items to ask from the start of the file; 0 asks them all",
};
const NORMALIZE: Setting = Setting {
    key: "normalize",
    default: "whitespace",
    quick: "whitespace",
    unit: "steps",
    help: "none, or some of case,punctuation,whitespace: what does not matter when an answer is \
           held against `exact` and `contains`, unless the item says",
};
const MAX_TOKENS: Setting = Setting {
    key: "max_tokens",
    default: "32",
    quick: "32",
    unit: "tokens",
    help: "longest written answer, unless the item says",
};
const SAMPLING: Setting = Setting {
    key: "sampling",
    default: "greedy",
    quick: "greedy",
    unit: "sampler",
    help: "how answers are written: greedy, or e.g. temperature=0.8,top_k=40,top_p=0.95,min_p=0.05,seed=1",
};
const REPEATS: Setting = Setting {
    key: "repeats",
    default: "1",
    quick: "1",
    unit: "runs",
    help: "how often each item is asked; the first answers count, all of them tell the consistency",
};
const MAX_DROP_PCT: Setting = Setting {
    key: "max_drop_pct",
    default: "1",
    quick: "1",
    unit: "pp",
    help: "loss of accuracy that does not matter, in percentage points",
};
const ALPHA: Setting = Setting {
    key: "alpha",
    default: "0.05",
    quick: "0.05",
    unit: "probability",
    help: "chance that any gate of an engine as good as the baseline fails, at most",
};
const SAVE_ANSWERS: Setting = Setting {
    key: "save_answers",
    default: "false",
    quick: "false",
    unit: "true|false",
    help: "keep every answer with the record, as artifacts/*.answers.jsonl",
};

/// The suite.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Accuracy;

impl Suite for Accuracy {
    fn name(&self) -> &'static str {
        "accuracy"
    }

    fn about(&self) -> &'static str {
        "share of questions answered rightly, by category, and what was lost against the baseline"
    }

    fn settings(&self) -> &'static [Setting] {
        &[
            ITEMS,
            LIMIT,
            NORMALIZE,
            MAX_TOKENS,
            SAMPLING,
            REPEATS,
            MAX_DROP_PCT,
            ALPHA,
            SAVE_ANSWERS,
        ]
    }

    fn gates(&self) -> &'static [(&'static str, &'static str)] {
        &[(
            "drop_pct",
            "<= max_drop_pct, or what chance explains of as many changed answers if that is more \
             (McNemar's exact test at alpha, shared among the items together and each category)",
        )]
    }

    fn requires(&self) -> &'static [&'static [Capability]] {
        &[
            &[Capability::FullLogits, Capability::AllLogits],
            &[Capability::Scores],
        ]
    }

    fn compares_tokens(&self) -> bool {
        false
    }

    fn validate(&self, input: &Input<'_>) -> Result<(), SuiteError> {
        input
            .settings
            .refuse_unknown(self.name(), self.settings())?;
        Plan::read(input).map(drop)
    }

    fn divisible(&self) -> bool {
        true
    }

    fn run(&self, cell: &mut Cell<'_>) -> Result<Vec<Measurement>, SuiteError> {
        let plan = Plan::read(&cell.input)?;
        let model = (cell.open)()?;
        let context = model.config().context;
        for question in &plan.questions {
            question
                .fits(context)
                .map_err(|flaw| plan.source.error(flaw))?;
        }
        plan.ask(cell, &*model)?;
        Ok(Vec::new())
    }

    fn figures(
        &self,
        settings: &Settings,
        samples: &Series,
        baseline: Option<&Series>,
    ) -> Result<Vec<Measurement>, SettingError> {
        Ok(figures::all(samples, baseline, rule(settings)?))
    }
}

/// Items that cannot be used.
///
/// ```
/// use engine::ModelArtifact;
/// use harness_suites::{Defaults, Input, ItemsError, Settings, SuiteError, find};
/// use reference::{Source, tokenizer};
///
/// let model = ModelArtifact::embedded(fixtures::MODEL_NAME, fixtures::MODEL);
/// let items = r#"{"id": "sum", "prompt": "1 + 1 =", "choices": ["1", "2"], "answer": 2}"#;
/// let input = Input {
///     tokenizer: &*tokenizer::open(&Source::open(&model)?)?,
///     model_sha256: &model.sha256,
///     defaults: Defaults { items, ..Defaults::default() },
///     settings: &Settings::default(),
/// };
/// match find("accuracy").ok_or("no such suite")?.validate(&input) {
///     // Choices are counted from 0: there is no choice 2.
///     Err(SuiteError::Items(ItemsError::Item { line, .. })) => assert_eq!(line, 1),
///     other => panic!("{other:?}"),
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, thiserror::Error)]
pub enum ItemsError {
    /// The file cannot be read.
    #[error("cannot read items {path}: {source}")]
    Io {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// An item is not as it must be.
    #[error("{file} line {line}: {why}")]
    Item {
        /// Which file.
        file: String,
        /// Its line, from one.
        line: usize,
        /// What is wrong and what to do.
        why: String,
    },
}

/// What figures need to know of the settings.
fn rule(settings: &Settings) -> Result<Rule, SettingError> {
    let drop = |value: &f64| match (0.0..=100.0).contains(value) {
        true => Ok(()),
        false => Err("a number from 0 to 100".to_owned()),
    };
    let alpha = |value: &f64| match *value > 0.0 && *value < 1.0 {
        true => Ok(()),
        false => Err("a number between 0 and 1".to_owned()),
    };
    Ok(Rule {
        repeats: settings.get(&REPEATS, at_least_one)?,
        max_drop_pct: settings.get(&MAX_DROP_PCT, drop)?,
        alpha: settings.get(&ALPHA, alpha)?,
    })
}

fn at_least_one<T: PartialEq + Default>(value: &T) -> Result<(), String> {
    match *value == T::default() {
        true => Err("at least 1".into()),
        false => Ok(()),
    }
}

/// The settings, read and resolved.
struct Plan<'a> {
    source: questions::Source<'a>,
    questions: Vec<Question>,
    sampling: Sampling,
    repeats: u64,
    save_answers: bool,
}

impl<'a> Plan<'a> {
    fn read(input: &Input<'a>) -> Result<Self, SuiteError> {
        let settings = input.settings;
        let normalization: Normalization = settings.get(&NORMALIZE, |_| Ok(()))?;
        let max_tokens = settings.get(&MAX_TOKENS, at_least_one)?;
        let limit: usize = settings.get(&LIMIT, |_| Ok(()))?;
        let source = questions::Source::new(settings.text(&ITEMS));
        let mut items = source.read(input.defaults.items, normalization)?;
        if limit > 0 {
            items.truncate(limit);
        }
        let questions = items
            .into_iter()
            .map(|item| Question::new(item, input, max_tokens))
            .collect::<Result<_, _>>()
            .map_err(|flaw| source.error(flaw))?;
        Ok(Self {
            source,
            questions,
            sampling: settings.get(&SAMPLING, |_| Ok(()))?,
            repeats: rule(settings)?.repeats,
            save_answers: settings.get(&SAVE_ANSWERS, |_| Ok(()))?,
        })
    }

    /// Puts this shard's questions to `model`.
    fn ask(&self, cell: &mut Cell<'_>, model: &dyn Model) -> Result<(), SuiteError> {
        let mut transcript = Transcript::create(cell, self.save_answers)?;
        let mut asked = match model.predictions() {
            Predictions::Logits => Asked::Session(model.session()?, model.config()),
            Predictions::Scores { .. } => Asked::Model(model),
            Predictions::Choices { why } => {
                return Err(EngineError::new(FailureKind::Unsupported, why).into());
            }
        };
        let questions = (0u64..).zip(&self.questions);
        let ours: Vec<(u64, &Question)> = questions
            .filter(|(number, _)| cell.shard.takes(*number as usize))
            .collect();
        for (done, (number, question)) in ours.iter().enumerate() {
            let case = question.category.as_deref().unwrap_or(ALL);
            let mut answers = Answers::default();
            for repeat in 0..self.repeats {
                let index = number * self.repeats + repeat;
                // Numbers of its own for every answer.
                let sampling = Sampling {
                    seed: self.sampling.seed.wrapping_add(index),
                    ..self.sampling.clone()
                };
                let tokenizer = cell.input.tokenizer;
                let given = question.ask(&mut asked, tokenizer, &sampling)?;
                transcript.write(question, repeat, &given)?;
                for (metric, unit, value) in answers.samples(given) {
                    (cell.samples)(Sample {
                        case: case.to_owned().into(),
                        metric,
                        unit: unit.into(),
                        index,
                        value,
                    });
                }
            }
            (cell.progress)(done as u64 + 1, ours.len() as u64);
        }
        transcript.finish()
    }
}
