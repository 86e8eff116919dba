//! The engines linked into this program.

use anyhow::{Result, bail};
use engine::{Availability, Engine, EngineSpec};

/// Every engine, in the order `harness engines` lists them.
pub(crate) fn all() -> Vec<Box<dyn Engine>> {
    vec![
        Box::new(reference::Reference),
        Box::new(gpu::Gpu(gpu::Backend::Metal)),
        Box::new(gpu::Gpu(gpu::Backend::Vulkan)),
        Box::new(coreml::Interpreter),
        Box::new(remote::Stdio),
        Box::new(remote::OpenAi),
        Box::new(faulty::Faulty),
    ]
}

/// The engine that `spec` names, if it can run here and takes those options.
pub(crate) fn find(spec: &EngineSpec) -> Result<Box<dyn Engine>> {
    let mut known = Vec::new();
    for engine in all() {
        let info = engine.describe();
        if info.id != spec.id {
            known.push(info.id);
            continue;
        }
        if let Availability::No(why) = info.availability {
            bail!("engine `{}` cannot run here: {why}", info.id);
        }
        engine.validate(&spec.options)?;
        return Ok(engine);
    }
    bail!("no engine `{}`; there is {}", spec.id, known.join(", "))
}
