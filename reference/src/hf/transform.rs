//! What llama.cpp's converter does to the values of tensors.

use half::{bf16, f16};

use crate::gguf::GgmlType;
use bytes::Bytes;

/// How a tensor's values change on the way to GGUF.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Transform {
    /// Not at all.
    Keep,
    /// Widened to f32, with `add` added: norms and biases are f32 in every
    /// GGUF, and Gemma's norms multiply by one more than what is stored.
    Widen {
        /// 0 or 1.
        add: u8,
    },
    /// The rows of each head from rotate-half order, where dimensions `i` and
    /// `i + d/2` turn together, to interleaved order, where `2i` and `2i + 1`
    /// do; then widened if `widen`.
    Interleave {
        /// Heads that the rows divide into.
        heads: usize,
        /// Whether the result is f32.
        widen: bool,
    },
    /// `[inputs, outputs]` to `[outputs, inputs]`: GPT-2's layers hold the
    /// transpose of what everyone else's do.
    Transpose,
}

impl Transform {
    /// Type of the result.
    pub(super) fn ggml_type(self, stored: GgmlType) -> GgmlType {
        match self {
            Transform::Widen { .. } | Transform::Interleave { widen: true, .. } => GgmlType::F32,
            _ => stored,
        }
    }

    /// Shape of the result, or why there is none. Shapes stand outermost first.
    pub(super) fn shape(self, stored: &[usize]) -> Result<Vec<usize>, String> {
        match (self, stored) {
            (Transform::Interleave { heads, .. }, &[rows, ..]) => {
                match heads.checked_mul(2).map(|pair| rows.is_multiple_of(pair)) {
                    Some(true) => Ok(stored.into()),
                    _ => Err(format!(
                        "its {rows} rows are not {heads} heads of an even number of dimensions"
                    )),
                }
            }
            (Transform::Transpose, &[inputs, outputs]) => Ok(vec![outputs, inputs]),
            (Transform::Transpose, _) => Err(format!("{stored:?} is no shape of a matrix")),
            _ => Ok(stored.into()),
        }
    }

    /// The bytes of the result, from `bytes` of a tensor of type `stored` (f32,
    /// f16 or bf16) that [`shape`](Self::shape) has found fit.
    pub(super) fn apply(self, bytes: &Bytes, stored: GgmlType, shape: &[usize]) -> Bytes {
        let size = stored.block_bytes();
        match self {
            Transform::Keep => bytes.clone(),
            Transform::Widen { add: 0 } if stored == GgmlType::F32 => bytes.clone(),
            Transform::Widen { add } => widened(bytes, stored, f32::from(add)).into(),
            Transform::Interleave { heads, widen } => {
                let rows = shape.first().copied().unwrap_or(0);
                let moved: Bytes = interleaved(bytes, rows, heads).into();
                match widen {
                    true => Transform::Widen { add: 0 }.apply(&moved, stored, shape),
                    false => moved,
                }
            }
            Transform::Transpose => {
                let columns = shape.get(1).copied().unwrap_or(0);
                transposed(bytes, size, columns).into()
            }
        }
    }
}

fn widened(bytes: &[u8], stored: GgmlType, add: f32) -> Vec<u8> {
    let halves = |wide: fn([u8; 2]) -> f32| {
        let (items, _) = bytes.as_chunks::<2>();
        items.iter().map(|&item| wide(item)).collect::<Vec<f32>>()
    };
    let values = match stored {
        GgmlType::F16 => halves(|item| f16::from_le_bytes(item).to_f32()),
        GgmlType::Bf16 => halves(|item| bf16::from_le_bytes(item).to_f32()),
        _ => {
            let (items, _) = bytes.as_chunks::<4>();
            items.iter().map(|&item| f32::from_le_bytes(item)).collect()
        }
    };
    // Adding nothing would turn −0 into 0.
    let shift = |value: f32| if add == 0.0 { value } else { value + add };
    f32_bytes(values.into_iter().map(shift))
}

/// Values as GGUF stores them.
pub(super) fn f32_bytes(values: impl IntoIterator<Item = f32>) -> Vec<u8> {
    values.into_iter().flat_map(f32::to_le_bytes).collect()
}

fn interleaved(bytes: &[u8], rows: usize, heads: usize) -> Vec<u8> {
    let row = bytes.len() / rows;
    let pairs = rows / heads / 2;
    let mut out = Vec::with_capacity(bytes.len());
    for head in 0..heads {
        for pair in 0..pairs {
            for half in 0..2 {
                let from = ((head * 2 + half) * pairs + pair) * row;
                out.extend_from_slice(&bytes[from..from + row]);
            }
        }
    }
    out
}

fn transposed(bytes: &[u8], size: usize, columns: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len());
    for column in 0..columns {
        for row in bytes.chunks_exact(columns * size) {
            out.extend_from_slice(&row[column * size..][..size]);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn apply(transform: Transform, values: &[f32], shape: &[usize]) -> Vec<f32> {
        transform.shape(shape).unwrap();
        let bytes = Bytes::from(f32_bytes(values.iter().copied()));
        let out = transform.apply(&bytes, GgmlType::F32, shape);
        let (items, _) = out.as_chunks::<4>();
        items.iter().map(|&item| f32::from_le_bytes(item)).collect()
    }

    #[test]
    fn halves_of_heads_are_interleaved() {
        let rows = Transform::Interleave {
            heads: 2,
            widen: false,
        };
        let values = [0., 1., 2., 3., 4., 5., 6., 7.];
        assert_eq!(apply(rows, &values, &[8]), [0., 2., 1., 3., 4., 6., 5., 7.]);
        let wide: Vec<f32> = values.iter().flat_map(|&v| [v, -v]).collect();
        assert_eq!(
            apply(rows, &wide, &[8, 2])[..6],
            [0., -0., 2., -2., 1., -1.]
        );
        assert!(rows.shape(&[6, 2]).is_err());
        let none = Transform::Interleave {
            heads: usize::MAX,
            widen: false,
        };
        assert!(none.shape(&[6, 2]).is_err());
    }

    #[test]
    fn matrices_are_transposed() {
        let values = [1., 2., 3., 4., 5., 6.];
        assert_eq!(
            apply(Transform::Transpose, &values, &[2, 3]),
            [1., 4., 2., 5., 3., 6.]
        );
        assert_eq!(Transform::Transpose.shape(&[2, 3]), Ok(vec![3, 2]));
        assert!(Transform::Transpose.shape(&[2]).is_err());
    }

    #[test]
    fn halves_widen_exactly() {
        let one = Transform::Widen { add: 1 };
        let half: Bytes = f16::from_f32(0.5).to_le_bytes().to_vec().into();
        assert_eq!(*one.apply(&half, GgmlType::F16, &[1]), 1.5f32.to_le_bytes());
        let brain: Bytes = bf16::from_f32(-3.0).to_le_bytes().to_vec().into();
        assert_eq!(
            *one.apply(&brain, GgmlType::Bf16, &[1]),
            (-2.0f32).to_le_bytes()
        );
        assert_eq!(one.ggml_type(GgmlType::Bf16), GgmlType::F32);
    }
}
