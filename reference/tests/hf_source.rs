//! Hugging Face folders as sources of models: sound ones, and every way in which
//! one can be broken.
#![allow(clippy::unwrap_used)] // A test may panic.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use engine::{Engine, EngineError, EngineOptions, FailureKind, ModelArtifact, Want};
use harness_reference::gguf::GgmlType;
use harness_reference::{Reference, Source};
use proptest::prelude::*;
use safetensors::tensor::{Dtype, TensorView, serialize_to_file};
use serde_json::{Value, json};
use tempfile::TempDir;

fn fixture() -> ModelArtifact {
    ModelArtifact::embedded(fixtures::MODEL_NAME, fixtures::MODEL)
}

fn source(folder: &Path) -> Result<Source, EngineError> {
    Source::open(&ModelArtifact::from_path(folder).unwrap())
}

fn refusal(folder: &Path) -> (FailureKind, String) {
    let error = source(folder).unwrap_err();
    (error.kind(), error.to_string())
}

/// The embedded model as transformers would have saved it, in two shards.
fn folder_of_fixture() -> TempDir {
    let model = Source::open(&fixture()).unwrap();
    let get = |key: &str| {
        model
            .metadata()
            .get::<u32>(&format!("llama.{key}"))
            .unwrap()
    };
    let folder = tempfile::tempdir().unwrap();
    let heads = [get("attention.head_count"), get("attention.head_count_kv")];
    let config = json!({
        "model_type": "llama",
        "hidden_size": get("embedding_length"),
        "intermediate_size": get("feed_forward_length"),
        "num_hidden_layers": get("block_count"),
        "num_attention_heads": heads[0],
        "num_key_value_heads": heads[1],
        "head_dim": get("attention.key_length"),
        "max_position_embeddings": get("context_length"),
        "vocab_size": get("vocab_size"),
        "rms_norm_eps": 1e-5,
        "rope_theta": 10_000,
        "tie_word_embeddings": model.entry("output.weight").is_none(),
    });
    fs::write(folder.path().join("config.json"), config.to_string()).unwrap();
    let tensors: Vec<_> = model
        .tensors()
        .iter()
        .map(|entry| {
            let bytes = model.tensor(&entry.name).unwrap().bytes.to_vec();
            let bytes = match entry.name.rsplit('.').nth(1).unwrap() {
                "attn_q" => rotate_half_order(&bytes, entry.shape[0], heads[0] as usize),
                "attn_k" => rotate_half_order(&bytes, entry.shape[0], heads[1] as usize),
                _ => bytes,
            };
            let dtype = match entry.ggml_type {
                GgmlType::F32 => Dtype::F32,
                GgmlType::F16 => Dtype::F16,
                other => panic!("{other}"),
            };
            (theirs(&entry.name), dtype, entry.shape.clone(), bytes)
        })
        .collect();
    let mut weight_map = HashMap::new();
    for (number, shard) in tensors.chunks(tensors.len().div_ceil(2)).enumerate() {
        let file = format!("model-0000{}-of-00002.safetensors", number + 1);
        let views = shard.iter().map(|(name, dtype, shape, bytes)| {
            weight_map.insert(name.clone(), file.clone());
            let view = TensorView::new(*dtype, shape.clone(), bytes).unwrap();
            (name.clone(), view)
        });
        serialize_to_file(views, None, &folder.path().join(&file)).unwrap();
    }
    let index = json!({"metadata": {}, "weight_map": weight_map});
    fs::write(folder.path().join(INDEX), index.to_string()).unwrap();
    folder
}

const INDEX: &str = "model.safetensors.index.json";

/// Rows from pairs `(2i, 2i + 1)` to pairs `(i, i + d/2)`, head by head.
fn rotate_half_order(bytes: &[u8], rows: usize, heads: usize) -> Vec<u8> {
    let (row, dim) = (bytes.len() / rows, rows / heads);
    let order = (0..rows).map(|to| {
        let (head, at) = (to / dim, to % dim);
        let (half, pair) = (at / (dim / 2), at % (dim / 2));
        head * dim + 2 * pair + half
    });
    order
        .flat_map(|from| bytes[from * row..][..row].to_vec())
        .collect()
}

fn theirs(name: &str) -> String {
    let part = |part: &str| match part {
        "attn_norm" => "input_layernorm",
        "attn_q" => "self_attn.q_proj",
        "attn_k" => "self_attn.k_proj",
        "attn_v" => "self_attn.v_proj",
        "attn_output" => "self_attn.o_proj",
        "ffn_norm" => "post_attention_layernorm",
        "ffn_gate" => "mlp.gate_proj",
        "ffn_up" => "mlp.up_proj",
        "ffn_down" => "mlp.down_proj",
        other => panic!("{other}"),
    };
    match name.split('.').collect::<Vec<_>>().as_slice() {
        ["token_embd", _] => "model.embed_tokens.weight".into(),
        ["output_norm", _] => "model.norm.weight".into(),
        ["output", _] => "lm_head.weight".into(),
        ["blk", block, name, kind] => format!("model.layers.{block}.{}.{kind}", part(name)),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_folder_and_its_gguf_file_are_the_same_model() {
    let folder = folder_of_fixture();
    let (ours, theirs) = (
        source(folder.path()).unwrap(),
        Source::open(&fixture()).unwrap(),
    );
    assert_eq!(ours.tensors().len(), theirs.tensors().len());
    for entry in theirs.tensors() {
        let (a, b) = (ours.tensor(&entry.name), theirs.tensor(&entry.name));
        let (a, b) = (a.unwrap(), b.unwrap());
        assert_eq!(a.entry, entry);
        assert!(*a.bytes == *b.bytes, "{}", entry.name);
    }
    let logits = |model: &ModelArtifact| {
        let model = Reference.open(model, &EngineOptions::default()).unwrap();
        let mut session = model.session().unwrap();
        let logits = session.extend(&[5, 60, 700, 8], Want::All).unwrap();
        (0..4)
            .map(|row| logits.row(row).to_vec())
            .collect::<Vec<_>>()
    };
    let artifact = ModelArtifact::from_path(folder.path()).unwrap();
    assert_eq!(logits(&artifact), logits(&fixture()));
}

#[test]
fn what_needs_no_change_is_not_copied() {
    let folder = folder_of_fixture();
    let source = source(folder.path()).unwrap();
    let place = |name: &str| source.tensor(name).unwrap().bytes.as_ptr();
    for name in [
        "token_embd.weight",
        "blk.0.ffn_up.weight",
        "output_norm.weight",
    ] {
        assert_eq!(place(name), place(name), "{name}");
    }
    let (first, second) = (
        source.tensor("blk.0.attn_q.weight").unwrap(),
        source.tensor("blk.0.attn_q.weight").unwrap(),
    );
    assert_ne!(first.bytes.as_ptr(), second.bytes.as_ptr());
    // The bytes outlive the source.
    let bytes = source.tensor("token_embd.weight").unwrap().bytes;
    let copy = bytes.to_vec();
    drop(source);
    assert!(*bytes == copy);
}

#[test]
fn shards_and_their_index_agree() {
    let change = |change: &dyn Fn(&mut Value)| {
        let folder = folder_of_fixture();
        let path = folder.path().join(INDEX);
        let mut index: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        change(&mut index["weight_map"]);
        fs::write(path, index.to_string()).unwrap();
        refusal(folder.path())
    };
    const EMBEDDING: &str = "model.embed_tokens.weight";
    let missing = change(&|map| map[EMBEDDING] = json!("model-3.safetensors"));
    assert!(missing.1.contains("`model-3.safetensors`"), "{missing:?}");
    let elsewhere = change(&|map| map[EMBEDDING] = json!("model-00002-of-00002.safetensors"));
    assert!(elsewhere.1.contains(EMBEDDING), "{elsewhere:?}");
    let unlisted = change(&|map| drop(map.as_object_mut().unwrap().remove(EMBEDDING)));
    assert!(unlisted.1.contains(EMBEDDING), "{unlisted:?}");
    let absent = change(&|map| map["extra"] = json!("model-00001-of-00002.safetensors"));
    assert!(absent.1.contains("`extra`"), "{absent:?}");
    for path in [
        "../model.safetensors",
        "/dev/zero",
        "sub/model.safetensors",
        "",
        "..",
    ] {
        let outside = change(&|map| map[EMBEDDING] = json!(path));
        assert!(outside.1.contains("in the folder"), "{outside:?}");
    }
    let no_map = change(&|map| *map = json!(7));
    assert!(no_map.1.contains(INDEX), "{no_map:?}");

    let folder = folder_of_fixture();
    fs::remove_file(folder.path().join(INDEX)).unwrap();
    let without = refusal(folder.path());
    assert!(without.1.contains(INDEX), "{without:?}");
}

const CONFIG: &str = r#"{"model_type": "llama", "hidden_size": 4, "intermediate_size": 4,
    "num_hidden_layers": 1, "num_attention_heads": 1, "max_position_embeddings": 8}"#;

/// A folder whose one weight file is `header` (JSON) and `data` zeros.
fn folder_of(header: &str, data: usize) -> TempDir {
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend_from_slice(header.as_bytes());
    file.resize(file.len() + data, 0);
    folder_with(&file)
}

fn folder_with(file: &[u8]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("config.json"), CONFIG).unwrap();
    fs::write(folder.path().join("model.safetensors"), file).unwrap();
    folder
}

#[test]
fn headers_that_lie_are_refused() {
    let norm = |name: &str, shape: &str, from: usize, to: usize| {
        format!(r#""{name}": {{"dtype": "F32", "shape": {shape}, "data_offsets": [{from}, {to}]}}"#)
    };
    let one = |shape, from, to| format!("{{{}}}", norm("model.norm.weight", shape, from, to));
    let two = |from, to| {
        let first = norm("model.norm.weight", "[4]", 0, 16);
        let second = norm("model.layers.0.input_layernorm.weight", "[4]", from, to);
        format!("{{{first}, {second}}}")
    };
    assert!(source(folder_of(&one("[4]", 0, 16), 16).path()).is_ok());
    assert!(source(folder_of(&two(16, 32), 32).path()).is_ok());
    let huge = format!("[{}, {}]", u64::MAX, u64::MAX);
    for (what, header, data) in [
        ("out of bounds", one("[4]", 0, 16), 15),
        ("bytes left over", one("[4]", 0, 16), 17),
        ("overlap", two(8, 24), 24),
        ("hole", two(20, 36), 36),
        ("backwards", one("[4]", 16, 0), 16),
        ("shape and bytes", one("[5]", 0, 16), 16),
        ("overflow", one(&huge, 0, 16), 16),
        ("no JSON", "{".into(), 0),
        ("no object", "[]".into(), 0),
    ] {
        let (kind, message) = refusal(folder_of(&header, data).path());
        assert_eq!(kind, FailureKind::Load, "{what}");
        assert!(
            message.contains("model.safetensors is no sound"),
            "{what}: {message}"
        );
    }
    for (what, file) in [
        ("empty", vec![]),
        ("no length", vec![1, 0, 0]),
        ("longer than the file", 1000u64.to_le_bytes().to_vec()),
        ("100 MB", 100_000_001u64.to_le_bytes().to_vec()),
        ("longer than memory", u64::MAX.to_le_bytes().to_vec()),
    ] {
        let (_, message) = refusal(folder_with(&file).path());
        assert!(message.contains("model.safetensors"), "{what}: {message}");
    }
}

#[test]
fn tensors_that_no_decoder_has_are_refused() {
    let tensor = |name: &str, dtype: &str, shape: &str, bytes: usize| {
        let header = format!(
            r#"{{"{name}": {{"dtype": "{dtype}", "shape": {shape}, "data_offsets": [0, {bytes}]}}}}"#
        );
        refusal(folder_of(&header, bytes).path())
    };
    const NORM: &str = "model.norm.weight";
    let (kind, message) = tensor(NORM, "I8", "[4]", 4);
    assert_eq!(kind, FailureKind::Unsupported);
    assert!(
        message.contains("I8") && message.contains(NORM),
        "{message}"
    );
    let (kind, message) = tensor("model.experts.weight", "F32", "[1]", 4);
    assert_eq!(kind, FailureKind::Unsupported);
    assert!(message.contains("model.experts.weight"), "{message}");
    for (name, shape, bytes) in [
        (NORM, "[]", 4),
        (NORM, "[0]", 0),
        (NORM, "[1, 1, 1]", 4),
        ("model.layers.0.self_attn.q_proj.weight", "[3, 1]", 12),
        ("model.layers.1.input_layernorm.weight", "[1]", 4),
    ] {
        let (kind, message) = tensor(name, "F32", shape, bytes);
        assert_eq!(kind, FailureKind::Load, "{message}");
        assert!(message.contains(name), "{message}");
    }
    // With and without the prefix it is the same tensor.
    let twice = r#"{"model.norm.weight": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]},
                    "norm.weight": {"dtype": "F32", "shape": [1], "data_offsets": [4, 8]}}"#;
    let (_, message) = refusal(folder_of(twice, 8).path());
    assert!(message.contains("output_norm.weight"), "{message}");
}

#[test]
fn configurations_are_read_with_care() {
    let with = |text: &str| {
        let folder = folder_of("{}", 0);
        fs::write(folder.path().join("config.json"), text).unwrap();
        refusal(folder.path())
    };
    let (kind, message) = with(r#"{"model_type": "mamba"}"#);
    assert_eq!(kind, FailureKind::Unsupported);
    assert!(message.contains("`mamba`") && message.contains("qwen3"));
    let (kind, message) = with(r#"{"model_type": "llama"}"#);
    assert_eq!(kind, FailureKind::Load);
    assert!(message.contains("hidden_size"), "{message}");
    for text in ["", "[]", "{", "{\"hidden_size\": -4}"] {
        let (_, message) = with(text);
        assert!(message.contains("config.json"), "{text}: {message}");
    }
}

/// Seeds for `fuzz/`, see its README.
#[test]
#[ignore = "writes files"]
fn write_fuzz_seeds() {
    let corpus = std::env::var_os("HARNESS_FUZZ_CORPUS").unwrap();
    let put = |target: &str, name: &str, bytes: &[u8]| {
        let folder = Path::new(&corpus).join(target);
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join(name), bytes).unwrap();
    };
    let header = r#"{"model.layers.0.self_attn.q_proj.weight":{"dtype":"F16","shape":[4,2],"data_offsets":[0,16]},"model.norm.weight":{"dtype":"BF16","shape":[4],"data_offsets":[16,24]}}"#;
    let folder = folder_of(header, 24);
    let file = fs::read(folder.path().join("model.safetensors")).unwrap();
    put("safetensors", "two", &file);
    put("config", "llama", CONFIG.as_bytes());
    for family in [
        r#""llama", "rope_scaling": {"rope_type": "llama3", "factor": 8, "original_max_position_embeddings": 64}"#,
        r#""gemma3_text", "rope_parameters": {"full_attention": {"rope_type": "linear", "factor": 8}}"#,
        r#""phi3", "rope_scaling": {"type": "longrope", "long_factor": [1, 2], "short_factor": [1, 1]}"#,
        r#""gpt2", "layer_norm_epsilon": 1e-5"#,
        r#""gemma2", "layer_types": ["sliding_attention"]"#,
        r#""phi", "partial_rotary_factor": 0.5"#,
    ] {
        let text = CONFIG.replace(r#""llama""#, family);
        let name: String = family
            .chars()
            .filter(char::is_ascii_alphanumeric)
            .take(12)
            .collect();
        put("config", &name, text.as_bytes());
    }
    let tokenizers = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/tokenizers");
    for entry in tokenizers.read_dir().unwrap() {
        let entry = entry.unwrap();
        let text = fs::read(entry.path().join("tokenizer.json")).unwrap();
        put("tokenizer", entry.file_name().to_str().unwrap(), &text);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn any_bytes_are_weights_or_an_error(
        header in "\\PC{0,40}",
        length in prop_oneof![Just(None), any::<u64>().prop_map(Some)],
        data in prop::collection::vec(any::<u8>(), 0..64),
    ) {
        let length = length.unwrap_or(header.len() as u64);
        let file = [&length.to_le_bytes(), header.as_bytes(), &data].concat();
        let _ = source(folder_with(&file).path());
    }

    #[test]
    fn damaged_headers_are_read_or_refused(at in 0usize..120, byte in any::<u8>()) {
        let header = r#"{"model.norm.weight":{"dtype":"F16","shape":[2,4],"data_offsets":[0,16]}}"#;
        let mut file = (header.len() as u64).to_le_bytes().to_vec();
        file.extend_from_slice(header.as_bytes());
        file.resize(file.len() + 16, 0);
        let at = at % file.len();
        file[at] = byte;
        let folder = folder_with(&file);
        if let Ok(source) = source(folder.path()) {
            for entry in source.tensors() {
                let stored = source.tensor(&entry.name).unwrap();
                prop_assert_eq!(stored.bytes.len(), entry.byte_len());
            }
        }
    }

    #[test]
    fn damaged_configurations_are_read_or_refused(at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut text = CONFIG.as_bytes().to_vec();
        let at = at.index(text.len());
        text[at] = byte;
        let folder = folder_of("{}", 0);
        fs::write(folder.path().join("config.json"), text).unwrap();
        let _ = source(folder.path());
    }
}
