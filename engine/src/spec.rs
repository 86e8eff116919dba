//! Engine specs: `id[:key=value,…]`.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use crate::EngineError;

/// What the user asked for: an engine id and its options.
///
/// ```
/// use harness_engine::EngineSpec;
///
/// let spec: EngineSpec = "reference:weights=q4_0,threads=2".parse()?;
/// assert_eq!(spec.id, "reference");
/// assert_eq!(spec.options.get("weights"), Some("q4_0"));
/// assert_eq!(spec.to_string(), "reference:threads=2,weights=q4_0");
/// # Ok::<(), harness_engine::SpecError>(())
/// ```
///
/// Only the first colon separates, so values may hold URLs. A comma inside a
/// value is written `\,` and a backslash `\\`:
///
/// ```
/// use harness_engine::EngineSpec;
///
/// let spec: EngineSpec = r"stdio:command=engine --layers 1\,2".parse()?;
/// assert_eq!(spec.options.get("command"), Some("engine --layers 1,2"));
/// # Ok::<(), harness_engine::SpecError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EngineSpec {
    /// Engine id, e.g. `reference`.
    pub id: String,
    /// Options by key.
    pub options: EngineOptions,
}

/// Options of an engine, by key, in alphabetical order so that equal specs
/// print equally.
///
/// ```
/// use harness_engine::EngineOptions;
///
/// let mut options = EngineOptions::default();
/// options.set("weights", "q4_0");
/// options.set("threads", "2");
/// let all: Vec<_> = options.iter().collect();
/// assert_eq!(all, [("threads", "2"), ("weights", "q4_0")]);
/// assert_eq!(options.get("kv"), None);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EngineOptions(BTreeMap<String, String>);

/// A spec that cannot be read.
///
/// ```
/// use harness_engine::{EngineSpec, SpecError};
///
/// let error = "reference:threads=2,threads=4".parse::<EngineSpec>();
/// assert!(matches!(error, Err(SpecError::Duplicate { key, .. }) if key == "threads"));
/// ```
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum SpecError {
    /// Nothing before the first colon.
    #[error(
        "engine spec `{0}` names no engine; write id[:key=value,…], e.g. reference:weights=q4_0"
    )]
    NoId(String),
    /// An option that is not `key=value`.
    #[error(
        "engine spec `{spec}`: `{part}` is not key=value (a comma within a value is written `\\,`)"
    )]
    NotKeyValue {
        /// The whole spec.
        spec: String,
        /// The offending part.
        part: String,
    },
    /// A key given twice.
    #[error("engine spec `{spec}`: `{key}` is given twice")]
    Duplicate {
        /// The whole spec.
        spec: String,
        /// The repeated key.
        key: String,
    },
}

impl FromStr for EngineSpec {
    type Err = SpecError;

    fn from_str(spec: &str) -> Result<Self, SpecError> {
        let (id, rest) = spec.split_once(':').unwrap_or((spec, ""));
        if id.trim().is_empty() {
            return Err(SpecError::NoId(spec.into()));
        }
        let mut options = BTreeMap::new();
        for part in split_unescaped(rest) {
            let (key, value) = part
                .split_once('=')
                .filter(|(key, _)| !key.trim().is_empty())
                .ok_or_else(|| SpecError::NotKeyValue {
                    spec: spec.into(),
                    part: part.clone(),
                })?;
            let key = key.trim().to_owned();
            if options.insert(key.clone(), value.to_owned()).is_some() {
                return Err(SpecError::Duplicate {
                    spec: spec.into(),
                    key,
                });
            }
        }
        Ok(Self {
            id: id.trim().into(),
            options: EngineOptions(options),
        })
    }
}

/// Splits at commas that no backslash precedes, and removes the backslashes.
fn split_unescaped(text: &str) -> Vec<String> {
    let mut parts = Vec::new();
    let mut part = String::new();
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => part.push(chars.next().unwrap_or('\\')),
            ',' => parts.push(std::mem::take(&mut part)),
            _ => part.push(c),
        }
    }
    if !part.is_empty() || !parts.is_empty() {
        parts.push(part);
    }
    parts
}

impl fmt::Display for EngineSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.id)?;
        for (index, (key, value)) in self.options.iter().enumerate() {
            let value = value.replace('\\', r"\\").replace(',', r"\,");
            write!(f, "{}{key}={value}", if index == 0 { ':' } else { ',' })?;
        }
        Ok(())
    }
}

impl EngineOptions {
    /// The value of `key`.
    ///
    /// ```
    /// use harness_engine::EngineSpec;
    ///
    /// let options = "openai:url=http://127.0.0.1:8080/v1".parse::<EngineSpec>()?.options;
    /// assert_eq!(options.get("url"), Some("http://127.0.0.1:8080/v1"));
    /// assert_eq!(options.get("timeout_s").unwrap_or("120"), "120");
    /// # Ok::<(), harness_engine::SpecError>(())
    /// ```
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).map(String::as_str)
    }

    /// Sets `key`.
    ///
    /// A suite opens the same engine once more, with other weights:
    ///
    /// ```
    /// use harness_engine::EngineSpec;
    ///
    /// let mut spec: EngineSpec = "reference:threads=2,weights=f32".parse()?;
    /// spec.options.set("weights", "q8_0");
    /// assert_eq!(spec.to_string(), "reference:threads=2,weights=q8_0");
    /// # Ok::<(), harness_engine::SpecError>(())
    /// ```
    pub fn set(&mut self, key: impl Into<String>, value: impl Into<String>) {
        self.0.insert(key.into(), value.into());
    }

    /// Removes `key` and returns its value.
    ///
    /// An engine around another keeps its own options from it:
    ///
    /// ```
    /// use harness_engine::EngineSpec;
    ///
    /// let mut options = "faulty:mode=nan,threads=2".parse::<EngineSpec>()?.options;
    /// assert_eq!(options.take("mode").as_deref(), Some("nan"));
    /// assert!(options.refuse_unknown("reference", &["threads"]).is_ok());
    /// # Ok::<(), harness_engine::SpecError>(())
    /// ```
    pub fn take(&mut self, key: &str) -> Option<String> {
        self.0.remove(key)
    }

    /// Keys and values in alphabetical order.
    ///
    /// ```
    /// use harness_engine::EngineSpec;
    ///
    /// let options = "mine:threads=2,kv=f16".parse::<EngineSpec>()?.options;
    /// let arguments: Vec<_> = options.iter().map(|(key, value)| format!("--{key}={value}")).collect();
    /// assert_eq!(arguments, ["--kv=f16", "--threads=2"]);
    /// # Ok::<(), harness_engine::SpecError>(())
    /// ```
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0
            .iter()
            .map(|(key, value)| (key.as_str(), value.as_str()))
    }

    /// The value of `key` read as `T`, or `default` when it is absent.
    ///
    /// # Errors
    /// [`FailureKind::InvalidInput`](crate::FailureKind::InvalidInput) with
    /// the key, the value and the reason.
    ///
    /// ```
    /// use harness_engine::EngineSpec;
    ///
    /// let options = "mine:threads=two".parse::<EngineSpec>()?.options;
    /// assert_eq!(options.parse_or("context", 4096).ok(), Some(4096));
    /// let error = options.parse_or("threads", 1_usize).map_err(|error| error.to_string());
    /// assert_eq!(error, Err("engine option `threads=two`: invalid digit found in string".into()));
    /// # Ok::<(), harness_engine::SpecError>(())
    /// ```
    pub fn parse_or<T>(&self, key: &str, default: T) -> Result<T, EngineError>
    where
        T: FromStr,
        T::Err: fmt::Display,
    {
        self.get(key).map_or(Ok(default), |value| {
            value.parse().map_err(|why| {
                EngineError::invalid(format!("engine option `{key}={value}`: {why}"))
            })
        })
    }

    /// Refuses any key outside `known`.
    ///
    /// # Errors
    /// [`FailureKind::InvalidInput`](crate::FailureKind::InvalidInput) naming
    /// the key and those that exist.
    ///
    /// ```
    /// use harness_engine::EngineSpec;
    ///
    /// let options = "mine:wieghts=q4_0".parse::<EngineSpec>()?.options;
    /// let error = options.refuse_unknown("mine", &["weights", "kv"]).map_err(|error| error.to_string());
    /// assert_eq!(error, Err("engine `mine` has no option `wieghts`; it takes weights, kv".into()));
    /// # Ok::<(), harness_engine::SpecError>(())
    /// ```
    pub fn refuse_unknown(&self, engine: &str, known: &[&str]) -> Result<(), EngineError> {
        match self.0.keys().find(|key| !known.contains(&key.as_str())) {
            None => Ok(()),
            Some(key) if known.is_empty() => Err(EngineError::invalid(format!(
                "engine `{engine}` has no option `{key}`; it takes none"
            ))),
            Some(key) => Err(EngineError::invalid(format!(
                "engine `{engine}` has no option `{key}`; it takes {}",
                known.join(", ")
            ))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<EngineSpec, SpecError> {
        text.parse()
    }

    #[test]
    fn only_the_first_colon_separates() {
        let spec = parse("openai:url=http://127.0.0.1:8080/v1").unwrap();
        assert_eq!(spec.options.get("url"), Some("http://127.0.0.1:8080/v1"));
    }

    #[test]
    fn printing_and_parsing_are_inverse() {
        for text in [
            "reference",
            r"stdio:command=a\,b \\ c,x=1",
            "coreml:units=all",
        ] {
            let spec = parse(text).unwrap();
            assert_eq!(parse(&spec.to_string()).unwrap(), spec, "{text}");
        }
    }

    #[test]
    fn names_the_faulty_part() {
        assert_eq!(parse(":a=1"), Err(SpecError::NoId(":a=1".into())));
        assert!(
            parse("r:weights")
                .unwrap_err()
                .to_string()
                .contains("`weights`")
        );
        assert!(
            parse("r:a=1,")
                .unwrap_err()
                .to_string()
                .contains("not key=value")
        );
        assert!(
            parse("r:a=1,a=2")
                .unwrap_err()
                .to_string()
                .contains("twice")
        );
    }

    #[test]
    fn unknown_keys_are_refused_with_the_known_ones() {
        let spec = parse("r:wieghts=q4_0").unwrap();
        let error = spec
            .options
            .refuse_unknown("r", &["weights", "kv"])
            .unwrap_err();
        assert!(
            error
                .to_string()
                .contains("`wieghts`; it takes weights, kv"),
            "{error}"
        );
    }
}
