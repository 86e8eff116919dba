//! Elements chosen by their index or by a condition.

use super::elementwise::{broadcast, stretched};
use super::{Call, Op, Walk, axis, size};
use crate::tensor::{Data, DataType, Tensor, elements};

pub(super) fn find(kind: &str) -> Option<Op> {
    Some(match kind {
        "select" => select,
        "gather" => gather,
        "gather_along_axis" => gather_along_axis,
        "scatter" => scatter,
        "one_hot" => one_hot,
        "topk" => top_k,
        _ => return None,
    })
}

fn select(call: &Call<'_>) -> Result<Vec<Tensor>, String> {
    let (cond, a, b) = (call.one("cond")?, call.one("a")?, call.one("b")?);
    let Data::Bool(chosen) = &cond.data else {
        return Err("`cond` must be truth values".into());
    };
    let shape = broadcast(&broadcast(&cond.shape, &a.shape)?, &b.shape)?;
    elements(&shape)?;
    let [c_steps, a_steps, b_steps] = [cond, a, b].map(|tensor| stretched(&tensor.shape, &shape));
    let walk = |steps| Walk::new(&shape, steps, 0);
    let places = walk(&c_steps).zip(walk(&a_steps).zip(walk(&b_steps)));
    fn choose<T: Copy>(
        places: impl Iterator<Item = (usize, (usize, usize))>,
        chosen: &[bool],
        a: &[T],
        b: &[T],
    ) -> Vec<T> {
        places
            .map(|(c, (i, j))| if chosen[c] { a[i] } else { b[j] })
            .collect()
    }
    Ok(vec![match (&a.data, &b.data) {
        (Data::Int(a_values), Data::Int(b_values)) => {
            Tensor::ints(a.dtype, &shape, choose(places, chosen, a_values, b_values))
        }
        _ => {
            let (a, b) = (a.to_floats()?, b.to_floats()?);
            Tensor::floats(call.float_type(), &shape, choose(places, chosen, &a, &b))
        }
    }])
}

/// Places on an axis of `extent`, counted from the end when negative.
fn places(indices: &[i64], extent: usize) -> Result<Vec<usize>, String> {
    let place = |&index: &i64| {
        let found = if index < 0 {
            index + extent as i64
        } else {
            index
        };
        usize::try_from(found)
            .ok()
            .filter(|&found| found < extent)
            .ok_or_else(|| format!("index {index} on an axis of {extent}"))
    };
    indices.iter().map(place).collect()
}

fn gather(call: &Call<'_>) -> Result<Vec<Tensor>, String> {
    let (x, indices) = (call.one("x")?, call.one("indices")?);
    if call.int_or("batch_dims", 0)? != 0 {
        return Err("batches of indices are not known".into());
    }
    let along = axis(call.int_or("axis", 0)?, x.rank())?;
    let found = places(&call.ints("indices")?, x.shape[along])?;
    let inner = elements(&x.shape[along + 1..])?;
    let outer = elements(&x.shape[..along])?;
    let mut shape = x.shape[..along].to_vec();
    shape.extend(&indices.shape);
    shape.extend(&x.shape[along + 1..]);
    elements(&shape)?;
    let from = (0..outer).flat_map(|row| {
        let row = row * x.shape[along];
        found.iter().flat_map(move |&at| {
            let start = (row + at) * inner;
            start..start + inner
        })
    });
    Ok(vec![x.pick(shape, from)])
}

fn gather_along_axis(call: &Call<'_>) -> Result<Vec<Tensor>, String> {
    let (x, indices) = (call.one("x")?, call.one("indices")?);
    let along = axis(call.int_or("axis", 0)?, x.rank())?;
    let fits = |axis: usize| axis == along || indices.shape[axis] <= x.shape[axis];
    if indices.rank() != x.rank() || !(0..x.rank()).all(fits) {
        return Err(format!("indices {:?} into {:?}", indices.shape, x.shape));
    }
    let found = places(&call.ints("indices")?, x.shape[along])?;
    let mut own = super::steps(&x.shape);
    let step = own[along] as usize;
    own[along] = 0;
    let starts = Walk::new(&indices.shape, &own, 0);
    let from = starts.zip(&found).map(|(start, &at)| start + at * step);
    Ok(vec![x.pick(indices.shape.clone(), from)])
}

/// Writes `updates` over slices of `data` along an axis.
fn scatter(call: &Call<'_>) -> Result<Vec<Tensor>, String> {
    let (shape, data) = call.floats("data")?;
    let along = axis(call.int_or("axis", 0)?, shape.len())?;
    let found = places(&call.ints("indices")?, shape[along])?;
    let (_, updates) = call.floats("updates")?;
    let inner = elements(&shape[along + 1..])?;
    let outer = elements(&shape[..along])?;
    if updates.len() != outer * found.len() * inner {
        return Err(format!("{} updates of {:?}", updates.len(), shape));
    }
    let apply: fn(f32, f32) -> f32 = match call.text_or("mode", "add")? {
        "update" => |_, new| new,
        "add" => |old, new| old + new,
        "sub" => |old, new| old - new,
        "mul" => |old, new| old * new,
        "min" => f32::min,
        "max" => f32::max,
        other => return Err(format!("mode `{other}` is not known")),
    };
    let mut values = data.to_vec();
    for (index, &update) in updates.iter().enumerate() {
        let (slice, at) = (index / inner, index % inner);
        let (row, place) = (slice / found.len(), found[slice % found.len()]);
        let value = &mut values[(row * shape[along] + place) * inner + at];
        *value = apply(*value, update);
    }
    Ok(vec![Tensor::floats(call.float_type(), shape, values)])
}

fn one_hot(call: &Call<'_>) -> Result<Vec<Tensor>, String> {
    let indices = call.one("indices")?;
    let count = size(
        call.int_or("one_hot_vector_size", 0)?,
        "the number of classes",
    )?;
    let (on, off) = (
        call.float_or("on_value", 1.0)?,
        call.float_or("off_value", 0.0)?,
    );
    if call.int_or("axis", -1)? != -1 {
        return Err("classes on another axis than the last are not known".into());
    }
    let mut shape = indices.shape.clone();
    shape.push(count);
    let total = elements(&shape)?;
    let list = call.ints("indices")?;
    let hot = |index: usize| list[index / count] == (index % count) as i64;
    let float = call.output.is_none_or(DataType::is_float);
    Ok(vec![match float {
        true => {
            let values = (0..total).map(|index| if hot(index) { on } else { off });
            Tensor::floats(call.float_type(), &shape, values.collect())
        }
        false => {
            let values = (0..total).map(|index| if hot(index) { on as i32 } else { off as i32 });
            Tensor::ints(DataType::Int32, &shape, values.collect())
        }
    }])
}

/// The largest (or smallest) values along an axis, in order, and their places.
fn top_k(call: &Call<'_>) -> Result<Vec<Tensor>, String> {
    let (shape, x) = call.floats("x")?;
    let along = axis(call.int_or("axis", -1)?, shape.len())?;
    let k = size(call.int_or("k", 1)?, "`k`")?;
    let ascending = call.bool_or("ascending", false)?;
    if along + 1 != shape.len() || k > shape[along] {
        return Err(format!("the best {k} along axis {along} of {shape:?}"));
    }
    let mut result = shape.to_vec();
    result[along] = k;
    let (mut values, mut indices) = (Vec::new(), Vec::new());
    for row in x.chunks(shape[along].max(1)) {
        let mut order: Vec<usize> = (0..row.len()).collect();
        order.sort_by(|&a, &b| match ascending {
            true => row[a].total_cmp(&row[b]),
            false => row[b].total_cmp(&row[a]),
        });
        values.extend(order[..k].iter().map(|&at| row[at]));
        indices.extend(order[..k].iter().map(|&at| at as i32));
    }
    Ok(vec![
        Tensor::floats(call.float_type(), &result, values),
        Tensor::ints(DataType::Int32, &result, indices),
    ])
}
