//! Prompts, one JSON object a line.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use engine::{TokenId, Tokenizer};
use serde::{Deserialize, Serialize};

use super::error::{GoldenError, check_id, read};
use crate::chat::{self, ChatError, Message};
use crate::generation::Sampling;

/// What a model is asked.
///
/// ```
/// use harness_suites::golden::{Body, Prompt};
///
/// let line = r#"{"id": "ghost", "prompt": "Which of you have done this?", "max_tokens": 16}"#;
/// let prompts = Prompt::parse("prompts.jsonl".as_ref(), line)?;
/// assert_eq!(prompts[0].body, Body::Prompt("Which of you have done this?".into()));
/// assert_eq!((prompts[0].max_tokens, &prompts[0].sampling), (Some(16), &None));
/// # Ok::<(), harness_suites::golden::GoldenError>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Prompt {
    /// Names the transcript and its file.
    pub id: String,
    /// The question.
    pub body: Body,
    /// Most tokens to generate, if it says.
    pub max_tokens: Option<usize>,
    /// How tokens are chosen, if it says.
    pub sampling: Option<Sampling>,
    /// Strings that end the text, if it says.
    pub stop: Option<Vec<String>>,
    /// The file it is from.
    path: PathBuf,
}

/// A text to go on with, or a chat to answer.
///
/// ```
/// use harness_suites::golden::{Body, Prompt};
///
/// let prompts = Prompt::parse("short.jsonl".as_ref(), fixtures::PROMPTS)?;
/// let said = |body: &Body| match body {
///     Body::Prompt(text) => text.clone(),
///     Body::Messages(messages) => messages.iter().map(|message| &*message.content).collect(),
/// };
/// assert!(said(&prompts[0].body).starts_with("The visions of romance were over."));
/// # Ok::<(), harness_suites::golden::GoldenError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Body {
    /// Plain text.
    Prompt(String),
    /// A chat, put into the model's own template.
    Messages(Vec<Message>),
}

impl Body {
    /// The tokens to generate after: BOS, where the model wants one, and the text;
    /// or the chat as its template has it.
    ///
    /// # Errors
    /// [`ChatError`].
    pub(crate) fn encode(&self, tokenizer: &dyn Tokenizer) -> Result<Vec<TokenId>, ChatError> {
        match self {
            Self::Messages(messages) => chat::encode(tokenizer, messages),
            Self::Prompt(text) => {
                let mut ids: Vec<TokenId> = tokenizer.bos().into_iter().collect();
                ids.extend(tokenizer.encode(text)?);
                Ok(ids)
            }
        }
    }

    /// One of two, from fields that may both be there or missing.
    pub(super) fn of(
        prompt: Option<String>,
        messages: Option<Vec<Message>>,
    ) -> Result<Self, String> {
        match (prompt, messages) {
            (Some(text), None) => Ok(Self::Prompt(text)),
            (None, Some(messages)) if !messages.is_empty() => Ok(Self::Messages(messages)),
            _ => Err("give either `prompt` or `messages`, and not an empty list".into()),
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    id: String,
    prompt: Option<String>,
    messages: Option<Vec<Message>>,
    max_tokens: Option<usize>,
    sampling: Option<Sampling>,
    stop: Option<Vec<String>>,
}

impl Prompt {
    /// The prompts in the file at `path`.
    ///
    /// # Errors
    /// [`GoldenError`], with the line.
    ///
    /// ```
    /// use harness_suites::golden::Prompt;
    ///
    /// let folder = tempfile::tempdir()?;
    /// let path = folder.path().join("prompts.jsonl");
    /// std::fs::write(&path, fixtures::PROMPTS)?;
    /// assert_eq!(Prompt::read(&path)?.len(), 24);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn read(path: &Path) -> Result<Vec<Self>, GoldenError> {
        Self::parse(path, &read(path)?)
    }

    /// The prompts in `text`, the content of `path`. Empty lines are passed over.
    ///
    /// # Errors
    /// [`GoldenError`], with the line.
    ///
    /// ```
    /// use harness_suites::golden::Prompt;
    ///
    /// let text = r#"
    ///     {"id": "short", "prompt": "Once upon a time"}
    ///
    ///     {"id": "hot", "prompt": "Once", "sampling": "temperature=1.2,seed=4", "stop": ["."]}
    /// "#;
    /// let prompts = Prompt::parse("prompts.jsonl".as_ref(), text)?;
    /// let sampling = prompts[1].sampling.as_ref();
    /// assert_eq!(sampling.map(|sampling| sampling.temperature), Some(1.2));
    /// # Ok::<(), harness_suites::golden::GoldenError>(())
    /// ```
    pub fn parse(path: &Path, text: &str) -> Result<Vec<Self>, GoldenError> {
        let mut prompts: Vec<Self> = Vec::new();
        let mut lines: HashMap<String, usize> = HashMap::new();
        for (line, text) in (1..).zip(text.lines()) {
            if text.trim().is_empty() {
                continue;
            }
            let read: Line = serde_json::from_str(text)
                .map_err(|error| GoldenError::json(path, line, &error))?;
            let prompt =
                Self::check(read, path).map_err(|why| GoldenError::line(path, line, why))?;
            if let Some(first) = lines.insert(prompt.id.clone(), line) {
                let why = format!("id `{}` is that of line {first} already", prompt.id);
                return Err(GoldenError::line(path, line, why));
            }
            prompts.push(prompt);
        }
        match prompts.is_empty() {
            true => Err(GoldenError::file(path, "there is no prompt in it")),
            false => Ok(prompts),
        }
    }

    fn check(line: Line, path: &Path) -> Result<Self, String> {
        check_id(&line.id)?;
        if line.max_tokens == Some(0) {
            return Err("`max_tokens` must be at least 1".into());
        }
        if line.stop.iter().flatten().any(String::is_empty) {
            return Err("an empty string in `stop` would end every text at once".into());
        }
        Ok(Self {
            body: Body::of(line.prompt, line.messages)?,
            id: line.id,
            max_tokens: line.max_tokens,
            sampling: line.sampling,
            stop: line.stop,
            path: path.into(),
        })
    }

    /// See [`Body::encode`].
    ///
    /// # Errors
    /// [`GoldenError::Prompt`]; [`GoldenError::File`] for a prompt of no tokens.
    pub(crate) fn encode(&self, tokenizer: &dyn Tokenizer) -> Result<Vec<TokenId>, GoldenError> {
        let path = &self.path;
        let ids = self.body.encode(tokenizer);
        let ids = ids.map_err(|why| GoldenError::Prompt {
            path: path.clone(),
            id: self.id.clone(),
            why,
        })?;
        if ids.is_empty() {
            let why = format!("prompt `{}` is empty, and the model wants no BOS", self.id);
            return Err(GoldenError::file(path, why));
        }
        Ok(ids)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Vec<Prompt>, String> {
        Prompt::parse(Path::new("p.jsonl"), text).map_err(|error| error.to_string())
    }

    #[test]
    fn prompts_say_what_they_need() {
        let text = r#"{"id": "a", "prompt": "x"}

            {"id": "b", "messages": [{"role": "user", "content": "y"}], "max_tokens": 3,
"#
        .replace(
            "3,\n",
            "3, \"sampling\": \"temperature=1,seed=2\", \"stop\": [\"z\"]}\n",
        );
        let prompts = parse(&text).unwrap();
        assert_eq!(prompts[0].body, Body::Prompt("x".into()));
        assert_eq!(prompts[1].max_tokens, Some(3));
        assert_eq!(prompts[1].sampling.as_ref().unwrap().seed, 2);
    }

    #[test]
    fn mistakes_are_named_by_line() {
        for (line, why) in [
            ("{", "EOF"),
            ("[]", "invalid"),
            (r#"{"prompt": "x"}"#, "missing field `id`"),
            (r#"{"id": "a"}"#, "either `prompt` or `messages`"),
            (r#"{"id": "a", "prompt": "x", "messages": []}"#, "either"),
            (r#"{"id": "a", "messages": []}"#, "empty list"),
            (r#"{"id": "a", "prompt": "x", "colour": 1}"#, "colour"),
            (
                r#"{"id": "a", "prompt": "x", "max_tokens": 0}"#,
                "max_tokens",
            ),
            (r#"{"id": "a", "prompt": "x", "max_tokens": -1}"#, "-1"),
            (
                r#"{"id": "a", "prompt": "x", "sampling": "hot"}"#,
                "sampling",
            ),
            (r#"{"id": "a", "prompt": "x", "stop": [""]}"#, "stop"),
            (r#"{"id": "../a", "prompt": "x"}"#, "id"),
            (r#"{"id": "first", "prompt": "x"}"#, "line 1 already"),
        ] {
            let text = format!("{{\"id\": \"first\", \"prompt\": \"\"}}\n\n{line}\n");
            let error = parse(&text).unwrap_err();
            assert!(error.starts_with("p.jsonl line 3: "), "{error}");
            assert!(error.contains(why), "{line}: {error}");
        }
        assert!(parse("\n \n").unwrap_err().contains("no prompt"));
    }
}
