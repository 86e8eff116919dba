//! `harness model quantize`.

use std::fs::{self, File};
use std::io::BufWriter;
use std::path::Path;

use anyhow::{Context, Result, anyhow, bail};
use comfy_table::{Cell, CellAlignment, Table, presets};
use engine::{ArtifactFormat, ModelArtifact, NumberFormat};
use reference::gguf::GgufFile;
use reference::quant::file::{Distortion, Plan, Recipe, TensorReport};
use serde_json::json;
use tempfile::NamedTempFile;

use crate::args::{QuantizeArguments, ReportFormat};
use crate::exit::Exit;
use crate::model::artifact;
use crate::output::emit;
use crate::run::progress;

pub(crate) fn run(arguments: &QuantizeArguments) -> Result<Exit> {
    let target = Target::new(arguments)?;
    let artifact = artifact(Some(&arguments.input))?;
    if artifact.format != ArtifactFormat::Gguf {
        bail!("{artifact} is no GGUF file; convert it first with `harness model convert`");
    }
    let file = GgufFile::open(&artifact).map_err(|error| anyhow!("{artifact}: {error}"))?;
    let recipe = Recipe {
        format: arguments.format,
        output: arguments.output_type,
        token_embedding: arguments.token_embedding_type,
        pure: arguments.pure,
    };
    let plan = Plan::new(&file, &recipe).map_err(|error| anyhow!("{artifact}: {error}"))?;
    if let Some(tensor) = plan.quantized_twice() {
        let twice = format!(
            "{artifact}: tensor `{}` is {} already, and errors of quantizing twice add up",
            tensor.name, tensor.ggml_type
        );
        if !arguments.allow_requantize {
            bail!("{twice}; start from an F16 file, or pass --allow-requantize");
        }
        anstream::eprintln!("\x1b[33mwarning:\x1b[0m {twice}");
    }
    let reports = target.write(&artifact, &plan)?;
    let text = match arguments.report {
        ReportFormat::Table => as_text(&arguments.output, &reports)?,
        ReportFormat::Json => as_json(&artifact, &arguments.output, &reports)?,
        ReportFormat::Csv => as_csv(&reports)?,
    };
    emit(&text)?;
    if let Some(format) = reports.iter().find_map(|report| report.simulated) {
        anstream::eprintln!(
            "\x1b[33mnote:\x1b[0m GGUF has no {format}: the file holds in F16 what {format} makes \
             of the weights, and is no smaller for it"
        );
    }
    Ok(Exit::Passed)
}

/// A file that appears whole or not at all.
struct Target<'a> {
    path: &'a Path,
    force: bool,
    scratch: NamedTempFile,
}

impl<'a> Target<'a> {
    fn new(arguments: &'a QuantizeArguments) -> Result<Self> {
        let path = arguments.output.as_path();
        if path.is_dir() {
            bail!("{} is a folder; name a file", path.display());
        }
        if path.exists() && !arguments.force {
            bail!("{} exists; --force replaces it", path.display());
        }
        let same =
            |input: &Path| Some(fs::canonicalize(input).ok()? == fs::canonicalize(path).ok()?);
        if same(&arguments.input) == Some(true) {
            bail!("{} is the input itself; name another file", path.display());
        }
        // Beside the target: renaming works within one file system only.
        let folder = match path.parent() {
            Some(folder) if folder != Path::new("") => folder,
            _ => Path::new("."),
        };
        // Made here for the permissions of any other file: temporary ones are private.
        let scratch = tempfile::Builder::new()
            .prefix(".harness-quantize-")
            .make_in(folder, |path| File::create_new(path))
            .with_context(|| format!("cannot write into {}", folder.display()))?;
        let abandoned = scratch.path().to_owned();
        ctrlc::set_handler(move || {
            let _ = fs::remove_file(&abandoned);
            std::process::exit(Exit::Interrupted as i32);
        })
        .context("cannot listen for interrupts")?;
        Ok(Self {
            path,
            force: arguments.force,
            scratch,
        })
    }

    fn write(self, artifact: &ModelArtifact, plan: &Plan<'_>) -> Result<Vec<TensorReport>> {
        let bar = progress::bar("quantize");
        bar.set_length(plan.tensors() as u64);
        let mut reports = Vec::with_capacity(plan.tensors());
        let written = plan.write(BufWriter::new(self.scratch.as_file()), |report| {
            bar.inc(1);
            reports.push(report);
        });
        bar.finish_and_clear();
        written.map_err(|error| anyhow!("{artifact}: {error}"))?;
        let kept = self.scratch.as_file().sync_all().and_then(|()| {
            let kept: Result<File, _> = match self.force {
                true => self.scratch.persist(self.path),
                false => self.scratch.persist_noclobber(self.path),
            };
            kept.map_err(|error| error.error)
        });
        kept.with_context(|| format!("cannot write {}", self.path.display()))?;
        Ok(reports)
    }
}

/// Numbers and bits of all tensors.
fn totals(reports: &[TensorReport]) -> (usize, f64) {
    reports.iter().fold((0, 0.0), |(numbers, bits), report| {
        let own = report.numbers as f64 * report.bits_per_weight;
        (numbers + report.numbers, bits + own)
    })
}

/// The type's name, or that of the scheme it simulates.
fn stored_as(report: &TensorReport) -> &'static str {
    report
        .simulated
        .map_or(report.to.name(), NumberFormat::name)
}

fn as_text(output: &Path, reports: &[TensorReport]) -> Result<String> {
    let mut table = Table::new();
    table.load_style(presets::UTF8_FULL_CONDENSED).set_header([
        "tensor",
        "from",
        "to",
        "bits/weight",
        "RMSE/RMS",
        "max |Δ|",
        "cosine",
    ]);
    let right = |text: String| Cell::new(text).set_alignment(CellAlignment::Right);
    for report in reports {
        let cost =
            |text: fn(&Distortion) -> String| right(report.error.as_ref().map_or("–".into(), text));
        table.add_row([
            Cell::new(&report.name),
            Cell::new(report.from.name()),
            Cell::new(stored_as(report)),
            right(format!("{:.3}", report.bits_per_weight)),
            cost(|error| format!("{:.3e}", error.relative_rmse)),
            cost(|error| format!("{:.3e}", error.max_abs)),
            cost(|error| format!("{:.6}", error.cosine)),
        ]);
    }
    let (numbers, bits) = totals(reports);
    let size = fs::metadata(output)
        .with_context(|| format!("cannot read {}", output.display()))?
        .len();
    Ok(format!(
        "{table}\n\n{}: {size} bytes, {numbers} numbers at {:.3} bits each\n",
        output.display(),
        bits / numbers as f64
    ))
}

fn as_json(input: &ModelArtifact, output: &Path, reports: &[TensorReport]) -> Result<String> {
    let made = ModelArtifact::from_path(output)?;
    let (numbers, bits) = totals(reports);
    let identity = |model: &ModelArtifact| {
        json!({
            "path": model.to_string(),
            "sha256": model.sha256,
            "size_bytes": model.size_bytes,
        })
    };
    let json = json!({
        "input": identity(input),
        "output": identity(&made),
        "bits_per_weight": bits / numbers as f64,
        "tensors": reports.iter().map(|report| json!({
            "name": report.name,
            "numbers": report.numbers,
            "from": report.from.name(),
            "to": report.to.name(),
            "simulated": report.simulated,
            "bits_per_weight": report.bits_per_weight,
            "relative_rmse": report.error.map(|error| error.relative_rmse),
            "max_abs_error": report.error.map(|error| error.max_abs),
            "cosine": report.error.map(|error| error.cosine),
        })).collect::<Vec<_>>(),
    });
    Ok(serde_json::to_string_pretty(&json)? + "\n")
}

fn as_csv(reports: &[TensorReport]) -> Result<String> {
    let mut csv = csv::Writer::from_writer(Vec::new());
    csv.write_record([
        "name",
        "numbers",
        "from",
        "to",
        "simulated",
        "bits_per_weight",
        "relative_rmse",
        "max_abs_error",
        "cosine",
    ])?;
    for report in reports {
        let cost = |value: Option<f64>| value.map_or(String::new(), |value| value.to_string());
        csv.write_record([
            report.name.clone(),
            report.numbers.to_string(),
            report.from.name().into(),
            report.to.name().into(),
            report.simulated.map_or("", NumberFormat::name).into(),
            report.bits_per_weight.to_string(),
            cost(report.error.map(|error| error.relative_rmse)),
            cost(report.error.map(|error| error.max_abs)),
            cost(report.error.map(|error| error.cosine)),
        ])?;
    }
    let bytes = csv.into_inner().map_err(|error| anyhow!("{error}"))?;
    Ok(String::from_utf8(bytes)?)
}
