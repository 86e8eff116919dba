//! The real binary on a Hugging Face folder.

use std::fs;
use std::path::Path;

use serde_json::{Map, Value, json};
use tempfile::TempDir;

use crate::support::{ends, prints, refused, text};

const TOKENIZER: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../reference/tests/vectors/tokenizers/"
);

/// A Llama of one layer in the folder `model`, with the tokenizer called
/// `tokenizer` and weights made by `weight` from their number.
fn write_model(folder: &Path, tokenizer: &str, weight: impl Fn(u32) -> f32) {
    let folder = folder.join("model");
    fs::create_dir(&folder).unwrap();
    for name in ["tokenizer.json", "tokenizer_config.json"] {
        let from = Path::new(TOKENIZER).join(tokenizer).join(name);
        fs::copy(from, folder.join(name)).unwrap();
    }
    let config = json!({
        "model_type": "llama", "hidden_size": 32, "intermediate_size": 48,
        "num_hidden_layers": 1, "num_attention_heads": 2, "max_position_embeddings": 64,
        "vocab_size": 720, "tie_word_embeddings": true,
    });
    fs::write(folder.join("config.json"), config.to_string()).unwrap();
    let (mut header, mut data) = (Map::new(), Vec::new());
    let shapes: [(&str, &[usize]); 11] = [
        ("embed_tokens", &[720, 32]),
        ("norm", &[32]),
        ("layers.0.input_layernorm", &[32]),
        ("layers.0.self_attn.q_proj", &[32, 32]),
        ("layers.0.self_attn.k_proj", &[32, 32]),
        ("layers.0.self_attn.v_proj", &[32, 32]),
        ("layers.0.self_attn.o_proj", &[32, 32]),
        ("layers.0.post_attention_layernorm", &[32]),
        ("layers.0.mlp.gate_proj", &[48, 32]),
        ("layers.0.mlp.up_proj", &[48, 32]),
        ("layers.0.mlp.down_proj", &[32, 48]),
    ];
    for (name, shape) in shapes {
        let start = data.len();
        for number in 0..shape.iter().product::<usize>() {
            data.extend_from_slice(&weight((start + number) as u32).to_le_bytes());
        }
        header.insert(
            format!("model.{name}.weight"),
            json!({"dtype": "F32", "shape": shape, "data_offsets": [start, data.len()]}),
        );
    }
    let header = Value::from(header).to_string();
    let length = (header.len() as u64).to_le_bytes();
    let file = [&length, header.as_bytes(), &data].concat();
    fs::write(folder.join("model.safetensors"), file).unwrap();
}

/// Scattered over ±0.1 by Knuth's multiplicative hash.
fn scattered(number: u32) -> f32 {
    number.wrapping_mul(2_654_435_761) as f32 / u32::MAX as f32 * 0.2 - 0.1
}

#[test]
fn a_folder_is_verified_and_converted() {
    let work = TempDir::new().unwrap();
    write_model(work.path(), "gpt2", scattered);
    let said = prints(work.path(), &["model", "verify", "model"]);
    assert!(said.contains("is sound"), "{said}");
    let json = prints(
        work.path(),
        &["model", "inspect", "model", "--format", "json"],
    );
    let shown: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(shown["format"], "hugging_face");
    assert_eq!(shown["metadata"]["llama.block_count"], "1");

    let convert = [
        "model",
        "convert",
        "model",
        "--to",
        "gguf",
        "--out",
        "model.gguf",
    ];
    prints(work.path(), &convert);
    prints(work.path(), &["model", "verify", "model.gguf"]);
    refused(work.path(), &convert, "exists");
    let again = ["model", "convert", "model.gguf", "--out", "other.gguf"];
    refused(work.path(), &again, "already");
    refused(
        work.path(),
        &["model", "convert", ".", "--out", "x"],
        "config.json",
    );

    // The same weights and the same tokenizer: there is nothing between them.
    let record = prints(
        work.path(),
        &[
            "run",
            "--suite",
            "parity",
            "--quick",
            "--format",
            "json",
            "--set",
            "parity.ctx=64",
            "--engine",
            "reference:model=model",
            "--engine",
            "reference:model=model.gguf",
            "--gate",
            "parity.kl_max == 0",
            "--out",
            "run",
        ],
    );
    assert!(record.contains("hugging_face"), "{record}");
}

#[test]
fn what_cannot_be_converted_leaves_nothing_behind() {
    let work = TempDir::new().unwrap();
    write_model(work.path(), "llama2", scattered);
    prints(work.path(), &["model", "verify", "model"]);
    let convert = ["model", "convert", "model", "--out", "model.gguf"];
    refused(work.path(), &convert, "tokenizer");
    assert_eq!(fs::read_dir(work.path()).unwrap().count(), 1);
}

#[test]
fn weights_that_are_no_numbers_are_found() {
    let work = TempDir::new().unwrap();
    write_model(work.path(), "gpt2", |number| {
        if number == 7 { f32::NAN } else { 0.0 }
    });
    // What the file says of itself stands on standard output before.
    let output = ends(work.path(), &["model", "verify", "model"], 2);
    let error = text(&output.stderr);
    assert!(error.contains("element 7"), "{error}");
}
