//! One look at a session's KV cache.

use std::ops::Range;

use engine::{EngineError, FailureKind, KvLayer, KvUsage, Model, Session};
use machine::Residency;

/// What a cache is said to hold, and where its bytes are found.
#[derive(Debug)]
pub(super) struct Reading {
    /// Tokens in the context.
    pub(super) len: usize,
    pub(super) usage: KvUsage,
    /// One entry a layer, or why there is none.
    pub(super) residency: Result<Vec<Residency>, String>,
}

impl Reading {
    /// # Errors
    /// [`FailureKind::Protocol`] when the engine declared that it can tell, and does not.
    pub(super) fn of(session: &dyn Session, model: &dyn Model) -> Result<Self, EngineError> {
        let protocol = |why: String| EngineError::new(FailureKind::Protocol, why);
        let usage = session
            .kv()
            .ok_or_else(|| protocol("declared, but Session::kv() tells nothing".into()))?;
        let (told, layers) = (usage.layers.len(), model.config().layers);
        if told != layers {
            return Err(protocol(format!(
                "Session::kv() tells of {told} layers of {layers}"
            )));
        }
        Ok(Self {
            len: session.len(),
            residency: usage.layers.iter().map(residency).collect(),
            usage,
        })
    }

    pub(super) fn used_bytes(&self) -> f64 {
        self.usage.used_bytes() as f64
    }

    /// Bytes in physical memory, all layers together.
    pub(super) fn resident_bytes(&self) -> Result<f64, String> {
        self.sum(|layer| layer.resident_bytes)
    }

    /// Bytes moved out of it.
    pub(super) fn swapped_bytes(&self) -> Result<f64, String> {
        self.sum(|layer| layer.swapped_bytes)
    }

    fn sum(&self, part: impl Fn(&Residency) -> u64) -> Result<f64, String> {
        match &self.residency {
            Ok(layers) => Ok(layers.iter().map(part).sum::<u64>() as f64),
            Err(why) => Err(why.clone()),
        }
    }

    /// How large the pages under the cache may be.
    pub(super) fn granule_bytes(&self) -> Result<u64, String> {
        machine::page_granule_bytes(&self.ranges()).map_err(|why| why.to_string())
    }

    /// Where the whole cache is.
    pub(super) fn ranges(&self) -> Vec<Range<usize>> {
        self.usage.layers.iter().flat_map(ranges).collect()
    }
}

fn residency(layer: &KvLayer) -> Result<Residency, String> {
    if layer.ranges.is_empty() {
        return Err("the engine does not say where in this process its cache is".into());
    }
    let ranges: Vec<_> = ranges(layer).collect();
    Residency::of(&ranges).map_err(|why| why.to_string())
}

fn ranges(layer: &KvLayer) -> impl Iterator<Item = Range<usize>> {
    let whole = |range: &engine::AddressRange| range.start..range.start.saturating_add(range.bytes);
    layer.ranges.iter().map(whole)
}
