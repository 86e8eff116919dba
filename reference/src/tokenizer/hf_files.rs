//! `tokenizer.json` and the files beside it, read for what the tokenizers crate
//! does not tell: how tokens spell bytes, which tokens begin and end a text, and
//! what all this is called in GGUF.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use engine::{ChatTemplate, TokenId};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::TokenizerBuildError;
use super::build::{ADD_BOS, BOS, CHAT_TEMPLATE, EOS, MODEL, PRE};
use super::hash::{self, Rules};
use super::merges::MERGES;
use super::pre::{self, PreTokenizer};
use super::vocabulary::{Spelling, TOKENS, TYPES, TokenType, Vocabulary, byte_of};
use crate::gguf::{Array, Metadata};

/// Holes that a vocabulary may have besides as many as it has tokens. What fills
/// them takes memory, which no id alone may ask for.
const HOLES: usize = 4096;

/// What a folder says of its tokenizer.
#[derive(Debug)]
pub(super) struct Files {
    /// The text of `tokenizer.json`.
    pub(super) text: Vec<u8>,
    pub(super) path: PathBuf,
    pub(super) spelling: Spelling,
    /// Whether decoding takes a leading space away.
    pub(super) strips_space: bool,
    /// Token that stands for text outside the vocabulary.
    pub(super) unknown: Option<TokenId>,
    pub(super) bos: Option<TokenId>,
    pub(super) eos: Option<TokenId>,
    /// Token that closes every text.
    pub(super) closing: Option<TokenId>,
    /// All tokens that the files say end a text.
    pub(super) ends: Vec<TokenId>,
    pub(super) chat_template: Option<ChatTemplate>,
    tokens: Vec<String>,
    types: Vec<TokenType>,
    merges: Vec<(String, String)>,
    /// The way of cutting that GGUF has a name for.
    pre: Option<&'static PreTokenizer>,
    /// How text is cut, if GGUF has no name for it.
    rules: String,
    add_bos: bool,
}

#[derive(Deserialize)]
struct TokenizerJson {
    #[serde(default)]
    added_tokens: Vec<AddedToken>,
    #[serde(default)]
    normalizer: Value,
    #[serde(default)]
    pre_tokenizer: Value,
    #[serde(default)]
    post_processor: Value,
    #[serde(default)]
    decoder: Value,
    model: Model,
}

#[derive(Deserialize)]
struct AddedToken {
    id: TokenId,
    content: String,
    #[serde(default)]
    special: bool,
}

#[derive(Deserialize)]
struct Model {
    r#type: Option<String>,
    vocab: Value,
    #[serde(default)]
    merges: Vec<Merge>,
    #[serde(default)]
    ignore_merges: bool,
    #[serde(default)]
    byte_fallback: bool,
    unk_token: Option<String>,
    dropout: Option<f64>,
    /// WordPiece's mark of what goes on with a word.
    continuing_subword_prefix: Option<String>,
    /// Longer words are unknown to WordPiece.
    max_input_chars_per_word: Option<u64>,
}

impl Model {
    fn is_word_piece(&self) -> bool {
        self.r#type.as_deref() == Some("WordPiece")
    }
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Merge {
    Pair(String, String),
    /// As tokenizers before 0.20 wrote it.
    Line(String),
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct TokenizerConfig {
    add_bos_token: Option<bool>,
    bos_token: Option<Spelled>,
    eos_token: Option<Spelled>,
    chat_template: Option<Templates>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Templates {
    One(String),
    Named(Vec<NamedTemplate>),
}

#[derive(Deserialize)]
struct NamedTemplate {
    name: String,
    template: String,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Spelled {
    Text(String),
    Token { content: String },
}

/// `config.json` and `generation_config.json`.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Ids {
    bos_token_id: Option<OneOrMany>,
    eos_token_id: Option<OneOrMany>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMany {
    One(TokenId),
    Many(Vec<TokenId>),
}

impl Files {
    /// Reads the folder's files. Ids up to `rows` stand for something, if only
    /// for nothing.
    pub(super) fn read(folder: &Path, rows: usize) -> Result<Self, TokenizerBuildError> {
        let path = folder.join("tokenizer.json");
        let text = fs::read(&path).map_err(|source| TokenizerBuildError::Io {
            path: path.clone(),
            source,
        })?;
        let mut config: TokenizerConfig = optional(&folder.join("tokenizer_config.json"))?;
        // A file of its own stands above the configuration.
        let template = folder.join("chat_template.jinja");
        if template.is_file() {
            let source =
                fs::read_to_string(&template).map_err(|source| TokenizerBuildError::Io {
                    path: template,
                    source,
                })?;
            config.chat_template = Some(Templates::One(source));
        }
        let ids = [
            optional(&folder.join("config.json"))?,
            optional(&folder.join("generation_config.json"))?,
        ];
        Self::parse(path, text, rows, config, &ids)
    }

    fn parse(
        path: PathBuf,
        text: Vec<u8>,
        rows: usize,
        config: TokenizerConfig,
        ids: &[Ids],
    ) -> Result<Self, TokenizerBuildError> {
        let fault = |why: String| TokenizerBuildError::File {
            path: path.clone(),
            why,
        };
        let json: TokenizerJson =
            serde_json::from_slice(&text).map_err(|error| fault(error.to_string()))?;
        match json.model.r#type.as_deref() {
            None | Some("BPE" | "WordPiece") => {}
            Some(other) => {
                let why = format!(
                    "tokenizer model `{other}` is not supported; supported: BPE, WordPiece"
                );
                return Err(fault(why));
            }
        }
        if json.model.dropout.is_some_and(|dropout| dropout != 0.0) {
            return Err(fault("merges with dropout are not supported".into()));
        }
        let spelling = spelling(&json).map_err(fault)?;
        let (tokens, types) = tokens(&json, spelling, rows).map_err(fault)?;
        let id_of: HashMap<&str, TokenId> = tokens.iter().map(String::as_str).zip(0..).collect();
        let named = |name: &Option<Spelled>| {
            let text = match name.as_ref()? {
                Spelled::Text(text) | Spelled::Token { content: text } => text,
            };
            id_of.get(text.as_str()).copied()
        };
        let numbered = |pick: fn(&Ids) -> &Option<OneOrMany>| {
            let mut given = ids.iter().filter_map(|ids| pick(ids).as_ref());
            given.find_map(|ids| match ids {
                OneOrMany::One(id) => Some(*id),
                OneOrMany::Many(ids) => ids.first().copied(),
            })
        };
        let mut ends = Vec::new();
        for given in ids.iter().filter_map(|ids| ids.eos_token_id.as_ref()) {
            match given {
                OneOrMany::One(id) => ends.push(*id),
                OneOrMany::Many(ids) => ends.extend(ids),
            }
        }
        let exists = |id: &TokenId| (*id as usize) < tokens.len();
        let [first, closing] = ends_of_template(&json.post_processor)
            .map(|text| text.and_then(|text| id_of.get(text).copied()));
        let bos = named(&config.bos_token)
            .or(first)
            .or_else(|| numbered(|ids| &ids.bos_token_id).filter(exists));
        let eos =
            named(&config.eos_token).or_else(|| numbered(|ids| &ids.eos_token_id).filter(exists));
        let add_bos = config
            .add_bos_token
            .unwrap_or(bos.is_some() && first == bos);
        ends.retain(exists);
        ends.extend(eos);
        let spelled = |id: Option<TokenId>| id.map(|id| tokens[id as usize].clone());
        let source = config.chat_template.and_then(|templates| match templates {
            Templates::One(source) => Some(source),
            Templates::Named(list) => {
                let mut list = list.into_iter();
                list.find_map(|named| (named.name == "default").then_some(named.template))
            }
        });
        let chat_template = source.map(|source| ChatTemplate {
            source,
            bos: spelled(bos),
            eos: spelled(eos),
        });
        let unknown = json.model.unk_token.as_deref();
        // Models of WordPiece were trained with words that they do not know.
        let word_piece = json.model.is_word_piece();
        let unknown = unknown
            .filter(|_| !word_piece)
            .and_then(|text| id_of.get(text).copied());
        let word_piece_rules = match word_piece {
            true => format!(
                " WordPiece {:?} {:?} {closing:?}",
                json.model.unk_token, json.model.max_input_chars_per_word
            ),
            false => String::new(),
        };
        let cuts = patterns(&json.pre_tokenizer);
        let cuts = cuts.as_ref().filter(|_| spelling == Spelling::ByteLevel);
        let pre = cuts.and_then(|cuts| {
            let cuts: Vec<&str> = cuts.iter().map(String::as_str).collect();
            pre::cutting_at(&cuts, json.model.ignore_merges)
        });
        let merges = json.model.merges.into_iter().map(|merge| match merge {
            Merge::Pair(left, right) => Ok((left, right)),
            Merge::Line(line) => match line.split_once(' ') {
                Some((left, right)) => Ok((left.into(), right.into())),
                None => Err(fault(format!("merge `{line}` is not of two tokens"))),
            },
        });
        Ok(Self {
            merges: merges.collect::<Result<_, _>>()?,
            strips_space: word_piece || strips_space(&json.decoder),
            rules: format!(
                "{} {} {}{word_piece_rules}",
                json.normalizer, json.pre_tokenizer, json.model.ignore_merges
            ),
            bos,
            eos,
            closing,
            ends,
            chat_template,
            add_bos,
            unknown,
            spelling,
            tokens,
            types,
            pre,
            text,
            path,
        })
    }

    /// What a GGUF file of this tokenizer says, if one can.
    pub(super) fn metadata(&self) -> Option<Metadata> {
        let pre = self.pre?;
        let mut metadata = Metadata::new();
        metadata.set(MODEL, "gpt2");
        metadata.set(PRE, pre.name());
        metadata.set(TOKENS, self.tokens.clone());
        let types: Vec<i32> = self.types.iter().map(|&ty| ty as i32).collect();
        metadata.set(TYPES, types);
        let merges = self.merges.iter();
        let lines = merges.map(|(left, right)| format!("{left} {right}"));
        metadata.set(MERGES, Array::String(lines.collect()));
        for (key, id) in [(BOS, self.bos), (EOS, self.eos)] {
            if let Some(id) = id {
                metadata.set(key, id);
            }
        }
        metadata.set(ADD_BOS, self.add_bos);
        if let Some(template) = &self.chat_template {
            metadata.set(CHAT_TEMPLATE, template.source.clone());
        }
        Some(metadata)
    }

    /// BOS, if texts begin with it.
    pub(super) fn leading(&self) -> Option<TokenId> {
        self.bos.filter(|_| self.add_bos)
    }

    pub(super) fn vocabulary(&self) -> Result<Vocabulary, TokenizerBuildError> {
        let (tokens, types) = (self.tokens.clone(), self.types.clone());
        Vocabulary::new(tokens, types, Vec::new(), self.spelling)
    }

    /// The hash that a GGUF file of this tokenizer has, if there can be one.
    pub(super) fn sha256(&self, vocabulary: &Vocabulary) -> Result<String, TokenizerBuildError> {
        let id = |text: &String| {
            vocabulary
                .id(text)
                .ok_or_else(|| TokenizerBuildError::File {
                    path: self.path.clone(),
                    why: format!("a merge is of `{text}`, which is no token"),
                })
        };
        let mut merges = Vec::with_capacity(self.merges.len());
        for (left, right) in &self.merges {
            merges.push((id(left)?, id(right)?));
        }
        let (model, pre) = match self.pre {
            Some(pre) => ("gpt2", pre.name()),
            None => ("tokenizer.json", self.rules.as_str()),
        };
        let rules = Rules {
            model,
            pre,
            add_space_prefix: false,
            bos: self.leading(),
            eos: self.eos,
        };
        Ok(hash::sha256(&rules, vocabulary, &merges))
    }
}

/// The file at `path` as a `T`, or what stands for none.
fn optional<T: DeserializeOwned + Default>(path: &Path) -> Result<T, TokenizerBuildError> {
    if !path.is_file() {
        return Ok(T::default());
    }
    let text = fs::read(path).map_err(|source| TokenizerBuildError::Io {
        path: path.into(),
        source,
    })?;
    serde_json::from_slice(&text).map_err(|error| TokenizerBuildError::File {
        path: path.into(),
        why: error.to_string(),
    })
}

/// `value` and, when it is a `Sequence`, what it is made of.
fn steps<'a>(value: &'a Value, parts: &str) -> Vec<&'a Value> {
    match value.get(parts).and_then(Value::as_array) {
        Some(steps) => steps.iter().collect(),
        None => vec![value],
    }
}

fn is(step: &Value, ty: &str) -> bool {
    step.get("type").and_then(Value::as_str) == Some(ty)
}

fn spelling(json: &TokenizerJson) -> Result<Spelling, String> {
    let decoder = &json.decoder;
    let steps = steps(decoder, "decoders");
    let any = |types: &[&str]| types.iter().any(|ty| steps.iter().any(|step| is(step, ty)));
    if json.model.is_word_piece() {
        return match json.model.continuing_subword_prefix.as_deref() {
            Some("##") => Ok(Spelling::WordPiece),
            other => Err(format!(
                "continuing_subword_prefix is {other:?}; supported: \"##\""
            )),
        };
    }
    if any(&["ByteLevel"]) {
        Ok(Spelling::ByteLevel)
    } else if any(&["ByteFallback", "Metaspace", "Replace"]) {
        Ok(Spelling::Text)
    } else {
        Err(format!(
            "decoder {decoder} is not supported; supported: ByteLevel, and `▁` for spaces with \
             ByteFallback"
        ))
    }
}

fn strips_space(decoder: &Value) -> bool {
    steps(decoder, "decoders").iter().any(|step| {
        let strip = is(step, "Strip") && step.get("start").and_then(Value::as_u64) == Some(1);
        let never = step.get("prepend_scheme").and_then(Value::as_str) == Some("never");
        strip || (is(step, "Metaspace") && !never)
    })
}

/// The expressions that text is cut at, one after the other, as GGUF's readers
/// write them. `None` for what is no list of expressions.
fn patterns(pre_tokenizer: &Value) -> Option<Vec<String>> {
    // The way to write "in either case" that llama.cpp's regex engine knows.
    const EITHER_CASE: &str = "(?i:'s|'t|'re|'ve|'m|'ll|'d)|";
    const WRITTEN_OUT: &str = "(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])|";
    let mut patterns = Vec::new();
    for step in steps(pre_tokenizer, "pretokenizers") {
        let says = |key: &str, wanted: &Value| step.get(key) == Some(wanted);
        if is(step, "ByteLevel") {
            if !says("add_prefix_space", &false.into()) {
                return None;
            }
            if !says("use_regex", &false.into()) {
                patterns.push(pre::BYTE_LEVEL.into());
            }
        } else if is(step, "Digits") && says("individual_digits", &true.into()) {
            patterns.push(r"\p{N}".into());
        } else if is(step, "Split")
            && says("behavior", &"Isolated".into())
            && !says("invert", &true.into())
        {
            let pattern = step.get("pattern")?.get("Regex")?.as_str()?;
            patterns.push(pattern.replacen(EITHER_CASE, WRITTEN_OUT, 1));
        } else {
            return None;
        }
    }
    Some(patterns)
}

/// The special tokens that the post-processor puts before and after a text.
fn ends_of_template(post_processor: &Value) -> [Option<&str>; 2] {
    let steps = steps(post_processor, "processors");
    let first_of = |ty: &str| steps.iter().find(|step| is(step, ty));
    if let Some(bert) = first_of("BertProcessing") {
        return ["cls", "sep"].map(|end| bert.get(end)?.get(0)?.as_str());
    }
    let template = first_of("TemplateProcessing");
    let single = template.and_then(|step| step.get("single")?.as_array());
    let ends = [
        single.and_then(|s| s.first()),
        single.and_then(|s| s.last()),
    ];
    ends.map(|piece| piece?.get("SpecialToken")?.get("id")?.as_str())
}

/// Texts and types of all tokens, holes filled as llama.cpp's converter does.
fn tokens(
    json: &TokenizerJson,
    spelling: Spelling,
    rows: usize,
) -> Result<(Vec<String>, Vec<TokenType>), String> {
    let mut found: HashMap<TokenId, (&str, TokenType)> = HashMap::new();
    let vocab = json
        .model
        .vocab
        .as_object()
        .ok_or("`model.vocab` is no object")?;
    for (text, id) in vocab {
        let id = id.as_u64().and_then(|id| TokenId::try_from(id).ok());
        let id = id.ok_or_else(|| format!("the id of token `{text}` is no id"))?;
        let ty = match spelling {
            Spelling::Text if json.model.byte_fallback && byte_of(text).is_some() => {
                TokenType::Byte
            }
            _ if json.model.unk_token.as_ref() == Some(text) => TokenType::Unknown,
            _ => TokenType::Normal,
        };
        found.insert(id, (text, ty));
    }
    for token in &json.added_tokens {
        let ty = match token.special || looks_special(&token.content) {
            true if json.model.unk_token.as_ref() == Some(&token.content) => TokenType::Unknown,
            true => TokenType::Control,
            false => TokenType::UserDefined,
        };
        found.insert(token.id, (&token.content, ty));
    }
    let count = found.keys().max().map_or(0, |&last| last as usize + 1);
    if count > rows.max(2 * found.len() + HOLES) {
        return Err(format!(
            "there is an id {} among {} tokens",
            count - 1,
            found.len()
        ));
    }
    let all = 0..count.max(rows);
    Ok(all
        .map(|id| match found.get(&(id as TokenId)) {
            Some(&(text, ty)) => (text.to_owned(), ty),
            None => (format!("[PAD{id}]"), TokenType::Unused),
        })
        .unzip())
}

/// Whether a token is for structure though its file does not say so; the list is
/// that of llama.cpp's converter.
fn looks_special(text: &str) -> bool {
    let between = |start: &str, end: &str| text.starts_with(start) && text.ends_with(end);
    matches!(text, "<pad>" | "<mask>" | "<2mass>" | "[@BOS@]")
        || between("<|", "|>")
        || between("<｜", "｜>")
        || between("<unused", ">")
}
