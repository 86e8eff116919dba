//! Writing GGUF files.

use std::collections::HashSet;
use std::io::{self, Write};

use super::parse::{ALIGNMENT_KEY, DEFAULT_ALIGNMENT};
use super::tensor::{MAX_DIMS, tensor_bytes};
use super::value::{Array, Value};
use super::{GgmlType, Metadata};

/// llama.cpp refuses names of 64 bytes or more.
const MAX_NAME: usize = 63;

/// Writes a GGUF file (version 3) in one pass: declare every tensor, then
/// [`begin`](Writer::begin) and hand over their data in the same order.
///
/// ```
/// use harness_reference::gguf::{GgmlType, Header, Metadata, Writer};
///
/// let metadata = Metadata::new();
/// let mut writer = Writer::new(&metadata);
/// writer.declare("a", &[3], GgmlType::I8)?;
/// writer.declare("b", &[2], GgmlType::I8)?;
/// let mut body = writer.begin(Vec::new())?;
/// body.tensor(&[1, 2, 3])?;
/// body.tensor(&[4, 5])?;
/// let file = body.finish()?;
///
/// // The second one begins at the next multiple of the alignment.
/// let header = Header::parse(&file)?;
/// let b = &header.tensors()[1];
/// assert_eq!((b.offset, &file[b.range()]), (32, &[4, 5][..]));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Writer<'a> {
    metadata: &'a Metadata,
    tensors: Vec<Declared>,
    names: HashSet<String>,
}

#[derive(Debug)]
struct Declared {
    name: String,
    dims: Vec<u64>,
    ty: GgmlType,
    bytes: usize,
}

/// A file that cannot be written.
///
/// ```
/// use harness_reference::gguf::{GgmlType, Metadata, Writer};
///
/// let metadata = Metadata::new();
/// let mut writer = Writer::new(&metadata);
/// writer.declare("norm.weight", &[4], GgmlType::F32)?;
/// let twice = writer.declare("norm.weight", &[4], GgmlType::F32);
/// let why = twice.map_err(|error| error.to_string());
/// assert_eq!(why, Err("tensor `norm.weight`: declared twice".into()));
/// # Ok::<(), harness_reference::gguf::WriteError>(())
/// ```
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// The sink failed.
    #[error("cannot write the model file: {0}")]
    Io(#[from] io::Error),
    /// The format has no room for what was asked.
    #[error("tensor `{name}`: {why}")]
    Tensor {
        /// Which tensor.
        name: String,
        /// What is wrong with it.
        why: String,
    },
    /// Bad metadata.
    #[error("metadata key `{key}`: {why}")]
    Metadata {
        /// Which key.
        key: String,
        /// What is wrong with it.
        why: String,
    },
    /// More data than tensors were declared, or less.
    #[error("{declared} tensors were declared but the data of {written} handed over")]
    Number {
        /// Tensors declared.
        declared: usize,
        /// Tensors whose data came.
        written: usize,
    },
}

impl<'a> Writer<'a> {
    /// A file with `metadata` and no tensors yet.
    ///
    /// ```
    /// use harness_reference::gguf::{Metadata, Writer};
    ///
    /// // Nothing but the magic number, the version and two counts.
    /// let empty = Writer::new(&Metadata::new()).begin(Vec::new())?.finish()?;
    /// assert_eq!(empty.len(), 24);
    /// # Ok::<(), harness_reference::gguf::WriteError>(())
    /// ```
    #[must_use]
    pub fn new(metadata: &'a Metadata) -> Self {
        Self {
            metadata,
            tensors: Vec::new(),
            names: HashSet::new(),
        }
    }

    /// Announces a tensor, its fastest-changing dimension first.
    ///
    /// # Errors
    /// [`WriteError::Tensor`] for a name that is taken or too long and for
    /// impossible shapes.
    ///
    /// ```
    /// use harness_reference::gguf::{GgmlType, Metadata, WriteError, Writer};
    ///
    /// let metadata = Metadata::new();
    /// let mut writer = Writer::new(&metadata);
    /// // 64 inputs to 8 outputs: a row is two blocks of 32.
    /// writer.declare("blk.0.ffn_up.weight", &[64, 8], GgmlType::Q4_0)?;
    /// let half_a_block = writer.declare("blk.0.ffn_down.weight", &[16, 8], GgmlType::Q4_0);
    /// assert!(matches!(half_a_block, Err(WriteError::Tensor { .. })));
    /// # Ok::<(), WriteError>(())
    /// ```
    pub fn declare(&mut self, name: &str, dims: &[u64], ty: GgmlType) -> Result<(), WriteError> {
        let fault = |why: String| WriteError::Tensor {
            name: name.into(),
            why,
        };
        if name.len() > MAX_NAME {
            return Err(fault(format!(
                "names have {MAX_NAME} bytes at most, as llama.cpp reads them"
            )));
        }
        if dims.len() > MAX_DIMS || dims.contains(&0) {
            return Err(fault(format!(
                "{dims:?} is no shape of one to {MAX_DIMS} positive dimensions"
            )));
        }
        let bytes = tensor_bytes(dims, ty).map_err(fault)?;
        if !self.names.insert(name.into()) {
            return Err(fault("declared twice".into()));
        }
        self.tensors.push(Declared {
            name: name.into(),
            dims: dims.to_vec(),
            ty,
            bytes,
        });
        Ok(())
    }

    /// Writes the header.
    ///
    /// # Errors
    /// [`WriteError`] for a bad alignment in the metadata, and when the sink
    /// fails.
    ///
    /// ```
    /// use harness_reference::gguf::{Metadata, WriteError, Writer};
    ///
    /// let mut metadata = Metadata::new();
    /// metadata.set("general.alignment", 48u32);
    /// let refused = Writer::new(&metadata).begin(Vec::new());
    /// assert!(matches!(refused, Err(WriteError::Metadata { .. })));
    /// ```
    pub fn begin<W: Write>(self, sink: W) -> Result<BodyWriter<W>, WriteError> {
        let alignment = self.alignment()?;
        let mut sink = Counted { sink, written: 0 };
        sink.write_all(b"GGUF")?;
        sink.write_all(&3u32.to_le_bytes())?;
        sink.write_all(&(self.tensors.len() as u64).to_le_bytes())?;
        sink.write_all(&(self.metadata.len() as u64).to_le_bytes())?;
        for (key, value) in self.metadata.iter() {
            if key.is_empty() {
                return Err(WriteError::Metadata {
                    key: key.into(),
                    why: "it is empty".into(),
                });
            }
            write_string(&mut sink, key)?;
            write_value(&mut sink, value)?;
        }
        let mut offset = 0u64;
        for tensor in &self.tensors {
            write_string(&mut sink, &tensor.name)?;
            sink.write_all(&(tensor.dims.len() as u32).to_le_bytes())?;
            for &dim in &tensor.dims {
                sink.write_all(&dim.to_le_bytes())?;
            }
            sink.write_all(&tensor.ty.id().to_le_bytes())?;
            sink.write_all(&offset.to_le_bytes())?;
            offset = (offset + tensor.bytes as u64).next_multiple_of(alignment);
        }
        if !self.tensors.is_empty() {
            sink.pad(alignment)?;
        }
        Ok(BodyWriter {
            sink,
            alignment,
            tensors: self.tensors,
            next: 0,
        })
    }

    fn alignment(&self) -> Result<u64, WriteError> {
        let fault = |why| WriteError::Metadata {
            key: ALIGNMENT_KEY.into(),
            why,
        };
        let alignment = self
            .metadata
            .find::<u32>(ALIGNMENT_KEY)
            .map_err(|error| fault(error.to_string()))?
            .map_or(DEFAULT_ALIGNMENT as u64, u64::from);
        if alignment.is_power_of_two() {
            Ok(alignment)
        } else {
            Err(fault(format!("{alignment} is no power of two")))
        }
    }
}

/// A file whose header is written and whose data is to follow.
///
/// ```
/// use harness_reference::gguf::{GgmlType, Metadata, Writer};
///
/// let metadata = Metadata::new();
/// let mut writer = Writer::new(&metadata);
/// writer.declare("norm.weight", &[2], GgmlType::F32)?;
/// let mut body = writer.begin(Vec::new())?;
/// body.tensor(&[1.0f32, 0.5].map(f32::to_le_bytes).concat())?;
/// let file = body.finish()?;
/// // 1.0, 0.5, and what is missing to a multiple of 32 bytes.
/// let data = &file[file.len() - 32..];
/// assert_eq!(data[..8], [0, 0, 0x80, 0x3f, 0, 0, 0, 0x3f]);
/// # Ok::<(), harness_reference::gguf::WriteError>(())
/// ```
#[derive(Debug)]
pub struct BodyWriter<W> {
    sink: Counted<W>,
    alignment: u64,
    tensors: Vec<Declared>,
    next: usize,
}

impl<W: Write> BodyWriter<W> {
    /// Writes the data of the next declared tensor.
    ///
    /// # Errors
    /// [`WriteError::Tensor`] when `data` has another length than the shape
    /// says, [`WriteError::Number`] when no tensor is left, and
    /// [`WriteError::Io`] when the sink fails.
    ///
    /// ```
    /// use harness_reference::gguf::{GgmlType, Metadata, WriteError, Writer};
    ///
    /// let metadata = Metadata::new();
    /// let mut writer = Writer::new(&metadata);
    /// writer.declare("norm.weight", &[2], GgmlType::F32)?;
    /// let mut body = writer.begin(Vec::new())?;
    /// // Two numbers of four bytes.
    /// assert!(matches!(body.tensor(&[0; 4]), Err(WriteError::Tensor { .. })));
    /// assert!(body.tensor(&[0; 8]).is_ok());
    /// # Ok::<(), WriteError>(())
    /// ```
    pub fn tensor(&mut self, data: &[u8]) -> Result<(), WriteError> {
        let Some(tensor) = self.tensors.get(self.next) else {
            return Err(WriteError::Number {
                declared: self.tensors.len(),
                written: self.next + 1,
            });
        };
        if data.len() != tensor.bytes {
            return Err(WriteError::Tensor {
                name: tensor.name.clone(),
                why: format!(
                    "{} bytes of data where its shape takes {}",
                    data.len(),
                    tensor.bytes
                ),
            });
        }
        self.sink.write_all(data)?;
        self.sink.pad(self.alignment)?;
        self.next += 1;
        Ok(())
    }

    /// Flushes the file and returns the sink.
    ///
    /// # Errors
    /// [`WriteError::Number`] when data is missing, [`WriteError::Io`] when
    /// the sink fails.
    ///
    /// ```
    /// use harness_reference::gguf::{GgmlType, Metadata, WriteError, Writer};
    ///
    /// let metadata = Metadata::new();
    /// let mut writer = Writer::new(&metadata);
    /// writer.declare("norm.weight", &[2], GgmlType::F32)?;
    /// let without_data = writer.begin(Vec::new())?.finish();
    /// assert!(matches!(without_data, Err(WriteError::Number { declared: 1, written: 0 })));
    /// # Ok::<(), WriteError>(())
    /// ```
    pub fn finish(mut self) -> Result<W, WriteError> {
        if self.next != self.tensors.len() {
            return Err(WriteError::Number {
                declared: self.tensors.len(),
                written: self.next,
            });
        }
        self.sink.flush()?;
        Ok(self.sink.sink)
    }
}

/// A sink that knows how much went into it.
#[derive(Debug)]
struct Counted<W> {
    sink: W,
    written: u64,
}

impl<W: Write> Counted<W> {
    fn pad(&mut self, alignment: u64) -> io::Result<()> {
        let missing = self.written.next_multiple_of(alignment) - self.written;
        io::copy(&mut io::Read::take(io::repeat(0), missing), self).map(drop)
    }
}

impl<W: Write> Write for Counted<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let n = self.sink.write(bytes)?;
        self.written += n as u64;
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.sink.flush()
    }
}

fn write_string(sink: &mut impl Write, text: &str) -> io::Result<()> {
    sink.write_all(&(text.len() as u64).to_le_bytes())?;
    sink.write_all(text.as_bytes())
}

fn write_value(sink: &mut impl Write, value: &Value) -> io::Result<()> {
    sink.write_all(&value.type_id().to_le_bytes())?;
    match value {
        Value::U8(n) => sink.write_all(&n.to_le_bytes()),
        Value::I8(n) => sink.write_all(&n.to_le_bytes()),
        Value::U16(n) => sink.write_all(&n.to_le_bytes()),
        Value::I16(n) => sink.write_all(&n.to_le_bytes()),
        Value::U32(n) => sink.write_all(&n.to_le_bytes()),
        Value::I32(n) => sink.write_all(&n.to_le_bytes()),
        Value::U64(n) => sink.write_all(&n.to_le_bytes()),
        Value::I64(n) => sink.write_all(&n.to_le_bytes()),
        Value::F32(x) => sink.write_all(&x.to_le_bytes()),
        Value::F64(x) => sink.write_all(&x.to_le_bytes()),
        Value::Bool(b) => sink.write_all(&[u8::from(*b)]),
        Value::String(text) => write_string(sink, text),
        Value::Array(array) => write_array(sink, array),
    }
}

fn write_array(sink: &mut impl Write, array: &Array) -> io::Result<()> {
    sink.write_all(&array.element_type().to_le_bytes())?;
    sink.write_all(&(array.len() as u64).to_le_bytes())?;
    match array {
        Array::U8(items) => sink.write_all(items),
        Array::I8(items) => items
            .iter()
            .try_for_each(|n| sink.write_all(&n.to_le_bytes())),
        Array::U16(items) => items
            .iter()
            .try_for_each(|n| sink.write_all(&n.to_le_bytes())),
        Array::I16(items) => items
            .iter()
            .try_for_each(|n| sink.write_all(&n.to_le_bytes())),
        Array::U32(items) => items
            .iter()
            .try_for_each(|n| sink.write_all(&n.to_le_bytes())),
        Array::I32(items) => items
            .iter()
            .try_for_each(|n| sink.write_all(&n.to_le_bytes())),
        Array::U64(items) => items
            .iter()
            .try_for_each(|n| sink.write_all(&n.to_le_bytes())),
        Array::I64(items) => items
            .iter()
            .try_for_each(|n| sink.write_all(&n.to_le_bytes())),
        Array::F32(items) => items
            .iter()
            .try_for_each(|x| sink.write_all(&x.to_le_bytes())),
        Array::F64(items) => items
            .iter()
            .try_for_each(|x| sink.write_all(&x.to_le_bytes())),
        Array::Bool(items) => items
            .iter()
            .try_for_each(|&b| sink.write_all(&[u8::from(b)])),
        Array::String(items) => items.iter().try_for_each(|text| write_string(sink, text)),
        Array::Array(items) => items.iter().try_for_each(|array| write_array(sink, array)),
    }
}
