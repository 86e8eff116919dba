//! Tokenizers from a Hugging Face `tokenizer.json`.

use std::path::Path;

use engine::{ChatTemplate, TokenId, Tokenizer, TokenizerError};
use tokenizers::tokenizer::{OffsetType, PreTokenizedString};
use tokenizers::{AddedVocabulary, Model as _, PreTokenizer as _};

use super::ends;
use super::hf_files::Files;
use super::vocabulary::Vocabulary;
use super::{TokenType, TokenizerBuildError};

/// The tokenizer of a model folder.
///
/// The tokenizers crate does what the file says: normalization, cutting, merging.
/// Where the crate would drop text that the vocabulary cannot express, or put a
/// token for the unknown in its place, this is an error, but for WordPiece, whose
/// models were trained with such tokens.
///
/// ```
/// use std::path::Path;
///
/// use engine::Tokenizer;
/// use harness_reference::tokenizer::HfTokenizer;
///
/// let tokenizer = HfTokenizer::open(Path::new("../fixtures/training"), 0)?;
/// let ids = tokenizer.encode("it was")?;
/// assert_eq!(tokenizer.token_bytes(ids[1])?, b" was");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct HfTokenizer {
    tokenizer: tokenizers::Tokenizer,
    /// Added tokens, of which the special ones are not looked for in a text.
    plain: AddedVocabulary,
    vocabulary: Vocabulary,
    unknown: Option<TokenId>,
    strips_space: bool,
    bos: Option<TokenId>,
    eos: Option<TokenId>,
    closing: Option<TokenId>,
    ends: Vec<TokenId>,
    chat_template: Option<ChatTemplate>,
    sha256: String,
}

impl HfTokenizer {
    /// Reads `tokenizer.json` in `folder`, and `tokenizer_config.json`,
    /// `config.json` and `generation_config.json` for the tokens that begin and
    /// end a text. The vocabulary has at least `rows` ids, those that stand for
    /// nothing included.
    ///
    /// # Errors
    /// [`TokenizerBuildError`] when the file is missing, malformed, or of an
    /// algorithm other than byte-pair encoding and WordPiece.
    ///
    /// ```
    /// use std::path::Path;
    ///
    /// use harness_reference::tokenizer::{HfTokenizer, TokenType};
    ///
    /// // An embedding with more rows than there are tokens.
    /// let tokenizer = HfTokenizer::open(Path::new("../fixtures/training"), 4100)?;
    /// assert_eq!(tokenizer.vocabulary_size(), 4100);
    /// assert_eq!(tokenizer.token_type(4099)?, TokenType::Unused);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn open(folder: &Path, rows: usize) -> Result<Self, TokenizerBuildError> {
        Self::from_files(&Files::read(folder, rows)?)
    }

    fn from_files(files: &Files) -> Result<Self, TokenizerBuildError> {
        let tokenizer =
            tokenizers::Tokenizer::from_bytes(&files.text).map_err(TokenizerBuildError::Refused)?;
        let mut plain = tokenizer.get_added_vocabulary().clone();
        plain.set_encode_special_tokens(true);
        let mut vocabulary = files.vocabulary()?;
        // Added tokens that are looked for in normalized text are normalized
        // themselves, and take in what that put around them.
        for (&id, token) in plain.get_added_tokens_decoder() {
            if vocabulary.id(&token.content) != Some(id) {
                return Err(TokenizerBuildError::File {
                    path: files.path.clone(),
                    why: format!(
                        "added token `{}` cannot have the id it is given; by its place it has {id}",
                        token.content
                    ),
                });
            }
            if let Some(text) = plain.simple_id_to_token(id).filter(|_| token.normalized) {
                vocabulary.respell(id, &text, files.spelling);
            }
        }
        Ok(Self {
            sha256: files.sha256(&vocabulary)?,
            unknown: files.unknown,
            strips_space: files.strips_space,
            bos: files.leading(),
            eos: files.eos,
            closing: files.closing,
            ends: ends::of(&vocabulary, files.ends.iter().copied()),
            chat_template: files.chat_template.clone(),
            tokenizer,
            plain,
            vocabulary,
        })
    }

    /// What `id` is for.
    ///
    /// # Errors
    /// When the id is outside the vocabulary.
    ///
    /// ```
    /// use std::path::Path;
    ///
    /// use engine::Tokenizer;
    /// use harness_reference::tokenizer::{HfTokenizer, TokenType};
    ///
    /// let tokenizer = HfTokenizer::open(Path::new("../fixtures/training"), 0)?;
    /// let ends = tokenizer.encode_with_special("<|end_of_text|>")?;
    /// assert_eq!(tokenizer.token_type(ends[0])?, TokenType::Control);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn token_type(&self, id: TokenId) -> Result<TokenType, TokenizerError> {
        self.vocabulary.type_of(id)
    }

    /// Number of tokens.
    ///
    /// ```
    /// use std::path::Path;
    ///
    /// use engine::Tokenizer;
    /// use harness_reference::tokenizer::HfTokenizer;
    ///
    /// let tokenizer = HfTokenizer::open(Path::new("../fixtures/training"), 0)?;
    /// let beyond = tokenizer.vocabulary_size() as u32;
    /// assert!(tokenizer.token_bytes(beyond).is_err());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn vocabulary_size(&self) -> usize {
        self.vocabulary.len()
    }

    /// The steps of `tokenizers::Tokenizer::encode`, with an eye on what becomes
    /// of each piece of the text.
    fn encode_around(
        &self,
        added: &AddedVocabulary,
        text: &str,
    ) -> Result<Vec<TokenId>, TokenizerError> {
        let encoded = || -> tokenizers::Result<Vec<TokenId>> {
            let mut pieces: PreTokenizedString =
                added.extract_and_normalize(self.tokenizer.get_normalizer(), text);
            if let Some(cut) = self.tokenizer.get_pre_tokenizer() {
                cut.pre_tokenize(&mut pieces)?;
            }
            pieces.tokenize(|piece| {
                let piece = piece.get();
                let tokens = self.tokenizer.get_model().tokenize(piece)?;
                let covered: usize = tokens
                    .iter()
                    .map(|token| token.offsets.1 - token.offsets.0)
                    .sum();
                let unknown = tokens.iter().any(|token| Some(token.id) == self.unknown);
                if covered != piece.len() || unknown {
                    return Err(format!("the vocabulary has no tokens for `{piece}`").into());
                }
                Ok(tokens)
            })?;
            let encoding = pieces.into_encoding(None, 0, OffsetType::None)?;
            Ok(encoding.get_ids().to_vec())
        };
        encoded().map_err(|error| TokenizerError(error.to_string()))
    }
}

impl Tokenizer for HfTokenizer {
    fn encode(&self, text: &str) -> Result<Vec<TokenId>, TokenizerError> {
        self.encode_around(&self.plain, text)
    }

    /// Leaves out the space that [`encode`](Tokenizer::encode) put in front.
    fn decode(&self, ids: &[TokenId]) -> Result<String, TokenizerError> {
        self.vocabulary.decode(ids, self.strips_space)
    }

    fn token_bytes(&self, id: TokenId) -> Result<&[u8], TokenizerError> {
        self.vocabulary.bytes_of(id)
    }

    fn bos(&self) -> Option<TokenId> {
        self.bos
    }

    fn eos(&self) -> Option<TokenId> {
        self.eos
    }

    fn closing(&self) -> Option<TokenId> {
        self.closing
    }

    fn ends(&self) -> Vec<TokenId> {
        self.ends.clone()
    }

    fn encode_with_special(&self, text: &str) -> Result<Vec<TokenId>, TokenizerError> {
        self.encode_around(self.tokenizer.get_added_vocabulary(), text)
    }

    fn chat_template(&self) -> Option<&ChatTemplate> {
        self.chat_template.as_ref()
    }

    fn sha256(&self) -> &str {
        &self.sha256
    }
}
