//! What the benchmarks of kernels compute on.

use engine::NumberFormat;
use harness_reference::gguf::GgmlType;
use harness_reference::kernels::{Head, Matrix};
use harness_reference::quant::quantize;

/// Numbers of no meaning in −1…1.
pub(crate) fn numbers(len: usize) -> Vec<f32> {
    let number = |at: usize| ((at * 7919 % 2003) as f32 - 1001.0) / 1001.0;
    (0..len).map(number).collect()
}

/// A matrix whose rows are all the same; speed does not depend on them.
pub(crate) fn matrix(ty: GgmlType, rows: usize, columns: usize) -> Matrix {
    let mut row = vec![0; ty.row_bytes(columns).unwrap()];
    quantize(ty, &numbers(columns), columns, &mut row).unwrap();
    Matrix::new(ty, rows, columns, row.repeat(rows)).unwrap()
}

/// Keys and values of one head.
pub(crate) struct Cache {
    format: NumberFormat,
    dim: usize,
    bytes: Vec<u8>,
}

impl Cache {
    pub(crate) fn new(format: NumberFormat, positions: usize, dim: usize) -> Self {
        let ty = match format {
            NumberFormat::F16 => GgmlType::F16,
            NumberFormat::Q8_0 => GgmlType::Q8_0,
            _ => GgmlType::F32,
        };
        let mut bytes = vec![0; ty.row_bytes(positions * dim).unwrap()];
        quantize(ty, &numbers(positions * dim), dim, &mut bytes).unwrap();
        Self { format, dim, bytes }
    }

    /// The same rows as keys and as values.
    pub(crate) fn head(&self) -> Head<'_> {
        Head {
            format: self.format,
            keys: &self.bytes,
            values: &self.bytes,
            width: self.dim,
            column: 0,
            dim: self.dim,
            scale: 1.0 / (self.dim as f32).sqrt(),
            softcap: None,
            window: None,
        }
    }
}
