//! Operations that move elements and compute none.

use super::elementwise::{broadcast, stretched};
use super::{Call, Op, Walk, axes, axis, size, steps};
use crate::tensor::{Data, DataType, Tensor, elements};

pub(super) fn find(kind: &str) -> Option<Op> {
    Some(match kind {
        "shape" => shape_of,
        "reshape" => reshape,
        "expand_dims" => expand_dims,
        "squeeze" => squeeze,
        "transpose" => transpose,
        "concat" => concat,
        "stack" => stack,
        "split" => split,
        "tile" => tile,
        "broadcast_to" => broadcast_to,
        "reverse" => reverse,
        "fill" => fill,
        "range_1d" => range,
        "band_part" => band_part,
        _ => return None,
    })
}

fn shape_of(call: &Call<'_>) -> Result<Vec<Tensor>, String> {
    let shape = &call.one("x")?.shape;
    let values = shape.iter().map(|&extent| extent as i32).collect();
    Ok(vec![Tensor::ints(DataType::Int32, &[shape.len()], values)])
}

/// −1 stands for what is left, 0 for the extent as it is.
fn reshape(call: &Call<'_>) -> Result<Vec<Tensor>, String> {
    let x = call.one("x")?;
    let wanted = call.ints("shape")?;
    let mut shape = Vec::new();
    let mut free = None;
    for (at, &extent) in wanted.iter().enumerate() {
        shape.push(match extent {
            -1 if free.is_none() => {
                free = Some(at);
                1
            }
            0 => *x.shape.get(at).ok_or("keeps an axis that is not there")?,
            extent => size(extent, "an extent")?,
        });
    }
    if let Some(at) = free {
        let rest = elements(&shape)?;
        if rest == 0 || !x.len().is_multiple_of(rest) {
            return Err(format!(
                "{:?} cannot be given the shape {wanted:?}",
                x.shape
            ));
        }
        shape[at] = x.len() / rest;
    }
    Ok(vec![x.reshaped(shape)?])
}

fn expand_dims(call: &Call<'_>) -> Result<Vec<Tensor>, String> {
    let x = call.one("x")?;
    let list = call.ints("axes")?;
    let mut new = axes(&list, x.rank() + list.len())?;
    new.sort_unstable();
    let mut shape = x.shape.clone();
    for axis in new {
        shape.insert(axis, 1);
    }
    Ok(vec![x.reshaped(shape)?])
}

fn squeeze(call: &Call<'_>) -> Result<Vec<Tensor>, String> {
    let x = call.one("x")?;
    let gone = match call.maybe("axes") {
        Some(_) => axes(&call.ints("axes")?, x.rank())?,
        None => (0..x.rank()).filter(|&axis| x.shape[axis] == 1).collect(),
    };
    let kept = (0..x.rank()).filter(|axis| !gone.contains(axis));
    Ok(vec![x.reshaped(kept.map(|axis| x.shape[axis]).collect())?])
}

fn transpose(call: &Call<'_>) -> Result<Vec<Tensor>, String> {
    let x = call.one("x")?;
    let order = axes(&call.ints("perm")?, x.rank())?;
    if order.len() != x.rank() {
        return Err(format!("{} places for {} axes", order.len(), x.rank()));
    }
    let own = steps(&x.shape);
    let shape: Vec<usize> = order.iter().map(|&axis| x.shape[axis]).collect();
    let turned: Vec<isize> = order.iter().map(|&axis| own[axis]).collect();
    Ok(vec![x.pick(shape.clone(), Walk::new(&shape, &turned, 0))])
}

fn concat(call: &Call<'_>) -> Result<Vec<Tensor>, String> {
    let parts = call.many("values");
    let first = parts.first().ok_or("nothing to join")?;
    let along = axis(call.int_or("axis", 0)?, first.rank())?;
    let mut shape = first.shape.clone();
    shape[along] = 0;
    for part in parts {
        let same = |axis: usize| axis == along || part.shape[axis] == first.shape[axis];
        if part.rank() != first.rank() || !(0..first.rank()).all(same) {
            return Err(format!(
                "shapes {:?} and {:?} do not join",
                first.shape, part.shape
            ));
        }
        shape[along] += part.shape[along];
    }
    let inner = elements(&shape[along + 1..])?;
    if call.bool_or("interleave", false)? {
        return interleave(parts, along, shape, inner);
    }
    let outer = elements(&shape[..along])?;
    elements(&shape)?;
    fn join<T: Copy>(runs: &[(&[T], usize)], outer: usize) -> Vec<T> {
        let mut joined = Vec::with_capacity(runs.iter().map(|(part, _)| part.len()).sum());
        for row in 0..outer {
            for (part, run) in runs {
                joined.extend_from_slice(&part[row * run..(row + 1) * run]);
            }
        }
        joined
    }
    let run = |part: &Tensor| part.shape[along] * inner;
    Ok(vec![match &first.data {
        Data::Float(_) => {
            let lists: Vec<_> = parts
                .iter()
                .map(Tensor::to_floats)
                .collect::<Result<_, _>>()?;
            let runs: Vec<_> = lists
                .iter()
                .zip(parts)
                .map(|(l, p)| (&l[..], run(p)))
                .collect();
            Tensor::floats(first.dtype, &shape, join(&runs, outer))
        }
        Data::Int(_) => {
            let runs: Option<Vec<_>> = parts.iter().map(|p| Some((p.as_ints()?, run(p)))).collect();
            let runs = runs.ok_or("values of different kinds")?;
            Tensor::ints(first.dtype, &shape, join(&runs, outer))
        }
        Data::Bool(_) | Data::Text(_) => return Err("values that are no numbers".into()),
    }])
}

/// Joins tensors of one shape by taking their places along an axis in turns.
fn interleave(
    parts: &[Tensor],
    along: usize,
    shape: Vec<usize>,
    inner: usize,
) -> Result<Vec<Tensor>, String> {
    if parts.iter().any(|part| part.shape != parts[0].shape) {
        return Err("interleaved values must have one shape".into());
    }
    let lists: Vec<_> = parts
        .iter()
        .map(Tensor::to_floats)
        .collect::<Result<_, _>>()?;
    let count = elements(&shape)?;
    let value = |index: usize| {
        let (row, at) = (index / inner, index % inner);
        let (outer, place) = (row / shape[along], row % shape[along]);
        let own = parts[0].shape[along];
        lists[place % parts.len()][(outer * own + place / parts.len()) * inner + at]
    };
    let values = (0..count).map(value).collect();
    Ok(vec![Tensor::floats(parts[0].dtype, &shape, values)])
}

fn stack(call: &Call<'_>) -> Result<Vec<Tensor>, String> {
    let parts = call.many("values");
    let first = parts.first().ok_or("nothing to stack")?;
    let along = axis(call.int_or("axis", 0)?, first.rank() + 1)?;
    let mut expanded = Vec::new();
    for part in parts {
        let mut shape = part.shape.clone();
        shape.insert(along.min(shape.len()), 1);
        expanded.push(part.reshaped(shape)?);
    }
    let place = Tensor::ints(DataType::Int32, &[], vec![along as i32]);
    concat(&Call::new(
        vec![("values", expanded), ("axis", vec![place])],
        call.output,
    ))
}

fn split(call: &Call<'_>) -> Result<Vec<Tensor>, String> {
    let x = call.one("x")?;
    let along = axis(call.int_or("axis", 0)?, x.rank())?;
    let extent = x.shape[along];
    let sizes: Vec<usize> = match call.maybe("split_sizes") {
        Some(_) => {
            let list = call.ints("split_sizes")?;
            list.iter()
                .map(|&value| size(value, "a part"))
                .collect::<Result<_, _>>()?
        }
        None => {
            let count = size(call.int_or("num_splits", 1)?, "`num_splits`")?;
            if count == 0 || !extent.is_multiple_of(count) {
                return Err(format!("{extent} places in {count} parts"));
            }
            vec![extent / count; count]
        }
    };
    let total = sizes
        .iter()
        .try_fold(0usize, |total, &size| total.checked_add(size));
    if total != Some(extent) {
        return Err(format!("parts of {sizes:?} of {extent} places"));
    }
    let own = steps(&x.shape);
    let mut start = 0;
    let mut parts = Vec::new();
    for size in sizes {
        let mut shape = x.shape.clone();
        shape[along] = size;
        let walk = Walk::new(&shape, &own, start * own[along] as usize);
        parts.push(x.pick(shape.clone(), walk));
        start += size;
    }
    Ok(parts)
}

fn tile(call: &Call<'_>) -> Result<Vec<Tensor>, String> {
    let x = call.one("x")?;
    let reps = call.ints("reps")?;
    if reps.len() != x.rank() {
        return Err(format!("{} repetitions for {} axes", reps.len(), x.rank()));
    }
    let mut shape = Vec::new();
    for (&extent, &reps) in x.shape.iter().zip(&reps) {
        let reps = size(reps, "a repetition")?;
        shape.push(extent.checked_mul(reps).ok_or("larger than any memory")?);
    }
    let count = elements(&shape)?;
    let own = crate::tensor::strides(&x.shape);
    let wide = crate::tensor::strides(&shape);
    let from = (0..count).map(|index| {
        let place = |axis: usize| index / wide[axis] % shape[axis] % x.shape[axis] * own[axis];
        (0..shape.len()).map(place).sum()
    });
    Ok(vec![x.pick(shape.clone(), from)])
}

fn broadcast_to(call: &Call<'_>) -> Result<Vec<Tensor>, String> {
    let x = call.one("x")?;
    let wanted = call.ints("shape")?;
    let wanted: Vec<usize> = wanted
        .iter()
        .map(|&extent| size(extent, "an extent"))
        .collect::<Result<_, _>>()?;
    let shape = broadcast(&x.shape, &wanted)?;
    elements(&shape)?;
    let stretched = stretched(&x.shape, &shape);
    Ok(vec![
        x.pick(shape.clone(), Walk::new(&shape, &stretched, 0)),
    ])
}

fn reverse(call: &Call<'_>) -> Result<Vec<Tensor>, String> {
    let x = call.one("x")?;
    let turned = match call.maybe("axes") {
        Some(_) => axes(&call.ints("axes")?, x.rank())?,
        None => (0..x.rank()).collect(),
    };
    let mut own = steps(&x.shape);
    let mut start = 0;
    for axis in turned {
        start += own[axis] as usize * x.shape[axis].saturating_sub(1);
        own[axis] = -own[axis];
    }
    Ok(vec![
        x.pick(x.shape.clone(), Walk::new(&x.shape, &own, start)),
    ])
}

fn fill(call: &Call<'_>) -> Result<Vec<Tensor>, String> {
    let shape = call.ints("shape")?;
    let shape: Vec<usize> = shape
        .iter()
        .map(|&extent| size(extent, "an extent"))
        .collect::<Result<_, _>>()?;
    let value = match call.maybe("value") {
        Some(value) => value.clone(),
        None => Tensor::floats(DataType::Float32, &[], vec![0.0]),
    };
    let count = elements(&shape)?;
    Ok(vec![value.pick(shape, std::iter::repeat_n(0, count))])
}

fn range(call: &Call<'_>) -> Result<Vec<Tensor>, String> {
    let end = call.one("end")?;
    let (start, step) = (call.float_or("start", 0.0)?, call.float_or("step", 1.0)?);
    let last = call.float_or("end", 0.0)?;
    let count = ((f64::from(last) - f64::from(start)) / f64::from(step)).ceil();
    if !(0.0..=f64::from(1 << 24)).contains(&count) {
        return Err(format!("from {start} to {last} by {step}"));
    }
    let count = count as usize;
    Ok(vec![match end.as_ints() {
        Some(_) => {
            let (start, step) = (call.int_or("start", 0)?, call.int_or("step", 1)?);
            let values = (0..count as i64)
                .map(|n| (start + n * step) as i32)
                .collect();
            Tensor::ints(DataType::Int32, &[count], values)
        }
        None => {
            let values = (0..count).map(|n| start + n as f32 * step).collect();
            Tensor::floats(call.float_type(), &[count], values)
        }
    }])
}

/// Zeros outside a band around the diagonal of the last two axes.
fn band_part(call: &Call<'_>) -> Result<Vec<Tensor>, String> {
    let (shape, x) = call.floats("x")?;
    let &[.., rows, columns] = shape else {
        return Err("takes two axes or more".into());
    };
    let (lower, upper) = (call.int_or("lower", -1)?, call.int_or("upper", -1)?);
    let value = |(index, &x): (usize, &f32)| {
        let (row, column) = (index / columns % rows, index % columns);
        let below = row as i64 - column as i64;
        match (lower < 0 || below <= lower) && (upper < 0 || -below <= upper) {
            true => x,
            false => 0.0,
        }
    };
    let values = x.iter().enumerate().map(value).collect();
    Ok(vec![Tensor::floats(call.float_type(), shape, values)])
}
