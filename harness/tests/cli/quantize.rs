//! `harness model quantize` on the real fixture.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use engine::ModelArtifact;
use reference::gguf::{GgmlType, GgufFile, Metadata, Writer};
use serde_json::Value;
use tempfile::TempDir;

use crate::support::{permissions, text};

/// A folder that holds the fixture as `in.gguf`.
fn folder() -> TempDir {
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join("in.gguf"), fixtures::MODEL).unwrap();
    folder
}

fn quantize(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(assert_cmd::cargo::cargo_bin!("harness"))
        .current_dir(folder)
        .args(["model", "quantize"])
        .args(arguments)
        .output()
        .unwrap()
}

/// Quantizes, expecting success, and opens the result.
fn made(folder: &Path, arguments: &[&str]) -> (Output, GgufFile) {
    let output = quantize(folder, arguments);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let path = folder.join(arguments[1]);
    assert_eq!(permissions(&path), permissions(&folder.join(arguments[0])));
    (output, open(&path))
}

fn open(path: &Path) -> GgufFile {
    GgufFile::open(&ModelArtifact::from_path(path).unwrap()).unwrap()
}

/// Quantizes, expecting bad input: exit 2, one line that names `word`, and a
/// folder with the `files` it had.
fn refused(folder: &Path, arguments: &[&str], word: &str) {
    let files = || {
        let entries = fs::read_dir(folder).unwrap();
        let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        names
    };
    let before = files();
    let output = quantize(folder, arguments);
    let error = text(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{arguments:?}: {error}");
    assert!(error.contains(word), "{arguments:?}: {error}");
    assert!(!error.contains("panicked"), "{error}");
    assert!(output.stdout.is_empty(), "{arguments:?}");
    assert_eq!(files(), before, "{arguments:?}");
}

fn type_of(file: &GgufFile, name: &str) -> GgmlType {
    file.tensor(name).unwrap().ggml_type
}

#[test]
fn types_are_those_of_llama_quantize() {
    let folder = folder();
    let (_, file) = made(folder.path(), &["in.gguf", "q4.gguf", "--type", "q4_k"]);
    assert_eq!(type_of(&file, "blk.0.ffn_up.weight"), GgmlType::Q4K);
    assert_eq!(type_of(&file, "blk.0.ffn_norm.weight"), GgmlType::F32);
    // Head and embedding are one here.
    assert_eq!(type_of(&file, "token_embd.weight"), GgmlType::Q6K);
    let metadata = file.metadata();
    assert_eq!(metadata.get::<u32>("general.file_type"), Ok(14));
    assert_eq!(metadata.get::<u32>("general.quantization_version"), Ok(2));

    let pure = ["in.gguf", "pure.gguf", "--type", "q4_k", "--pure"];
    let (_, file) = made(folder.path(), &pure);
    assert_eq!(type_of(&file, "token_embd.weight"), GgmlType::Q4K);

    let own = [
        "in.gguf",
        "own.gguf",
        "--type",
        "q4_0",
        "--token-embedding-type",
        "q8_0",
    ];
    let (_, file) = made(folder.path(), &own);
    assert_eq!(type_of(&file, "token_embd.weight"), GgmlType::Q8_0);
    let own = [
        "in.gguf",
        "o.gguf",
        "--type",
        "q4_0",
        "--output-type",
        "f16",
    ];
    let (_, file) = made(folder.path(), &own);
    assert_eq!(type_of(&file, "token_embd.weight"), GgmlType::F16);
}

#[test]
fn reports_agree_and_the_model_runs() {
    let folder = folder();
    let json = ["in.gguf", "a.gguf", "--type", "q8_0", "--format", "json"];
    let (output, _) = made(folder.path(), &json);
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let sha256 = engine::sha256_hex(&fs::read(folder.path().join("a.gguf")).unwrap());
    assert_eq!(report["output"]["sha256"], sha256);
    let tensors = report["tensors"].as_array().unwrap();
    let embedding = tensors
        .iter()
        .find(|tensor| tensor["name"] == "token_embd.weight")
        .unwrap();
    assert_eq!(embedding["to"], "q8_0");
    assert_eq!(embedding["bits_per_weight"], 8.5);
    // The noise of Q8_0 on normal weights, √(E[max²] / 12) / 127 of blocks of
    // 32, is 0.0054; half a bit to either side.
    let rmse = embedding["relative_rmse"].as_f64().unwrap();
    assert!((0.0038..0.0077).contains(&rmse), "{rmse}");
    let norm = tensors
        .iter()
        .find(|tensor| tensor["name"] == "output_norm.weight")
        .unwrap();
    assert!(norm["relative_rmse"].is_null(), "norms are copied");

    let csv = ["in.gguf", "b.gguf", "--type", "q8_0", "--format", "csv"];
    let (output, _) = made(folder.path(), &csv);
    let mut rows = csv::Reader::from_reader(output.stdout.as_slice());
    let names: Vec<String> = rows
        .records()
        .map(|row| row.unwrap()[0].to_owned())
        .collect();
    assert_eq!(names.len(), tensors.len());
    // The same twice over: nothing depends on time or threads.
    let [a, b] = ["a.gguf", "b.gguf"].map(|name| fs::read(folder.path().join(name)).unwrap());
    assert!(a == b);

    let verify = Command::new(assert_cmd::cargo::cargo_bin!("harness"))
        .current_dir(folder.path())
        .args(["model", "verify", "a.gguf", "--sha256", &sha256])
        .output()
        .unwrap();
    assert_eq!(verify.status.code(), Some(0), "{}", text(&verify.stderr));
}

#[test]
fn core_mls_schemes_are_simulated() {
    let folder = folder();
    for scheme in ["palette4-g16", "int4-b32"] {
        let arguments = [
            "in.gguf", "out.gguf", "--type", scheme, "--format", "json", "--force",
        ];
        let (output, file) = made(folder.path(), &arguments);
        assert!(text(&output.stderr).contains("F16"), "{scheme} says so");
        assert_eq!(type_of(&file, "blk.0.attn_q.weight"), GgmlType::F16);
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        let tensor = &report["tensors"][0];
        assert_eq!(tensor["simulated"], scheme);
        assert!(tensor["bits_per_weight"].as_f64().unwrap() < 5.0);
        assert!(tensor["relative_rmse"].as_f64().unwrap() > 0.05);
        // At most 16 values in 16 rows, or in a block of 32.
        let name = tensor["name"].as_str().unwrap();
        let tensor = file.tensor(name).unwrap();
        let row = tensor.dims[0] as usize;
        let group = if scheme == "int4-b32" { 32 } else { 16 * row };
        for bytes in file.data(tensor).chunks(2 * group) {
            let mut values: Vec<_> = bytes.as_chunks::<2>().0.to_vec();
            values.sort();
            values.dedup();
            // Zero has two signs under int4.
            assert!(values.len() <= 16, "{scheme}: {}", values.len());
        }
    }
}

#[test]
fn bad_input_is_refused_and_leaves_nothing() {
    let folder = folder();
    let path = folder.path();
    refused(path, &["in.gguf", "out.gguf"], "--type");
    refused(path, &["in.gguf", "out.gguf", "--type", "q9_9"], "q4_k");
    refused(path, &["no.gguf", "out.gguf", "--type", "q8_0"], "no.gguf");
    refused(path, &["in.gguf", "in.gguf", "--type", "q8_0"], "exists");
    let itself = ["in.gguf", "in.gguf", "--type", "q8_0", "--force"];
    refused(path, &itself, "input itself");
    refused(path, &["in.gguf", ".", "--type", "q8_0"], "folder");
    refused(
        path,
        &["in.gguf", "no/out.gguf", "--type", "q8_0"],
        "cannot write",
    );
    fs::write(path.join("cut.gguf"), &fixtures::MODEL[..1_000_000]).unwrap();
    refused(
        path,
        &["cut.gguf", "out.gguf", "--type", "q8_0"],
        "truncated",
    );
    fs::create_dir(path.join("model")).unwrap();
    for name in ["config.json", "tokenizer.json", "model.safetensors"] {
        fs::write(path.join("model").join(name), "{}").unwrap();
    }
    refused(path, &["model", "out.gguf", "--type", "q8_0"], "convert");
}

#[test]
fn quantizing_twice_takes_a_flag() {
    let folder = folder();
    let path = folder.path();
    made(path, &["in.gguf", "q8.gguf", "--type", "q8_0"]);
    let again = ["q8.gguf", "q4.gguf", "--type", "q4_0"];
    refused(path, &again, "--allow-requantize");
    let mut again = again.to_vec();
    again.push("--allow-requantize");
    let (output, file) = made(path, &again);
    assert!(text(&output.stderr).contains("warning"));
    assert_eq!(type_of(&file, "blk.0.attn_q.weight"), GgmlType::Q4_0);
}

/// A model file with one matrix of two rows.
fn tiny(path: &Path, values: &[f32], metadata: &Metadata) {
    let mut writer = Writer::new(metadata);
    let dims = [values.len() as u64 / 2, 2];
    writer
        .declare("blk.0.attn_q.weight", &dims, GgmlType::F32)
        .unwrap();
    let mut body = writer.begin(fs::File::create(path).unwrap()).unwrap();
    let bytes: Vec<u8> = values
        .iter()
        .flat_map(|value| value.to_le_bytes())
        .collect();
    body.tensor(&bytes).unwrap();
    body.finish().unwrap();
}

#[test]
fn what_has_no_room_is_named_with_its_place() {
    let folder = TempDir::new().unwrap();
    let path = folder.path();
    let mut values = vec![0.5; 512];
    values[300] = f32::NAN;
    tiny(&path.join("nan.gguf"), &values, &Metadata::new());
    let nan = ["nan.gguf", "out.gguf", "--type", "q4_k"];
    refused(path, &nan, "tensor `blk.0.attn_q.weight`: element 300");
    values[300] = 1e6;
    tiny(&path.join("large.gguf"), &values, &Metadata::new());
    refused(path, &["large.gguf", "out.gguf", "--type", "f16"], "65504");
    made(path, &["large.gguf", "out.gguf", "--type", "bf16"]);

    let mut split = Metadata::new();
    split.set("split.count", 2u32);
    tiny(&path.join("split.gguf"), &[0.5; 512], &split);
    let split = ["split.gguf", "o.gguf", "--type", "q4_0"];
    refused(path, &split, "llama-gguf-split");
}

#[test]
fn rows_that_do_not_fit_take_the_next_finer_type() {
    let folder = TempDir::new().unwrap();
    let path = folder.path();
    for (row, ty) in [
        (256, GgmlType::Q4K),
        (96, GgmlType::Q5_0),
        (40, GgmlType::F16),
    ] {
        tiny(
            &path.join("in.gguf"),
            &vec![0.25; 2 * row],
            &Metadata::new(),
        );
        let arguments = ["in.gguf", "out.gguf", "--type", "q4_k", "--force"];
        let (_, file) = made(path, &arguments);
        assert_eq!(type_of(&file, "blk.0.attn_q.weight"), ty, "rows of {row}");
    }
}
