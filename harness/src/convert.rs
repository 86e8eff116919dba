//! `harness model convert`: a Hugging Face folder as a GGUF file.

use std::fs::File;
use std::io::BufWriter;
use std::path::Path;

use anyhow::{Context, Result, anyhow, bail};
use engine::{ArtifactFormat, ModelArtifact};
use reference::gguf::{Metadata, Writer};
use reference::{Source, tokenizer};
use tempfile::NamedTempFile;

use crate::exit::Exit;
use crate::model;

pub(crate) fn run(path: &Path, out: &Path) -> Result<Exit> {
    let artifact = ModelArtifact::from_path(path)?;
    if artifact.format == ArtifactFormat::Gguf {
        bail!("{artifact} is a GGUF file already");
    }
    if out.exists() {
        bail!("{} exists; name another file", out.display());
    }
    let source = model::open(&artifact)?;
    let metadata = metadata(&artifact, &source)?;
    // Under another name until it is whole.
    let folder = match out.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    };
    let cannot = || format!("cannot write {}", out.display());
    // Made here for the permissions of any other file: temporary ones are private.
    let mut file = tempfile::Builder::new()
        .make_in(folder, |path| File::create_new(path))
        .with_context(cannot)?;
    write(&source, &metadata, &mut file).with_context(cannot)?;
    file.persist_noclobber(out)
        .map_err(|error| error.error)
        .with_context(cannot)?;
    anstream::println!(
        "{}: {} tensors of {artifact}",
        out.display(),
        source.tensors().len()
    );
    Ok(Exit::Passed)
}

fn metadata(artifact: &ModelArtifact, source: &Source) -> Result<Metadata> {
    let tokenizer = tokenizer::metadata(source).map_err(|error| anyhow!("{artifact}: {error}"))?;
    let Some(tokenizer) = tokenizer else {
        bail!(
            "{artifact}: its tokenizer is none of the byte-level ones that GGUF has a name for; \
             llama.cpp's convert_hf_to_gguf.py may know it by its tokenizer.model"
        );
    };
    let mut metadata = source.metadata().clone();
    metadata.set("general.name", artifact.name.as_str());
    for (key, value) in tokenizer.iter() {
        metadata.set(key, value.clone());
    }
    Ok(metadata)
}

fn write(source: &Source, metadata: &Metadata, file: &mut NamedTempFile) -> Result<()> {
    let mut writer = Writer::new(metadata);
    for tensor in source.tensors() {
        let dims: Vec<u64> = tensor.shape.iter().rev().map(|&dim| dim as u64).collect();
        writer.declare(&tensor.name, &dims, tensor.ggml_type)?;
    }
    let mut body = writer.begin(BufWriter::new(file))?;
    for tensor in source.tensors() {
        if let Some(stored) = source.tensor(&tensor.name) {
            body.tensor(&stored.bytes)?;
        }
    }
    body.finish()?;
    Ok(())
}
