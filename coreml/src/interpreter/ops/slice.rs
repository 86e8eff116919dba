//! Parts of tensors, read and written.

use super::{Call, Op, Walk, size, steps};
use crate::tensor::{Data, Tensor};

pub(super) fn find(kind: &str) -> Option<Op> {
    Some(match kind {
        "slice_by_index" => slice_by_index,
        "slice_by_size" => slice_by_size,
        "slice_update" => slice_update,
        "pad" => pad,
        _ => return None,
    })
}

/// A part of a tensor: where its first element is, its extents and steps.
struct Part {
    start: usize,
    shape: Vec<usize>,
    steps: Vec<isize>,
    /// Axes that leave the shape.
    squeezed: Vec<bool>,
}

impl Part {
    /// From `begin`, `end`, `stride` and their masks, as NumPy's slices with
    /// negative places counted from the end.
    fn by_index(call: &Call<'_>, shape: &[usize]) -> Result<Self, String> {
        let rank = shape.len();
        let (begin, end) = (call.ints("begin")?, call.ints("end")?);
        let stride = match call.maybe("stride") {
            Some(_) => call.ints("stride")?,
            None => vec![1; rank],
        };
        if [begin.len(), end.len(), stride.len()] != [rank; 3] {
            return Err(format!("places on {} axes of {rank}", begin.len()));
        }
        let from_start = call.bools_or("begin_mask", rank)?;
        let to_end = call.bools_or("end_mask", rank)?;
        let squeezed = call.bools_or("squeeze_mask", rank)?;
        let own = steps(shape);
        let mut part = Self {
            start: 0,
            shape: Vec::new(),
            steps: Vec::new(),
            squeezed: squeezed.clone(),
        };
        for axis in 0..rank {
            let extent = shape[axis] as i64;
            let place = |at: i64| if at < 0 { at + extent } else { at };
            let step = stride[axis];
            if step == 0 {
                return Err("a stride of 0".into());
            }
            let (first, count) = if squeezed[axis] {
                (place(begin[axis]), 1)
            } else {
                let forward = step > 0;
                let first = match (from_start[axis], forward) {
                    (true, true) => 0,
                    (true, false) => extent - 1,
                    (false, true) => place(begin[axis]).clamp(0, extent),
                    (false, false) => place(begin[axis]).clamp(-1, extent - 1),
                };
                let last = match (to_end[axis], forward) {
                    (true, true) => extent,
                    (true, false) => -1,
                    (false, true) => place(end[axis]).clamp(0, extent),
                    (false, false) => place(end[axis]).clamp(-1, extent - 1),
                };
                let span = if forward { last - first } else { first - last };
                (first, span.max(0) as u64)
            };
            let count = count.div_ceil(step.unsigned_abs());
            if count > 0 && !(0..extent).contains(&first) {
                return Err(format!("place {first} on an axis of {extent}"));
            }
            part.start += first.max(0) as usize * own[axis] as usize;
            part.shape.push(count as usize);
            part.steps.push(own[axis] * step as isize);
        }
        Ok(part)
    }

    fn places(&self) -> Walk<'_> {
        Walk::new(&self.shape, &self.steps, self.start)
    }

    /// The shape without squeezed axes.
    fn visible(&self) -> Vec<usize> {
        let kept = self.shape.iter().zip(&self.squeezed);
        kept.filter(|(_, gone)| !**gone)
            .map(|(&extent, _)| extent)
            .collect()
    }
}

fn slice_by_index(call: &Call<'_>) -> Result<Vec<Tensor>, String> {
    let x = call.one("x")?;
    let part = Part::by_index(call, &x.shape)?;
    Ok(vec![x.pick(part.visible(), part.places())])
}

/// −1 stands for all that is left.
fn slice_by_size(call: &Call<'_>) -> Result<Vec<Tensor>, String> {
    let x = call.one("x")?;
    let (begin, sizes) = (call.ints("begin")?, call.ints("size")?);
    if begin.len() != x.rank() || sizes.len() != x.rank() {
        return Err(format!("places on {} axes of {}", begin.len(), x.rank()));
    }
    let own = steps(&x.shape);
    let (mut start, mut shape) = (0, Vec::new());
    for axis in 0..x.rank() {
        let extent = x.shape[axis];
        let from = size(begin[axis], "a place")?;
        let count = match sizes[axis] {
            -1 => extent.saturating_sub(from),
            count => size(count, "a size")?,
        };
        if from.checked_add(count).is_none_or(|end| end > extent) {
            return Err(format!("{count} places from {from} on an axis of {extent}"));
        }
        start += from * own[axis] as usize;
        shape.push(count);
    }
    Ok(vec![x.pick(shape.clone(), Walk::new(&shape, &own, start))])
}

fn slice_update(call: &Call<'_>) -> Result<Vec<Tensor>, String> {
    let (x, update) = (call.one("x")?, call.one("update")?);
    let part = Part::by_index(call, &x.shape)?;
    if part.visible() != update.shape {
        return Err(format!(
            "{:?} written over {:?}",
            update.shape,
            part.visible()
        ));
    }
    fn put<T: Copy>(values: &mut [T], from: &[T], places: Walk<'_>) {
        for (place, &value) in places.zip(from) {
            values[place] = value;
        }
    }
    let mut result = x.clone();
    match (&mut result.data, &update.data) {
        (Data::Float(values), Data::Float(from)) => {
            put(
                std::sync::Arc::make_mut(values).as_mut_slice(),
                from,
                part.places(),
            );
        }
        (Data::Int(values), Data::Int(from)) => {
            put(
                std::sync::Arc::make_mut(values).as_mut_slice(),
                from,
                part.places(),
            );
        }
        _ => return Err("values of different kinds".into()),
    }
    Ok(vec![result])
}

fn pad(call: &Call<'_>) -> Result<Vec<Tensor>, String> {
    let (shape, x) = call.floats("x")?;
    if call.text_or("mode", "constant")? != "constant" {
        return Err("only padding with a constant is known".into());
    }
    let amounts = call.ints("pad")?;
    let rank = shape.len();
    // The last axes' amounts, two an axis.
    let Some(first) = rank.checked_sub(amounts.len() / 2) else {
        return Err(format!("{} amounts for {rank} axes", amounts.len()));
    };
    let mut wide = shape.to_vec();
    let mut before = vec![0; rank];
    for axis in first..rank {
        let pair = &amounts[2 * (axis - first)..][..2];
        before[axis] = size(pair[0], "padding")?;
        let more = before[axis].checked_add(size(pair[1], "padding")?);
        wide[axis] = more
            .and_then(|more| more.checked_add(wide[axis]))
            .ok_or("larger than any memory")?;
    }
    let mut values = vec![call.float_or("constant_val", 0.0)?; crate::tensor::elements(&wide)?];
    let outer = steps(&wide);
    let start = before
        .iter()
        .zip(&outer)
        .map(|(n, step)| n * *step as usize)
        .sum();
    for (place, &value) in Walk::new(shape, &outer, start).zip(x.iter()) {
        values[place] = value;
    }
    Ok(vec![Tensor::floats(call.float_type(), &wide, values)])
}
