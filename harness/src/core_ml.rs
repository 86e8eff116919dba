//! `harness model` on Core ML packages.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, anyhow, bail};
use comfy_table::{Cell, CellAlignment, Table, presets};
use coreml::{Interpreter, Package, Severity, Summary};
use engine::{
    ArtifactFormat, ArtifactSource, Engine, EngineOptions, ModelArtifact, Tokenizer, Want,
};
use reports::ModelRecord;
use tempfile::TempDir;

use crate::args::ListFormat;
use crate::exit::Exit;
use crate::{convert, model};

/// The converter, as it stands in `converter/`.
const SCRIPT: [(&str, &str); 5] = [
    (
        "convert_coreml.py",
        include_str!("../converter/convert_coreml.py"),
    ),
    (
        "coreml_convert/__init__.py",
        include_str!("../converter/coreml_convert/__init__.py"),
    ),
    (
        "coreml_convert/network.py",
        include_str!("../converter/coreml_convert/network.py"),
    ),
    (
        "coreml_convert/schemes.py",
        include_str!("../converter/coreml_convert/schemes.py"),
    ),
    (
        "coreml_convert/source.py",
        include_str!("../converter/coreml_convert/source.py"),
    ),
];

/// The tokenizer that the converter has put into the package.
pub(crate) fn tokenizer(artifact: &ModelArtifact) -> Result<Box<dyn Tokenizer>> {
    let vocabulary = Package::vocabulary(path(artifact)?);
    let Some(vocabulary) = vocabulary.map_err(|error| anyhow!("{artifact}: {error}"))? else {
        bail!(
            "{artifact} holds no vocabulary, so no text can be read for it; name a model that has \
             its tokenizer (ENGINE:model=…,tokenizer=MODEL.gguf), or convert it with \
             `harness model convert --to coreml`, which puts it in"
        );
    };
    let vocabulary = ModelArtifact::from_path(&vocabulary)?;
    model::tokenizer(&vocabulary)
}

/// How the run record identifies a package.
pub(crate) fn record(artifact: &ModelArtifact, tokenizer: &dyn Tokenizer) -> Result<ModelRecord> {
    let package = open(artifact)?;
    let config = package
        .config()
        .map_err(|error| anyhow!("{artifact}: {error}"))?;
    Ok(ModelRecord {
        name: artifact.name.clone(),
        sha256: artifact.sha256.clone(),
        size_bytes: artifact.size_bytes,
        format: artifact.format.name().into(),
        architecture: (config.as_ref()).map_or("ml_program".into(), |config| {
            config.model.architecture.clone()
        }),
        quantization: match &config {
            Some(config) => config.scheme.name().into(),
            None => stored(&package),
        },
        tokenizer_sha256: tokenizer.sha256().into(),
    })
}

/// How most weights are stored.
fn stored(package: &Package) -> String {
    let weights = Summary::new(package).weights.into_iter();
    let most = weights.max_by_key(|weights| weights.weights);
    most.map_or("none".into(), |most| most.scheme)
}

fn path(artifact: &ModelArtifact) -> Result<&Path> {
    match &artifact.source {
        ArtifactSource::Path(path) => Ok(path),
        ArtifactSource::Embedded(_) => bail!("{artifact} is no Core ML package"),
    }
}

fn open(artifact: &ModelArtifact) -> Result<Package> {
    Package::open(path(artifact)?).map_err(|error| anyhow!("{artifact}: {error}"))
}

/// What `harness model inspect` prints.
pub(crate) fn inspect(artifact: &ModelArtifact, format: ListFormat) -> Result<String> {
    let summary = Summary::new(&open(artifact)?);
    match format {
        ListFormat::Table => as_text(artifact, &summary),
        ListFormat::Json => {
            let mut value = serde_json::to_value(&summary)?;
            value["name"] = artifact.name.as_str().into();
            value["sha256"] = artifact.sha256.as_str().into();
            value["size_bytes"] = artifact.size_bytes.into();
            value["format"] = artifact.format.name().into();
            Ok(serde_json::to_string_pretty(&value)? + "\n")
        }
    }
}

fn as_text(artifact: &ModelArtifact, summary: &Summary) -> Result<String> {
    let mut text = String::new();
    writeln!(
        text,
        "{artifact}\n{} bytes, sha256 {}\n",
        artifact.size_bytes, artifact.sha256
    )?;
    writeln!(
        text,
        "specification version {} ({}), model version {}",
        summary.specification_version,
        summary
            .minimum_deployment_target
            .unwrap_or("no system known here"),
        summary.model_version
    )?;
    for (key, value) in &summary.metadata {
        writeln!(text, "{key} = {value}")?;
    }
    for function in &summary.functions {
        writeln!(text, "\nfunction {}", function.name)?;
        for input in &function.inputs {
            writeln!(text, "  takes    {input}")?;
        }
        for output in &function.outputs {
            writeln!(text, "  answers  {output}")?;
        }
        for state in &function.states {
            writeln!(text, "  keeps    {state}")?;
        }
        let mut operations: Vec<_> = function.operations.iter().collect();
        operations.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
        let operations: Vec<String> = operations
            .iter()
            .map(|(kind, count)| format!("{count} {kind}"))
            .collect();
        writeln!(text, "  states of {} bytes", function.state_bytes)?;
        writeln!(text, "  {}", operations.join(", "))?;
    }
    let mut table = Table::new();
    table.load_style(presets::UTF8_FULL_CONDENSED).set_header([
        "stored as",
        "tensors",
        "weights",
        "bytes",
        "bits per weight",
    ]);
    for weights in &summary.weights {
        let bits = weights.bytes as f64 * 8.0 / weights.weights.max(1) as f64;
        let figures = [
            weights.tensors.to_string(),
            weights.weights.to_string(),
            weights.bytes.to_string(),
            format!("{bits:.2}"),
        ];
        let right = |text| Cell::new(text).set_alignment(CellAlignment::Right);
        let row = figures.into_iter().map(right);
        table.add_row(std::iter::once(Cell::new(&weights.scheme)).chain(row));
    }
    writeln!(text, "\n{table}")?;
    Ok(text)
}

/// What `harness model verify` does once the hash is checked.
pub(crate) fn verify(artifact: &ModelArtifact) -> Result<Exit> {
    let passed = |what: &str| anstream::println!("\x1b[32mok\x1b[0m  {what}");
    let package = open(artifact)?;
    let functions = Summary::new(&package).functions.into_iter();
    let functions: Vec<String> = functions.map(|function| function.name).collect();
    passed(&format!(
        "structure: manifest, specification, functions {}",
        functions.join(", ")
    ));
    let findings = coreml::check(&package);
    let mut errors = 0;
    for finding in &findings {
        match finding.severity {
            Severity::Error => {
                errors += 1;
                anstream::println!("\x1b[31merror\x1b[0m  {finding}");
            }
            Severity::Warning => anstream::println!("\x1b[33mwarning\x1b[0m  {finding}"),
            Severity::Note => anstream::println!("note  {finding}"),
        }
    }
    if errors > 0 {
        bail!("{artifact}: {errors} error(s), the first: {}", findings[0]);
    }
    passed("program: order of values, types, weights, use of states");
    match package.vocabulary {
        Some(_) => {
            let tokenizer = tokenizer(artifact)?;
            passed(&format!("tokenizer: sha256 {}", tokenizer.sha256()));
        }
        None => anstream::println!("note  holds no vocabulary; name a model's by tokenizer="),
    }
    let opened = Interpreter.open(artifact, &EngineOptions::default());
    let opened = opened.map_err(|error| anyhow!("{error}"))?;
    let opened = engine::checked(opened, Default::default());
    let config = opened.config();
    let answer = opened
        .session()
        .and_then(|mut session| session.extend(&[0], Want::Last));
    answer.map_err(|error| anyhow!("{artifact}: its first token: {error}"))?;
    passed(&format!(
        "execution: {} with {} layers answers {} finite logits",
        config.architecture, config.layers, config.vocab
    ));
    anstream::println!("{artifact} is sound, sha256 {}", artifact.sha256);
    Ok(Exit::Passed)
}

/// `harness model convert --to coreml`.
pub(crate) fn convert(
    model: Option<&Path>,
    out: &Path,
    python: &OsString,
    options: &[OsString],
) -> Result<Exit> {
    let artifact = model::artifact(model)?;
    let work = TempDir::with_prefix("harness-coreml-").context("cannot make a temporary folder")?;
    let gguf = match (&artifact.source, artifact.format) {
        (_, ArtifactFormat::CoreMl) => bail!("{artifact} is a Core ML package already"),
        (ArtifactSource::Path(path), ArtifactFormat::Gguf) => path.clone(),
        (ArtifactSource::Embedded(bytes), _) => {
            let path = work.path().join(format!("{}.gguf", artifact.name));
            fs::write(&path, bytes).with_context(|| format!("cannot write {}", path.display()))?;
            path
        }
        (ArtifactSource::Path(folder), ArtifactFormat::HuggingFace) => {
            let path = work.path().join(format!("{}.gguf", artifact.name));
            convert::run(folder, &path)?;
            path
        }
    };
    let script = unpack(work.path())?;
    let status = Command::new(python)
        .arg(&script)
        .arg(&gguf)
        .arg("--out")
        .arg(out)
        .args(options)
        .stdin(Stdio::null())
        .status()
        .with_context(|| {
            format!(
                "cannot run `{}`: the converter is a Python script on coremltools; --python names \
                 an interpreter that has it",
                python.display()
            )
        })?;
    if !status.success() {
        bail!("the converter ended with {status}; its message is above");
    }
    anstream::println!("{}: {artifact} as an ML Program", out.display());
    Ok(Exit::Passed)
}

fn unpack(folder: &Path) -> Result<PathBuf> {
    for (name, text) in SCRIPT {
        let path = folder.join(name);
        let cannot = || format!("cannot write {}", path.display());
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).with_context(cannot)?;
        }
        fs::write(&path, text).with_context(cannot)?;
    }
    Ok(folder.join(SCRIPT[0].0))
}
