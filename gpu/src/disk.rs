//! What is worth keeping between runs: compiled pipelines, where the driver hands them out.

use std::fs;
use std::path::{Path, PathBuf};

/// The cache of one kind of device, in a folder of the user's.
pub(crate) struct Disk {
    pipelines: Option<(wgpu::PipelineCache, PathBuf)>,
}

impl Disk {
    /// The cache for devices like `device`; none where the driver or the system offers none.
    pub(crate) fn of(
        device: &wgpu::Device,
        info: &wgpu::AdapterInfo,
        features: wgpu::Features,
    ) -> Self {
        let pipelines = features
            .contains(wgpu::Features::PIPELINE_CACHE)
            .then(|| Some(folder()?.join(wgpu::util::pipeline_cache_key(info)?)))
            .flatten()
            .map(|path| (open(device, &path), path));
        Self { pipelines }
    }

    /// For the making of pipelines.
    pub(crate) fn pipelines(&self) -> Option<&wgpu::PipelineCache> {
        self.pipelines.as_ref().map(|(cache, _)| cache)
    }

    /// Keeps what was compiled. A cache that cannot be kept is no failure: the next run compiles.
    pub(crate) fn save(&self) {
        let Some((cache, path)) = &self.pipelines else {
            return;
        };
        if let Some(data) = cache.get_data() {
            replace(path, &data);
        }
    }
}

/// Writes `data` to `path`, whole or not at all, whoever else writes it; if it cannot be kept, it
/// is not.
pub(crate) fn replace(path: &Path, data: &[u8]) {
    let folder = path.parent().map(fs::create_dir_all);
    if fs::read(path).is_ok_and(|old| old == data) || !matches!(folder, Some(Ok(()))) {
        return;
    }
    let new = path.with_extension(format!("{}", std::process::id()));
    if fs::write(&new, data).is_ok() && fs::rename(&new, path).is_err() {
        let _ = fs::remove_file(&new);
    }
}

fn open(device: &wgpu::Device, path: &Path) -> wgpu::PipelineCache {
    let data = fs::read(path).ok();
    // SAFETY: the file is named by `pipeline_cache_key` and written by `save` alone, from
    // `get_data`; wgpu checks its header, and falls back to an empty cache.
    unsafe {
        device.create_pipeline_cache(&wgpu::PipelineCacheDescriptor {
            label: Some("harness"),
            data: data.as_deref(),
            fallback: true,
        })
    }
}

/// `$XDG_CACHE_HOME/harness` or `~/.cache/harness`.
pub(crate) fn folder() -> Option<PathBuf> {
    let absolute = |name| {
        std::env::var_os(name)
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
    };
    let cache = absolute("XDG_CACHE_HOME").or_else(|| Some(absolute("HOME")?.join(".cache")))?;
    Some(cache.join("harness"))
}
