//! Rows of next-token logits.

use crate::TokenId;

/// A dense row-major matrix `[rows, vocab]` of unnormalised log-probabilities.
///
/// ```
/// use harness_engine::Logits;
///
/// // Two positions, a vocabulary of three.
/// let logits = Logits::new(3, vec![0.0, 2.0, 1.0, 5.0, 5.0, 5.0]).unwrap_or_default();
/// assert_eq!((logits.rows(), logits.vocab(), logits.values().len()), (2, 3, 6));
///
/// // The probability of token 0 at the second position.
/// let row = logits.row(1);
/// let sum: f32 = row.iter().map(|logit| logit.exp()).sum();
/// assert!((row[0].exp() / sum - 1.0 / 3.0).abs() < 1e-6);
/// ```
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
    ///
    /// ```
    /// use harness_engine::Logits;
    ///
    /// assert!(Logits::new(3, vec![0.0; 6]).is_some_and(|logits| logits.rows() == 2));
    /// assert_eq!(Logits::new(3, vec![0.0; 7]), None);
    /// ```
    #[must_use]
    pub fn new(vocab: usize, values: Vec<f32>) -> Option<Self> {
        let whole = if vocab == 0 {
            values.is_empty()
        } else {
            values.len().is_multiple_of(vocab)
        };
        whole.then_some(Self { vocab, values })
    }

    /// Rows of which only the likeliest tokens are known; see
    /// [`Capability::FullLogits`](crate::Capability::FullLogits).
    ///
    /// What these leave of a row's probability is shared evenly among all other tokens.
    /// So `softmax` gives those listed what the engine gave them, and sums to one.
    ///
    /// # Errors
    /// [`TopLogitsError`] for what no row of logits can be.
    ///
    /// ```
    /// use harness_engine::{Logits, TopLogits};
    ///
    /// // A program tells the two likeliest of four tokens, with ln(¾) and ln(⅛).
    /// let row = TopLogits {
    ///     tokens: vec![2, 0],
    ///     logits: vec![0.75_f32.ln(), 0.125_f32.ln()],
    ///     logsumexp: 0.0,
    /// };
    /// let logits = Logits::completed(4, &[row])?;
    /// let probabilities: Vec<f32> = logits.row(0).iter().map(|logit| logit.exp()).collect();
    /// for (found, expected) in probabilities.iter().zip([0.125, 0.0625, 0.75, 0.0625]) {
    ///     assert!((found - expected).abs() < 1e-6);
    /// }
    /// # Ok::<(), harness_engine::TopLogitsError>(())
    /// ```
    pub fn completed(vocab: usize, rows: &[TopLogits]) -> Result<Self, TopLogitsError> {
        let mut values = Vec::with_capacity(vocab * rows.len());
        for row in rows {
            let begin = values.len();
            values.resize(begin + vocab, row.rest(vocab)?);
            let values = &mut values[begin..];
            let mut listed = vec![false; vocab];
            for (&token, &logit) in row.tokens.iter().zip(&row.logits) {
                let index = token as usize;
                if index >= vocab || std::mem::replace(&mut listed[index], true) {
                    return Err(TopLogitsError::Token(token));
                }
                values[index] = logit;
            }
        }
        Ok(Self { vocab, values })
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
    ///
    /// ```
    /// use harness_engine::Logits;
    ///
    /// let logits = Logits::new(3, vec![0.0, 2.0, 1.0, 0.5, 0.0, 0.0]).unwrap_or_default();
    /// let best = |row: &[f32]| (0..3).max_by(|&a, &b| row[a].total_cmp(&row[b]));
    /// assert_eq!((best(logits.row(0)), best(logits.row(1))), (Some(1), Some(0)));
    /// ```
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
    ///
    /// ```
    /// use harness_engine::Logits;
    ///
    /// // f16 ends at 65,504.
    /// let overflown = Logits::new(2, vec![1.0, f32::INFINITY]).unwrap_or_default();
    /// assert!(!overflown.all_finite());
    /// ```
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

/// The likeliest tokens of one row, in any order.
///
/// ```
/// use harness_engine::{Logits, TopLogits};
///
/// let logits = [1.0_f32, 3.0, 2.0];
/// let row = TopLogits {
///     tokens: vec![1, 2],
///     logits: vec![3.0, 2.0],
///     logsumexp: logits.iter().map(|logit| logit.exp()).sum::<f32>().ln(),
/// };
/// // With all but one listed, the rest is known.
/// let completed = Logits::completed(3, &[row])?;
/// assert!((completed.row(0)[0] - 1.0).abs() < 1e-5);
/// # Ok::<(), harness_engine::TopLogitsError>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TopLogits {
    /// Their ids.
    pub tokens: Vec<TokenId>,
    /// Their logits, in the same order.
    pub logits: Vec<f32>,
    /// `ln Σ exp(logit)` over the whole vocabulary.
    pub logsumexp: f32,
}

/// Something that is no list of likeliest tokens.
///
/// ```
/// use harness_engine::{Logits, TopLogits, TopLogitsError};
///
/// let row = TopLogits { tokens: vec![9], logits: vec![0.0], logsumexp: 1.0 };
/// assert_eq!(Logits::completed(4, &[row]), Err(TopLogitsError::Token(9)));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
pub enum TopLogitsError {
    /// As many tokens as logits, and at least one.
    #[error("{tokens} tokens with {logits} logits")]
    Ragged {
        /// Tokens listed.
        tokens: usize,
        /// Logits listed.
        logits: usize,
    },
    /// Listed twice, or outside the vocabulary.
    #[error("token {0} is listed twice, or is outside the vocabulary")]
    Token(TokenId),
    /// NaN or infinity.
    #[error("NaN or infinity among logits and logsumexp")]
    NotFinite,
    /// Probabilities of more than one.
    #[error("the listed tokens have a probability of {0} together, by their logsumexp")]
    TooLikely(f64),
    /// Tokens that are not listed must be likelier than some that are.
    #[error("by the logsumexp, tokens that are not listed are likelier than one that is")]
    NotLikeliest,
}

/// What rounding may add to a probability, relatively: logits below 64 in f16 are off by
/// at most 2⁻⁶.
const ROUNDING: f64 = 0.02;

/// The least probability that is left to the tokens not listed, so that theirs is a
/// finite logarithm: what summing a vocabulary in f32 may lose.
const LEAST_REST: f64 = 1e-7;

impl TopLogits {
    /// Logit of every token that is not listed.
    fn rest(&self, vocab: usize) -> Result<f32, TopLogitsError> {
        let (tokens, logits) = (self.tokens.len(), self.logits.len());
        if tokens != logits || tokens == 0 {
            return Err(TopLogitsError::Ragged { tokens, logits });
        }
        let total = f64::from(self.logsumexp);
        if !total.is_finite() || !self.logits.iter().all(|logit| logit.is_finite()) {
            return Err(TopLogitsError::NotFinite);
        }
        let listed: f64 = self
            .logits
            .iter()
            .map(|&l| (f64::from(l) - total).exp())
            .sum();
        if listed > 1.0 + ROUNDING {
            return Err(TopLogitsError::TooLikely(listed));
        }
        let least = self.logits.iter().copied().fold(f32::INFINITY, f32::min);
        let others = vocab.saturating_sub(tokens);
        if others == 0 {
            return Ok(least);
        }
        let rest = total + ((1.0 - listed).max(LEAST_REST) / others as f64).ln();
        if rest > f64::from(least) + ROUNDING {
            return Err(TopLogitsError::NotLikeliest);
        }
        // Within rounding of the least listed, it must still not win.
        let rest = (rest as f32).min(least.next_down());
        if rest.is_finite() {
            Ok(rest)
        } else {
            Err(TopLogitsError::NotFinite)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn top(tokens: &[TokenId], logits: &[f32], logsumexp: f32) -> TopLogits {
        TopLogits {
            tokens: tokens.into(),
            logits: logits.into(),
            logsumexp,
        }
    }

    #[test]
    fn what_is_not_listed_shares_what_is_left() {
        // Logits 3, 2, 1, 1, 1 of tokens 4, 0, 1, 2, 3.
        let sum = 3f64.exp() + 2f64.exp() + 3.0 * 1f64.exp();
        let row = top(&[4, 0], &[3.0, 2.0], sum.ln() as f32);
        let logits = Logits::completed(5, &[row.clone(), row]).unwrap();
        assert_eq!((logits.rows(), logits.vocab()), (2, 5));
        let expected = [2.0, 1.0, 1.0, 1.0, 3.0];
        for (value, expected) in logits.row(1).iter().zip(expected) {
            assert!((value - expected).abs() < 1e-5, "{value} {expected}");
        }
        // All of the vocabulary, or all of the probability.
        assert_eq!(
            Logits::completed(1, &[top(&[0], &[7.0], 7.0)])
                .unwrap()
                .row(0),
            [7.0]
        );
        let certain = Logits::completed(3, &[top(&[1], &[7.0], 7.0)]).unwrap();
        assert!(certain.all_finite() && certain.row(0)[0] < -8.0);
    }

    #[test]
    fn impossible_lists_are_refused() {
        let refused = |row| Logits::completed(4, &[row]).unwrap_err();
        assert_eq!(
            refused(top(&[], &[], 0.0)),
            TopLogitsError::Ragged {
                tokens: 0,
                logits: 0
            }
        );
        assert_eq!(refused(top(&[4], &[0.0], 1.0)), TopLogitsError::Token(4));
        assert_eq!(
            refused(top(&[1, 1], &[0.0, 0.0], 1.0)),
            TopLogitsError::Token(1)
        );
        assert_eq!(
            refused(top(&[1], &[f32::NAN], 1.0)),
            TopLogitsError::NotFinite
        );
        assert!(matches!(
            refused(top(&[1], &[1.0], 0.0)),
            TopLogitsError::TooLikely(_)
        ));
        assert_eq!(
            refused(top(&[1], &[0.0], 5.0)),
            TopLogitsError::NotLikeliest
        );
    }

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
