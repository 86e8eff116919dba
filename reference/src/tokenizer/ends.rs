//! Tokens by which a model says that it is done.

use engine::TokenId;

use super::vocabulary::{TokenType, Vocabulary};

/// What ends a text or a turn in well-known models. Few files list all that do, so
/// llama.cpp goes by names as well (`llama-vocab.cpp`, `special_eog_ids`).
const NAMES: [&str; 11] = [
    "<|eot_id|>",
    "<|eom_id|>",
    "<|im_end|>",
    "<|end|>",
    "<|endoftext|>",
    "<|end_of_text|>",
    "<end_of_turn>",
    "<turn|>",
    "<end_of_utterance>",
    "</s>",
    "<eos>",
];

/// `declared` and the control tokens of those names, in the order of ids.
pub(super) fn of(
    vocabulary: &Vocabulary,
    declared: impl IntoIterator<Item = TokenId>,
) -> Vec<TokenId> {
    let is_control = |id: &TokenId| vocabulary.types.get(*id as usize) == Some(&TokenType::Control);
    let named = NAMES.iter().filter_map(|name| vocabulary.id(name));
    let mut ends: Vec<TokenId> = named.filter(is_control).chain(declared).collect();
    ends.sort_unstable();
    ends.dedup();
    ends
}
