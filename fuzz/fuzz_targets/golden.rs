//! Any text at all as a transcript, as prompts and as sampling: refused, or read back
//! from what it is written as.

#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use suites::generation::Sampling;
use suites::golden::{Prompt, Transcript};

fuzz_target!(|text: &str| {
    let path = Path::new("fuzzed");
    if let Ok(transcript) = Transcript::parse(path, text) {
        let written = transcript.to_text().unwrap();
        assert_eq!(Transcript::parse(path, &written).unwrap(), transcript);
    }
    if let Ok(prompts) = Prompt::parse(path, text) {
        assert!(!prompts.is_empty());
    }
    if let Ok(sampling) = text.parse::<Sampling>() {
        assert_eq!(sampling.to_string().parse::<Sampling>().unwrap(), sampling);
    }
});
