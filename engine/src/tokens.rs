//! Token ids and the tokenizer that a model brings along.

/// Index into a model's vocabulary.
pub type TokenId = u32;

/// Text to token ids and back, as the model was trained to see it.
///
/// `Notes`, here and below:
///
/// ```
#[doc = include_str!("../examples/successor/tokenizer.rs")]
///
/// let notes = Notes::new();
/// assert_eq!(notes.decode(&notes.encode("CEG")?)?, "CEG");
/// # Ok::<(), TokenizerError>(())
/// ```
pub trait Tokenizer: Send + Sync {
    /// Ids of `text`, without BOS or EOS; special tokens spelled out in `text`
    /// are read as plain text.
    ///
    /// # Errors
    /// When the text cannot be expressed in the vocabulary.
    ///
    /// ```
    /// # mod tokenizer { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/examples/successor/tokenizer.rs")); }
    /// use harness_engine::Tokenizer;
    /// use tokenizer::Notes;
    ///
    /// let notes = Notes::new();
    /// assert_eq!(notes.encode("ACE").ok(), Some(vec![0, 2, 4]));
    /// // The bar line has a meaning of its own, which no user's text may have.
    /// assert!(notes.encode("ACE|").is_err());
    /// ```
    fn encode(&self, text: &str) -> Result<Vec<TokenId>, TokenizerError>;

    /// Text of `ids`; bytes that are no UTF-8 become U+FFFD.
    ///
    /// # Errors
    /// When an id is outside the vocabulary.
    ///
    /// ```
    /// # mod tokenizer { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/examples/successor/tokenizer.rs")); }
    /// use harness_engine::Tokenizer;
    /// use tokenizer::Notes;
    ///
    /// let notes = Notes::new();
    /// assert_eq!(notes.decode(&[0, 2, 4, 7]).ok().as_deref(), Some("ACE|"));
    /// assert!(notes.decode(&[8]).is_err());
    /// ```
    fn decode(&self, ids: &[TokenId]) -> Result<String, TokenizerError>;

    /// The bytes that `id` stands for, which need be no UTF-8. Special tokens
    /// stand for their names.
    ///
    /// # Errors
    /// When the id is outside the vocabulary.
    ///
    /// A character may take several tokens, which [`StreamDecoder`](crate::StreamDecoder) puts together:
    ///
    /// ```
    /// # mod tokenizer { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/examples/successor/tokenizer.rs")); }
    /// use harness_engine::{StreamDecoder, Tokenizer};
    /// use tokenizer::Notes;
    ///
    /// let (notes, mut decoder) = (Notes::new(), StreamDecoder::default());
    /// assert_eq!(decoder.push(notes.token_bytes(3)?), "D");
    /// # Ok::<(), harness_engine::TokenizerError>(())
    /// ```
    fn token_bytes(&self, id: TokenId) -> Result<&[u8], TokenizerError>;

    /// Beginning-of-sequence token, when the model wants one before any text.
    ///
    /// ```
    /// # mod tokenizer { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/examples/successor/tokenizer.rs")); }
    /// use harness_engine::Tokenizer;
    /// use tokenizer::Notes;
    ///
    /// /// A prompt as the model was trained to see it.
    /// fn prompt(tokenizer: &dyn Tokenizer, text: &str) -> Result<Vec<u32>, harness_engine::TokenizerError> {
    ///     let mut tokens = Vec::from_iter(tokenizer.bos());
    ///     tokens.extend(tokenizer.encode(text)?);
    ///     Ok(tokens)
    /// }
    ///
    /// // These notes begin with nothing.
    /// assert_eq!(prompt(&Notes::new(), "GG")?, [6, 6]);
    /// # Ok::<(), harness_engine::TokenizerError>(())
    /// ```
    fn bos(&self) -> Option<TokenId>;

    /// End-of-sequence token.
    ///
    /// ```
    /// # mod tokenizer { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/examples/successor/tokenizer.rs")); }
    /// use harness_engine::Tokenizer;
    /// use tokenizer::Notes;
    ///
    /// let notes = Notes::new();
    /// let name = notes.eos().map(|id| notes.decode(&[id])).transpose()?;
    /// assert_eq!(name.as_deref(), Some("|"));
    /// # Ok::<(), harness_engine::TokenizerError>(())
    /// ```
    fn eos(&self) -> Option<TokenId>;

    /// Token that the model wants after a text that is complete, such as BERT's
    /// `[SEP]`.
    fn closing(&self) -> Option<TokenId> {
        None
    }

    /// Every token by which the model says that it is done: EOS, and what ends a
    /// turn of a chat.
    ///
    /// ```
    /// # mod tokenizer { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/examples/successor/tokenizer.rs")); }
    /// use harness_engine::Tokenizer;
    /// use tokenizer::Notes;
    ///
    /// let ends = Notes::new().ends();
    /// let answer = [2, 4, 6, 7, 1];
    /// assert_eq!(answer.iter().position(|id| ends.contains(id)), Some(3));
    /// ```
    fn ends(&self) -> Vec<TokenId> {
        self.eos().into_iter().collect()
    }

    /// Like [`encode`](Self::encode), but special tokens spelled out in `text`
    /// become their ids. For chat templates, never for what a user wrote. The
    /// default knows no special tokens.
    ///
    /// # Errors
    /// When the text cannot be expressed in the vocabulary.
    ///
    /// ```
    /// # mod tokenizer { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/examples/successor/tokenizer.rs")); }
    /// use harness_engine::Tokenizer;
    /// use tokenizer::Notes;
    ///
    /// assert_eq!(Notes::new().encode_with_special("A|B|").ok(), Some(vec![0, 7, 1, 7]));
    /// ```
    fn encode_with_special(&self, text: &str) -> Result<Vec<TokenId>, TokenizerError> {
        self.encode(text)
    }

    /// How the model wants chats written, if it says so.
    fn chat_template(&self) -> Option<&ChatTemplate> {
        None
    }

    /// SHA-256 (hex) over vocabulary, merges and special tokens: two models
    /// with the same hash can be compared token by token.
    ///
    /// ```
    /// # mod tokenizer { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/examples/successor/tokenizer.rs")); }
    /// use harness_engine::Tokenizer;
    /// use tokenizer::Notes;
    ///
    /// let notes = Notes::new();
    /// assert_eq!(notes.sha256(), harness_engine::sha256_hex(b"ABCDEFG|"));
    /// ```
    fn sha256(&self) -> &str;
}

/// How a model wants a chat written as one text.
///
/// ```
/// use harness_engine::ChatTemplate;
///
/// let template = ChatTemplate {
///     source: "{{ bos_token }}[INST] {{ messages[0].content }} [/INST]".into(),
///     bos: Some("<s>".into()),
///     eos: Some("</s>".into()),
/// };
/// let bos = template.bos.as_deref().unwrap_or_default();
/// let text = template.source.replace("{{ bos_token }}", bos);
/// assert_eq!(text, "<s>[INST] {{ messages[0].content }} [/INST]");
/// ```
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
///
/// ```
/// use harness_engine::{EngineError, TokenId, TokenizerError};
///
/// // Whoever hands a text to an engine makes it the caller's fault.
/// let encoded: Result<TokenId, _> = Err(TokenizerError("no token for U+1F600".into()));
/// let error = encoded.map_err(|why| EngineError::invalid("the prompt cannot be read").caused_by(why));
/// assert!(error.is_err_and(|error| std::error::Error::source(&error).is_some()));
/// ```
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct TokenizerError(pub String);
