//! One submission: dispatches in order, and what is read back behind them.

use std::collections::HashMap;
use std::sync::Arc;

use engine::EngineError;

use crate::device::{Device, Kernel};
use crate::fault;

/// Bindings and the buffer for reading back, which every submission of a session uses again.
#[derive(Default)]
pub(crate) struct Workspace {
    groups: HashMap<(wgpu::BindGroupLayout, Vec<wgpu::Buffer>), wgpu::BindGroup>,
    staging: Option<wgpu::Buffer>,
}

/// Records dispatches; each sees what those before it have written.
pub(crate) struct Recorder<'a> {
    pub(crate) device: &'a Device,
    workspace: &'a mut Workspace,
    encoder: wgpu::CommandEncoder,
    pass: Option<wgpu::ComputePass<'static>>,
}

impl<'a> Recorder<'a> {
    pub(crate) fn new(device: &'a Device, workspace: &'a mut Workspace) -> Self {
        Self::timed(device, workspace, None)
    }

    /// Writes the device's clock before and behind the dispatches, if told where.
    pub(crate) fn timed(
        device: &'a Device,
        workspace: &'a mut Workspace,
        clock: Option<&wgpu::QuerySet>,
    ) -> Self {
        let mut encoder = device.wgpu.create_command_encoder(&Default::default());
        let pass = encoder
            .begin_compute_pass(&wgpu::ComputePassDescriptor {
                label: None,
                timestamp_writes: clock.map(|query_set| wgpu::ComputePassTimestampWrites {
                    query_set,
                    beginning_of_pass_write_index: Some(0),
                    end_of_pass_write_index: Some(1),
                }),
            })
            .forget_lifetime();
        Self {
            device,
            workspace,
            encoder,
            pass: Some(pass),
        }
    }

    /// Runs `groups` workgroups of `kernel` on `buffers`, the last of which it writes.
    pub(crate) fn dispatch(
        &mut self,
        kernel: &Arc<Kernel>,
        buffers: &[&wgpu::Buffer],
        parameters: &[u32],
        groups: [u32; 3],
    ) {
        let key = (
            kernel.layout.clone(),
            buffers.iter().map(|&buffer| buffer.clone()).collect(),
        );
        let device = self.device;
        let bound = self.workspace.groups.entry(key).or_insert_with(|| {
            let entries: Vec<_> = (0..)
                .zip(buffers)
                .map(|(binding, buffer)| wgpu::BindGroupEntry {
                    binding,
                    resource: buffer.as_entire_binding(),
                })
                .collect();
            device.wgpu.create_bind_group(&wgpu::BindGroupDescriptor {
                label: None,
                layout: &kernel.layout,
                entries: &entries,
            })
        });
        if let Some(pass) = &mut self.pass {
            pass.set_pipeline(&kernel.pipeline);
            pass.set_bind_group(0, &*bound, &[]);
            pass.set_immediates(0, bytemuck::cast_slice(parameters));
            pass.dispatch_workgroups(groups[0], groups[1], groups[2]);
        }
    }

    /// Submits, and waits.
    pub(crate) fn finish(self) -> Result<(), EngineError> {
        let device = self.device;
        self.submit(|_| ());
        device.wait()
    }

    /// Submits with the clock's two readings resolved into `ticks`, and waits.
    pub(crate) fn finish_with_clock(
        self,
        clock: &wgpu::QuerySet,
        resolved: &wgpu::Buffer,
        staging: &wgpu::Buffer,
    ) -> Result<[u64; 2], EngineError> {
        let device = self.device;
        self.submit(|encoder| {
            encoder.resolve_query_set(clock, 0..2, resolved, 0);
            encoder.copy_buffer_to_buffer(resolved, 0, staging, 0, Some(16));
        });
        let mut ticks = [0; 2];
        device.read(staging, &mut ticks)?;
        Ok(ticks)
    }

    /// Submits, waits, and reads `out` from `buffer` at byte `offset`.
    pub(crate) fn finish_and_read<T: bytemuck::Pod>(
        self,
        buffer: &wgpu::Buffer,
        offset: u64,
        out: &mut [T],
    ) -> Result<(), EngineError> {
        let device = self.device;
        let bytes = size_of_val(out) as u64;
        if self
            .workspace
            .staging
            .as_ref()
            .is_none_or(|staging| staging.size() < bytes)
        {
            use wgpu::BufferUsages as U;
            let staging = device.buffer("reading back", bytes, U::MAP_READ | U::COPY_DST)?;
            self.workspace.staging = Some(staging);
        }
        let staging = self.workspace.staging.clone();
        let Some(staging) = staging else {
            return Err(fault::device("nothing to read back into"));
        };
        self.submit(|encoder| {
            encoder.copy_buffer_to_buffer(buffer, offset, &staging, 0, Some(bytes));
        });
        device.read(&staging, out)
    }

    fn submit(mut self, behind: impl FnOnce(&mut wgpu::CommandEncoder)) {
        // Ends the pass.
        self.pass = None;
        behind(&mut self.encoder);
        self.device.queue.submit([self.encoder.finish()]);
    }
}
