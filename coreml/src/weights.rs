//! Weight files: blobs at 64-byte boundaries, each behind 64 bytes of metadata.
//!
//! A file begins with two `u32`: the number of blobs, and the version of the
//! layout (2). Metadata of a blob: `u32` sentinel, `u32` element type, `u64` size
//! in bytes, `u64` offset of the data, `u64` bits of padding behind the last
//! element; the rest is reserved. A program's offsets point at metadata.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;

use half::{bf16, f16};
use memmap2::Mmap;

use crate::error::PackageError;
use crate::tensor::{Data, DataType, Tensor, elements};

const SENTINEL: u32 = 0xDEAD_BEEF;
const METADATA_BYTES: u64 = 64;
const VERSION: u32 = 2;

/// A tensor in a weight file.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Blob {
    /// As the program names it, `@model_path/…`.
    pub(crate) file: String,
    /// Of the metadata.
    pub(crate) offset: u64,
    /// Element type.
    pub(crate) dtype: DataType,
    /// Extents.
    pub(crate) shape: Vec<usize>,
}

/// The weight files of a package, mapped.
///
/// ```
/// use std::fs;
///
/// use harness_coreml::{Package, Specification, Severity, Weights, check};
///
/// let folder = "tests/packages/tiny-fp16.mlpackage/Data/com.apple.CoreML";
/// let file = fs::read(format!("{folder}/weights/weight.bin"))?;
/// let mut weights = Weights::default();
/// weights.insert("@model_path/weights/weight.bin", file);
/// let specification = Specification::decode(&fs::read(format!("{folder}/model.mlmodel"))?)?;
/// let package = Package { specification, weights, vocabulary: None };
/// assert!(check(&package).iter().all(|finding| finding.severity < Severity::Error));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Default)]
pub struct Weights {
    files: BTreeMap<String, Bytes>,
}

#[derive(Debug)]
enum Bytes {
    Mapped(Mmap),
    Owned(Vec<u8>),
}

impl Bytes {
    fn get(&self) -> &[u8] {
        match self {
            Bytes::Mapped(map) => map,
            Bytes::Owned(bytes) => bytes,
        }
    }
}

impl Weights {
    /// Maps `path` as what programs call `file`, unless it is mapped already.
    pub(crate) fn map(&mut self, file: &str, path: &Path) -> Result<(), PackageError> {
        let io = |source| PackageError::Io {
            path: path.into(),
            source,
        };
        if !self.files.contains_key(file) {
            let opened = File::open(path).map_err(io)?;
            // SAFETY: as everywhere that model files are mapped, nobody may shorten
            // the file while it is in use; the package is opened for reading only.
            let map = unsafe { Mmap::map(&opened) }.map_err(io)?;
            self.files.insert(file.into(), Bytes::Mapped(map));
        }
        Ok(())
    }

    /// Takes `bytes` as the file that programs call `file`.
    ///
    /// ```
    /// use std::path::Path;
    ///
    /// use harness_coreml::{Package, check};
    ///
    /// let mut package = Package::open(Path::new("tests/packages/tiny-fp16.mlpackage"))?;
    /// package.weights.insert("@model_path/weights/weight.bin", vec![0; 64]);
    /// assert!(check(&package)[0].to_string().contains("weight.bin"));
    /// # Ok::<(), harness_coreml::PackageError>(())
    /// ```
    pub fn insert(&mut self, file: &str, bytes: Vec<u8>) {
        self.files.insert(file.into(), Bytes::Owned(bytes));
    }

    /// The bytes of `blob`, held against its metadata.
    ///
    /// # Errors
    /// [`PackageError::Weights`] when they are not where and what they should be.
    pub(crate) fn bytes(&self, blob: &Blob) -> Result<&[u8], PackageError> {
        let fault = |problem: String| PackageError::Weights {
            file: blob.file.clone(),
            offset: blob.offset,
            problem,
        };
        let Some(file) = self.files.get(&blob.file) else {
            return Err(fault("the package has no such file".into()));
        };
        let file = file.get();
        if u32_at(file, 4) != Some(VERSION) {
            return Err(fault(format!("no weight file of version {VERSION}")));
        }
        let end = blob.offset.checked_add(METADATA_BYTES);
        let metadata = end.and_then(|end| part(file, blob.offset, end));
        let Some(metadata) = metadata else {
            return Err(fault(format!("past the end of {} bytes", file.len())));
        };
        if u32_at(metadata, 0) != Some(SENTINEL) {
            return Err(fault("no blob begins here".into()));
        }
        let stored = u32_at(metadata, 4).and_then(stored_type);
        if stored != Some(blob.dtype) {
            let found = stored.map_or("an unknown type".into(), |dtype| dtype.to_string());
            return Err(fault(format!("holds {found}, not {}", blob.dtype)));
        }
        let wide = |at: usize| u64_at(metadata, at).unwrap_or(u64::MAX);
        let (size, start) = (wide(8), wide(16));
        let count = elements(&blob.shape).map_err(&fault)?;
        let bits = blob.dtype.bits().unwrap_or(8) as u64;
        let needed = (count as u64 * bits).div_ceil(8);
        if size != needed {
            return Err(fault(format!(
                "{size} bytes, where {:?} of {} takes {needed}",
                blob.shape, blob.dtype
            )));
        }
        let end = start.checked_add(size);
        end.and_then(|end| part(file, start, end)).ok_or_else(|| {
            fault(format!(
                "its data, {size} bytes from {start}, run past the end of {} bytes",
                file.len()
            ))
        })
    }

    /// The tensor that `blob` describes.
    ///
    /// # Errors
    /// Those of [`bytes`](Self::bytes).
    pub(crate) fn read(&self, blob: &Blob) -> Result<Tensor, PackageError> {
        let bytes = self.bytes(blob)?;
        decode(blob.dtype, &blob.shape, bytes).map_err(|problem| PackageError::Weights {
            file: blob.file.clone(),
            offset: blob.offset,
            problem,
        })
    }
}

fn part(file: &[u8], start: u64, end: u64) -> Option<&[u8]> {
    file.get(usize::try_from(start).ok()?..usize::try_from(end).ok()?)
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    let bytes = bytes.get(at..at + 4)?;
    Some(u32::from_le_bytes(bytes.try_into().ok()?))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    let bytes = bytes.get(at..at + 8)?;
    Some(u64::from_le_bytes(bytes.try_into().ok()?))
}

/// Element types by their number in weight files.
fn stored_type(code: u32) -> Option<DataType> {
    use DataType::*;
    Some(match code {
        1 => Float16,
        2 => Float32,
        3 => Uint8,
        4 => Int8,
        5 => Bfloat16,
        6 => Int16,
        7 => Uint16,
        8 => Int4,
        9 => Uint1,
        10 => Uint2,
        11 => Uint4,
        12 => Uint3,
        13 => Uint6,
        14 => Int32,
        15 => Uint32,
        _ => return None,
    })
}

/// Elements of `dtype` from their little-endian bytes; narrow ones are packed
/// from the lowest bit on.
pub(crate) fn decode(dtype: DataType, shape: &[usize], bytes: &[u8]) -> Result<Tensor, String> {
    let count = elements(shape)?;
    let Some(bits) = dtype.bits() else {
        return Err("text in bytes".into());
    };
    if count.checked_mul(bits).map(|bits| bits.div_ceil(8)) != Some(bytes.len()) {
        return Err(format!("{} bytes for {shape:?} of {dtype}", bytes.len()));
    }
    use DataType::*;
    Ok(match dtype {
        Float16 => floats(dtype, shape, bytes, |b| f16::from_le_bytes(b).to_f32()),
        Bfloat16 => floats(dtype, shape, bytes, |b| bf16::from_le_bytes(b).to_f32()),
        Float32 => floats(dtype, shape, bytes, f32::from_le_bytes),
        Float64 => floats(dtype, shape, bytes, |b| f64::from_le_bytes(b) as f32),
        Int32 | Uint32 => ints(dtype, shape, bytes, i32::from_le_bytes),
        Int64 | Uint64 => ints(dtype, shape, bytes, |b| {
            i64::from_le_bytes(b).clamp(i32::MIN.into(), i32::MAX.into()) as i32
        }),
        Int16 => ints(dtype, shape, bytes, |b| i16::from_le_bytes(b).into()),
        Uint16 => ints(dtype, shape, bytes, |b| u16::from_le_bytes(b).into()),
        Bool => Tensor {
            dtype,
            shape: shape.into(),
            data: Data::Bool(std::sync::Arc::new(bytes.iter().map(|&b| b != 0).collect())),
        },
        String => return Err("text in bytes".into()),
        Int4 | Int8 | Uint1 | Uint2 | Uint3 | Uint4 | Uint6 | Uint8 => {
            let values = (0..count).map(|index| packed(bytes, index, bits, dtype.is_signed()));
            Tensor::ints(dtype, shape, values.collect())
        }
    })
}

/// Number `index` of those with `bits` bits each, at most 8.
fn packed(bytes: &[u8], index: usize, bits: usize, signed: bool) -> i32 {
    let (at, shift) = (index * bits / 8, index * bits % 8);
    let high = bytes.get(at + 1).copied().unwrap_or(0);
    let window = u16::from_le_bytes([bytes[at], high]) >> shift;
    let value = i32::from(window) & ((1 << bits) - 1);
    if signed && value >> (bits - 1) != 0 {
        value - (1 << bits)
    } else {
        value
    }
}

fn floats<const N: usize>(
    dtype: DataType,
    shape: &[usize],
    bytes: &[u8],
    read: impl Fn([u8; N]) -> f32,
) -> Tensor {
    let (chunks, _) = bytes.as_chunks::<N>();
    Tensor::floats(
        dtype,
        shape,
        chunks.iter().map(|&chunk| read(chunk)).collect(),
    )
}

fn ints<const N: usize>(
    dtype: DataType,
    shape: &[usize],
    bytes: &[u8],
    read: impl Fn([u8; N]) -> i32,
) -> Tensor {
    let (chunks, _) = bytes.as_chunks::<N>();
    Tensor::ints(
        dtype,
        shape,
        chunks.iter().map(|&chunk| read(chunk)).collect(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn narrow_numbers_are_packed_from_the_lowest_bit() {
        let read = |dtype, count: usize, bytes: &[u8]| {
            let tensor = decode(dtype, &[count], bytes).unwrap();
            tensor.as_ints().unwrap().to_vec()
        };
        assert_eq!(read(DataType::Uint4, 3, &[0x21, 0x0f]), [1, 2, 15]);
        assert_eq!(read(DataType::Int4, 3, &[0x2f, 0x08]), [-1, 2, -8]);
        assert_eq!(
            read(DataType::Uint1, 9, &[0b101, 1]),
            [1, 0, 1, 0, 0, 0, 0, 0, 1]
        );
        // 3-bit numbers 1, 2, 3 are 0b011_010_001, across a byte's end.
        assert_eq!(read(DataType::Uint3, 3, &[0b1101_0001, 0]), [1, 2, 3]);
        assert_eq!(read(DataType::Int8, 2, &[0xff, 0x7f]), [-1, 127]);
    }
}
