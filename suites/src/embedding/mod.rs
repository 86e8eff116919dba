//! Suite `embedding`: do an engine's vectors of texts say what the baseline's say?
//!
//! Every engine embeds the same texts, in batches. A text's two vectors are
//! compared by their angle, and the texts' order by nearness to each other, which
//! is what vectors are for. One more case needs no baseline: a batch against its
//! texts one by one, since what pads a batch must not leak into a vector.

mod agreement;
mod figures;
mod lines;
mod texts;

use std::io::Write;
use std::path::Path;

use engine::{Capability, Embeddings, EngineError, FailureKind, Logits, Model, Pooling, TokenId};
use serde::{Deserialize, Serialize};

use crate::logits_file::{LogitsFile, LogitsWriter};
use crate::parity::gates::Mark;
use crate::parity::{read_json, write_json};
use crate::{Better, Cell, Input, Measurement, Role, Sample, Setting, Suite, SuiteError};
use agreement::{Directions, compare, energies};
use figures::Demands;
use texts::Texts;

const TEXT: Setting = Setting {
    key: "text",
    default: "",
    quick: "",
    unit: "file",
    help: "one text a line, or in a .jsonl file one {\"id\", \"text\"} a line; empty means passages \
           of the embedded held-out text",
};
const PASSAGES: Setting = Setting {
    key: "passages",
    default: "64",
    quick: "24",
    unit: "texts",
    help: "how many paragraphs to take of the embedded text",
};
const POOLING: Setting = Setting {
    key: "pooling",
    default: "mean",
    quick: "mean",
    unit: "mean|last|cls",
    help: "how a text's hidden states become its vector: their mean, the last token's, or (of \
           encoders) the first token's",
};
const BATCH: Setting = Setting {
    key: "batch",
    default: "16",
    quick: "16",
    unit: "texts",
    help: "how many texts to embed in one call",
};
const MIN_COSINE: Setting = Setting {
    key: "min_cosine",
    default: "0.99",
    quick: "0.99",
    unit: "1",
    help: "least cosine between an engine's vector of a text and the baseline's",
};
const SAVE_EMBEDDINGS: Setting = Setting {
    key: "save_embeddings",
    default: "false",
    quick: "false",
    unit: "true|false",
    help: "keep vectors and texts with the record, as artifacts/*.npy (f32, lossless) and *.jsonl",
};

/// The suite.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Embedding;

impl Suite for Embedding {
    fn name(&self) -> &'static str {
        "embedding"
    }

    fn about(&self) -> &'static str {
        "vectors of texts against the baseline's: their angle, and which texts they find nearest"
    }

    fn settings(&self) -> &'static [Setting] {
        &[TEXT, PASSAGES, POOLING, BATCH, MIN_COSINE, SAVE_EMBEDDINGS]
    }

    fn gates(&self) -> &'static [(&'static str, &'static str)] {
        &[
            ("cosine_min", ">= min_cosine"),
            (
                "nmse",
                "<= noise of the number formats carried to the vectors, at most that of q4_0",
            ),
            (
                "batch.nmse",
                "<= noise of activations; weights and texts are shared",
            ),
        ]
    }

    fn requires(&self) -> &'static [&'static [Capability]] {
        &[&[Capability::Embeddings]]
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
        let model = &*model;
        plan.texts.check_fit(model.config())?;
        let batches = plan.tokens().chunks(plan.batch);
        // All batches, then the first one's texts alone.
        let steps = batches.len() as u64 + 1;
        let progress = cell.progress;
        let found = plan.embed(model, &|done| progress(done, steps))?;
        if plan.save_embeddings {
            plan.save(cell.artifacts, &found)?;
        }
        let case = plan.pooling.name();
        let shared = cell.scratch.join("embedding-baseline.npy");
        let (mark, mut measurements) = match cell.role {
            Role::Baseline => {
                let mark = Mark::measure(model, cell.variant, |noisy| {
                    Ok(nmse(&found, &plan.embed(noisy, &|_| ())?))
                })?;
                write(&shared, &found)?;
                let width = found.width();
                write_json(&cell.scratch.join(LEFT), &Left { mark, width })?;
                (mark, vec![mark.measurement(case)])
            }
            Role::Candidate => {
                let Left { mark, width } = read_json(&cell.scratch.join(LEFT))?;
                if width != found.width() {
                    return Err(EngineError::new(
                        FailureKind::Unsupported,
                        format!(
                            "vectors of {} values cannot be held against the baseline's of {width}",
                            found.width()
                        ),
                    )
                    .into());
                }
                let baseline = read(&shared, &found)?;
                let demands = Demands {
                    cosine: plan.min_cosine,
                    nmse: mark.nmse_bound(model.numerics(), model.config()),
                    because: mark.reason(model.numerics()),
                };
                (mark, against(cell, case, &baseline, &found, demands)?)
            }
        };
        let directions = Directions::new(&found).ok_or_else(no_direction)?;
        measurements.push(Measurement {
            headline: true,
            ..Measurement::new(
                case,
                "between_texts",
                "1",
                Better::Equal,
                directions.between_texts(),
                found.rows() as u64,
            )
        });
        // Batches of one are compared with themselves by nobody.
        if plan.batch > 1 {
            let first = plan.tokens().len().min(plan.batch);
            measurements.push(plan.one_by_one(model, first, &found, &mark)?);
        }
        progress(steps, steps);
        Ok(measurements)
    }
}

/// What the baseline leaves for the engines held against it, besides its vectors.
#[derive(Serialize, Deserialize)]
struct Left {
    mark: Mark,
    width: usize,
}

const LEFT: &str = "embedding-mark.json";

/// The settings, read and resolved.
struct Plan {
    texts: Texts,
    pooling: Pooling,
    batch: usize,
    min_cosine: f64,
    save_embeddings: bool,
}

impl Plan {
    fn read(input: &Input<'_>) -> Result<Self, SuiteError> {
        let at_least = |least: usize| {
            move |value: &usize| match *value >= least {
                true => Ok(()),
                false => Err(format!("at least {least}")),
            }
        };
        let cosine = |value: &f64| match (-1.0..=1.0).contains(value) {
            true => Ok(()),
            false => Err("a cosine lies between -1 and 1".to_owned()),
        };
        let settings = input.settings;
        let passages = settings.get(&PASSAGES, at_least(3))?;
        Ok(Self {
            pooling: settings.get(&POOLING, |_| Ok(()))?,
            batch: settings.get(&BATCH, at_least(1))?,
            min_cosine: settings.get(&MIN_COSINE, cosine)?,
            save_embeddings: settings.get(&SAVE_EMBEDDINGS, |_| Ok(()))?,
            texts: Texts::read(
                settings.text(&TEXT),
                input.defaults.text,
                passages,
                input.tokenizer,
            )?,
        })
    }

    fn tokens(&self) -> &[Vec<TokenId>] {
        &self.texts.tokens
    }

    /// Vectors of all texts, batch by batch.
    fn embed(&self, model: &dyn Model, progress: &dyn Fn(u64)) -> Result<Embeddings, EngineError> {
        let mut values = Vec::new();
        let mut width = None;
        for (done, batch) in (1..).zip(self.tokens().chunks(self.batch)) {
            let found = call(model, batch, self.pooling)?;
            if *width.get_or_insert(found.width()) != found.width() {
                return Err(misshapen(&found, batch.len()));
            }
            values.extend_from_slice(found.values());
            progress(done);
        }
        Ok(Embeddings::new(width.unwrap_or(0), values).unwrap_or_default())
    }

    /// The first `count` texts in calls of their own, against those of a batch.
    fn one_by_one(
        &self,
        model: &dyn Model,
        count: usize,
        together: &Embeddings,
        mark: &Mark,
    ) -> Result<Measurement, EngineError> {
        let (mut noise, mut signal) = (0.0, 0.0);
        for (index, text) in self.tokens()[..count].iter().enumerate() {
            let alone = call(model, std::slice::from_ref(text), self.pooling)?;
            if alone.width() != together.width() {
                return Err(misshapen(&alone, 1));
            }
            let (n, s) = energies(alone.row(0), together.row(index));
            noise += n;
            signal += s;
        }
        Ok(Measurement {
            gate: Some(mark.same_weights(model.numerics(), model.config())),
            ..Measurement::new(
                "batch",
                "nmse",
                "1",
                Better::Lower,
                noise / signal,
                count as u64,
            )
        })
    }

    fn save(&self, (folder, stem): (&Path, &str), found: &Embeddings) -> Result<(), SuiteError> {
        write(&folder.join(format!("{stem}.embeddings.npy")), found)?;
        let path = folder.join(format!("{stem}.texts.jsonl"));
        let mut lines = Vec::new();
        let texts = self.texts.lines.iter().zip(self.tokens());
        let written = texts.into_iter().try_for_each(|(line, tokens)| {
            let line = serde_json::json!({"id": line.id, "text": line.text, "tokens": tokens});
            writeln!(lines, "{line}")
        });
        written
            .and_then(|()| std::fs::write(&path, lines))
            .map_err(|error| SuiteError::Scratch(path, error))
    }
}

/// One call, its answer's shape and values checked.
fn call(
    model: &dyn Model,
    texts: &[Vec<TokenId>],
    pooling: Pooling,
) -> Result<Embeddings, EngineError> {
    let slices: Vec<&[TokenId]> = texts.iter().map(Vec::as_slice).collect();
    let found = model.embed(&slices, pooling)?;
    if found.rows() != texts.len() {
        return Err(misshapen(&found, texts.len()));
    }
    match found.all_finite() {
        true => Ok(found),
        false => Err(EngineError::new(
            FailureKind::Numerics,
            "NaN or infinity in a vector",
        )),
    }
}

fn misshapen(found: &Embeddings, texts: usize) -> EngineError {
    let (rows, width) = (found.rows(), found.width());
    EngineError::new(
        FailureKind::Protocol,
        format!("{rows} vectors of {width} values for {texts} texts, other than before"),
    )
}

fn no_direction() -> EngineError {
    EngineError::new(
        FailureKind::Numerics,
        "a vector of zeros, which has no angle",
    )
}

/// Compares `found` with the baseline's vectors, text by text.
fn against(
    cell: &mut Cell<'_>,
    case: &'static str,
    baseline: &Embeddings,
    found: &Embeddings,
    demands: Demands,
) -> Result<Vec<Measurement>, EngineError> {
    let texts = compare(baseline, found).ok_or_else(no_direction)?;
    for (index, text) in (0..).zip(&texts) {
        let samples = [
            ("cosine", "1", Some(text.cosine)),
            ("nmse", "1", Some(text.noise / text.signal)),
            (
                "same_nearest",
                "bool",
                Some(f64::from(u8::from(text.same_nearest))),
            ),
            ("nearest10_overlap", "share", text.nearest_overlap),
            ("kendall_tau_b", "1", text.tau),
        ];
        for (metric, unit, value) in samples {
            if let Some(value) = value {
                (cell.samples)(Sample {
                    case: case.into(),
                    metric: metric.into(),
                    unit: unit.into(),
                    index,
                    value,
                });
            }
        }
    }
    Ok(figures::all(case, &texts, demands))
}

/// Squared difference of all vectors over the energy of `expected`.
fn nmse(expected: &Embeddings, found: &Embeddings) -> f64 {
    let (noise, signal) = energies(expected.values(), found.values());
    noise / signal
}

/// Vectors on disk are one window of logits: `<f4 [1, texts, width]`.
fn write(path: &Path, found: &Embeddings) -> Result<(), SuiteError> {
    let mut writer = LogitsWriter::create(path, 1, found.rows(), found.width())?;
    let values = Logits::new(found.width(), found.values().to_vec());
    writer.push(&values.unwrap_or_default())?;
    Ok(writer.finish()?)
}

/// Vectors of the shape of `like`.
fn read(path: &Path, like: &Embeddings) -> Result<Embeddings, SuiteError> {
    let mut file = LogitsFile::open(path, 1, like.rows(), like.width())?;
    let values = file.window(0)?.values().to_vec();
    Ok(Embeddings::new(like.width(), values).unwrap_or_default())
}
