//! Causal grouped-query attention that never holds a matrix of scores.
//!
//! Prefill goes through the keys in blocks with a running maximum and sum
//! (Milakov & Gimelshein 2018, Dao et al. 2022); lanes are queries, so a block's
//! scores are two small matrix products and vertical exponentials. One query
//! alone keeps its row of scores.

use std::ops::Range;

use super::blocks::{self, Block};
use super::elementwise::softcapped;
use super::matrix::{Format, Lanes, with_block};
use super::product::{Scratch, TILE_ROWS, TILE_STRIDE, multiply};
use super::simd::{LANES, Simd, exp};

/// Keys that are scored together.
const BLOCK: usize = 64;

/// The least that a running maximum is. Finite, so that keys which a query may
/// not see, whose scores are −∞, have a weight of `e^−∞ = 0` in a block without a
/// visible one too, and a query whose scores are all −∞ divides 0 by 0.
const FLOOR: f32 = f32::MIN;

/// Keys and values of one head.
#[derive(Clone, Copy)]
pub(super) struct Head<'a> {
    pub(super) format: Format,
    pub(super) keys: &'a [u8],
    pub(super) values: &'a [u8],
    pub(super) row_bytes: usize,
    /// First of the head's values in a row.
    pub(super) column: usize,
    /// Rows in the ring that holds position `p` at `p mod capacity`.
    pub(super) capacity: usize,
    pub(super) dim: usize,
    pub(super) scale: f32,
    pub(super) softcap: Option<f32>,
    /// Tokens a query sees, itself included.
    pub(super) window: Option<usize>,
}

impl Head<'_> {
    /// Splits positions where the ring wraps around: first position, first row
    /// and number of each run of at most `most`.
    fn runs(
        &self,
        positions: Range<usize>,
        most: usize,
    ) -> impl Iterator<Item = (usize, usize, usize)> {
        let (mut at, end, capacity) = (positions.start, positions.end, self.capacity);
        std::iter::from_fn(move || {
            let row = at % capacity;
            let len = most.min(end - at).min(capacity - row);
            let start = at;
            at += len;
            (len > 0).then_some((start, row, len))
        })
    }

    /// Where the head's part of `row` begins in `rows`.
    fn at<B: Block>(&self, rows: &[u8], row: usize) -> *const u8 {
        // A column is a whole number of blocks or blocks are single values.
        let offset = row * self.row_bytes + self.column * B::BYTES / B::LEN;
        rows[offset..].as_ptr()
    }
}

/// One head's attention for a panel of queries.
pub(super) struct AttendPanel<'a> {
    pub(super) head: Head<'a>,
    /// `dim` lanes.
    pub(super) queries: *const f32,
    /// `dim` lanes.
    pub(super) out: *mut f32,
    /// Position of the first query.
    pub(super) first: usize,
    /// Queries in the panel; the other lanes hold nothing of interest.
    pub(super) queries_len: usize,
}

/// # Safety
/// See [`Simd`]; pointers hold what [`AttendPanel`] says, and the rows of every
/// visible position are in the ring.
#[inline(always)]
pub(super) unsafe fn attend_panel<S: Simd>(task: &AttendPanel<'_>, scratch: &mut Scratch) {
    let head = &task.head;
    let dim = head.dim;
    let tile: *mut f32 = scratch.tile.as_mut_ptr().cast();
    let scores: *mut f32 = scratch.lanes.as_mut_ptr().cast();
    const { assert!(BLOCK <= TILE_ROWS) };
    // Positions are exact in f32: contexts are below 2²⁴.
    let mut positions = [0f32; LANES];
    for (lane, position) in positions.iter_mut().enumerate() {
        *position = (task.first + lane.min(task.queries_len - 1)) as f32;
    }
    let last = task.first + task.queries_len - 1;
    let visible_from = |query: usize| {
        head.window
            .map_or(0, |window| (query + 1).saturating_sub(window))
    };
    // SAFETY: the caller's; tile and scores hold `TILE_ROWS` rows.
    unsafe {
        let positions = S::load(positions.as_ptr());
        let oldest = match head.window {
            Some(window) => S::sub(positions, S::splat(window as f32 - 1.0)),
            None => S::splat(0.0),
        };
        let hidden = S::splat(f32::NEG_INFINITY);
        let mut maximum = S::splat(FLOOR);
        let mut total = S::splat(0.0);
        for feature in 0..dim {
            S::store(task.out.add(feature * LANES), S::splat(0.0));
        }
        for (start, row, len) in head.runs(visible_from(task.first)..last + 1, BLOCK) {
            gather::<S>(head, head.keys, row, len, tile);
            multiply::<S, TILE_STRIDE, 1>(len, dim, tile, task.queries, scores, false);
            let whole = start + len <= task.first + 1 && start >= visible_from(last);
            let mut new_maximum = maximum;
            for key in 0..len {
                let at = scores.add(key * LANES);
                let mut score = S::mul(S::load(at), S::splat(head.scale));
                if let Some(cap) = head.softcap {
                    score = softcapped::<S>(score, cap);
                }
                if !whole {
                    let position = S::splat((start + key) as f32);
                    score = S::where_le(position, positions, score, hidden);
                    score = S::where_le(oldest, position, score, hidden);
                }
                S::store(at, score);
                new_maximum = S::max(new_maximum, score);
            }
            let shrink = exp::<S>(S::sub(maximum, new_maximum));
            maximum = new_maximum;
            total = S::mul(total, shrink);
            for key in 0..len {
                let at = scores.add(key * LANES);
                let weight = exp::<S>(S::sub(S::load(at), maximum));
                S::store(at, weight);
                total = S::add(total, weight);
            }
            for feature in 0..dim {
                let out = task.out.add(feature * LANES);
                S::store(out, S::mul(S::load(out), shrink));
            }
            gather::<S>(head, head.values, row, len, tile);
            multiply::<S, 1, TILE_STRIDE>(dim, len, tile, scores, task.out, true);
        }
        for feature in 0..dim {
            let out = task.out.add(feature * LANES);
            S::store(out, S::div(S::load(out), total));
        }
    }
}

/// Decodes `len` rows of a head, from `row` on, into a tile.
///
/// # Safety
/// See [`attend_panel`].
#[inline(always)]
unsafe fn gather<S: Simd>(head: &Head<'_>, rows: &[u8], row: usize, len: usize, tile: *mut f32) {
    with_block!(head.format, B => {
        for index in 0..len {
            let bytes = head.at::<B>(rows, row + index);
            // SAFETY: the caller's.
            unsafe {
                blocks::decode_row::<S, B>(bytes, 0, head.dim, tile.add(index * TILE_STRIDE));
            }
        }
    });
}

/// One head's attention for one query.
pub(super) struct AttendOne<'a> {
    pub(super) head: Head<'a>,
    /// `dim` floats.
    pub(super) query: *const f32,
    /// `dim` floats.
    pub(super) out: *mut f32,
    pub(super) position: usize,
}

/// # Safety
/// See [`attend_panel`]; `scores` has room for the visible positions.
#[inline(always)]
pub(super) unsafe fn attend_one<S: Simd>(task: &AttendOne<'_>, scores: &mut [Lanes]) {
    let head = &task.head;
    let end = task.position + 1;
    let start = head.window.map_or(0, |window| end.saturating_sub(window));
    let scores = Lanes::flatten_mut(scores);
    // SAFETY: the caller's.
    unsafe {
        with_block!(head.format, B => {
            for (first, row, len) in head.runs(start..end, usize::MAX) {
                let scores = scores.as_mut_ptr().add(first - start);
                let mut key = 0;
                while key + 4 <= len {
                    let keys = head.at::<B>(head.keys, row + key);
                    let dots = blocks::dot::<S, B, 4>(keys, head.row_bytes, task.query, head.dim);
                    scores.add(key).cast::<[f32; 4]>().write_unaligned(dots);
                    key += 4;
                }
                while key < len {
                    let keys = head.at::<B>(head.keys, row + key);
                    let [dot] = blocks::dot::<S, B, 1>(keys, head.row_bytes, task.query, head.dim);
                    scores.add(key).write(dot);
                    key += 1;
                }
            }
        });
        let total = softmax::<S>(scores, end - start, head);
        with_block!(head.format, B => {
            for feature in (0..head.dim).step_by(LANES) {
                let len = LANES.min(head.dim - feature);
                let mut sum = S::splat(0.0);
                for (first, row, keys) in head.runs(start..end, usize::MAX) {
                    let weights = scores.as_ptr().add(first - start);
                    for key in 0..keys {
                        let bytes = head.at::<B>(head.values, row + key).add(feature * B::BYTES / B::LEN);
                        let values = blocks::decode_part::<S, B>(bytes, len);
                        sum = S::fma(S::splat(weights.add(key).read()), values, sum);
                    }
                }
                let mut mixed = [0f32; LANES];
                S::store(mixed.as_mut_ptr(), S::div(sum, S::splat(total)));
                std::ptr::copy_nonoverlapping(mixed.as_ptr(), task.out.add(feature), len);
            }
        });
    }
}

/// Turns the first `count` scores into `e^(s − max s)` and returns their sum.
///
/// # Safety
/// See [`attend_one`].
#[inline(always)]
unsafe fn softmax<S: Simd>(scores: &mut [f32], count: usize, head: &Head<'_>) -> f32 {
    let padded = count.next_multiple_of(LANES);
    let vectors = (0..padded).step_by(LANES);
    // SAFETY: the caller's.
    unsafe {
        for at in vectors.clone() {
            let at = scores.as_mut_ptr().add(at);
            let scaled = S::mul(S::load(at), S::splat(head.scale));
            S::store(
                at,
                match head.softcap {
                    Some(cap) => softcapped::<S>(scaled, cap),
                    None => scaled,
                },
            );
        }
        scores[count..padded].fill(f32::NEG_INFINITY);
        let mut maximum = S::splat(f32::NEG_INFINITY);
        for at in vectors.clone() {
            maximum = S::max(maximum, S::load(scores.as_ptr().add(at)));
        }
        let maximum = S::splat(S::largest(maximum));
        let mut total = S::splat(0.0);
        for at in vectors {
            let at = scores.as_mut_ptr().add(at);
            let weight = exp::<S>(S::sub(S::load(at), maximum));
            S::store(at, weight);
            total = S::add(total, weight);
        }
        S::sum(total)
    }
}
