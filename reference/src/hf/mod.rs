//! Hugging Face model folders, in GGUF's terms.
//!
//! ```text
//! config.json                      shape                → GGUF metadata
//! *.safetensors                    weights              → GGUF tensors
//! model.safetensors.index.json     which file has which, when there are several
//! ```
//!
//! A folder answers to the keys and tensor names that llama.cpp's converter
//! would give it, with the same changes to the values: rotary pairs interleaved
//! for the Llama family, one added to Gemma's norms, GPT-2's matrices the right
//! way round. So what reads GGUF reads folders, and a folder and its conversion
//! are the same model bit by bit (`scripts/oracles/hf-folders` checks that).
//!
//! Weights stay in the files until they are asked for, and those that need no
//! change are never copied.

mod config;
mod error;
mod family;
mod rope;
mod shards;
mod transform;
mod translate;

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use safetensors::Dtype;

pub(crate) use error::HfError;

use crate::gguf::{GgmlType, Metadata};
use crate::source::TensorEntry;
use bytes::Bytes;
use config::Config;
use family::{Family, Fate};
use transform::Transform;

/// An open model folder.
#[derive(Debug)]
pub(crate) struct Folder {
    path: PathBuf,
    metadata: Metadata,
    tensors: Vec<TensorEntry>,
    /// Where each tensor comes from.
    origins: Vec<Origin>,
}

/// Bytes that become a tensor's.
#[derive(Debug)]
struct Origin {
    bytes: Bytes,
    ggml_type: GgmlType,
    /// Outermost dimension first.
    shape: Vec<usize>,
    transform: Transform,
}

impl Folder {
    /// Opens the folder at `path`, mapping its weight files into memory.
    ///
    /// # Errors
    /// [`HfError`] when files are missing or malformed, and for models that have
    /// no counterpart in GGUF.
    pub(crate) fn open(path: &Path) -> Result<Self, HfError> {
        let name = path.join("config.json");
        let text = std::fs::read(&name).map_err(|source| HfError::Io {
            path: name.clone(),
            source,
        })?;
        let config = Config::parse(&text).map_err(|source| HfError::Json { path: name, source })?;
        let family = Family::named(&config.model_type)?;
        let translation = translate::translate(family, &config)?;
        let mut this = Self {
            path: path.into(),
            metadata: translation.metadata,
            tensors: Vec::new(),
            origins: Vec::new(),
        };
        let mut names = HashSet::new();
        for (name, values) in translation.made {
            let shape = vec![values.len()];
            let bytes = transform::f32_bytes(values).into();
            let origin = Origin {
                bytes,
                ggml_type: GgmlType::F32,
                shape,
                transform: Transform::Keep,
            };
            names.insert(name.to_owned());
            this.add(name.into(), origin).map_err(HfError::Config)?;
        }
        for raw in shards::read(path)? {
            let fate = family.fate(&raw.name, raw.shape.len(), translation.heads)?;
            let Fate::Served { name, transform } = fate else {
                continue;
            };
            let fault = |why: String| HfError::Tensor {
                name: raw.name.clone(),
                why,
            };
            if !(1..=2).contains(&raw.shape.len()) || raw.shape.contains(&0) {
                let why = format!("{:?} is no shape of a vector or matrix", raw.shape);
                return Err(fault(why));
            }
            let origin = Origin {
                ggml_type: ggml_type(&raw.name, raw.dtype)?,
                bytes: raw.bytes.clone(),
                shape: raw.shape.clone(),
                transform,
            };
            if !names.insert(name.clone()) {
                return Err(fault(format!("another one stands for `{name}` too")));
            }
            this.add(name, origin).map_err(fault)?;
        }
        Ok(this)
    }

    /// Adds the tensor that GGUF calls `name`, or says why it cannot be.
    fn add(&mut self, name: String, origin: Origin) -> Result<(), String> {
        self.tensors.push(TensorEntry {
            name,
            ggml_type: origin.transform.ggml_type(origin.ggml_type),
            shape: origin.transform.shape(&origin.shape)?,
        });
        self.origins.push(origin);
        Ok(())
    }

    /// Where the folder is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Metadata as GGUF would have it, but for the tokenizer's.
    pub(crate) fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    /// All tensors, file by file in the order of their data.
    pub(crate) fn tensors(&self) -> &[TensorEntry] {
        &self.tensors
    }

    /// The data of tensor number `at` as GGUF would have it: the file's own
    /// bytes where they need no change, otherwise worked out anew each time.
    pub(crate) fn bytes(&self, at: usize) -> Bytes {
        let origin = &self.origins[at];
        origin
            .transform
            .apply(&origin.bytes, origin.ggml_type, &origin.shape)
    }
}

fn ggml_type(name: &str, dtype: Dtype) -> Result<GgmlType, HfError> {
    match dtype {
        Dtype::F32 => Ok(GgmlType::F32),
        Dtype::F16 => Ok(GgmlType::F16),
        Dtype::BF16 => Ok(GgmlType::Bf16),
        other => Err(HfError::Unsupported(format!(
            "tensor `{name}` is of type {other:?}; supported: F32, F16, BF16"
        ))),
    }
}
