//! Any bytes at all: a Core ML specification is refused, or can be checked and
//! summarised, every weight of it decompressed or refused.

#![no_main]

use std::hint::black_box;

use coreml::{Package, Specification, Summary, Weights, check};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    // Two bytes say where the specification ends and the weight file begins.
    let Some((length, rest)) = data.split_first_chunk() else {
        return;
    };
    let length = usize::from(u16::from_le_bytes(*length)).min(rest.len());
    let (specification, file) = rest.split_at(length);
    let Ok(specification) = Specification::decode(specification) else {
        return;
    };
    let mut weights = Weights::default();
    weights.insert("@model_path/weights/weight.bin", file.into());
    let package = Package {
        specification,
        weights,
        vocabulary: None,
    };
    black_box(check(&package));
    black_box(Summary::new(&package));
    let _ = black_box(package.config());
});
