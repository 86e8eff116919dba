//! `harness model`, and what the rest needs to know of a model file.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Result, anyhow, bail};
use comfy_table::{Cell, CellAlignment, Table, presets};
use engine::{ArtifactFormat, Engine, EngineOptions, ModelArtifact, Tokenizer};
use reference::gguf::Value;
use reference::{Reference, Source, TensorEntry, first_non_finite};
use reports::ModelRecord;
use serde_json::json;

use crate::args::{ConvertFormat, ListFormat, ModelArguments, ModelCommand};
use crate::convert;
use crate::core_ml;
use crate::exit::Exit;
use crate::fetch;
use crate::output::emit;
use crate::quantize;

pub(crate) fn run(arguments: &ModelArguments) -> Result<Exit> {
    match &arguments.command {
        ModelCommand::Inspect { model, format } => inspect(model.as_ref(), format.format),
        ModelCommand::Verify { model, sha256 } => verify(model.as_ref(), sha256.as_deref()),
        ModelCommand::Quantize(arguments) => quantize::run(arguments),
        ModelCommand::Fetch(arguments) => fetch::run(arguments),
        ModelCommand::Convert(arguments) => {
            let (model, out) = (arguments.model.as_deref(), &arguments.out);
            match (arguments.to, model) {
                (ConvertFormat::Coreml, model) => {
                    core_ml::convert(model, out, &arguments.python, &arguments.options)
                }
                (ConvertFormat::Gguf, Some(model)) => convert::run(model, out),
                (ConvertFormat::Gguf, None) => bail!("name the folder to convert"),
            }
        }
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
pub(crate) fn open(artifact: &ModelArtifact) -> Result<Source> {
    Ok(Source::open(artifact)?)
}

/// The tokenizer that comes with the model.
pub(crate) fn tokenizer(artifact: &ModelArtifact) -> Result<Box<dyn Tokenizer>> {
    match artifact.format {
        ArtifactFormat::CoreMl => core_ml::tokenizer(artifact),
        ArtifactFormat::Gguf | ArtifactFormat::HuggingFace => {
            tokenizer_of(artifact, &open(artifact)?)
        }
    }
}

fn tokenizer_of(artifact: &ModelArtifact, source: &Source) -> Result<Box<dyn Tokenizer>> {
    reference::tokenizer::open(source).map_err(|error| anyhow!("{artifact}: {error}"))
}

/// How the run record identifies a model.
pub(crate) fn record(artifact: &ModelArtifact, tokenizer: &dyn Tokenizer) -> Result<ModelRecord> {
    if artifact.format == ArtifactFormat::CoreMl {
        return core_ml::record(artifact, tokenizer);
    }
    let source = &open(artifact)?;
    let architecture = source
        .metadata()
        .get::<&str>("general.architecture")
        .map_err(|error| anyhow!("{artifact}: {error}"))?;
    Ok(ModelRecord {
        name: artifact.name.clone(),
        sha256: artifact.sha256.clone(),
        size_bytes: artifact.size_bytes,
        format: artifact.format.name().into(),
        architecture: architecture.into(),
        quantization: quantization(source),
        tokenizer_sha256: tokenizer.sha256().into(),
    })
}

/// The type that most weights are stored in.
fn quantization(source: &Source) -> String {
    let most = by_type(source)
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

fn by_type(source: &Source) -> BTreeMap<&'static str, Total> {
    let mut totals: BTreeMap<&'static str, Total> = BTreeMap::new();
    for tensor in source.tensors() {
        let total = totals.entry(tensor.ggml_type.name()).or_default();
        total.tensors += 1;
        total.weights += tensor.elements() as u64;
        total.bytes += tensor.byte_len() as u64;
    }
    totals
}

fn inspect(path: Option<&PathBuf>, format: ListFormat) -> Result<Exit> {
    let artifact = artifact(path.map(PathBuf::as_path))?;
    let text = match (artifact.format, format) {
        (ArtifactFormat::CoreMl, format) => core_ml::inspect(&artifact, format)?,
        (_, ListFormat::Json) => {
            serde_json::to_string_pretty(&as_json(&artifact, &open(&artifact)?))? + "\n"
        }
        (_, ListFormat::Table) => as_text(&artifact, &open(&artifact)?)?,
    };
    emit(&text)?;
    Ok(Exit::Passed)
}

fn as_json(artifact: &ModelArtifact, source: &Source) -> serde_json::Value {
    json!({
        "name": artifact.name,
        "sha256": artifact.sha256,
        "size_bytes": artifact.size_bytes,
        "format": artifact.format.name(),
        "quantization": quantization(source),
        "metadata": source.metadata().iter().map(|(key, value)| {
            (key.to_owned(), serde_json::Value::from(brief(value)))
        }).collect::<serde_json::Map<_, _>>(),
        "tensors": source.tensors().iter().map(|tensor| json!({
            "name": tensor.name,
            "type": tensor.ggml_type.name(),
            "dims": dims(tensor),
            "bytes": tensor.byte_len(),
        })).collect::<Vec<_>>(),
    })
}

fn as_text(artifact: &ModelArtifact, source: &Source) -> Result<String> {
    let mut text = String::new();
    writeln!(
        text,
        "{artifact}\n{} bytes, sha256 {}\n",
        artifact.size_bytes, artifact.sha256
    )?;
    for (key, value) in source.metadata().iter() {
        writeln!(text, "{key} = {}", brief(value))?;
    }
    let mut table = Table::new();
    table
        .load_style(presets::UTF8_FULL_CONDENSED)
        .set_header(["tensor", "type", "dims", "bytes"]);
    let right = |text: String| Cell::new(text).set_alignment(CellAlignment::Right);
    for tensor in source.tensors() {
        let dims: Vec<String> = dims(tensor).iter().map(usize::to_string).collect();
        table.add_row([
            Cell::new(&tensor.name),
            Cell::new(tensor.ggml_type.name()),
            right(dims.join(" × ")),
            right(tensor.byte_len().to_string()),
        ]);
    }
    writeln!(text, "\n{table}\n")?;
    for (name, total) in by_type(source) {
        writeln!(
            text,
            "{name}: {} tensors, {} weights, {} bytes",
            total.tensors, total.weights, total.bytes
        )?;
    }
    Ok(text)
}

/// Extents in GGUF's order, the fastest-changing one first.
fn dims(tensor: &TensorEntry) -> Vec<usize> {
    tensor.shape.iter().rev().copied().collect()
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
    if artifact.format == ArtifactFormat::CoreMl {
        return core_ml::verify(&artifact);
    }
    let source = open(&artifact)?;
    passed(&format!(
        "structure: {} metadata keys, {} tensors, all within their files",
        source.metadata().len(),
        source.tensors().len()
    ));
    for name in source.tensors().iter().map(|entry| &entry.name) {
        let Some(tensor) = source.tensor(name) else {
            continue;
        };
        if let Some(index) = first_non_finite(&tensor).map_err(|e| anyhow!("{artifact}: {e}"))? {
            bail!("{artifact}: tensor `{name}` holds NaN or infinity at element {index}");
        }
    }
    passed("weights: every value is finite");
    let tokenizer = tokenizer_of(&artifact, &source)?;
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
