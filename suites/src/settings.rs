//! Settings of a suite, from `harness.toml` and `--set`.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A setting that a suite reads.
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
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Settings(BTreeMap<String, String>);

/// A setting that does not exist or has an unusable value.
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
    pub fn set(&mut self, key: impl Into<String>, value: impl Into<String>) {
        self.0.insert(key.into(), value.into());
    }

    /// Refuses keys outside `known`.
    ///
    /// # Errors
    /// [`SettingError::Unknown`].
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
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0
            .iter()
            .map(|(key, value)| (key.as_str(), value.as_str()))
    }

    /// The value of `setting`, given or default.
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
