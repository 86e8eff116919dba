//! Tokens, their types and the bytes they stand for.

use std::collections::HashMap;

use engine::{TokenId, TokenizerError};

use super::{TokenizerBuildError, byte_level};
use crate::gguf::Metadata;

pub(super) const TOKENS: &str = "tokenizer.ggml.tokens";
pub(super) const TYPES: &str = "tokenizer.ggml.token_type";
pub(super) const SCORES: &str = "tokenizer.ggml.scores";

/// What a token is for, as GGUF tells.
///
/// ```
/// use harness_reference::gguf::Metadata;
/// use harness_reference::tokenizer::{GgufTokenizer, TokenType};
///
/// let mut metadata = Metadata::new();
/// metadata.set("tokenizer.ggml.model", "llama");
/// metadata.set("tokenizer.ggml.tokens", ["<s>", "a", "<0xE9>"].map(String::from).to_vec());
/// metadata.set("tokenizer.ggml.scores", vec![0f32; 3]);
/// metadata.set("tokenizer.ggml.token_type", vec![3i32, 1, 6]);
/// let tokenizer = GgufTokenizer::from_metadata(&metadata)?;
/// assert_eq!(tokenizer.token_type(0)?, TokenType::Control);
/// assert_eq!(tokenizer.token_type(2)?, TokenType::Byte);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TokenType {
    /// The file does not say.
    Undefined,
    /// A piece of text.
    Normal,
    /// Stands for text outside the vocabulary.
    Unknown,
    /// Marks structure, such as the beginning of a text or of a turn.
    Control,
    /// A piece of text that is never cut or merged.
    UserDefined,
    /// Takes room in the vocabulary.
    Unused,
    /// One byte of text that no other token covers.
    Byte,
}

impl TokenType {
    fn from_id(id: i32) -> Option<Self> {
        use TokenType::*;
        let types = [
            Undefined,
            Normal,
            Unknown,
            Control,
            UserDefined,
            Unused,
            Byte,
        ];
        types.get(usize::try_from(id).ok()?).copied()
    }
}

/// How tokens spell bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Spelling {
    /// One character of GPT-2's alphabet per byte.
    ByteLevel,
    /// UTF-8 with `▁` for spaces, and byte tokens `<0x00>` to `<0xFF>`.
    Text,
    /// Words, each with a space in front, and after `##` what goes on with one.
    WordPiece,
}

impl Spelling {
    /// The bytes that a token reading `text` stands for.
    fn bytes(self, text: &str) -> Vec<u8> {
        match self {
            Spelling::Text => text.replace(super::SPACE, " ").into_bytes(),
            Spelling::ByteLevel => {
                byte_level::decode(text).unwrap_or_else(|| text.as_bytes().to_vec())
            }
            Spelling::WordPiece => match text.strip_prefix("##") {
                Some(rest) => rest.as_bytes().to_vec(),
                None => format!(" {text}").into_bytes(),
            },
        }
    }
}

#[derive(Debug)]
pub(super) struct Vocabulary {
    pub(super) tokens: Vec<String>,
    pub(super) types: Vec<TokenType>,
    /// Empty when the file has none.
    pub(super) scores: Vec<f32>,
    /// What each token decodes to.
    pub(super) bytes: Vec<Box<[u8]>>,
    ids: HashMap<String, TokenId>,
}

impl Vocabulary {
    pub(super) fn read(
        metadata: &Metadata,
        spelling: Spelling,
    ) -> Result<Self, TokenizerBuildError> {
        let tokens = metadata.get::<&[String]>(TOKENS)?.to_vec();
        countable(&tokens)?;
        let scores = match metadata.find::<&[f32]>(SCORES)? {
            Some(scores) => per_token(SCORES, scores.to_vec(), &tokens)?,
            None => Vec::new(),
        };
        let types = match metadata.find::<Vec<i32>>(TYPES)? {
            Some(types) => read_types(&per_token(TYPES, types, &tokens)?)?,
            None => tokens
                .iter()
                .map(|token| guess_type(token, spelling))
                .collect(),
        };
        Self::new(tokens, types, scores, spelling)
    }

    /// A vocabulary with one type for each token.
    pub(super) fn new(
        tokens: Vec<String>,
        types: Vec<TokenType>,
        scores: Vec<f32>,
        spelling: Spelling,
    ) -> Result<Self, TokenizerBuildError> {
        countable(&tokens)?;
        let ids = index(&tokens)?;
        let bytes = tokens
            .iter()
            .zip(&types)
            .enumerate()
            .map(|(id, (text, &ty))| token_bytes(id, text, ty, spelling))
            .collect::<Result<_, _>>()?;
        Ok(Self {
            tokens,
            types,
            scores,
            bytes,
            ids,
        })
    }

    pub(super) fn len(&self) -> usize {
        self.tokens.len()
    }

    pub(super) fn id(&self, token: &str) -> Option<TokenId> {
        self.ids.get(token).copied()
    }

    /// The bytes that `id` stands for.
    pub(super) fn bytes_of(&self, id: TokenId) -> Result<&[u8], TokenizerError> {
        let bytes = self.bytes.get(id as usize);
        bytes.map(|bytes| &**bytes).ok_or_else(|| self.lacks(id))
    }

    pub(super) fn type_of(&self, id: TokenId) -> Result<TokenType, TokenizerError> {
        let ty = self.types.get(id as usize);
        ty.copied().ok_or_else(|| self.lacks(id))
    }

    /// Lets `id`, whatever its name, stand for what `text` spells.
    pub(super) fn respell(&mut self, id: TokenId, text: &str, spelling: Spelling) {
        if let Some(own) = self.bytes.get_mut(id as usize) {
            *own = spelling.bytes(text).into();
        }
    }

    /// The text of `ids`, less one leading space if `spaced`.
    pub(super) fn decode(&self, ids: &[TokenId], spaced: bool) -> Result<String, TokenizerError> {
        let mut bytes = Vec::new();
        for &id in ids {
            bytes.extend_from_slice(self.bytes_of(id)?);
        }
        let own = bytes.strip_prefix(b" ").filter(|_| spaced);
        Ok(String::from_utf8_lossy(own.unwrap_or(&bytes)).into_owned())
    }

    fn lacks(&self, id: TokenId) -> TokenizerError {
        TokenizerError(format!(
            "token {id} is outside the vocabulary of {}",
            self.len()
        ))
    }

    /// Tokens of the types that `wanted` lets through, with their ids.
    pub(super) fn of_type(
        &self,
        wanted: impl Fn(TokenType) -> bool,
    ) -> impl Iterator<Item = (&str, TokenId)> {
        // Empty tokens fill holes in the vocabulary; no text has them.
        let named = self.ids.iter().map(|(text, &id)| (text.as_str(), id));
        named.filter(move |&(_, id)| wanted(self.types[id as usize]))
    }
}

fn countable(tokens: &[String]) -> Result<(), TokenizerBuildError> {
    match TokenId::try_from(tokens.len()) {
        Ok(1..) => Ok(()),
        _ => Err(TokenizerBuildError::Size(tokens.len())),
    }
}

fn per_token<T>(
    key: &'static str,
    items: Vec<T>,
    tokens: &[String],
) -> Result<Vec<T>, TokenizerBuildError> {
    if items.len() == tokens.len() {
        return Ok(items);
    }
    Err(TokenizerBuildError::Length {
        key,
        found: items.len(),
        tokens: tokens.len(),
    })
}

fn read_types(ids: &[i32]) -> Result<Vec<TokenType>, TokenizerBuildError> {
    let read = |(id, &found)| {
        TokenType::from_id(found).ok_or(TokenizerBuildError::TokenType { id, found })
    };
    ids.iter().enumerate().map(read).collect()
}

fn guess_type(token: &str, spelling: Spelling) -> TokenType {
    match spelling {
        Spelling::Text if byte_of(token).is_some() => TokenType::Byte,
        _ => TokenType::Normal,
    }
}

fn index(tokens: &[String]) -> Result<HashMap<String, TokenId>, TokenizerBuildError> {
    let mut ids = HashMap::with_capacity(tokens.len());
    for (second, text) in tokens
        .iter()
        .enumerate()
        .filter(|(_, text)| !text.is_empty())
    {
        if let Some(first) = ids.insert(text.clone(), second as TokenId) {
            return Err(TokenizerBuildError::Duplicate {
                text: text.clone(),
                first: first as usize,
                second,
            });
        }
    }
    Ok(ids)
}

fn token_bytes(
    id: usize,
    text: &str,
    ty: TokenType,
    spelling: Spelling,
) -> Result<Box<[u8]>, TokenizerBuildError> {
    let bytes = match (ty, spelling) {
        // In the place of a word, hence with a word's space.
        (TokenType::Unknown, Spelling::WordPiece) => spelling.bytes(text),
        (TokenType::Control | TokenType::Unknown, _) => text.as_bytes().to_vec(),
        (TokenType::Byte, _) => match byte_of(text) {
            Some(byte) => vec![byte],
            None => {
                return Err(TokenizerBuildError::Byte {
                    id,
                    text: text.into(),
                });
            }
        },
        // Added tokens are stored as they read.
        (TokenType::UserDefined, Spelling::ByteLevel) => text.as_bytes().to_vec(),
        _ => spelling.bytes(text),
    };
    Ok(bytes.into())
}

/// The byte that `<0xNN>` names.
pub(super) fn byte_of(token: &str) -> Option<u8> {
    let hex = token.strip_prefix("<0x")?.strip_suffix('>')?;
    let digits = hex.len() == 2 && hex.bytes().all(|c| c.is_ascii_hexdigit());
    digits.then(|| u8::from_str_radix(hex, 16).ok()).flatten()
}
