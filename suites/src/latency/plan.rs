//! The settings, read and resolved.

use std::str::FromStr;

use engine::TokenId;
use stats::min_queries;

use super::arrivals::Process;
use super::extent::Extent;
use crate::text::{self, TextError};
use crate::{Input, Setting, SettingError, SuiteError};

pub(super) const TEXT: Setting = Setting {
    key: "text",
    default: "",
    quick: "",
    unit: "file",
    help: "UTF-8 text that prompts and answers are cut from; empty means the embedded held-out text",
};
pub(super) const PROMPTS: Setting = Setting {
    key: "prompts",
    default: "32,128,512",
    quick: "32,128",
    unit: "tokens",
    help: "lengths of prompts; the middle one is that of decode and of all traffic",
};
pub(super) const DECODE_TOKENS: Setting = Setting {
    key: "decode_tokens",
    default: "32",
    quick: "16",
    unit: "tokens",
    help: "length of an answer",
};
pub(super) const DURATION_S: Setting = Setting {
    key: "duration_s",
    default: "0.3",
    quick: "0.05",
    unit: "s",
    help: "how long a case is measured at least",
};
pub(super) const MAX_DURATION_S: Setting = Setting {
    key: "max_duration_s",
    default: "0.6",
    quick: "0.15",
    unit: "s",
    help: "how long a case is measured at most, and how long traffic lasts",
};
pub(super) const TARGET_CI_PCT: Setting = Setting {
    key: "target_ci_pct",
    default: "1",
    quick: "2",
    unit: "%",
    help: "a case goes on until half the 95 % interval of its median is this share of it",
};
pub(super) const PERCENTILE: Setting = Setting {
    key: "percentile",
    default: "99",
    quick: "90",
    unit: "%",
    help: "decode goes on until it has the tokens that MLPerf asks for at this percentile",
};
pub(super) const MAX_CONTEXT: Setting = Setting {
    key: "max_context",
    default: "1024",
    quick: "512",
    unit: "tokens",
    help: "where the sweep over contexts ends, if the model's does not before",
};
pub(super) const ARRIVALS: Setting = Setting {
    key: "arrivals",
    default: "poisson",
    quick: "poisson",
    unit: "process",
    help: "how requests of the open loop come: poisson or constant",
};
pub(super) const RATE_PER_S: Setting = Setting {
    key: "rate_per_s",
    default: "0",
    quick: "0",
    unit: "requests/s",
    help: "how many come; 0 means half of what the closed loop got through",
};
pub(super) const SEED: Setting = Setting {
    key: "seed",
    default: "1",
    quick: "1",
    unit: "integer",
    help: "seed of the schedule of arrivals",
};
pub(super) const CONCURRENCY: Setting = Setting {
    key: "concurrency",
    default: "2",
    quick: "2",
    unit: "sessions",
    help: "how many sessions are used at once in the case `concurrent`",
};

pub(super) const SETTINGS: &[Setting] = &[
    TEXT,
    PROMPTS,
    DECODE_TOKENS,
    DURATION_S,
    MAX_DURATION_S,
    TARGET_CI_PCT,
    PERCENTILE,
    MAX_CONTEXT,
    ARRIVALS,
    RATE_PER_S,
    SEED,
    CONCURRENCY,
];

/// Confidence of the count of tokens, and tokens that may miss a target: MLPerf's.
const COUNT_CONFIDENCE: f64 = 0.99;
const OVER_LIMIT: u64 = 1;

/// A day: no case takes longer.
const LONGEST_S: f64 = 86_400.0;

/// Most threads of the case `concurrent`.
const MOST_SESSIONS: usize = 1_024;

/// What a cell is to measure.
pub(super) struct Plan {
    /// The text, with BOS where the model wants it; at least one token.
    pub(super) tokens: Vec<TokenId>,
    /// Lengths of prompts, ascending.
    pub(super) prompts: Vec<usize>,
    pub(super) decode_tokens: usize,
    pub(super) extent: Extent,
    pub(super) percentile: f64,
    /// Tokens that `percentile` asks for.
    pub(super) queries: usize,
    pub(super) max_context: usize,
    pub(super) process: Process,
    /// `None`: by what the engine can do.
    pub(super) rate_per_s: Option<f64>,
    pub(super) seed: u64,
    pub(super) concurrency: usize,
}

impl Plan {
    pub(super) fn read(input: &Input<'_>) -> Result<Self, SuiteError> {
        let settings = input.settings;
        let Lengths(prompts) = settings.get(&PROMPTS, |_| Ok(()))?;
        let decode_tokens = settings.get(&DECODE_TOKENS, within(1, 1_000_000))?;
        let least_s = settings.get(&DURATION_S, within(0.0, LONGEST_S))?;
        let most_s: f64 = settings.get(&MAX_DURATION_S, within(least_s, LONGEST_S))?;
        let target_pct: f64 = settings.get(&TARGET_CI_PCT, within(0.0, 100.0))?;
        let percentile: f64 = settings.get(&PERCENTILE, within(50.0, 99.99))?;
        let rate: f64 = settings.get(&RATE_PER_S, within(0.0, 1e9))?;
        let queries = min_queries(percentile / 100.0, COUNT_CONFIDENCE, OVER_LIMIT);
        Ok(Self {
            tokens: tokens(input)?,
            prompts,
            decode_tokens,
            extent: Extent {
                least_ns: (least_s * 1e9) as u64,
                most_ns: (most_s * 1e9) as u64,
                target: target_pct / 100.0,
            },
            percentile,
            queries: queries.map_err(|error| refused(input, &PERCENTILE, error.to_string()))?
                as usize,
            max_context: settings.get(&MAX_CONTEXT, within(1, 1 << 24))?,
            process: settings.get(&ARRIVALS, |_| Ok(()))?,
            rate_per_s: (rate > 0.0).then_some(rate),
            seed: settings.get(&SEED, |_| Ok(()))?,
            concurrency: settings.get(&CONCURRENCY, within(1, MOST_SESSIONS))?,
        })
    }

    /// The first `length` tokens of the text, repeated if it is shorter: what is read
    /// matters little to how long it takes.
    pub(super) fn window(&self, length: usize) -> Vec<TokenId> {
        self.tokens.iter().copied().cycle().take(length).collect()
    }

    /// Lengths of prompts that leave room for an answer in a context of `context`
    /// tokens, and those that do not.
    pub(super) fn fitting(&self, context: usize) -> (&[usize], &[usize]) {
        let fits = |length: &usize| length + self.decode_tokens <= context;
        self.prompts.split_at(self.prompts.partition_point(fits))
    }
}

/// The refusal of a value that was found wanting only later.
pub(super) fn refused(input: &Input<'_>, setting: &Setting, why: String) -> SettingError {
    SettingError::Value {
        key: setting.key.into(),
        value: input.settings.text(setting).into(),
        why,
    }
}

fn tokens(input: &Input<'_>) -> Result<Vec<TokenId>, SuiteError> {
    let path = input.settings.text(&TEXT);
    let text = text::named_or(path, input.defaults.text)?;
    let ids = input.tokenizer.encode(&text).map_err(TextError::from);
    let ids = ids.map_err(|error| error.in_file(path))?;
    if ids.is_empty() {
        let empty = TextError::TooShort {
            tokens: 0,
            window: 1,
        };
        return Err(empty.in_file(path).into());
    }
    Ok(input.tokenizer.bos().into_iter().chain(ids).collect())
}

fn within<T: PartialOrd + std::fmt::Display>(
    least: T,
    most: T,
) -> impl Fn(&T) -> Result<(), String> {
    move |value| match (&least..=&most).contains(&value) {
        true => Ok(()),
        false => Err(format!("expected a number from {least} to {most}")),
    }
}

/// A list of lengths, written with commas.
struct Lengths(Vec<usize>);

impl FromStr for Lengths {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut lengths = Vec::new();
        for part in text.split(',') {
            match part.trim().parse() {
                Ok(length) if length > 0 => lengths.push(length),
                _ => {
                    return Err(format!(
                        "`{part}` is no number of tokens; write e.g. 32,128"
                    ));
                }
            }
        }
        lengths.sort_unstable();
        lengths.dedup();
        Ok(Self(lengths))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_put_in_order() {
        let Lengths(lengths) = "512, 32,32".parse().unwrap();
        assert_eq!(lengths, [32, 512]);
        for text in ["", "0", "1,,2", "-1", "x"] {
            assert!(text.parse::<Lengths>().is_err(), "{text}");
        }
    }

    #[test]
    fn nan_is_within_no_bounds() {
        assert!(within(0.0, 1.0)(&f64::NAN).is_err());
        assert!(within(0.0, 1.0)(&1.0).is_ok());
        assert!(within(0.0, 1.0)(&1.1).is_err());
    }
}
