//! What can go wrong.

use std::str::FromStr;

use reference::Fault;

/// A fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Nothing.
    None,
    /// The model is not loaded.
    Refuse,
    /// An address is touched that is not mapped.
    Segv,
    /// The process aborts.
    Abort,
    /// The thread panics.
    Panic,
    /// The process ends as if all were well.
    Exit,
    /// The call never returns.
    Hang,
    /// A logit is NaN.
    Nan,
    /// A logit is infinite.
    Inf,
    /// Rows of logits lack their last value.
    WrongShape,
    /// Memory is allocated and used without end.
    Oom,
    /// Every session leaves 64 KiB behind.
    Leak,
    /// Every token takes longer.
    Slow,
    /// Bytes are written where they do not belong, and logits mean nothing.
    Garbage,
    /// One layer computes something else.
    Layer(Fault),
}

impl Mode {
    /// Every fault.
    pub(crate) const ALL: [Self; 19] = [
        Self::None,
        Self::Refuse,
        Self::Segv,
        Self::Abort,
        Self::Panic,
        Self::Exit,
        Self::Hang,
        Self::Nan,
        Self::Inf,
        Self::WrongShape,
        Self::Oom,
        Self::Leak,
        Self::Slow,
        Self::Garbage,
        Self::Layer(Fault::RopeBase),
        Self::Layer(Fault::NoScale),
        Self::Layer(Fault::MaskOffByOne),
        Self::Layer(Fault::SwappedHeads),
        Self::Layer(Fault::StaleKv),
    ];

    /// Name in an engine spec.
    #[must_use]
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Refuse => "refuse",
            Self::Segv => "segv",
            Self::Abort => "abort",
            Self::Panic => "panic",
            Self::Exit => "exit",
            Self::Hang => "hang",
            Self::Nan => "nan",
            Self::Inf => "inf",
            Self::WrongShape => "wrong_shape",
            Self::Oom => "oom",
            Self::Leak => "leak",
            Self::Slow => "slow",
            Self::Garbage => "garbage",
            Self::Layer(fault) => fault.name(),
        }
    }
}

impl FromStr for Mode {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|mode| mode.name() == text);
        found.ok_or_else(|| format!("use one of {}", Self::ALL.map(Self::name).join(", ")))
    }
}
