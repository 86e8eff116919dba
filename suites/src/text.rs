//! Windows of tokens cut from a text.

use std::borrow::Cow;
use std::fs;
use std::path::PathBuf;

use engine::{TokenId, Tokenizer, TokenizerError};

/// Equally long token windows, spread evenly over a text.
///
/// Where the model wants a BOS token, each window begins with one, so that
/// every position sees the kind of context the model was trained on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Windows {
    length: usize,
    tokens: Vec<TokenId>,
}

/// A text that cannot be used.
///
/// ```
/// use harness_suites::TextError;
///
/// let error = TextError::TooShort { tokens: 100, window: 512 };
/// assert!(error.to_string().ends_with("use a longer text or a smaller ctx"));
/// ```
#[derive(Debug, thiserror::Error)]
pub enum TextError {
    /// The file cannot be read.
    #[error("cannot read text {path}: {source}")]
    Io {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file is not UTF-8.
    #[error("text {path} is not UTF-8: byte {offset} begins no character")]
    NotUtf8 {
        /// Which file.
        path: PathBuf,
        /// First offending byte.
        offset: usize,
    },
    /// The tokenizer refuses it.
    #[error("cannot tokenize the text: {0}")]
    Tokenizer(#[from] TokenizerError),
    /// It is shorter than one window.
    #[error(
        "the text has {tokens} tokens, fewer than one window of {window}; use a longer text or a smaller ctx"
    )]
    TooShort {
        /// Tokens in the text.
        tokens: usize,
        /// Tokens a window takes from it.
        window: usize,
    },
    /// A line of the file cannot be used.
    #[error("text {path}, line {line}: {why}")]
    Line {
        /// Which file.
        path: PathBuf,
        /// Which line, from one.
        line: usize,
        /// What is wrong with it.
        why: String,
    },
    /// The file has too few texts.
    #[error("text {path} has {texts} texts; {needed} are needed")]
    TooFewTexts {
        /// Which file.
        path: PathBuf,
        /// How many it has.
        texts: usize,
        /// The fewest that would do.
        needed: usize,
    },
    /// A file is unusable for one of the reasons above.
    #[error("text {path}: {why}")]
    File {
        /// Which file.
        path: PathBuf,
        /// Why.
        why: Box<TextError>,
    },
}

impl TextError {
    /// The same error with the name of the file it is about, unless it has one.
    /// An empty `path` stands for the embedded text.
    pub(crate) fn in_file(self, path: &str) -> Self {
        match self {
            Self::Tokenizer(_) | Self::TooShort { .. } if !path.is_empty() => Self::File {
                path: path.into(),
                why: Box::new(self),
            },
            named => named,
        }
    }
}

impl Windows {
    /// Cuts at most `count` windows of `length` tokens (at least 2) from
    /// `text`; fewer when the text ends first, never overlapping ones.
    ///
    /// # Errors
    /// [`TextError::TooShort`] when there is not even one,
    /// [`TextError::Tokenizer`].
    pub(crate) fn cut(
        text: &str,
        tokenizer: &dyn Tokenizer,
        count: usize,
        length: usize,
    ) -> Result<Self, TextError> {
        let ids = tokenizer.encode(text)?;
        let bos = tokenizer.bos();
        let taken = length - usize::from(bos.is_some());
        let count = count.min(ids.len() / taken);
        if count == 0 {
            return Err(TextError::TooShort {
                tokens: ids.len(),
                window: taken,
            });
        }
        let mut tokens = Vec::with_capacity(count * length);
        let spare = ids.len() - count * taken;
        for window in 0..count {
            let start = window * taken + spare * window / count;
            tokens.extend(bos);
            tokens.extend_from_slice(&ids[start..start + taken]);
        }
        Ok(Self { length, tokens })
    }

    /// Tokens in a window.
    #[must_use]
    pub(crate) fn length(&self) -> usize {
        self.length
    }

    /// Number of windows.
    #[must_use]
    pub(crate) fn count(&self) -> usize {
        self.tokens.len() / self.length
    }

    /// The windows in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &[TokenId]> {
        self.tokens.chunks(self.length)
    }

    /// The first window; there always is one.
    #[must_use]
    pub(crate) fn first(&self) -> &[TokenId] {
        &self.tokens[..self.length]
    }

    /// All tokens, window after window.
    #[must_use]
    pub(crate) fn tokens(&self) -> &[TokenId] {
        &self.tokens
    }
}

/// Most tokens that a setting may ask for, beyond the context of any model.
pub(crate) const MOST_TOKENS: usize = 1 << 24;

/// `length` tokens of `text`, after BOS where the model wants one; a text that is too
/// short is read again from its start. For suites that ask what tokens cost, not what they say.
///
/// # Errors
/// [`TextError::TooShort`] for an empty text, [`TextError::Tokenizer`].
pub(crate) fn stream(
    text: &str,
    tokenizer: &dyn Tokenizer,
    length: usize,
) -> Result<Vec<TokenId>, TextError> {
    let ids = tokenizer.encode(text)?;
    if ids.is_empty() {
        return Err(TextError::TooShort {
            tokens: 0,
            window: 1,
        });
    }
    let tokens = tokenizer.bos().into_iter().chain(ids.into_iter().cycle());
    Ok(tokens.take(length).collect())
}

/// The text in the file `path`, or `default` where `path` is empty.
pub(crate) fn named_or<'a>(path: &str, default: &'a str) -> Result<Cow<'a, str>, TextError> {
    if path.is_empty() {
        return Ok(Cow::Borrowed(default));
    }
    let path = PathBuf::from(path);
    let bytes = match fs::read(&path) {
        Ok(bytes) => bytes,
        Err(source) => return Err(TextError::Io { path, source }),
    };
    String::from_utf8(bytes)
        .map(Cow::Owned)
        .map_err(|error| TextError::NotUtf8 {
            offset: error.utf8_error().valid_up_to(),
            path,
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One token a byte.
    struct Bytes(Option<TokenId>);

    impl Tokenizer for Bytes {
        fn encode(&self, text: &str) -> Result<Vec<TokenId>, TokenizerError> {
            Ok(text.bytes().map(TokenId::from).collect())
        }
        fn decode(&self, _: &[TokenId]) -> Result<String, TokenizerError> {
            Err(TokenizerError("not needed".into()))
        }
        fn token_bytes(&self, _: TokenId) -> Result<&[u8], TokenizerError> {
            Ok(b"x")
        }
        fn bos(&self) -> Option<TokenId> {
            self.0
        }
        fn eos(&self) -> Option<TokenId> {
            None
        }
        fn sha256(&self) -> &str {
            ""
        }
    }

    #[test]
    fn windows_are_spread_and_do_not_overlap() {
        let text: String = (b'a'..=b'z').map(char::from).collect();
        let windows = Windows::cut(&text, &Bytes(None), 3, 4).unwrap();
        let cut: Vec<String> = windows
            .iter()
            .map(|window| window.iter().map(|&id| char::from(id as u8)).collect())
            .collect();
        assert_eq!(cut, ["abcd", "ijkl", "rstu"]);
    }

    #[test]
    fn each_window_begins_with_bos() {
        let windows = Windows::cut("abcdef", &Bytes(Some(1)), 9, 3).unwrap();
        assert_eq!(windows.count(), 3);
        assert!(
            windows
                .iter()
                .all(|window| window[0] == 1 && window.len() == 3)
        );
    }

    #[test]
    fn a_stream_begins_again_where_the_text_ends() {
        let tokens = stream("ab", &Bytes(Some(1)), 6).unwrap();
        assert_eq!(tokens, [1, 97, 98, 97, 98, 97]);
        assert!(stream("", &Bytes(Some(1)), 6).is_err());
    }

    #[test]
    fn a_short_text_is_an_error() {
        let error = Windows::cut("abc", &Bytes(None), 1, 4).unwrap_err();
        assert!(error.to_string().contains("3 tokens"), "{error}");
    }
}
