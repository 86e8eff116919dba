//! Tiny models with the logits that transformers gives them.

use std::fs;
use std::path::{Path, PathBuf};

use engine::{Logits, ModelArtifact, TokenId};

/// A folder written by `scripts/oracles/tiny_models.py`.
pub(crate) struct TinyModel {
    pub(crate) name: String,
    folder: PathBuf,
    pub(crate) tokens: Vec<TokenId>,
    /// One row a token.
    pub(crate) logits: Logits,
    /// Lengths whose tokens have logits of their own when nothing follows
    /// them: such a model goes by the length of the context.
    pub(crate) shortened: Vec<(usize, Logits)>,
}

impl TinyModel {
    fn read(folder: PathBuf) -> Self {
        let file = |name: &str| folder.join(name);
        let tokens: Vec<TokenId> = fs::read_to_string(file("tokens.txt"))
            .unwrap()
            .split_whitespace()
            .map(|id| id.parse().unwrap())
            .collect();
        let shortened = (1..tokens.len())
            .map(|len| (len, file(&format!("logits-ctx{len}.npy"))))
            .filter(|(_, path)| path.exists())
            .map(|(len, path)| (len, npy(&path, len)))
            .collect();
        Self {
            name: folder.file_name().unwrap().to_string_lossy().into(),
            logits: npy(&file("logits.npy"), tokens.len()),
            shortened,
            tokens,
            folder,
        }
    }

    pub(crate) fn artifact(&self) -> ModelArtifact {
        ModelArtifact::from_path(&self.folder.join("model.gguf")).unwrap()
    }

    /// What transformers computes of the first tokens on the way to their logits,
    /// stage after stage, where `scripts/oracles/taps.py` has written it.
    pub(crate) fn taps(&self) -> Option<Vec<(String, Vec<f32>)>> {
        const TOKENS: usize = 8;
        let list = fs::read_to_string(self.folder.join("taps.txt")).ok()?;
        let table = npy(&self.folder.join("taps.npy"), TOKENS);
        let (mut stages, mut column) = (Vec::new(), 0);
        for line in list.lines() {
            let (name, width) = line.split_once(' ').unwrap();
            let columns = column..column + width.parse::<usize>().unwrap();
            column = columns.end;
            let rows = (0..TOKENS).flat_map(|token| table.row(token)[columns.clone()].to_vec());
            stages.push((name.into(), rows.collect()));
        }
        assert_eq!(column, table.vocab());
        Some(stages)
    }

    /// Where the folder is.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// The class in transformers, then what the model is there to prove.
    pub(crate) fn about(&self) -> Vec<String> {
        fs::read_to_string(self.folder.join("about.txt"))
            .unwrap()
            .lines()
            .map(str::to_owned)
            .collect()
    }
}

/// The committed models, or those of the folder `HARNESS_TINY_MODELS`.
pub(crate) fn models() -> Vec<TinyModel> {
    std::env::var_os("HARNESS_TINY_MODELS").map_or_else(committed, |folder| read(folder.as_ref()))
}

/// The models in this repository.
pub(crate) fn committed() -> Vec<TinyModel> {
    read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/models"))
}

fn read(folder: &Path) -> Vec<TinyModel> {
    let mut folders: Vec<PathBuf> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_dir())
        .collect();
    folders.sort();
    assert!(!folders.is_empty(), "no models in {}", folder.display());
    folders.into_iter().map(TinyModel::read).collect()
}

/// A NumPy array of `rows` rows of little-endian f32.
fn npy(path: &Path, rows: usize) -> Logits {
    let values = npy_values(path);
    let logits = Logits::new(values.len() / rows, values).unwrap();
    assert_eq!(logits.rows(), rows, "{}", path.display());
    logits
}

/// The values of a NumPy array of little-endian f32.
pub(crate) fn npy_values(path: &Path) -> Vec<f32> {
    let bytes = fs::read(path).unwrap();
    // Version 1.0: magic, version, length of the header, a Python dictionary.
    assert_eq!(&bytes[..8], b"\x93NUMPY\x01\x00", "{}", path.display());
    let start = 10 + usize::from(u16::from_le_bytes([bytes[8], bytes[9]]));
    let header = std::str::from_utf8(&bytes[10..start]).unwrap();
    assert!(
        header.contains("'<f4'") && header.contains("'fortran_order': False"),
        "{}: {header}",
        path.display()
    );
    bytes[start..]
        .chunks_exact(4)
        .map(|bytes| f32::from_le_bytes(bytes.try_into().unwrap()))
        .collect()
}
