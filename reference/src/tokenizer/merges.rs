//! The merges of a byte-pair model: read from the file, or derived from scores.

use std::collections::HashSet;

use engine::TokenId;

use super::TokenizerBuildError;
use super::vocabulary::{TokenType, Vocabulary};
use crate::gguf::Metadata;

pub(super) const MERGES: &str = "tokenizer.ggml.merges";

/// Pairs of tokens, the one to be merged first standing first.
pub(super) type Merges = Vec<(TokenId, TokenId)>;

/// Whether plain text can come to be read as a token of this type.
pub(super) fn is_text(ty: TokenType) -> bool {
    !matches!(ty, TokenType::Control | TokenType::Unknown)
}

/// Reads merges from `metadata` and holds each against the vocabulary.
pub(super) fn read(
    metadata: &Metadata,
    vocabulary: &Vocabulary,
) -> Result<Merges, TokenizerBuildError> {
    let lines = metadata.get::<&[String]>(MERGES)?;
    let mut seen = HashSet::with_capacity(lines.len());
    let mut merges = Vec::with_capacity(lines.len());
    for (index, line) in lines.iter().enumerate() {
        let fault = |why: String| TokenizerBuildError::Merge {
            index,
            merge: line.clone(),
            why,
        };
        // A token may begin with a space, so the first character separates none.
        let first = line.chars().next().map_or(0, char::len_utf8);
        let Some(space) = line[first..].find(' ').map(|at| first + at) else {
            return Err(fault("it is not two tokens with a space between".into()));
        };
        let (left, right) = (&line[..space], &line[space + 1..]);
        let id = |token: &str| {
            let id = vocabulary
                .id(token)
                .filter(|&id| is_text(vocabulary.types[id as usize]));
            id.ok_or_else(|| fault(format!("`{token}` is no text token of the vocabulary")))
        };
        let merge = (id(left)?, id(right)?);
        id(&[left, right].concat())?;
        // Of a merge that stands twice the first counts, as in llama.cpp.
        if seen.insert(merge) {
            merges.push(merge);
        }
    }
    Ok(merges)
}

/// Derives merges from scores, as Hugging Face's `LlamaConverter` does.
///
/// SentencePiece joins whichever neighbours make the token of the best score;
/// so every way to cut a token in two becomes a merge, and the best scores come
/// first. Tokens with one score rank by the length of the left part: the merges
/// that a SentencePiece model applies to tied pairs in the order of the text
/// have no counterpart in a merge list.
pub(super) fn from_scores(vocabulary: &Vocabulary) -> Merges {
    let mut ranked = Vec::new();
    for (token, id) in vocabulary.of_type(is_merged) {
        let score = vocabulary.scores[id as usize];
        for (at, _) in token.char_indices().skip(1) {
            let (left, right) = token.split_at(at);
            let part = |text| {
                vocabulary
                    .id(text)
                    .filter(|&id| is_merged(vocabulary.types[id as usize]))
            };
            if let (Some(left_id), Some(right_id)) = (part(left), part(right)) {
                ranked.push((score, left.len(), left_id, right_id));
            }
        }
    }
    ranked.sort_by(|a, b| {
        let best_first = b.0.total_cmp(&a.0);
        best_first
            .then(b.1.cmp(&a.1))
            .then((a.2, a.3).cmp(&(b.2, b.3)))
    });
    ranked
        .into_iter()
        .map(|(_, _, left, right)| (left, right))
        .collect()
}

/// SentencePiece never builds byte tokens out of the letters of their names.
fn is_merged(ty: TokenType) -> bool {
    is_text(ty) && ty != TokenType::Byte
}
