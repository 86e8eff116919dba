//! Reading metadata values as Rust types.

use super::value::{Array, Value};

/// A type that metadata values can be read as.
///
/// ```
/// use harness_reference::gguf::{FromValue, Metadata, Mismatch, Value};
///
/// struct Percent(u32);
///
/// impl FromValue<'_> for Percent {
///     const WANTED: &'static str = "a percentage";
///
///     fn from_value(value: &Value) -> Result<Self, Mismatch> {
///         match u32::from_value(value)? {
///             share @ 0..=100 => Ok(Self(share)),
///             _ => Err(Mismatch::Range),
///         }
///     }
/// }
///
/// let mut metadata = Metadata::new();
/// metadata.set("share", 101u32);
/// let why = metadata.get::<Percent>("share").map_err(|error| error.to_string()).err();
/// let expected = "metadata key `share` is 101, which does not fit a percentage";
/// assert_eq!(why.as_deref(), Some(expected));
/// ```
pub trait FromValue<'a>: Sized {
    /// What a value should be, for messages.
    const WANTED: &'static str;

    /// Reads `value`.
    ///
    /// # Errors
    /// [`Mismatch`] when it is of another type or does not fit.
    ///
    /// ```
    /// use harness_reference::gguf::{FromValue, Mismatch, Value};
    ///
    /// assert_eq!(u64::from_value(&Value::U8(7)), Ok(7));
    /// assert_eq!(u64::from_value(&Value::I8(-7)), Err(Mismatch::Range));
    /// ```
    fn from_value(value: &'a Value) -> Result<Self, Mismatch>;
}

/// Why a value cannot be read as some type.
///
/// ```
/// use harness_reference::gguf::{FromValue, Mismatch, Value};
///
/// assert_eq!(f32::from_value(&Value::F64(1e300)), Err(Mismatch::Range));
/// assert_eq!(i32::from_value(&Value::Bool(true)), Err(Mismatch::Type));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mismatch {
    /// It is of another type.
    Type,
    /// It is a number that does not fit.
    Range,
}

macro_rules! integers {
    ($($ty:ty, $one:literal, $many:literal;)*) => {$(
        // Converters disagree on the width of integers, so any will do.
        impl FromValue<'_> for $ty {
            const WANTED: &'static str = $one;

            fn from_value(value: &Value) -> Result<Self, Mismatch> {
                let n = value.integer().ok_or(Mismatch::Type)?;
                n.try_into().map_err(|_| Mismatch::Range)
            }
        }

        impl FromValue<'_> for Vec<$ty> {
            const WANTED: &'static str = $many;

            fn from_value(value: &Value) -> Result<Self, Mismatch> {
                match value {
                    Value::Array(array) => array.integers(),
                    _ => Err(Mismatch::Type),
                }
            }
        }
    )*};
}

integers! {
    i32, "an integer (i32)", "an array of integers (i32)";
    u32, "an integer (u32)", "an array of integers (u32)";
    u64, "an integer (u64)", "an array of integers (u64)";
    usize, "a size", "an array of sizes";
}

impl FromValue<'_> for f64 {
    const WANTED: &'static str = "a floating-point number";

    fn from_value(value: &Value) -> Result<Self, Mismatch> {
        value.float().ok_or(Mismatch::Type)
    }
}

impl FromValue<'_> for f32 {
    const WANTED: &'static str = "a floating-point number (f32)";

    fn from_value(value: &Value) -> Result<Self, Mismatch> {
        let wide = value.float().ok_or(Mismatch::Type)?;
        let narrow = wide as f32;
        if narrow.is_infinite() && wide.is_finite() {
            return Err(Mismatch::Range);
        }
        Ok(narrow)
    }
}

macro_rules! borrowed {
    ($($ty:ty, $wanted:literal, $pattern:pat => $out:expr;)*) => {$(
        impl<'a> FromValue<'a> for $ty {
            const WANTED: &'static str = $wanted;

            fn from_value(value: &'a Value) -> Result<Self, Mismatch> {
                match value {
                    $pattern => Ok($out),
                    _ => Err(Mismatch::Type),
                }
            }
        }
    )*};
}

borrowed! {
    bool, "a bool", Value::Bool(b) => *b;
    &'a str, "a string", Value::String(s) => s;
    &'a Array, "an array", Value::Array(array) => array;
    &'a [String], "an array of strings", Value::Array(Array::String(items)) => items;
    &'a [f32], "an array of f32", Value::Array(Array::F32(items)) => items;
}
