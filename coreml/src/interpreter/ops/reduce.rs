//! Operations along axes: sums, softmax, norms.

use super::{Call, Op, Walk, axes, axis, steps};
use crate::tensor::{DataType, Tensor, elements};

pub(super) fn find(kind: &str) -> Option<Op> {
    Some(match kind {
        "reduce_sum" => |call| reduce(call, |row| sum(row) as f32),
        "reduce_mean" => |call| reduce(call, |row| mean(row) as f32),
        "reduce_max" => |call| reduce(call, |row| fold(row, f32::NEG_INFINITY, f32::max)),
        "reduce_min" => |call| reduce(call, |row| fold(row, f32::INFINITY, f32::min)),
        "reduce_prod" => |call| reduce(call, |row| row.iter().product()),
        "reduce_sum_square" => |call| reduce(call, |row| squares(row) as f32),
        "reduce_l2_norm" => |call| reduce(call, |row| squares(row).sqrt() as f32),
        "reduce_l1_norm" => |call| reduce(call, |row| row.iter().map(|x| x.abs()).sum()),
        "reduce_log_sum_exp" => |call| reduce(call, log_sum_exp),
        "reduce_argmax" => |call| arg(call, |new, best| new > best),
        "reduce_argmin" => |call| arg(call, |new, best| new < best),
        "cumsum" => cumulative_sum,
        "softmax" => softmax,
        "layer_norm" => layer_norm,
        "batch_norm" => batch_norm,
        "l2_norm" => l2_norm,
        _ => return None,
    })
}

fn sum(row: &[f32]) -> f64 {
    row.iter().map(|&x| f64::from(x)).sum()
}

fn mean(row: &[f32]) -> f64 {
    sum(row) / row.len() as f64
}

fn squares(row: &[f32]) -> f64 {
    row.iter().map(|&x| f64::from(x) * f64::from(x)).sum()
}

fn fold(row: &[f32], start: f32, f: fn(f32, f32) -> f32) -> f32 {
    row.iter().copied().fold(start, f)
}

fn log_sum_exp(row: &[f32]) -> f32 {
    let most = fold(row, f32::NEG_INFINITY, f32::max);
    most + row.iter().map(|x| (x - most).exp()).sum::<f32>().ln()
}

/// Elements in rows along some axes of a tensor.
struct Rows {
    values: Vec<f32>,
    /// Elements of a row.
    width: usize,
    /// Where each element came from; `None` when the axes were the last anyway.
    order: Option<Vec<usize>>,
}

impl Rows {
    fn new(shape: &[usize], values: &[f32], along: &[usize]) -> Self {
        let others: Vec<usize> = (0..shape.len())
            .filter(|axis| !along.contains(axis))
            .collect();
        let mut sorted = along.to_vec();
        sorted.sort_unstable();
        let permutation: Vec<usize> = others.iter().chain(&sorted).copied().collect();
        let width = sorted.iter().map(|&axis| shape[axis]).product();
        if permutation.is_sorted() {
            return Self {
                values: values.to_vec(),
                width,
                order: None,
            };
        }
        let own = steps(shape);
        let turned: Vec<usize> = permutation.iter().map(|&axis| shape[axis]).collect();
        let turned_steps: Vec<isize> = permutation.iter().map(|&axis| own[axis]).collect();
        let order: Vec<usize> = Walk::new(&turned, &turned_steps, 0).collect();
        Self {
            values: order.iter().map(|&from| values[from]).collect(),
            width,
            order: Some(order),
        }
    }

    /// The elements back where they came from.
    fn restore(self) -> Vec<f32> {
        let Some(order) = self.order else {
            return self.values;
        };
        let mut values = vec![0.0; self.values.len()];
        for (value, to) in self.values.into_iter().zip(order) {
            values[to] = value;
        }
        values
    }
}

/// Axes that `axes` names, or all.
fn named_axes(call: &Call<'_>, rank: usize) -> Result<Vec<usize>, String> {
    match call.maybe("axes") {
        Some(_) => axes(&call.ints("axes")?, rank),
        None => Ok((0..rank).collect()),
    }
}

fn reduced_shape(shape: &[usize], along: &[usize], keep: bool) -> Vec<usize> {
    let mut result = Vec::new();
    for (axis, &extent) in shape.iter().enumerate() {
        match (along.contains(&axis), keep) {
            (true, true) => result.push(1),
            (true, false) => {}
            (false, _) => result.push(extent),
        }
    }
    result
}

fn reduce(call: &Call<'_>, f: impl Fn(&[f32]) -> f32) -> Result<Vec<Tensor>, String> {
    let x = call.one("x")?;
    let along = named_axes(call, x.rank())?;
    let rows = Rows::new(&x.shape, &x.to_floats()?, &along);
    let shape = reduced_shape(&x.shape, &along, call.bool_or("keep_dims", false)?);
    if rows.width == 0 {
        return Err("nothing to reduce".into());
    }
    let values = rows.values.chunks(rows.width).map(f);
    Ok(vec![if x.as_ints().is_some() {
        Tensor::ints(x.dtype, &shape, values.map(|value| value as i32).collect())
    } else {
        Tensor::floats(call.float_type(), &shape, values.collect())
    }])
}

fn arg(call: &Call<'_>, better: impl Fn(f32, f32) -> bool) -> Result<Vec<Tensor>, String> {
    let (shape, x) = call.floats("x")?;
    let along = [axis(call.int_or("axis", -1)?, shape.len())?];
    let rows = Rows::new(shape, &x, &along);
    let shape = reduced_shape(shape, &along, call.bool_or("keep_dims", false)?);
    if rows.width == 0 {
        return Err("nothing to choose from".into());
    }
    let first_best = |row: &[f32]| {
        let choose = |best: usize, at: usize| if better(row[at], row[best]) { at } else { best };
        (1..row.len()).fold(0, choose) as i32
    };
    let values = rows.values.chunks(rows.width).map(first_best).collect();
    Ok(vec![Tensor::ints(DataType::Int32, &shape, values)])
}

/// Applies `f` to every row along `along` and puts the elements back.
fn map_rows(
    call: &Call<'_>,
    along: &[usize],
    mut f: impl FnMut(&mut [f32]),
) -> Result<Vec<Tensor>, String> {
    let (shape, x) = call.floats("x")?;
    let mut rows = Rows::new(shape, &x, along);
    if rows.width > 0 {
        rows.values.chunks_mut(rows.width).for_each(&mut f);
    }
    Ok(vec![Tensor::floats(
        call.float_type(),
        shape,
        rows.restore(),
    )])
}

fn cumulative_sum(call: &Call<'_>) -> Result<Vec<Tensor>, String> {
    let x = call.one("x")?;
    let along = [axis(call.int_or("axis", 0)?, x.rank())?];
    if call.bool_or("exclusive", false)? || call.bool_or("reverse", false)? {
        return Err("exclusive and reverse sums are not known".into());
    }
    let sums = map_rows(call, &along, |row| {
        let mut sum = 0.0;
        for value in row {
            sum += *value;
            *value = sum;
        }
    })?;
    match x.as_ints() {
        None => Ok(sums),
        Some(_) => {
            let values = sums[0]
                .to_floats()?
                .iter()
                .map(|&value| value as i32)
                .collect();
            Ok(vec![Tensor::ints(x.dtype, &x.shape, values)])
        }
    }
}

fn softmax(call: &Call<'_>) -> Result<Vec<Tensor>, String> {
    let along = axis(call.int_or("axis", -1)?, call.one("x")?.rank())?;
    map_rows(call, &[along], |row| softmax_rows(row, row.len()))
}

/// Softmax of every row of `width`.
pub(super) fn softmax_rows(values: &mut [f32], width: usize) {
    for row in values.chunks_mut(width.max(1)) {
        let most = fold(row, f32::NEG_INFINITY, f32::max);
        let mut total = 0.0;
        for value in row.iter_mut() {
            *value = (*value - most).exp();
            total += *value;
        }
        row.iter_mut().for_each(|value| *value /= total);
    }
}

fn layer_norm(call: &Call<'_>) -> Result<Vec<Tensor>, String> {
    let (shape, _) = call.floats("x")?;
    let along = named_axes(call, shape.len())?;
    let epsilon = f64::from(call.float_or("epsilon", 1e-5)?);
    let width: usize = along.iter().map(|&axis| shape[axis]).product();
    let weights = |name: &str, default: f32| match call.maybe(name) {
        None => Ok(vec![default; width]),
        Some(_) => match call.floats(name)?.1 {
            values if values.len() == width => Ok(values.to_vec()),
            values => Err(format!("`{name}` has {} values for {width}", values.len())),
        },
    };
    let (gamma, beta) = (weights("gamma", 1.0)?, weights("beta", 0.0)?);
    map_rows(call, &along, |row| {
        let mean = mean(row);
        let deviation = |x: f32| (f64::from(x) - mean).powi(2);
        let variance = row.iter().map(|&x| deviation(x)).sum::<f64>() / row.len() as f64;
        let scale = (variance + epsilon).sqrt().recip();
        for ((value, gamma), beta) in row.iter_mut().zip(&gamma).zip(&beta) {
            let normed = (f64::from(*value) - mean) * scale;
            *value = (normed * f64::from(*gamma) + f64::from(*beta)) as f32;
        }
    })
}

/// Normalisation by given moments, channel by channel (axis 1).
fn batch_norm(call: &Call<'_>) -> Result<Vec<Tensor>, String> {
    let (shape, x) = call.floats("x")?;
    let channels = *shape.get(1).ok_or("takes two axes or more")?;
    let epsilon = call.float_or("epsilon", 1e-5)?;
    let list = |name: &str, default: Option<f32>| match (call.maybe(name), default) {
        (None, Some(default)) => Ok(vec![default; channels]),
        _ => match call.floats(name)?.1 {
            values if values.len() == channels => Ok(values.to_vec()),
            _ => Err(format!("`{name}` must have {channels} values")),
        },
    };
    let (mean, variance) = (list("mean", None)?, list("variance", None)?);
    let (gamma, beta) = (list("gamma", Some(1.0))?, list("beta", Some(0.0))?);
    let run = elements(&shape[2..])?.max(1);
    let value = |(index, &x): (usize, &f32)| {
        let c = index / run % channels;
        (x - mean[c]) / (variance[c] + epsilon).sqrt() * gamma[c] + beta[c]
    };
    let values = x.iter().enumerate().map(value).collect();
    Ok(vec![Tensor::floats(call.float_type(), shape, values)])
}

/// `x / √(Σx² + ε)` over the last three axes.
fn l2_norm(call: &Call<'_>) -> Result<Vec<Tensor>, String> {
    let rank = call.one("x")?.rank();
    let epsilon = f64::from(call.float_or("epsilon", 1e-6)?);
    let along: Vec<usize> = (rank.saturating_sub(3)..rank).collect();
    map_rows(call, &along, |row| {
        let scale = (squares(row) + epsilon).sqrt().recip();
        row.iter_mut()
            .for_each(|value| *value = (f64::from(*value) * scale) as f32);
    })
}
