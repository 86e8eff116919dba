//! Tokenizers from `tokenizer.json` against the Python package of the same crate.
//!
//! `scripts/oracles/tokenizer_json.py` wrote the vectors.
#![allow(clippy::unwrap_used)] // A test may panic.

use std::fs;
use std::path::{Path, PathBuf};

use engine::{StreamDecoder, TokenId, Tokenizer};
use harness_reference::gguf::GgufFile;
use harness_reference::tokenizer::{GgufTokenizer, HfTokenizer, TokenType};
use proptest::prelude::*;
use serde_json::{Value, json};

const ALL: [&str; 7] = [
    "bert", "gemma", "gpt2", "llama2", "llama3", "mistral", "qwen2",
];

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/vectors/tokenizers")
        .join(name)
}

fn open(name: &str) -> HfTokenizer {
    HfTokenizer::open(&folder(name), 0).unwrap()
}

fn json_of(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

fn ids(value: &Value) -> Vec<TokenId> {
    serde_json::from_value(value.clone()).unwrap()
}

/// A copy of the folder `name` in which `change` has been made to `file`.
fn changed(name: &str, file: &str, change: impl FnOnce(&mut Value)) -> tempfile::TempDir {
    let copy = tempfile::tempdir().unwrap();
    for entry in folder(name).read_dir().unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), copy.path().join(entry.file_name())).unwrap();
    }
    let path = copy.path().join(file);
    let mut value = json_of(&path);
    change(&mut value);
    fs::write(path, value.to_string()).unwrap();
    copy
}

fn refusal(folder: &Path) -> String {
    HfTokenizer::open(folder, 0).unwrap_err().to_string()
}

#[test]
fn ids_and_texts_are_pythons() {
    for name in ALL {
        let tokenizer = open(name);
        let cases = json_of(&folder(name).join("cases.json"));
        for case in cases["texts"].as_array().unwrap() {
            let text = case["text"].as_str().unwrap();
            let plain = tokenizer.encode(text).unwrap();
            assert_eq!(plain, ids(&case["ids"]), "{name}: {text:?}");
            let special = tokenizer.encode_with_special(text).unwrap();
            assert_eq!(special, ids(&case["with_special"]), "{name}: {text:?}");
            let decoded = tokenizer.decode(&plain).unwrap();
            assert_eq!(decoded, case["decoded"].as_str().unwrap(), "{name}");
        }
        let tokens = cases["tokens"].as_array().unwrap();
        assert_eq!(tokens.len(), tokenizer.vocabulary_size(), "{name}");
        // WordPiece's decoder shows the marks of a first token.
        for (id, text) in (0..).zip(tokens).filter(|_| name != "bert") {
            let decoded = tokenizer.decode(&[id]).unwrap();
            assert_eq!(decoded, text.as_str().unwrap(), "{name}: token {id}");
        }
    }
}

#[test]
fn streams_say_what_decoding_says() {
    for name in ALL {
        let tokenizer = open(name);
        let cases = json_of(&folder(name).join("cases.json"));
        for case in cases["texts"].as_array().unwrap() {
            let ids = ids(&case["ids"]);
            let mut stream = StreamDecoder::default();
            let bytes = |&id: &TokenId| tokenizer.token_bytes(id).unwrap();
            let mut text: String = ids.iter().map(|id| stream.push(bytes(id))).collect();
            assert!(!text.contains('\u{fffd}'), "{name}: {text:?}");
            text += &stream.finish();
            let whole = case["decoded"].as_str().unwrap();
            assert_eq!(text.strip_suffix(whole).map(str::trim), Some(""), "{name}");
        }
    }
}

#[test]
fn beginnings_and_ends_are_the_files() {
    // Templates put one there, or tokenizer_config.json asks for it.
    for (name, leads) in [
        ("llama3", true),
        ("mistral", true),
        ("llama2", true),
        ("gpt2", false),
    ] {
        let tokenizer = open(name);
        let named = |text: &str| tokenizer.encode_with_special(text).unwrap()[0];
        assert_eq!(tokenizer.bos(), leads.then(|| named("<s>")), "{name}");
        assert_eq!(tokenizer.eos(), Some(named("</s>")), "{name}");
        let ty = tokenizer.token_type(named("</s>")).unwrap();
        assert_eq!(ty, TokenType::Control);
    }
    let tokenizer = open("bert");
    let named = |text: &str| tokenizer.encode_with_special(text).unwrap()[0];
    assert_eq!(tokenizer.bos(), Some(named("[CLS]")));
    assert_eq!(tokenizer.closing(), Some(named("[SEP]")));
    assert_eq!(open("mistral").closing(), None);
    let of_old = changed("bert", "tokenizer.json", |json| {
        json["post_processor"] =
            json!({"type": "BertProcessing", "sep": ["[SEP]", 3], "cls": ["[CLS]", 2]});
    });
    let of_old = HfTokenizer::open(of_old.path(), 0).unwrap();
    assert_eq!(of_old.bos(), tokenizer.bos());
    assert_eq!(of_old.closing(), tokenizer.closing());
    assert_eq!(of_old.sha256(), tokenizer.sha256());
    let asked_not_to = changed("llama3", "tokenizer_config.json", |config| {
        config["add_bos_token"] = json!(false);
    });
    let tokenizer = HfTokenizer::open(asked_not_to.path(), 0).unwrap();
    assert_eq!(tokenizer.bos(), None);
    // Without names, ids serve.
    let unnamed = changed("gpt2", "tokenizer_config.json", |config| {
        *config = json!({"add_bos_token": true});
    });
    let text = r#"{"bos_token_id": 5, "eos_token_id": [7, 8]}"#;
    fs::write(unnamed.path().join("config.json"), text).unwrap();
    let tokenizer = HfTokenizer::open(unnamed.path(), 0).unwrap();
    assert_eq!((tokenizer.bos(), tokenizer.eos()), (Some(5), Some(7)));
}

#[test]
fn chat_templates_are_the_files() {
    assert_eq!(open("llama3").chat_template(), None);
    let source = |folder: &Path| {
        let tokenizer = HfTokenizer::open(folder, 0).unwrap();
        tokenizer.chat_template().unwrap().clone()
    };
    let one = changed("llama3", "tokenizer_config.json", |config| {
        config["chat_template"] = json!("{{ bos_token }}");
    });
    let template = source(one.path());
    assert_eq!(template.source, "{{ bos_token }}");
    assert_eq!(template.bos.as_deref(), Some("<s>"));
    assert_eq!(template.eos.as_deref(), Some("</s>"));
    fs::write(one.path().join("chat_template.jinja"), "own").unwrap();
    assert_eq!(source(one.path()).source, "own");
    let named = changed("llama3", "tokenizer_config.json", |config| {
        config["chat_template"] = json!([
            {"name": "tool_use", "template": "a"},
            {"name": "default", "template": "b"},
        ]);
    });
    assert_eq!(source(named.path()).source, "b");
}

#[test]
fn all_that_ends_a_text_is_known() {
    let several = changed("llama3", "tokenizer_config.json", |_| {});
    let text = r#"{"eos_token_id": [7, 8]}"#;
    fs::write(several.path().join("generation_config.json"), text).unwrap();
    let tokenizer = HfTokenizer::open(several.path(), 0).unwrap();
    let mut expected = vec![7, 8, tokenizer.eos().unwrap()];
    expected.sort_unstable();
    expected.dedup();
    assert_eq!(tokenizer.ends(), expected);
}

/// The fixture's tokenizer exists in both forms.
#[test]
fn the_same_tokenizer_has_the_same_hash_in_a_gguf_file() {
    let model = engine::ModelArtifact::embedded(fixtures::MODEL_NAME, fixtures::MODEL);
    let file = GgufFile::open(&model).unwrap();
    let gguf = GgufTokenizer::from_metadata(file.metadata()).unwrap();

    let copy = tempfile::tempdir().unwrap();
    let json = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../fixtures/training/tokenizer.json"
    );
    fs::copy(json, copy.path().join("tokenizer.json")).unwrap();
    let config = r#"{"add_bos_token": true, "bos_token": "<|begin_of_text|>",
                     "eos_token": "<|end_of_text|>"}"#;
    fs::write(copy.path().join("tokenizer_config.json"), config).unwrap();
    let hf = HfTokenizer::open(copy.path(), 0).unwrap();
    assert_eq!((hf.bos(), hf.eos()), (gguf.bos(), gguf.eos()));
    assert_eq!(
        hf.encode(fixtures::HELDOUT).unwrap(),
        gguf.encode(fixtures::HELDOUT).unwrap()
    );
    assert_eq!(hf.sha256(), gguf.sha256());
    // Rows without a token are tokens too.
    let padded = HfTokenizer::open(copy.path(), hf.vocabulary_size() + 1).unwrap();
    assert_ne!(padded.sha256(), gguf.sha256());
}

#[test]
fn text_outside_the_vocabulary_is_an_error() {
    let without_bytes = changed("llama2", "tokenizer.json", |json| {
        json["model"]["byte_fallback"] = json!(false);
    });
    let tokenizer = HfTokenizer::open(without_bytes.path(), 0).unwrap();
    let error = tokenizer.encode("日").unwrap_err().to_string();
    assert!(error.contains('日'), "{error}");
    let without_zero = changed("gpt2", "tokenizer.json", |json| {
        let vocabulary = json["model"]["vocab"].as_object_mut().unwrap();
        let id = vocabulary.remove("Ā").unwrap();
        vocabulary.insert("another".into(), id);
    });
    let tokenizer = HfTokenizer::open(without_zero.path(), 0).unwrap();
    assert!(tokenizer.encode("\0").is_err());
    assert!(tokenizer.encode("a").is_ok());
    assert!(tokenizer.decode(&[1 << 20]).is_err());
}

#[test]
fn bad_files_are_refused() {
    let missing = tempfile::tempdir().unwrap();
    assert!(refusal(missing.path()).contains("tokenizer.json"));
    type Change = fn(&mut Value);
    let changes: [(Change, &str); 8] = [
        (|json| json["model"]["type"] = json!("Unigram"), "`Unigram`"),
        (|json| json["model"]["dropout"] = json!(0.1), "dropout"),
        (
            |json| json["decoder"] = json!({"type": "WordPiece"}),
            "WordPiece",
        ),
        (|json| json["model"]["vocab"]["a"] = json!(-1), "`a`"),
        (
            |json| json["model"]["vocab"]["a"] = json!(u32::MAX),
            "4294967295",
        ),
        (
            |json| json["added_tokens"][3]["id"] = json!(402),
            "`<whole>`",
        ),
        (
            |json| json["model"]["merges"] = json!([["a", "nothing"]]),
            "nothing",
        ),
        (|json| *json = json!([]), "tokenizer.json"),
    ];
    for (change, why) in changes {
        let error = refusal(changed("gpt2", "tokenizer.json", change).path());
        assert!(error.contains(why), "{error}");
    }
    let marked = changed("bert", "tokenizer.json", |json| {
        json["model"]["continuing_subword_prefix"] = json!("@@");
    });
    assert!(refusal(marked.path()).contains("@@"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_text_reads_back(text in any::<String>()) {
        for name in ["gpt2", "llama3"] {
            let tokenizer = open(name);
            let ids = tokenizer.encode(&text).unwrap();
            prop_assert_eq!(tokenizer.decode(&ids).unwrap(), text.clone());
        }
    }

    #[test]
    fn damaged_files_never_panic(name in 0..ALL.len(), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let copy = changed(ALL[name], "tokenizer_config.json", |_| ());
        let path = copy.path().join("tokenizer.json");
        let mut text = fs::read(&path).unwrap();
        let at = at.index(text.len());
        text[at] = byte;
        fs::write(path, text).unwrap();
        if let Ok(tokenizer) = HfTokenizer::open(copy.path(), 0) {
            let _ = tokenizer.encode("Hello, wörld 123");
        }
    }
}
