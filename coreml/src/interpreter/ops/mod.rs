//! The operations, each a function from operands to results.

mod constexpr;
mod elementwise;
mod linear;
mod reduce;
mod select;
mod shape;
mod slice;

use std::sync::Arc;

use crate::tensor::{Data, DataType, Tensor};

/// An operation. Errors say what is wrong with the operands.
pub(crate) type Op = fn(&Call<'_>) -> Result<Vec<Tensor>, String>;

/// The operation of that name, if it is known here.
pub(crate) fn find(kind: &str) -> Option<Op> {
    constexpr::find(kind)
        .or_else(|| elementwise::find(kind))
        .or_else(|| linear::find(kind))
        .or_else(|| reduce::find(kind))
        .or_else(|| select::find(kind))
        .or_else(|| shape::find(kind))
        .or_else(|| slice::find(kind))
}

/// Operands by parameter, and what is expected of them.
pub(crate) struct Call<'a> {
    operands: Vec<(&'a str, Vec<Tensor>)>,
    /// Element type that the program declares for the first result.
    pub(crate) output: Option<DataType>,
}

impl<'a> Call<'a> {
    pub(crate) fn new(operands: Vec<(&'a str, Vec<Tensor>)>, output: Option<DataType>) -> Self {
        Self { operands, output }
    }

    pub(crate) fn many(&self, parameter: &str) -> &[Tensor] {
        let found = self.operands.iter().find(|(name, _)| *name == parameter);
        found.map_or(&[], |(_, tensors)| tensors)
    }

    pub(crate) fn maybe(&self, parameter: &str) -> Option<&Tensor> {
        self.many(parameter).first()
    }

    pub(crate) fn one(&self, parameter: &str) -> Result<&Tensor, String> {
        self.maybe(parameter)
            .ok_or_else(|| format!("operand `{parameter}` is missing"))
    }

    pub(crate) fn floats(&self, parameter: &str) -> Result<(&[usize], Arc<Vec<f32>>), String> {
        let tensor = self.one(parameter)?;
        Ok((&tensor.shape, tensor.to_floats()?))
    }

    pub(crate) fn ints(&self, parameter: &str) -> Result<Vec<i64>, String> {
        let tensor = self.one(parameter)?;
        match &tensor.data {
            Data::Int(values) => Ok(values.iter().map(|&value| value.into()).collect()),
            _ => Err(format!("`{parameter}` must be whole numbers")),
        }
    }

    pub(crate) fn int_or(&self, parameter: &str, default: i64) -> Result<i64, String> {
        match self.maybe(parameter) {
            None => Ok(default),
            Some(_) => {
                let list = self.ints(parameter)?;
                let first = list.first().copied();
                first.ok_or_else(|| format!("`{parameter}` is empty"))
            }
        }
    }

    pub(crate) fn float_or(&self, parameter: &str, default: f32) -> Result<f32, String> {
        match self.maybe(parameter) {
            None => Ok(default),
            Some(tensor) => {
                let first = tensor.to_floats()?.first().copied();
                first.ok_or_else(|| format!("`{parameter}` is empty"))
            }
        }
    }

    pub(crate) fn bools_or(&self, parameter: &str, count: usize) -> Result<Vec<bool>, String> {
        match self.maybe(parameter).map(|tensor| &tensor.data) {
            None => Ok(vec![false; count]),
            Some(Data::Bool(values)) if values.len() == count => Ok(values.to_vec()),
            Some(_) => Err(format!("`{parameter}` must be {count} truth values")),
        }
    }

    pub(crate) fn bool_or(&self, parameter: &str, default: bool) -> Result<bool, String> {
        match self.maybe(parameter) {
            None => Ok(default),
            Some(_) => Ok(self.bools_or(parameter, 1)?[0]),
        }
    }

    pub(crate) fn text_or<'s>(
        &'s self,
        parameter: &str,
        default: &'s str,
    ) -> Result<&'s str, String> {
        match self.maybe(parameter).map(|tensor| &tensor.data) {
            None => Ok(default),
            Some(Data::Text(text)) => Ok(text),
            Some(_) => Err(format!("`{parameter}` must be text")),
        }
    }

    /// Type of a floating-point result.
    pub(crate) fn float_type(&self) -> DataType {
        self.output
            .filter(|dtype| dtype.is_float())
            .unwrap_or(DataType::Float32)
    }
}

/// An axis, counted from the end when negative.
pub(crate) fn axis(axis: i64, rank: usize) -> Result<usize, String> {
    let found = if axis < 0 { axis + rank as i64 } else { axis };
    match usize::try_from(found) {
        Ok(found) if found < rank => Ok(found),
        _ => Err(format!("axis {axis} of a tensor with {rank} axes")),
    }
}

pub(crate) fn axes(list: &[i64], rank: usize) -> Result<Vec<usize>, String> {
    let mut axes = Vec::new();
    for &value in list {
        let axis = axis(value, rank)?;
        if axes.contains(&axis) {
            return Err(format!("axis {value} is named twice"));
        }
        axes.push(axis);
    }
    Ok(axes)
}

/// A size or place, which cannot be negative.
pub(crate) fn size(value: i64, what: &str) -> Result<usize, String> {
    usize::try_from(value).map_err(|_| format!("{what} is {value}"))
}

/// Places in a row-major array, visited in the order of `shape` with steps of
/// `strides`.
pub(crate) struct Walk<'a> {
    shape: &'a [usize],
    strides: &'a [isize],
    index: Vec<usize>,
    offset: isize,
    left: usize,
}

impl<'a> Walk<'a> {
    pub(crate) fn new(shape: &'a [usize], strides: &'a [isize], start: usize) -> Self {
        Self {
            shape,
            strides,
            index: vec![0; shape.len()],
            offset: start as isize,
            left: shape.iter().product(),
        }
    }
}

impl Iterator for Walk<'_> {
    type Item = usize;

    fn next(&mut self) -> Option<usize> {
        if self.left == 0 {
            return None;
        }
        self.left -= 1;
        let here = self.offset as usize;
        for axis in (0..self.shape.len()).rev() {
            self.index[axis] += 1;
            self.offset += self.strides[axis];
            if self.index[axis] < self.shape[axis] {
                break;
            }
            self.offset -= self.strides[axis] * self.shape[axis] as isize;
            self.index[axis] = 0;
        }
        Some(here)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

/// Strides of `shape` as steps to walk by.
pub(crate) fn steps(shape: &[usize]) -> Vec<isize> {
    let strides = crate::tensor::strides(shape);
    strides.into_iter().map(|stride| stride as isize).collect()
}
