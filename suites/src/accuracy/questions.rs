//! Items as one model reads them.

use std::fs;
use std::path::PathBuf;

use engine::{EngineError, Model, ModelConfig, Session, TokenId, Tokenizer};

use super::ItemsError;
use super::answers::Given;
use super::choices::{self, Encoded};
use super::items::{self, Flaw, Item, Prompt, Task};
use super::judge::{Judge, Normalization};
use crate::Input;
use crate::chat::{self, ChatError};
use crate::generation::{Request, Sampling, Stop, generate, streamed};

/// Where items come from.
pub(super) struct Source<'a>(&'a str);

impl<'a> Source<'a> {
    /// The file at `path`, or the embedded items if that is empty.
    pub(super) fn new(path: &'a str) -> Self {
        Self(path)
    }

    pub(super) fn read(
        &self,
        embedded: &str,
        normalization: Normalization,
    ) -> Result<Vec<Item>, ItemsError> {
        let bytes = match self.0 {
            "" => embedded.into(),
            path => fs::read(path).map_err(|source| ItemsError::Io {
                path: PathBuf::from(path),
                source,
            })?,
        };
        items::parse(&bytes, normalization).map_err(|flaw| self.error(flaw))
    }

    /// `flaw` with the name of the file it is in.
    pub(super) fn error(&self, flaw: Flaw) -> ItemsError {
        ItemsError::Item {
            file: match self.0 {
                "" => "the embedded items".into(),
                path => format!("items {path}"),
            },
            line: flaw.line,
            why: flaw.why,
        }
    }
}

/// Who is asked.
pub(super) enum Asked<'a> {
    /// An engine that hands over logits.
    Session(Box<dyn Session + 'a>, &'a ModelConfig),
    /// One that keeps them.
    Model(&'a dyn Model),
}

/// An item in a model's tokens.
pub(super) struct Question {
    pub(super) id: String,
    pub(super) category: Option<String>,
    line: usize,
    task: Tokenized,
}

enum Tokenized {
    Choose {
        encoded: Encoded,
        /// Length of each choice in bytes of UTF-8.
        bytes: Vec<usize>,
        answer: usize,
    },
    Write {
        prompt: Vec<TokenId>,
        judge: Judge,
        max_tokens: usize,
        stop: Stop,
    },
}

impl Question {
    /// `max_tokens` is for items that do not say.
    ///
    /// # Errors
    /// A [`Flaw`] when this model cannot be asked.
    pub(super) fn new(item: Item, input: &Input<'_>, max_tokens: usize) -> Result<Self, Flaw> {
        let line = item.line;
        let task = tokenized(item.prompt, item.task, input, max_tokens);
        Ok(Self {
            task: task.map_err(|why| Flaw::new(line, &why))?,
            id: item.id,
            category: item.category,
            line,
        })
    }

    /// Whether prompt and answer have room in a context.
    pub(super) fn fits(&self, context: usize) -> Result<(), Flaw> {
        let (needed, hint) = match &self.task {
            Tokenized::Choose { encoded, .. } => (encoded.longest(), "shorten it"),
            // The last token need not be read.
            Tokenized::Write {
                prompt, max_tokens, ..
            } => (
                prompt.len() + max_tokens - 1,
                "shorten the prompt or lower max_tokens",
            ),
        };
        if needed <= context {
            return Ok(());
        }
        let why = format!("it takes {needed} tokens, and the model's context is {context}; {hint}");
        Err(Flaw::new(self.line, &why))
    }

    pub(super) fn ask(
        &self,
        asked: &mut Asked<'_>,
        tokenizer: &dyn Tokenizer,
        sampling: &Sampling,
    ) -> Result<Given, EngineError> {
        match &self.task {
            Tokenized::Choose {
                encoded,
                bytes,
                answer,
            } => {
                let sums = match asked {
                    Asked::Session(session, config) => {
                        choices::log_likelihoods(&mut **session, config.vocab, encoded)?
                    }
                    Asked::Model(model) => choices::told_log_likelihoods(*model, encoded)?,
                };
                let per_byte = sums.iter().zip(bytes).map(|(sum, &n)| sum / n as f64);
                Ok(Given::Choice {
                    chosen: choices::best(sums.iter().copied()),
                    chosen_per_byte: choices::best(per_byte),
                    right: *answer,
                    log_likelihoods: sums,
                })
            }
            Tokenized::Write {
                prompt,
                judge,
                max_tokens,
                stop,
            } => {
                let request = Request {
                    prompt,
                    sampling,
                    stop,
                    max_tokens: *max_tokens,
                    top: 0,
                };
                let text = match asked {
                    Asked::Session(session, config) => {
                        session.truncate(0)?;
                        let session = &mut **session;
                        generate(session, config, tokenizer, &request, &mut |_| {})?.text
                    }
                    Asked::Model(model) => streamed(*model, tokenizer, &request)?.text,
                };
                Ok(Given::Text {
                    correct: judge.accepts(&text),
                    essence: judge.essence(&text),
                    text,
                })
            }
        }
    }
}

fn tokenized(
    prompt: Prompt,
    task: Task,
    input: &Input<'_>,
    max_tokens: usize,
) -> Result<Tokenized, String> {
    let tokenizer = input.tokenizer;
    let chat = matches!(prompt, Prompt::Chat(_));
    let text = match prompt {
        Prompt::Text(text) => text,
        Prompt::Chat(messages) => {
            let template = tokenizer.chat_template().ok_or(ChatError::NoTemplate);
            let text = template.and_then(|template| chat::render(template, &messages, true));
            text.map_err(|error| error.to_string())?
        }
    };
    // Templates spell special tokens, BOS among them.
    let bos = tokenizer.bos().filter(|_| !chat);
    let tokens = |text: &str| match chat {
        true => tokenizer.encode_with_special(text),
        false => tokenizer.encode(text),
    };
    let wrong = |error| format!("the model's tokenizer refuses it: {error}");
    match task {
        Task::Choose { choices, answer } => {
            let encoded = choices::encode(tokens, bos, &text, &choices).map_err(wrong)?;
            match encoded.flaw() {
                Some(why) => Err(why),
                None => Ok(Tokenized::Choose {
                    encoded,
                    bytes: choices.iter().map(String::len).collect(),
                    answer,
                }),
            }
        }
        Task::Write {
            judge,
            max_tokens: own,
            stop: strings,
        } => {
            let prompt: Vec<TokenId> = bos
                .into_iter()
                .chain(tokens(&text).map_err(wrong)?)
                .collect();
            if prompt.is_empty() {
                return Err("the prompt comes to no token".into());
            }
            Ok(Tokenized::Write {
                prompt,
                judge,
                max_tokens: own.unwrap_or(max_tokens),
                stop: Stop {
                    strings,
                    ..Stop::of(tokenizer)
                },
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use engine::{ChatTemplate, TokenizerError};

    use super::*;
    use crate::Defaults;
    use crate::Settings;

    /// A token a byte, and `<s>`.
    struct Bytes(Option<ChatTemplate>);

    const BOS: TokenId = 256;

    impl Tokenizer for Bytes {
        fn encode(&self, text: &str) -> Result<Vec<TokenId>, TokenizerError> {
            Ok(text.bytes().map(TokenId::from).collect())
        }
        fn encode_with_special(&self, text: &str) -> Result<Vec<TokenId>, TokenizerError> {
            let mut ids = Vec::new();
            for (number, part) in text.split("<s>").enumerate() {
                ids.extend((number > 0).then_some(BOS));
                ids.extend(self.encode(part)?);
            }
            Ok(ids)
        }
        fn decode(&self, _: &[TokenId]) -> Result<String, TokenizerError> {
            Err(TokenizerError("not needed".into()))
        }
        fn token_bytes(&self, _: TokenId) -> Result<&[u8], TokenizerError> {
            Ok(b"x")
        }
        fn bos(&self) -> Option<TokenId> {
            Some(BOS)
        }
        fn eos(&self) -> Option<TokenId> {
            None
        }
        fn chat_template(&self) -> Option<&ChatTemplate> {
            self.0.as_ref()
        }
        fn sha256(&self) -> &str {
            ""
        }
    }

    fn question(line: &str, tokenizer: &Bytes) -> Result<Question, Flaw> {
        let settings = Settings::default();
        let input = Input {
            tokenizer,
            model_sha256: "",
            defaults: Defaults::default(),
            settings: &settings,
        };
        let mut items = items::parse(line.as_bytes(), Normalization::default())?;
        Question::new(items.remove(0), &input, 5)
    }

    fn with_template() -> Bytes {
        Bytes(Some(ChatTemplate {
            source:
                "{{ bos_token }}{% for m in messages %}{{ m.content }}\n{% endfor %}A:{{ '\n' }}"
                    .into(),
            bos: Some("<s>".into()),
            eos: None,
        }))
    }

    #[test]
    fn a_chat_is_read_as_its_template_has_it() {
        let chat = r#""messages":[{"role":"user","content":"Hi"}]"#;
        let written = format!(r#"{{"id":"a",{chat},"exact":"x","max_tokens":3}}"#);
        let question = question(&written, &with_template()).unwrap();
        let Tokenized::Write {
            prompt, max_tokens, ..
        } = &question.task
        else {
            panic!("it is a written answer")
        };
        // One BOS, the template's.
        let mut expected = vec![BOS];
        expected.extend("Hi\nA:\n".bytes().map(TokenId::from));
        assert_eq!((prompt, *max_tokens), (&expected, 3));
        // The last of three tokens is not read.
        assert!(question.fits(expected.len() + 2).is_ok());
        let flaw = question.fits(expected.len() + 1).unwrap_err();
        assert_eq!(flaw.line, 1);
    }

    #[test]
    fn choices_after_a_chat_take_its_last_line_end() {
        let line = r#"{"id":"a","messages":[{"role":"user","content":"Hi"}],"choices":["x","yz"],"answer":0}"#;
        let question = question(line, &with_template()).unwrap();
        let Tokenized::Choose { encoded, bytes, .. } = &question.task else {
            panic!("it is a choice")
        };
        assert_eq!(encoded.context[0], BOS);
        assert_eq!(encoded.context.len(), 1 + "Hi\nA:".len());
        assert_eq!(encoded.continuations[1], b"\nyz".map(TokenId::from));
        assert_eq!(bytes, &[1, 2]);
    }

    #[test]
    fn a_chat_without_a_template_is_a_flaw() {
        let line = r#"{"id":"a","messages":[{"role":"user","content":"Hi"}],"exact":"x"}"#;
        let flaw = question(line, &Bytes(None)).err().unwrap();
        assert!(flaw.why.contains("no chat template"), "{flaw}");
    }
}
