//! Mistakes that engines make, made on purpose.
//!
//! A method that claims to find a mistake is only worth what it finds. These are
//! the ones that ports of a transformer are known for; each lives in one layer of
//! the plain decoder.

use std::fmt;

use engine::{
    Engine, EngineError, EngineInfo, EngineOptions, FailureKind, Model, ModelArtifact, OptionHelp,
};

use crate::model::ReferenceModel;
use crate::options::{HELP, Options};
use crate::{Reference, Source};

/// A mistake in one layer.
///
/// ```
/// use harness_reference::Fault;
///
/// let names = Fault::ALL.map(Fault::name);
/// assert_eq!(names[..2], ["rope_base", "no_scale"]);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fault {
    /// Rotations with 50 times the model's base, as where 500,000 stands for
    /// 10,000.
    RopeBase,
    /// Attention scores without their scale `1 / sqrt(head_dim)`.
    NoScale,
    /// A token also sees the one after it, where that is there already.
    MaskOffByOne,
    /// The first query head attends in the place of the last, and the last in that
    /// of the first.
    SwappedHeads,
    /// After a truncation, the first token of a call leaves in its slot of the cache
    /// what an earlier context wrote there.
    StaleKv,
}

impl Fault {
    /// Every fault.
    pub const ALL: [Self; 5] = [
        Self::RopeBase,
        Self::NoScale,
        Self::MaskOffByOne,
        Self::SwappedHeads,
        Self::StaleKv,
    ];

    /// Name on the command line.
    ///
    /// ```
    /// use engine::Engine;
    /// use harness_reference::{Fault, Reference};
    ///
    /// let about = Reference::with_fault(0, Fault::StaleKv).describe().about;
    /// assert!(about.contains(Fault::StaleKv.name()));
    /// ```
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::RopeBase => "rope_base",
            Self::NoScale => "no_scale",
            Self::MaskOffByOne => "mask_off_by_one",
            Self::SwappedHeads => "swapped_heads",
            Self::StaleKv => "stale_kv",
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The reference engine with one mistake in its plain decoder; see
/// [`Reference::with_fault`].
///
/// ```
/// use engine::{Engine, EngineOptions, ModelArtifact};
/// use harness_reference::{Fault, Faulty, Reference};
///
/// let model = ModelArtifact::embedded(fixtures::MODEL_NAME, fixtures::MODEL);
/// let opens = |engine: Faulty| engine.open(&model, &EngineOptions::default()).is_ok();
/// // The model has five layers.
/// assert!(opens(Reference::with_fault(4, Fault::NoScale)));
/// assert!(!opens(Reference::with_fault(5, Fault::NoScale)));
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Faulty {
    layer: usize,
    fault: Fault,
}

impl Reference {
    /// This engine with `fault` in `layer`, counted from zero. It takes the
    /// options of the reference engine but `kernels`, computes as `kernels=plain`
    /// does, and refuses models that cannot have the fault or the layer.
    ///
    /// ```
    /// use engine::{Engine, EngineOptions, ModelArtifact, Want};
    /// use harness_reference::{Fault, Reference};
    ///
    /// let model = ModelArtifact::embedded(fixtures::MODEL_NAME, fixtures::MODEL);
    /// let logits = |engine: &dyn Engine, options: &EngineOptions| {
    ///     let model = engine.open(&model, options)?;
    ///     let mut session = model.session()?;
    ///     session.extend(&[0, 368, 1293, 834], Want::Last)
    /// };
    /// let mut plain = EngineOptions::default();
    /// plain.set("kernels", "plain");
    /// let sound = logits(&Reference, &plain)?;
    /// let wrong = logits(&Reference::with_fault(2, Fault::NoScale), &EngineOptions::default())?;
    /// assert_ne!(sound.values(), wrong.values());
    /// # Ok::<(), engine::EngineError>(())
    /// ```
    #[must_use]
    pub fn with_fault(layer: usize, fault: Fault) -> Faulty {
        Faulty { layer, fault }
    }
}

impl Faulty {
    fn options(self, options: &EngineOptions) -> Result<Options, EngineError> {
        let known: Vec<&str> = self.help().iter().map(|option| option.key).collect();
        options.refuse_unknown("faulty", &known)?;
        let mut options = options.clone();
        options.set("kernels", "plain");
        let mut options = Options::parse(&options)?;
        options.fault = Some((self.layer, self.fault));
        Ok(options)
    }

    fn help(self) -> Vec<OptionHelp> {
        HELP.into_iter()
            .filter(|option| option.key != "kernels")
            .collect()
    }
}

impl Engine for Faulty {
    fn describe(&self) -> EngineInfo {
        EngineInfo {
            id: "faulty".into(),
            about: format!("the reference engine with {} in a layer", self.fault),
            options: self.help(),
            ..Reference.describe()
        }
    }

    fn validate(&self, options: &EngineOptions) -> Result<(), EngineError> {
        self.options(options).map(drop)
    }

    fn open(
        &self,
        model: &ModelArtifact,
        options: &EngineOptions,
    ) -> Result<Box<dyn Model>, EngineError> {
        let options = self.options(options)?;
        let model = ReferenceModel::load(&Source::open(model)?, &options)?;
        let config = model.config();
        if self.layer >= config.layers {
            return Err(EngineError::invalid(format!(
                "no layer {} for the fault: the model has {}",
                self.layer, config.layers
            )));
        }
        let impossible = match self.fault {
            Fault::RopeBase if !model.rotates() => Some("its positions are learned"),
            Fault::SwappedHeads if config.heads < 2 => Some("it has one head"),
            _ => None,
        };
        match impossible {
            None => Ok(Box::new(model)),
            Some(why) => Err(EngineError::new(
                FailureKind::Unsupported,
                format!("this model cannot have the fault {}: {why}", self.fault),
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernels_are_not_for_choosing() {
        let mut options = EngineOptions::default();
        options.set("kernels", "fast");
        let refused = Reference::with_fault(0, Fault::NoScale)
            .validate(&options)
            .unwrap_err();
        assert_eq!(refused.kind(), FailureKind::InvalidInput);
    }
}
