//! Weight files: one, or several under an index.
//!
//! The `safetensors` crate checks headers: the tensors fill the data section
//! without holes or overlaps, each has the bytes its shape and type ask for, and
//! the header is at most 100 MB. The files are mapped, so nothing is read before
//! it is used.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use safetensors::{Dtype, SafeTensors};
use serde::Deserialize;

use super::HfError;
use super::config::read_json;
use bytes::Bytes;

const INDEX: &str = "model.safetensors.index.json";
const SINGLE: &str = "model.safetensors";

/// A tensor as a weight file holds it.
#[derive(Debug)]
pub(super) struct RawTensor {
    pub(super) name: String,
    pub(super) dtype: Dtype,
    /// Outermost dimension first.
    pub(super) shape: Vec<usize>,
    pub(super) bytes: Bytes,
}

#[derive(Deserialize)]
struct Index {
    /// Tensor to file.
    weight_map: BTreeMap<String, String>,
}

/// Every tensor of the model in `folder`.
pub(super) fn read(folder: &Path) -> Result<Vec<RawTensor>, HfError> {
    let index = folder.join(INDEX);
    if index.is_file() {
        return sharded(folder, &index);
    }
    let single = folder.join(SINGLE);
    if single.is_file() {
        return open(&single);
    }
    match safetensors_in(folder)?.as_slice() {
        [only] => open(only),
        _ => Err(HfError::NoIndex(folder.into())),
    }
}

fn sharded(folder: &Path, path: &Path) -> Result<Vec<RawTensor>, HfError> {
    let mut index: Index = read_json(path)?;
    let fault = |why: String| HfError::Index {
        index: path.into(),
        why,
    };
    let mut shards: Vec<String> = index.weight_map.values().cloned().collect();
    shards.sort_unstable();
    shards.dedup();
    let mut tensors = Vec::with_capacity(index.weight_map.len());
    for shard in &shards {
        // Another folder's file is not part of what was hashed.
        if Path::new(shard)
            .file_name()
            .is_none_or(|name| name != shard.as_str())
        {
            return Err(fault(format!(
                "`{shard}` is no name of a file in the folder"
            )));
        }
        if !folder.join(shard).is_file() {
            return Err(HfError::MissingShard {
                index: path.into(),
                shard: shard.clone(),
            });
        }
    }
    for shard in shards {
        for tensor in open(&folder.join(&shard))? {
            let name = &tensor.name;
            match index.weight_map.remove(name) {
                Some(place) if place == shard => tensors.push(tensor),
                Some(place) => {
                    let why = format!("tensor `{name}` is in `{shard}`, not in `{place}`");
                    return Err(fault(why));
                }
                None => {
                    let why = format!("tensor `{name}` of `{shard}` is not listed");
                    return Err(fault(why));
                }
            }
        }
    }
    match index.weight_map.first_key_value() {
        None => Ok(tensors),
        Some((name, shard)) => Err(fault(format!("tensor `{name}` is not in `{shard}`"))),
    }
}

fn safetensors_in(folder: &Path) -> Result<Vec<PathBuf>, HfError> {
    let io = |source| HfError::Io {
        path: folder.into(),
        source,
    };
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).map_err(io)? {
        let path = entry.map_err(io)?.path();
        if path.extension().is_some_and(|end| end == "safetensors") {
            found.push(path);
        }
    }
    Ok(found)
}

fn open(path: &Path) -> Result<Vec<RawTensor>, HfError> {
    let file = crate::map::map(path).map_err(|source| HfError::Io {
        path: path.into(),
        source,
    })?;
    parse(&file).map_err(|source| HfError::Header {
        path: path.into(),
        source,
    })
}

/// The tensors of one file, in the order of their data.
pub(super) fn parse(file: &Bytes) -> Result<Vec<RawTensor>, safetensors::SafeTensorError> {
    let (header, metadata) = SafeTensors::read_metadata(file)?;
    // The data begins behind the header and its length, a u64.
    let data = header + size_of::<u64>();
    let mut tensors: Vec<RawTensor> = metadata
        .tensors()
        .into_iter()
        .map(|(name, info)| {
            let (start, end) = info.data_offsets;
            RawTensor {
                name,
                dtype: info.dtype,
                shape: info.shape.clone(),
                bytes: file.slice(data + start..data + end),
            }
        })
        .collect();
    // Tensors without elements may share an offset.
    let place = |tensor: &RawTensor| tensor.bytes.as_ptr().addr();
    tensors.sort_by(|a, b| place(a).cmp(&place(b)).then_with(|| a.name.cmp(&b.name)));
    Ok(tensors)
}
