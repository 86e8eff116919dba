//! Values of a program.

use std::fmt;
use std::sync::Arc;

use half::f16;

/// Elements that one tensor may have: as many as fill 4 GiB in f32. A damaged
/// package asks for more than any model needs.
const MOST_ELEMENTS: usize = 1 << 30;

/// Element types of ML Programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum DataType {
    Bool,
    String,
    Float16,
    Float32,
    Float64,
    Bfloat16,
    Int4,
    Int8,
    Int16,
    Int32,
    Int64,
    Uint1,
    Uint2,
    Uint3,
    Uint4,
    Uint6,
    Uint8,
    Uint16,
    Uint32,
    Uint64,
}

impl DataType {
    /// Bits of an element as weights are stored; `None` for text.
    pub(crate) fn bits(self) -> Option<usize> {
        use DataType::*;
        Some(match self {
            String => return None,
            Uint1 => 1,
            Uint2 => 2,
            Uint3 => 3,
            Int4 | Uint4 => 4,
            Uint6 => 6,
            Bool | Int8 | Uint8 => 8,
            Float16 | Bfloat16 | Int16 | Uint16 => 16,
            Float32 | Int32 | Uint32 => 32,
            Float64 | Int64 | Uint64 => 64,
        })
    }

    /// Whether elements are numbers with a fraction.
    pub(crate) fn is_float(self) -> bool {
        use DataType::*;
        matches!(self, Float16 | Float32 | Float64 | Bfloat16)
    }

    /// Whether elements are whole numbers below zero too.
    pub(crate) fn is_signed(self) -> bool {
        use DataType::*;
        matches!(self, Int4 | Int8 | Int16 | Int32 | Int64)
    }

    /// The type that operation `cast` calls `name`.
    pub(crate) fn named(name: &str) -> Option<Self> {
        use DataType::*;
        Some(match name {
            "fp16" => Float16,
            "fp32" => Float32,
            "fp64" => Float64,
            "int8" => Int8,
            "int16" => Int16,
            "int32" => Int32,
            "int64" => Int64,
            "uint8" => Uint8,
            "uint16" => Uint16,
            "uint32" => Uint32,
            "bool" => Bool,
            _ => return None,
        })
    }
}

impl fmt::Display for DataType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&format!("{self:?}").to_lowercase())
    }
}

/// A dense row-major array. Copies share their elements.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Tensor {
    pub(crate) dtype: DataType,
    pub(crate) shape: Vec<usize>,
    pub(crate) data: Data,
}

/// Elements, in the widest type of their kind.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Data {
    Float(Arc<Vec<f32>>),
    Int(Arc<Vec<i32>>),
    Bool(Arc<Vec<bool>>),
    Text(Arc<str>),
}

/// Number of elements of `shape`.
///
/// # Errors
/// When no memory would hold them.
pub(crate) fn elements(shape: &[usize]) -> Result<usize, String> {
    let count = shape
        .iter()
        .try_fold(1usize, |count, &extent| count.checked_mul(extent));
    count
        .filter(|&count| count <= MOST_ELEMENTS)
        .ok_or_else(|| format!("a tensor of shape {shape:?} is larger than any memory"))
}

/// Elements from one place to the next along each axis.
pub(crate) fn strides(shape: &[usize]) -> Vec<usize> {
    let mut strides = vec![1; shape.len()];
    for axis in (1..shape.len()).rev() {
        strides[axis - 1] = strides[axis] * shape[axis];
    }
    strides
}

impl Tensor {
    /// Floating-point elements. The caller has their number right.
    pub(crate) fn floats(dtype: DataType, shape: &[usize], values: Vec<f32>) -> Self {
        debug_assert_eq!(elements(shape), Ok(values.len()));
        Self {
            dtype,
            shape: shape.into(),
            data: Data::Float(Arc::new(values)),
        }
    }

    /// Whole numbers. The caller has their number right.
    pub(crate) fn ints(dtype: DataType, shape: &[usize], values: Vec<i32>) -> Self {
        debug_assert_eq!(elements(shape), Ok(values.len()));
        Self {
            dtype,
            shape: shape.into(),
            data: Data::Int(Arc::new(values)),
        }
    }

    pub(crate) fn bools(shape: &[usize], values: Vec<bool>) -> Self {
        Self {
            dtype: DataType::Bool,
            shape: shape.into(),
            data: Data::Bool(Arc::new(values)),
        }
    }

    pub(crate) fn text(text: &str) -> Self {
        Self {
            dtype: DataType::String,
            shape: Vec::new(),
            data: Data::Text(text.into()),
        }
    }

    /// Extents, outermost first.
    pub(crate) fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// Number of elements.
    pub(crate) fn len(&self) -> usize {
        match &self.data {
            Data::Float(values) => values.len(),
            Data::Int(values) => values.len(),
            Data::Bool(values) => values.len(),
            Data::Text(_) => 1,
        }
    }

    pub(crate) fn rank(&self) -> usize {
        self.shape.len()
    }

    /// The elements, when they are whole numbers.
    pub(crate) fn as_ints(&self) -> Option<&[i32]> {
        match &self.data {
            Data::Int(values) => Some(values),
            _ => None,
        }
    }

    /// The elements as numbers of f32, whatever they are.
    pub(crate) fn to_floats(&self) -> Result<Arc<Vec<f32>>, String> {
        Ok(match &self.data {
            Data::Float(values) => Arc::clone(values),
            Data::Int(values) => Arc::new(values.iter().map(|&value| value as f32).collect()),
            Data::Bool(values) => Arc::new(values.iter().map(|&value| f32::from(value)).collect()),
            Data::Text(_) => return Err("text where numbers are needed".into()),
        })
    }

    /// The same elements under another shape of as many.
    pub(crate) fn reshaped(&self, shape: Vec<usize>) -> Result<Self, String> {
        if elements(&shape)? != self.len() {
            return Err(format!(
                "{:?} cannot be given the shape {shape:?}",
                self.shape
            ));
        }
        Ok(Self {
            shape,
            ..self.clone()
        })
    }

    /// Rounds floating-point elements to what f16 can hold.
    pub(crate) fn round_to_f16(&mut self) {
        if let Data::Float(values) = &mut self.data {
            round_to_f16(Arc::make_mut(values).as_mut_slice());
        }
    }

    /// Elements picked from this one's by their index, under another shape.
    pub(crate) fn pick(&self, shape: Vec<usize>, from: impl Iterator<Item = usize>) -> Self {
        fn take<T: Copy>(values: &[T], from: impl Iterator<Item = usize>) -> Arc<Vec<T>> {
            Arc::new(from.map(|index| values[index]).collect())
        }
        Self {
            dtype: self.dtype,
            shape,
            data: match &self.data {
                Data::Float(values) => Data::Float(take(values, from)),
                Data::Int(values) => Data::Int(take(values, from)),
                Data::Bool(values) => Data::Bool(take(values, from)),
                Data::Text(text) => Data::Text(Arc::clone(text)),
            },
        }
    }
}

/// Rounds every value to the nearest that f16 can hold, ties to even.
pub(crate) fn round_to_f16(values: &mut [f32]) {
    use half::slice::HalfFloatSliceExt;
    let mut halves = [f16::ZERO; 1024];
    for chunk in values.chunks_mut(halves.len()) {
        let halves = &mut halves[..chunk.len()];
        halves.convert_from_f32_slice(chunk);
        halves.convert_to_f32_slice(chunk);
    }
}
