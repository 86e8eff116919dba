//! Suite `golden`: does the engine still say what was recorded?
//!
//! A transcript holds a prompt, the tokens an engine answered with, and how sure it
//! was of each. Engines are held against transcripts one by one, no baseline
//! needed; see `verify.rs` for what counts as a near-tie. Where nobody recorded any,
//! the baseline's own answers are taken.
//!
//! ```
//! use engine::{Engine, EngineOptions, ModelArtifact};
//! use harness_suites::generation::{Request, generate};
//! use harness_suites::golden::Transcript;
//! use reference::{Reference, Source, tokenizer};
//!
//! let artifact = ModelArtifact::embedded(fixtures::MODEL_NAME, fixtures::MODEL);
//! let tokenizer = tokenizer::open(&Source::open(&artifact)?)?;
//! let model = Reference.open(&artifact, &EngineOptions::default())?;
//! let (name, text) = fixtures::GOLDENS[0];
//! let recorded = Transcript::parse(name.as_ref(), text)?;
//! let request = Request {
//!     prompt: &recorded.prompt_tokens,
//!     sampling: &recorded.sampling,
//!     stop: &recorded.stop,
//!     max_tokens: recorded.max_tokens,
//!     top: 0,
//! };
//! let mut session = model.session()?;
//! let now = generate(&mut *session, model.config(), &*tokenizer, &request, &mut |_| {})?;
//! assert_eq!(now.text, recorded.text);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod error;
mod figures;
mod prompts;
mod record;
mod told;
mod transcript;
mod verify;

use std::fs;
use std::path::{Path, PathBuf};

use engine::{Capability, EngineError, FailureKind, Model, NumberFormat, Predictions};
use serde_json::json;

pub use error::GoldenError;
pub use prompts::{Body, Prompt};
pub use record::Recorder;
pub use transcript::{Recorded, Transcript};

use crate::generation::Sampling;
use crate::{Cell, Input, Measurement, Role, Sample, Setting, Settings, Suite, SuiteError};
use verify::Verified;

const PATH: Setting = Setting {
    key: "path",
    default: "",
    quick: "",
    unit: "file|folder",
    help: "transcripts to hold engines against; empty means the embedded ones for the embedded \
           model, and for others what the baseline answers",
};
const OTHER_MODEL: Setting = Setting {
    key: "other_model",
    default: "",
    quick: "",
    unit: "format",
    help: "allow transcripts of another model with the same tokenizer: the one that this was \
           converted from, to weights of this format (f16, q8_0, q4_k …)",
};
const PROMPTS: Setting = Setting {
    key: "prompts",
    default: "",
    quick: "",
    unit: "file",
    help: "prompts (JSON lines) for the baseline where there are no transcripts; empty means the \
           embedded ones",
};
const MAX_TOKENS: Setting = Setting {
    key: "max_tokens",
    default: "32",
    quick: "16",
    unit: "tokens",
    help: "length of the baseline's answers where there are no transcripts",
};
const SAMPLING: Setting = Setting {
    key: "sampling",
    default: "greedy",
    quick: "greedy",
    unit: "sampling",
    help: "how the baseline chooses where there are no transcripts, e.g. \
           temperature=0.8,top_k=40,top_p=0.95,min_p=0.05,seed=1",
};

/// The case of figures over all transcripts; no prompt may be called that.
const ALL: &str = "all";

/// Log-probabilities that a step keeps.
pub const TOP: usize = 10;

/// The suite.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Golden;

impl Suite for Golden {
    fn name(&self) -> &'static str {
        "golden"
    }

    fn about(&self) -> &'static str {
        "generated text against recorded transcripts: exact match, first divergence, near-ties, replay past them"
    }

    fn settings(&self) -> &'static [Setting] {
        &[PATH, OTHER_MODEL, PROMPTS, MAX_TOKENS, SAMPLING]
    }

    fn gates(&self) -> &'static [(&'static str, &'static str)] {
        &[
            (
                "unexplained",
                "== 0 disagreements of a prompt that are no near-ties of the formats compared",
            ),
            (
                "retokenized",
                "== 0 prompts that the tokenizer cuts otherwise than when recorded",
            ),
        ]
    }

    fn requires(&self) -> &'static [&'static [Capability]] {
        &[&[]]
    }

    fn validate(&self, input: &Input<'_>) -> Result<(), SuiteError> {
        input
            .settings
            .refuse_unknown(self.name(), self.settings())?;
        Plan::read(input).map(drop)
    }

    fn run(&self, cell: &mut Cell<'_>) -> Result<Vec<Measurement>, SuiteError> {
        let plan = Plan::read(&cell.input)?;
        let model = (cell.open)()?;
        let transcripts = match plan.source {
            Source::Recorded(transcripts) => {
                if plan.converted_to.is_none() {
                    for (path, transcript) in &transcripts {
                        transcript.check_model(path, cell.model_sha256)?;
                    }
                }
                transcripts
            }
            Source::Baseline(prompts) => {
                let folder = cell.scratch.join("golden");
                if cell.role == Role::Baseline {
                    if model.predictions() != Predictions::Logits {
                        let why = "transcripts are made from logits, which the engine keeps; \
                                   name another baseline";
                        return Err(EngineError::new(FailureKind::Unsupported, why).into());
                    }
                    let recorder = Recorder {
                        engine: cell.engine,
                        model_sha256: cell.model_sha256,
                        tokenizer: cell.input.tokenizer,
                        sampling: &plan.sampling,
                        stop: &[],
                        max_tokens: plan.max_tokens,
                        top: TOP,
                    };
                    let made = recorder.record(&*model, cell.variant, &prompts, &|_, _| {})?;
                    fs::create_dir_all(&folder).map_err(GoldenError::io(&folder))?;
                    for transcript in made {
                        transcript.write(&folder, true)?;
                    }
                }
                Transcript::read(&folder)?
            }
        };
        let mut numerics = model.numerics();
        if let Some(format) = plan.converted_to {
            numerics.weights = format;
        }
        let top = match model.predictions() {
            Predictions::Logits => None,
            Predictions::Scores { top } => Some(top),
            Predictions::Choices { why } => {
                return texts(cell, &*model, &transcripts, &why);
            }
        };
        let mut all = Vec::with_capacity(transcripts.len());
        let total = transcripts.len() as u64;
        for (done, (_, transcript)) in transcripts.into_iter().enumerate() {
            let tokenizer = cell.input.tokenizer;
            let verified = match top {
                None => verify::verify(&*model, numerics, tokenizer, &transcript)?,
                Some(top) => told::verify(&*model, numerics, tokenizer, &transcript, top)?,
            };
            sample(cell, &transcript, &verified);
            all.push((transcript, verified));
            (cell.progress)(done as u64 + 1, total);
        }
        keep_disagreements(cell, &all)?;
        let retokenized = all.iter().map(|(transcript, _)| transcript);
        let retokenized = retokenized.filter(|transcript| {
            let ids = transcript.body.encode(cell.input.tokenizer);
            ids.ok().as_ref() != Some(&transcript.prompt_tokens)
        });
        let retokenized: Vec<&str> = retokenized.map(|transcript| &*transcript.id).collect();
        Ok(figures::all(&all, &retokenized, cell.input.tokenizer))
    }
}

/// Compares the texts alone, of an engine that tells nothing else for the reason `why`.
fn texts(
    cell: &mut Cell<'_>,
    model: &dyn Model,
    transcripts: &[(PathBuf, Transcript)],
    why: &str,
) -> Result<Vec<Measurement>, SuiteError> {
    let mut matched = Vec::with_capacity(transcripts.len());
    for (done, (_, transcript)) in transcripts.iter().enumerate() {
        let answer = told::answer(model, cell.input.tokenizer, transcript)?;
        let pairs = answer.text.chars().zip(transcript.text.chars());
        let same = pairs.take_while(|(own, recorded)| own == recorded).count();
        matched.push((transcript, same, answer.text == transcript.text));
        (cell.progress)(done as u64 + 1, transcripts.len() as u64);
    }
    Ok(figures::texts(&matched, why))
}

/// The settings, read and resolved.
struct Plan {
    source: Source,
    /// Format by which the model differs from that of the transcripts, if it does.
    converted_to: Option<NumberFormat>,
    sampling: Sampling,
    max_tokens: usize,
}

/// Where transcripts are from.
enum Source {
    /// They were recorded before.
    Recorded(Vec<(PathBuf, Transcript)>),
    /// The baseline answers these.
    Baseline(Vec<Prompt>),
}

impl Plan {
    fn read(input: &Input<'_>) -> Result<Self, SuiteError> {
        let settings = input.settings;
        let converted_to = match settings.text(&OTHER_MODEL) {
            "" => None,
            _ => Some(settings.get(&OTHER_MODEL, |_| Ok(()))?),
        };
        let max_tokens = settings.get(&MAX_TOKENS, |&tokens: &usize| match tokens {
            0 => Err("at least 1".into()),
            _ => Ok(()),
        })?;
        let sampling = settings.get(&SAMPLING, |_| Ok(()))?;
        let source = Source::read(input)?;
        if let Source::Recorded(transcripts) = &source {
            for (path, transcript) in transcripts {
                if converted_to.is_none() {
                    transcript.check_model(path, input.model_sha256)?;
                }
                transcript.check_tokens(path, input.tokenizer)?;
            }
        }
        Ok(Self {
            source,
            converted_to,
            sampling,
            max_tokens,
        })
    }
}

impl Source {
    fn read(input: &Input<'_>) -> Result<Self, SuiteError> {
        let path = input.settings.text(&PATH);
        if !path.is_empty() {
            return Ok(Self::Recorded(Transcript::read(Path::new(path))?));
        }
        let prompts = named(input.settings, &PROMPTS);
        if prompts.is_none() {
            let mut embedded = Vec::new();
            for (name, text) in input.defaults.goldens {
                let path = Path::new(name);
                embedded.push((path.to_owned(), Transcript::parse(path, text)?));
            }
            let ours = |(_, transcript): &(PathBuf, Transcript)| {
                transcript.model_sha256 == input.model_sha256
            };
            if !embedded.is_empty() && embedded.iter().all(ours) {
                return Ok(Self::Recorded(embedded));
            }
        }
        let prompts = match prompts {
            Some(path) => Prompt::read(path)?,
            None => Prompt::parse(Path::new("embedded prompts"), input.defaults.prompts)?,
        };
        for prompt in &prompts {
            prompt.encode(input.tokenizer)?;
        }
        Ok(Self::Baseline(prompts))
    }
}

fn named<'a>(settings: &'a Settings, setting: &Setting) -> Option<&'a Path> {
    let path = settings.text(setting);
    (!path.is_empty()).then(|| Path::new(path))
}

/// Of every step: whether the engine agrees, and its log-probability less the
/// recorded one.
fn sample(cell: &mut Cell<'_>, transcript: &Transcript, verified: &Verified) {
    let disagrees = |position: usize| {
        let mut places = verified.disagreements.iter();
        places.any(|disagreement| disagreement.position == position)
    };
    for (position, delta) in verified.deltas.iter().enumerate() {
        let agrees = f64::from(u8::from(!disagrees(position)));
        for (metric, unit, value) in [
            ("agrees", "bool", agrees),
            ("delta_log_probability", "nat", *delta),
        ] {
            (cell.samples)(Sample {
                case: transcript.id.clone().into(),
                metric: metric.into(),
                unit: unit.into(),
                index: position as u64,
                value,
            });
        }
    }
}

/// Keeps every disagreement with the record, one JSON object a line.
fn keep_disagreements(cell: &Cell<'_>, all: &[(Transcript, Verified)]) -> Result<(), GoldenError> {
    let mut text = String::new();
    for (transcript, verified) in all {
        for disagreement in &verified.disagreements {
            let line = json!({
                "prompt": transcript.id,
                "position": disagreement.position,
                "recorded": disagreement.recorded,
                "chosen": disagreement.chosen,
                "apart_nat": disagreement.apart,
                "floor_nat": disagreement.floor,
                "near_tie": disagreement.is_near_tie(),
            });
            text += &format!("{line}\n");
        }
    }
    if text.is_empty() {
        return Ok(());
    }
    let (folder, stem) = cell.artifacts;
    let path = folder.join(format!("{stem}.disagreements.jsonl"));
    fs::write(&path, text).map_err(GoldenError::io(&path))
}

#[cfg(test)]
mod tests;
