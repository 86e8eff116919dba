//! Why no tokenizer can be built from what a model brings along.

use std::io;
use std::path::PathBuf;

use crate::gguf::MetadataError;

/// Metadata or files from which no tokenizer can be built.
///
/// ```
/// use harness_reference::gguf::Metadata;
/// use harness_reference::tokenizer::{GgufTokenizer, TokenizerBuildError};
///
/// let mut metadata = Metadata::new();
/// metadata.set("tokenizer.ggml.model", "t5");
/// let unigram = GgufTokenizer::from_metadata(&metadata);
/// assert!(matches!(unigram, Err(TokenizerBuildError::Model { .. })));
/// ```
#[derive(Debug, thiserror::Error)]
pub enum TokenizerBuildError {
    /// A key is missing or of the wrong type.
    #[error(transparent)]
    Metadata(#[from] MetadataError),
    /// `tokenizer.ggml.model` names an algorithm that is not implemented.
    #[error("tokenizer model `{found}` is not supported; supported: {known}")]
    Model {
        /// What the file asks for.
        found: String,
        /// What there is.
        known: &'static str,
    },
    /// `tokenizer.ggml.pre` names an unknown way to split text into words.
    #[error("pre-tokenizer `{found}` is not supported; supported: {known}")]
    PreTokenizer {
        /// What the file asks for.
        found: String,
        /// What there is.
        known: String,
    },
    /// The vocabulary has no token, or more than ids can count.
    #[error("the vocabulary has {0} tokens")]
    Size(usize),
    /// An array should have one element per token.
    #[error("metadata key `{key}` has {found} elements for {tokens} tokens")]
    Length {
        /// Key of the array.
        key: &'static str,
        /// Its length.
        found: usize,
        /// Number of tokens.
        tokens: usize,
    },
    /// A token that stands twice in the vocabulary.
    #[error("tokens {first} and {second} are both `{text}`")]
    Duplicate {
        /// The token.
        text: String,
        /// Its first id.
        first: usize,
        /// Its second id.
        second: usize,
    },
    /// A token type that GGUF does not define.
    #[error("token {id} is of type {found}; types are 0 to 6")]
    TokenType {
        /// Which token.
        id: usize,
        /// Its type.
        found: i32,
    },
    /// A byte token that names no byte.
    #[error("token {id} is a byte token but reads `{text}`; these read `<0x00>` to `<0xFF>`")]
    Byte {
        /// Which token.
        id: usize,
        /// What it reads.
        text: String,
    },
    /// A merge that is not two tokens that together are a third.
    #[error("merge {index}, `{merge}`: {why}")]
    Merge {
        /// Which merge.
        index: usize,
        /// What it reads.
        merge: String,
        /// What is wrong with it.
        why: String,
    },
    /// A special token outside the vocabulary.
    #[error("metadata key `{key}` is {id}, but the vocabulary ends at {tokens}")]
    SpecialToken {
        /// Which key.
        key: &'static str,
        /// The id it gives.
        id: u32,
        /// Number of tokens.
        tokens: usize,
    },
    /// A file of a folder cannot be read.
    #[error("cannot read {path}: {source}")]
    Io {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file of a folder says something that no tokenizer can be built from.
    #[error("{path}: {why}")]
    File {
        /// Which file.
        path: PathBuf,
        /// What is wrong, or not supported.
        why: String,
    },
    /// The tokenizers crate refused what passed the checks above.
    #[error("the tokenizers crate refuses this vocabulary: {0}")]
    Refused(Box<dyn std::error::Error + Send + Sync>),
}
