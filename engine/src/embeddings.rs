//! Texts as vectors.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// How the final hidden states of a text, after the last norm, become one vector.
///
/// ```
/// use harness_engine::Pooling;
///
/// /// One vector of the `states` of a text, of two values a token.
/// fn pool(states: &[[f32; 2]], pooling: Pooling) -> Option<[f32; 2]> {
///     match pooling {
///         Pooling::Mean => {
///             let mean = |i: usize| states.iter().map(|s| s[i]).sum::<f32>() / states.len() as f32;
///             Some([mean(0), mean(1)])
///         }
///         Pooling::Last => states.last().copied(),
///         Pooling::Cls => states.first().copied(),
///     }
/// }
///
/// let states = [[1.0, 0.0], [3.0, 4.0]];
/// assert_eq!(Pooling::ALL.map(|way| pool(&states, way)), [
///     Some([2.0, 2.0]),
///     Some([3.0, 4.0]),
///     Some([1.0, 0.0]),
/// ]);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pooling {
    /// Mean over all tokens, special ones included.
    Mean,
    /// The last token's, which in a decoder is the one that has seen all others.
    Last,
    /// The first token's, for encoders that put a token of their own there. A
    /// decoder's first token has seen nothing.
    Cls,
}

impl Pooling {
    /// Every way.
    pub const ALL: [Self; 3] = [Self::Mean, Self::Last, Self::Cls];

    /// Name in settings.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Mean => "mean",
            Self::Last => "last",
            Self::Cls => "cls",
        }
    }
}

impl fmt::Display for Pooling {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A name that is no way of pooling.
///
/// ```
/// use harness_engine::Pooling;
///
/// let error = "max".parse::<Pooling>().map_err(|error| error.to_string());
/// assert_eq!(error, Err("use one of mean, last, cls".into()));
/// ```
#[derive(Debug, thiserror::Error)]
#[error("use one of {}", Pooling::ALL.map(Pooling::name).join(", "))]
pub struct UnknownPooling;

impl FromStr for Pooling {
    type Err = UnknownPooling;

    fn from_str(text: &str) -> Result<Self, UnknownPooling> {
        let mut all = Self::ALL.into_iter();
        all.find(|way| way.name() == text).ok_or(UnknownPooling)
    }
}

/// A dense row-major matrix `[texts, width]`, one vector a text; not normalised to
/// unit length.
///
/// ```
/// use harness_engine::Embeddings;
///
/// /// Cosine of the angle between two vectors.
/// fn cosine(a: &[f32], b: &[f32]) -> f32 {
///     let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>();
///     dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
/// }
///
/// let found = Embeddings::new(2, vec![3.0, 4.0, 30.0, 40.0]).unwrap_or_default();
/// assert_eq!((found.rows(), found.width(), found.values().len()), (2, 2, 4));
/// assert!((cosine(found.row(0), found.row(1)) - 1.0).abs() < 1e-6);
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Embeddings {
    width: usize,
    values: Vec<f32>,
}

impl Embeddings {
    /// Wraps `values`, whose length must be a multiple of `width`.
    ///
    /// Returns `None` when it is not, or when `width` is zero while there are
    /// values.
    ///
    /// ```
    /// use harness_engine::Embeddings;
    ///
    /// assert!(Embeddings::new(384, vec![0.0; 2 * 384]).is_some_and(|found| found.rows() == 2));
    /// assert_eq!(Embeddings::new(384, vec![0.0; 500]), None);
    /// ```
    #[must_use]
    pub fn new(width: usize, values: Vec<f32>) -> Option<Self> {
        let whole = if width == 0 {
            values.is_empty()
        } else {
            values.len().is_multiple_of(width)
        };
        whole.then_some(Self { width, values })
    }

    /// Number of texts.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.values.len().checked_div(self.width).unwrap_or(0)
    }

    /// Length of a vector.
    #[must_use]
    pub fn width(&self) -> usize {
        self.width
    }

    /// The vector of text `index`.
    ///
    /// # Panics
    /// If `index >= rows()`.
    ///
    /// ```
    /// use harness_engine::Embeddings;
    ///
    /// let found = Embeddings::new(2, vec![0.0, 1.0, 0.6, 0.8]).unwrap_or_default();
    /// assert_eq!(found.row(1), [0.6, 0.8]);
    /// ```
    #[must_use]
    pub fn row(&self, index: usize) -> &[f32] {
        &self.values[index * self.width..(index + 1) * self.width]
    }

    /// All values, text after text.
    #[must_use]
    pub fn values(&self) -> &[f32] {
        &self.values
    }

    /// Whether every value is a finite number.
    ///
    /// ```
    /// use harness_engine::Embeddings;
    ///
    /// // What a mean over no tokens is.
    /// let found = Embeddings::new(2, vec![1.0, 0.0 / 0.0]);
    /// assert!(found.is_some_and(|found| !found.all_finite()));
    /// ```
    #[must_use]
    pub fn all_finite(&self) -> bool {
        self.values.iter().all(|value| value.is_finite())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_ragged_rows() {
        assert!(Embeddings::new(3, vec![0.0; 7]).is_none());
        assert!(Embeddings::new(0, vec![0.0]).is_none());
        let two = Embeddings::new(2, vec![1.0, 2.0, 3.0, 4.0]).unwrap();
        assert_eq!((two.rows(), two.row(1)), (2, &[3.0, 4.0][..]));
        assert_eq!(Embeddings::default().rows(), 0);
    }

    #[test]
    fn names_read_back() {
        for way in Pooling::ALL {
            assert_eq!(way.name().parse::<Pooling>().unwrap(), way);
        }
        assert!("max".parse::<Pooling>().is_err());
    }
}
