//! What `MLComputePlan` tells.

use std::path::Path;
use std::sync::mpsc;

use block2::RcBlock;
use engine::{ComputeDevice, PlacedOperation};
use objc2::ClassType;
use objc2::runtime::{NSObjectProtocol, ProtocolObject};
use objc2_core_ml::{
    MLComputeDeviceProtocol, MLComputePlan, MLGPUComputeDevice, MLModelStructureProgramBlock,
    MLModelStructureProgramOperation, MLNeuralEngineComputeDevice,
};
use objc2_foundation::{NSError, NSString};

use super::super::fault::Fault;
use super::super::options::Options;
use super::{broken, configuration, fault_or_none, guarded, received, url};

/// The plan of `function`, or of the only one.
pub(super) fn load(
    compiled: &Path,
    function: Option<&str>,
    options: &Options,
) -> Result<Vec<PlacedOperation>, Fault> {
    let (sender, receiver) = mpsc::channel();
    let name = function.unwrap_or("main").to_owned();
    guarded(|| {
        let done = RcBlock::new(move |plan: *mut MLComputePlan, error: *mut NSError| {
            // SAFETY: Core ML passes objects that live as long as the call, or null.
            let (plan, error) = unsafe { (plan.as_ref(), error.as_ref()) };
            let told = match plan {
                Some(plan) => guarded(|| operations(plan, &name)),
                None => Err(fault_or_none(error)),
            };
            // Nobody waits any more when the receiver is gone.
            let _ = sender.send(told);
        });
        let configuration = configuration(function, options);
        // SAFETY: all arguments are of the types that the method declares.
        unsafe {
            MLComputePlan::loadContentsOfURL_configuration_completionHandler(
                &url(compiled),
                &configuration,
                &done,
            );
        }
        Ok(())
    })?;
    received(&receiver)
}

fn operations(plan: &MLComputePlan, function: &str) -> Result<Vec<PlacedOperation>, Fault> {
    // SAFETY: the properties have no preconditions.
    let block = unsafe {
        let program = plan.modelStructure().program();
        let program = program.ok_or_else(|| broken("the compiled model is no ML Program"))?;
        let functions = program.functions();
        let found = functions.objectForKey(&NSString::from_str(function));
        let found = found.ok_or_else(|| broken(format!("the plan has no `{function}`")))?;
        found.block()
    };
    let mut placed = Vec::new();
    walk(plan, &block, &mut placed);
    Ok(placed)
}

/// Operations of `block` and of those inside it. Core ML has no usage for constants.
fn walk(
    plan: &MLComputePlan,
    block: &MLModelStructureProgramBlock,
    placed: &mut Vec<PlacedOperation>,
) {
    // SAFETY: the properties have no preconditions.
    for operation in unsafe { block.operations() }.iter() {
        placed.extend(place(plan, &operation));
        // SAFETY: as above.
        for inner in unsafe { operation.blocks() }.iter() {
            walk(plan, &inner, placed);
        }
    }
}

fn place(
    plan: &MLComputePlan,
    operation: &MLModelStructureProgramOperation,
) -> Option<PlacedOperation> {
    // SAFETY: the operation is one of this plan's own structure; the properties have no
    // preconditions.
    unsafe {
        let usage = plan.computeDeviceUsageForMLProgramOperation(operation)?;
        let cost = plan.estimatedCostOfMLProgramOperation(operation);
        let output = operation.outputs().firstObject();
        Some(PlacedOperation {
            function: String::new(),
            name: output.map_or(String::new(), |output| output.name().to_string()),
            kind: operation.operatorName().to_string(),
            preferred: device(&usage.preferredComputeDevice()),
            supported: (usage.supportedComputeDevices().iter())
                .map(|supported| device(&supported))
                .collect(),
            cost: cost.map(|cost| cost.weight()),
        })
    }
}

fn device(device: &ProtocolObject<dyn MLComputeDeviceProtocol>) -> ComputeDevice {
    if device.isKindOfClass(MLNeuralEngineComputeDevice::class()) {
        ComputeDevice::NeuralEngine
    } else if device.isKindOfClass(MLGPUComputeDevice::class()) {
        ComputeDevice::Gpu
    } else {
        ComputeDevice::Cpu
    }
}
