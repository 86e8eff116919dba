//! The hash that tells tokenizers apart.

use std::fmt::Write;

use engine::TokenId;
use sha2::{Digest, Sha256};

use super::vocabulary::Vocabulary;

/// What besides the vocabulary decides how text becomes ids.
pub(super) struct Rules<'a> {
    pub(super) model: &'a str,
    pub(super) pre: &'a str,
    pub(super) add_space_prefix: bool,
    pub(super) bos: Option<TokenId>,
    pub(super) eos: Option<TokenId>,
}

/// SHA-256 of a canonical form: each list and string begins with its length, so
/// that no two tokenizers share a form.
pub(super) fn sha256(
    rules: &Rules<'_>,
    vocabulary: &Vocabulary,
    merges: &[(TokenId, TokenId)],
) -> String {
    let mut form = Form(Sha256::new());
    form.text("harness tokenizer 1");
    form.text(rules.model);
    form.text(rules.pre);
    form.number(rules.add_space_prefix.into());
    for id in [rules.bos, rules.eos] {
        form.number(id.map_or(u64::MAX, u64::from));
    }
    form.number(vocabulary.tokens.len() as u64);
    for (token, &ty) in vocabulary.tokens.iter().zip(&vocabulary.types) {
        form.text(token);
        form.number(ty as u64);
    }
    form.number(vocabulary.scores.len() as u64);
    for score in &vocabulary.scores {
        form.number(score.to_bits().into());
    }
    form.number(merges.len() as u64);
    for &(left, right) in merges {
        form.number(left.into());
        form.number(right.into());
    }
    form.0
        .finalize()
        .iter()
        .fold(String::with_capacity(64), |mut hex, byte| {
            // Writing to a String cannot fail.
            let _ = write!(hex, "{byte:02x}");
            hex
        })
}

struct Form(Sha256);

impl Form {
    fn number(&mut self, n: u64) {
        self.0.update(n.to_le_bytes());
    }

    fn text(&mut self, text: &str) {
        self.number(text.len() as u64);
        self.0.update(text);
    }
}
