//! Tokenizers: built from GGUF metadata ([`GgufTokenizer`]) or from a Hugging
//! Face `tokenizer.json` ([`HfTokenizer`]).
//!
//! Byte-pair merging is the [`tokenizers`] crate's; what GGUF leaves to the
//! reader stands here: which expression cuts text into words
//! (`tokenizer.ggml.pre`), how merges follow from a SentencePiece model's
//! scores, which tokens are special. llama.cpp's own test vectors are the
//! oracle (`tests/llama_cpp_vocab.rs`).
//!
//! | `tokenizer.ggml.model` | algorithm | models |
//! |---|---|---|
//! | `gpt2` | byte-level BPE | GPT-2, Llama 3, SmolLM, Qwen, Phi-2, Mistral (tekken) … |
//! | `llama` | SentencePiece BPE with scores and byte fallback | Llama 1/2, TinyLlama, Mistral, Gemma 1–3, Phi-3 |
//! | `gemma4` | BPE over text with byte fallback | Gemma 4 |
//!
//! Ids equal llama.cpp's but where it departs from the file or the model: it
//! goes by the names of some tokens (`</s>`, `<|endoftext|>` …) rather than by
//! their types, drops text that the vocabulary cannot express (here that is an
//! error), and approximates some expressions (see `pre.rs`).

mod atoms;
mod build;
mod byte_level;
mod ends;
mod error;
mod hash;
mod hf;
mod hf_files;
mod merges;
mod pre;
mod vocabulary;

use engine::{ChatTemplate, TokenId, Tokenizer, TokenizerError};
use tokenizers::Model;
use tokenizers::models::bpe::BPE;
use tokenizers::utils::SysRegex;

use atoms::{Atoms, Fragment};
use vocabulary::Vocabulary;

pub use error::TokenizerBuildError;
pub use hf::HfTokenizer;
pub use vocabulary::TokenType;

use crate::gguf::Metadata;
use crate::source::Source;

/// SentencePiece's visible space.
const SPACE: &str = "▁";

/// The tokenizer that comes with the model.
///
/// # Errors
/// [`TokenizerBuildError`] when the model brings none, or none that can be built.
///
/// ```
/// use engine::ModelArtifact;
/// use harness_reference::{Source, tokenizer};
///
/// let model = ModelArtifact::embedded(fixtures::MODEL_NAME, fixtures::MODEL);
/// let source = Source::open(&model)?;
/// let tokenizer = tokenizer::open(&source)?;
/// let ids = tokenizer.encode("Catherine was")?;
/// assert_eq!(tokenizer.decode(&ids)?, "Catherine was");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn open(source: &Source) -> Result<Box<dyn Tokenizer>, TokenizerBuildError> {
    Ok(match source.folder() {
        None => Box::new(GgufTokenizer::from_metadata(source.metadata())?),
        Some(folder) => Box::new(HfTokenizer::open(folder.path(), embedding_rows(source))?),
    })
}

/// What a GGUF file says of the tokenizer that comes with the model: `None` for
/// a folder whose tokenizer GGUF has no name for.
///
/// # Errors
/// [`TokenizerBuildError`] when a folder brings no tokenizer, or a malformed one.
///
/// ```
/// use engine::ModelArtifact;
/// use harness_reference::{Source, tokenizer};
///
/// let model = ModelArtifact::embedded(fixtures::MODEL_NAME, fixtures::MODEL);
/// let source = Source::open(&model)?;
/// let own = tokenizer::metadata(&source)?.ok_or("no name for it")?;
/// assert_eq!(own.get::<&str>("tokenizer.ggml.model")?, "gpt2");
/// assert!(own.value("general.architecture").is_none());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn metadata(source: &Source) -> Result<Option<Metadata>, TokenizerBuildError> {
    match source.folder() {
        None => {
            let keys = source.metadata().iter();
            let mut own = Metadata::new();
            for (key, value) in keys.filter(|(key, _)| key.starts_with("tokenizer.")) {
                own.set(key, value.clone());
            }
            Ok(Some(own))
        }
        Some(folder) => {
            let files = hf_files::Files::read(folder.path(), embedding_rows(source))?;
            Ok(files.metadata())
        }
    }
}

/// Ids that the model has rows for, where that is known.
fn embedding_rows(source: &Source) -> usize {
    let embedding = source.entry("token_embd.weight");
    let rows = embedding.and_then(|entry| entry.shape.first());
    rows.copied().unwrap_or(0)
}

/// A model's tokenizer.
///
/// ```
/// use engine::Tokenizer;
/// use harness_reference::gguf::Header;
/// use harness_reference::tokenizer::GgufTokenizer;
///
/// let header = Header::parse(fixtures::MODEL)?;
/// let tokenizer = GgufTokenizer::from_metadata(header.metadata())?;
/// // Special tokens are text unless asked for.
/// assert!(tokenizer.encode("<|end_of_text|>")?.len() > 1);
/// assert_eq!(tokenizer.encode_with_special("<|end_of_text|>")?, [1]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct GgufTokenizer {
    vocabulary: Vocabulary,
    bpe: BPE,
    cut: Cut,
    /// Tokens that text is cut at wherever they appear.
    user_defined: Atoms,
    /// The same and special tokens.
    special: Atoms,
    bos: Option<TokenId>,
    eos: Option<TokenId>,
    /// Every token that ends a text or a turn.
    ends: Vec<TokenId>,
    chat_template: Option<ChatTemplate>,
    sha256: String,
}

/// What merges work on.
#[derive(Debug)]
enum Cut {
    /// A text as a whole, `▁` for spaces, with one more in front if so wished.
    Nowhere { add_space_prefix: bool },
    /// Words, their bytes written in GPT-2's alphabet.
    Bytes(Vec<SysRegex>),
    /// Words, `▁` for spaces.
    Text(Vec<SysRegex>),
}

impl GgufTokenizer {
    /// What `id` is for.
    ///
    /// # Errors
    /// When the id is outside the vocabulary.
    ///
    /// ```
    /// use harness_reference::gguf::Header;
    /// use harness_reference::tokenizer::{GgufTokenizer, TokenType};
    ///
    /// let header = Header::parse(fixtures::MODEL)?;
    /// let tokenizer = GgufTokenizer::from_metadata(header.metadata())?;
    /// assert_eq!(tokenizer.token_type(0)?, TokenType::Control);
    /// assert!(tokenizer.token_type(4096).is_err());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn token_type(&self, id: TokenId) -> Result<TokenType, TokenizerError> {
        self.vocabulary.type_of(id)
    }

    /// Number of tokens.
    ///
    /// ```
    /// use engine::Tokenizer;
    /// use harness_reference::gguf::Header;
    /// use harness_reference::tokenizer::GgufTokenizer;
    ///
    /// let header = Header::parse(fixtures::MODEL)?;
    /// let tokenizer = GgufTokenizer::from_metadata(header.metadata())?;
    /// let last = tokenizer.vocabulary_size() as u32 - 1;
    /// assert!(tokenizer.token_bytes(last).is_ok());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn vocabulary_size(&self) -> usize {
        self.vocabulary.len()
    }

    fn encode_around(&self, atoms: &Atoms, text: &str) -> Result<Vec<TokenId>, TokenizerError> {
        let mut ids = Vec::new();
        let mut after_atom = true;
        for fragment in atoms.split(text) {
            match fragment {
                Fragment::Atom(id) => ids.push(id),
                Fragment::Text(text) => self.encode_text(text, after_atom, &mut ids)?,
            }
            after_atom = matches!(fragment, Fragment::Atom(_));
        }
        Ok(ids)
    }

    /// `first` says that no text but at most an atom stands before.
    fn encode_text(
        &self,
        text: &str,
        first: bool,
        ids: &mut Vec<TokenId>,
    ) -> Result<(), TokenizerError> {
        match &self.cut {
            Cut::Nowhere { add_space_prefix } => {
                let prefix = if *add_space_prefix && first {
                    SPACE
                } else {
                    ""
                };
                self.merge(&[prefix, &text.replace(' ', SPACE)].concat(), ids)
            }
            Cut::Bytes(patterns) => words(patterns, text)
                .into_iter()
                .try_for_each(|word| self.merge(&byte_level::encode(word), ids)),
            Cut::Text(patterns) => {
                words(patterns, &text.replace(' ', SPACE))
                    .into_iter()
                    .try_for_each(|word| {
                        // Lines of newlines are tokens that no merge leads to.
                        let newlines = word.bytes().all(|byte| byte == b'\n');
                        match self.vocabulary.id(word).filter(|_| newlines) {
                            Some(id) => ids.push(id),
                            None => self.merge(word, ids)?,
                        }
                        Ok(())
                    })
            }
        }
    }

    fn merge(&self, word: &str, ids: &mut Vec<TokenId>) -> Result<(), TokenizerError> {
        let tokens = self
            .bpe
            .tokenize(word)
            .map_err(|error| TokenizerError(format!("cannot tokenize `{word}`: {error}")))?;
        // The crate drops characters that it has no token for.
        let covered: usize = tokens
            .iter()
            .map(|token| token.offsets.1 - token.offsets.0)
            .sum();
        if covered != word.len() {
            return Err(self.uncovered(word));
        }
        ids.extend(tokens.iter().map(|token| token.id));
        Ok(())
    }

    fn uncovered(&self, word: &str) -> TokenizerError {
        let has_token = |c: &char| self.vocabulary.id(c.encode_utf8(&mut [0; 4])).is_some();
        let missing = word
            .chars()
            .find(|c| !has_token(c))
            .unwrap_or_default()
            .to_string();
        TokenizerError(match (&self.cut, byte_level::decode(&missing).as_deref()) {
            (Cut::Bytes(_), Some([byte])) => {
                format!("the vocabulary has no token for byte {byte:#04x}")
            }
            _ => format!("the vocabulary has no token for `{missing}`"),
        })
    }
}

impl Tokenizer for GgufTokenizer {
    fn encode(&self, text: &str) -> Result<Vec<TokenId>, TokenizerError> {
        self.encode_around(&self.user_defined, text)
    }

    /// Leaves out the space that [`encode`](Tokenizer::encode) put in front.
    fn decode(&self, ids: &[TokenId]) -> Result<String, TokenizerError> {
        let spaced = matches!(
            self.cut,
            Cut::Nowhere {
                add_space_prefix: true
            }
        );
        self.vocabulary.decode(ids, spaced)
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

    fn ends(&self) -> Vec<TokenId> {
        self.ends.clone()
    }

    fn encode_with_special(&self, text: &str) -> Result<Vec<TokenId>, TokenizerError> {
        self.encode_around(&self.special, text)
    }

    fn chat_template(&self) -> Option<&ChatTemplate> {
        self.chat_template.as_ref()
    }

    fn sha256(&self) -> &str {
        &self.sha256
    }
}

/// Cuts `text` with each pattern in turn.
fn words<'t>(patterns: &[SysRegex], text: &'t str) -> Vec<&'t str> {
    let mut pieces = vec![text];
    for pattern in patterns {
        let mut finer = Vec::with_capacity(pieces.len());
        for piece in pieces {
            let mut rest = 0;
            for (start, end) in pattern.find_iter(piece) {
                finer.extend([&piece[rest..start], &piece[start..end]]);
                rest = end;
            }
            finer.push(&piece[rest..]);
        }
        finer.retain(|piece| !piece.is_empty());
        pieces = finer;
    }
    pieces
}
