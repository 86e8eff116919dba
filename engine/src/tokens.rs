//! Token ids and the tokenizer that a model brings along.

/// Index into a model's vocabulary.
pub type TokenId = u32;

/// Text to token ids and back, as the model was trained to see it.
pub trait Tokenizer: Send + Sync {
    /// Ids of `text`, without BOS or EOS; special tokens spelled out in `text`
    /// are read as plain text.
    ///
    /// # Errors
    /// When the text cannot be expressed in the vocabulary.
    fn encode(&self, text: &str) -> Result<Vec<TokenId>, TokenizerError>;

    /// Text of `ids`; bytes that are no UTF-8 become U+FFFD.
    ///
    /// # Errors
    /// When an id is outside the vocabulary.
    fn decode(&self, ids: &[TokenId]) -> Result<String, TokenizerError>;

    /// The bytes that `id` stands for, which need be no UTF-8. Special tokens
    /// stand for their names.
    ///
    /// # Errors
    /// When the id is outside the vocabulary.
    fn token_bytes(&self, id: TokenId) -> Result<&[u8], TokenizerError>;

    /// Beginning-of-sequence token, when the model wants one before any text.
    fn bos(&self) -> Option<TokenId>;

    /// End-of-sequence token.
    fn eos(&self) -> Option<TokenId>;

    /// Token that the model wants after a text that is complete, such as BERT's
    /// `[SEP]`.
    fn closing(&self) -> Option<TokenId> {
        None
    }

    /// Every token by which the model says that it is done: EOS, and what ends a
    /// turn of a chat.
    fn ends(&self) -> Vec<TokenId> {
        self.eos().into_iter().collect()
    }

    /// Like [`encode`](Self::encode), but special tokens spelled out in `text`
    /// become their ids. For chat templates, never for what a user wrote. The
    /// default knows no special tokens.
    ///
    /// # Errors
    /// When the text cannot be expressed in the vocabulary.
    fn encode_with_special(&self, text: &str) -> Result<Vec<TokenId>, TokenizerError> {
        self.encode(text)
    }

    /// How the model wants chats written, if it says so.
    fn chat_template(&self) -> Option<&ChatTemplate> {
        None
    }

    /// SHA-256 (hex) over vocabulary, merges and special tokens: two models
    /// with the same hash can be compared token by token.
    fn sha256(&self) -> &str;
}

/// How a model wants a chat written as one text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChatTemplate {
    /// Jinja source.
    pub source: String,
    /// What BOS is called, whether or not texts begin with it.
    pub bos: Option<String>,
    /// What EOS is called.
    pub eos: Option<String>,
}

/// A text or id that a tokenizer cannot translate.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct TokenizerError(pub String);
