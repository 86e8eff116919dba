//! An engine that fails on demand: the reference, with one fault built in.
//!
//! It is there to test what judges engines, this harness and whatever is built
//! around it: `faulty:mode=segv` must end as a recorded crash and exit code 3.
//! `faulty:mode=rope_base,layer=3` must be found by
//! `harness run --suite parity --bisect`. Options other than `mode`, `after`, `delay_ms`,
//! `layer` and `off_ane` are the reference's.
//!
//! Whoever writes a tool of his own that runs engines can test it the same way:
//!
//! ```
//! use engine::{Engine, EngineSpec, ModelArtifact, Want};
//! use harness_faulty::Faulty;
//!
//! /// Says so when logits mean nothing.
//! fn watched(spec: &str) -> Result<&'static str, Box<dyn std::error::Error>> {
//!     let model = ModelArtifact::embedded(fixtures::MODEL_NAME, fixtures::MODEL);
//!     let model = Faulty.open(&model, &spec.parse::<EngineSpec>()?.options)?;
//!     let logits = model.session()?.extend(&[1, 2, 3], Want::Last)?;
//!     Ok(if logits.all_finite() { "sound" } else { "broken" })
//! }
//!
//! assert_eq!(watched("faulty")?, "sound");
//! assert_eq!(watched("faulty:mode=inf")?, "broken");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod mode;
mod plan;
mod strike;

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use engine::{
    Capability, Embeddings, Engine, EngineError, EngineInfo, EngineOptions, FailureKind, KvUsage,
    Logits, Model, ModelArtifact, ModelConfig, Numerics, OptionHelp, Placement, Pooling, Session,
    TapObserver, TokenId, Want,
};
use reference::Reference;

use crate::mode::Mode;

/// The engine, id `faulty`.
///
/// ```
/// use std::sync::Arc;
/// use engine::{Calls, Engine, EngineSpec, FailureKind, ModelArtifact, Want, checked};
/// use harness_faulty::Faulty;
///
/// let spec: EngineSpec = "faulty:mode=nan,after=1".parse()?;
/// let model = ModelArtifact::embedded(fixtures::MODEL_NAME, fixtures::MODEL);
/// let model = checked(Faulty.open(&model, &spec.options)?, Arc::new(Calls::default()));
/// let mut session = model.session()?;
/// assert!(session.extend(&[1, 2, 3], Want::Last).is_ok(), "the first call goes well");
/// let failed = session.extend(&[4], Want::Last).map_err(|error| error.kind());
/// assert_eq!(failed, Err(FailureKind::Numerics));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct Faulty;

const ID: &str = "faulty";

const HELP: [OptionHelp; 5] = [
    OptionHelp {
        key: "mode",
        default: "none",
        help: "what goes wrong: none, refuse (to load), segv, abort, panic, exit (with code 0), \
               hang, nan, inf, wrong_shape (a logit too few), oom (allocate without end), leak (64 KiB a \
               session), slow, garbage (into every open pipe, and as logits); or what one layer \
               computes: rope_base, no_scale, mask_off_by_one, swapped_heads, stale_kv",
    },
    OptionHelp {
        key: "after",
        default: "0",
        help: "how many calls go well first; a call appends tokens",
    },
    OptionHelp {
        key: "delay_ms",
        default: "100",
        help: "milliseconds that slow adds to each token",
    },
    OptionHelp {
        key: "layer",
        default: "0",
        help: "the layer that computes something else",
    },
    OptionHelp {
        key: "off_ane",
        default: "0",
        help: "how many operations of each layer its pretended plan leaves to the CPU",
    },
];

impl Engine for Faulty {
    fn describe(&self) -> EngineInfo {
        let reference = Reference.describe();
        EngineInfo {
            id: ID.into(),
            about: "the reference with a fault built in, to test what judges engines".into(),
            capabilities: [Capability::Placement]
                .into_iter()
                .chain(reference.capabilities)
                .collect(),
            options: HELP.into_iter().chain(reference.options).collect(),
            ..reference
        }
    }

    fn validate(&self, options: &EngineOptions) -> Result<(), EngineError> {
        let (_, rest) = Fault::read(options)?;
        Reference.validate(&rest)
    }

    fn open(
        &self,
        model: &ModelArtifact,
        options: &EngineOptions,
    ) -> Result<Box<dyn Model>, EngineError> {
        let (fault, rest) = Fault::read(options)?;
        if fault.mode == Mode::Refuse {
            return Err(EngineError::new(
                FailureKind::Load,
                format!("{model} is refused, as was asked for"),
            ));
        }
        let model = match fault.mode {
            Mode::Layer(mistake) => {
                Reference::with_fault(fault.layer, mistake).open(model, &rest)?
            }
            _ => Reference.open(model, &rest)?,
        };
        Ok(Box::new(FaultyModel {
            model,
            fault,
            calls: AtomicU64::new(0),
        }))
    }
}

/// What is to go wrong, and when.
struct Fault {
    mode: Mode,
    after: u64,
    delay: Duration,
    layer: usize,
    off_ane: usize,
}

impl Fault {
    /// Splits options into the fault's and the reference's.
    fn read(options: &EngineOptions) -> Result<(Self, EngineOptions), EngineError> {
        let fault = Self {
            mode: options.parse_or("mode", Mode::None)?,
            after: options.parse_or("after", 0)?,
            delay: Duration::from_millis(options.parse_or("delay_ms", 100)?),
            layer: options.parse_or("layer", 0)?,
            off_ane: options.parse_or("off_ane", 0)?,
        };
        let mut rest = options.clone();
        for option in HELP {
            rest.take(option.key);
        }
        Ok((fault, rest))
    }
}

struct FaultyModel {
    model: Box<dyn Model>,
    fault: Fault,
    /// Calls of `extend`, over all sessions.
    calls: AtomicU64,
}

impl Model for FaultyModel {
    fn config(&self) -> &ModelConfig {
        self.model.config()
    }

    fn numerics(&self) -> Numerics {
        self.model.numerics()
    }

    fn session(&self) -> Result<Box<dyn Session + '_>, EngineError> {
        if self.fault.mode == Mode::Leak {
            strike::leak();
        }
        Ok(Box::new(FaultySession {
            session: self.model.session()?,
            model: self,
        }))
    }

    fn placement(&self) -> Result<Placement, EngineError> {
        Ok(plan::pretended(self.config().layers, self.fault.off_ane))
    }

    fn embed(&self, texts: &[&[TokenId]], pooling: Pooling) -> Result<Embeddings, EngineError> {
        self.model.embed(texts, pooling)
    }
}

struct FaultySession<'a> {
    session: Box<dyn Session + 'a>,
    model: &'a FaultyModel,
}

impl<'a> FaultySession<'a> {
    /// Appends `tokens` by `extend`, and goes wrong if it is time.
    fn append(
        &mut self,
        tokens: &[TokenId],
        extend: impl FnOnce(&mut (dyn Session + 'a)) -> Result<Logits, EngineError>,
    ) -> Result<Logits, EngineError> {
        let fault = &self.model.fault;
        if self.model.calls.fetch_add(1, Ordering::Relaxed) < fault.after {
            return extend(&mut *self.session);
        }
        match fault.mode {
            Mode::Segv => strike::segv(),
            Mode::Abort => std::process::abort(),
            Mode::Panic => panic!("the fault that was asked for"),
            Mode::Exit => std::process::exit(0),
            Mode::Hang => strike::hang(),
            Mode::Oom => return Err(strike::oom()),
            Mode::Slow => std::thread::sleep(fault.delay * tokens.len() as u32),
            Mode::Garbage => strike::garbage(),
            Mode::None
            | Mode::Refuse
            | Mode::Leak
            | Mode::Nan
            | Mode::Inf
            | Mode::WrongShape
            | Mode::Layer(_) => {}
        }
        let logits = extend(&mut *self.session)?;
        Ok(match fault.mode {
            Mode::Nan => strike::last_value(&logits, f32::NAN),
            Mode::Inf => strike::last_value(&logits, f32::INFINITY),
            Mode::WrongShape => strike::narrowed(&logits),
            Mode::Garbage => strike::noise(&logits),
            _ => logits,
        })
    }
}

impl Session for FaultySession<'_> {
    fn extend(&mut self, tokens: &[TokenId], want: Want) -> Result<Logits, EngineError> {
        self.append(tokens, |session| session.extend(tokens, want))
    }

    fn extend_tapped(
        &mut self,
        tokens: &[TokenId],
        observer: TapObserver<'_>,
    ) -> Result<Logits, EngineError> {
        self.append(tokens, |session| session.extend_tapped(tokens, observer))
    }

    fn truncate(&mut self, len: usize) -> Result<(), EngineError> {
        self.session.truncate(len)
    }

    fn len(&self) -> usize {
        self.session.len()
    }

    fn kv(&self) -> Option<KvUsage> {
        self.session.kv()
    }

    fn last_compute(&self) -> Option<Duration> {
        self.session.last_compute()
    }
}
