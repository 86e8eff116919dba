//! The most that a device can do, shown by kernels that do one thing alone.

use engine::{EngineError, NumberFormat, Roof};

use crate::device::Device;
use crate::ops::spread;
use crate::shader::{Matrix, Shader};
use crate::tensor::Rows;

/// Workgroups: many for every multiprocessor of a large GPU.
const GROUPS: usize = 1024;
/// Threads of a workgroup of `roof_multiply_add.wgsl`, and the chains of each.
const LANES: usize = 256;
const CHAINS: usize = 32;
/// What a value gains must be exact in f32 with all chains together: below 2²⁴ / `CHAINS`.
const ROUNDS: usize = 512;
/// Subgroups of a workgroup of `roof_matrix.wgsl`, times the sums of each.
const MATRICES: usize = 16;
/// What is copied, where a binding holds it: beyond any cache.
const COPIED_BYTES: u64 = 128 << 20;
/// What is copied, over and over.
const COPIED: f32 = 3.0;

impl Device {
    /// Roofs of the processors, of their matrix units, and of memory.
    pub(crate) fn measure_roofs(&self) -> Result<Vec<Roof<'_>>, EngineError> {
        let mut roofs = vec![self.multiply_add()?];
        for &matrix in &self.powers.matrices {
            roofs.push(self.matrix_multiply_add(matrix)?);
        }
        roofs.push(self.copy()?);
        Ok(roofs)
    }

    fn multiply_add(&self) -> Result<Roof<'_>, EngineError> {
        let out = Rows::new(self, "what was gained", 1, GROUPS * LANES)?;
        let kernel = self.prepared(out, 1, |recorder, out| {
            let lanes = [("LANES", LANES as u32)];
            let kernel = recorder.device.kernel(Shader::RoofMultiplyAdd, &lanes)?;
            let parameters = [ROUNDS as u32, 1f32.to_bits(), 1f32.to_bits()];
            recorder.dispatch(&kernel, &[&out.buffer], &parameters, [GROUPS as u32, 1, 1]);
            Ok(())
        });
        Ok(Roof {
            name: "multiply_add.f32".into(),
            operands: NumberFormat::F32,
            flop: (2 * CHAINS * ROUNDS * LANES * GROUPS) as f64,
            bytes: 0.0,
            expected: ROUNDS as f32,
            kernel: Box::new(kernel?),
        })
    }

    fn matrix_multiply_add(&self, matrix: Matrix) -> Result<Roof<'_>, EngineError> {
        let side = matrix.side as usize;
        let out = Rows::new(self, "sums", 1, GROUPS * MATRICES * side * side)?;
        let kernel = self.prepared(out, 1, move |recorder, out| {
            let device = recorder.device;
            let constants = [("SUBGROUP", device.powers.subgroup_lanes)];
            let kernel = device.kernel(Shader::RoofMatrix { matrix }, &constants)?;
            let parameters = [ROUNDS as u32, 1f32.to_bits()];
            recorder.dispatch(&kernel, &[&out.buffer], &parameters, [GROUPS as u32, 1, 1]);
            Ok(())
        });
        let operands = match matrix.half {
            true => NumberFormat::F16,
            false => NumberFormat::F32,
        };
        Ok(Roof {
            name: format!("matrix_multiply_add.{operands}"),
            operands,
            flop: (2 * side.pow(3) * ROUNDS * MATRICES * GROUPS) as f64,
            bytes: 0.0,
            expected: (side * ROUNDS) as f32,
            kernel: Box::new(kernel?),
        })
    }

    fn copy(&self) -> Result<Roof<'_>, EngineError> {
        let most = self.powers.binding_bytes.min(self.powers.buffer_bytes);
        let values = (COPIED_BYTES.min(most) / 16 * 4) as usize;
        let from = self.upload(
            "what is copied",
            bytemuck::cast_slice(&vec![COPIED; values]),
        )?;
        let out = Rows::new(self, "a copy", 1, values)?;
        let kernel = self.prepared(out, 1, move |recorder, out| {
            let kernel = recorder.device.kernel(Shader::RoofCopy, &[])?;
            let fours = values / 4;
            let groups = spread(fours.div_ceil(64));
            recorder.dispatch(&kernel, &[&from, &out.buffer], &[fours as u32], groups);
            Ok(())
        });
        Ok(Roof {
            name: "copy".into(),
            operands: NumberFormat::F32,
            flop: 0.0,
            bytes: (2 * 4 * values) as f64,
            expected: COPIED,
            kernel: Box::new(kernel?),
        })
    }
}
