//! Matrices and activations as the kernels read them.

use std::ops::Range;

use bytes::Bytes;

use super::simd::LANES;
use crate::gguf::GgmlType;
use crate::quant::QuantError;
use crate::weights::StoredMatrix;

/// Storage types that kernels read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    F32,
    F16,
    Bf16,
    Q4_0,
    Q4_1,
    Q5_0,
    Q5_1,
    Q8_0,
    Q2K,
    Q3K,
    Q4K,
    Q5K,
    Q6K,
    Iq4Nl,
    Iq4Xs,
}

/// Evaluates `$body` with `$block` standing for the
/// [`Block`](super::blocks::Block) of a format.
macro_rules! with_block {
    ($format:expr, $block:ident => $body:expr) => {
        with_block!(@ $format, $block => $body;
            F32 F16 Bf16 Q4_0 Q4_1 Q5_0 Q5_1 Q8_0 Q2K Q3K Q4K Q5K Q6K Iq4Nl Iq4Xs)
    };
    (@ $format:expr, $block:ident => $body:expr; $($name:ident)*) => {
        match $format {
            $($crate::fast::matrix::Format::$name => {
                type $block = $crate::fast::blocks::$name;
                $body
            })*
        }
    };
}
pub(super) use with_block;

impl Format {
    fn of(ggml_type: GgmlType) -> Option<Self> {
        Some(match ggml_type {
            GgmlType::F32 => Format::F32,
            GgmlType::F16 => Format::F16,
            GgmlType::Bf16 => Format::Bf16,
            GgmlType::Q4_0 => Format::Q4_0,
            GgmlType::Q4_1 => Format::Q4_1,
            GgmlType::Q5_0 => Format::Q5_0,
            GgmlType::Q5_1 => Format::Q5_1,
            GgmlType::Q8_0 => Format::Q8_0,
            GgmlType::Q2K => Format::Q2K,
            GgmlType::Q3K => Format::Q3K,
            GgmlType::Q4K => Format::Q4K,
            GgmlType::Q5K => Format::Q5K,
            GgmlType::Q6K => Format::Q6K,
            GgmlType::Iq4Nl => Format::Iq4Nl,
            GgmlType::Iq4Xs => Format::Iq4Xs,
            _ => return None,
        })
    }
}

/// A matrix `[rows, columns]`, decoded as it is used.
///
/// The bytes are those of the model file, mapped, so that nothing is held
/// twice; only types that no kernel reads are expanded to f32.
pub(super) struct Matrix {
    pub(super) format: Format,
    pub(super) rows: usize,
    pub(super) columns: usize,
    pub(super) row_bytes: usize,
    bytes: Bytes,
}

impl Matrix {
    pub(super) fn new(stored: StoredMatrix) -> Result<Self, QuantError> {
        let (rows, columns) = (stored.rows, stored.columns);
        let (format, bytes) = match Format::of(stored.ggml_type) {
            Some(format) => (format, stored.bytes),
            None => {
                let values = stored.to_f32()?;
                let bytes = values
                    .iter()
                    .flat_map(|value| value.to_le_bytes())
                    .collect();
                (Format::F32, bytes)
            }
        };
        Ok(Self {
            format,
            rows,
            columns,
            row_bytes: bytes.len() / rows,
            bytes,
        })
    }

    /// The bytes of `rows`.
    pub(super) fn row_range(&self, rows: Range<usize>) -> &[u8] {
        &self.bytes[rows.start * self.row_bytes..rows.end * self.row_bytes]
    }
}

/// One feature of 32 tokens, on its own cache lines.
#[derive(Clone, Copy, bytemuck::Zeroable)]
#[repr(C, align(128))]
pub(super) struct Lanes(pub(super) [f32; LANES]);

impl Lanes {
    pub(super) const ZERO: Lanes = Lanes([0.0; LANES]);

    /// So many lanes of zeros, which take no memory before they are written.
    pub(super) fn zeros(count: usize) -> Vec<Self> {
        bytemuck::zeroed_vec(count)
    }

    pub(super) fn flatten(lanes: &[Lanes]) -> &[f32] {
        // SAFETY: 32 floats of 4 bytes fill the alignment of 128, so that lanes
        // lie side by side without padding.
        unsafe { std::slice::from_raw_parts(lanes.as_ptr().cast(), lanes.len() * LANES) }
    }

    pub(super) fn flatten_mut(lanes: &mut [Lanes]) -> &mut [f32] {
        // SAFETY: as above.
        unsafe { std::slice::from_raw_parts_mut(lanes.as_mut_ptr().cast(), lanes.len() * LANES) }
    }
}

/// Activations of many tokens, in panels of 32 tokens.
///
/// A panel holds one [`Lanes`] per feature, in order, so that a kernel that
/// goes through the features of a panel reads memory in order and treats 32
/// tokens at once.
pub(super) struct Panels {
    lanes: Vec<Lanes>,
    features: usize,
}

impl Panels {
    pub(super) fn new(panels: usize, features: usize) -> Self {
        Self {
            lanes: Lanes::zeros(panels * features),
            features,
        }
    }

    pub(super) fn features(&self) -> usize {
        self.features
    }

    pub(super) fn panel(&self, panel: usize) -> &[Lanes] {
        &self.lanes[panel * self.features..(panel + 1) * self.features]
    }

    /// The first `panels` panels.
    pub(super) fn first_mut(&mut self, panels: usize) -> &mut [Lanes] {
        &mut self.lanes[..panels * self.features]
    }
}
