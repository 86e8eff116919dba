//! Metadata: values under string keys.

use std::collections::HashMap;

use super::MetadataError;
use super::convert::{FromValue, Mismatch};
use super::value::Value;

/// Keys and values, in the order of the file.
///
/// ```
/// use harness_reference::gguf::{Metadata, MetadataError};
///
/// let mut metadata = Metadata::new();
/// metadata.set("llama.block_count", 5u32);
/// // Converters disagree on the width of integers, so readers need not know it.
/// assert_eq!(metadata.get::<usize>("llama.block_count"), Ok(5));
/// let text = metadata.get::<&str>("llama.block_count");
/// assert!(matches!(text, Err(MetadataError::WrongType { .. })));
/// ```
#[derive(Clone, Debug, Default)]
pub struct Metadata {
    entries: Vec<(String, Value)>,
    index: HashMap<String, usize>,
}

impl Metadata {
    /// No keys yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds `key` unless it exists; says whether it did.
    pub(super) fn insert_new(&mut self, key: &str, value: Value) -> bool {
        if self.index.contains_key(key) {
            return false;
        }
        self.set(key, value);
        true
    }

    /// Sets `key`, in place if it exists, else at the end.
    ///
    /// ```
    /// use harness_reference::gguf::Metadata;
    ///
    /// let mut metadata = Metadata::new();
    /// metadata.set("general.architecture", "llama");
    /// metadata.set("general.file_type", 1u32);
    /// metadata.set("general.architecture", "qwen2");
    /// let keys: Vec<&str> = metadata.iter().map(|(key, _)| key).collect();
    /// assert_eq!(keys, ["general.architecture", "general.file_type"]);
    /// ```
    pub fn set(&mut self, key: impl Into<String>, value: impl Into<Value>) {
        let (key, value) = (key.into(), value.into());
        match self.index.get(&key) {
            Some(&at) => self.entries[at].1 = value,
            None => {
                self.index.insert(key.clone(), self.entries.len());
                self.entries.push((key, value));
            }
        }
    }

    /// Number of keys.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is no key.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Keys and values in the order of the file.
    ///
    /// ```
    /// use harness_reference::gguf::Metadata;
    ///
    /// let mut metadata = Metadata::new();
    /// metadata.set("llama.block_count", 5u32);
    /// metadata.set("tokenizer.ggml.model", "gpt2");
    /// let shape = metadata.iter().filter(|(key, _)| key.starts_with("llama."));
    /// assert_eq!(shape.count(), 1);
    /// ```
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &Value)> {
        self.entries
            .iter()
            .map(|(key, value)| (key.as_str(), value))
    }

    /// The value of `key`, whatever its type.
    ///
    /// ```
    /// use harness_reference::gguf::{Metadata, Value};
    ///
    /// let mut metadata = Metadata::new();
    /// metadata.set("llama.rope.freq_base", 10_000.0f32);
    /// let shown = metadata.value("llama.rope.freq_base").map(Value::to_string);
    /// assert_eq!(shown.as_deref(), Some("10000"));
    /// ```
    #[must_use]
    pub fn value(&self, key: &str) -> Option<&Value> {
        self.index.get(key).map(|&at| &self.entries[at].1)
    }

    /// The value of `key` as a `T`. Integers of any width will do where they
    /// fit.
    ///
    /// # Errors
    /// [`MetadataError`], telling a missing key from a value of another type
    /// and from a number that does not fit.
    ///
    /// ```
    /// use harness_reference::gguf::{Metadata, MetadataError};
    ///
    /// let mut metadata = Metadata::new();
    /// metadata.set("llama.block_count", -5i32);
    /// let error = metadata.get::<u32>("llama.block_count");
    /// assert!(matches!(error, Err(MetadataError::OutOfRange { .. })));
    /// assert_eq!(metadata.get("llama.block_count"), Ok(-5i32));
    /// ```
    pub fn get<'a, T: FromValue<'a>>(&'a self, key: &str) -> Result<T, MetadataError> {
        self.find(key)?
            .ok_or_else(|| MetadataError::Missing(key.into()))
    }

    /// Like [`get`](Metadata::get), with `None` for a missing key.
    ///
    /// # Errors
    /// [`MetadataError`] as for `get`, except `Missing`.
    ///
    /// ```
    /// use harness_reference::gguf::Metadata;
    ///
    /// let metadata = Metadata::new();
    /// let alignment = metadata.find::<u32>("general.alignment")?.unwrap_or(32);
    /// assert_eq!(alignment, 32);
    /// # Ok::<(), harness_reference::gguf::MetadataError>(())
    /// ```
    pub fn find<'a, T: FromValue<'a>>(&'a self, key: &str) -> Result<Option<T>, MetadataError> {
        let Some(value) = self.value(key) else {
            return Ok(None);
        };
        T::from_value(value)
            .map(Some)
            .map_err(|mismatch| match mismatch {
                Mismatch::Type => MetadataError::WrongType {
                    key: key.into(),
                    wanted: T::WANTED,
                    found: value.kind(),
                },
                Mismatch::Range => MetadataError::OutOfRange {
                    key: key.into(),
                    wanted: T::WANTED,
                    found: match (value.integer(), value.float()) {
                        (Some(n), _) => n.to_string(),
                        (None, Some(x)) => x.to_string(),
                        (None, None) => value.kind(),
                    },
                },
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gguf::Array;

    #[test]
    fn missing_wrong_and_misfit_are_told_apart() {
        let mut metadata = Metadata::new();
        metadata.set("name", "x");
        metadata.set("size", Value::U64(1 << 40));
        metadata.set("negative", -1i32);
        let text = |result: Result<u32, MetadataError>| result.unwrap_err().to_string();
        assert_eq!(
            text(metadata.get("absent")),
            "the model file has no metadata key `absent`"
        );
        assert_eq!(
            text(metadata.get("name")),
            "metadata key `name` should be an integer (u32) but is of type string"
        );
        assert_eq!(
            text(metadata.get("size")),
            "metadata key `size` is 1099511627776, which does not fit an integer (u32)"
        );
        assert_eq!(metadata.get::<u64>("size"), Ok(1 << 40));
        assert!(metadata.get::<u64>("negative").is_err());
        assert_eq!(metadata.find::<u32>("absent"), Ok(None));
    }

    #[test]
    fn any_integer_width_reads() {
        let mut metadata = Metadata::new();
        metadata.set("small", Value::I8(5));
        metadata.set("many", Value::Array(Array::U16(vec![1, 2])));
        assert_eq!(metadata.get::<u32>("small"), Ok(5));
        assert_eq!(metadata.get::<Vec<i32>>("many"), Ok(vec![1, 2]));
        assert!(metadata.get::<f32>("small").is_err());
    }

    #[test]
    fn setting_twice_replaces_in_place() {
        let mut metadata = Metadata::new();
        metadata.set("a", 1u32);
        metadata.set("b", 2u32);
        metadata.set("a", 3u32);
        let entries: Vec<_> = metadata.iter().collect();
        assert_eq!(entries, [("a", &Value::U32(3)), ("b", &Value::U32(2))]);
    }
}
