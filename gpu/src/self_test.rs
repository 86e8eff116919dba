//! Refuses drivers that are known to compute wrongly.

use engine::EngineError;

use crate::device::Device;
use crate::fault;
use crate::record::{Recorder, Workspace};
use crate::shader::Shader;

/// More iterations than Mesa's lavapipe before 25 allows a loop.
const ITERATIONS: u32 = 70_000;
/// Of a linear congruential generator (Numerical Recipes), which has no shortcut.
const FACTOR: u32 = 1_664_525;

/// Counts in a loop on the device and here.
pub(crate) fn run(device: &Device) -> Result<(), EngineError> {
    let kernel = device.kernel(Shader::SelfTest, &[])?;
    let result = device.storage("self-test", 8)?;
    let mut workspace = Workspace::default();
    let mut recorder = Recorder::new(device, &mut workspace);
    recorder.dispatch(&kernel, &[&result], &[ITERATIONS, FACTOR], [1, 1, 1]);
    let mut got = [0u32; 2];
    recorder.finish_and_read(&result, 0, &mut got)?;
    let state = (0..ITERATIONS).fold(1u32, |state, _| state.wrapping_mul(FACTOR).wrapping_add(1));
    if got == [ITERATIONS, state] {
        return Ok(());
    }
    Err(fault::unsupported(format!(
        "{} computes wrongly: a loop of {ITERATIONS} iterations ended after {}; Mesa's lavapipe does \
         so before version 25 (scripts/setup-lavapipe installs a later one)",
        device.name, got[0]
    )))
}
