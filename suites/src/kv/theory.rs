//! What a KV cache must take, and how much more its pages can.

use engine::{EvictionPolicy, KvLayer, ModelConfig, Numerics};

/// Bytes of keys and values by the shape of the model and the format they are stored in.
#[derive(Clone, Copy, Debug)]
pub(super) struct Theory {
    /// Of one token in one layer: `2 · kv_heads · head_dim` values of so many bits each, scales
    /// of blocks included (8.5 bits for q8_0: 32 values in 34 bytes).
    pub(super) token_layer_bytes: f64,
}

impl Theory {
    pub(super) fn new(config: &ModelConfig, numerics: Numerics) -> Self {
        let values = 2 * config.kv_heads * config.head_dim;
        Self {
            token_layer_bytes: values as f64 * numerics.kv.bits_per_weight() / 8.0,
        }
    }

    /// Bytes that `layer` uses when the context holds `len` tokens.
    pub(super) fn used_bytes(self, layer: &KvLayer, len: usize) -> f64 {
        self.token_layer_bytes * held(layer, len) as f64
    }
}

/// Tokens of a context of `len` that `layer` holds.
fn held(layer: &KvLayer, len: usize) -> usize {
    match layer.policy {
        EvictionPolicy::None => len,
        EvictionPolicy::Window { tokens } => len.min(tokens),
    }
}

/// What lies on the same pages: of each range one at either end is used in part, or borders
/// on something else that is.
pub(super) fn slack_bytes(layer: &KvLayer, granule_bytes: u64) -> u64 {
    2 * granule_bytes * layer.ranges.len() as u64
}

#[cfg(test)]
mod tests {
    use engine::NumberFormat;

    use super::*;

    fn theory(kv: NumberFormat) -> f64 {
        let config = ModelConfig {
            architecture: "llama".into(),
            layers: 30,
            hidden: 576,
            feed_forward: 1536,
            heads: 9,
            kv_heads: 3,
            head_dim: 64,
            vocab: 49_152,
            context: 2048,
            parameters: 134_515_008,
        };
        let numerics = Numerics {
            weights: NumberFormat::F32,
            activations: NumberFormat::F32,
            kv,
        };
        let bytes = Theory::new(&config, numerics).token_layer_bytes;
        if matches!(kv, NumberFormat::F32 | NumberFormat::F16) {
            let element = if kv == NumberFormat::F32 { 4 } else { 2 };
            let per_layer = config.kv_bytes_per_token(element) / config.layers as u64;
            assert_eq!(bytes, per_layer as f64);
        }
        bytes
    }

    #[test]
    fn formats_take_what_their_layout_says() {
        // SmolLM2-135M: 2 · 3 · 64 values, twelve blocks of 32.
        assert_eq!(theory(NumberFormat::F32), 384.0 * 4.0);
        assert_eq!(theory(NumberFormat::F16), 384.0 * 2.0);
        assert_eq!(theory(NumberFormat::Q8_0), 12.0 * 34.0);
    }
}
