//! Contiguous key/value cache.

use candle_core::{DType, Device, Storage, Tensor};
use engine::{AddressRange, EngineError, FailureKind, KvLayer, KvUsage, ModelConfig, NumberFormat};

/// Keys and values of one session, all layers, reserved for the whole context.
///
/// A layer holds two tensors `[kv_heads, context, head_dim]`. The operating
/// system hands the pages out as they are first written, so a short context
/// occupies little of what it reserves.
pub(crate) struct Cache {
    layers: Vec<Layer>,
    len: usize,
    bytes_per_token: u64,
}

struct Layer {
    keys: Tensor,
    values: Tensor,
}

impl Cache {
    pub(crate) fn new(config: &ModelConfig, format: NumberFormat) -> Result<Self, EngineError> {
        let dtype = match format {
            NumberFormat::F16 => DType::F16,
            _ => DType::F32,
        };
        let shape = (config.kv_heads, config.context, config.head_dim);
        let bytes_per_token = config.kv_bytes_per_token(dtype.size_in_bytes());
        let out_of_memory = |why: String| {
            let mib = bytes_per_token.saturating_mul(config.context as u64) >> 20;
            EngineError::new(
                FailureKind::OutOfMemory,
                format!(
                    "no room for a KV cache of {mib} MiB ({} tokens): {why}; shorten it with ctx=N",
                    config.context
                ),
            )
        };
        // `Tensor::zeros` aborts the process when memory is refused, so ask first.
        let layer_bytes = shape
            .0
            .checked_mul(shape.1)
            .and_then(|n| n.checked_mul(shape.2))
            .and_then(|n| n.checked_mul(2 * dtype.size_in_bytes()))
            .ok_or_else(|| out_of_memory("more bytes than can be addressed".into()))?;
        let mut layers = Vec::with_capacity(config.layers);
        for _ in 0..config.layers {
            Vec::<u8>::new()
                .try_reserve_exact(layer_bytes)
                .map_err(|error| out_of_memory(error.to_string()))?;
            let zeros = || {
                Tensor::zeros(shape, dtype, &Device::Cpu)
                    .map_err(|error| out_of_memory(error.to_string()))
            };
            layers.push(Layer {
                keys: zeros()?,
                values: zeros()?,
            });
        }
        Ok(Self {
            layers,
            len: 0,
            bytes_per_token,
        })
    }

    /// Tokens held by every layer.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Stores `keys` and `values` `[kv_heads, n, head_dim]` of `layer` behind
    /// the tokens held and returns those of the whole context, in f32. The
    /// tokens count only after [`advance`](Self::advance).
    pub(crate) fn append(
        &self,
        layer: usize,
        keys: &Tensor,
        values: &Tensor,
    ) -> candle_core::Result<(Tensor, Tensor)> {
        let store = |cache: &Tensor, new: &Tensor| {
            let new = new.to_dtype(cache.dtype())?.contiguous()?;
            cache.slice_set(&new, 1, self.len)?;
            cache
                .narrow(1, 0, self.len + new.dim(1)?)?
                .to_dtype(DType::F32)
        };
        let layer = &self.layers[layer];
        Ok((store(&layer.keys, keys)?, store(&layer.values, values)?))
    }

    /// Counts `n` tokens that every layer has stored.
    pub(crate) fn advance(&mut self, n: usize) {
        self.len += n;
    }

    /// Forgets all but the first `len` tokens.
    pub(crate) fn truncate(&mut self, len: usize) {
        self.len = self.len.min(len);
    }

    pub(crate) fn usage(&self) -> KvUsage {
        let used_bytes = self.bytes_per_token * self.len as u64 / self.layers.len().max(1) as u64;
        KvUsage {
            layers: self
                .layers
                .iter()
                .map(|layer| {
                    let ranges = [&layer.keys, &layer.values].map(address_range);
                    KvLayer {
                        reserved_bytes: ranges.iter().map(|range| range.bytes as u64).sum(),
                        used_bytes,
                        ranges: ranges.into(),
                    }
                })
                .collect(),
        }
    }
}

fn address_range(tensor: &Tensor) -> AddressRange {
    let (storage, _) = tensor.storage_and_layout();
    let start = match &*storage {
        Storage::Cpu(storage) => match storage {
            candle_core::CpuStorage::F32(values) => values.as_ptr().addr(),
            candle_core::CpuStorage::F16(values) => values.as_ptr().addr(),
            _ => unreachable!("caches are f32 or f16"),
        },
        _ => unreachable!("caches are on the CPU"),
    };
    AddressRange {
        start,
        bytes: tensor.elem_count() * tensor.dtype().size_in_bytes(),
    }
}
