//! Products: of matrices, by convolution, of attention.

use gemm::Parallelism;

use super::elementwise::{broadcast, stretched};
use super::{Call, Op, Walk};
use crate::tensor::{Tensor, elements};

pub(super) fn find(kind: &str) -> Option<Op> {
    Some(match kind {
        "matmul" => matmul,
        "linear" => linear,
        "conv" => conv,
        "einsum" => einsum,
        "scaled_dot_product_attention" => attention,
        _ => return None,
    })
}

/// A matrix inside a slice: where it starts, its extents, its strides.
#[derive(Clone, Copy)]
struct Matrix<'a> {
    values: &'a [f32],
    rows: usize,
    columns: usize,
    row_stride: usize,
    column_stride: usize,
}

impl<'a> Matrix<'a> {
    fn new(values: &'a [f32], rows: usize, columns: usize) -> Self {
        Self {
            values,
            rows,
            columns,
            row_stride: columns,
            column_stride: 1,
        }
    }

    fn transposed(self) -> Self {
        Self {
            rows: self.columns,
            columns: self.rows,
            row_stride: self.column_stride,
            column_stride: self.row_stride,
            ..self
        }
    }

    fn fits(&self) -> bool {
        self.rows == 0
            || self.columns == 0
            || (self.rows - 1) * self.row_stride + (self.columns - 1) * self.column_stride
                < self.values.len()
    }
}

/// `out = a · b`, row after row, summed in f32.
fn multiply(a: Matrix<'_>, b: Matrix<'_>, out: &mut [f32]) {
    assert!(a.fits() && b.fits() && a.columns == b.rows);
    assert!(out.len() == a.rows * b.columns);
    if out.is_empty() {
        return;
    }
    // Threads cost more than they bring below some million products.
    let work = a.rows * a.columns * b.columns;
    let parallelism = match work > 1 << 22 {
        true => Parallelism::Rayon(0),
        false => Parallelism::None,
    };
    // SAFETY: the asserts above keep every element that strides and extents
    // reach inside the slices, and `out` is borrowed mutably, apart from both.
    unsafe {
        gemm::gemm(
            a.rows,
            b.columns,
            a.columns,
            out.as_mut_ptr(),
            1,
            b.columns as isize,
            false,
            a.values.as_ptr(),
            a.column_stride as isize,
            a.row_stride as isize,
            b.values.as_ptr(),
            b.column_stride as isize,
            b.row_stride as isize,
            0.0,
            1.0,
            false,
            false,
            false,
            parallelism,
        );
    }
}

/// `x · weightᵀ + bias`.
fn linear(call: &Call<'_>) -> Result<Vec<Tensor>, String> {
    let (shape, x) = call.floats("x")?;
    let (weight_shape, weight) = call.floats("weight")?;
    let (&[outputs, inputs], Some((&width, outer))) = (weight_shape, shape.split_last()) else {
        return Err(format!("input {shape:?} and weight {weight_shape:?}"));
    };
    if width != inputs {
        return Err(format!("{width} inputs for a weight of {inputs}"));
    }
    let mut shape = outer.to_vec();
    shape.push(outputs);
    let rows = elements(outer)?;
    let mut out = vec![0.0; elements(&shape)?];
    let weight = Matrix::new(&weight, outputs, inputs);
    multiply(Matrix::new(&x, rows, inputs), weight.transposed(), &mut out);
    if call.maybe("bias").is_some() {
        add_bias(&mut out, &call.floats("bias")?.1, 1)?;
    }
    Ok(vec![Tensor::floats(call.float_type(), &shape, out)])
}

/// Adds `bias[channel]` to every `run` elements of a channel.
fn add_bias(out: &mut [f32], bias: &[f32], run: usize) -> Result<(), String> {
    if bias.is_empty() || run == 0 || !out.len().is_multiple_of(bias.len() * run) {
        return Err(format!("a bias of {} values", bias.len()));
    }
    for (values, bias) in out.chunks_mut(run).zip(bias.iter().cycle()) {
        values.iter_mut().for_each(|value| *value += bias);
    }
    Ok(())
}

fn matmul(call: &Call<'_>) -> Result<Vec<Tensor>, String> {
    let (transpose_x, transpose_y) = (
        call.bool_or("transpose_x", false)?,
        call.bool_or("transpose_y", false)?,
    );
    let (x, y) = (call.one("x")?, call.one("y")?);
    if x.rank() < 2 || y.rank() < 2 {
        return Err("vectors must be written as matrices here".into());
    }
    let (a, b) = (x.to_floats()?, y.to_floats()?);
    let product = batched((&a, &x.shape, transpose_x), (&b, &y.shape, transpose_y))?;
    Ok(vec![Tensor::floats(
        call.float_type(),
        &product.0,
        product.1,
    )])
}

/// Products of the last two axes, the others stretched to fit.
fn batched(
    (a, a_shape, a_turned): (&[f32], &[usize], bool),
    (b, b_shape, b_turned): (&[f32], &[usize], bool),
) -> Result<(Vec<usize>, Vec<f32>), String> {
    let (a_batch, a_matrix) = a_shape.split_at(a_shape.len() - 2);
    let (b_batch, b_matrix) = b_shape.split_at(b_shape.len() - 2);
    let turn = |matrix: &[usize], turned: bool| match turned {
        true => (matrix[1], matrix[0]),
        false => (matrix[0], matrix[1]),
    };
    let (rows, inner) = turn(a_matrix, a_turned);
    let (other, columns) = turn(b_matrix, b_turned);
    if inner != other {
        return Err(format!(
            "shapes {a_shape:?} and {b_shape:?} do not multiply"
        ));
    }
    let mut shape = broadcast(a_batch, b_batch)?;
    let batch = shape.clone();
    shape.extend([rows, columns]);
    let mut out = vec![0.0; elements(&shape)?];
    if out.is_empty() || inner == 0 {
        return Ok((shape, out));
    }
    let (a_steps, b_steps) = (stretched(a_batch, &batch), stretched(b_batch, &batch));
    let starts = Walk::new(&batch, &a_steps, 0).zip(Walk::new(&batch, &b_steps, 0));
    for ((at_a, at_b), out) in starts.zip(out.chunks_mut(rows * columns)) {
        let whole = |values, at: usize, matrix: &[usize], turned: bool| {
            let size = matrix[0] * matrix[1];
            let values: &[f32] = values;
            let stored = Matrix::new(&values[at * size..(at + 1) * size], matrix[0], matrix[1]);
            if turned { stored.transposed() } else { stored }
        };
        multiply(
            whole(a, at_a, a_matrix, a_turned),
            whole(b, at_b, b_matrix, b_turned),
            out,
        );
    }
    Ok((shape, out))
}

/// Convolution over one or two axes.
fn conv(call: &Call<'_>) -> Result<Vec<Tensor>, String> {
    let (shape, x) = call.floats("x")?;
    let (kernel, weight) = call.floats("weight")?;
    let spatial = shape.len().saturating_sub(2);
    if !(1..=2).contains(&spatial) || kernel.len() != shape.len() {
        return Err(format!("input {shape:?} with kernel {kernel:?}"));
    }
    let sizes = |name: &str, default: i64, count: usize| -> Result<Vec<usize>, String> {
        let list = match call.maybe(name) {
            Some(_) => call.ints(name)?,
            None => vec![default; count],
        };
        if list.len() != count {
            return Err(format!("`{name}` must have {count} values"));
        }
        list.iter().map(|&value| super::size(value, name)).collect()
    };
    let groups = super::size(call.int_or("groups", 1)?, "`groups`")?;
    let (strides, dilations) = (
        sizes("strides", 1, spatial)?,
        sizes("dilations", 1, spatial)?,
    );
    let pads = match call.text_or("pad_type", "valid")? {
        "valid" => vec![0; 2 * spatial],
        "custom" => sizes("pad", 0, 2 * spatial)?,
        other => return Err(format!("padding `{other}` is not known")),
    };
    let (batch, channels, outputs) = (shape[0], shape[1], kernel[0]);
    if groups == 0
        || strides.contains(&0)
        || !outputs.is_multiple_of(groups)
        || channels != kernel[1] * groups
    {
        return Err(format!(
            "input {shape:?} with kernel {kernel:?} in {groups} groups"
        ));
    }
    // One axis is two, the first of extent 1.
    let two = |list: &[usize], fill: usize| match *list {
        [last] => [fill, last],
        [first, last, ..] => [first, last],
        [] => [fill, fill],
    };
    let (input, window) = (two(&shape[2..], 1), two(&kernel[2..], 1));
    let (strides, dilations) = (two(&strides, 1), two(&dilations, 1));
    let pads = match pads[..] {
        [before, after] => [[0, 0], [before, after]],
        _ => [[pads[0], pads[1]], [pads[2], pads[3]]],
    };
    let mut extents = [0; 2];
    for axis in 0..2 {
        let padded = input[axis] + pads[axis][0] + pads[axis][1];
        let reach = window[axis].saturating_sub(1) * dilations[axis] + 1;
        let room = padded
            .checked_sub(reach)
            .ok_or("the kernel is larger than the input")?;
        extents[axis] = room / strides[axis] + 1;
    }
    let mut result = vec![batch, outputs];
    result.extend(&extents[2 - spatial..]);
    let mut out = vec![0.0; elements(&result)?];
    let (plane_in, plane_out) = (input[0] * input[1], extents[0] * extents[1]);
    let plain = window == [1, 1] && strides == [1, 1] && pads == [[0; 2]; 2] && groups == 1;
    for n in 0..batch {
        let image = &x[n * channels * plane_in..(n + 1) * channels * plane_in];
        let out = &mut out[n * outputs * plane_out..(n + 1) * outputs * plane_out];
        if plain {
            let weight = Matrix::new(&weight, outputs, channels);
            multiply(weight, Matrix::new(image, channels, plane_in), out);
            continue;
        }
        let taps = kernel[1] * window[0] * window[1];
        let per_group = outputs / groups;
        for (o, out) in out.chunks_mut(plane_out).enumerate() {
            let first_channel = o / per_group * kernel[1];
            for (at, value) in out.iter_mut().enumerate() {
                let corner = [at / extents[1] * strides[0], at % extents[1] * strides[1]];
                for tap in 0..taps {
                    let (channel, place) =
                        (tap / (window[0] * window[1]), tap % (window[0] * window[1]));
                    let y = corner[0] + place / window[1] * dilations[0];
                    let x_at = corner[1] + place % window[1] * dilations[1];
                    let (Some(y), Some(x_at)) =
                        (y.checked_sub(pads[0][0]), x_at.checked_sub(pads[1][0]))
                    else {
                        continue;
                    };
                    if y < input[0] && x_at < input[1] {
                        let from = (first_channel + channel) * plane_in + y * input[1] + x_at;
                        *value += weight[o * taps + tap] * image[from];
                    }
                }
            }
        }
    }
    if call.maybe("bias").is_some() {
        add_bias(&mut out, &call.floats("bias")?.1, plane_out)?;
    }
    Ok(vec![Tensor::floats(call.float_type(), &result, out)])
}

/// Sum over the letters that the result lacks, of products of two operands.
fn einsum(call: &Call<'_>) -> Result<Vec<Tensor>, String> {
    let equation = call.text_or("equation", "")?;
    let bad = || format!("equation `{equation}` for these operands");
    let (inputs, output) = equation.split_once("->").ok_or_else(bad)?;
    let (left, right) = inputs.split_once(',').ok_or_else(bad)?;
    let letters = |text: &str| text.trim().chars().collect::<Vec<_>>();
    let (left, right, output) = (letters(left), letters(right), letters(output));
    let [x, y] = call.many("values") else {
        return Err("takes two operands".into());
    };
    let twice =
        |letters: &[char]| (1..letters.len()).any(|at| letters[..at].contains(&letters[at]));
    if left.len() != x.rank()
        || right.len() != y.rank()
        || [&left, &right, &output]
            .iter()
            .any(|letters| twice(letters))
    {
        return Err(bad());
    }
    let mut all = output.clone();
    for letter in left.iter().chain(&right) {
        if !all.contains(letter) {
            all.push(*letter);
        }
    }
    let mut shape = Vec::new();
    for letter in &all {
        let extent = |letters: &[char], tensor: &Tensor| {
            letters
                .iter()
                .position(|l| l == letter)
                .map(|axis| tensor.shape[axis])
        };
        match (extent(&left, x), extent(&right, y)) {
            (Some(a), Some(b)) if a != b => return Err(bad()),
            (Some(a), _) | (None, Some(a)) => shape.push(a),
            (None, None) => return Err(bad()),
        }
    }
    let steps_of = |letters: &[char], tensor: &Tensor| -> Vec<isize> {
        let own = super::steps(&tensor.shape);
        let step = |letter| {
            letters
                .iter()
                .position(|l| l == letter)
                .map_or(0, |axis| own[axis])
        };
        all.iter().map(step).collect()
    };
    let (a, b) = (x.to_floats()?, y.to_floats()?);
    let (a_steps, b_steps) = (steps_of(&left, x), steps_of(&right, y));
    elements(&shape)?;
    let (kept, summed) = shape.split_at(output.len());
    let inner = elements(summed)?;
    let walk = |steps| Walk::new(&shape, steps, 0);
    let mut products = walk(&a_steps).zip(walk(&b_steps)).map(|(i, j)| a[i] * b[j]);
    let sums = (0..elements(kept)?).map(|_| products.by_ref().take(inner).sum());
    let sums = sums.collect();
    Ok(vec![Tensor::floats(call.float_type(), kept, sums)])
}

/// `softmax(q · kᵀ / √d + mask) · v`.
fn attention(call: &Call<'_>) -> Result<Vec<Tensor>, String> {
    let (q_shape, q) = call.floats("query")?;
    let (k_shape, k) = call.floats("key")?;
    let (v_shape, v) = call.floats("value")?;
    if [q_shape, k_shape, v_shape]
        .iter()
        .any(|shape| shape.len() < 3)
    {
        return Err("operands must have three axes or more".into());
    }
    let scale = (q_shape[q_shape.len() - 1] as f32).sqrt().recip();
    let (shape, mut scores) = batched((&q, q_shape, false), (&k, k_shape, true))?;
    scores.iter_mut().for_each(|score| *score *= scale);
    if let Some(mask) = call.maybe("attn_mask") {
        let added: Vec<f32> = match &mask.data {
            crate::tensor::Data::Bool(seen) => {
                let value = |&seen: &bool| if seen { 0.0 } else { f32::NEG_INFINITY };
                seen.iter().map(value).collect()
            }
            _ => mask.to_floats()?.to_vec(),
        };
        let (_, masked) =
            super::elementwise::zip((&scores, &shape), (&added, &mask.shape), |score, mask| {
                score + mask
            })?;
        scores = masked;
    }
    super::reduce::softmax_rows(&mut scores, shape[shape.len() - 1]);
    let (shape, mixed) = batched((&scores, &shape, false), (&v, v_shape, false))?;
    Ok(vec![Tensor::floats(call.float_type(), &shape, mixed)])
}
