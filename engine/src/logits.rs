//! Rows of next-token logits.

/// A dense row-major matrix `[rows, vocab]` of unnormalised log-probabilities.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Logits {
    vocab: usize,
    values: Vec<f32>,
}

impl Logits {
    /// Wraps `values`, whose length must be a multiple of `vocab`.
    ///
    /// Returns `None` when it is not, or when `vocab` is zero while there are
    /// values.
    #[must_use]
    pub fn new(vocab: usize, values: Vec<f32>) -> Option<Self> {
        let whole = if vocab == 0 {
            values.is_empty()
        } else {
            values.len().is_multiple_of(vocab)
        };
        whole.then_some(Self { vocab, values })
    }

    /// Number of rows.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.values.len().checked_div(self.vocab).unwrap_or(0)
    }

    /// Length of a row.
    #[must_use]
    pub fn vocab(&self) -> usize {
        self.vocab
    }

    /// Row `index`, of length [`vocab`](Self::vocab).
    ///
    /// # Panics
    /// If `index >= rows()`.
    #[must_use]
    pub fn row(&self, index: usize) -> &[f32] {
        &self.values[index * self.vocab..(index + 1) * self.vocab]
    }

    /// All values, row after row.
    #[must_use]
    pub fn values(&self) -> &[f32] {
        &self.values
    }

    /// Whether every value is a finite number.
    #[must_use]
    pub fn all_finite(&self) -> bool {
        // Within a chunk without an early exit, so that it is vectorized.
        self.values.chunks(1 << 12).all(|chunk| {
            chunk
                .iter()
                .fold(true, |all, value| all & value.is_finite())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_ragged_rows() {
        assert!(Logits::new(3, vec![0.0; 7]).is_none());
        assert!(Logits::new(0, vec![0.0]).is_none());
        let logits = Logits::new(3, (0..6u8).map(f32::from).collect()).unwrap();
        assert_eq!(logits.rows(), 2);
        assert_eq!(logits.row(1), [3.0, 4.0, 5.0]);
        assert_eq!(Logits::default().rows(), 0);
    }
}
