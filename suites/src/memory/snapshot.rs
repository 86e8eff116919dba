//! The memory of this process at one instant.

use machine::{MemoryBreakdown, ProcessMemory};

use crate::reading::told;
use crate::{Better, Measurement};

/// Every kind of it, or why it is not known.
#[derive(Clone, Debug)]
pub(super) struct Snapshot {
    kinds: Result<MemoryBreakdown, String>,
    /// What macOS charges the process for.
    footprint: Option<u64>,
}

impl Snapshot {
    pub(super) fn take() -> Self {
        let footprint = if cfg!(target_os = "macos") {
            ProcessMemory::sample().phys_footprint_bytes
        } else {
            None
        };
        Self {
            kinds: MemoryBreakdown::sample().map_err(|why| why.to_string()),
            footprint,
        }
    }

    fn get(&self, kind: impl Fn(&MemoryBreakdown) -> u64) -> Result<f64, String> {
        let kinds = self.kinds.as_ref().map_err(Clone::clone)?;
        Ok(kind(kinds) as f64)
    }

    /// A kind that only Linux counts.
    fn on_linux(&self, kind: impl Fn(&MemoryBreakdown) -> Option<u64>) -> Result<f64, String> {
        let kinds = self.kinds.as_ref().map_err(Clone::clone)?;
        match kind(kinds) {
            Some(bytes) => Ok(bytes as f64),
            None => Err("only Linux counts it".into()),
        }
    }

    pub(super) fn rss_bytes(&self) -> Result<f64, String> {
        self.get(|kinds| kinds.rss_bytes)
    }

    pub(super) fn anonymous_bytes(&self) -> Result<f64, String> {
        self.get(|kinds| kinds.anonymous_bytes)
    }

    pub(super) fn file_mapped_bytes(&self) -> Result<f64, String> {
        self.get(|kinds| kinds.file_mapped_bytes)
    }

    /// Anonymous memory, swapped or not: what an engine takes for itself.
    pub(super) fn committed_bytes(&self) -> Result<f64, String> {
        self.get(MemoryBreakdown::committed_bytes)
    }

    pub(super) fn committed_since(&self, before: &Self) -> Result<f64, String> {
        Ok(self.committed_bytes()? - before.committed_bytes()?)
    }

    /// One figure for each kind of memory.
    pub(super) fn measurements(&self, case: &'static str) -> Vec<Measurement> {
        let footprint = match self.footprint {
            Some(bytes) => Ok(bytes as f64),
            None => Err("only macOS counts it".into()),
        };
        [
            ("rss_bytes", self.rss_bytes()),
            ("pss_bytes", self.on_linux(|kinds| kinds.pss_bytes)),
            ("private_bytes", self.on_linux(|kinds| kinds.private_bytes)),
            ("anonymous_bytes", self.anonymous_bytes()),
            ("file_mapped_bytes", self.file_mapped_bytes()),
            (
                "huge_page_bytes",
                self.on_linux(|kinds| kinds.huge_page_bytes),
            ),
            ("swapped_bytes", self.get(|kinds| kinds.swapped_bytes)),
            ("phys_footprint_bytes", footprint),
        ]
        .map(|(metric, value)| told(case, metric, "B", Better::Lower, value, 1))
        .into()
    }
}
