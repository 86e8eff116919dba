//! Tensors as they are stored, or in any other storage format.

use std::ops::Range;

use bytes::Bytes;
use candle_core::quantized::ggml_file::qtensor_from_ggml;
use candle_core::quantized::{GgmlDType, QTensor};
use candle_core::{Device, Tensor};
use engine::{EngineError, FailureKind, NumberFormat};

use crate::gguf::{GgmlType, GgufFile, TensorInfo};

/// Reads the tensors of one model and requantizes the matrices among them.
pub(crate) struct Weights<'a> {
    file: &'a GgufFile,
    format: NumberFormat,
}

/// A matrix as it is stored, row after row in blocks of its type.
#[derive(Clone)]
pub(crate) struct StoredMatrix {
    pub(crate) ggml_type: GgmlType,
    pub(crate) rows: usize,
    pub(crate) columns: usize,
    /// Part of the mapped file, unless it was requantized.
    pub(crate) bytes: Bytes,
}

impl StoredMatrix {
    /// Bytes of a row.
    pub(crate) fn row_bytes(&self) -> usize {
        self.bytes.len() / self.rows
    }

    /// Some of the rows, without copying them.
    pub(crate) fn row_range(&self, rows: Range<usize>) -> Self {
        let row_bytes = self.row_bytes();
        Self {
            rows: rows.len(),
            bytes: self
                .bytes
                .slice(rows.start * row_bytes..rows.end * row_bytes),
            ..*self
        }
    }

    /// All values, row after row.
    pub(crate) fn to_f32(&self) -> candle_core::Result<Vec<f32>> {
        dequantize(self.ggml_type, &self.bytes, vec![self.rows, self.columns])?
            .flatten_all()?
            .to_vec1()
    }
}

impl<'a> Weights<'a> {
    pub(crate) fn new(file: &'a GgufFile, format: NumberFormat) -> Self {
        Self { file, format }
    }

    /// Whether the model has a tensor called `name`.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.file.tensor(name).is_some()
    }

    /// The error for a tensor that is not there.
    pub(crate) fn missing(name: &str) -> EngineError {
        EngineError::new(
            FailureKind::Load,
            format!("the model has no tensor `{name}`"),
        )
    }

    /// The matrix `name` of `rows` (any number when `None`) by `columns`.
    pub(crate) fn matrix(
        &self,
        name: &str,
        rows: Option<usize>,
        columns: usize,
    ) -> Result<StoredMatrix, EngineError> {
        self.matrix_optional(name, rows, columns)?
            .ok_or_else(|| Self::missing(name))
    }

    /// Like [`matrix`](Self::matrix), but `None` when there is no such tensor.
    pub(crate) fn matrix_optional(
        &self,
        name: &str,
        rows: Option<usize>,
        columns: usize,
    ) -> Result<Option<StoredMatrix>, EngineError> {
        let Some(info) = self.file.tensor(name) else {
            return Ok(None);
        };
        let stored = shape_of(info)?;
        let rows = match (&stored[..], rows) {
            (&[found, width], None) if width == columns => found,
            (&[found, width], Some(rows)) if (found, width) == (rows, columns) => rows,
            _ => {
                let rows = rows.map_or("any number of".into(), |rows| rows.to_string());
                return Err(Self::misshapen(
                    name,
                    &stored,
                    format!("{rows} rows of {columns}"),
                ));
            }
        };
        let matrix = StoredMatrix {
            ggml_type: info.ggml_type,
            rows,
            columns,
            bytes: self.file.shared_data(info),
        };
        let failed = |error: candle_core::Error| {
            EngineError::new(FailureKind::Load, format!("tensor `{name}`: {error}"))
        };
        requantize(matrix, self.format).map(Some).map_err(failed)
    }

    /// The vector `name`, which stays as it is stored: norms and biases are f32
    /// in every GGUF.
    pub(crate) fn vector(&self, name: &str, len: usize) -> Result<Vec<f32>, EngineError> {
        self.vector_optional(name, len)?
            .ok_or_else(|| Self::missing(name))
    }

    /// Like [`vector`](Self::vector), but `None` when there is no such tensor.
    pub(crate) fn vector_optional(
        &self,
        name: &str,
        len: usize,
    ) -> Result<Option<Vec<f32>>, EngineError> {
        let Some(info) = self.file.tensor(name) else {
            return Ok(None);
        };
        let stored = shape_of(info)?;
        if stored != [len] {
            return Err(Self::misshapen(name, &stored, format!("{len} values")));
        }
        dequantize(info.ggml_type, self.file.data(info), stored)
            .and_then(|values| values.to_vec1())
            .map(Some)
            .map_err(|error| {
                EngineError::new(FailureKind::Load, format!("tensor `{name}`: {error}"))
            })
    }

    /// The error for a matrix with too few rows.
    pub(crate) fn missing_rows(name: &str, found: usize, wanted: usize) -> EngineError {
        EngineError::new(
            FailureKind::Load,
            format!("tensor `{name}` has {found} rows; the context needs {wanted}"),
        )
    }

    fn misshapen(name: &str, stored: &[usize], wanted: String) -> EngineError {
        EngineError::new(
            FailureKind::Load,
            format!("tensor `{name}` has shape {stored:?}; the model's metadata asks for {wanted}"),
        )
    }
}

/// `matrix` stored in `format`, by the rules of [`round_trip`].
fn requantize(matrix: StoredMatrix, format: NumberFormat) -> candle_core::Result<StoredMatrix> {
    if format == NumberFormat::F32 {
        return Ok(matrix);
    }
    let values = Tensor::from_vec(
        matrix.to_f32()?,
        (matrix.rows, matrix.columns),
        &Device::Cpu,
    )?;
    let ggml_type = storage(format, matrix.columns);
    let quantized = QTensor::quantize(&values, candle_type(ggml_type)?)?;
    let bytes = Bytes::copy_from_slice(&quantized.data()?);
    Ok(StoredMatrix {
        ggml_type,
        bytes,
        ..matrix
    })
}

/// Shape of a stored tensor, outermost dimension first.
fn shape_of(info: &TensorInfo) -> Result<Vec<usize>, EngineError> {
    info.dims
        .iter()
        .rev()
        .map(|&dim| {
            usize::try_from(dim).map_err(|_| {
                EngineError::new(
                    FailureKind::Load,
                    format!("tensor `{}` is too large", info.name),
                )
            })
        })
        .collect()
}

/// Index of the first NaN or infinity that `tensor` of `file` holds once
/// dequantized.
///
/// # Errors
/// When its type cannot be dequantized here.
pub fn first_non_finite(
    file: &GgufFile,
    tensor: &TensorInfo,
) -> Result<Option<usize>, EngineError> {
    let values = shape_of(tensor).and_then(|shape| {
        dequantize(tensor.ggml_type, file.data(tensor), shape)
            .and_then(|values| values.flatten_all()?.to_vec1::<f32>())
            .map_err(|error| {
                EngineError::new(
                    FailureKind::Unsupported,
                    format!("tensor `{}`: {error}", tensor.name),
                )
            })
    })?;
    Ok(values.iter().position(|value| !value.is_finite()))
}

fn dequantize(ggml_type: GgmlType, data: &[u8], shape: Vec<usize>) -> candle_core::Result<Tensor> {
    let dtype = candle_type(ggml_type)?;
    // candle casts the bytes to its block types, none aligned to more than four;
    // a file may declare an alignment of one.
    if data.as_ptr().addr().is_multiple_of(4) {
        return qtensor_from_ggml(dtype, data, shape, &Device::Cpu)?.dequantize(&Device::Cpu);
    }
    let mut words = vec![0u32; data.len().div_ceil(4)];
    let aligned: &mut [u8] = &mut bytemuck::cast_slice_mut(&mut words)[..data.len()];
    aligned.copy_from_slice(data);
    qtensor_from_ggml(dtype, aligned, shape, &Device::Cpu)?.dequantize(&Device::Cpu)
}

fn candle_type(ggml_type: GgmlType) -> candle_core::Result<GgmlDType> {
    Ok(match ggml_type {
        GgmlType::F32 => GgmlDType::F32,
        GgmlType::F16 => GgmlDType::F16,
        GgmlType::Bf16 => GgmlDType::BF16,
        GgmlType::Q4_0 => GgmlDType::Q4_0,
        GgmlType::Q4_1 => GgmlDType::Q4_1,
        GgmlType::Q5_0 => GgmlDType::Q5_0,
        GgmlType::Q5_1 => GgmlDType::Q5_1,
        GgmlType::Q8_0 => GgmlDType::Q8_0,
        GgmlType::Q2K => GgmlDType::Q2K,
        GgmlType::Q3K => GgmlDType::Q3K,
        GgmlType::Q4K => GgmlDType::Q4K,
        GgmlType::Q5K => GgmlDType::Q5K,
        GgmlType::Q6K => GgmlDType::Q6K,
        other => candle_core::bail!("GGML type {other} is not supported by the reference engine"),
    })
}

/// `tensor` stored in `format` and read back as f32.
///
/// A row that is no whole number of `format`'s blocks takes the next finer
/// format that fits, as llama.cpp's quantizer does: a K-quant its 32-weight
/// neighbour, and what does not even fill those, f16.
pub fn round_trip(tensor: &Tensor, format: NumberFormat) -> candle_core::Result<Tensor> {
    let row = tensor.dim(candle_core::D::Minus1)?;
    match candle_type(storage(format, row))? {
        GgmlDType::F32 => Ok(tensor.clone()),
        dtype => QTensor::quantize(tensor, dtype)?.dequantize(&Device::Cpu),
    }
}

/// The GGML type that holds rows of `columns` in `format`, or in the next finer
/// one that they fill.
fn storage(format: NumberFormat, columns: usize) -> GgmlType {
    let ggml_type = match format {
        NumberFormat::F32 => GgmlType::F32,
        NumberFormat::F16 => GgmlType::F16,
        NumberFormat::Bf16 => GgmlType::Bf16,
        NumberFormat::Q8_0 => GgmlType::Q8_0,
        NumberFormat::Q6K => GgmlType::Q6K,
        NumberFormat::Q5K => GgmlType::Q5K,
        NumberFormat::Q5_1 => GgmlType::Q5_1,
        NumberFormat::Q5_0 => GgmlType::Q5_0,
        NumberFormat::Q4K => GgmlType::Q4K,
        NumberFormat::Q4_1 => GgmlType::Q4_1,
        NumberFormat::Q4_0 => GgmlType::Q4_0,
        NumberFormat::Q3K => GgmlType::Q3K,
        NumberFormat::Q2K => GgmlType::Q2K,
    };
    if columns.is_multiple_of(ggml_type.block_size()) {
        return ggml_type;
    }
    let finer = match format {
        NumberFormat::Q6K => NumberFormat::Q8_0,
        NumberFormat::Q5K => NumberFormat::Q5_1,
        NumberFormat::Q4K => NumberFormat::Q5_0,
        NumberFormat::Q3K | NumberFormat::Q2K => NumberFormat::Q4_0,
        _ => NumberFormat::F16,
    };
    storage(finer, columns)
}
