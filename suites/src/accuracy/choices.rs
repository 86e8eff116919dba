//! How likely each continuation of a prompt is.

use engine::{EngineError, Model, Session, TokenId, TokenizerError, Want};

use crate::distribution::log_probability;
use crate::generation::check;

/// A prompt and its continuations as tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Encoded {
    /// BOS, where the model wants one, and the prompt.
    pub(super) context: Vec<TokenId>,
    pub(super) continuations: Vec<Vec<TokenId>>,
}

/// Tokenizes as lm-evaluation-harness does (`TemplateLM._encode_pair`): white
/// space at the end of the prompt goes over to the continuation, prompt and
/// continuation are tokenized together, and what comes after as many tokens as the
/// prompt has alone is the continuation. Where the two merge into a token that
/// crosses the boundary, the prompt is read as it is tokenized alone.
pub(super) fn encode(
    tokens: impl Fn(&str) -> Result<Vec<TokenId>, TokenizerError>,
    bos: Option<TokenId>,
    prompt: &str,
    choices: &[String],
) -> Result<Encoded, TokenizerError> {
    let trimmed = prompt.trim_end();
    let alone = tokens(trimmed)?;
    let continuations = choices
        .iter()
        .map(|choice| {
            let whole = tokens(&format!("{prompt}{choice}"))?;
            Ok(whole.get(alone.len()..).unwrap_or_default().to_vec())
        })
        .collect::<Result<_, TokenizerError>>()?;
    Ok(Encoded {
        context: bos.into_iter().chain(alone).collect(),
        continuations,
    })
}

impl Encoded {
    /// Why no likelihoods can be had of it, if none can.
    pub(super) fn flaw(&self) -> Option<String> {
        if self.context.is_empty() {
            return Some(
                "the prompt is only white space and the model has no BOS token, so there is \
                 nothing to predict from"
                    .into(),
            );
        }
        let empty = self.continuations.iter().position(Vec::is_empty)?;
        Some(format!(
            "choice {empty} adds no token to the prompt; move the boundary between them"
        ))
    }

    /// Tokens that the longest of them puts into a context.
    pub(super) fn longest(&self) -> usize {
        let lengths = self.continuations.iter().map(|tokens| tokens.len() - 1);
        self.context.len() + lengths.max().unwrap_or_default()
    }
}

/// `Σ ln p(token | all before it)` over the tokens of each continuation, in nats.
/// The prompt is read once.
pub(super) fn log_likelihoods(
    session: &mut dyn Session,
    vocab: usize,
    encoded: &Encoded,
) -> Result<Vec<f64>, EngineError> {
    session.truncate(0)?;
    let first = session.extend(&encoded.context, Want::Last)?;
    check(&first, 1, vocab)?;
    let mut sums = Vec::with_capacity(encoded.continuations.len());
    for tokens in &encoded.continuations {
        if let Some(id) = tokens.iter().find(|&&id| id as usize >= vocab) {
            return Err(EngineError::invalid(format!(
                "token {id} of a choice is outside the vocabulary of {vocab}"
            )));
        }
        let mut sum = log_probability(first.row(0), tokens[0] as usize);
        let rows = (PIECE_LOGITS / vocab).max(1);
        for (read, targets) in tokens[..tokens.len() - 1]
            .chunks(rows)
            .zip(tokens[1..].chunks(rows))
        {
            let logits = session.extend(read, Want::All)?;
            check(&logits, read.len(), vocab)?;
            let terms = targets.iter().enumerate();
            sum += terms
                .map(|(row, &id)| log_probability(logits.row(row), id as usize))
                .sum::<f64>();
        }
        session.truncate(encoded.context.len())?;
        sums.push(sum);
    }
    Ok(sums)
}

/// The same from an engine that tells log-probabilities. It reads the prompt with every
/// continuation.
pub(super) fn told_log_likelihoods(
    model: &dyn Model,
    encoded: &Encoded,
) -> Result<Vec<f64>, EngineError> {
    let context = &encoded.context;
    let continuations = encoded.continuations.iter().map(|continuation| {
        let tokens: Vec<TokenId> = context.iter().chain(continuation).copied().collect();
        let scores = model.score(&tokens, context.len(), 0)?;
        Ok(scores.iter().map(|scores| scores.log_probability).sum())
    });
    continuations.collect()
}

/// Most logits to ask for at once: 256 MiB of them.
const PIECE_LOGITS: usize = 1 << 26;

/// Index of the largest value; of equals the first, as `numpy.argmax` has it.
pub(super) fn best(values: impl IntoIterator<Item = f64>) -> usize {
    let mut best = (0, f64::NEG_INFINITY);
    for (index, value) in values.into_iter().enumerate() {
        if value > best.1 {
            best = (index, value);
        }
    }
    best.0
}

#[cfg(test)]
#[path = "choices_tests.rs"]
mod tests;
