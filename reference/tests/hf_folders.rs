//! Folders against GGUF files that llama.cpp's converter made of them.
//!
//! `scripts/oracles/hf-folders` makes both and runs this test.
#![allow(clippy::unwrap_used)] // A test may panic.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use engine::ModelArtifact;
use harness_reference::{Source, TensorEntry, tokenizer};

fn open(path: &Path) -> Source {
    Source::open(&ModelArtifact::from_path(path).unwrap()).unwrap()
}

#[test]
#[ignore = "needs folders made by scripts/oracles/hf-folders"]
fn folders_equal_their_conversions_bit_by_bit() {
    let root = PathBuf::from(std::env::var_os("HARNESS_HF_FOLDERS").unwrap());
    let entries = root.read_dir().unwrap();
    let mut folders: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    folders.retain(|path| path.is_dir());
    folders.sort_unstable();
    assert!(!folders.is_empty(), "no folder in {}", root.display());
    for folder in folders {
        let name = folder.file_name().unwrap().to_str().unwrap().to_owned();
        let ours = open(&folder);
        let theirs = open(&root.join(format!("{name}.gguf")));
        compare_metadata(&name, &ours, &theirs);
        compare_tensors(&name, &ours, &theirs);
        if theirs.metadata().value("tokenizer.ggml.tokens").is_some() {
            compare_tokenizers(&name, &ours, &theirs);
            println!("{name}: the same tokenizer");
        }
        println!(
            "{name}: {} tensors, {} keys",
            ours.tensors().len(),
            ours.metadata().len()
        );
    }
}

/// Every key on the model's shape that the converter wrote, we have too.
fn compare_metadata(name: &str, ours: &Source, theirs: &Source) {
    let architecture: &str = theirs.metadata().get("general.architecture").unwrap();
    assert_eq!(
        ours.metadata().get::<&str>("general.architecture").unwrap(),
        architecture,
        "{name}"
    );
    for (key, value) in theirs.metadata().iter() {
        if key.starts_with(&format!("{architecture}.")) {
            assert_eq!(ours.metadata().value(key), Some(value), "{name}: {key}");
        }
    }
    for (key, value) in ours.metadata().iter() {
        if theirs.metadata().value(key).is_none() {
            println!("{name}: only here: {key} = {value}");
        }
    }
}

fn compare_tensors(name: &str, ours: &Source, theirs: &Source) {
    let names = |source: &Source| -> BTreeSet<String> {
        let entries = source.tensors().iter();
        entries.map(|entry| entry.name.clone()).collect()
    };
    assert_eq!(names(ours), names(theirs), "{name}");
    for entry in theirs.tensors() {
        let TensorEntry {
            name: tensor,
            ggml_type,
            shape,
        } = entry;
        let ours = ours.tensor(tensor).unwrap();
        let theirs = theirs.tensor(tensor).unwrap();
        assert_eq!(ours.entry.shape, *shape, "{name}: {tensor}");
        assert_eq!(ours.entry.ggml_type, *ggml_type, "{name}: {tensor}");
        assert_eq!(ours.bytes.len(), ours.entry.byte_len());
        assert!(*ours.bytes == *theirs.bytes, "{name}: {tensor} differs");
    }
}

/// Where the converter wrote a vocabulary, ours is the same, and so is its hash.
fn compare_tokenizers(name: &str, ours: &Source, theirs: &Source) {
    let metadata = tokenizer::metadata(ours).unwrap().unwrap();
    for (key, value) in metadata.iter() {
        let same = theirs.metadata().value(key) == Some(value);
        assert!(same, "{name}: {key} differs");
    }
    let hash = |source| tokenizer::open(source).unwrap().sha256().to_owned();
    assert_eq!(hash(ours), hash(theirs), "{name}");
}
