//! `harness model`, and what the rest needs to know of a model file.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail};
use comfy_table::{Cell, CellAlignment, Table, presets};
use engine::{Engine, EngineOptions, ModelArtifact, Tokenizer};
use reference::gguf::{GgufFile, Value};
use reference::tokenizer::GgufTokenizer;
use reference::{Reference, first_non_finite};
use reports::ModelRecord;
use serde_json::json;

use crate::args::{ListFormat, ModelArguments, ModelCommand};
use crate::exit::Exit;
use crate::quantize;

pub(crate) fn run(arguments: &ModelArguments) -> Result<Exit> {
    match &arguments.command {
        ModelCommand::Inspect { model, format } => inspect(model.as_ref(), format.format),
        ModelCommand::Verify { model, sha256 } => verify(model.as_ref(), sha256.as_deref()),
        ModelCommand::Quantize(arguments) => quantize::run(arguments),
    }
}

/// The model at `path`, or the embedded one.
pub(crate) fn artifact(path: Option<&Path>) -> Result<ModelArtifact> {
    Ok(match path {
        Some(path) => ModelArtifact::from_path(path)?,
        None => ModelArtifact::embedded(fixtures::MODEL_NAME, fixtures::MODEL),
    })
}

/// Opens and validates the container.
pub(crate) fn open(artifact: &ModelArtifact) -> Result<GgufFile> {
    GgufFile::open(artifact).map_err(|error| anyhow!("{artifact}: {error}"))
}

/// How the run record identifies a model.
pub(crate) fn record(
    artifact: &ModelArtifact,
    file: &GgufFile,
    tokenizer: &dyn Tokenizer,
) -> Result<ModelRecord> {
    let architecture = file
        .metadata()
        .get::<&str>("general.architecture")
        .map_err(|error| anyhow!("{artifact}: {error}"))?;
    Ok(ModelRecord {
        name: artifact.name.clone(),
        sha256: artifact.sha256.clone(),
        size_bytes: artifact.size_bytes,
        format: "gguf".into(),
        architecture: architecture.into(),
        quantization: quantization(file),
        tokenizer_sha256: tokenizer.sha256().into(),
    })
}

/// The type that most weights are stored in.
fn quantization(file: &GgufFile) -> String {
    let most = by_type(file)
        .into_iter()
        .max_by_key(|(_, total)| total.weights);
    most.map_or("none".into(), |(name, _)| name.into())
}

#[derive(Default)]
struct Total {
    tensors: u64,
    weights: u64,
    bytes: u64,
}

fn by_type(file: &GgufFile) -> BTreeMap<&'static str, Total> {
    let mut totals: BTreeMap<&'static str, Total> = BTreeMap::new();
    for tensor in file.tensors() {
        let total = totals.entry(tensor.ggml_type.name()).or_default();
        total.tensors += 1;
        total.weights += tensor.dims.iter().product::<u64>();
        total.bytes += file.data(tensor).len() as u64;
    }
    totals
}

fn inspect(path: Option<&PathBuf>, format: ListFormat) -> Result<Exit> {
    let artifact = artifact(path.map(PathBuf::as_path))?;
    let file = open(&artifact)?;
    let text = match format {
        ListFormat::Json => serde_json::to_string_pretty(&as_json(&artifact, &file))? + "\n",
        ListFormat::Table => as_text(&artifact, &file)?,
    };
    std::io::stdout()
        .write_all(text.as_bytes())
        .context("cannot write to standard output")?;
    Ok(Exit::Passed)
}

fn as_json(artifact: &ModelArtifact, file: &GgufFile) -> serde_json::Value {
    json!({
        "name": artifact.name,
        "sha256": artifact.sha256,
        "size_bytes": artifact.size_bytes,
        "format": "gguf",
        "quantization": quantization(file),
        "metadata": file.metadata().iter().map(|(key, value)| {
            (key.to_owned(), serde_json::Value::from(brief(value)))
        }).collect::<serde_json::Map<_, _>>(),
        "tensors": file.tensors().iter().map(|tensor| json!({
            "name": tensor.name,
            "type": tensor.ggml_type.name(),
            "dims": tensor.dims.to_vec(),
            "bytes": file.data(tensor).len(),
        })).collect::<Vec<_>>(),
    })
}

fn as_text(artifact: &ModelArtifact, file: &GgufFile) -> Result<String> {
    let mut text = String::new();
    writeln!(
        text,
        "{artifact}\n{} bytes, sha256 {}\n",
        artifact.size_bytes, artifact.sha256
    )?;
    for (key, value) in file.metadata().iter() {
        writeln!(text, "{key} = {}", brief(value))?;
    }
    let mut table = Table::new();
    table
        .load_style(presets::UTF8_FULL_CONDENSED)
        .set_header(["tensor", "type", "dims", "bytes"]);
    let right = |text: String| Cell::new(text).set_alignment(CellAlignment::Right);
    for tensor in file.tensors() {
        let dims: Vec<String> = tensor.dims.iter().map(u64::to_string).collect();
        table.add_row([
            Cell::new(&tensor.name),
            Cell::new(tensor.ggml_type.name()),
            right(dims.join(" × ")),
            right(file.data(tensor).len().to_string()),
        ]);
    }
    writeln!(text, "\n{table}\n")?;
    for (name, total) in by_type(file) {
        writeln!(
            text,
            "{name}: {} tensors, {} weights, {} bytes",
            total.tensors, total.weights, total.bytes
        )?;
    }
    Ok(text)
}

/// A metadata value on one line: vocabularies and templates are cut short.
fn brief(value: &Value) -> String {
    const LONGEST: usize = 100;
    let text = match value {
        Value::String(text) => text.escape_debug().to_string(),
        other => other.to_string(),
    };
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}… ({} characters)", &text[..end], text.chars().count()),
        None => text,
    }
}

fn verify(path: Option<&PathBuf>, sha256: Option<&str>) -> Result<Exit> {
    let artifact = artifact(path.map(PathBuf::as_path))?;
    let passed = |what: &str| anstream::println!("\x1b[32mok\x1b[0m  {what}");
    if let Some(expected) = sha256 {
        if !expected.eq_ignore_ascii_case(&artifact.sha256) {
            bail!(
                "{artifact}: its sha256 is {}, not {expected}",
                artifact.sha256
            );
        }
        passed("sha256 is the expected one");
    }
    let file = open(&artifact)?;
    passed(&format!(
        "structure: {} metadata keys, {} tensors, all within the file",
        file.metadata().len(),
        file.tensors().len()
    ));
    for tensor in file.tensors() {
        if let Some(index) =
            first_non_finite(&file, tensor).map_err(|e| anyhow!("{artifact}: {e}"))?
        {
            bail!(
                "{artifact}: tensor `{}` holds NaN or infinity at element {index}",
                tensor.name
            );
        }
    }
    passed("weights: every value is finite");
    let tokenizer = GgufTokenizer::from_metadata(file.metadata())
        .map_err(|error| anyhow!("{artifact}: {error}"))?;
    passed(&format!("tokenizer: sha256 {}", tokenizer.sha256()));
    let model = Reference
        .open(&artifact, &EngineOptions::default())
        .map_err(|error| anyhow!("{artifact}: {error}"))?;
    let config = model.config();
    passed(&format!(
        "shapes: {} with {} layers, {} parameters, context {}",
        config.architecture, config.layers, config.parameters, config.context
    ));
    anstream::println!("{artifact} is sound, sha256 {}", artifact.sha256);
    Ok(Exit::Passed)
}
