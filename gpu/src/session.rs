//! The seam's `Model` and `Session` over a decoder in device memory.

use engine::{
    EngineError, EvictionPolicy, Kernels, KvLayer, KvUsage, Logits, Model, ModelConfig,
    NumberFormat, Numerics, Session, TokenId, Want,
};
use reference::Source;

use crate::decoder::Decoder;
use crate::device::Device;
use crate::fault;
use crate::ops::partial_values;
use crate::options::Options;
use crate::record::{Recorder, Workspace};
use crate::tensor::Rows;

/// Tokens that pass through a decoder together. Longer prompts go in pieces of this size, which
/// bounds the memory of activations.
const PIECE: usize = 256;
/// Bytes of logits that a piece may leave.
const LOGITS_BYTES: usize = 64 << 20;

pub(crate) struct GpuModel {
    // Before the device: buffers go first.
    decoder: Decoder,
    device: Device,
    numerics: Numerics,
}

impl GpuModel {
    pub(crate) fn load(
        device: Device,
        source: &Source,
        options: &Options,
    ) -> Result<Self, EngineError> {
        Ok(Self {
            decoder: Decoder::load(&device, source, options)?,
            device,
            numerics: options.numerics,
        })
    }

    fn piece(&self) -> usize {
        let c = self.config();
        (LOGITS_BYTES / (4 * c.vocab))
            .clamp(1, PIECE)
            .min(c.context)
    }
}

impl Model for GpuModel {
    fn config(&self) -> &ModelConfig {
        &self.decoder.shape().config
    }

    fn numerics(&self) -> Numerics {
        self.numerics
    }

    fn session(&self) -> Result<Box<dyn Session + '_>, EngineError> {
        let half = self.numerics.kv == NumberFormat::F16;
        let c = self.config();
        let bytes = (c.context * c.kv_heads * c.head_dim * if half { 2 } else { 4 }) as u64;
        let what = format!(
            "the KV cache of a layer ({} tokens in {}; shorten it with ctx=N, or store it as kv=f16)",
            c.context, self.numerics.kv
        );
        let caches = (0..c.layers)
            .map(|_| {
                Ok(LayerCache {
                    keys: self.device.storage(&what, bytes)?,
                    values: self.device.storage(&what, bytes)?,
                    half,
                })
            })
            .collect::<Result<_, EngineError>>()?;
        Ok(Box::new(GpuSession {
            activations: Activations::new(&self.device, &self.decoder, self.piece())?,
            model: self,
            caches,
            workspace: Workspace::default(),
            len: 0,
        }))
    }

    fn kernels(&self) -> Option<&dyn Kernels> {
        Some(&self.device)
    }

    fn shared(&self) -> Option<&(dyn Model + Sync)> {
        Some(self)
    }
}

/// Keys and values of a layer, `[context, kv_heads · head_dim]`.
pub(crate) struct LayerCache {
    pub(crate) keys: wgpu::Buffer,
    pub(crate) values: wgpu::Buffer,
    pub(crate) half: bool,
}

/// Where a pass keeps what it computes, for a piece of tokens.
pub(crate) struct Activations {
    pub(crate) ids: wgpu::Buffer,
    /// Cosines and sines of layers that are not local, and of those that are.
    pub(crate) angles: [wgpu::Buffer; 2],
    pub(crate) stream: Rows,
    pub(crate) normed: Rows,
    pub(crate) query: Rows,
    pub(crate) query_turned: Rows,
    pub(crate) key: Rows,
    pub(crate) key_normed: Rows,
    pub(crate) value: Rows,
    pub(crate) partial: wgpu::Buffer,
    pub(crate) mix: Rows,
    pub(crate) gate: Rows,
    pub(crate) up: Rows,
    pub(crate) inner: Rows,
    pub(crate) output: Rows,
    pub(crate) logits: Rows,
}

impl Activations {
    fn new(device: &Device, decoder: &Decoder, piece: usize) -> Result<Self, EngineError> {
        let c = &decoder.shape().config;
        let heads = decoder.heads();
        let rows = |width| Rows::new(device, "activations", piece, width);
        let (query, key) = (c.heads * c.head_dim, c.kv_heads * c.head_dim);
        let angles = |rope: Option<&reference::decoder::Rope>| {
            let pairs = rope.map_or(0, |rope| rope.dims / 2);
            device.storage("angles", (8 * piece * pairs) as u64)
        };
        let [global, local] = decoder.ropes();
        Ok(Self {
            ids: device.storage("token ids", 4 * piece as u64)?,
            angles: [angles(global)?, angles(local)?],
            stream: rows(c.hidden)?,
            normed: rows(c.hidden)?,
            query: rows(query)?,
            query_turned: rows(query)?,
            key: rows(key)?,
            key_normed: rows(key)?,
            value: rows(key)?,
            partial: device.storage("parts of attention", 4 * partial_values(heads) as u64)?,
            mix: rows(query)?,
            gate: rows(c.feed_forward)?,
            up: rows(c.feed_forward)?,
            inner: rows(c.feed_forward)?,
            output: rows(c.hidden)?,
            logits: rows(c.vocab)?,
        })
    }

    /// Writes what a pass of `tokens` behind `start` reads.
    fn fill(&self, device: &Device, decoder: &Decoder, start: usize, tokens: &[TokenId]) {
        device.write(&self.ids, bytemuck::cast_slice(tokens));
        for (rope, buffer) in decoder.ropes().into_iter().zip(&self.angles) {
            let Some(rope) = rope else { continue };
            let angles: Vec<[f32; 2]> = (start..start + tokens.len())
                .flat_map(|position| (0..rope.dims / 2).map(move |pair| (pair, position)))
                .map(|(pair, position)| rope.angle(pair, position).into())
                .collect();
            device.write(buffer, bytemuck::cast_slice(&angles));
        }
    }
}

struct GpuSession<'a> {
    model: &'a GpuModel,
    activations: Activations,
    caches: Vec<LayerCache>,
    workspace: Workspace,
    len: usize,
}

impl GpuSession<'_> {
    /// Appends a piece of a prompt behind `start`, in one submission, and writes the logits of its
    /// last tokens, as many as fit `logits`.
    fn run(
        &mut self,
        start: usize,
        piece: &[TokenId],
        logits: &mut [f32],
    ) -> Result<(), EngineError> {
        let GpuModel {
            decoder, device, ..
        } = self.model;
        let vocab = decoder.shape().config.vocab;
        let wanted = logits.len() / vocab;
        let to = &self.activations;
        to.fill(device, decoder, start, piece);
        let mut recorder = Recorder::new(device, &mut self.workspace);
        decoder.record(
            &mut recorder,
            to,
            &self.caches,
            (start, piece.len()),
            wanted,
        )?;
        if wanted == 0 {
            return recorder.finish();
        }
        let stride = to.logits.stride;
        if stride == vocab {
            recorder.finish_and_read(&to.logits.buffer, 0, logits)?;
        } else {
            let mut rows = vec![0f32; wanted * stride];
            recorder.finish_and_read(&to.logits.buffer, 0, &mut rows)?;
            for (row, out) in rows.chunks(stride).zip(logits.chunks_mut(vocab)) {
                out.copy_from_slice(&row[..vocab]);
            }
        }
        if let Some(cap) = decoder.shape().logit_softcap {
            for value in logits {
                *value = cap * (*value / cap).tanh();
            }
        }
        Ok(())
    }
}

impl Session for GpuSession<'_> {
    fn extend(&mut self, tokens: &[TokenId], want: Want) -> Result<Logits, EngineError> {
        engine::check_extend(tokens, self.len, self.model.config())?;
        let vocab = self.model.config().vocab;
        let mut values = vec![0f32; want.rows(tokens.len()) * vocab];
        let mut unwanted = tokens.len() - want.rows(tokens.len());
        let mut rest = &mut values[..];
        let mut start = self.len;
        for piece in tokens.chunks(self.model.piece()) {
            let silent = unwanted.min(piece.len());
            unwanted -= silent;
            let (logits, behind) = rest.split_at_mut((piece.len() - silent) * vocab);
            rest = behind;
            self.run(start, piece, logits)?;
            start += piece.len();
        }
        // Only now: on error the context is unchanged, whatever the cache holds behind it.
        self.len = start;
        Logits::new(vocab, values).ok_or_else(|| fault::device("ragged logits"))
    }

    fn truncate(&mut self, len: usize) -> Result<(), EngineError> {
        engine::check_truncate(len, self.len)?;
        self.len = len;
        Ok(())
    }

    fn len(&self) -> usize {
        self.len
    }

    fn kv(&self) -> Option<KvUsage> {
        let config = self.model.config();
        let layers = self.caches.iter().map(|cache| {
            let reserved = cache.keys.size() + cache.values.size();
            KvLayer {
                reserved_bytes: reserved,
                used_bytes: reserved / config.context as u64 * self.len as u64,
                policy: EvictionPolicy::None,
                // In the device's memory, not in this process.
                ranges: Vec::new(),
            }
        });
        Some(KvUsage {
            layers: layers.collect(),
        })
    }
}
