//! Key/value caches: contiguous or rotating, in f32, f16 or q8_0.

use std::ops::Range;

use engine::{
    AddressRange, EngineError, EvictionPolicy, FailureKind, KvLayer, KvUsage, NumberFormat,
};
use half::f16;
use half::slice::HalfFloatSliceExt;
use memmap2::MmapMut;

use crate::hyperparameters::Hyperparameters;
use crate::options::KvOptions;

/// Values of a q8_0 block and its bytes: an f16 scale, then the values.
const Q8_BLOCK: usize = 32;
const Q8_BYTES: usize = 2 + Q8_BLOCK;

/// Keys and values of one session.
///
/// Memory for the whole context is mapped at once; the operating system hands
/// the pages out as they are first written, so a short context occupies little
/// of what it reserves.
pub(crate) struct Cache {
    layers: Vec<LayerCache>,
    len: usize,
    /// Longest `len` so far; a rotating layer has lost what lies a capacity
    /// before it.
    high: usize,
}

/// Keys and values of one layer.
pub(crate) struct LayerCache {
    pub(crate) keys: Rows,
    pub(crate) values: Rows,
    /// Positions held: all of them, or the latest that a window can reach.
    capacity: usize,
    window: Option<usize>,
    rotating: bool,
}

/// One row a position, of `kv_heads · head_dim` values.
pub(crate) struct Rows {
    format: NumberFormat,
    width: usize,
    bytes: MmapMut,
}

impl Cache {
    /// Room for the whole context, appended to in pieces of at most `piece`.
    pub(crate) fn new(
        shape: &Hyperparameters,
        options: &KvOptions,
        piece: usize,
    ) -> Result<Self, EngineError> {
        let c = &shape.config;
        let width = c.kv_heads * c.head_dim;
        let format = options.format;
        if format == NumberFormat::Q8_0 && !c.head_dim.is_multiple_of(Q8_BLOCK) {
            return Err(EngineError::invalid(format!(
                "engine option `kv=q8_0` needs heads of whole blocks of {Q8_BLOCK} values; this \
                 model's have {}",
                c.head_dim
            )));
        }
        let mut layers = Vec::with_capacity(c.layers);
        let mut total = 0u64;
        for layer in &shape.layers {
            // The first token of a piece still sees its window when the last
            // has been stored.
            let needed = layer.window.map(|window| window.saturating_add(piece));
            let capacity = match needed {
                Some(needed) if options.evict => needed.min(c.context),
                _ => c.context,
            };
            let bytes = row_bytes(format, width).checked_mul(capacity);
            total = bytes
                .and_then(|bytes| total.checked_add(2 * bytes as u64))
                .unwrap_or(u64::MAX);
            if options.limit_bytes.is_some_and(|limit| total > limit) || bytes.is_none() {
                return Err(out_of_memory(shape, options, "it would exceed the limit"));
            }
            let rows = || {
                Rows::new(format, width, capacity)
                    .map_err(|why| out_of_memory(shape, options, &why.to_string()))
            };
            layers.push(LayerCache {
                keys: rows()?,
                values: rows()?,
                capacity,
                window: layer.window,
                rotating: capacity < c.context,
            });
        }
        Ok(Self {
            layers,
            len: 0,
            high: 0,
        })
    }

    /// Tokens held by every layer.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn layer(&self, index: usize) -> &LayerCache {
        &self.layers[index]
    }

    pub(crate) fn layer_mut(&mut self, index: usize) -> &mut LayerCache {
        &mut self.layers[index]
    }

    /// Longest `len` so far: slots before it have been written.
    pub(crate) fn high(&self) -> usize {
        self.high
    }

    /// Counts `n` tokens that every layer has stored.
    pub(crate) fn advance(&mut self, n: usize) {
        self.len += n;
        self.high = self.high.max(self.len);
    }

    /// Forgets all but the first `len` tokens.
    ///
    /// # Errors
    /// [`FailureKind::Unsupported`] when a rotating layer no longer holds what
    /// the token after them would look at.
    pub(crate) fn truncate(&mut self, len: usize) -> Result<(), EngineError> {
        for layer in self.layers.iter().filter(|layer| layer.rotating) {
            let oldest_held = self.high.saturating_sub(layer.capacity);
            let oldest_seen = layer
                .window
                .map_or(0, |window| (len + 1).saturating_sub(window));
            if len > 0 && oldest_seen < oldest_held {
                return Err(EngineError::new(
                    FailureKind::Unsupported,
                    format!(
                        "cannot go back from {} to {len} tokens: layers with a sliding window have \
                         evicted what position {len} would see; evict=none keeps all",
                        self.high
                    ),
                ));
            }
        }
        self.len = self.len.min(len);
        if self.len == 0 {
            self.high = 0;
        }
        Ok(())
    }

    pub(crate) fn usage(&self) -> KvUsage {
        let layers = self.layers.iter().map(|layer| {
            let ranges = [&layer.keys, &layer.values].map(Rows::address_range);
            let held = self.len.min(layer.capacity) as u64;
            KvLayer {
                reserved_bytes: ranges.iter().map(|range| range.bytes as u64).sum(),
                used_bytes: 2 * held * layer.keys.row_bytes() as u64,
                policy: match layer.rotating {
                    true => EvictionPolicy::Window {
                        tokens: layer.capacity,
                    },
                    false => EvictionPolicy::None,
                },
                ranges: ranges.into(),
            }
        });
        KvUsage {
            layers: layers.collect(),
        }
    }
}

impl LayerCache {
    /// Rows; position `p` is in row `p mod capacity`.
    pub(crate) fn capacity(&self) -> usize {
        self.capacity
    }

    /// The row of `position`.
    pub(crate) fn slot(&self, position: usize) -> usize {
        position % self.capacity
    }

    /// Positions that the token at `position` looks at.
    pub(crate) fn visible(&self, position: usize) -> Range<usize> {
        let end = position + 1;
        let start = self.window.map_or(0, |window| end.saturating_sub(window));
        start..end
    }
}

impl Rows {
    fn new(format: NumberFormat, width: usize, capacity: usize) -> std::io::Result<Self> {
        Ok(Self {
            format,
            width,
            bytes: MmapMut::map_anon(row_bytes(format, width) * capacity)?,
        })
    }

    pub(crate) fn format(&self) -> NumberFormat {
        self.format
    }

    /// Values in a row.
    pub(crate) fn width(&self) -> usize {
        self.width
    }

    pub(crate) fn row_bytes(&self) -> usize {
        row_bytes(self.format, self.width)
    }

    /// All rows, as they are stored.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Stores `values` as row `slot`.
    pub(crate) fn write(&mut self, slot: usize, values: &[f32]) {
        let row_bytes = self.row_bytes();
        let row = &mut self.bytes[slot * row_bytes..(slot + 1) * row_bytes];
        match self.format {
            NumberFormat::F16 => {
                bytemuck::cast_slice_mut::<u8, f16>(row).convert_from_f32_slice(values)
            }
            NumberFormat::Q8_0 => {
                for (block, values) in row
                    .chunks_exact_mut(Q8_BYTES)
                    .zip(values.chunks_exact(Q8_BLOCK))
                {
                    encode_q8_0(values, block);
                }
            }
            _ => bytemuck::cast_slice_mut(row).copy_from_slice(values),
        }
    }

    /// Reads the values `columns` of row `slot`. Blocks of q8_0 are read whole.
    pub(crate) fn read(&self, slot: usize, columns: Range<usize>, out: &mut [f32]) {
        let row_bytes = self.row_bytes();
        let row = &self.bytes[slot * row_bytes..(slot + 1) * row_bytes];
        match self.format {
            NumberFormat::F16 => {
                bytemuck::cast_slice::<u8, f16>(row)[columns].convert_to_f32_slice(out);
            }
            NumberFormat::Q8_0 => {
                let blocks = columns.start / Q8_BLOCK * Q8_BYTES..columns.end / Q8_BLOCK * Q8_BYTES;
                for (block, out) in row[blocks]
                    .chunks_exact(Q8_BYTES)
                    .zip(out.chunks_exact_mut(Q8_BLOCK))
                {
                    let scale = f16::from_le_bytes([block[0], block[1]]).to_f32();
                    for (out, &value) in out.iter_mut().zip(&block[2..]) {
                        *out = scale * f32::from(value as i8);
                    }
                }
            }
            _ => out.copy_from_slice(&bytemuck::cast_slice(row)[columns]),
        }
    }

    fn address_range(&self) -> AddressRange {
        AddressRange {
            start: self.bytes.as_ptr().addr(),
            bytes: self.bytes.len(),
        }
    }
}

fn row_bytes(format: NumberFormat, width: usize) -> usize {
    match format {
        NumberFormat::F16 => 2 * width,
        NumberFormat::Q8_0 => width / Q8_BLOCK * Q8_BYTES,
        _ => 4 * width,
    }
}

/// `quantize_row_q8_0_ref` of GGML.
fn encode_q8_0(values: &[f32], block: &mut [u8]) {
    let largest = values.iter().fold(0f32, |max, value| max.max(value.abs()));
    let scale = largest / 127.0;
    let inverse = if scale > 0.0 { scale.recip() } else { 0.0 };
    block[..2].copy_from_slice(&f16::from_f32(scale).to_le_bytes());
    for (byte, value) in block[2..].iter_mut().zip(values) {
        *byte = (value * inverse).round() as i8 as u8;
    }
}

fn out_of_memory(shape: &Hyperparameters, options: &KvOptions, why: &str) -> EngineError {
    let c = &shape.config;
    let row = row_bytes(options.format, c.kv_heads * c.head_dim) as u64;
    let bytes = row
        .saturating_mul(2 * c.layers as u64)
        .saturating_mul(c.context as u64);
    EngineError::new(
        FailureKind::OutOfMemory,
        format!(
            "no room for a KV cache of {} MiB ({} tokens of {} layers in {}): {why}; shorten it with \
             ctx=N, or store it as kv=f16 or kv=q8_0",
            bytes >> 20,
            c.context,
            c.layers,
            options.format
        ),
    )
}
