//! Operations that work element by element, with NumPy's broadcasting.

use std::sync::Arc;

use super::{Call, Op, Walk, steps};
use crate::tensor::{Data, DataType, Tensor, elements};

pub(super) fn find(kind: &str) -> Option<Op> {
    Some(match kind {
        "add" => |call| arithmetic(call, |a, b| a + b, i32::wrapping_add),
        "sub" => |call| arithmetic(call, |a, b| a - b, i32::wrapping_sub),
        "mul" => |call| arithmetic(call, |a, b| a * b, i32::wrapping_mul),
        "real_div" => |call| arithmetic(call, |a, b| a / b, divide),
        "floor_div" => |call| arithmetic(call, |a, b| (a / b).floor(), floor_divide),
        "mod" => |call| arithmetic(call, |a, b| a - b * (a / b).floor(), modulo),
        "pow" => |call| arithmetic(call, f32::powf, |a, b| f64::from(a).powi(b) as i32),
        "maximum" => |call| arithmetic(call, f32::max, i32::max),
        "minimum" => |call| arithmetic(call, f32::min, i32::min),
        "greater" => |call| comparison(call, |a, b| a > b, |a, b| a > b),
        "greater_equal" => |call| comparison(call, |a, b| a >= b, |a, b| a >= b),
        "less" => |call| comparison(call, |a, b| a < b, |a, b| a < b),
        "less_equal" => |call| comparison(call, |a, b| a <= b, |a, b| a <= b),
        "equal" => |call| comparison(call, |a, b| a == b, |a, b| a == b),
        "not_equal" => |call| comparison(call, |a, b| a != b, |a, b| a != b),
        "logical_and" => |call| logic(call, |a, b| a & b),
        "logical_or" => |call| logic(call, |a, b| a | b),
        "logical_xor" => |call| logic(call, |a, b| a ^ b),
        "logical_not" => logical_not,
        "identity" => |call| Ok(vec![call.one("x")?.clone()]),
        "cast" => cast,
        "clip" => clip,
        "gelu" => gelu,
        "abs" => |call| whole_or_float(call, f32::abs, i32::wrapping_abs),
        "square" => |call| whole_or_float(call, |x| x * x, |x| x.wrapping_mul(x)),
        "sign" => |call| whole_or_float(call, sign, i32::signum),
        "ceil" => |call| float(call, f32::ceil),
        "cos" => |call| float(call, f32::cos),
        "erf" => |call| float(call, |x| erf(x.into()) as f32),
        "exp" => |call| float(call, f32::exp),
        "exp2" => |call| float(call, f32::exp2),
        "floor" => |call| float(call, f32::floor),
        "relu" => |call| float(call, |x| x.max(0.0)),
        "relu6" => |call| float(call, |x| x.clamp(0.0, 6.0)),
        "round" => |call| float(call, f32::round_ties_even),
        "sigmoid" => |call| float(call, sigmoid),
        "silu" => |call| float(call, |x| x * sigmoid(x)),
        "sin" => |call| float(call, f32::sin),
        "softplus" => |call| float(call, |x| x.max(0.0) + (-x.abs()).exp().ln_1p()),
        "sqrt" => |call| float(call, f32::sqrt),
        "tanh" => |call| float(call, f32::tanh),
        "log" => |call| shifted(call, 1e-45, f32::ln),
        "inverse" => |call| shifted(call, 1e-4, f32::recip),
        "rsqrt" => |call| shifted(call, 1e-12, |x| x.sqrt().recip()),
        "leaky_relu" => |call| {
            let alpha = call.float_or("alpha", 0.01)?;
            float(call, |x| if x < 0.0 { alpha * x } else { x })
        },
        _ => return None,
    })
}

/// The shape that `a` and `b` stretch to.
pub(super) fn broadcast(a: &[usize], b: &[usize]) -> Result<Vec<usize>, String> {
    let rank = a.len().max(b.len());
    let extent = |shape: &[usize], at: usize| match (at + shape.len()).checked_sub(rank) {
        Some(axis) => shape[axis],
        None => 1,
    };
    (0..rank)
        .map(|at| match (extent(a, at), extent(b, at)) {
            (x, y) if x == y => Ok(x),
            (1, other) | (other, 1) => Ok(other),
            _ => Err(format!("shapes {a:?} and {b:?} do not fit together")),
        })
        .collect()
}

/// Steps through an array of `shape` when it is stretched to `to`.
pub(super) fn stretched(shape: &[usize], to: &[usize]) -> Vec<isize> {
    let own = steps(shape);
    let missing = to.len() - shape.len();
    let step = |axis: usize| match axis.checked_sub(missing) {
        Some(axis) if shape[axis] != 1 => own[axis],
        _ => 0,
    };
    (0..to.len()).map(step).collect()
}

/// `f` of all pairs.
pub(super) fn zip<T: Copy, R>(
    (a, a_shape): (&[T], &[usize]),
    (b, b_shape): (&[T], &[usize]),
    f: impl Fn(T, T) -> R,
) -> Result<(Vec<usize>, Vec<R>), String> {
    if a_shape == b_shape {
        let values = a.iter().zip(b).map(|(&a, &b)| f(a, b)).collect();
        return Ok((a_shape.into(), values));
    }
    let shape = broadcast(a_shape, b_shape)?;
    let count = elements(&shape)?;
    if let [b] = *b
        && count == a.len()
    {
        return Ok((shape, a.iter().map(|&a| f(a, b)).collect()));
    }
    let (a_steps, b_steps) = (stretched(a_shape, &shape), stretched(b_shape, &shape));
    let Some((&row, outer)) = shape.split_last().filter(|(row, _)| **row > 0) else {
        return Ok((shape, a.iter().zip(b).map(|(&a, &b)| f(a, b)).collect()));
    };
    let mut values = Vec::with_capacity(count);
    let rank = outer.len();
    let (a_step, b_step) = (a_steps[rank] as usize, b_steps[rank] as usize);
    let starts = Walk::new(outer, &a_steps[..rank], 0).zip(Walk::new(outer, &b_steps[..rank], 0));
    for (from_a, from_b) in starts {
        values.extend((0..row).map(|i| f(a[from_a + i * a_step], b[from_b + i * b_step])));
    }
    Ok((shape, values))
}

fn arithmetic(
    call: &Call<'_>,
    of_floats: impl Fn(f32, f32) -> f32,
    of_ints: impl Fn(i32, i32) -> i32,
) -> Result<Vec<Tensor>, String> {
    let (x, y) = (call.one("x")?, call.one("y")?);
    if let (Data::Int(a), Data::Int(b)) = (&x.data, &y.data) {
        let (shape, values) = zip((a, &x.shape), (b, &y.shape), of_ints)?;
        return Ok(vec![Tensor::ints(x.dtype, &shape, values)]);
    }
    let (a, b) = (x.to_floats()?, y.to_floats()?);
    let (shape, values) = zip((&a, &x.shape), (&b, &y.shape), of_floats)?;
    Ok(vec![Tensor::floats(call.float_type(), &shape, values)])
}

fn comparison(
    call: &Call<'_>,
    of_floats: impl Fn(f32, f32) -> bool,
    of_ints: impl Fn(i32, i32) -> bool,
) -> Result<Vec<Tensor>, String> {
    let (x, y) = (call.one("x")?, call.one("y")?);
    let (shape, values) = match (&x.data, &y.data) {
        (Data::Int(a), Data::Int(b)) => zip((a, &x.shape), (b, &y.shape), of_ints)?,
        _ => {
            let (a, b) = (x.to_floats()?, y.to_floats()?);
            zip((&a, &x.shape), (&b, &y.shape), of_floats)?
        }
    };
    Ok(vec![Tensor::bools(&shape, values)])
}

fn logic(call: &Call<'_>, f: impl Fn(bool, bool) -> bool) -> Result<Vec<Tensor>, String> {
    let (x, y) = (call.one("x")?, call.one("y")?);
    let (Data::Bool(a), Data::Bool(b)) = (&x.data, &y.data) else {
        return Err("operands must be truth values".into());
    };
    let (shape, values) = zip((a, &x.shape), (b, &y.shape), f)?;
    Ok(vec![Tensor::bools(&shape, values)])
}

fn logical_not(call: &Call<'_>) -> Result<Vec<Tensor>, String> {
    let x = call.one("x")?;
    let Data::Bool(values) = &x.data else {
        return Err("the operand must be truth values".into());
    };
    Ok(vec![Tensor::bools(
        &x.shape,
        values.iter().map(|x| !x).collect(),
    )])
}

fn float(call: &Call<'_>, f: impl Fn(f32) -> f32) -> Result<Vec<Tensor>, String> {
    let (shape, values) = call.floats("x")?;
    let values = values.iter().map(|&x| f(x)).collect();
    Ok(vec![Tensor::floats(call.float_type(), shape, values)])
}

fn whole_or_float(
    call: &Call<'_>,
    of_floats: impl Fn(f32) -> f32,
    of_ints: impl Fn(i32) -> i32,
) -> Result<Vec<Tensor>, String> {
    let x = call.one("x")?;
    match &x.data {
        Data::Int(values) => {
            let values = values.iter().map(|&x| of_ints(x)).collect();
            Ok(vec![Tensor::ints(x.dtype, &x.shape, values)])
        }
        _ => float(call, of_floats),
    }
}

/// `f(x + ε)`.
fn shifted(call: &Call<'_>, default: f32, f: impl Fn(f32) -> f32) -> Result<Vec<Tensor>, String> {
    let epsilon = call.float_or("epsilon", default)?;
    float(call, |x| f(x + epsilon))
}

fn clip(call: &Call<'_>) -> Result<Vec<Tensor>, String> {
    let low = call.float_or("alpha", f32::NEG_INFINITY)?;
    let high = call.float_or("beta", f32::INFINITY)?;
    float(call, |x| x.max(low).min(high))
}

fn gelu(call: &Call<'_>) -> Result<Vec<Tensor>, String> {
    match call.text_or("mode", "EXACT")? {
        "EXACT" => float(call, |x| {
            let x = f64::from(x);
            (0.5 * x * (1.0 + erf(x / std::f64::consts::SQRT_2))) as f32
        }),
        "TANH_APPROXIMATION" => float(call, |x| {
            let inner = (2.0 / std::f32::consts::PI).sqrt() * (x + 0.044_715 * x * x * x);
            0.5 * x * (1.0 + inner.tanh())
        }),
        "SIGMOID_APPROXIMATION" => float(call, |x| x * sigmoid(1.702 * x)),
        other => Err(format!("mode {other} is not known")),
    }
}

fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + (-x).exp())
}

fn sign(x: f32) -> f32 {
    if x == 0.0 { 0.0 } else { x.signum() }
}

/// The error function: its Maclaurin series near 0, a continued fraction of its
/// complement further out (Abramowitz & Stegun 7.1.6 and 7.1.14).
fn erf(x: f64) -> f64 {
    let z = x.abs();
    let value = if z > 6.0 {
        1.0
    } else if z < 2.5 {
        let (mut term, mut sum, mut n) = (z, z, 0.0);
        while term > 1e-17 * sum {
            n += 1.0;
            term *= 2.0 * z * z / (2.0 * n + 1.0);
            sum += term;
        }
        2.0 / std::f64::consts::PI.sqrt() * (-z * z).exp() * sum
    } else {
        let tail = (1..60)
            .rev()
            .fold(z, |tail, n| z + 0.5 * f64::from(n) / tail);
        1.0 - (-z * z).exp() / (tail * std::f64::consts::PI.sqrt())
    };
    value.copysign(x)
}

fn divide(a: i32, b: i32) -> i32 {
    a.checked_div(b).unwrap_or(0)
}

fn floor_divide(a: i32, b: i32) -> i32 {
    match b {
        0 => 0,
        _ => (f64::from(a) / f64::from(b)).floor() as i32,
    }
}

fn modulo(a: i32, b: i32) -> i32 {
    match b {
        0 => 0,
        _ => a.wrapping_sub(floor_divide(a, b).wrapping_mul(b)),
    }
}

fn cast(call: &Call<'_>) -> Result<Vec<Tensor>, String> {
    let x = call.one("x")?;
    let name = call.text_or("dtype", "")?;
    let to = DataType::named(name).ok_or_else(|| format!("no element type `{name}`"))?;
    if to == DataType::Bool {
        let values = x.to_floats()?.iter().map(|&x| x != 0.0).collect();
        return Ok(vec![Tensor::bools(&x.shape, values)]);
    }
    if to.is_float() {
        let mut result = Tensor {
            dtype: to,
            shape: x.shape.clone(),
            data: Data::Float(x.to_floats()?),
        };
        if to == DataType::Float16 {
            result.round_to_f16();
        }
        return Ok(vec![result]);
    }
    let wide: Arc<Vec<i32>> = match &x.data {
        Data::Int(values) => Arc::clone(values),
        // Towards zero.
        _ => Arc::new(x.to_floats()?.iter().map(|&x| x as i32).collect()),
    };
    // Beyond the range bits are lost, as in NumPy and C.
    let narrow: fn(i32) -> i32 = match to {
        DataType::Int8 => |x| (x as i8).into(),
        DataType::Uint8 => |x| (x as u8).into(),
        DataType::Int16 => |x| (x as i16).into(),
        DataType::Uint16 => |x| (x as u16).into(),
        _ => |x| x,
    };
    Ok(vec![Tensor::ints(
        to,
        &x.shape,
        wide.iter().map(|&x| narrow(x)).collect(),
    )])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_error_function_matches_the_tables() {
        // Abramowitz & Stegun, table 7.1.
        for (x, value) in [
            (0.5, 0.520_499_877_8),
            (1.0, 0.842_700_792_9),
            (2.0, 0.995_322_265_0),
        ] {
            assert!((erf(x) - value).abs() < 1e-10, "{x}");
            assert_eq!(erf(-x), -erf(x));
        }
        assert!((erf(2.499_999) - erf(2.500_001)).abs() < 1e-7);
        assert!((erf(3.0) - 0.999_977_909_503).abs() < 1e-11);
    }
}
