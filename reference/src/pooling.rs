//! From final hidden states to one vector a text.

use engine::{EngineError, ModelConfig, Pooling, TokenId};

/// The vector of a text whose states come in pieces.
pub(crate) struct Pool {
    pooling: Pooling,
    /// Sums in f64, so that the length of a text costs no precision.
    sum: Vec<f64>,
    tokens: usize,
}

impl Pool {
    pub(crate) fn new(pooling: Pooling, width: usize) -> Self {
        Self {
            pooling,
            sum: vec![0.0; width],
            tokens: 0,
        }
    }

    /// Takes the states of the tokens that follow, row after row.
    pub(crate) fn add(&mut self, states: &[f32]) {
        for state in states.chunks_exact(self.sum.len()) {
            let counts = match self.pooling {
                Pooling::Mean => true,
                Pooling::Cls => self.tokens == 0,
                Pooling::Last => {
                    self.sum.fill(0.0);
                    true
                }
            };
            self.tokens += 1;
            if counts {
                for (sum, &value) in self.sum.iter_mut().zip(state) {
                    *sum += f64::from(value);
                }
            }
        }
    }

    pub(crate) fn finish(self) -> impl Iterator<Item = f32> {
        let over = match self.pooling {
            Pooling::Mean => self.tokens as f64,
            Pooling::Last | Pooling::Cls => 1.0,
        };
        self.sum.into_iter().map(move |sum| (sum / over) as f32)
    }
}

/// Refuses texts that `model` cannot read, before any is read.
pub(crate) fn check(texts: &[&[TokenId]], model: &ModelConfig) -> Result<(), EngineError> {
    for (index, text) in texts.iter().enumerate() {
        engine::check_extend(text, 0, model).map_err(|error| {
            EngineError::invalid(format!("text {} of the batch: {error}", index + 1))
        })?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_make_no_difference() {
        let states = [1.0f32, 2.0, 3.0, 6.0, 5.0, 7.0];
        for (pooling, expected) in [
            (Pooling::Mean, [3.0, 5.0]),
            (Pooling::Last, [5.0, 7.0]),
            (Pooling::Cls, [1.0, 2.0]),
        ] {
            for piece in [2, 4, 6] {
                let mut pool = Pool::new(pooling, 2);
                states.chunks(piece).for_each(|piece| pool.add(piece));
                let found: Vec<f32> = pool.finish().collect();
                assert_eq!(found, expected, "{pooling}");
            }
        }
    }
}
