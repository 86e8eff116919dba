//! The hash of a Hugging Face model folder.

use std::fmt::Write;
use std::fs::{self, File};
use std::path::Path;

use sha2::{Digest, Sha256};

use crate::artifact::{ArtifactError, copy_into, hex, sha256_hex};

/// What decides a model's answers besides its weights.
const DESCRIPTIONS: [&str; 6] = [
    "chat_template.jinja",
    "config.json",
    "generation_config.json",
    "model.safetensors.index.json",
    "tokenizer.json",
    "tokenizer_config.json",
];

/// The folder's own name; dots in it end no stem (`Llama-3.2-1B`).
pub(crate) fn name(path: &Path) -> String {
    let path = path.canonicalize().unwrap_or_else(|_| path.into());
    path.file_name().map_or_else(
        || path.display().to_string(),
        |name| name.to_string_lossy().into(),
    )
}

/// SHA-256 of the list of files, and how many bytes these have together.
pub(crate) fn digest(folder: &Path) -> Result<(String, u64), ArtifactError> {
    digest_files(folder, files(folder)?)
}

/// The same of every file below `package`, by path.
pub(crate) fn digest_package(package: &Path) -> Result<(String, u64), ArtifactError> {
    let mut names = Vec::new();
    let mut folders = vec![String::new()];
    while let Some(folder) = folders.pop() {
        let path = package.join(&folder);
        let io = |source| ArtifactError::Io {
            path: path.clone(),
            source,
        };
        for entry in fs::read_dir(&path).map_err(io)? {
            let entry = entry.map_err(io)?;
            let name = entry.file_name();
            let Some(name) = name.to_str() else {
                return Err(ArtifactError::FileName(entry.path()));
            };
            let inside = match folder.is_empty() {
                true => name.to_owned(),
                false => format!("{folder}/{name}"),
            };
            // A link to a folder might lead back here, so none is followed.
            match entry.file_type().map_err(io)?.is_dir() {
                true => folders.push(inside),
                false => names.push(inside),
            }
        }
    }
    names.sort_unstable();
    digest_files(package, names)
}

fn digest_files(folder: &Path, names: Vec<String>) -> Result<(String, u64), ArtifactError> {
    let mut list = String::new();
    let mut total = 0;
    for name in names {
        let path = folder.join(&name);
        let io = |source| ArtifactError::Io {
            path: path.clone(),
            source,
        };
        let mut file = File::open(&path).map_err(io)?;
        let mut hasher = Sha256::new();
        let size = copy_into(&mut hasher, &mut file).map_err(io)?;
        // Writing to a String cannot fail.
        let _ = writeln!(list, "{} {size} {name}", hex(&hasher.finalize()));
        total += size;
    }
    Ok((sha256_hex(list.as_bytes()), total))
}

/// Names of the model's files, sorted.
fn files(folder: &Path) -> Result<Vec<String>, ArtifactError> {
    let io = |source| ArtifactError::Io {
        path: folder.into(),
        source,
    };
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).map_err(io)? {
        let path = entry.map_err(io)?.path();
        let name = path.file_name().unwrap_or_default();
        let weights = path.extension().is_some_and(|end| end == "safetensors");
        if !(weights || DESCRIPTIONS.iter().any(|known| name == *known)) || !path.is_file() {
            continue;
        }
        match name.to_str() {
            // A line of the list must not pass for two.
            Some(name) if !name.contains(char::is_control) => names.push(name.to_owned()),
            _ => return Err(ArtifactError::FileName(path)),
        }
    }
    let incomplete = |missing| ArtifactError::Incomplete {
        path: folder.into(),
        missing,
    };
    if !names.iter().any(|name| name == "config.json") {
        return Err(incomplete("`config.json`"));
    }
    if !names.iter().any(|name| name.ends_with(".safetensors")) {
        return Err(incomplete("`*.safetensors` file"));
    }
    names.sort_unstable();
    Ok(names)
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::{ArtifactFormat, ModelArtifact};

    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("{name}-{}", std::process::id()));
            fs::create_dir_all(&path).unwrap();
            Self(path)
        }

        fn put(&self, name: &str, text: &str) {
            fs::write(self.0.join(name), text).unwrap();
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn the_hash_is_over_the_models_files_alone() {
        let folder = Folder::new("Harness-3.2-1B");
        let missing = |what: &str| {
            let error = ModelArtifact::from_path(&folder.0).unwrap_err();
            assert!(error.to_string().contains(what), "{error}");
        };
        missing("config.json");
        folder.put("config.json", "{}");
        missing("safetensors");
        folder.put("model.safetensors", "abc");
        let model = ModelArtifact::from_path(&folder.0).unwrap();
        assert!(model.name.starts_with("Harness-3.2-1B"));
        assert_eq!(model.format, ArtifactFormat::HuggingFace);
        assert_eq!(model.size_bytes, 5);
        let list = format!(
            "{} 2 config.json\n{} 3 model.safetensors\n",
            sha256_hex(b"{}"),
            sha256_hex(b"abc")
        );
        assert_eq!(model.sha256, sha256_hex(list.as_bytes()));

        folder.put("README.md", "not the model");
        let again = ModelArtifact::from_path(&folder.0).unwrap();
        assert_eq!(again.sha256, model.sha256);
        folder.put("tokenizer.json", "{}");
        let other = ModelArtifact::from_path(&folder.0).unwrap();
        assert_ne!(other.sha256, model.sha256);
    }
}
