//! The engines linked into this program.

use anyhow::{Result, bail};
use engine::{Availability, Engine, EngineSpec};

/// Every engine, in the order `harness engines` lists them.
pub(crate) struct Engines(Vec<Box<dyn Engine>>);

impl Engines {
    /// Those that are built in, and `more`.
    pub(crate) fn with(more: Vec<Box<dyn Engine>>) -> Result<Self> {
        let mut all: Vec<Box<dyn Engine>> = vec![
            Box::new(reference::Reference),
            Box::new(gpu::Gpu(gpu::Backend::Metal)),
            Box::new(gpu::Gpu(gpu::Backend::Vulkan)),
            Box::new(coreml::Runtime),
            Box::new(coreml::Interpreter),
            Box::new(remote::Stdio),
            Box::new(remote::OpenAi),
            Box::new(faulty::Faulty),
        ];
        for engine in more {
            let id = engine.describe().id;
            if all.iter().any(|other| other.describe().id == id) {
                bail!("there are two engines `{id}` in this program; give yours another id");
            }
            all.push(engine);
        }
        Ok(Self(all))
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &dyn Engine> {
        self.0.iter().map(|engine| &**engine)
    }

    /// The engine that `spec` names, if it can run here and takes those options.
    pub(crate) fn find(&self, spec: &EngineSpec) -> Result<&dyn Engine> {
        let mut known = Vec::new();
        for engine in self.iter() {
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
}
