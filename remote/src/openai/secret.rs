//! The API key: read from the environment, sent to the server, and shown to nobody.

use std::env;
use std::fmt;

use engine::EngineError;

/// A key that prints as dots.
#[derive(Clone)]
pub(super) struct Secret(String);

impl Secret {
    /// The key in the environment variable `name`.
    ///
    /// # Errors
    /// [`FailureKind::InvalidInput`](engine::FailureKind::InvalidInput), naming the
    /// variable and never its value.
    pub(super) fn from_env(name: &str) -> Result<Self, EngineError> {
        let bad = |why: &str| {
            EngineError::invalid(format!(
                "engine option `api_key_env={name}`: the environment variable {why}; \
                 put the API key there"
            ))
        };
        // A key in place of a name would be recorded with the spec.
        let is_name = |name: &str| {
            let mut bytes = name.bytes();
            !name.is_empty() && bytes.all(|b| b.is_ascii_alphanumeric() || b == b'_')
        };
        if !is_name(name) {
            return Err(EngineError::invalid(
                "engine option `api_key_env` takes the name of an environment variable: \
                 letters, digits and underscores (not the key itself)",
            ));
        }
        let value = env::var(name).map_err(|error| match error {
            env::VarError::NotPresent => bad("is not set"),
            env::VarError::NotUnicode(_) => bad("holds no plain text"),
        })?;
        let visible = |text: &str| text.bytes().all(|byte| byte.is_ascii_graphic());
        match value.trim() {
            "" => Err(bad("is empty")),
            key if visible(key) => Ok(Self(key.into())),
            _ => Err(bad("holds characters that no header can")),
        }
    }

    /// The value of the header `Authorization`.
    pub(super) fn bearer(&self) -> String {
        format!("Bearer {}", self.0)
    }

    /// Blots out the key where a server repeats it, so that it gets into no record. The
    /// length stays, so that what is around it reads the same.
    pub(super) fn redact(&self, bytes: &mut [u8]) {
        let key = self.0.as_bytes();
        let mut at = 0;
        while at + key.len() <= bytes.len() {
            if bytes[at..].starts_with(key) {
                bytes[at..at + key.len()].fill(b'*');
                at += key.len();
            } else {
                at += 1;
            }
        }
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("…")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_blotted_out() {
        let key = Secret("sk-secret".into());
        let mut text = b"no such key: sk-secret, sk-secret!sk-secre".to_vec();
        key.redact(&mut text);
        assert_eq!(text, b"no such key: *********, *********!sk-secre");
        assert_eq!(format!("{key:?}"), "…");
    }

    #[test]
    fn a_key_in_place_of_its_name_is_not_repeated() {
        let error = Secret::from_env("sk-abc-123").unwrap_err();
        assert!(!error.to_string().contains("abc"), "{error}");
        let unset = Secret::from_env("HARNESS_NO_SUCH_KEY").unwrap_err();
        assert!(unset.to_string().contains("HARNESS_NO_SUCH_KEY"));
    }
}
