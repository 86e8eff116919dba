//! The GPUs of this machine, and which one to use.

use std::sync::OnceLock;

use engine::{EngineError, FailureKind};

/// The graphics interface that an engine id forces.
///
/// ```
/// use engine::{Availability, Engine};
/// use harness_gpu::{Backend, Gpu};
///
/// let engines = Backend::ALL.map(|backend| Gpu(backend).describe());
/// assert_eq!(engines.each_ref().map(|info| info.id.as_str()), ["metal", "vulkan"]);
/// // No system has both.
/// assert!(engines.iter().any(|info| info.availability != Availability::Yes));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    /// Metal, on macOS alone.
    Metal,
    /// Vulkan, everywhere else.
    Vulkan,
}

impl Backend {
    /// Every backend.
    pub const ALL: [Self; 2] = [Self::Metal, Self::Vulkan];

    /// Id of its engine.
    #[must_use]
    pub(crate) fn id(self) -> &'static str {
        match self {
            Self::Metal => "metal",
            Self::Vulkan => "vulkan",
        }
    }

    /// Whether programs for this system are built with it.
    #[must_use]
    pub(crate) fn is_here(self) -> bool {
        (self == Self::Metal) == cfg!(target_os = "macos")
    }

    fn wgpu(self) -> wgpu::Backends {
        match self {
            Self::Metal => wgpu::Backends::METAL,
            Self::Vulkan => wgpu::Backends::VULKAN,
        }
    }

    /// Its adapters, the most capable kind first.
    pub(crate) fn adapters(self) -> Vec<wgpu::Adapter> {
        if !self.is_here() {
            return Vec::new();
        }
        let instance = wgpu::Instance::new(wgpu::InstanceDescriptor {
            backends: self.wgpu(),
            flags: wgpu::InstanceFlags::empty(),
            ..wgpu::InstanceDescriptor::new_without_display_handle()
        });
        let mut adapters = pollster::block_on(instance.enumerate_adapters(self.wgpu()));
        adapters.sort_by_key(|adapter| match adapter.get_info().device_type {
            wgpu::DeviceType::DiscreteGpu => 0,
            wgpu::DeviceType::IntegratedGpu => 1,
            wgpu::DeviceType::VirtualGpu => 2,
            wgpu::DeviceType::Other => 3,
            wgpu::DeviceType::Cpu => 4,
        });
        adapters
    }

    /// Names of its adapters, in order of choice. Asked for once: the answer costs loading drivers.
    pub(crate) fn names(self) -> &'static [String] {
        static NAMES: [OnceLock<Vec<String>>; 2] = [OnceLock::new(), OnceLock::new()];
        NAMES[self as usize].get_or_init(|| {
            let adapters = self.adapters();
            adapters
                .iter()
                .map(|adapter| name(&adapter.get_info()))
                .collect()
        })
    }

    /// The adapter whose name contains `wanted`, or the first.
    ///
    /// # Errors
    /// [`FailureKind::Device`] when there is none, [`FailureKind::InvalidInput`] when none has that
    /// name.
    pub(crate) fn choose(self, wanted: Option<&str>) -> Result<wgpu::Adapter, EngineError> {
        let mut adapters = self.adapters();
        if adapters.is_empty() {
            return Err(EngineError::new(FailureKind::Device, self.why_none()));
        }
        let Some(wanted) = wanted else {
            return Ok(adapters.swap_remove(0));
        };
        let matches = |adapter: &wgpu::Adapter| {
            name(&adapter.get_info())
                .to_lowercase()
                .contains(&wanted.to_lowercase())
        };
        match adapters.iter().position(matches) {
            Some(index) => Ok(adapters.swap_remove(index)),
            None => Err(EngineError::invalid(format!(
                "engine option `adapter={wanted}`: no adapter's name contains it; there is {}",
                self.names().join(", ")
            ))),
        }
    }

    /// Why it has no adapter.
    pub(crate) fn why_none(self) -> String {
        match self {
            _ if !self.is_here() => format!(
                "this program was built for a system without {}",
                match self {
                    Self::Metal => "Metal; that is macOS",
                    Self::Vulkan => "Vulkan; on macOS use `metal`",
                }
            ),
            Self::Metal => "there is no GPU with Metal".into(),
            Self::Vulkan => {
                "there is no Vulkan driver; install the GPU's, or Mesa 25 or later for \
                 one in software (scripts/setup-lavapipe)"
                    .into()
            }
        }
    }
}

/// Name, kind and driver of an adapter.
pub(crate) fn name(info: &wgpu::AdapterInfo) -> String {
    let kind = match info.device_type {
        wgpu::DeviceType::DiscreteGpu => "discrete",
        wgpu::DeviceType::IntegratedGpu => "integrated",
        wgpu::DeviceType::VirtualGpu => "virtual",
        wgpu::DeviceType::Cpu => "software",
        wgpu::DeviceType::Other => "other",
    };
    let driver = [&*info.driver, &*info.driver_info].join(" ");
    match driver.trim() {
        "" => format!("{} ({kind})", info.name),
        driver => format!("{} ({kind}, {driver})", info.name),
    }
}
