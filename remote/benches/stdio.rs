//! What the protocol costs a decode step: an engine that computes nothing, in a process of its
//! own, asked for one token at a time.
//!
//! `cargo bench -p harness-remote`. This program is the engine too, when called with `echo`.
#![allow(missing_docs, clippy::unwrap_used)]

use std::hint::black_box;
use std::io::{BufRead, Write, stdin, stdout};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use criterion::{Criterion, Throughput};
use engine::{ArtifactFormat, ArtifactSource, Engine, EngineOptions, Model, ModelArtifact, Want};
use harness_remote::Stdio;
use serde_json::{Value, json};

const VOCABULARIES: [usize; 3] = [4_096, 32_768, 131_072];

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    match &arguments[..] {
        [_, echo, vocab] if echo == "echo" => answer(vocab.parse().unwrap()),
        _ => {
            let mut criterion = Criterion::default().configure_from_args();
            decode(&mut criterion);
            criterion.final_summary();
        }
    }
}

fn decode(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("decode_step");
    for vocab in VOCABULARIES {
        let model = open(vocab);
        let mut session = model.session().unwrap();
        if vocab == VOCABULARIES[0] {
            group.bench_function("no_logits", |bencher| {
                bencher.iter(|| black_box(session.extend(&[1], Want::None).unwrap()));
            });
        }
        group.throughput(Throughput::Bytes(4 * vocab as u64));
        group.bench_function(format!("vocab_{vocab}"), |bencher| {
            bencher.iter(|| black_box(session.extend(&[1], Want::Last).unwrap()));
        });
    }
    group.finish();
}

fn open(vocab: usize) -> Box<dyn Model> {
    let this = std::env::current_exe().unwrap();
    let mut options = EngineOptions::default();
    options.set("command", format!("'{}' echo {vocab}", this.display()));
    let model = ModelArtifact {
        name: "none".into(),
        source: ArtifactSource::Embedded(b"GGUF"),
        format: ArtifactFormat::Gguf,
        sha256: String::new(),
        size_bytes: 4,
    };
    Stdio.open(&model, &options).unwrap()
}

/// An engine that knows its answers by heart.
fn answer(vocab: usize) {
    let logits: Vec<u8> = (0..vocab)
        .flat_map(|i| (i as f32).sin().to_le_bytes())
        .collect();
    let logits = STANDARD.encode(logits);
    let mut len = 0;
    for line in stdin().lock().lines() {
        let request: Value = serde_json::from_str(&line.unwrap()).unwrap();
        let id = &request["id"];
        let line = match request["op"].as_str().unwrap() {
            "hello" => json!({
                "id": id, "protocol": 1, "engine": {"id": "echo"}, "capabilities": ["full_logits"],
            })
            .to_string(),
            "open" => json!({
                "id": id,
                "config": {
                    "architecture": "echo", "layers": 1, "hidden": 1, "feed_forward": 1,
                    "heads": 1, "kv_heads": 1, "head_dim": 1, "parameters": 0,
                    "vocab": vocab, "context": 1 << 24,
                },
                "numerics": {"weights": "f32", "activations": "f32", "kv": "f32"},
            })
            .to_string(),
            "extend" => {
                len += 1;
                match request["want"] == "last" {
                    true => {
                        format!(r#"{{"id":{id},"len":{len},"compute_ns":0,"logits":"{logits}"}}"#)
                    }
                    false => format!(r#"{{"id":{id},"len":{len},"compute_ns":0}}"#),
                }
            }
            "shutdown" => break,
            _ => json!({"id": id, "session": 1}).to_string(),
        };
        let mut stdout = stdout().lock();
        stdout.write_all((line + "\n").as_bytes()).unwrap();
        stdout.flush().unwrap();
    }
}
