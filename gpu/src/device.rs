//! An open device: what it can do, its memory, its compiled kernels.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use engine::{EngineError, FailureKind};

use crate::adapter::{self, Backend};
use crate::disk::Disk;
use crate::fault::{self, Faults};
use crate::shader::{Matrix, Shader};
use crate::tuning::{Tune, Tuning};

/// Constants of a kernel by name.
pub(crate) type Constants = Vec<(&'static str, u32)>;

/// An open device.
pub(crate) struct Device {
    pub(crate) wgpu: wgpu::Device,
    pub(crate) queue: wgpu::Queue,
    pub(crate) powers: Powers,
    pub(crate) faults: Faults,
    /// Name, kind and driver.
    pub(crate) name: String,
    kernels: Mutex<HashMap<(Shader, Constants), Arc<Kernel>>>,
    pub(crate) disk: Disk,
    pub(crate) tuning: Tuning,
    /// Bound where a kernel has no use for a buffer.
    pub(crate) nothing: wgpu::Buffer,
}

/// What a device can do beyond the least.
#[derive(Clone, Debug)]
pub(crate) struct Powers {
    pub(crate) subgroups: bool,
    /// Cooperative matrices, the largest of f16 operands and of f32 ones.
    pub(crate) matrices: Vec<Matrix>,
    /// Lanes of a subgroup that work on one.
    pub(crate) subgroup_lanes: u32,
    /// Nanoseconds a tick of its clock.
    pub(crate) tick_ns: Option<f64>,
    /// Bytes that one binding may show a kernel.
    pub(crate) binding_bytes: u64,
    pub(crate) buffer_bytes: u64,
    pub(crate) workgroup_bytes: u32,
}

/// A compiled kernel.
pub(crate) struct Kernel {
    pub(crate) pipeline: wgpu::ComputePipeline,
    pub(crate) layout: wgpu::BindGroupLayout,
}

/// Bytes of a kernel's parameters; every device offers 128.
const PARAMETER_BYTES: u32 = 64;

/// How a device is to be opened.
#[derive(Clone, Debug, Default)]
pub(crate) struct Opening {
    /// Part of the adapter's name.
    pub(crate) adapter: Option<String>,
    /// Leave subgroups and cooperative matrices unused.
    pub(crate) plain: bool,
    /// When to measure which tiles are fastest.
    pub(crate) tune: Tune,
}

impl Device {
    /// Opens a device of `backend` and sees that it computes.
    pub(crate) fn open(backend: Backend, opening: &Opening) -> Result<Self, EngineError> {
        let adapter = backend.choose(opening.adapter.as_deref())?;
        let info = adapter.get_info();
        let name = adapter::name(&info);
        let offered = adapter.features();
        let needed = wgpu::Features::IMMEDIATES;
        if !offered.contains(needed) {
            return Err(fault::unsupported(format!(
                "{name} lacks what every kernel needs: {:?}",
                needed - offered
            )));
        }
        let limits = adapter.limits();
        if limits.max_immediate_size < PARAMETER_BYTES
            || limits.max_compute_invocations_per_workgroup < 256
        {
            return Err(fault::unsupported(format!(
                "{name} takes {} bytes of parameters and {} threads a workgroup; the kernels need \
                 {PARAMETER_BYTES} and 256",
                limits.max_immediate_size, limits.max_compute_invocations_per_workgroup
            )));
        }
        let extras = wgpu::Features::TIMESTAMP_QUERY | wgpu::Features::PIPELINE_CACHE;
        let fast = wgpu::Features::SUBGROUP
            | wgpu::Features::SHADER_F16
            | wgpu::Features::EXPERIMENTAL_COOPERATIVE_MATRIX;
        let wanted = if opening.plain { extras } else { extras | fast };
        let features = needed | (wanted & offered);
        let experimental = features.contains(wgpu::Features::EXPERIMENTAL_COOPERATIVE_MATRIX);
        let (device, queue) = pollster::block_on(adapter.request_device(&wgpu::DeviceDescriptor {
            label: Some("harness"),
            required_features: features,
            required_limits: limits.clone(),
            experimental_features: match experimental {
                // SAFETY: cooperative matrices alone are experimental here, and only used by a
                // kernel whose results the self-test and the suite `kernels` check.
                true => unsafe { wgpu::ExperimentalFeatures::enabled() },
                false => wgpu::ExperimentalFeatures::disabled(),
            },
            ..wgpu::DeviceDescriptor::default()
        }))
        .map_err(|error| fault::device(format!("cannot open {name}: {error}")).caused_by(error))?;
        let faults = Faults::default();
        faults.watch(&device);
        let powers = Powers {
            subgroups: features.contains(wgpu::Features::SUBGROUP),
            matrices: matrices(&adapter, features),
            subgroup_lanes: info.subgroup_max_size,
            tick_ns: features
                .contains(wgpu::Features::TIMESTAMP_QUERY)
                .then(|| f64::from(queue.get_timestamp_period())),
            binding_bytes: limits.max_storage_buffer_binding_size,
            buffer_bytes: limits.max_buffer_size,
            workgroup_bytes: limits.max_compute_workgroup_storage_size,
        };
        let disk = Disk::of(&device, &info, features);
        let nothing = device.create_buffer(&wgpu::BufferDescriptor {
            label: Some("nothing"),
            size: 16,
            usage: wgpu::BufferUsages::STORAGE,
            mapped_at_creation: false,
        });
        let this = Self {
            nothing,
            wgpu: device,
            queue,
            powers,
            faults,
            name,
            kernels: Mutex::default(),
            disk,
            tuning: Tuning::of(&info, opening.tune),
        };
        crate::self_test::run(&this)?;
        Ok(this)
    }

    /// The kernel of `shader` with `constants`, compiled at the first call.
    pub(crate) fn kernel(
        &self,
        shader: Shader,
        constants: &[(&'static str, u32)],
    ) -> Result<Arc<Kernel>, EngineError> {
        let key = (shader, constants.to_vec());
        let mut kernels = self.kernels.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(kernel) = kernels.get(&key) {
            return Ok(kernel.clone());
        }
        let kernel = Arc::new(self.compile(shader, constants)?);
        kernels.insert(key, kernel.clone());
        Ok(kernel)
    }

    fn compile(&self, shader: Shader, constants: &[(&str, u32)]) -> Result<Kernel, EngineError> {
        let label = format!("{shader:?}");
        let scope = self.wgpu.push_error_scope(wgpu::ErrorFilter::Validation);
        let module = self
            .wgpu
            .create_shader_module(wgpu::ShaderModuleDescriptor {
                label: Some(&label),
                source: wgpu::ShaderSource::Wgsl(shader.source().into()),
            });
        let reads = shader.reads();
        let entries: Vec<_> = (0..=reads)
            .map(|binding| wgpu::BindGroupLayoutEntry {
                binding,
                visibility: wgpu::ShaderStages::COMPUTE,
                ty: wgpu::BindingType::Buffer {
                    ty: wgpu::BufferBindingType::Storage {
                        read_only: binding < reads,
                    },
                    has_dynamic_offset: false,
                    min_binding_size: None,
                },
                count: None,
            })
            .collect();
        let layout = self
            .wgpu
            .create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor {
                label: Some(&label),
                entries: &entries,
            });
        let pipeline_layout = self
            .wgpu
            .create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
                label: Some(&label),
                bind_group_layouts: &[Some(&layout)],
                immediate_size: PARAMETER_BYTES,
            });
        let constants: Vec<_> = constants
            .iter()
            .map(|&(name, value)| (name, f64::from(value)))
            .collect();
        let pipeline = self
            .wgpu
            .create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
                label: Some(&label),
                layout: Some(&pipeline_layout),
                module: &module,
                entry_point: Some("main"),
                compilation_options: wgpu::PipelineCompilationOptions {
                    constants: &constants,
                    // Every kernel writes workgroup memory before it reads it.
                    zero_initialize_workgroup_memory: false,
                },
                cache: self.disk.pipelines(),
            });
        if let Some(error) = pollster::block_on(scope.pop()) {
            return Err(fault::device(format!(
                "{} does not compile kernel {label}: {error}",
                self.name
            )));
        }
        self.faults.check()?;
        Ok(Kernel { pipeline, layout })
    }

    /// A buffer of `bytes`, all zero.
    ///
    /// # Errors
    /// [`FailureKind::OutOfMemory`], naming `what` it is for.
    pub(crate) fn buffer(
        &self,
        what: &str,
        bytes: u64,
        usage: wgpu::BufferUsages,
    ) -> Result<wgpu::Buffer, EngineError> {
        let most = match usage.contains(wgpu::BufferUsages::STORAGE) {
            true => self.powers.binding_bytes.min(self.powers.buffer_bytes),
            false => self.powers.buffer_bytes,
        };
        if bytes > most {
            return Err(EngineError::new(
                FailureKind::OutOfMemory,
                format!(
                    "{what} needs {} MiB in one buffer; {} allows {} MiB",
                    bytes >> 20,
                    self.name,
                    most >> 20
                ),
            ));
        }
        let buffer = self.wgpu.create_buffer(&wgpu::BufferDescriptor {
            label: Some(what),
            // Bindings are whole fours of values and never empty.
            size: bytes.next_multiple_of(16).max(16),
            usage,
            mapped_at_creation: false,
        });
        self.faults.check()?;
        Ok(buffer)
    }

    /// A storage buffer of `bytes`, all zero, that can be written and read back.
    pub(crate) fn storage(&self, what: &str, bytes: u64) -> Result<wgpu::Buffer, EngineError> {
        use wgpu::BufferUsages as U;
        self.buffer(what, bytes, U::STORAGE | U::COPY_DST | U::COPY_SRC)
    }

    /// A storage buffer that holds `bytes`.
    pub(crate) fn upload(&self, what: &str, bytes: &[u8]) -> Result<wgpu::Buffer, EngineError> {
        let buffer = self.storage(what, bytes.len() as u64)?;
        self.write(&buffer, bytes);
        Ok(buffer)
    }

    /// Writes `bytes` to the beginning of `buffer` before the next submission.
    pub(crate) fn write(&self, buffer: &wgpu::Buffer, bytes: &[u8]) {
        let whole = bytes.len() / 4 * 4;
        self.queue.write_buffer(buffer, 0, &bytes[..whole]);
        if whole < bytes.len() {
            // Copies are of whole words.
            let mut last = [0; 4];
            last[..bytes.len() - whole].copy_from_slice(&bytes[whole..]);
            self.queue.write_buffer(buffer, whole as u64, &last);
        }
    }

    /// Waits for everything submitted.
    pub(crate) fn wait(&self) -> Result<(), EngineError> {
        let waited = self.wgpu.poll(wgpu::PollType::wait_indefinitely());
        self.faults.check()?;
        waited
            .map(drop)
            .map_err(|error| fault::device(format!("{} does not answer: {error}", self.name)))
    }

    /// Waits, and reads the first `out.len()` values of `staging`, which the GPU has written.
    pub(crate) fn read<T: bytemuck::Pod>(
        &self,
        staging: &wgpu::Buffer,
        out: &mut [T],
    ) -> Result<(), EngineError> {
        let bytes = bytemuck::cast_slice_mut::<T, u8>(out);
        if bytes.is_empty() {
            return self.wait();
        }
        let slice = staging.slice(..bytes.len() as u64);
        slice.map_async(wgpu::MapMode::Read, |_| ());
        self.wait()?;
        let view = slice
            .get_mapped_range()
            .map_err(|error| fault::device(format!("cannot read from {}: {error}", self.name)))?;
        bytes.copy_from_slice(&view);
        drop(view);
        staging.unmap();
        Ok(())
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        self.disk.save();
    }
}

/// The cooperative matrices to use: with f32 sums, and the largest of each kind of operands.
fn matrices(adapter: &wgpu::Adapter, features: wgpu::Features) -> Vec<Matrix> {
    use wgpu::CooperativeScalarType::{F16, F32};
    let needed = wgpu::Features::EXPERIMENTAL_COOPERATIVE_MATRIX | wgpu::Features::SUBGROUP;
    let info = adapter.get_info();
    // The kernel must know how many lanes share a matrix.
    if !features.contains(needed) || info.subgroup_min_size != info.subgroup_max_size {
        return Vec::new();
    }
    let properties = adapter.cooperative_matrix_properties();
    let largest = |operands, half| {
        properties
            .iter()
            .filter(|p| p.m_size == p.n_size && p.n_size == p.k_size)
            .filter(|p| p.cr_type == F32 && p.ab_type == operands)
            .map(|p| p.m_size)
            .max()
            .map(|side| Matrix { side, half })
    };
    let half = features.contains(wgpu::Features::SHADER_F16);
    let half = half.then(|| largest(F16, true)).flatten();
    half.into_iter().chain(largest(F32, false)).collect()
}
