//! Items: a JSON Lines file of prompts and of what is expected of them.

use std::collections::HashMap;

use regex::Regex;
use serde::Deserialize;

use super::judge::{Expected, Judge, Normalization, Step};
use crate::chat::Message;

/// One question and how its answer is judged.
#[derive(Clone, Debug)]
pub(crate) struct Item {
    /// Its line in the file, from one.
    pub(crate) line: usize,
    pub(crate) id: String,
    pub(crate) category: Option<String>,
    pub(crate) prompt: Prompt,
    pub(crate) task: Task,
}

/// What the model reads.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Prompt {
    /// As it stands.
    Text(String),
    /// Through the model's chat template.
    Chat(Vec<Message>),
}

/// What the model has to do.
#[derive(Clone, Debug)]
pub(crate) enum Task {
    /// Find `choices[answer]` the likeliest continuation of the prompt.
    Choose { choices: Vec<String>, answer: usize },
    /// Write something that the judge accepts.
    Write {
        judge: Judge,
        /// Tokens after which it is stopped; `None` leaves it to the settings.
        max_tokens: Option<usize>,
        /// Strings that end it.
        stop: Vec<String>,
    },
}

/// What is wrong with an item, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {why}")]
pub(crate) struct Flaw {
    pub(crate) line: usize,
    pub(crate) why: String,
}

impl Flaw {
    /// `why` may quote the file: control characters are escaped, so that it stays on
    /// one line and leaves the terminal alone.
    pub(crate) fn new(line: usize, why: &str) -> Self {
        let mut escaped = String::with_capacity(why.len());
        for c in why.chars() {
            match c.is_control() {
                true => escaped.extend(c.escape_default()),
                false => escaped.push(c),
            }
        }
        Self { line, why: escaped }
    }
}

/// The name that stands for the items of all categories together.
pub(crate) const ALL: &str = "all";

/// Reads a file of items. `normalization` is for judgements that name none.
///
/// # Errors
/// The first [`Flaw`] in the file.
pub(crate) fn parse(bytes: &[u8], normalization: Normalization) -> Result<Vec<Item>, Flaw> {
    let text = str::from_utf8(bytes).map_err(|error| {
        let at = error.valid_up_to();
        let line = 1 + bytes[..at].iter().filter(|&&byte| byte == b'\n').count();
        let why = format!("not UTF-8: byte {at} of the file begins no character");
        Flaw::new(line, &why)
    })?;
    let mut items = Vec::new();
    let mut lines: HashMap<String, usize> = HashMap::new();
    for (line, text) in (1..).zip(text.trim_start_matches('\u{feff}').lines()) {
        let item = item(line, text, normalization).map_err(|why| Flaw::new(line, &why))?;
        if let Some(first) = lines.insert(item.id.clone(), line) {
            let why = format!("id `{}` is already that of line {first}", item.id);
            return Err(Flaw::new(line, &why));
        }
        items.push(item);
    }
    if items.is_empty() {
        let why = "the file is empty; write one JSON object a line";
        return Err(Flaw::new(1, why));
    }
    Ok(items)
}

/// A line as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    id: String,
    category: Option<String>,
    prompt: Option<String>,
    messages: Option<Vec<Message>>,
    exact: Option<Texts>,
    contains: Option<Texts>,
    regex: Option<String>,
    choices: Option<Vec<String>>,
    answer: Option<usize>,
    normalize: Option<Vec<Step>>,
    max_tokens: Option<usize>,
    stop: Option<Vec<String>>,
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "expected a string or a list of strings")]
enum Texts {
    One(String),
    Several(Vec<String>),
}

fn item(line: usize, text: &str, normalization: Normalization) -> Result<Item, String> {
    if text.trim().is_empty() {
        return Err("the line is blank; delete it".into());
    }
    // A list of all fields in their order would do for serde.
    demand(
        text.trim_start().starts_with('{'),
        "no JSON object; write {\"id\": …, …} on one line",
    )?;
    let mut read: Line = serde_json::from_str(text).map_err(|error| {
        // It counts lines of what it was given, which is one.
        let why = error.to_string();
        let why = why.rsplit_once(" at line ").map_or(&*why, |(why, _)| why);
        format!("{why} (column {})", error.column())
    })?;
    demand(!read.id.is_empty(), "`id` is empty")?;
    if let Some(category) = &read.category {
        check_category(category)?;
    }
    Ok(Item {
        line,
        prompt: prompt(read.prompt.take(), read.messages.take())?,
        id: std::mem::take(&mut read.id),
        category: read.category.take(),
        task: task(read, normalization)?,
    })
}

/// A category becomes part of a figure's name, where dots separate.
fn check_category(name: &str) -> Result<(), String> {
    let fit = |c: char| c.is_alphanumeric() || c == '_' || c == '-';
    if name.is_empty() || !name.chars().all(fit) || name.chars().count() > 64 {
        return Err(format!(
            "category `{name}`: use up to 64 letters, digits, `_` and `-`"
        ));
    }
    demand(
        name != ALL,
        "category `all` is the name of all items together; use another",
    )
}

fn prompt(text: Option<String>, messages: Option<Vec<Message>>) -> Result<Prompt, String> {
    match (text, messages) {
        (Some(text), None) => {
            demand(!text.is_empty(), "`prompt` is empty")?;
            Ok(Prompt::Text(text))
        }
        (None, Some(messages)) => {
            demand(!messages.is_empty(), "`messages` is empty")?;
            Ok(Prompt::Chat(messages))
        }
        _ => Err("give either `prompt` or `messages`".into()),
    }
}

fn task(line: Line, normalization: Normalization) -> Result<Task, String> {
    let judgements = [
        line.exact.is_some(),
        line.contains.is_some(),
        line.regex.is_some(),
        line.choices.is_some(),
    ];
    demand(
        judgements.into_iter().filter(|&given| given).count() == 1,
        "give one of `exact`, `contains`, `regex` and `choices`",
    )?;
    if let Some(choices) = line.choices {
        for (field, given) in [
            ("normalize", line.normalize.is_some()),
            ("max_tokens", line.max_tokens.is_some()),
            ("stop", line.stop.is_some()),
        ] {
            if given {
                return Err(format!(
                    "`{field}` is for written answers; delete it or `choices`"
                ));
            }
        }
        return choose(choices, line.answer);
    }
    demand(
        line.answer.is_none(),
        "`answer` goes with `choices`; write what is expected in `exact`, `contains` or `regex`",
    )?;
    demand(
        line.max_tokens != Some(0),
        "`max_tokens` must be at least 1",
    )?;
    let stop = line.stop.unwrap_or_default();
    demand(
        stop.iter().all(|text| !text.is_empty()),
        "`stop` holds an empty string, which would end every answer at once",
    )?;
    let judge = match (line.exact, line.contains, line.regex) {
        (Some(texts), ..) => Judge::new(
            Expected::Exact(several(texts)?),
            line.normalize.map_or(normalization, Normalization::from),
        ),
        (_, Some(texts), _) => Judge::new(
            Expected::Contains(several(texts)?),
            line.normalize.map_or(normalization, Normalization::from),
        ),
        (.., pattern) => {
            demand(
                line.normalize.is_none(),
                "`normalize` does not go with `regex`; say it in the pattern, e.g. `(?i)`",
            )?;
            let pattern = Regex::new(&pattern.unwrap_or_default()).map_err(|error| {
                let text = error.to_string();
                let last = text.lines().last().unwrap_or_default();
                format!("`regex`: {}", last.trim_start_matches("error: "))
            })?;
            Judge::new(Expected::Regex(pattern), normalization)
        }
    }?;
    Ok(Task::Write {
        judge,
        max_tokens: line.max_tokens,
        stop,
    })
}

fn choose(choices: Vec<String>, answer: Option<usize>) -> Result<Task, String> {
    demand(choices.len() >= 2, "`choices` needs at least two")?;
    for (index, choice) in choices.iter().enumerate() {
        demand(!choice.is_empty(), "`choices` holds an empty string")?;
        if choices[..index].contains(choice) {
            return Err(format!("`choices` holds {choice:?} twice"));
        }
    }
    let answer = answer.ok_or("`choices` needs `answer`, the index of the right one from 0")?;
    if answer >= choices.len() {
        return Err(format!(
            "`answer` is {answer}, but {} choices are numbered 0 to {}",
            choices.len(),
            choices.len() - 1
        ));
    }
    Ok(Task::Choose { choices, answer })
}

fn several(texts: Texts) -> Result<Vec<String>, String> {
    let texts = match texts {
        Texts::One(text) => vec![text],
        Texts::Several(texts) => texts,
    };
    demand(!texts.is_empty(), "the list of expected texts is empty")?;
    Ok(texts)
}

fn demand(met: bool, why: &str) -> Result<(), String> {
    met.then_some(()).ok_or_else(|| why.into())
}

#[cfg(test)]
#[path = "items_tests.rs"]
mod tests;
