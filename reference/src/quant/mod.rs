//! GGML's tensor types: blocks of numbers to f32 and back, and the weight
//! compressions of Core ML as round trips.
//!
//! [`dequantize`] returns to the bit what PyPI `gguf`'s NumPy code does
//! (`d · q + m` is rounded twice, never fused), and [`quantize`] to the byte
//! what `ggml_quantize_chunk` does without an importance matrix
//! (`tests/ggml_types.rs`). Bytes are little-endian and need no alignment.
//! [`file`](mod@file) does it to whole model files.
//!
//! ```
//! use harness_reference::gguf::GgmlType;
//! use harness_reference::quant::{dequantize, quantize};
//!
//! # fn main() -> Result<(), harness_reference::quant::QuantError> {
//! let row: Vec<f32> = (0..32).map(|n| n as f32 / 16.0 - 1.0).collect();
//! let mut bytes = [0; 18];
//! quantize(GgmlType::Q4_0, &row, row.len(), &mut bytes)?;
//! let mut back = [0.0; 32];
//! dequantize(GgmlType::Q4_0, &bytes, &mut back)?;
//! assert_eq!(back[0], -1.0);
//! # Ok(())
//! # }
//! ```

mod blocks_of_32;
mod core_ml;
mod distortion;
pub mod file;
mod iq4;
mod k_blocks;
mod k_quantize;
mod k_search;
mod kmeans;
mod mxfp4;
mod plain;
mod round_trip;
mod ternary;

use half::f16;
use rayon::prelude::*;

use crate::gguf::GgmlType;

pub use round_trip::round_trip_rows;
pub(crate) use round_trip::{fitting, ggml_type};

/// Numbers that one thread takes at a time: a whole number of blocks of every
/// type.
const PIECE: usize = 1 << 15;

/// Numbers that cannot be stored or read back.
///
/// ```
/// use harness_reference::gguf::GgmlType;
/// use harness_reference::quant::quantize;
///
/// let why = quantize(GgmlType::F16, &[1e6], 1, &mut [0; 2]).map_err(|error| error.to_string());
/// let expected = "element 0 is 1000000; finite numbers up to ±65504 can be stored as f16";
/// assert_eq!(why, Err(expected.into()));
/// ```
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum QuantError {
    /// A type that is not read here.
    #[error("GGML type {0} is not supported by the reference engine")]
    NotRead(GgmlType),
    /// A type that is not written here.
    #[error("nothing is quantized to GGML type {0} here")]
    NotWritten(GgmlType),
    /// The bytes are not those of so many numbers.
    #[error("{bytes} bytes are no {numbers} numbers of type {ty}")]
    Length {
        /// The type.
        ty: GgmlType,
        /// Bytes given.
        bytes: usize,
        /// Numbers given.
        numbers: usize,
    },
    /// The numbers are no whole rows, or a row is no whole number of blocks.
    #[error("{numbers} numbers in rows of {row} are no whole blocks of {block}")]
    Row {
        /// Numbers given.
        numbers: usize,
        /// Numbers in a row.
        row: usize,
        /// Numbers in a block.
        block: usize,
    },
    /// A number that the format has no room for.
    #[error("element {index} is {value}; finite numbers up to ±{limit} can be stored as {format}")]
    Value {
        /// Where it stands.
        index: usize,
        /// What it is.
        value: f32,
        /// The largest magnitude that fits.
        limit: f32,
        /// Name of the format.
        format: &'static str,
    },
}

/// Reads the numbers that `bytes` holds into `out`.
///
/// # Errors
/// [`QuantError::Length`] when `out` is not as long as the bytes say, and
/// [`QuantError::NotRead`] for GGML's integers, f64, and the types of less than
/// four bits that need GGML's codebooks.
///
/// ```
/// use harness_reference::gguf::GgmlType;
/// use harness_reference::quant::dequantize;
///
/// // A scale in half precision, 0.5, then 32 signed bytes.
/// let mut block = [0; 34];
/// block[..4].copy_from_slice(&[0x00, 0x38, 3, 0xFC]);
/// let mut numbers = [f32::NAN; 32];
/// dequantize(GgmlType::Q8_0, &block, &mut numbers)?;
/// assert_eq!(numbers[..3], [1.5, -2.0, 0.0]);
/// # Ok::<(), harness_reference::quant::QuantError>(())
/// ```
pub fn dequantize(ty: GgmlType, bytes: &[u8], out: &mut [f32]) -> Result<(), QuantError> {
    let decode = decoder(ty).ok_or(QuantError::NotRead(ty))?;
    check_length(ty, bytes.len(), out.len())?;
    if out.len() <= PIECE {
        decode(bytes, out);
        return Ok(());
    }
    bytes
        .par_chunks(PIECE / ty.block_size() * ty.block_bytes())
        .zip(out.par_chunks_mut(PIECE))
        .for_each(|(bytes, out)| decode(bytes, out));
    Ok(())
}

/// Stores `values`, a matrix in rows of `row` numbers, into `out`.
///
/// # Errors
/// [`QuantError::Row`] when a row is no whole number of blocks,
/// [`QuantError::Length`] when `out` is not as long as the result,
/// [`QuantError::Value`] for NaN, infinities, and magnitudes beyond f16's
/// largest, 65504, where f16 scales hold them, and [`QuantError::NotWritten`].
///
/// ```
/// use harness_reference::gguf::GgmlType;
/// use harness_reference::quant::{QuantError, quantize};
///
/// let mut row = [0.0; 32];
/// row[1] = 127.0;
/// let mut block = [0; 34];
/// quantize(GgmlType::Q8_0, &row, row.len(), &mut block)?;
/// // The scale is 1, 0x3C00 in half precision.
/// assert_eq!(block[..4], [0x00, 0x3C, 0, 127]);
///
/// let two_rows_of_16 = quantize(GgmlType::Q8_0, &row, 16, &mut block);
/// assert_eq!(two_rows_of_16, Err(QuantError::Row { numbers: 32, row: 16, block: 32 }));
/// # Ok::<(), harness_reference::quant::QuantError>(())
/// ```
pub fn quantize(
    ty: GgmlType,
    values: &[f32],
    row: usize,
    out: &mut [u8],
) -> Result<(), QuantError> {
    let encode = encoder(ty).ok_or(QuantError::NotWritten(ty))?;
    if row == 0 || !values.len().is_multiple_of(row) || !row.is_multiple_of(ty.block_size()) {
        return Err(QuantError::Row {
            numbers: values.len(),
            row,
            block: ty.block_size(),
        });
    }
    check_length(ty, out.len(), values.len())?;
    check_values(values, largest(ty), ty.name())?;
    if values.len() <= PIECE {
        encode(values, out);
        return Ok(());
    }
    out.par_chunks_mut(PIECE / ty.block_size() * ty.block_bytes())
        .zip(values.par_chunks(PIECE))
        .for_each(|(out, values)| encode(values, out));
    Ok(())
}

fn check_length(ty: GgmlType, bytes: usize, numbers: usize) -> Result<(), QuantError> {
    if ty.row_bytes(numbers) == Some(bytes) {
        return Ok(());
    }
    Err(QuantError::Length { ty, bytes, numbers })
}

/// The largest magnitude that `ty` takes: scales are f16 in all but these.
fn largest(ty: GgmlType) -> f32 {
    match ty {
        GgmlType::F32 | GgmlType::Bf16 => f32::MAX,
        _ => f16::MAX.to_f32(),
    }
}

fn check_values(values: &[f32], limit: f32, format: &'static str) -> Result<(), QuantError> {
    // NaN is in no range.
    let fits = |value: &f32| (-limit..=limit).contains(value);
    match values.iter().position(|value| !fits(value)) {
        None => Ok(()),
        Some(index) => Err(QuantError::Value {
            index,
            value: values[index],
            limit,
            format,
        }),
    }
}

type Decode = fn(&[u8], &mut [f32]);
type Encode = fn(&[f32], &mut [u8]);

fn decoder(ty: GgmlType) -> Option<Decode> {
    Some(match ty {
        GgmlType::F32 => plain::f32_from,
        GgmlType::F16 => plain::f16_from,
        GgmlType::Bf16 => plain::bf16_from,
        GgmlType::Q4_0 => |bytes, out| decode(bytes, out, blocks_of_32::q4_0),
        GgmlType::Q4_1 => |bytes, out| decode(bytes, out, blocks_of_32::q4_1),
        GgmlType::Q5_0 => |bytes, out| decode(bytes, out, blocks_of_32::q5_0),
        GgmlType::Q5_1 => |bytes, out| decode(bytes, out, blocks_of_32::q5_1),
        GgmlType::Q8_0 => |bytes, out| decode(bytes, out, blocks_of_32::q8_0),
        GgmlType::Q8_1 => |bytes, out| decode(bytes, out, blocks_of_32::q8_1),
        GgmlType::Q2K => |bytes, out| decode(bytes, out, k_blocks::q2_k),
        GgmlType::Q3K => |bytes, out| decode(bytes, out, k_blocks::q3_k),
        GgmlType::Q4K => |bytes, out| decode(bytes, out, k_blocks::q4_k),
        GgmlType::Q5K => |bytes, out| decode(bytes, out, k_blocks::q5_k),
        GgmlType::Q6K => |bytes, out| decode(bytes, out, k_blocks::q6_k),
        GgmlType::Q8K => |bytes, out| decode(bytes, out, k_blocks::q8_k),
        GgmlType::Iq4Nl => |bytes, out| decode(bytes, out, iq4::iq4_nl),
        GgmlType::Iq4Xs => |bytes, out| decode(bytes, out, iq4::iq4_xs),
        GgmlType::Tq1_0 => |bytes, out| decode(bytes, out, ternary::tq1_0),
        GgmlType::Tq2_0 => |bytes, out| decode(bytes, out, ternary::tq2_0),
        GgmlType::Mxfp4 => |bytes, out| decode(bytes, out, mxfp4::mxfp4),
        _ => return None,
    })
}

fn encoder(ty: GgmlType) -> Option<Encode> {
    Some(match ty {
        GgmlType::F32 => plain::f32_into,
        GgmlType::F16 => plain::f16_into,
        GgmlType::Bf16 => plain::bf16_into,
        GgmlType::Q4_0 => |values, out| encode(values, out, blocks_of_32::quantize_q4_0),
        GgmlType::Q4_1 => |values, out| encode(values, out, blocks_of_32::quantize_q4_1),
        GgmlType::Q5_0 => |values, out| encode(values, out, blocks_of_32::quantize_q5_0),
        GgmlType::Q5_1 => |values, out| encode(values, out, blocks_of_32::quantize_q5_1),
        GgmlType::Q8_0 => |values, out| encode(values, out, blocks_of_32::quantize_q8_0),
        GgmlType::Q2K => |values, out| encode(values, out, k_quantize::q2_k),
        GgmlType::Q3K => |values, out| encode(values, out, k_quantize::q3_k),
        GgmlType::Q4K => |values, out| encode(values, out, k_quantize::q4_k),
        GgmlType::Q5K => |values, out| encode(values, out, k_quantize::q5_k),
        GgmlType::Q6K => |values, out| encode(values, out, k_quantize::q6_k),
        GgmlType::Iq4Nl => |values, out| encode(values, out, iq4::quantize_iq4_nl),
        GgmlType::Iq4Xs => |values, out| encode(values, out, iq4::quantize_iq4_xs),
        _ => return None,
    })
}

/// Applies `block` to every block. Sizes known when compiling let it unroll
/// and vectorise.
fn decode<const BYTES: usize, const NUMBERS: usize>(
    bytes: &[u8],
    out: &mut [f32],
    block: impl Fn(&[u8; BYTES], &mut [f32; NUMBERS]),
) {
    let (blocks, _) = bytes.as_chunks::<BYTES>();
    let (outs, _) = out.as_chunks_mut::<NUMBERS>();
    for (bytes, out) in blocks.iter().zip(outs) {
        block(bytes, out);
    }
}

fn encode<const BYTES: usize, const NUMBERS: usize>(
    values: &[f32],
    out: &mut [u8],
    block: impl Fn(&[f32; NUMBERS], &mut [u8; BYTES]),
) {
    let (blocks, _) = values.as_chunks::<NUMBERS>();
    let (outs, _) = out.as_chunks_mut::<BYTES>();
    for (values, out) in blocks.iter().zip(outs) {
        block(values, out);
    }
}

/// The f16 that starts at byte `at`.
fn f16_at(block: &[u8], at: usize) -> f32 {
    f16::from_le_bytes([block[at], block[at + 1]]).to_f32()
}

/// Stores `value` as the f16 that starts at byte `at`, and returns what it
/// reads back as.
fn put_f16(block: &mut [u8], at: usize, value: f32) -> f32 {
    let rounded = f16::from_f32(value);
    block[at..at + 2].copy_from_slice(&rounded.to_le_bytes());
    rounded.to_f32()
}

/// Inverse of a scale, with GGML's convention for blocks of zeros.
fn inverse(scale: f32) -> f32 {
    if scale == 0.0 { 0.0 } else { 1.0 / scale }
}

/// The entry of largest magnitude, with its sign; the first of several.
fn extreme(values: &[f32]) -> f32 {
    let mut extreme = 0.0f32;
    for &value in values {
        if value.abs() > extreme.abs() {
            extreme = value;
        }
    }
    extreme
}
