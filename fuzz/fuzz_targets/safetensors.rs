//! Any bytes at all as weights: the reader of model folders refuses them, or
//! every tensor it reports can be read and is as long as it says.

#![no_main]

use std::sync::Once;

use hf::Folder;
use libfuzzer_sys::fuzz_target;

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

const CONFIG: &[u8] = br#"{"model_type": "llama", "hidden_size": 4, "intermediate_size": 4,
    "num_hidden_layers": 2, "num_attention_heads": 2, "max_position_embeddings": 8}"#;

static ONCE: Once = Once::new();

fuzz_target!(|weights: &[u8]| {
    ONCE.call_once(|| scratch::put("config.json", CONFIG));
    scratch::put("model.safetensors", weights);
    let Ok(folder) = Folder::open(&scratch::FOLDER) else {
        return;
    };
    for (at, tensor) in folder.tensors().iter().enumerate() {
        assert_eq!(folder.bytes(at).len(), tensor.byte_len());
    }
});
