//! From bytes to a checked [`Header`].

use std::collections::HashMap;
use std::fmt;

use super::cursor::Cursor;
use super::tensor::{TensorInfo, read_tensors};
use super::value::{Array, Value};
use super::{GgufError, Metadata};

/// Alignment of tensor data where the file does not set another.
pub(super) const DEFAULT_ALIGNMENT: usize = 32;

/// Key that sets another alignment.
pub(super) const ALIGNMENT_KEY: &str = "general.alignment";

/// Arrays nested deeper than this serve no model and could exhaust the stack.
const MAX_DEPTH: usize = 8;

/// Everything in a GGUF file but the tensors' data, checked against the
/// length of the file.
///
/// ```
/// use harness_reference::gguf::Header;
///
/// let header = Header::parse(fixtures::MODEL)?;
/// assert_eq!((header.version(), header.alignment()), (3, 32));
/// assert_eq!(header.metadata().get::<usize>("llama.block_count")?, 5);
/// assert_eq!(header.tensors().len(), 5 * 9 + 2);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Header {
    version: u32,
    alignment: usize,
    metadata: Metadata,
    tensors: Vec<TensorInfo>,
    index: HashMap<String, usize>,
}

impl Header {
    /// Reads and checks the header of a GGUF file, given all of its bytes.
    ///
    /// Never allocates more than a small multiple of `file.len()`: counts
    /// are held against the bytes that are left before anything is reserved.
    ///
    /// # Errors
    /// [`GgufError`] for whatever the format forbids.
    ///
    /// ```
    /// use harness_reference::gguf::{GgufError, Header};
    ///
    /// // Half a download.
    /// let file = &fixtures::MODEL[..fixtures::MODEL.len() / 2];
    /// assert!(matches!(Header::parse(file), Err(GgufError::TruncatedData { .. })));
    /// ```
    pub fn parse(file: &[u8]) -> Result<Self, GgufError> {
        let mut cursor = Cursor::new(file);
        let version = read_version(&mut cursor)?;
        // The least a tensor or key takes: length of the name, number of
        // dimensions, type and offset; length, one character, type, one byte.
        let tensors = cursor.count(8 + 4 + 4 + 8, "the number of tensors")?;
        let keys = cursor.count(8 + 1 + 4 + 1, "the number of metadata keys")?;

        let metadata = read_metadata(&mut cursor, keys)?;
        let alignment = alignment(&metadata)?;
        let (tensors, index) = read_tensors(&mut cursor, tensors, alignment)?;
        Ok(Self {
            version,
            alignment,
            metadata,
            tensors,
            index,
        })
    }

    /// Version of the format.
    #[must_use]
    pub fn version(&self) -> u32 {
        self.version
    }

    /// Alignment of tensor data.
    #[must_use]
    pub fn alignment(&self) -> usize {
        self.alignment
    }

    /// Metadata.
    #[must_use]
    pub fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    /// All tensors, in the order of the file.
    #[must_use]
    pub fn tensors(&self) -> &[TensorInfo] {
        &self.tensors
    }

    /// The tensor called `name`.
    ///
    /// ```
    /// use harness_reference::gguf::Header;
    ///
    /// let header = Header::parse(fixtures::MODEL)?;
    /// let embedding = header.tensor("token_embd.weight").map(|tensor| &tensor.dims[..]);
    /// assert_eq!(embedding, Some(&[256, 4096][..]));
    /// # Ok::<(), harness_reference::gguf::GgufError>(())
    /// ```
    #[must_use]
    pub fn tensor(&self, name: &str) -> Option<&TensorInfo> {
        self.index.get(name).map(|&at| &self.tensors[at])
    }
}

fn read_version(cursor: &mut Cursor<'_>) -> Result<u32, GgufError> {
    let magic = cursor.peek(4);
    if magic != b"GGUF" {
        return Err(GgufError::Magic(magic.to_vec()));
    }
    cursor.array::<4>("the magic number")?;
    match cursor.u32("the version")? {
        version @ (2 | 3) => Ok(version),
        // As llama.cpp does: no version will ever reach 65536.
        version if version & 0xffff == 0 && version != 0 => {
            Err(GgufError::BigEndian(version.swap_bytes()))
        }
        version => Err(GgufError::Version(version)),
    }
}

fn read_metadata(cursor: &mut Cursor<'_>, keys: usize) -> Result<Metadata, GgufError> {
    let mut metadata = Metadata::new();
    for index in 0..keys {
        let at = cursor.at();
        let key = cursor.string(format_args!("metadata key {index}"))?;
        if key.is_empty() {
            return Err(malformed(
                format_args!("metadata key {index}"),
                at,
                "it is empty",
            ));
        }
        let ty = cursor.u32(format_args!("the type of metadata key `{key}`"))?;
        let value = read_value(cursor, key, ty)?;
        if !metadata.insert_new(key, value) {
            return Err(GgufError::Duplicate {
                what: "key",
                name: key.into(),
                at,
            });
        }
    }
    Ok(metadata)
}

fn read_value(cursor: &mut Cursor<'_>, key: &str, ty: u32) -> Result<Value, GgufError> {
    let what = format_args!("the value of metadata key `{key}`");
    Ok(match ty {
        0 => Value::U8(u8::from_le_bytes(cursor.array(what)?)),
        1 => Value::I8(i8::from_le_bytes(cursor.array(what)?)),
        2 => Value::U16(u16::from_le_bytes(cursor.array(what)?)),
        3 => Value::I16(i16::from_le_bytes(cursor.array(what)?)),
        4 => Value::U32(u32::from_le_bytes(cursor.array(what)?)),
        5 => Value::I32(i32::from_le_bytes(cursor.array(what)?)),
        6 => Value::F32(f32::from_le_bytes(cursor.array(what)?)),
        7 => Value::Bool(cursor.bool(what)?),
        8 => Value::String(cursor.string(what)?.into()),
        9 => Value::Array(read_array(cursor, key, 1)?),
        10 => Value::U64(u64::from_le_bytes(cursor.array(what)?)),
        11 => Value::I64(i64::from_le_bytes(cursor.array(what)?)),
        12 => Value::F64(f64::from_le_bytes(cursor.array(what)?)),
        unknown => return Err(unknown_value_type(cursor, key, unknown)),
    })
}

fn read_array(cursor: &mut Cursor<'_>, key: &str, depth: usize) -> Result<Array, GgufError> {
    let what = format_args!("the array in metadata key `{key}`");
    if depth > MAX_DEPTH {
        let why = format!("arrays are nested more than {MAX_DEPTH} deep");
        return Err(malformed(what, cursor.at(), why));
    }
    let ty = cursor.u32(what)?;
    Ok(match ty {
        0 => Array::U8(cursor.vec(what, u8::from_le_bytes)?),
        1 => Array::I8(cursor.vec(what, i8::from_le_bytes)?),
        2 => Array::U16(cursor.vec(what, u16::from_le_bytes)?),
        3 => Array::I16(cursor.vec(what, i16::from_le_bytes)?),
        4 => Array::U32(cursor.vec(what, u32::from_le_bytes)?),
        5 => Array::I32(cursor.vec(what, i32::from_le_bytes)?),
        6 => Array::F32(cursor.vec(what, f32::from_le_bytes)?),
        7 => Array::Bool(cursor.vec_with(1, what, |cursor| cursor.bool(what))?),
        8 => Array::String(
            cursor.vec_with(8, what, |cursor| cursor.string(what).map(str::to_owned))?,
        ),
        9 => Array::Array(cursor.vec_with(12, what, |cursor| read_array(cursor, key, depth + 1))?),
        10 => Array::U64(cursor.vec(what, u64::from_le_bytes)?),
        11 => Array::I64(cursor.vec(what, i64::from_le_bytes)?),
        12 => Array::F64(cursor.vec(what, f64::from_le_bytes)?),
        unknown => return Err(unknown_value_type(cursor, key, unknown)),
    })
}

/// `cursor` has just read the type.
fn unknown_value_type(cursor: &Cursor<'_>, key: &str, ty: u32) -> GgufError {
    malformed(
        format_args!("the type of metadata key `{key}`"),
        cursor.at() - 4,
        format!("no value type has number {ty}"),
    )
}

fn alignment(metadata: &Metadata) -> Result<usize, GgufError> {
    let fault = |why: String| malformed("metadata key `general.alignment`", 0, why);
    let alignment = metadata
        .find::<u32>(ALIGNMENT_KEY)
        .map_err(|error| fault(error.to_string()))?
        .map_or(DEFAULT_ALIGNMENT, |n| n as usize);
    if !alignment.is_power_of_two() {
        return Err(fault(format!("alignment {alignment} is no power of two")));
    }
    Ok(alignment)
}

pub(super) fn malformed(what: impl fmt::Display, at: u64, why: impl Into<String>) -> GgufError {
    GgufError::Malformed {
        what: what.to_string(),
        at,
        why: why.into(),
    }
}
