//! Matrices stored in a number format and read back.

use engine::NumberFormat;
use rayon::prelude::*;

use super::{PIECE, QuantError, check_values, core_ml, dequantize, largest, quantize};
use crate::gguf::GgmlType;

/// The GGML type of `format`, none for the schemes of Core ML.
pub(crate) fn ggml_type(format: NumberFormat) -> Option<GgmlType> {
    Some(match format {
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
        NumberFormat::Iq4Nl => GgmlType::Iq4Nl,
        NumberFormat::Iq4Xs => GgmlType::Iq4Xs,
        NumberFormat::Q4_0 => GgmlType::Q4_0,
        NumberFormat::Q3K => GgmlType::Q3K,
        NumberFormat::Q2K => GgmlType::Q2K,
        NumberFormat::Palette4G16 | NumberFormat::Int4B32 => return None,
    })
}

/// `ty` where rows of `row` numbers are whole blocks of it; else the next finer
/// type that fits, as llama.cpp's quantizer has it: for 256-number blocks a
/// 32-number neighbour, and what does not even fill those is f16.
pub(crate) fn fitting(ty: GgmlType, row: usize) -> GgmlType {
    let fits = |ty: GgmlType| row.is_multiple_of(ty.block_size());
    let finer = match ty {
        GgmlType::Q6K => GgmlType::Q8_0,
        GgmlType::Q5K => GgmlType::Q5_1,
        GgmlType::Q4K => GgmlType::Q5_0,
        GgmlType::Q3K | GgmlType::Q2K => GgmlType::Q4_0,
        GgmlType::Iq4Xs => GgmlType::Iq4Nl,
        _ => GgmlType::F16,
    };
    if fits(ty) {
        ty
    } else if fits(finer) {
        finer
    } else {
        GgmlType::F16
    }
}

/// Replaces `values`, a matrix in rows of `row` numbers, by what comes back when
/// `format` stores them.
///
/// Rows that are no whole number of a GGML type's blocks take the next finer type
/// that fits, as in llama.cpp's quantizer. What the schemes of Core ML cannot divide stays f16, as
/// coremltools leaves it: rows of no multiple of 32 numbers under `int4-b32`,
/// matrices of no multiple of 16 rows under `palette4-g16`.
///
/// # Errors
/// [`QuantError::Row`] when the values are no whole rows, and
/// [`QuantError::Value`] for numbers that the format has no room for.
///
/// ```
/// use engine::NumberFormat;
/// use harness_reference::quant::round_trip_rows;
///
/// // Codes from −7 to 7; the largest of a block sets its scale.
/// let mut row = [0.0; 32];
/// row[..3].copy_from_slice(&[7.0, 2.4, -2.6]);
/// round_trip_rows(&mut row, 32, NumberFormat::Int4B32)?;
/// assert_eq!(row[..3], [7.0, 2.0, -3.0]);
/// # Ok::<(), harness_reference::quant::QuantError>(())
/// ```
pub fn round_trip_rows(
    values: &mut [f32],
    row: usize,
    format: NumberFormat,
) -> Result<(), QuantError> {
    if row == 0 || !values.len().is_multiple_of(row) {
        return Err(QuantError::Row {
            numbers: values.len(),
            row,
            block: 1,
        });
    }
    let rows = values.len() / row;
    match format {
        NumberFormat::Palette4G16 if rows.is_multiple_of(core_ml::GROUP) => {
            check_values(values, core_ml::LIMIT, format.name())?;
            core_ml::palette4_g16(values, row);
            Ok(())
        }
        NumberFormat::Int4B32 if row.is_multiple_of(core_ml::BLOCK) => {
            check_values(values, core_ml::LIMIT, format.name())?;
            core_ml::int4_b32(values);
            Ok(())
        }
        _ => through(
            values,
            fitting(ggml_type(format).unwrap_or(GgmlType::F16), row),
        ),
    }
}

/// Passes `values`, whole blocks, through `ty`.
fn through(values: &mut [f32], ty: GgmlType) -> Result<(), QuantError> {
    // Here rather than by the pieces, which do not know where they stand.
    check_values(values, largest(ty), ty.name())?;
    values.par_chunks_mut(PIECE).try_for_each(|values| {
        let mut bytes = vec![0; values.len() / ty.block_size() * ty.block_bytes()];
        quantize(ty, values, values.len(), &mut bytes)?;
        dequantize(ty, &bytes, values)
    })
}
