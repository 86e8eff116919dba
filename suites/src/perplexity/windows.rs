//! Which tokens are predicted from which context.

use std::fmt;
use std::str::FromStr;

use engine::{TokenId, Tokenizer};

use crate::TextError;

/// A way to cut a text into windows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scheme {
    /// `llama-perplexity`: chunks side by side, the second half of each scored.
    LlamaCpp,
    /// The Hugging Face guide: windows a stride apart, each scoring what the one
    /// before it did not reach.
    Strided,
    /// lm-evaluation-harness: every token of the text scored once.
    Rolling,
}

impl Scheme {
    pub(super) const ALL: [Self; 3] = [Self::LlamaCpp, Self::Strided, Self::Rolling];

    /// Name in settings, and the case of the suite's samples and metrics.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::LlamaCpp => "llama_cpp",
            Self::Strided => "strided",
            Self::Rolling => "rolling",
        }
    }
}

impl FromStr for Scheme {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let named = Self::ALL.into_iter().find(|scheme| scheme.name() == text);
        named.ok_or_else(|| format!("use one of {}", Self::ALL.map(Self::name).join(", ")))
    }
}

impl fmt::Display for Scheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Tokens to read in an empty context, and those to be predicted on the way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Window {
    /// What is read. The last row of logits wanted is that of its last token.
    pub(super) context: Vec<TokenId>,
    /// What the last `targets.len()` rows predict.
    pub(super) targets: Vec<TokenId>,
    /// Place of the first target in the text's tokens, BOS counted if there is
    /// one.
    pub(super) first: u64,
}

/// The windows of `text`, in its order. `ctx`, at least 4, is the length of a
/// window, `stride` the distance of strided ones, at most `ctx`.
///
/// # Errors
/// [`TextError::TooShort`] for a text without a whole window,
/// [`TextError::Tokenizer`].
pub(super) fn cut(
    text: &str,
    tokenizer: &dyn Tokenizer,
    scheme: Scheme,
    ctx: usize,
    stride: usize,
) -> Result<Vec<Window>, TextError> {
    let ids = tokenizer.encode(text)?;
    let mut tokens: Vec<TokenId> = tokenizer.bos().into_iter().collect();
    tokens.extend(&ids);
    if tokens.len() < ctx || ids.is_empty() {
        return Err(TextError::TooShort {
            tokens: ids.len(),
            window: ctx - usize::from(tokenizer.bos().is_some()),
        });
    }
    Ok(match scheme {
        Scheme::LlamaCpp => llama_cpp(&tokens, tokenizer.bos(), ctx),
        Scheme::Strided => strided(&tokens, ctx, stride),
        Scheme::Rolling => rolling(&tokens, tokenizer, ctx),
    })
}

/// llama.cpp, `tools/perplexity/perplexity.cpp`, function `perplexity`: whole
/// chunks of `ctx` tokens, the first of each replaced by BOS if the model wants
/// one; positions `ctx/2 … ctx − 2` predict the next token.
fn llama_cpp(tokens: &[TokenId], bos: Option<TokenId>, ctx: usize) -> Vec<Window> {
    let chunks = tokens.chunks_exact(ctx).enumerate();
    chunks
        .map(|(index, chunk)| {
            let mut context = chunk[..ctx - 1].to_vec();
            if let Some(bos) = bos {
                context[0] = bos;
            }
            let first = ctx / 2 + 1;
            Window {
                context,
                targets: chunk[first..].to_vec(),
                first: (index * ctx + first) as u64,
            }
        })
        .collect()
}

/// <https://huggingface.co/docs/transformers/perplexity>: windows begin every
/// `stride` tokens and score what no window before them reached. The first
/// token of a window cannot be scored.
fn strided(tokens: &[TokenId], ctx: usize, stride: usize) -> Vec<Window> {
    let mut windows = Vec::new();
    let (mut begin, mut reached) = (0, 0);
    while reached < tokens.len() {
        let end = (begin + ctx).min(tokens.len());
        let first = reached.max(begin + 1);
        if first < end {
            windows.push(Window {
                context: tokens[begin..end - 1].to_vec(),
                targets: tokens[first..end].to_vec(),
                first: first as u64,
            });
        }
        reached = end;
        begin += stride;
    }
    windows
}

/// lm-evaluation-harness, `get_rolling_token_windows` with `context_len=1` and
/// `make_disjoint_window`: `ctx` targets at a time, read from the token before
/// the first of them on; before the text stands BOS, or else EOS. A last window
/// of fewer targets begins earlier, to read `ctx` tokens too. Where a model has
/// neither BOS nor EOS, the first token goes unscored.
fn rolling(tokens: &[TokenId], tokenizer: &dyn Tokenizer, ctx: usize) -> Vec<Window> {
    let with_prefix: Vec<TokenId> = match (tokenizer.bos(), tokenizer.eos()) {
        (None, Some(eos)) => [&[eos], tokens].concat(),
        _ => tokens.to_vec(),
    };
    // Places are those of `tokens`.
    let added = with_prefix.len() - tokens.len();
    let starts = (1..with_prefix.len()).step_by(ctx);
    starts
        .map(|first| {
            let end = (first + ctx).min(with_prefix.len());
            Window {
                context: with_prefix[(end - 1).saturating_sub(ctx)..end - 1].to_vec(),
                targets: with_prefix[first..end].to_vec(),
                first: (first - added) as u64,
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use engine::TokenizerError;

    /// One token a byte.
    struct Bytes {
        bos: Option<TokenId>,
        eos: Option<TokenId>,
    }

    impl Tokenizer for Bytes {
        fn encode(&self, text: &str) -> Result<Vec<TokenId>, TokenizerError> {
            Ok(text
                .bytes()
                .map(|byte| TokenId::from(byte - b'0'))
                .collect())
        }
        fn decode(&self, _: &[TokenId]) -> Result<String, TokenizerError> {
            Err(TokenizerError("not needed".into()))
        }
        fn token_bytes(&self, _: TokenId) -> Result<&[u8], TokenizerError> {
            Ok(b"x")
        }
        fn bos(&self) -> Option<TokenId> {
            self.bos
        }
        fn eos(&self) -> Option<TokenId> {
            self.eos
        }
        fn sha256(&self) -> &str {
            ""
        }
    }

    fn windows(bos: Option<TokenId>, scheme: Scheme, ctx: usize, stride: usize) -> Vec<Window> {
        cut(
            "0123456789",
            &Bytes { bos, eos: Some(77) },
            scheme,
            ctx,
            stride,
        )
        .unwrap()
    }

    fn window(context: &[TokenId], targets: &[TokenId], first: u64) -> Window {
        Window {
            context: context.to_vec(),
            targets: targets.to_vec(),
            first,
        }
    }

    #[test]
    fn llama_cpp_scores_second_halves_and_drops_the_rest() {
        assert_eq!(
            windows(None, Scheme::LlamaCpp, 4, 0),
            [window(&[0, 1, 2], &[3], 3), window(&[4, 5, 6], &[7], 7)]
        );
        // With BOS the text moves on by one, and each chunk's first token is lost.
        assert_eq!(
            windows(Some(9), Scheme::LlamaCpp, 5, 0),
            [
                window(&[9, 0, 1, 2], &[2, 3], 3),
                window(&[9, 5, 6, 7], &[7, 8], 8)
            ]
        );
    }

    #[test]
    fn strided_windows_score_each_token_but_the_first_once() {
        assert_eq!(
            windows(None, Scheme::Strided, 6, 3),
            [
                window(&[0, 1, 2, 3, 4], &[1, 2, 3, 4, 5], 1),
                window(&[3, 4, 5, 6, 7], &[6, 7, 8], 6),
                window(&[6, 7, 8], &[9], 9)
            ]
        );
        // A stride as long as the window leaves each window's first token out.
        assert_eq!(
            windows(None, Scheme::Strided, 5, 5),
            [
                window(&[0, 1, 2, 3], &[1, 2, 3, 4], 1),
                window(&[5, 6, 7, 8], &[6, 7, 8, 9], 6)
            ]
        );
    }

    #[test]
    fn rolling_windows_score_every_token_once() {
        assert_eq!(
            windows(Some(66), Scheme::Rolling, 6, 0),
            [
                window(&[66, 0, 1, 2, 3, 4], &[0, 1, 2, 3, 4, 5], 1),
                window(&[3, 4, 5, 6, 7, 8], &[6, 7, 8, 9], 7)
            ]
        );
        let by_eos = windows(None, Scheme::Rolling, 6, 0);
        assert_eq!(
            by_eos[0],
            window(&[77, 0, 1, 2, 3, 4], &[0, 1, 2, 3, 4, 5], 0)
        );
    }

    #[test]
    fn rolling_windows_are_those_of_lm_evaluation_harness() {
        let vectors: serde_json::Value =
            serde_json::from_str(include_str!("../../tests/vectors/rolling.json")).unwrap();
        for case in vectors["cases"].as_array().unwrap() {
            let number = |key: &str| case[key].as_u64().unwrap();
            let text: String = (0..number("tokens") as u8)
                .map(|token| char::from(b'0' + token))
                .collect();
            let tokenizer = Bytes {
                bos: Some(number("prefix") as TokenId),
                eos: None,
            };
            let ctx = number("ctx") as usize;
            let cut = cut(&text, &tokenizer, Scheme::Rolling, ctx, 0).unwrap();
            let found: Vec<_> = cut
                .iter()
                .map(
                    |window| serde_json::json!({"read": window.context, "targets": window.targets}),
                )
                .collect();
            assert_eq!(serde_json::Value::from(found), case["windows"], "{case}");
        }
    }

    #[test]
    fn a_text_shorter_than_a_window_is_an_error() {
        let tokenizer = Bytes {
            bos: None,
            eos: None,
        };
        for scheme in Scheme::ALL {
            for text in ["", "012"] {
                let error = cut(text, &tokenizer, scheme, 4, 2).unwrap_err();
                assert!(
                    error.to_string().contains("fewer than one window"),
                    "{error}"
                );
            }
        }
    }
}
