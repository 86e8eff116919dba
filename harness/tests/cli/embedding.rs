//! Suite `embedding` through the real binary, on the real fixture and on a tiny BERT.

use std::fs;
use std::path::Path;

use serde_json::{Map, Value, json};
use tempfile::TempDir;

use crate::support::{harness, record};

const QUICK: [&str; 4] = ["run", "--suite", "embedding", "--quick"];

/// Runs, expecting exit `code`; both streams as one text.
#[track_caller]
fn ends(folder: &Path, arguments: &[&str], code: i32) -> String {
    let output = harness(folder, arguments);
    let text = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap());
    let text = text.concat();
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {text}");
    assert!(!text.contains("panicked"), "{text}");
    text
}

fn value(cell: &Value, name: &str) -> f64 {
    let metrics = cell["metrics"].as_array().unwrap();
    let named = metrics.iter().find(|metric| metric["name"] == name);
    let named = named.unwrap_or_else(|| panic!("no {name}"));
    named["value"].as_f64().unwrap()
}

/// Values of one metric of one engine, in the order of the texts.
fn samples(folder: &Path, engine: &str, metric: &str) -> Vec<f64> {
    let mut reader = csv::Reader::from_path(folder.join("r/samples.csv")).unwrap();
    let rows = reader.records().map(Result::unwrap);
    rows.filter(|row| &row[3] == engine && &row[4] == metric)
        .map(|row| row[7].parse().unwrap())
        .collect()
}

/// Rows of a kept file of vectors.
fn vectors(folder: &Path, name: &str, rows: usize) -> Vec<Vec<f64>> {
    let bytes = fs::read(folder.join("r/artifacts").join(name)).unwrap();
    let values: Vec<f64> = bytes[128..]
        .chunks_exact(4)
        .map(|bytes| f32::from_le_bytes(bytes.try_into().unwrap()).into())
        .collect();
    let rows: Vec<Vec<f64>> = values
        .chunks_exact(values.len() / rows)
        .map(<[f64]>::to_vec)
        .collect();
    rows
}

#[test]
fn fine_formats_pass_and_figures_are_of_the_samples() {
    let folder = TempDir::new().unwrap();
    let folder = folder.path();
    let engines = [
        "--engine",
        "reference",
        "--engine",
        "reference:weights=f16,activations=f16,kv=f16",
        "--engine",
        "reference:weights=q8_0",
        "--set",
        "embedding.save_embeddings=true",
        "--out",
        "r",
    ];
    ends(folder, &[&QUICK[..], &engines].concat(), 0);
    let record = record(folder, "r");
    let cell = &record["cells"][2];
    let cosines = samples(folder, "reference:weights=q8_0", "cosine");
    assert_eq!(cosines.len(), 24, "one a text");
    let least = cosines.iter().copied().fold(f64::INFINITY, f64::min);
    assert_eq!(value(cell, "embedding.mean.cosine_min"), least);
    assert!(least < 1.0, "q8_0 cannot be lossless");

    // The kept vectors say the same.
    let (ours, theirs) = (
        vectors(folder, "embedding-0.embeddings.npy", 24),
        vectors(folder, "embedding-2.embeddings.npy", 24),
    );
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    for ((a, b), cosine) in ours.iter().zip(&theirs).zip(&cosines) {
        let expected = dot(a, b) / (dot(a, a) * dot(b, b)).sqrt();
        assert!((expected - cosine).abs() < 1e-12, "{expected} {cosine}");
    }
    let nearest = |vectors: &[Vec<f64>], of: usize| {
        let cosine =
            |i: usize| dot(&vectors[i], &vectors[of]) / dot(&vectors[i], &vectors[i]).sqrt();
        let others = (0..vectors.len()).filter(|&i| i != of);
        others
            .max_by(|&a, &b| cosine(a).total_cmp(&cosine(b)))
            .unwrap()
    };
    let same = (0..24)
        .filter(|&i| nearest(&ours, i) == nearest(&theirs, i))
        .count();
    assert_eq!(
        value(cell, "embedding.mean.same_nearest"),
        same as f64 / 24.0
    );
    let texts = fs::read_to_string(folder.join("r/artifacts/embedding-0.texts.jsonl")).unwrap();
    assert_eq!(texts.lines().count(), 24);
}

#[test]
fn batches_change_nothing() {
    let folder = TempDir::new().unwrap();
    let folder = folder.path();
    for batch in ["1", "5", "100"] {
        let set = format!("embedding.batch={batch}");
        let arguments = [
            "--engine",
            "reference:weights=q4_0",
            "--set",
            &set,
            "--out",
            batch,
        ];
        harness(folder, &[&QUICK[..], &arguments].concat());
    }
    let least = |run| {
        value(
            &record(folder, run)["cells"][1],
            "embedding.mean.cosine_min",
        )
    };
    assert_eq!(least("1"), least("5"));
    assert_eq!(least("1"), least("100"));
}

#[test]
fn a_stricter_bound_fails() {
    let folder = TempDir::new().unwrap();
    let strict = ["--set", "embedding.min_cosine=1"];
    // The embedded weights are f16: this one is the baseline bit by bit.
    let lossless = ["--engine", "reference:weights=f16"];
    ends(folder.path(), &[&QUICK[..], &strict, &lossless].concat(), 0);
    let lossy = ["--engine", "reference:weights=q8_0"];
    let text = ends(folder.path(), &[&QUICK[..], &strict, &lossy].concat(), 1);
    assert!(
        text.contains("FAIL  reference:weights=q8_0  embedding.mean.cosine_min"),
        "{text}"
    );
}

#[test]
fn decoders_pool_their_last_token_but_not_their_first() {
    let folder = TempDir::new().unwrap();
    let engine = ["--engine", "reference:weights=q8_0"];
    let last = ["--set", "embedding.pooling=last", "--out", "r"];
    ends(folder.path(), &[&QUICK[..], &engine, &last].concat(), 0);
    let figures = record(folder.path(), "r");
    assert!(value(&figures["cells"][1], "embedding.last.cosine_min") > 0.99);
    let first = ["--set", "embedding.pooling=cls"];
    let text = ends(folder.path(), &[&QUICK[..], &engine, &first].concat(), 3);
    assert!(
        text.contains("unsupported: the first token of a decoder"),
        "{text}"
    );
}

#[test]
fn bad_texts_are_named_by_file_and_line() {
    let folder = TempDir::new().unwrap();
    let folder = folder.path();
    let long = format!("one\ntwo\n{}\n", "many more words ".repeat(40));
    let files: [(&str, &[u8], &str); 8] = [
        (
            "latin.txt",
            b"one\ntwo\ncaf\xe9\n",
            "latin.txt, line 3: byte 4 begins no character",
        ),
        ("empty.txt", b"", "empty.txt has 0 texts; 3 are needed"),
        ("two.txt", b"one\ntwo\n", "two.txt has 2 texts"),
        (
            "gap.txt",
            b"one\n\ntwo\nthree\n",
            "gap.txt, line 2: it is blank",
        ),
        ("long.txt", long.as_bytes(), "long.txt, line 3: it has"),
        (
            "broken.jsonl",
            b"{\"id\": \"a\", \"text\": \"one\"}\n{\"id\": \"b\", \"text\": 2}\n",
            "broken.jsonl, line 2: invalid type",
        ),
        (
            "twice.jsonl",
            b"{\"id\": \"a\", \"text\": \"one\"}\n{\"id\": \"a\", \"text\": \"two\"}\n",
            "twice.jsonl, line 2: id `a` stands in line 1 too",
        ),
        ("none.txt", b"", "cannot read text none.txt"),
    ];
    for (name, bytes, why) in files {
        if name != "none.txt" {
            fs::write(folder.join(name), bytes).unwrap();
        }
        let set = format!("embedding.text={name}");
        let arguments = ["--engine", "reference:ctx=32", "--set", &set];
        let text = ends(folder, &[&QUICK[..], &arguments].concat(), 2);
        assert!(text.contains(why), "{text}");
    }
    for setting in [
        "pooling=max",
        "batch=0",
        "min_cosine=2",
        "passages=2",
        "txt=a",
    ] {
        let set = format!("embedding.{setting}");
        ends(folder, &[&QUICK[..], &["--set", &set]].concat(), 2);
    }
}

#[test]
fn texts_may_be_json_lines() {
    let folder = TempDir::new().unwrap();
    let folder = folder.path();
    let texts = [
        "Snow fell on the hills.",
        "It snowed in the mountains.",
        "He ate an apple.",
    ];
    let lines: Vec<String> = (0..)
        .zip(texts)
        .map(|(id, text)| json!({"id": format!("t{id}"), "text": text}).to_string())
        .collect();
    fs::write(folder.join("texts.jsonl"), lines.join("\n")).unwrap();
    let arguments = [
        "--engine",
        "reference:weights=q8_0",
        "--set",
        "embedding.text=texts.jsonl",
        "--out",
        "r",
    ];
    ends(folder, &[&QUICK[..], &arguments].concat(), 0);
    assert_eq!(samples(folder, "reference:weights=q8_0", "cosine").len(), 3);
}

/// The tiny BERT of the reference crate, with a tokenizer that spells words out.
fn write_bert(folder: &Path) {
    let vectors = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../reference/tests/vectors/encoders/bert"
    );
    fs::create_dir(folder).unwrap();
    for name in ["config.json", "model.safetensors"] {
        fs::copy(Path::new(vectors).join(name), folder.join(name)).unwrap();
    }
    let special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"].map(String::from);
    let letters = ('a'..='z').flat_map(|c| [c.to_string(), format!("##{c}")]);
    let vocab: Map<String, Value> = special
        .iter()
        .cloned()
        .chain(letters)
        .zip((0..).map(Value::from))
        .collect();
    let added: Vec<Value> = (0..)
        .zip(&special)
        .map(|(id, text)| {
            json!({"id": id, "content": text, "special": true, "single_word": false,
                   "lstrip": false, "rstrip": false, "normalized": false})
        })
        .collect();
    let end = |text: &str| json!({"SpecialToken": {"id": text, "type_id": 0}});
    let one = |text: &str, id: u32| json!({"id": text, "ids": [id], "tokens": [text]});
    let tokenizer = json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": added,
        "normalizer": {"type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true,
                       "strip_accents": null, "lowercase": true},
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [end("[CLS]"), {"Sequence": {"id": "A", "type_id": 0}}, end("[SEP]")],
            "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 0}}],
            "special_tokens": {"[CLS]": one("[CLS]", 2), "[SEP]": one("[SEP]", 3)},
        },
        "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": true},
        "model": {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
                  "max_input_chars_per_word": 100, "vocab": vocab},
    });
    fs::write(folder.join("tokenizer.json"), tokenizer.to_string()).unwrap();
}

#[test]
fn encoders_embed_and_generate_nothing() {
    let folder = TempDir::new().unwrap();
    let folder = folder.path();
    write_bert(&folder.join("bert"));
    fs::write(
        folder.join("texts.txt"),
        "Snow fell.\nIt snowed in the hills.\nAn apple.\n",
    )
    .unwrap();
    let model = ["--model", "bert", "--engine", "reference:weights=q8_0"];
    for pooling in ["mean", "last", "cls"] {
        let set = format!("embedding.pooling={pooling}");
        let more = [
            "--set",
            "embedding.text=texts.txt",
            "--set",
            &set,
            "--out",
            pooling,
        ];
        ends(folder, &[&QUICK[..], &model, &more].concat(), 0);
        let record = record(folder, pooling);
        let name = format!("embedding.{pooling}.nmse");
        assert!(value(&record["cells"][1], &name) > 0.0);
    }
    // A context of 96 does not hold the embedded passages, letter by letter.
    let text = ends(folder, &[&QUICK[..], &model].concat(), 2);
    assert!(text.contains("the model's context is 96"), "{text}");
    let short = ["--set", "parity.ctx=32"];
    let parity = [&["run", "--suite", "parity", "--quick"][..], &short, &model].concat();
    let text = ends(folder, &parity, 3);
    assert!(
        text.contains("unsupported: this model is an encoder"),
        "{text}"
    );
    let text = ends(folder, &["model", "verify", "bert"], 0);
    assert!(text.contains("bert with 3 layers"), "{text}");
}
