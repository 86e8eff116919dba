//! Typed metadata values.

use super::convert::Mismatch;

/// A metadata value.
///
/// ```
/// use harness_reference::gguf::{Array, Value};
///
/// assert_eq!(Value::from(7u32), Value::U32(7));
/// let tokens = Array::String(vec!["a".into(), "b".into()]);
/// assert_eq!(Value::from(tokens).to_string(), "[2 × string]");
/// ```
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs)] // The variants are the format's own types.
pub enum Value {
    U8(u8),
    I8(i8),
    U16(u16),
    I16(i16),
    U32(u32),
    I32(i32),
    F32(f32),
    Bool(bool),
    String(String),
    Array(Array),
    U64(u64),
    I64(i64),
    F64(f64),
}

/// A metadata array; all of its elements are of one type.
///
/// ```
/// use harness_reference::gguf::{Array, Metadata};
///
/// let mut metadata = Metadata::new();
/// metadata.set("tokenizer.ggml.scores", vec![-1.5f32, -2.0]);
/// let scores = metadata.get::<&Array>("tokenizer.ggml.scores")?;
/// assert_eq!(scores, &Array::F32(vec![-1.5, -2.0]));
/// # Ok::<(), harness_reference::gguf::MetadataError>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs)] // The variants are the format's own types.
pub enum Array {
    U8(Vec<u8>),
    I8(Vec<i8>),
    U16(Vec<u16>),
    I16(Vec<i16>),
    U32(Vec<u32>),
    I32(Vec<i32>),
    F32(Vec<f32>),
    Bool(Vec<bool>),
    String(Vec<String>),
    Array(Vec<Array>),
    U64(Vec<u64>),
    I64(Vec<i64>),
    F64(Vec<f64>),
}

/// Evaluates `$body` with `$items` bound to the vector of whichever variant.
macro_rules! each_array {
    ($array:expr, $items:ident => $body:expr) => {
        match $array {
            Array::U8($items) => $body,
            Array::I8($items) => $body,
            Array::U16($items) => $body,
            Array::I16($items) => $body,
            Array::U32($items) => $body,
            Array::I32($items) => $body,
            Array::F32($items) => $body,
            Array::Bool($items) => $body,
            Array::String($items) => $body,
            Array::Array($items) => $body,
            Array::U64($items) => $body,
            Array::I64($items) => $body,
            Array::F64($items) => $body,
        }
    };
}

impl Array {
    /// Number of elements.
    ///
    /// ```
    /// use harness_reference::gguf::Array;
    ///
    /// let nested = Array::Array(vec![Array::U8(vec![1, 2, 3])]);
    /// assert_eq!(nested.len(), 1);
    /// ```
    #[must_use]
    pub fn len(&self) -> usize {
        each_array!(self, items => items.len())
    }

    /// Whether there is no element.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The format's number for the element type.
    pub(super) fn element_type(&self) -> u32 {
        match self {
            Array::U8(_) => 0,
            Array::I8(_) => 1,
            Array::U16(_) => 2,
            Array::I16(_) => 3,
            Array::U32(_) => 4,
            Array::I32(_) => 5,
            Array::F32(_) => 6,
            Array::Bool(_) => 7,
            Array::String(_) => 8,
            Array::Array(_) => 9,
            Array::U64(_) => 10,
            Array::I64(_) => 11,
            Array::F64(_) => 12,
        }
    }
}

impl Value {
    /// What kind of value this is, for messages.
    pub(super) fn kind(&self) -> String {
        match self {
            Value::Array(array) => format!("an array of {}", type_name(array.element_type())),
            _ => format!("of type {}", type_name(self.type_id())),
        }
    }

    /// The format's number for this type.
    pub(super) fn type_id(&self) -> u32 {
        match self {
            Value::U8(_) => 0,
            Value::I8(_) => 1,
            Value::U16(_) => 2,
            Value::I16(_) => 3,
            Value::U32(_) => 4,
            Value::I32(_) => 5,
            Value::F32(_) => 6,
            Value::Bool(_) => 7,
            Value::String(_) => 8,
            Value::Array(_) => 9,
            Value::U64(_) => 10,
            Value::I64(_) => 11,
            Value::F64(_) => 12,
        }
    }

    pub(super) fn integer(&self) -> Option<i128> {
        Some(match *self {
            Value::U8(n) => n.into(),
            Value::I8(n) => n.into(),
            Value::U16(n) => n.into(),
            Value::I16(n) => n.into(),
            Value::U32(n) => n.into(),
            Value::I32(n) => n.into(),
            Value::U64(n) => n.into(),
            Value::I64(n) => n.into(),
            _ => return None,
        })
    }

    pub(super) fn float(&self) -> Option<f64> {
        match *self {
            Value::F32(x) => Some(x.into()),
            Value::F64(x) => Some(x),
            _ => None,
        }
    }
}

impl Array {
    pub(super) fn integers<T: TryFrom<i128>>(&self) -> Result<Vec<T>, Mismatch> {
        fn convert<S, T>(items: &[S]) -> Result<Vec<T>, Mismatch>
        where
            S: Copy + Into<i128>,
            T: TryFrom<i128>,
        {
            let narrow = |&n: &S| T::try_from(n.into()).map_err(|_| Mismatch::Range);
            items.iter().map(narrow).collect()
        }
        match self {
            Array::U8(items) => convert(items),
            Array::I8(items) => convert(items),
            Array::U16(items) => convert(items),
            Array::I16(items) => convert(items),
            Array::U32(items) => convert(items),
            Array::I32(items) => convert(items),
            Array::U64(items) => convert(items),
            Array::I64(items) => convert(items),
            _ => Err(Mismatch::Type),
        }
    }
}

fn type_name(id: u32) -> &'static str {
    const NAMES: [&str; 13] = [
        "u8", "i8", "u16", "i16", "u32", "i32", "f32", "bool", "string", "array", "u64", "i64",
        "f64",
    ];
    NAMES.get(id as usize).copied().unwrap_or("unknown")
}

macro_rules! from {
    ($($ty:ty => $variant:ident;)*) => {$(
        impl From<$ty> for Value {
            fn from(value: $ty) -> Self {
                Value::$variant(value.into())
            }
        }
    )*};
}

from! {
    u32 => U32;
    u64 => U64;
    i32 => I32;
    f32 => F32;
    bool => Bool;
    &str => String;
    String => String;
    Array => Array;
}

impl From<Vec<String>> for Value {
    fn from(items: Vec<String>) -> Self {
        Value::Array(Array::String(items))
    }
}

impl From<Vec<f32>> for Value {
    fn from(items: Vec<f32>) -> Self {
        Value::Array(Array::F32(items))
    }
}

impl From<Vec<i32>> for Value {
    fn from(items: Vec<i32>) -> Self {
        Value::Array(Array::I32(items))
    }
}

/// Scalars and strings as they are, arrays by length and element type.
impl std::fmt::Display for Value {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Value::Bool(b) => write!(f, "{b}"),
            Value::String(text) => f.write_str(text),
            Value::Array(array) => {
                write!(f, "[{} × {}]", array.len(), type_name(array.element_type()))
            }
            number => match (number.integer(), number.float()) {
                (Some(n), _) => write!(f, "{n}"),
                (None, Some(x)) => write!(f, "{x}"),
                (None, None) => f.write_str(&number.kind()),
            },
        }
    }
}
