//! `harness.toml`, and what the command line puts above it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use suites::{Settings, Suite};
use toml::{Table, Value};

use crate::past::AgainstHistory;
use crate::run::limits;
use crate::verdict::UserGate;

pub(crate) const DEFAULT_FILE: &str = "harness.toml";

/// Keys outside the suites' tables, which are the arguments of `harness run` that they stand for.
pub(crate) const KEYS: [&str; 10] = [
    "suites",
    "engines",
    "baseline",
    "model",
    "gates",
    "fallback",
    "budget",
    "stall",
    "memory_limit",
    "history",
];

/// What a configuration file says.
#[derive(Debug, Default)]
pub(crate) struct Config {
    pub(crate) suites: Vec<String>,
    pub(crate) engines: Vec<String>,
    pub(crate) baseline: Option<String>,
    pub(crate) model: Option<PathBuf>,
    pub(crate) gates: Vec<UserGate>,
    pub(crate) fallback: Option<String>,
    pub(crate) budget: Option<Duration>,
    pub(crate) stall: Option<Duration>,
    pub(crate) memory_limit: Option<u64>,
    /// What runs are held against.
    pub(crate) history: Option<AgainstHistory>,
    /// Settings by suite.
    settings: BTreeMap<&'static str, Settings>,
}

impl Config {
    /// Reads `path`, or `harness.toml` in the current folder if there is one.
    pub(crate) fn load(path: Option<&Path>) -> Result<Self> {
        let path = match path {
            Some(path) => path,
            None if Path::new(DEFAULT_FILE).exists() => Path::new(DEFAULT_FILE),
            None => return Ok(Self::default()),
        };
        let text = fs::read_to_string(path)
            .with_context(|| format!("cannot read configuration {}", path.display()))?;
        // A TOML error is a sketch of several lines; one line is enough here.
        let table: Table = text.parse().map_err(|error: toml::de::Error| {
            let line = error
                .span()
                .map_or(1, |span| text[..span.start].matches('\n').count() + 1);
            anyhow!("{} line {line}: {}", path.display(), error.message())
        })?;
        Self::read(table).with_context(|| format!("configuration {}", path.display()))
    }

    fn read(table: Table) -> Result<Self> {
        let mut config = Self::default();
        for (key, value) in table {
            match (key.as_str(), value) {
                ("suites", value) => config.suites = strings(&key, value)?,
                ("engines", value) => config.engines = strings(&key, value)?,
                ("baseline", Value::String(spec)) => config.baseline = Some(spec),
                ("model", Value::String(path)) => config.model = Some(path.into()),
                ("gates", value) => {
                    for gate in strings(&key, value)? {
                        config.gates.push(gate.parse()?);
                    }
                }
                ("fallback", Value::String(spec)) => config.fallback = Some(spec),
                ("budget", Value::String(text)) => config.budget = Some(limit(&key, &text)?),
                ("stall", Value::String(text)) => config.stall = Some(limit(&key, &text)?),
                ("memory_limit", Value::String(text)) => {
                    let bytes = limits::bytes(&text).map_err(|why| anyhow!("`{key}`: {why}"))?;
                    config.memory_limit = Some(bytes);
                }
                ("baseline" | "model" | "fallback" | "budget" | "stall" | "memory_limit", _) => {
                    bail!("`{key}` must be a string")
                }
                ("history", Value::Table(table)) => {
                    config.history = Some(AgainstHistory::read(table)?);
                }
                ("history", _) => bail!("`history` must be a table: [history]"),
                (suite, Value::Table(settings)) => {
                    let suite = find_suite(suite)?;
                    for (key, value) in settings {
                        config.set(suite, &key, scalar(&key, value)?);
                    }
                }
                (key, _) => bail!("`{key}` is none of {} or a suite's table", KEYS.join(", ")),
            }
        }
        Ok(config)
    }

    /// Applies `suite.key=value`.
    pub(crate) fn set_from(&mut self, text: &str) -> Result<()> {
        let (suite, key, value) = text
            .split_once('=')
            .and_then(|(path, value)| path.split_once('.').map(|(suite, key)| (suite, key, value)))
            .ok_or_else(|| anyhow!("--set {text}: expected suite.key=value"))?;
        self.set(find_suite(suite)?, key, value.into());
        Ok(())
    }

    fn set(&mut self, suite: &'static dyn Suite, key: &str, value: String) {
        self.settings
            .entry(suite.name())
            .or_default()
            .set(key, value);
    }

    /// The settings of `suite`, complete.
    pub(crate) fn settings(&self, suite: &dyn Suite, quick: bool) -> Settings {
        let mut settings = self.settings.get(suite.name()).cloned().unwrap_or_default();
        settings.complete(suite.settings(), quick);
        settings
    }
}

pub(crate) fn find_suite(name: &str) -> Result<&'static dyn Suite> {
    suites::find(name).ok_or_else(|| {
        let known: Vec<&str> = suites::all().iter().map(|suite| suite.name()).collect();
        anyhow!("no suite `{name}`; there is {}", known.join(", "))
    })
}

fn limit(key: &str, text: &str) -> Result<Duration> {
    limits::duration(text).map_err(|why| anyhow!("`{key}`: {why}"))
}

fn strings(key: &str, value: Value) -> Result<Vec<String>> {
    let wrong = || anyhow!("`{key}` must be a list of strings");
    let Value::Array(items) = value else {
        return Err(wrong());
    };
    items
        .into_iter()
        .map(|item| match item {
            Value::String(text) => Ok(text),
            _ => Err(wrong()),
        })
        .collect()
}

fn scalar(key: &str, value: Value) -> Result<String> {
    match value {
        Value::String(text) => Ok(text),
        Value::Integer(n) => Ok(n.to_string()),
        Value::Float(x) => Ok(x.to_string()),
        Value::Boolean(b) => Ok(b.to_string()),
        _ => bail!("setting `{key}` must be a string, a number or a boolean"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Config> {
        Config::read(text.parse()?)
    }

    #[test]
    fn the_command_line_stands_above_the_file() {
        let mut config = read("[parity]\nctx = 512\nwindows = 3").unwrap();
        config.set_from("parity.ctx=64").unwrap();
        let settings = config.settings(find_suite("parity").unwrap(), false);
        let values: BTreeMap<&str, &str> = settings.iter().collect();
        assert_eq!((values["ctx"], values["windows"]), ("64", "3"));
        assert!(
            values.contains_key("decode_tokens"),
            "defaults are filled in"
        );
    }

    #[test]
    fn mistakes_are_named() {
        for (text, word) in [
            ("sweets = []", "sweets"),
            ("gates = [\"parity.kl\"]", "parity.kl"),
            ("engines = \"reference\"", "list of strings"),
            ("[partiy]\nctx = 1", "partiy"),
            ("[parity]\nctx = [1]", "ctx"),
            ("budget = \"soon\"", "soon"),
            ("memory_limit = 2", "must be a string"),
            ("history = true", "[history]"),
            ("[history]\nurl = 3", "history.url"),
            ("[history]\nalpha = 2", "history.alpha"),
            ("[history]\nalpha = \"a\"", "a number"),
            ("[history]\nthreshold_pct = -1", "history.threshold_pct"),
            ("[history]\nmetrics = 3", "history.metrics"),
        ] {
            let error = format!("{:#}", read(text).unwrap_err());
            assert!(error.contains(word), "{error}");
        }
    }
}
