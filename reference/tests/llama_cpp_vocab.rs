//! Tokenizers and the GGUF reader against llama.cpp's vocabularies.
//!
//! `models/` of llama.cpp's source holds vocabularies with texts and the ids
//! that they should become. They are too large to be kept here:
//!
//! ```sh
//! HARNESS_LLAMA_CPP_MODELS=…/llama.cpp/models cargo test -p harness-reference --test llama_cpp_vocab -- --ignored --nocapture
//! ```
#![allow(clippy::unwrap_used, clippy::expect_used)] // Fixture code of a test may panic.

mod vectors;

use std::fs;
use std::path::{Path, PathBuf};

use engine::{ModelArtifact, Tokenizer};
use harness_reference::gguf::{GgufFile, Writer};
use harness_reference::tokenizer::{GgufTokenizer, TokenizerBuildError};

fn vocabularies() -> Vec<PathBuf> {
    let folder = std::env::var_os("HARNESS_LLAMA_CPP_MODELS")
        .expect("HARNESS_LLAMA_CPP_MODELS names the folder of ggml-vocab-*.gguf");
    let mut paths: Vec<PathBuf> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "gguf")
        })
        .collect();
    paths.sort();
    assert!(!paths.is_empty(), "no vocabularies found");
    paths
}

fn open(path: &Path) -> GgufFile {
    GgufFile::open(&ModelArtifact::from_path(path).unwrap()).unwrap()
}

#[test]
#[ignore = "needs llama.cpp's vocabularies"]
fn ids_are_llama_cpps() {
    let (mut wrong, mut vectors) = (0, 0);
    for path in vocabularies() {
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        let tokenizer = match GgufTokenizer::from_metadata(open(&path).metadata()) {
            Ok(tokenizer) => tokenizer,
            Err(error @ TokenizerBuildError::Model { .. }) => {
                println!("{name}: {error}");
                continue;
            }
            Err(error) => panic!("{name}: {error}"),
        };
        let Some(cases) = vectors::beside(&path) else {
            println!("{name}: builds, but has no vectors");
            continue;
        };
        let mut right = 0;
        for (text, ids) in &cases {
            let found = tokenizer.encode(text).unwrap();
            if &found == ids {
                right += 1;
            } else {
                println!("{name}: {text:?}\n  is {found:?}\n  not {ids:?}");
            }
            assert_eq!(&tokenizer.decode(ids).unwrap(), text, "{name}: {text:?}");
        }
        println!("{name}: {right} of {}", cases.len());
        vectors += cases.len();
        wrong += cases.len() - right;
    }
    assert!(vectors > 0);
    assert_eq!(wrong, 0);
}

#[test]
#[ignore = "needs llama.cpp's vocabularies"]
fn rewriting_changes_no_byte() {
    for path in vocabularies() {
        let file = open(&path);
        let mut writer = Writer::new(file.metadata());
        for tensor in file.tensors() {
            writer
                .declare(&tensor.name, &tensor.dims, tensor.ggml_type)
                .unwrap();
        }
        let mut body = writer.begin(Vec::new()).unwrap();
        for tensor in file.tensors() {
            body.tensor(file.data(tensor)).unwrap();
        }
        let mut written = body.finish().unwrap();
        // Versions 2 and 3 are laid out alike.
        written[4] = file.header().version() as u8;
        assert!(written == fs::read(&path).unwrap(), "{}", path.display());
    }
}
