//! A decoder in device memory, and the passes over it.

use engine::{EngineError, NumberFormat};
use reference::Source;
use reference::decoder::{
    Activation, Block, Hyperparameters, Linear, Network, Norm, NormKind, Pairing, Rope,
    StoredMatrix, Weights as Tensors,
};

use crate::device::Device;
use crate::fault;
use crate::ops::{Cache, Heads, NormWeights, ProductStyle, Put, Scores, Stored, Tokens, Turn};
use crate::options::Options;
use crate::record::Recorder;
use crate::session::{Activations, LayerCache};
use crate::shader::Weights;
use crate::tensor::{Matrix, Rows};

pub(crate) struct Decoder {
    pub(crate) network: Network<Matrix>,
    blocks: Vec<BlockVectors>,
    output_norm: NormWeights,
    head_bias: Option<wgpu::Buffer>,
    style: ProductStyle,
}

/// The vectors of a block; its matrices are in the network.
struct BlockVectors {
    attention_norm: NormWeights,
    qk_norms: Option<[NormWeights; 2]>,
    attention_post_norm: Option<NormWeights>,
    ffn_norm: Option<NormWeights>,
    ffn_post_norm: Option<NormWeights>,
    query: Option<wgpu::Buffer>,
    key: Option<wgpu::Buffer>,
    value: Option<wgpu::Buffer>,
    output: Option<wgpu::Buffer>,
    gate: Option<wgpu::Buffer>,
    up: Option<wgpu::Buffer>,
    down: Option<wgpu::Buffer>,
}

impl Decoder {
    pub(crate) fn load(
        device: &Device,
        source: &Source,
        options: &Options,
    ) -> Result<Self, EngineError> {
        let mut shape = Hyperparameters::read(source)?;
        if let Some(context) = options.context {
            shape.config.context = shape.config.context.min(context.get());
        }
        if !shape.config.head_dim.is_multiple_of(4) {
            return Err(fault::unsupported(format!(
                "heads of {} dimensions; the attention kernel reads four at a time",
                shape.config.head_dim
            )));
        }
        let norm = shape.norm;
        let tensors = Tensors::new(source, options.numerics.weights);
        let half = options.numerics.activations == NumberFormat::F16;
        let network = Network::load(shape, &tensors, |matrix| {
            let matrix = upload(device, &matrix)?;
            device.tune(matrix.weights, half)?;
            Ok(matrix)
        })?;
        device.wait()?;
        let vectors = Vectors { device, norm };
        let blocks = network.blocks.iter().map(|block| vectors.block(block));
        Ok(Self {
            blocks: blocks.collect::<Result<_, _>>()?,
            output_norm: vectors.norm(&network.output_norm)?,
            head_bias: vectors.optional(network.head_bias.as_ref())?,
            style: ProductStyle { half, choice: None },
            network,
        })
    }

    pub(crate) fn shape(&self) -> &Hyperparameters {
        &self.network.shape
    }

    pub(crate) fn heads(&self) -> Heads {
        let c = &self.shape().config;
        Heads {
            count: c.heads,
            kv: c.kv_heads,
            dim: c.head_dim,
        }
    }

    /// Rotations of layers that are not local and of those that are, if any are.
    pub(crate) fn ropes(&self) -> [Option<&Rope>; 2] {
        let Some(ropes) = &self.network.ropes else {
            return [None; 2];
        };
        let any = |local| {
            self.shape()
                .layers
                .iter()
                .any(|layer| layer.local_rope == local)
        };
        [false, true].map(|local| any(local).then(|| ropes.of(local)))
    }

    /// Records the pass of `tokens` new tokens behind `start`, whose ids and angles are in `to`, and
    /// the logits of the last `wanted` of them.
    pub(crate) fn record(
        &self,
        recorder: &mut Recorder<'_>,
        to: &Activations,
        caches: &[LayerCache],
        (start, tokens): (usize, usize),
        wanted: usize,
    ) -> Result<(), EngineError> {
        let shape = self.shape();
        let network = &self.network;
        let scale = shape.embedding_scale;
        recorder.embed(
            &network.embedding,
            &to.ids,
            (None, tokens),
            scale,
            &to.stream,
        )?;
        if let Some(positions) = &network.positions {
            recorder.embed(positions, &to.ids, (Some(start), tokens), 1.0, &to.stream)?;
        }
        for (index, (block, vectors)) in network.blocks.iter().zip(&self.blocks).enumerate() {
            recorder.norm(
                &vectors.attention_norm,
                &to.stream,
                &to.normed,
                (tokens, 1),
                Put::Store,
            )?;
            let at = (start, tokens);
            self.attention(recorder, (block, vectors), index, to, &caches[index], at)?;
            let product = (&block.output, vectors.output.as_ref());
            let post = vectors.attention_post_norm.as_ref();
            self.add_to_stream(recorder, product, &to.mix, post, to, tokens)?;
            if let Some(norm) = &vectors.ffn_norm {
                recorder.norm(norm, &to.stream, &to.normed, (tokens, 1), Put::Store)?;
            }
            self.feed_forward(recorder, (block, vectors), to, tokens)?;
        }
        if wanted > 0 {
            recorder.norm(
                &self.output_norm,
                &to.stream,
                &to.normed,
                (tokens, 1),
                Put::Store,
            )?;
            let head = network.head.as_ref().unwrap_or(&network.embedding);
            let x = Tokens {
                rows: &to.normed,
                first: tokens - wanted,
                count: wanted,
            };
            let y = Tokens::first(&to.logits, wanted);
            recorder.product(head, x, self.head_bias.as_ref(), y, Put::Store, self.style)?;
        }
        Ok(())
    }

    fn attention(
        &self,
        recorder: &mut Recorder<'_>,
        (block, vectors): (&Block<Matrix>, &BlockVectors),
        layer: usize,
        to: &Activations,
        cache: &LayerCache,
        (start, tokens): (usize, usize),
    ) -> Result<(), EngineError> {
        let shape = self.shape();
        let heads = self.heads();
        let all = |rows| Tokens::first(rows, tokens);
        for (linear, bias, out) in [
            (&block.query, &vectors.query, &to.query),
            (&block.key, &vectors.key, &to.key),
            (&block.value, &vectors.value, &to.value),
        ] {
            let (x, y) = (all(&to.normed), all(out));
            recorder.product(&linear.weight, x, bias.as_ref(), y, Put::Store, self.style)?;
        }
        // Norms and rotations cannot be done in place, so queries and keys go to and fro.
        let [mut query, mut query_to] = [&to.query, &to.query_turned];
        let mut key = &to.key;
        if let Some([query_norm, key_norm]) = &vectors.qk_norms {
            recorder.norm(
                query_norm,
                query,
                query_to,
                (tokens, heads.count),
                Put::Store,
            )?;
            recorder.norm(
                key_norm,
                key,
                &to.key_normed,
                (tokens, heads.kv),
                Put::Store,
            )?;
            std::mem::swap(&mut query, &mut query_to);
            key = &to.key_normed;
        }
        let local = shape.layers[layer].local_rope;
        let still = Turn {
            rotated: 0,
            halves: false,
            angles: &to.angles[0],
        };
        let turn = match &self.network.ropes {
            None => still,
            Some(ropes) => Turn {
                rotated: ropes.of(local).dims,
                halves: ropes.of(local).pairing == Pairing::Halves,
                angles: &to.angles[usize::from(local)],
            },
        };
        if turn.rotated > 0 {
            let out = Stored {
                buffer: &query_to.buffer,
                first: 0,
                stride: query_to.stride,
                half: false,
            };
            recorder.rope(query, tokens, heads.dim, turn, out)?;
            std::mem::swap(&mut query, &mut query_to);
        }
        let width = heads.kv * heads.dim;
        for (rows, turn, buffer) in [(key, turn, &cache.keys), (&to.value, still, &cache.values)] {
            let out = Stored {
                buffer,
                first: start * width,
                stride: width,
                half: cache.half,
            };
            recorder.rope(rows, tokens, heads.dim, turn, out)?;
        }
        let held = Cache {
            keys: &cache.keys,
            values: &cache.values,
            half: cache.half,
        };
        let scores = Scores {
            scale: shape.attention_scale,
            cap: shape.attention_softcap.unwrap_or(0.0),
            window: shape.layers[layer].window,
        };
        recorder.attend(
            query,
            &held,
            heads,
            scores,
            (start, tokens),
            (&to.mix, &to.partial),
        )
    }

    fn feed_forward(
        &self,
        recorder: &mut Recorder<'_>,
        (block, vectors): (&Block<Matrix>, &BlockVectors),
        to: &Activations,
        tokens: usize,
    ) -> Result<(), EngineError> {
        let all = |rows| Tokens::first(rows, tokens);
        let x = all(&to.normed);
        recorder.product(
            &block.up.weight,
            x,
            vectors.up.as_ref(),
            all(&to.up),
            Put::Store,
            self.style,
        )?;
        let gate = match &block.gate {
            None => None,
            Some(gate) => {
                let bias = vectors.gate.as_ref();
                recorder.product(&gate.weight, x, bias, all(&to.gate), Put::Store, self.style)?;
                Some(&to.gate)
            }
        };
        let gelu = self.shape().activation == Activation::GeluTanh;
        recorder.activate(gate, &to.up, gelu, tokens, &to.inner)?;
        let product = (&block.down, vectors.down.as_ref());
        let post = vectors.ffn_post_norm.as_ref();
        self.add_to_stream(recorder, product, &to.inner, post, to, tokens)
    }

    /// Adds a product to the residual stream, normalised first where the model does so.
    fn add_to_stream(
        &self,
        recorder: &mut Recorder<'_>,
        (linear, bias): (&Linear<Matrix>, Option<&wgpu::Buffer>),
        x: &Rows,
        post: Option<&NormWeights>,
        to: &Activations,
        tokens: usize,
    ) -> Result<(), EngineError> {
        let all = |rows| Tokens::first(rows, tokens);
        let Some(norm) = post else {
            let y = all(&to.stream);
            return recorder.product(&linear.weight, all(x), bias, y, Put::Add, self.style);
        };
        let y = all(&to.output);
        recorder.product(&linear.weight, all(x), bias, y, Put::Store, self.style)?;
        recorder.norm(norm, &to.output, &to.stream, (tokens, 1), Put::Add)
    }
}

/// A matrix in its own format, or in f32 where no kernel reads that.
fn upload(device: &Device, matrix: &StoredMatrix) -> Result<Matrix, EngineError> {
    let shape = (matrix.rows, matrix.columns);
    let format = Weights::ALL
        .into_iter()
        .find(|weights| weights.name() == matrix.ggml_type.name());
    match format {
        Some(weights) => Matrix::upload(device, "weights", weights, shape, matrix.bytes()),
        None => {
            let values = matrix.to_f32().map_err(|error| {
                fault::unsupported(format!("a matrix that cannot be read: {error}"))
            })?;
            let bytes = bytemuck::cast_slice(&values);
            Matrix::upload(device, "weights", Weights::F32, shape, bytes)
        }
    }
}

/// Uploads vectors.
struct Vectors<'a> {
    device: &'a Device,
    norm: NormKind,
}

impl Vectors<'_> {
    fn block(&self, block: &Block<Matrix>) -> Result<BlockVectors, EngineError> {
        let bias = |linear: &Linear<Matrix>| self.optional(linear.bias.as_ref());
        let norm = |norm: &Option<Norm>| norm.as_ref().map(|norm| self.norm(norm)).transpose();
        Ok(BlockVectors {
            attention_norm: self.norm(&block.attention_norm)?,
            qk_norms: match (norm(&block.query_norm)?, norm(&block.key_norm)?) {
                (Some(query), Some(key)) => Some([query, key]),
                _ => None,
            },
            attention_post_norm: norm(&block.attention_post_norm)?,
            ffn_norm: norm(&block.ffn_norm)?,
            ffn_post_norm: norm(&block.ffn_post_norm)?,
            query: bias(&block.query)?,
            key: bias(&block.key)?,
            value: bias(&block.value)?,
            output: bias(&block.output)?,
            gate: block.gate.as_ref().map_or(Ok(None), bias)?,
            up: bias(&block.up)?,
            down: bias(&block.down)?,
        })
    }

    fn norm(&self, norm: &Norm) -> Result<NormWeights, EngineError> {
        let (layer, epsilon) = match self.norm {
            NormKind::Rms { epsilon } => (false, epsilon),
            NormKind::Layer { epsilon } => (true, epsilon),
        };
        Ok(NormWeights {
            weight: self.vector(&norm.weight)?,
            bias: self.optional(norm.bias.as_ref())?,
            layer,
            epsilon,
        })
    }

    fn optional(&self, values: Option<&Vec<f32>>) -> Result<Option<wgpu::Buffer>, EngineError> {
        values.map(|values| self.vector(values)).transpose()
    }

    fn vector(&self, values: &[f32]) -> Result<wgpu::Buffer, EngineError> {
        self.device.upload("vectors", bytemuck::cast_slice(values))
    }
}
