//! Reading metadata values as Rust types.

use super::value::{Array, Value};

/// A type that metadata values can be read as.
pub trait FromValue<'a>: Sized {
    /// What a value should be, for messages.
    const WANTED: &'static str;

    /// Reads `value`.
    ///
    /// # Errors
    /// [`Mismatch`] when it is of another type or does not fit.
    fn from_value(value: &'a Value) -> Result<Self, Mismatch>;
}

/// Why a value cannot be read as some type.
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
