//! Any bytes at all: the GGUF reader refuses them, or every tensor it reports
//! can be read.

#![no_main]

use std::hint::black_box;

use gguf::Header;
use libfuzzer_sys::fuzz_target;

#[allow(dead_code, unreachable_pub)]
#[path = "../../reference/src/map.rs"]
mod map;
#[allow(dead_code, unreachable_pub, unused_imports)] // The reader alone is exercised.
#[path = "../../reference/src/gguf/mod.rs"]
mod gguf;

fuzz_target!(|file: &[u8]| {
    let Ok(header) = Header::parse(file) else {
        return;
    };
    for tensor in header.tensors() {
        let data = &file[tensor.range()];
        black_box(data.iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte)));
        assert!(header.tensor(&tensor.name).is_some());
    }
});
