//! GGUF tensors as f32, by way of any quantization.

use candle_core::quantized::ggml_file::qtensor_from_ggml;
use candle_core::quantized::{GgmlDType, QTensor};
use candle_core::{DType, Device, Tensor};
use engine::{EngineError, FailureKind, NumberFormat};

use crate::gguf::{GgmlType, GgufFile, TensorInfo};

/// Reads tensors of one file and requantizes the matrices among them.
pub(crate) struct Weights<'a> {
    file: &'a GgufFile,
    format: NumberFormat,
}

impl<'a> Weights<'a> {
    pub(crate) fn new(file: &'a GgufFile, format: NumberFormat) -> Self {
        Self { file, format }
    }

    /// The tensor `name` with the given shape (outermost dimension first).
    pub(crate) fn get(&self, name: &str, shape: &[usize]) -> Result<Tensor, EngineError> {
        self.get_optional(name, shape)?.ok_or_else(|| {
            EngineError::new(
                FailureKind::Load,
                format!("the model has no tensor `{name}`"),
            )
        })
    }

    /// Like [`get`](Self::get), but `None` when there is no such tensor.
    pub(crate) fn get_optional(
        &self,
        name: &str,
        shape: &[usize],
    ) -> Result<Option<Tensor>, EngineError> {
        let Some(info) = self.file.tensor(name) else {
            return Ok(None);
        };
        let stored: Vec<usize> = shape_of(info)?;
        if stored != shape {
            return Err(EngineError::new(
                FailureKind::Load,
                format!(
                    "tensor `{name}` has shape {stored:?}; the model's metadata asks for {shape:?}"
                ),
            ));
        }
        let failed = |error: candle_core::Error| {
            EngineError::new(FailureKind::Load, format!("tensor `{name}`: {error}"))
        };
        let tensor = dequantize(info, self.file.data(info), stored).map_err(failed)?;
        // Norms and biases stay as they are, as in every GGUF.
        if shape.len() < 2 {
            return Ok(Some(tensor));
        }
        Ok(Some(round_trip(&tensor, self.format).map_err(failed)?))
    }
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
        dequantize(tensor, file.data(tensor), shape)
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

fn dequantize(info: &TensorInfo, data: &[u8], shape: Vec<usize>) -> candle_core::Result<Tensor> {
    let dtype = match info.ggml_type {
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
    };
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

/// `tensor` stored in `format` and read back as f32.
///
/// A row that is no whole number of `format`'s blocks takes the next finer
/// format that fits, as llama.cpp's quantizer does: a K-quant its 32-weight
/// neighbour, and what does not even fill those, f16.
pub fn round_trip(tensor: &Tensor, format: NumberFormat) -> candle_core::Result<Tensor> {
    let row = tensor.dim(candle_core::D::Minus1)?;
    let block = |dtype: GgmlDType| row.is_multiple_of(dtype.block_size());
    let dtype = match format {
        NumberFormat::F32 => return Ok(tensor.clone()),
        NumberFormat::F16 => return tensor.to_dtype(DType::F16)?.to_dtype(DType::F32),
        NumberFormat::Bf16 => return tensor.to_dtype(DType::BF16)?.to_dtype(DType::F32),
        NumberFormat::Q8_0 => GgmlDType::Q8_0,
        NumberFormat::Q6K => GgmlDType::Q6K,
        NumberFormat::Q5K => GgmlDType::Q5K,
        NumberFormat::Q5_1 => GgmlDType::Q5_1,
        NumberFormat::Q5_0 => GgmlDType::Q5_0,
        NumberFormat::Q4K => GgmlDType::Q4K,
        NumberFormat::Q4_1 => GgmlDType::Q4_1,
        NumberFormat::Q4_0 => GgmlDType::Q4_0,
        NumberFormat::Q3K => GgmlDType::Q3K,
        NumberFormat::Q2K => GgmlDType::Q2K,
    };
    if block(dtype) {
        return QTensor::quantize(tensor, dtype)?.dequantize(&Device::Cpu);
    }
    round_trip(
        tensor,
        match format {
            NumberFormat::Q6K => NumberFormat::Q8_0,
            NumberFormat::Q5K => NumberFormat::Q5_1,
            NumberFormat::Q4K => NumberFormat::Q5_0,
            NumberFormat::Q3K | NumberFormat::Q2K => NumberFormat::Q4_0,
            _ => NumberFormat::F16,
        },
    )
}
