//! Chats as the text that a model was trained to read.
//!
//! A model brings a template in Jinja, and it is rendered as Hugging Face's
//! `apply_chat_template` renders it: blocks trimmed, loop controls, Python's string
//! methods, `raise_exception`, `tojson` and `strftime_now`, without tools. The text
//! is then tokenized with special tokens read as such and none added. So a message
//! that spells a special token is read as one, there as here.
//!
//! Templates come with models and are not trusted: they see the chat and nothing
//! else, and stop after five million instructions. That bounds their time; what they
//! build in the meantime is bounded by the process's memory alone.
//!
//! ```
//! use harness_suites::chat::Message;
//!
//! let chat = r#"[
//!     {"role": "system", "content": "Answer in one word."},
//!     {"role": "user", "content": "Who killed Banquo?"}
//! ]"#;
//! let chat: Vec<Message> = serde_json::from_str(chat)?;
//! assert_eq!(chat[1].content, "Who killed Banquo?");
//! // Whatever a template would not be shown is refused.
//! let named = r#"{"role": "user", "name": "Ross", "content": "Who?"}"#;
//! assert!(serde_json::from_str::<Message>(named).is_err());
//! # Ok::<(), serde_json::Error>(())
//! ```

use engine::{ChatTemplate, TokenId, Tokenizer, TokenizerError};
use jiff::civil::Date;
use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Kwargs, Serde, Value};
use minijinja::{Environment, Error, ErrorKind, context};
use minijinja_contrib::pycompat::unknown_method_callback;
use serde::{Deserialize, Serialize};

use crate::json;

/// Most instructions a template may take: a thousand times what the longest of
/// llama.cpp's collection needs for a short chat.
const FUEL: u64 = 5_000_000;

/// The day that every chat takes place on, so that the same messages give the same
/// tokens tomorrow. Llama's template falls back to it where it knows no date.
const TODAY: Date = jiff::civil::date(2024, 7, 26);

/// One turn of a chat.
///
/// ```
/// use harness_suites::chat::Message;
/// use harness_suites::golden::{Body, Prompt};
///
/// let line = r#"{"id": "a", "messages": [{"role": "user", "content": "Who is Banquo?"}]}"#;
/// let prompts = Prompt::parse("prompts.jsonl".as_ref(), line)?;
/// let message = Message { role: "user".into(), content: "Who is Banquo?".into() };
/// assert_eq!(prompts[0].body, Body::Messages(vec![message]));
/// # Ok::<(), harness_suites::golden::GoldenError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Message {
    /// Who speaks: `system`, `user` or `assistant`, as the template knows them.
    pub role: String,
    /// What they say.
    pub content: String,
}

/// A chat that cannot be put to a model.
///
/// ```
/// use harness_suites::chat::ChatError;
///
/// let why = "raise_exception: roles must alternate".to_owned();
/// let refused = ChatError::Template { line: Some(3), why };
/// let message = "the model's chat template line 3: raise_exception: roles must alternate";
/// assert_eq!(refused.to_string(), message);
/// ```
#[derive(Debug, thiserror::Error)]
pub enum ChatError {
    /// The model brings no template.
    #[error(
        "the model brings no chat template; give prompts as plain text (`prompt`), not `messages`"
    )]
    NoTemplate,
    /// The template is malformed, or refuses the chat.
    #[error("the model's chat template{} {why}", at_line(*line))]
    Template {
        /// Line of the template.
        line: Option<usize>,
        /// What it says.
        why: String,
    },
    /// The text cannot be tokenized.
    #[error("cannot tokenize the chat: {0}")]
    Tokenizer(#[from] TokenizerError),
}

fn at_line(line: Option<usize>) -> String {
    line.map_or(":".into(), |line| format!(" line {line}:"))
}

impl From<Error> for ChatError {
    fn from(error: Error) -> Self {
        let why = match (error.kind(), error.detail()) {
            (ErrorKind::OutOfFuel, _) => format!("does not end within {FUEL} instructions"),
            (kind, Some(detail)) => format!("{kind}: {detail}"),
            (kind, None) => kind.to_string(),
        };
        Self::Template {
            line: error.line(),
            why,
        }
    }
}

/// The tokens of a chat, up to where the model's answer begins.
///
/// # Errors
/// [`ChatError`].
pub(crate) fn encode(
    tokenizer: &dyn Tokenizer,
    messages: &[Message],
) -> Result<Vec<TokenId>, ChatError> {
    let template = tokenizer.chat_template().ok_or(ChatError::NoTemplate)?;
    let text = render(template, messages, true)?;
    Ok(tokenizer.encode_with_special(&text)?)
}

/// The text of a chat; `for_answer` asks for the beginning of an answer at its end.
///
/// # Errors
/// [`ChatError::Template`].
pub(crate) fn render(
    template: &ChatTemplate,
    messages: &[Message],
    for_answer: bool,
) -> Result<String, ChatError> {
    let mut environment = Environment::new();
    let mut syntax = SyntaxConfig::builder();
    environment.set_syntax(syntax.trim_blocks(true).lstrip_blocks(true).build()?);
    environment.set_fuel(Some(FUEL));
    environment.set_unknown_method_callback(unknown_method_callback);
    environment.add_function("raise_exception", raise_exception);
    environment.add_function("strftime_now", strftime_now);
    environment.add_filter("tojson", to_json);
    // Nothing can be looped over here, but not in Python.
    environment.add_test("iterable", |value: &Value| {
        !value.is_none() && value.try_iter().is_ok()
    });
    // Tokens that the model lacks are undefined, not empty.
    let name = |name: &Option<String>| name.clone().map_or(Value::UNDEFINED, Value::from);
    let text = environment.render_str(
        &without_training_marks(&template.source),
        context! {
            messages => Value::from(Serde(messages)),
            tools => (),
            documents => (),
            add_generation_prompt => for_answer,
            bos_token => name(&template.bos),
            eos_token => name(&template.eos),
        },
    )?;
    Ok(text)
}

/// `{% generation %}` marks what a model is trained to say; it is no part of Jinja
/// and of no consequence here.
fn without_training_marks(source: &str) -> String {
    let mut rest = source;
    let mut text = String::with_capacity(source.len());
    while let Some(start) = rest.find("{%") {
        let (before, tag) = rest.split_at(start);
        let end = tag.find("%}").map_or(tag.len(), |end| end + 2);
        let (tag, after) = tag.split_at(end);
        text.push_str(before);
        let word = tag.trim_matches(['{', '%', '-', '+', '}']).trim();
        match word {
            "generation" => text.push_str(&tag.replace(word, "if true")),
            "endgeneration" => text.push_str(&tag.replace(word, "endif")),
            _ => text.push_str(tag),
        }
        rest = after;
    }
    text + rest
}

fn raise_exception(message: String) -> Result<Value, Error> {
    Err(Error::new(ErrorKind::InvalidOperation, message))
}

fn strftime_now(format: &str) -> Result<String, Error> {
    jiff::fmt::strtime::format(format, TODAY.at(0, 0, 0, 0))
        .map_err(|error| Error::new(ErrorKind::InvalidOperation, error.to_string()))
}

/// Python's `json.dumps(…, ensure_ascii=False)`.
fn to_json(value: &Value, options: Kwargs) -> Result<String, Error> {
    let indent: Option<usize> = options.get("indent")?;
    let _: Option<bool> = options.get("ensure_ascii")?;
    options.assert_all_used()?;
    // A gigabyte of spaces is nobody's wish.
    let text = match indent {
        None => json::line(value),
        Some(indent) => json::indented(value, &" ".repeat(indent.min(16))),
    };
    text.map_err(|error| Error::new(ErrorKind::BadSerialization, error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Deserialize)]
    struct Vectors {
        templates: Vec<TemplateCases>,
    }

    #[derive(Deserialize)]
    struct TemplateCases {
        name: String,
        source: String,
        bos: Option<String>,
        eos: Option<String>,
        chats: Vec<Chat>,
    }

    #[derive(Deserialize)]
    struct Chat {
        messages: Vec<Message>,
        for_answer: bool,
        text: Option<String>,
        refused: Option<String>,
    }

    /// Texts by `scripts/oracles/chat_templates.py`, which can make them of more
    /// templates than are kept; `CHAT_VECTORS` names such a file.
    #[test]
    fn chats_read_as_transformers_writes_them() {
        let vectors: Vectors = match std::env::var("CHAT_VECTORS") {
            Ok(path) => serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap(),
            Err(_) => serde_json::from_str(include_str!("../tests/vectors/chats.json")).unwrap(),
        };
        let mut wrong = Vec::new();
        for case in vectors.templates {
            let template = ChatTemplate {
                source: case.source,
                bos: case.bos,
                eos: case.eos,
            };
            for chat in case.chats {
                let ours = render(&template, &chat.messages, chat.for_answer);
                let right = match (&ours, &chat.text, &chat.refused) {
                    (Ok(ours), Some(text), _) => ours == text,
                    (Err(ours), None, Some(why)) => ours.to_string().contains(why.as_str()),
                    _ => false,
                };
                if !right {
                    let theirs = (chat.text, chat.refused);
                    wrong.push(format!("{}: {ours:?}, not {theirs:?}", case.name));
                }
            }
        }
        assert!(wrong.is_empty(), "{}:\n{}", wrong.len(), wrong.join("\n"));
    }

    fn template(source: &str) -> ChatTemplate {
        ChatTemplate {
            source: source.into(),
            bos: None,
            eos: Some("</s>".into()),
        }
    }

    #[test]
    fn hostile_templates_come_to_an_end() {
        let many = "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}";
        let deep = "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}";
        for source in [
            many,
            deep,
            "{{",
            "{% for %}",
            "{{ messages.x.y }}",
            "{{ 1 | nope }}",
        ] {
            let refusal = render(&template(source), &[], true).unwrap_err();
            assert!(refusal.to_string().starts_with("the model's chat template"));
        }
        let error = render(&template(many), &[], true).unwrap_err().to_string();
        assert!(error.contains("does not end"), "{error}");
    }

    #[test]
    fn what_the_model_lacks_is_undefined() {
        let source = "{{ bos_token is defined }} {{ bos_token }}{{ eos_token }}";
        assert_eq!(render(&template(source), &[], true).unwrap(), "False </s>");
    }
}
