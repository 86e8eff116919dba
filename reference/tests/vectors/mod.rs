//! Texts and token ids in the form of llama.cpp's `ggml-vocab-*.gguf.inp` and
//! `.out`.

use std::fs;
use std::path::Path;

/// The vectors beside `path`, if there are any.
pub(crate) fn beside(path: &Path) -> Option<Vec<(String, Vec<u32>)>> {
    let read = |suffix: &str| fs::read_to_string(format!("{}{suffix}", path.display()));
    let (texts, ids) = (read(".inp").ok()?, read(".out").ok()?);
    let texts: Vec<&str> = texts.split("\n__ggml_vocab_test__\n").collect();
    let ids: Vec<Vec<u32>> = ids
        .lines()
        .map(|line| {
            line.split_whitespace()
                .map(|id| id.parse().unwrap())
                .collect()
        })
        .collect();
    // llama.cpp's files end in a separator, with nothing after it.
    assert!(texts.len() == ids.len() || texts.len() == ids.len() + 1);
    Some(texts.into_iter().map(str::to_owned).zip(ids).collect())
}
