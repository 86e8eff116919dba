//! Compressed weights, back to what they stand for.

use super::{Call, Op, axis};
use crate::tensor::{Tensor, elements, strides};

pub(super) fn find(kind: &str) -> Option<Op> {
    Some(match kind {
        "constexpr_lut_to_dense" => lut_to_dense,
        "constexpr_blockwise_shift_scale" => blockwise_shift_scale,
        "constexpr_affine_dequantize" => affine_dequantize,
        "constexpr_sparse_to_dense" => sparse_to_dense,
        "constexpr_cast" => |call| {
            let (shape, values) = call.floats("source_val")?;
            Ok(vec![Tensor::floats(
                call.float_type(),
                shape,
                values.to_vec(),
            )])
        },
        _ => return None,
    })
}

/// How many places along each axis of `shape` share one entry of `groups`.
fn blocks(shape: &[usize], groups: &[usize]) -> Result<Vec<usize>, String> {
    let block = |(&extent, &groups): (&usize, &usize)| match groups {
        0 => None,
        _ => extent.is_multiple_of(groups).then_some(extent / groups),
    };
    let same_rank = shape.len() == groups.len();
    let blocks: Option<Vec<_>> = shape.iter().zip(groups).map(block).collect();
    blocks
        .filter(|_| same_rank)
        .ok_or_else(|| format!("{shape:?} does not divide into groups of {groups:?}"))
}

/// The entry of `groups` that element `index` of `shape` belongs to.
struct Groups {
    strides: Vec<usize>,
    shape: Vec<usize>,
    blocks: Vec<usize>,
    entries: Vec<usize>,
}

impl Groups {
    fn new(shape: &[usize], groups: &[usize]) -> Result<Self, String> {
        Ok(Self {
            strides: strides(shape),
            shape: shape.into(),
            blocks: blocks(shape, groups)?,
            entries: strides(groups),
        })
    }

    fn entry(&self, index: usize) -> usize {
        let place = |axis: usize| {
            index / self.strides[axis] % self.shape[axis] / self.blocks[axis] * self.entries[axis]
        };
        (0..self.shape.len()).map(place).sum()
    }
}

fn lut_to_dense(call: &Call<'_>) -> Result<Vec<Tensor>, String> {
    let (indices, lut) = (call.one("indices")?, call.one("lut")?);
    if call.maybe("shape").is_some() || lut.rank() != indices.rank() + 2 {
        return Err("tables of iOS 16 and 17 are not known; convert for iOS 18".into());
    }
    let (groups, table) = lut.shape.split_at(indices.rank());
    let &[levels, 1] = table else {
        return Err("tables of vectors are not known".into());
    };
    let groups = Groups::new(&indices.shape, groups)?;
    let codes = indices.as_ints().ok_or("`indices` must be whole numbers")?;
    let entries = lut.to_floats()?;
    let value = |(index, &code): (usize, &i32)| {
        let code = usize::try_from(code).ok().filter(|&code| code < levels)?;
        Some(entries[groups.entry(index) * levels + code])
    };
    let values: Option<Vec<f32>> = codes.iter().enumerate().map(value).collect();
    let values = values.ok_or_else(|| format!("an index beyond {levels} levels"))?;
    Ok(vec![Tensor::floats(lut.dtype, &indices.shape, values)])
}

/// `(data − offset) · scale`, by blocks.
fn blockwise_shift_scale(call: &Call<'_>) -> Result<Vec<Tensor>, String> {
    let (shape, data) = call.floats("data")?;
    let scale = call.one("scale")?;
    let groups = Groups::new(shape, &scale.shape)?;
    let scales = scale.to_floats()?;
    let offsets = match call.maybe("offset") {
        None => None,
        Some(offset) if offset.shape == scale.shape => Some(offset.to_floats()?),
        Some(offset) => {
            return Err(format!(
                "offsets {:?} beside {:?}",
                offset.shape, scale.shape
            ));
        }
    };
    let value = |(index, &code): (usize, &f32)| {
        let entry = groups.entry(index);
        let shift = offsets.as_ref().map_or(0.0, |offsets| offsets[entry]);
        (code - shift) * scales[entry]
    };
    let values = data.iter().enumerate().map(value).collect();
    Ok(vec![Tensor::floats(scale.dtype, shape, values)])
}

/// `(data − zero_point) · scale`, by channels.
fn affine_dequantize(call: &Call<'_>) -> Result<Vec<Tensor>, String> {
    let (shape, data) = call.floats("quantized_data")?;
    let (_, scale) = call.floats("scale")?;
    let (_, zero) = call.floats("zero_point")?;
    let along = axis(call.int_or("axis", 0)?, shape.len())?;
    let (channels, run) = (shape[along], elements(&shape[along + 1..])?);
    let fits = |list: &[f32]| list.len() == 1 || list.len() == channels;
    if !fits(&scale) || !fits(&zero) {
        return Err(format!("{} scales for {channels} channels", scale.len()));
    }
    let value = |(index, &code): (usize, &f32)| {
        let channel = index / run % channels;
        (code - zero[channel % zero.len()]) * scale[channel % scale.len()]
    };
    let values = data.iter().enumerate().map(value).collect();
    Ok(vec![Tensor::floats(call.float_type(), shape, values)])
}

fn sparse_to_dense(call: &Call<'_>) -> Result<Vec<Tensor>, String> {
    let (_, nonzero) = call.floats("nonzero_data")?;
    let (shape, mask) = call.floats("mask")?;
    let mut left = nonzero.iter();
    let value = |&kept: &f32| {
        if kept == 0.0 {
            Some(0.0)
        } else {
            left.next().copied()
        }
    };
    let values: Option<Vec<f32>> = mask.iter().map(value).collect();
    let values = values.ok_or("fewer values than places for them")?;
    Ok(vec![Tensor::floats(call.float_type(), shape, values)])
}
