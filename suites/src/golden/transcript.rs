//! What an engine answered, kept as a file to be reviewed and held against.

use std::collections::HashMap;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use engine::{TokenId, Tokenizer};
use serde::{Deserialize, Serialize};

use super::error::{GoldenError, check_id, read};
use super::prompts::Body;
use crate::chat::Message;
use crate::generation::{Finish, Request, Sampling, Step, Stop};
use crate::json;
use crate::parity::Mark;

/// Version of the files.
const SCHEMA: u32 = 1;

/// A prompt and what an engine made of it, step by step.
///
/// ```
/// use harness_suites::generation::Finish;
/// use harness_suites::golden::{Body, Transcript};
///
/// let (name, text) = fixtures::GOLDENS[0];
/// let transcript = Transcript::parse(name.as_ref(), text)?;
/// let prompt = "The visions of romance were over. Catherine was";
/// assert_eq!(transcript.body, Body::Prompt(prompt.into()));
/// assert!(transcript.text.starts_with(" not in the way of the pump-room"));
/// assert_eq!((transcript.steps.len(), transcript.finish), (32, Finish::Length));
/// # Ok::<(), harness_suites::golden::GoldenError>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Transcript {
    /// Names the prompt.
    pub id: String,
    /// What was asked.
    pub body: Body,
    /// How tokens were chosen.
    pub sampling: Sampling,
    /// What ended the text.
    pub stop: Stop,
    /// Most tokens that were allowed.
    pub max_tokens: usize,
    /// Engine spec and version.
    pub engine: String,
    /// Version of the harness.
    pub harness: String,
    /// SHA-256 of the model's file or folder.
    pub model_sha256: String,
    /// SHA-256 of its tokenizer.
    pub tokenizer_sha256: String,
    /// From which the noise of other engines follows.
    pub(crate) noise: Mark,
    /// What `body` is in tokens.
    pub prompt_tokens: Vec<TokenId>,
    /// The answer.
    pub text: String,
    /// Why it ended.
    pub finish: Finish,
    /// The answer's tokens.
    pub steps: Vec<Recorded>,
}

/// One step of a transcript; figures have six decimals.
///
/// ```
/// use harness_suites::golden::Transcript;
///
/// let (name, text) = fixtures::GOLDENS[0];
/// let transcript = Transcript::parse(name.as_ref(), text)?;
/// let closest = transcript.steps.iter().min_by(|a, b| a.margin.total_cmp(&b.margin));
/// let closest = closest.ok_or("no steps")?;
/// // What another engine would say first if rounding swapped the two.
/// let (second, log_probability) = closest.top[1];
/// assert_ne!(second, closest.token);
/// assert!((closest.log_probability - log_probability - closest.margin).abs() < 2e-6);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recorded {
    /// See [`Step::token`].
    pub token: TokenId,
    /// The token's text, for people.
    pub piece: String,
    /// See [`Step::log_probability`].
    pub log_probability: f64,
    /// See [`Step::margin`], at most a million.
    pub margin: f64,
    /// See [`Step::spread`].
    pub spread: f64,
    /// See [`Step::top`].
    pub top: Vec<(TokenId, f64)>,
}

impl Recorded {
    /// Half a unit of the last decimal.
    pub(super) const ROUNDING: f64 = 5e-7;

    pub(super) fn new(step: &Step, piece: String) -> Self {
        let rounded = |value: f64| (value.min(1e6) * 1e6).round() / 1e6;
        Self {
            token: step.token,
            piece,
            log_probability: rounded(step.log_probability),
            margin: rounded(step.margin),
            spread: rounded(step.spread),
            top: step
                .top
                .iter()
                .map(|&(id, value)| (id, rounded(value)))
                .collect(),
        }
    }
}

/// A file as it stands.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(rename = "schema")]
    _schema: u32,
    id: String,
    prompt: Option<String>,
    messages: Option<Vec<Message>>,
    sampling: Sampling,
    stop: Stop,
    max_tokens: usize,
    engine: String,
    harness: String,
    model_sha256: String,
    tokenizer_sha256: String,
    noise: Mark,
    prompt_tokens: Vec<TokenId>,
    text: String,
    finish: Finish,
    steps: Vec<Recorded>,
}

#[derive(Deserialize)]
struct Schema {
    schema: u32,
}

impl Transcript {
    /// The recorded answer.
    pub(super) fn tokens(&self) -> Vec<TokenId> {
        self.steps.iter().map(|step| step.token).collect()
    }

    /// What the answer was recorded to.
    pub(super) fn request(&self) -> Request<'_> {
        Request {
            prompt: &self.prompt_tokens,
            sampling: &self.sampling,
            stop: &self.stop,
            max_tokens: self.max_tokens,
            top: 0,
        }
    }

    /// The transcripts at `path`: a file, or a folder's `*.json` by name.
    ///
    /// # Errors
    /// [`GoldenError`]: unreadable, malformed, none at all, or two of one id.
    ///
    /// ```
    /// use harness_suites::golden::Transcript;
    ///
    /// let folder = tempfile::tempdir()?;
    /// for (name, text) in &fixtures::GOLDENS[..2] {
    ///     Transcript::parse(name.as_ref(), text)?.write(folder.path(), false)?;
    /// }
    /// let read = Transcript::read(folder.path())?;
    /// assert_eq!(read.len(), 2);
    /// assert_eq!(read[0].0, Transcript::path(folder.path(), &read[0].1.id));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn read(path: &Path) -> Result<Vec<(PathBuf, Self)>, GoldenError> {
        let mut paths = vec![path.to_owned()];
        if path.is_dir() {
            paths.clear();
            for entry in fs::read_dir(path).map_err(GoldenError::io(path))? {
                let file = entry.map_err(GoldenError::io(path))?.path();
                if file.extension().is_some_and(|end| end == "json") {
                    paths.push(file);
                }
            }
            paths.sort();
            if paths.is_empty() {
                let why = "no transcripts in it; `harness golden record` makes them";
                return Err(GoldenError::file(path, why));
            }
        }
        let mut transcripts = Vec::with_capacity(paths.len());
        for path in paths {
            let transcript = Self::parse(&path, &read(&path)?)?;
            transcripts.push((path, transcript));
        }
        unique(&transcripts)?;
        Ok(transcripts)
    }

    /// The transcript in `text`, the content of `path`.
    ///
    /// # Errors
    /// [`GoldenError`], with the line where there is one.
    ///
    /// ```
    /// use harness_suites::golden::Transcript;
    ///
    /// let (name, text) = fixtures::GOLDENS[0];
    /// assert!(Transcript::parse(name.as_ref(), text).is_ok());
    /// let newer = text.replace("\"schema\": 1", "\"schema\": 2");
    /// let refused = Transcript::parse(name.as_ref(), &newer).map_err(|error| error.to_string());
    /// assert!(refused.is_err_and(|why| why.contains("this harness reads schema 1")));
    /// ```
    pub fn parse(path: &Path, text: &str) -> Result<Self, GoldenError> {
        let wrong = |error| GoldenError::json(path, 1, &error);
        let Schema { schema } = serde_json::from_str(text).map_err(wrong)?;
        if schema != SCHEMA {
            let why = format!(
                "schema {schema}; this harness reads schema {SCHEMA}. Record the transcripts \
                 again, or use the harness that made them"
            );
            return Err(GoldenError::file(path, why));
        }
        let file: File = serde_json::from_str(text).map_err(wrong)?;
        Self::check(file).map_err(|why| GoldenError::file(path, why))
    }

    fn check(file: File) -> Result<Self, String> {
        check_id(&file.id)?;
        if file.prompt_tokens.is_empty() || file.steps.is_empty() {
            return Err("neither `prompt_tokens` nor `steps` may be empty".into());
        }
        if file.steps.len() > file.max_tokens {
            return Err("there are more `steps` than `max_tokens`".into());
        }
        if file.stop.strings.iter().any(String::is_empty) {
            return Err("an empty string in `stop` would end every text at once".into());
        }
        if !file.noise.is_sound() {
            return Err("`noise.gain` must be above 0".into());
        }
        for (position, step) in file.steps.iter().enumerate() {
            if !(step.margin >= 0.0 && step.spread >= 0.0) {
                return Err(format!(
                    "step {position}: `margin` and `spread` must not be negative"
                ));
            }
        }
        Ok(Self {
            body: Body::of(file.prompt, file.messages)?,
            id: file.id,
            sampling: file.sampling,
            stop: file.stop,
            max_tokens: file.max_tokens,
            engine: file.engine,
            harness: file.harness,
            model_sha256: file.model_sha256,
            tokenizer_sha256: file.tokenizer_sha256,
            noise: file.noise,
            prompt_tokens: file.prompt_tokens,
            text: file.text,
            finish: file.finish,
            steps: file.steps,
        })
    }

    /// Refuses a transcript, from the file `path`, whose tokens are not
    /// `tokenizer`'s.
    ///
    /// # Errors
    /// [`GoldenError::File`].
    pub(super) fn check_tokens(
        &self,
        path: &Path,
        tokenizer: &dyn Tokenizer,
    ) -> Result<(), GoldenError> {
        if self.tokenizer_sha256 != tokenizer.sha256() {
            let why = format!(
                "recorded with another tokenizer (sha256 {}, the model's is {}); record it again",
                short(&self.tokenizer_sha256),
                short(tokenizer.sha256())
            );
            return Err(GoldenError::file(path, why));
        }
        let steps = self.steps.iter().enumerate();
        let places = steps.map(|(at, step)| (format!("step {at}"), step.token));
        let prompt = self.prompt_tokens.iter();
        for (place, token) in prompt.map(|&id| ("prompt_tokens".into(), id)).chain(places) {
            if let Err(error) = tokenizer.token_bytes(token) {
                return Err(GoldenError::file(path, format!("{place}: {error}")));
            }
        }
        Ok(())
    }

    /// Refuses a transcript, from the file `path`, of another model.
    ///
    /// # Errors
    /// [`GoldenError::File`].
    pub(super) fn check_model(&self, path: &Path, sha256: &str) -> Result<(), GoldenError> {
        if self.model_sha256 == sha256 {
            return Ok(());
        }
        let why = format!(
            "recorded from another model (sha256 {}, this one has {}); record it again with \
             `harness golden record`, or, if this model was converted from that one, name the \
             format of its weights, e.g. --set golden.other_model=q8_0",
            short(&self.model_sha256),
            short(sha256)
        );
        Err(GoldenError::file(path, why))
    }

    /// The file: a line for every field and every step, so that changes are seen
    /// where they are.
    ///
    /// # Errors
    /// When a figure is no number.
    ///
    /// ```
    /// use harness_suites::golden::Transcript;
    ///
    /// let (name, text) = fixtures::GOLDENS[0];
    /// let mut transcript = Transcript::parse(name.as_ref(), text)?;
    /// assert_eq!(transcript.to_text()?, text);
    /// transcript.steps[0].margin = 0.5;
    /// let changed = transcript.to_text()?;
    /// assert_eq!(changed.lines().zip(text.lines()).filter(|(a, b)| a != b).count(), 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn to_text(&self) -> serde_json::Result<String> {
        let body = match &self.body {
            Body::Prompt(text) => ("prompt", json::line(text)?),
            Body::Messages(messages) => ("messages", json::line(messages)?),
        };
        let fields = [
            ("schema", json::line(&SCHEMA)?),
            ("id", json::line(&self.id)?),
            body,
            ("sampling", json::line(&self.sampling)?),
            ("stop", json::line(&self.stop)?),
            ("max_tokens", json::line(&self.max_tokens)?),
            ("engine", json::line(&self.engine)?),
            ("harness", json::line(&self.harness)?),
            ("model_sha256", json::line(&self.model_sha256)?),
            ("tokenizer_sha256", json::line(&self.tokenizer_sha256)?),
            ("noise", json::line(&self.noise)?),
            ("prompt_tokens", json::line(&self.prompt_tokens)?),
            ("text", json::line(&self.text)?),
            ("finish", json::line(&self.finish)?),
        ];
        let mut text = String::from("{\n");
        for (name, value) in fields {
            text += &format!("  \"{name}\": {value},\n");
        }
        let steps: Result<Vec<String>, _> = self.steps.iter().map(json::line).collect();
        text += &format!("  \"steps\": [\n    {}\n  ]\n}}\n", steps?.join(",\n    "));
        Ok(text)
    }

    /// Where the transcript `id` goes in `folder`.
    ///
    /// ```
    /// use std::path::Path;
    ///
    /// use harness_suites::golden::Transcript;
    ///
    /// let path = Transcript::path(Path::new("goldens"), "austen-01");
    /// assert_eq!(path, Path::new("goldens/austen-01.json"));
    /// ```
    #[must_use]
    pub fn path(folder: &Path, id: &str) -> PathBuf {
        folder.join(format!("{id}.json"))
    }

    /// Writes the file into `folder`, whole or not at all.
    ///
    /// # Errors
    /// [`GoldenError::Io`]; also when there is one already, unless `replace`.
    ///
    /// ```
    /// use harness_suites::golden::Transcript;
    ///
    /// let (name, text) = fixtures::GOLDENS[0];
    /// let transcript = Transcript::parse(name.as_ref(), text)?;
    /// let folder = tempfile::tempdir()?;
    /// let path = transcript.write(folder.path(), false)?;
    /// assert_eq!(std::fs::read_to_string(path)?, text);
    /// assert!(transcript.write(folder.path(), false).is_err());
    /// transcript.write(folder.path(), true)?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn write(&self, folder: &Path, replace: bool) -> Result<PathBuf, GoldenError> {
        let path = Self::path(folder, &self.id);
        let written = || -> io::Result<()> {
            // Made here for the permissions of any other file: temporary ones are private.
            let mut file =
                tempfile::Builder::new().make_in(folder, |path| fs::File::create_new(path))?;
            file.write_all(self.to_text()?.as_bytes())?;
            file.as_file().sync_all()?;
            match replace {
                true => file.persist(&path)?,
                false => file.persist_noclobber(&path)?,
            };
            Ok(())
        };
        written().map_err(GoldenError::io(&path))?;
        Ok(path)
    }
}

fn unique(transcripts: &[(PathBuf, Transcript)]) -> Result<(), GoldenError> {
    let mut seen: HashMap<&str, &Path> = HashMap::new();
    for (path, transcript) in transcripts {
        if let Some(first) = seen.insert(&transcript.id, path) {
            let why = format!(
                "id `{}` is that of {} already",
                transcript.id,
                first.display()
            );
            return Err(GoldenError::file(path, why));
        }
    }
    Ok(())
}

/// Enough of a hash to tell two apart.
fn short(sha256: &str) -> &str {
    sha256.get(..12).unwrap_or(sha256)
}
