//! Settings of a suite, from `harness.toml` and `--set`.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A setting that a suite reads.
///
/// ```
/// use harness_suites::find;
///
/// let suite = find("latency").ok_or("no such suite")?;
/// let mut settings = suite.settings().iter();
/// let duration = settings.find(|setting| setting.key == "max_duration_s").ok_or("no limit")?;
/// assert_eq!(duration.unit, "s");
/// let (full, quick): (f64, f64) = (duration.default.parse()?, duration.quick.parse()?);
/// assert!(quick < full);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Setting {
    /// Key, written `suite.key` outside the suite.
    pub key: &'static str,
    /// Value when none is given.
    pub default: &'static str,
    /// Value of a `--quick` run.
    pub quick: &'static str,
    /// Unit or type of the value.
    pub unit: &'static str,
    /// What it does.
    pub help: &'static str,
}

/// Values by key; absent keys have their default.
///
/// ```
/// use harness_suites::{Settings, find};
///
/// let suite = find("parity").ok_or("no such suite")?;
/// let mut settings = Settings::default();
/// settings.set("ctx", "64");
/// settings.refuse_unknown(suite.name(), suite.settings())?;
/// settings.complete(suite.settings(), false);
/// let value = |key| settings.iter().find(|(known, _)| *known == key).map(|(_, value)| value);
/// assert_eq!((value("ctx"), value("windows")), (Some("64"), Some("6")));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Settings(BTreeMap<String, String>);

/// A setting that does not exist or has an unusable value.
///
/// ```
/// use harness_suites::{SettingError, Settings, find};
///
/// let suite = find("perplexity").ok_or("no such suite")?;
/// let mut settings = Settings::default();
/// settings.set("max_delta_pct", "two");
/// match suite.figures(&settings, &Default::default(), None) {
///     Err(SettingError::Value { key, value, .. }) => {
///         assert_eq!((&*key, &*value), ("max_delta_pct", "two"));
///     }
///     other => panic!("{other:?}"),
/// }
/// # Ok::<(), &str>(())
/// ```
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum SettingError {
    /// No such key.
    #[error("suite `{suite}` has no setting `{key}`; it has {known}")]
    Unknown {
        /// Name of the suite.
        suite: &'static str,
        /// The key given.
        key: String,
        /// The keys that exist.
        known: String,
    },
    /// The value cannot be read or is out of range.
    #[error("setting `{key}={value}`: {why}")]
    Value {
        /// The key.
        key: String,
        /// The value given.
        value: String,
        /// What is wrong with it.
        why: String,
    },
}

impl Settings {
    /// Sets `key`.
    ///
    /// ```
    /// use harness_suites::Settings;
    ///
    /// let mut settings = Settings::default();
    /// settings.set("ctx", "512");
    /// // The last word counts: the command line's over the file's.
    /// settings.set("ctx", "64");
    /// assert_eq!(settings.iter().collect::<Vec<_>>(), [("ctx", "64")]);
    /// ```
    pub fn set(&mut self, key: impl Into<String>, value: impl Into<String>) {
        self.0.insert(key.into(), value.into());
    }

    /// Refuses keys outside `known`.
    ///
    /// # Errors
    /// [`SettingError::Unknown`].
    ///
    /// ```
    /// use harness_suites::{Settings, find};
    ///
    /// let suite = find("kv").ok_or("no such suite")?;
    /// let mut settings = Settings::default();
    /// settings.set("stepp", "32");
    /// let typo = settings.refuse_unknown(suite.name(), suite.settings());
    /// let message = "suite `kv` has no setting `stepp`; it has text, ctx, step";
    /// assert_eq!(typo.map_err(|error| error.to_string()), Err(message.into()));
    /// # Ok::<(), &str>(())
    /// ```
    pub fn refuse_unknown(
        &self,
        suite: &'static str,
        known: &[Setting],
    ) -> Result<(), SettingError> {
        match self
            .0
            .keys()
            .find(|key| !known.iter().any(|setting| setting.key == *key))
        {
            None => Ok(()),
            Some(key) => Err(SettingError::Unknown {
                suite,
                key: key.clone(),
                known: known
                    .iter()
                    .map(|setting| setting.key)
                    .collect::<Vec<_>>()
                    .join(", "),
            }),
        }
    }

    /// Fills in what is not set: from each setting's default, or from its
    /// `--quick` value.
    ///
    /// ```
    /// use harness_suites::{Settings, find};
    ///
    /// let suite = find("kv").ok_or("no such suite")?;
    /// let mut settings = Settings::default();
    /// settings.set("step", "32");
    /// settings.complete(suite.settings(), true);
    /// let all: Vec<(&str, &str)> = settings.iter().collect();
    /// assert_eq!(all, [("ctx", "256"), ("step", "32"), ("text", "")]);
    /// # Ok::<(), &str>(())
    /// ```
    pub fn complete(&mut self, settings: &[Setting], quick: bool) {
        for setting in settings {
            let value = if quick {
                setting.quick
            } else {
                setting.default
            };
            self.0
                .entry(setting.key.into())
                .or_insert_with(|| value.into());
        }
    }

    /// Keys and values in alphabetical order.
    ///
    /// ```
    /// use harness_suites::Settings;
    ///
    /// let mut settings = Settings::default();
    /// settings.set("windows", "6");
    /// settings.set("ctx", "64");
    /// let given: Vec<String> = settings.iter().map(|(key, value)| format!("{key}={value}")).collect();
    /// assert_eq!(given, ["ctx=64", "windows=6"]);
    /// ```
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0
            .iter()
            .map(|(key, value)| (key.as_str(), value.as_str()))
    }

    /// The value of `setting`, given or default.
    ///
    /// ```
    /// use harness_suites::{Settings, find};
    ///
    /// let suite = find("golden").ok_or("no such suite")?;
    /// let mut known = suite.settings().iter();
    /// let sampling = known.find(|setting| setting.key == "sampling").ok_or("no such setting")?;
    /// let mut settings = Settings::default();
    /// assert_eq!(settings.text(sampling), "greedy");
    /// settings.set("sampling", "temperature=0.8,seed=1");
    /// assert_eq!(settings.text(sampling), "temperature=0.8,seed=1");
    /// # Ok::<(), &str>(())
    /// ```
    #[must_use]
    pub fn text(&self, setting: &Setting) -> &str {
        self.0
            .get(setting.key)
            .map_or(setting.default, String::as_str)
    }

    /// The value of `setting` as a `T` that `admits` accepts.
    ///
    /// # Errors
    /// [`SettingError::Value`].
    ///
    /// ```
    /// use harness_suites::{Setting, Settings};
    ///
    /// const SESSIONS: Setting = Setting {
    ///     key: "sessions",
    ///     default: "8",
    ///     quick: "5",
    ///     unit: "sessions",
    ///     help: "how many are open at once",
    /// };
    /// let some = |&value: &usize| match value {
    ///     0 => Err("at least 1".to_owned()),
    ///     _ => Ok(()),
    /// };
    /// let mut settings = Settings::default();
    /// assert_eq!(settings.get(&SESSIONS, some)?, 8);
    /// settings.set("sessions", "0");
    /// let refused = settings.get(&SESSIONS, some).map_err(|error| error.to_string());
    /// assert_eq!(refused, Err("setting `sessions=0`: at least 1".into()));
    /// # Ok::<(), harness_suites::SettingError>(())
    /// ```
    pub fn get<T>(
        &self,
        setting: &Setting,
        admits: impl Fn(&T) -> Result<(), String>,
    ) -> Result<T, SettingError>
    where
        T: FromStr<Err: Display>,
    {
        let text = self.text(setting);
        text.parse::<T>()
            .map_err(|error| error.to_string())
            .and_then(|value| admits(&value).map(|()| value))
            .map_err(|why| SettingError::Value {
                key: setting.key.into(),
                value: text.into(),
                why,
            })
    }
}

/// Accepts counts from `least` to `most`.
pub(crate) fn within(least: usize, most: usize) -> impl Fn(&usize) -> Result<(), String> {
    move |value| match *value {
        value if value < least => Err(format!("at least {least}")),
        value if value > most => Err(format!("at most {most}")),
        _ => Ok(()),
    }
}
