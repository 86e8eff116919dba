//! What is embedded: the texts of a file, or passages of the embedded one.

use std::fs;
use std::path::PathBuf;

use engine::{ModelConfig, TokenId, Tokenizer};

use super::lines::{self, Layout, Line};
use crate::TextError;

/// The fewest texts of which one can be nearer to a third than the other.
const FEWEST: usize = 3;

/// Characters of a passage: a sentence or a few, which every context holds.
const PASSAGE: std::ops::RangeInclusive<usize> = 100..=500;

/// Texts with their tokens.
pub(super) struct Texts {
    path: PathBuf,
    pub(super) lines: Vec<Line>,
    /// Begun and closed as the model wants complete texts.
    pub(super) tokens: Vec<Vec<TokenId>>,
}

impl Texts {
    /// Reads the file `path`; where that is empty, takes `count` paragraphs spread
    /// evenly over `default`.
    pub(super) fn read(
        path: &str,
        default: &str,
        count: usize,
        tokenizer: &dyn Tokenizer,
    ) -> Result<Self, TextError> {
        let (path, lines) = match path {
            "" => (PathBuf::from("(embedded)"), passages(default, count)),
            path => from_file(PathBuf::from(path))?,
        };
        if lines.len() < FEWEST {
            return Err(TextError::TooFewTexts {
                path,
                texts: lines.len(),
                needed: FEWEST,
            });
        }
        let mut this = Self {
            path,
            lines,
            tokens: Vec::new(),
        };
        for line in &this.lines {
            let ids = tokenizer
                .encode(&line.text)
                .map_err(|error| this.fault(line, error.to_string()))?;
            if ids.is_empty() {
                return Err(this.fault(line, "the tokenizer makes no token of it".into()));
            }
            let mut tokens: Vec<TokenId> = tokenizer.bos().into_iter().collect();
            tokens.extend(ids);
            tokens.extend(tokenizer.closing());
            this.tokens.push(tokens);
        }
        Ok(this)
    }

    /// Refuses texts that `model` cannot read whole.
    pub(super) fn check_fit(&self, model: &ModelConfig) -> Result<(), TextError> {
        let mut pairs = self.lines.iter().zip(&self.tokens);
        match pairs.find(|(_, tokens)| tokens.len() > model.context) {
            None => Ok(()),
            Some((line, tokens)) => Err(self.fault(
                line,
                format!(
                    "it has {} tokens with special ones; the model's context is {}",
                    tokens.len(),
                    model.context
                ),
            )),
        }
    }

    fn fault(&self, line: &Line, why: String) -> TextError {
        TextError::Line {
            path: self.path.clone(),
            line: line.number,
            why,
        }
    }
}

fn from_file(path: PathBuf) -> Result<(PathBuf, Vec<Line>), TextError> {
    let bytes = match fs::read(&path) {
        Ok(bytes) => bytes,
        Err(source) => return Err(TextError::Io { path, source }),
    };
    let layout = match path.extension() {
        Some(end) if end.eq_ignore_ascii_case("jsonl") => Layout::Json,
        _ => Layout::Plain,
    };
    match lines::parse(&bytes, layout) {
        Ok(lines) => Ok((path, lines)),
        Err(bad) => Err(TextError::Line {
            path,
            line: bad.number,
            why: bad.why,
        }),
    }
}

/// At most `count` paragraphs of `text`, evenly spread over it.
fn passages(text: &str, count: usize) -> Vec<Line> {
    let paragraphs = text
        .split("\n\n")
        .map(|paragraph| paragraph.split_whitespace().collect::<Vec<_>>().join(" "))
        .filter(|paragraph| PASSAGE.contains(&paragraph.chars().count()));
    let all: Vec<String> = paragraphs.collect();
    let count = count.min(all.len());
    (0..count)
        .map(|index| Line {
            number: index + 1,
            id: (index + 1).to_string(),
            text: all[index * all.len() / count].clone(),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passages_are_whole_paragraphs_spread_over_the_text() {
        let paragraph = |n: usize| format!("{n}{}", " word".repeat(30));
        let text: Vec<String> = (0..10).map(paragraph).collect();
        let text = format!("Title\n\n{}", text.join("\n\n"));
        let found = passages(&text, 5);
        let starts: Vec<&str> = found.iter().map(|line| &line.text[..1]).collect();
        assert_eq!(starts, ["0", "2", "4", "6", "8"]);
        assert_eq!(passages(&text, 99).len(), 10);
    }
}
