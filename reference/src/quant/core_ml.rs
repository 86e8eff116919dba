//! What coremltools 9 makes of a weight matrix, as round trips in f16.
//!
//! Both schemes take f16 weights, as ML Programs of 16-bit precision hold them,
//! and leave uncompressed what their groups do not divide; callers see to that.
//!
//! * `palette4-g16` is `palettize_weights` with `mode="kmeans", nbits=4,
//!   granularity="per_grouped_channel", group_size=16`: 16 output channels
//!   share one table of 16 f16 levels. coremltools clusters groups of 10,000
//!   weights and more exactly, by its bundled `kmeans1d` on the distinct values;
//!   so does this, and smaller groups too, for which coremltools takes
//!   scikit-learn's iteration with one start and comes out somewhat worse.
//!   Weights take the level of their cluster, also where rounding the mean to
//!   f16 has put another one closer.
//! * `int4-b32` is `linear_quantize_weights` with `mode="linear_symmetric",
//!   dtype="int4", granularity="per_block", block_size=32`: 32 inputs of an
//!   output share the scale `max|w| / 7`, codes are `round(w / scale)` from −7
//!   to 7, ties to even. Every step is rounded to f16, as NumPy does there.

use half::f16;
use rayon::prelude::*;

use super::kmeans::{Weighted, clusters, mean};

/// Output channels that share a palette.
pub(super) const GROUP: usize = 16;
/// Inputs that share a scale.
pub(super) const BLOCK: usize = 32;
/// Levels of a palette.
const LEVELS: usize = 16;

/// Twice the largest magnitude must fit f16, see [`int4_block`].
pub(super) const LIMIT: f32 = 32752.0;

/// Storage cost of `palette4-g16` for outputs of `inputs` weights, tables
/// included.
pub(super) fn palette_bits_per_weight(inputs: usize) -> f64 {
    4.0 + (LEVELS * 16) as f64 / (GROUP * inputs) as f64
}

/// Passes groups of [`GROUP`] rows of `row` numbers through their palettes.
pub(super) fn palette4_g16(values: &mut [f32], row: usize) {
    values.par_chunks_mut(GROUP * row).for_each(palettize);
}

fn palettize(group: &mut [f32]) {
    // Every f16 has its place in a table, in order of value.
    let mut table = vec![0u32; 1 << 16];
    for value in group.iter() {
        table[place(f16::from_f32(*value))] += 1;
    }
    let (mut points, mut places) = (Vec::new(), Vec::new());
    for (place, &count) in table.iter().enumerate().filter(|(_, count)| **count > 0) {
        places.push(place);
        points.push(Weighted {
            value: at_place(place).to_f64(),
            count: f64::from(count),
        });
    }
    let mut levels = vec![0.0; 1 << 16];
    for cluster in clusters(&points, LEVELS) {
        let level = f16::from_f64(mean(&points[cluster.clone()])).to_f32();
        for &place in &places[cluster] {
            levels[place] = level;
        }
    }
    for value in group {
        *value = levels[place(f16::from_f32(*value))];
    }
}

/// Where `value` stands among all f16: negative ones from the bottom up, both
/// zeros in one place.
fn place(value: f16) -> usize {
    let magnitude = usize::from(value.to_bits() & 0x7FFF);
    if value.to_bits() > 0x8000 {
        0x8000 - magnitude
    } else {
        0x8000 + magnitude
    }
}

fn at_place(place: usize) -> f16 {
    f16::from_bits(match place.checked_sub(0x8000) {
        Some(magnitude) => magnitude as u16,
        None => 0x8000 | (0x8000 - place) as u16,
    })
}

/// Passes blocks of [`BLOCK`] numbers through 4-bit codes.
pub(super) fn int4_b32(values: &mut [f32]) {
    let (blocks, _) = values.as_chunks_mut::<BLOCK>();
    blocks
        .par_iter_mut()
        .with_min_len(1 << 10)
        .for_each(int4_block);
}

fn int4_block(block: &mut [f32; BLOCK]) {
    // One operation of two f16 is exact in f32 up to a rounding that f16's
    // repeats: f32 has more than twice the digits and two.
    let half = |value: f32| f16::from_f32(value).to_f32();
    let weights = block.map(half);
    let most = weights.iter().fold(0.0f32, |most, w| most.max(w.abs()));
    let scale = half(half(most + most) / 14.0);
    if scale == 0.0 {
        block.fill(0.0);
        return;
    }
    *block = weights.map(|w| half(half(w / scale).round_ties_even().clamp(-7.0, 7.0) * scale));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_in_order_of_value() {
        let finite = (0..=u16::MAX).map(f16::from_bits).filter(|x| x.is_finite());
        for value in finite {
            assert_eq!(at_place(place(value)).to_f32(), value.to_f32());
        }
        assert_eq!(place(f16::NEG_ZERO), place(f16::ZERO));
        assert!(place(f16::from_f32(-2.0)) < place(f16::from_f32(-1.0)));
    }

    #[test]
    fn few_distinct_weights_come_back_exactly() {
        let mut group: Vec<f32> = (0..256).map(|n| ((n % 16) as f32 - 8.0) / 8.0).collect();
        let before = group.clone();
        palettize(&mut group);
        assert_eq!(group, before);
    }
}
