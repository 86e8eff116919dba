//! An engine that fails on demand: the reference, with one fault built in.
//!
//! It is there to test what judges engines, this harness and whatever is built
//! around it: `faulty:mode=segv` must end as a recorded crash and exit code 3.
//! Options other than `mode`, `after` and `delay_ms` are the reference's.

mod mode;
mod strike;

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use engine::{
    Engine, EngineError, EngineInfo, EngineOptions, FailureKind, KvUsage, Logits, Model,
    ModelArtifact, ModelConfig, Numerics, OptionHelp, Session, TokenId, Want,
};
use reference::Reference;

pub use mode::Mode;

/// The engine, id `faulty`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Faulty;

const ID: &str = "faulty";

const HELP: [OptionHelp; 3] = [
    OptionHelp {
        key: "mode",
        default: "none",
        help: "what goes wrong: none, refuse (to load), segv, abort, panic, exit (with code 0), \
               hang, nan, inf, wrong_shape (a logit too few), oom (allocate without end), leak (64 KiB a \
               session), slow, or garbage (into every open pipe, and as logits)",
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
];

impl Engine for Faulty {
    fn describe(&self) -> EngineInfo {
        let reference = Reference.describe();
        EngineInfo {
            id: ID.into(),
            about: "the reference with a fault built in, to test what judges engines".into(),
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
        Ok(Box::new(FaultyModel {
            model: Reference.open(model, &rest)?,
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
}

impl Fault {
    /// Splits options into the fault's and the reference's.
    fn read(options: &EngineOptions) -> Result<(Self, EngineOptions), EngineError> {
        let fault = Self {
            mode: options.parse_or("mode", Mode::None)?,
            after: options.parse_or("after", 0)?,
            delay: Duration::from_millis(options.parse_or("delay_ms", 100)?),
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
}

struct FaultySession<'a> {
    session: Box<dyn Session + 'a>,
    model: &'a FaultyModel,
}

impl Session for FaultySession<'_> {
    fn extend(&mut self, tokens: &[TokenId], want: Want) -> Result<Logits, EngineError> {
        let fault = &self.model.fault;
        if self.model.calls.fetch_add(1, Ordering::Relaxed) < fault.after {
            return self.session.extend(tokens, want);
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
            Mode::None | Mode::Refuse | Mode::Leak | Mode::Nan | Mode::Inf | Mode::WrongShape => {}
        }
        let logits = self.session.extend(tokens, want)?;
        Ok(match fault.mode {
            Mode::Nan => strike::last_value(&logits, f32::NAN),
            Mode::Inf => strike::last_value(&logits, f32::INFINITY),
            Mode::WrongShape => strike::narrowed(&logits),
            Mode::Garbage => strike::noise(&logits),
            _ => logits,
        })
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
}
