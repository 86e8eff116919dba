//! A context of a package.

use engine::{EngineError, KvUsage, Logits, Session, TokenId, Want};

use crate::backend::Backend;
use crate::engine::{Decoder, protocol};

pub(crate) struct DecoderSession<'a, B: Backend> {
    model: &'a Decoder<B>,
    /// None after a failure that may have left anything in them.
    states: Option<B::States>,
    tokens: Vec<TokenId>,
}

impl<'a, B: Backend> DecoderSession<'a, B> {
    pub(crate) fn new(model: &'a Decoder<B>) -> Result<Self, EngineError> {
        Ok(Self {
            model,
            states: Some(model.states()?),
            tokens: Vec::new(),
        })
    }

    /// States that hold the first `len` tokens and nothing else, by reading them again.
    fn replayed(&self, len: usize) -> Result<B::States, EngineError> {
        let mut states = self.model.states()?;
        read(self.model, &mut states, 0, &self.tokens[..len], 0)?;
        Ok(states)
    }
}

/// Reads `tokens` from `position` on and returns the logits of the last `rows`.
fn read<B: Backend>(
    model: &Decoder<B>,
    states: &mut B::States,
    position: usize,
    tokens: &[TokenId],
    rows: usize,
) -> Result<Vec<f32>, EngineError> {
    let vocab = model.config.vocab;
    let mut values = Vec::with_capacity(rows * vocab);
    let mut done = 0;
    while done < tokens.len() {
        let here = position + done;
        let piece = model.piece(here, tokens.len() - done)?;
        let mut taken = tokens[done..done + piece.count].to_vec();
        taken.resize(piece.length, 0);
        done += piece.count;
        // Rows wanted of those behind this piece's end belong to later pieces.
        let wanted = rows.saturating_sub(tokens.len() - done).min(piece.count);
        let wanted = piece.count - wanted..piece.count;
        values.extend(piece.entry.call(
            &model.backend,
            (&taken, here),
            Some(&mut *states),
            wanted,
            vocab,
        )?);
    }
    Ok(values)
}

impl<B: Backend> Session for DecoderSession<'_, B> {
    /// Where functions are told where their tokens stand, what a failed call leaves in the
    /// states lies behind the context's end, and no token looks there before it is
    /// written again. Other states are lost, and rebuilt at the next call.
    fn extend(&mut self, tokens: &[TokenId], want: Want) -> Result<Logits, EngineError> {
        let model = self.model;
        engine::check_extend(tokens, self.tokens.len(), &model.config)?;
        let mut states = match self.states.take() {
            Some(states) => states,
            None => self.replayed(self.tokens.len())?,
        };
        let (position, rows) = (self.tokens.len(), want.rows(tokens.len()));
        let read = read(model, &mut states, position, tokens, rows);
        if read.is_ok() || model.rewinds() {
            self.states = Some(states);
        }
        let logits = Logits::new(model.config.vocab, read?);
        self.tokens.extend_from_slice(tokens);
        logits.ok_or_else(|| protocol("a ragged row of logits"))
    }

    fn truncate(&mut self, len: usize) -> Result<(), EngineError> {
        engine::check_truncate(len, self.tokens.len())?;
        if len < self.tokens.len() && !self.model.rewinds() {
            self.states = Some(self.replayed(len)?);
        }
        self.tokens.truncate(len);
        Ok(())
    }

    fn len(&self) -> usize {
        self.tokens.len()
    }

    fn kv(&self) -> Option<KvUsage> {
        None
    }
}

#[cfg(test)]
mod tests;
