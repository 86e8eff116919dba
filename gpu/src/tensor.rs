//! Rows of activations and matrices in device memory.

use std::borrow::Cow;

use engine::EngineError;

use crate::device::Device;
use crate::shader::Weights;

/// Rows of f32, each at a multiple of four values, so that kernels read fours. What lies between a
/// row's values and the next row is zero and stays so.
pub(crate) struct Rows {
    pub(crate) buffer: wgpu::Buffer,
    /// Values of a row, and the distance of rows.
    pub(crate) width: usize,
    pub(crate) stride: usize,
}

impl Rows {
    /// `rows` rows of `width` zeros.
    pub(crate) fn new(
        device: &Device,
        what: &str,
        rows: usize,
        width: usize,
    ) -> Result<Self, EngineError> {
        let stride = width.next_multiple_of(4);
        Ok(Self {
            buffer: device.storage(what, 4 * rows as u64 * stride as u64)?,
            width,
            stride,
        })
    }

    /// Rows that hold `values`.
    pub(crate) fn holding(
        device: &Device,
        what: &str,
        values: &[f32],
        width: usize,
    ) -> Result<Self, EngineError> {
        let this = Self::new(device, what, values.len() / width, width)?;
        let values = padded(bytemuck::cast_slice(values), 4 * width, 4 * this.stride);
        device.write(&this.buffer, &values);
        Ok(this)
    }
}

/// A matrix of `[outputs, inputs]` in its own storage format, in as many buffers as bindings need.
pub(crate) struct Matrix {
    pub(crate) weights: Weights,
    pub(crate) rows: usize,
    pub(crate) columns: usize,
    /// Half-words of a row.
    pub(crate) row_halves: usize,
    pub(crate) parts: Vec<Part>,
}

/// Some rows of a matrix.
pub(crate) struct Part {
    pub(crate) first_row: usize,
    pub(crate) rows: usize,
    pub(crate) buffer: wgpu::Buffer,
}

impl Matrix {
    /// Uploads `bytes`, rows of whole blocks.
    pub(crate) fn upload(
        device: &Device,
        what: &str,
        weights: Weights,
        (rows, columns): (usize, usize),
        bytes: &[u8],
    ) -> Result<Self, EngineError> {
        let stored = columns / weights.block() * weights.block_bytes();
        let row_bytes = match weights {
            // Kernels read four columns at a time; the tokens' values there are zero too.
            Weights::F32 | Weights::F16 => columns.next_multiple_of(4) * weights.block_bytes(),
            _ => stored,
        };
        let most = device.powers.binding_bytes.min(device.powers.buffer_bytes);
        let rows_a_part = usize::try_from(most / row_bytes as u64).unwrap_or(usize::MAX);
        // What cannot be split further is refused as the buffer that it is.
        let rows_a_part = rows_a_part.clamp(1, rows);
        let parts = (0..rows)
            .step_by(rows_a_part)
            .map(|first_row| {
                let rows = rows_a_part.min(rows - first_row);
                let bytes = &bytes[first_row * stored..(first_row + rows) * stored];
                Ok(Part {
                    first_row,
                    rows,
                    buffer: device.upload(what, &padded(bytes, stored, row_bytes))?,
                })
            })
            .collect::<Result<_, EngineError>>()?;
        Ok(Self {
            weights,
            rows,
            columns,
            row_halves: row_bytes / 2,
            parts,
        })
    }

    /// Columns, in fours.
    pub(crate) fn chunks(&self) -> usize {
        self.columns.div_ceil(4)
    }
}

/// Rows of `from` bytes as rows of `to`, zero behind what they hold.
fn padded(bytes: &[u8], from: usize, to: usize) -> Cow<'_, [u8]> {
    if from == to {
        return bytes.into();
    }
    let mut out = vec![0; bytes.len() / from * to];
    for (row, out) in bytes.chunks_exact(from).zip(out.chunks_exact_mut(to)) {
        out[..from].copy_from_slice(row);
    }
    out.into()
}
