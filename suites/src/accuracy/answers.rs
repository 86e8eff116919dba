//! What a model answered, as samples and as a transcript.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::PathBuf;

use serde_json::json;

use super::questions::Question;
use crate::{Cell, Label, Shard, SuiteError};

/// One answer.
pub(super) enum Given {
    /// To a question of multiple choice.
    Choice {
        /// In nats.
        log_likelihoods: Vec<f64>,
        /// The likeliest choice, as it is and per byte.
        chosen: usize,
        chosen_per_byte: usize,
        right: usize,
    },
    /// A written one.
    Text {
        text: String,
        /// As far as it counts.
        essence: String,
        correct: bool,
    },
}

/// The answers to one question so far.
#[derive(Default)]
pub(super) struct Answers {
    /// Written ones.
    essences: Vec<String>,
}

impl Answers {
    /// Metric, unit and value of what is recorded for the next one. `answer` has the
    /// same value for the same answers: the choice, or where among the answers
    /// it was first written.
    pub(super) fn samples(&mut self, given: Given) -> Vec<(Label, &'static str, f64)> {
        let truth = |correct: bool| f64::from(u8::from(correct));
        match given {
            Given::Choice {
                log_likelihoods,
                chosen,
                chosen_per_byte,
                right,
            } => {
                let sums = log_likelihoods.into_iter().enumerate();
                let mut samples: Vec<(Label, &str, f64)> = sums
                    .map(|(k, sum)| (format!("log_likelihood_{k}").into(), "nat", sum))
                    .collect();
                samples.extend([
                    ("answer".into(), "1", chosen as f64),
                    ("correct".into(), "bool", truth(chosen == right)),
                    (
                        "correct_norm".into(),
                        "bool",
                        truth(chosen_per_byte == right),
                    ),
                ]);
                samples
            }
            Given::Text {
                essence, correct, ..
            } => {
                let earlier = self.essences.iter().position(|other| *other == essence);
                let answer = earlier.unwrap_or(self.essences.len());
                self.essences.push(essence);
                vec![
                    ("answer".into(), "1", answer as f64),
                    ("correct".into(), "bool", truth(correct)),
                ]
            }
        }
    }
}

/// A file with every answer, one JSON object a line, if it is wanted.
pub(super) struct Transcript {
    file: Option<BufWriter<File>>,
    path: PathBuf,
}

impl Transcript {
    /// In the folder of artifacts; shards have files of their own.
    pub(super) fn create(cell: &Cell<'_>, wanted: bool) -> Result<Self, SuiteError> {
        let (folder, stem) = cell.artifacts;
        let share = match cell.shard {
            Shard::WHOLE => String::new(),
            shard => format!(".{}-of-{}", shard.index() + 1, shard.count()),
        };
        let path = folder.join(format!("{stem}.answers{share}.jsonl"));
        let file = match wanted {
            true => Some(File::create_new(&path)),
            false => None,
        };
        match file.transpose() {
            Ok(file) => Ok(Self {
                file: file.map(BufWriter::new),
                path,
            }),
            Err(error) => Err(SuiteError::Scratch(path, error)),
        }
    }

    pub(super) fn write(
        &mut self,
        question: &Question,
        repeat: u64,
        given: &Given,
    ) -> Result<(), SuiteError> {
        let line = match given {
            Given::Choice { chosen, right, .. } => {
                json!({"id": question.id, "repeat": repeat, "correct": chosen == right, "answer": chosen})
            }
            Given::Text { text, correct, .. } => {
                json!({"id": question.id, "repeat": repeat, "correct": correct, "answer": text})
            }
        };
        self.file(|file| writeln!(file, "{line}"))
    }

    pub(super) fn finish(mut self) -> Result<(), SuiteError> {
        self.file(BufWriter::flush)
    }

    fn file(
        &mut self,
        action: impl FnOnce(&mut BufWriter<File>) -> io::Result<()>,
    ) -> Result<(), SuiteError> {
        let done = self.file.as_mut().map_or(Ok(()), action);
        done.map_err(|error| SuiteError::Scratch(self.path.clone(), error))
    }
}
