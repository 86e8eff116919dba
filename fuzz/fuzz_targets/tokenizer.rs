//! Any bytes at all as `tokenizer.json`: refused, or a tokenizer whose ids can
//! all be decoded.

#![no_main]

use engine::Tokenizer;
use libfuzzer_sys::fuzz_target;
use tokenizer::HfTokenizer;

#[allow(dead_code, unreachable_pub)]
#[path = "../../reference/src/map.rs"]
mod map;
#[allow(dead_code, unreachable_pub, unused_imports)]
#[path = "../../reference/src/gguf/mod.rs"]
mod gguf;
#[allow(dead_code, unreachable_pub)]
#[path = "../../reference/src/hf/mod.rs"]
mod hf;
mod scratch;
#[allow(dead_code, unreachable_pub)]
#[path = "../../reference/src/source.rs"]
mod source;
#[allow(dead_code, unreachable_pub)]
#[path = "../../reference/src/tokenizer/mod.rs"]
mod tokenizer;

fuzz_target!(|json: &[u8]| {
    scratch::put("tokenizer.json", json);
    let Ok(tokenizer) = HfTokenizer::open(&scratch::FOLDER, 0) else {
        return;
    };
    if let Ok(ids) = tokenizer.encode("Hello, w\u{f6}rld 123") {
        tokenizer.decode(&ids).unwrap();
    }
});
