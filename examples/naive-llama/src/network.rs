//! The arithmetic of a Llama decoder, one token at a time.

use std::collections::HashMap;

use engine::{EngineError, FailureKind, ModelArtifact, ModelConfig};
use reference::{Source, quant};

/// A model's weights in f32.
pub(crate) struct Network {
    pub(crate) config: ModelConfig,
    epsilon: f32,
    rope_base: f32,
    /// By their names in the file; a matrix row by row, one row an output.
    tensors: HashMap<String, Vec<f32>>,
}

/// Keys and values of a layer, one row a token.
pub(crate) struct LayerCache {
    pub(crate) keys: Vec<f32>,
    pub(crate) values: Vec<f32>,
}

impl LayerCache {
    pub(crate) fn truncate(&mut self, floats: usize) {
        self.keys.truncate(floats);
        self.values.truncate(floats);
    }
}

impl Network {
    pub(crate) fn load(model: &ModelArtifact) -> Result<Self, EngineError> {
        let broken = |why: String| EngineError::new(FailureKind::Load, format!("{model}: {why}"));
        let source = Source::open(model)?;
        let metadata = source.metadata();
        let size = |key: &str| {
            let value = metadata.get::<u32>(&format!("llama.{key}"));
            value
                .map(|n| n as usize)
                .map_err(|error| broken(error.to_string()))
        };
        let real = |key: &str| {
            let value = metadata.get::<f32>(&format!("llama.{key}"));
            value.map_err(|error| broken(error.to_string()))
        };
        if metadata.get("general.architecture").ok() != Some("llama")
            || source.entry("blk.0.attn_q.bias").is_some()
            || source.entry("rope_freqs.weight").is_some()
        {
            let why = format!("{model}: only plain Llama models run here");
            return Err(EngineError::new(FailureKind::Unsupported, why));
        }
        let mut tensors = HashMap::new();
        for stored in source
            .tensors()
            .iter()
            .filter_map(|t| source.tensor(&t.name))
        {
            let mut values = vec![0.0; stored.entry.elements()];
            quant::dequantize(stored.entry.ggml_type, &stored.bytes, &mut values)
                .map_err(|error| broken(error.to_string()))?;
            tensors.insert(stored.entry.name.clone(), values);
        }
        let (hidden, heads) = (size("embedding_length")?, size("attention.head_count")?);
        let embedding = source.entry("token_embd.weight");
        let config = ModelConfig {
            architecture: "llama".into(),
            layers: size("block_count")?,
            hidden,
            feed_forward: size("feed_forward_length")?,
            heads,
            kv_heads: size("attention.head_count_kv")?,
            head_dim: hidden / heads,
            vocab: embedding.map_or(0, |entry| entry.shape[0]),
            context: size("context_length")?,
            parameters: tensors.values().map(|tensor| tensor.len() as u64).sum(),
        };
        Ok(Self {
            config,
            epsilon: real("attention.layer_norm_rms_epsilon")?,
            rope_base: real("rope.freq_base")?,
            tensors,
        })
    }

    /// Floats that keys, or values, of one token take in a layer.
    pub(crate) fn kv_width(&self) -> usize {
        self.config.kv_heads * self.config.head_dim
    }

    /// An empty cache with room for the whole context.
    pub(crate) fn cache(&self) -> Vec<LayerCache> {
        let room = || Vec::with_capacity(self.config.context * self.kv_width());
        let layer = |_| LayerCache {
            keys: room(),
            values: room(),
        };
        (0..self.config.layers).map(layer).collect()
    }

    /// Appends `token` at `position` and returns its final hidden state, normalised.
    pub(crate) fn step(&self, cache: &mut [LayerCache], position: usize, token: usize) -> Vec<f32> {
        let hidden = self.config.hidden;
        let mut stream = self.tensors["token_embd.weight"][token * hidden..][..hidden].to_vec();
        for (layer, cache) in cache.iter_mut().enumerate() {
            let name = |part: &str| format!("blk.{layer}.{part}.weight");
            let input = self.norm(&stream, &name("attn_norm"));
            let mut query = self.product(&name("attn_q"), &input);
            let mut key = self.product(&name("attn_k"), &input);
            self.rotate(&mut query, position);
            self.rotate(&mut key, position);
            cache.keys.extend(key);
            cache.values.extend(self.product(&name("attn_v"), &input));
            let attention = self.attend(&query, cache);
            add(&mut stream, &self.product(&name("attn_output"), &attention));

            let input = self.norm(&stream, &name("ffn_norm"));
            let mut inner = self.product(&name("ffn_gate"), &input);
            for (gate, up) in inner.iter_mut().zip(self.product(&name("ffn_up"), &input)) {
                *gate *= up / (1.0 + (-*gate).exp());
            }
            add(&mut stream, &self.product(&name("ffn_down"), &inner));
        }
        self.norm(&stream, "output_norm.weight")
    }

    /// A score for every token of the vocabulary. The output matrix may be the embedding.
    pub(crate) fn logits(&self, hidden: &[f32]) -> Vec<f32> {
        let own = self.tensors.contains_key("output.weight");
        self.product(
            if own {
                "output.weight"
            } else {
                "token_embd.weight"
            },
            hidden,
        )
    }

    fn product(&self, matrix: &str, vector: &[f32]) -> Vec<f32> {
        let rows = self.tensors[matrix].chunks_exact(vector.len());
        rows.map(|row| dot(row, vector)).collect()
    }

    fn norm(&self, vector: &[f32], weight: &str) -> Vec<f32> {
        let mean_square = dot(vector, vector) / vector.len() as f32;
        let scale = (mean_square + self.epsilon).sqrt().recip();
        let weights = &self.tensors[weight];
        vector
            .iter()
            .zip(weights)
            .map(|(x, w)| x * scale * w)
            .collect()
    }

    /// Rotary embedding of neighbouring pairs, which is how GGUF lays out Llama's heads.
    fn rotate(&self, heads: &mut [f32], position: usize) {
        let dim = self.config.head_dim;
        for head in heads.chunks_exact_mut(dim) {
            for (pair, values) in head.chunks_exact_mut(2).enumerate() {
                let exponent = (2 * pair) as f64 / dim as f64;
                let angle = position as f64 * f64::from(self.rope_base).powf(-exponent);
                let (sin, cos) = (angle.sin() as f32, angle.cos() as f32);
                let (a, b) = (values[0], values[1]);
                (values[0], values[1]) = (a * cos - b * sin, a * sin + b * cos);
            }
        }
    }

    /// What every head of `query` gathers from the tokens in `cache`, heads one after the other.
    fn attend(&self, query: &[f32], cache: &LayerCache) -> Vec<f32> {
        let dim = self.config.head_dim;
        let group = self.config.heads / self.config.kv_heads;
        let mut gathered = vec![0.0; query.len()];
        let heads = query.chunks_exact(dim).zip(gathered.chunks_exact_mut(dim));
        for (head, (query, gathered)) in heads.enumerate() {
            let rows = |part| columns(part, self.kv_width(), head / group * dim, dim);
            let scale = (dim as f32).sqrt().recip();
            let mut weights: Vec<f32> = rows(&cache.keys)
                .map(|key| dot(query, key) * scale)
                .collect();
            let greatest = weights.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            for weight in &mut weights {
                *weight = (*weight - greatest).exp();
            }
            let total: f32 = weights.iter().sum();
            for (weight, value) in weights.iter().zip(rows(&cache.values)) {
                for (sum, x) in gathered.iter_mut().zip(value) {
                    *sum += weight / total * x;
                }
            }
        }
        gathered
    }
}

/// `len` floats from place `at` on, of every row of `width`.
fn columns(rows: &[f32], width: usize, at: usize, len: usize) -> impl Iterator<Item = &[f32]> {
    rows.chunks_exact(width).map(move |row| &row[at..at + len])
}

/// Eight sums side by side, which the compiler turns into vector instructions.
fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut sums = [0.0; 8];
    let (a_chunks, b_chunks) = (a.chunks_exact(8), b.chunks_exact(8));
    let rest = a_chunks.remainder().iter().zip(b_chunks.remainder());
    let rest: f32 = rest.map(|(x, y)| x * y).sum();
    for (x, y) in a_chunks.zip(b_chunks) {
        for lane in 0..8 {
            sums[lane] += x[lane] * y[lane];
        }
    }
    sums.iter().sum::<f32>() + rest
}

fn add(stream: &mut [f32], update: &[f32]) {
    for (x, y) in stream.iter_mut().zip(update) {
        *x += y;
    }
}
