//! Rows of an array as Core ML hands it over: of any float type, with gaps between rows.

use std::ops::Range;

use half::f16;
use half::slice::HalfFloatSliceExt;

/// Element types of answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Element {
    Float16,
    Float32,
    Float64,
}

/// An array in memory.
pub(crate) struct Strided<'a> {
    pub(crate) bytes: &'a [u8],
    pub(crate) element: Element,
    /// Extents, outermost first.
    pub(crate) shape: &'a [usize],
    /// Elements from one place to the next along each axis.
    pub(crate) strides: &'a [usize],
}

impl Strided<'_> {
    /// The elements `extent` of those that the array has from first to last, whole rows of
    /// its last axis.
    ///
    /// # Errors
    /// When they are not all inside the memory.
    pub(crate) fn read(&self, extent: Range<usize>) -> Result<Vec<f32>, String> {
        let width = self.shape.last().copied().unwrap_or(1).max(1);
        let step = self.strides.last().copied().unwrap_or(1);
        let mut values = vec![0.0; extent.len()];
        for (row, values) in (extent.start / width..).zip(values.chunks_mut(width)) {
            let first = self.offset(row);
            for (index, chunk) in values
                .chunks_mut(if step == 1 { width } else { 1 })
                .enumerate()
            {
                let at = first + index * step;
                self.convert(at, chunk)
                    .ok_or_else(|| format!("element {at} is beyond {} bytes", self.bytes.len()))?;
            }
        }
        Ok(values)
    }

    /// Where row `row` begins, counted in elements.
    fn offset(&self, row: usize) -> usize {
        let outer = self.shape.len().saturating_sub(1);
        let axes = self.shape[..outer].iter().zip(&self.strides[..outer]);
        let (mut rest, mut offset) = (row, 0);
        for (extent, stride) in axes.rev() {
            offset += rest % (*extent).max(1) * stride;
            rest /= (*extent).max(1);
        }
        offset
    }

    fn convert(&self, at: usize, values: &mut [f32]) -> Option<()> {
        let size = match self.element {
            Element::Float16 => 2,
            Element::Float32 => 4,
            Element::Float64 => 8,
        };
        let bytes = self.bytes.get(at * size..(at + values.len()) * size)?;
        match self.element {
            Element::Float16 => {
                let mut halves = [f16::ZERO; 1024];
                let pieces = values.chunks_mut(halves.len());
                for (values, bytes) in pieces.zip(bytes.chunks(2 * halves.len())) {
                    let halves = &mut halves[..values.len()];
                    for (half, pair) in halves.iter_mut().zip(bytes.as_chunks::<2>().0) {
                        *half = f16::from_ne_bytes(*pair);
                    }
                    halves.convert_to_f32_slice(values);
                }
            }
            Element::Float32 => {
                for (value, bytes) in values.iter_mut().zip(bytes.as_chunks::<4>().0) {
                    *value = f32::from_ne_bytes(*bytes);
                }
            }
            Element::Float64 => {
                for (value, bytes) in values.iter_mut().zip(bytes.as_chunks::<8>().0) {
                    *value = f64::from_ne_bytes(*bytes) as f32;
                }
            }
        }
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn memory(element: Element, count: usize) -> Vec<u8> {
        let values = (0..count).map(|value| value as f32);
        match element {
            Element::Float16 => values
                .flat_map(|v| f16::from_f32(v).to_ne_bytes())
                .collect(),
            Element::Float32 => values.flat_map(f32::to_ne_bytes).collect(),
            Element::Float64 => values.flat_map(|v| f64::from(v).to_ne_bytes()).collect(),
        }
    }

    #[test]
    fn rows_with_gaps_are_read() {
        for element in [Element::Float16, Element::Float32, Element::Float64] {
            let bytes = memory(element, 64);
            let array = Strided {
                bytes: &bytes,
                element,
                shape: &[1, 3, 5],
                strides: &[24, 8, 1],
            };
            let whole = array.read(0..15).unwrap();
            assert_eq!(whole[4..6], [4.0, 8.0]);
            assert_eq!(array.read(5..15).unwrap(), whole[5..]);
            assert_eq!(array.read(10..15).unwrap(), [16.0, 17.0, 18.0, 19.0, 20.0]);
            assert!(array.read(5..5).unwrap().is_empty());
            // The features' axis is the outer one in memory.
            let turned = Strided {
                shape: &[1, 2, 3],
                strides: &[30, 1, 10],
                ..array
            };
            assert_eq!(turned.read(3..6).unwrap(), [1.0, 11.0, 21.0]);
        }
    }

    #[test]
    fn memory_that_ends_early_is_told() {
        let bytes = memory(Element::Float32, 14);
        let array = Strided {
            bytes: &bytes,
            element: Element::Float32,
            shape: &[3, 5],
            strides: &[5, 1],
        };
        assert_eq!(array.read(0..10).unwrap().len(), 10);
        assert!(array.read(10..15).is_err());
    }
}
