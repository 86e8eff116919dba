//! Any bytes at all as `config.json`: refused, or translated to metadata and
//! tensors of the length they say.

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

static ONCE: Once = Once::new();

fuzz_target!(|config: &[u8]| {
    // The header of a file without tensors.
    ONCE.call_once(|| scratch::put("model.safetensors", b"\x02\0\0\0\0\0\0\0{}"));
    scratch::put("config.json", config);
    let Ok(folder) = Folder::open(&scratch::FOLDER) else {
        return;
    };
    assert!(folder.metadata().len() > 0);
    for (at, tensor) in folder.tensors().iter().enumerate() {
        assert_eq!(folder.bytes(at).len(), tensor.byte_len());
    }
});
