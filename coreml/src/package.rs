//! Packages on disk.

use std::fs::{self, File};
use std::io::Read;
use std::path::{Component, Path, PathBuf};

use serde::Deserialize;

use crate::config::Config;
use crate::error::PackageError;
use crate::spec::{MOST_BYTES, Specification};
use crate::weights::{Blob, Weights};

/// Longest `Manifest.json` that is read.
const MOST_MANIFEST_BYTES: u64 = 1 << 20;
/// How programs call the folder of their model file.
const MODEL_PATH: &str = "@model_path/";

/// A model: its specification and its weights.
///
/// ```
/// use std::path::Path;
///
/// use harness_coreml::{Package, Summary};
///
/// let package = Package::open(Path::new("tests/packages/tiny-multi.mlpackage"))?;
/// assert!(package.vocabulary.is_some());
/// assert_eq!(Summary::new(&package).functions.len(), 3);
/// # Ok::<(), harness_coreml::PackageError>(())
/// ```
#[derive(Debug)]
pub struct Package {
    /// What it says.
    pub specification: Specification,
    /// What it weighs.
    pub weights: Weights,
    /// A GGUF file without tensors that holds the tokenizer, if there is one.
    pub vocabulary: Option<PathBuf>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Manifest {
    file_format_version: String,
    item_info_entries: std::collections::BTreeMap<String, Item>,
    root_model_identifier: String,
}

#[derive(Deserialize)]
struct Item {
    author: String,
    name: String,
    path: String,
}

impl Package {
    /// Reads the `.mlpackage` folder or `.mlmodel` file at `path`. Weights are
    /// mapped, and looked at when they are asked for.
    ///
    /// # Errors
    /// [`PackageError`] for files that cannot be read, a manifest that leads
    /// nowhere, and a specification that is none of an ML Program.
    ///
    /// ```
    /// use std::path::Path;
    ///
    /// use harness_coreml::{Package, PackageError};
    ///
    /// // The model file alone does as well: its weights lie beside it.
    /// let folder = Path::new("tests/packages/tiny-fp16.mlpackage");
    /// let model = folder.join("Data/com.apple.CoreML/model.mlmodel");
    /// assert!(Package::open(&model)?.vocabulary.is_none());
    ///
    /// let gguf = Package::open(Path::new("tests/packages/tiny.gguf"));
    /// assert!(matches!(gguf, Err(PackageError::Specification(_))));
    /// # Ok::<(), harness_coreml::PackageError>(())
    /// ```
    pub fn open(path: &Path) -> Result<Self, PackageError> {
        let (model, vocabulary) = match path.is_dir() {
            true => items(path)?,
            false => (path.to_path_buf(), None),
        };
        let specification = Specification::decode(&read(&model, MOST_BYTES)?)?;
        let folder = model.parent().unwrap_or(Path::new("."));
        let mut weights = Weights::default();
        for blob in blobs(&specification) {
            let Some(file) = blob
                .file
                .strip_prefix(MODEL_PATH)
                .filter(|file| inside(file))
            else {
                return Err(PackageError::Weights {
                    file: blob.file.clone(),
                    offset: blob.offset,
                    problem: "its path leads out of the package".into(),
                });
            };
            weights.map(&blob.file, &folder.join(file))?;
        }
        Ok(Self {
            specification,
            weights,
            vocabulary,
        })
    }

    /// Path of the vocabulary in the package at `path`, without reading its
    /// program.
    ///
    /// # Errors
    /// Those of the manifest.
    ///
    /// ```
    /// use std::path::Path;
    ///
    /// use harness_coreml::Package;
    ///
    /// let path = Package::vocabulary(Path::new("tests/packages/tiny-fp16.mlpackage"))?;
    /// assert!(path.is_some_and(|path| path.ends_with("vocabulary.gguf")));
    /// assert!(Package::vocabulary(Path::new("tests/packages/tiny-apple.mlpackage"))?.is_none());
    /// # Ok::<(), harness_coreml::PackageError>(())
    /// ```
    pub fn vocabulary(path: &Path) -> Result<Option<PathBuf>, PackageError> {
        match path.is_dir() {
            true => Ok(items(path)?.1),
            false => Ok(None),
        }
    }

    /// What the converter noted of the model's shape; other converters note nothing.
    ///
    /// # Errors
    /// [`PackageError::Specification`] when the note is damaged.
    ///
    /// ```
    /// use std::path::Path;
    ///
    /// use harness_coreml::Package;
    ///
    /// let ours = Package::open(Path::new("tests/packages/tiny-fp16.mlpackage"))?;
    /// let apples = Package::open(Path::new("tests/packages/tiny-apple.mlpackage"))?;
    /// assert!(ours.config()?.is_some() && apples.config()?.is_none());
    /// # Ok::<(), harness_coreml::PackageError>(())
    /// ```
    pub fn config(&self) -> Result<Option<Config>, PackageError> {
        Config::read(&self.specification)
    }
}

/// Every blob that a program refers to.
fn blobs(specification: &Specification) -> impl Iterator<Item = &Blob> {
    let functions = specification.program.functions.values();
    let operations = functions.flat_map(|function| &function.operations);
    operations.flat_map(|operation| operation.blobs())
}

/// The model file and the vocabulary that the manifest of `package` names.
fn items(package: &Path) -> Result<(PathBuf, Option<PathBuf>), PackageError> {
    let fault = |problem: String| PackageError::Manifest(problem);
    let bytes = read(&package.join("Manifest.json"), MOST_MANIFEST_BYTES)?;
    let manifest: Manifest =
        serde_json::from_slice(&bytes).map_err(|error| fault(error.to_string()))?;
    if !manifest.file_format_version.starts_with("1.") {
        let version = &manifest.file_format_version;
        return Err(fault(format!(
            "file format {version}, where 1.0.0 is known"
        )));
    }
    for item in manifest.item_info_entries.values() {
        let path = &item.path;
        if !inside(path) {
            return Err(fault(format!("item `{path}` leads out of the package")));
        }
        if !package.join("Data").join(path).exists() {
            return Err(fault(format!("item `{path}` is missing from the package")));
        }
    }
    let root = &manifest.root_model_identifier;
    let Some(model) = manifest.item_info_entries.get(root) else {
        return Err(fault(format!("its root model `{root}` is no item of it")));
    };
    let mut items = manifest.item_info_entries.values();
    let vocabulary = items.find(|item| item.author == "harness" && item.name == "vocabulary.gguf");
    let place = |item: &Item| package.join("Data").join(&item.path);
    Ok((place(model), vocabulary.map(place)))
}

/// Whether a relative path stays where it starts.
fn inside(path: &str) -> bool {
    let mut components = Path::new(path).components();
    !path.is_empty() && components.all(|part| matches!(part, Component::Normal(_)))
}

fn read(path: &Path, most_bytes: u64) -> Result<Vec<u8>, PackageError> {
    let io = |source| PackageError::Io {
        path: path.into(),
        source,
    };
    let bytes = fs::metadata(path).map_err(io)?.len();
    if bytes > most_bytes {
        return Err(PackageError::Specification(format!(
            "{} has {bytes} bytes; no such file of an ML Program, whose weights are elsewhere, is \
             longer than {most_bytes}",
            path.display()
        )));
    }
    let mut contents = Vec::new();
    let mut file = File::open(path).map_err(io)?.take(most_bytes);
    file.read_to_end(&mut contents).map_err(io)?;
    Ok(contents)
}
