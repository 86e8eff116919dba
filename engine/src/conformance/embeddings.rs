//! Promises of [`Model::embed`](crate::Model::embed).

use super::{Finding, Subject, broken};
use crate::tolerance::worst_gain;
use crate::{Capability, Embeddings, FailureKind, Pooling, TokenId};

/// Ways of pooling that the model knows; not one, and it has no embeddings.
fn poolings(subject: &Subject<'_>) -> Result<Vec<Pooling>, Finding> {
    let declared = &subject.info.capabilities;
    if !declared.contains(&Capability::Embeddings) {
        return Err(Finding::NotApplicable(
            "the engine declares no embeddings".into(),
        ));
    }
    let mut known = Vec::new();
    for pooling in Pooling::ALL {
        match subject.model.embed(&[&subject.tokens], pooling) {
            Ok(_) => known.push(pooling),
            Err(error) if error.kind() == FailureKind::Unsupported => {}
            Err(error) => return Err(error.into()),
        }
    }
    if known.is_empty() {
        return broken("declared, but no way of pooling is supported");
    }
    Ok(known)
}

/// Texts of uneven lengths, so that one padded to the other shows.
fn texts<'a>(subject: &'a Subject<'_>) -> Vec<&'a [TokenId]> {
    let tokens = &subject.tokens[..];
    let (half, most) = (tokens.len() / 2, tokens.len());
    [0..1, 0..most, half..most]
        .map(|range| &tokens[range])
        .to_vec()
}

/// Runs `check` on every way of pooling and its batch of [`texts`].
fn each(
    subject: &Subject<'_>,
    check: impl Fn(Pooling, &[&[TokenId]], &Embeddings) -> Result<(), Finding>,
) -> Result<(), Finding> {
    let texts = texts(subject);
    for pooling in poolings(subject)? {
        check(pooling, &texts, &subject.model.embed(&texts, pooling)?)?;
    }
    Ok(())
}

pub(super) fn shape(subject: &Subject<'_>) -> Result<(), Finding> {
    let mut width = None;
    for pooling in poolings(subject)? {
        let texts = texts(subject);
        let found = subject.model.embed(&texts, pooling)?;
        let expected = *width.get_or_insert(found.width());
        if found.rows() != texts.len() || found.width() != expected {
            return broken(format!(
                "{pooling} pooling of {} texts gave {}×{} values, not {}×{expected}",
                texts.len(),
                found.rows(),
                found.width(),
                texts.len()
            ));
        }
    }
    Ok(())
}

pub(super) fn finite(subject: &Subject<'_>) -> Result<(), Finding> {
    each(subject, |pooling, _, found| match found.all_finite() {
        true => Ok(()),
        false => broken(format!("NaN or infinity under {pooling} pooling")),
    })
}

/// A text's vector may differ by rounding alone, whatever shares its call. The
/// bound is that for logits; a post-norm encoder halves `c` with each of its `2 L`
/// additions of two equal energies instead of dividing it by their number
/// ([`tolerance`](crate::tolerance)): `ν_n = ν_(n−1) + c / 2`, so its gain is `4 L`.
pub(super) fn batch(subject: &Subject<'_>) -> Result<(), Finding> {
    let config = subject.model.config();
    let (pre_norm, post_norm) = (worst_gain(config), 4.0 * config.layers as f64);
    let bound = subject.tolerance * (post_norm / pre_norm).max(1.0);
    each(subject, |pooling, texts, together| {
        for (index, text) in texts.iter().enumerate() {
            let alone = subject.model.embed(&[text], pooling)?;
            if together.rows() != texts.len() || together.width() != alone.width() {
                return broken("of another shape than the same text alone");
            }
            let (mut noise, mut signal) = (0.0, 0.0);
            for (&a, &b) in alone.row(0).iter().zip(together.row(index)) {
                noise += (f64::from(a) - f64::from(b)).powi(2);
                signal += f64::from(a).powi(2);
            }
            let within = noise <= bound * signal;
            if !within {
                return broken(format!(
                    "{pooling} pooling of a text of {} tokens: NMSE {:.3e} between a batch and \
                     the text alone exceeds {bound:.3e}",
                    text.len(),
                    noise / signal
                ));
            }
        }
        Ok(())
    })
}

pub(super) fn deterministic(subject: &Subject<'_>) -> Result<(), Finding> {
    each(subject, |pooling, texts, first| {
        let second = subject.model.embed(texts, pooling)?;
        let bits = |values: &Embeddings| -> Vec<u32> {
            values
                .values()
                .iter()
                .map(|value| value.to_bits())
                .collect()
        };
        match bits(first) == bits(&second) {
            true => Ok(()),
            false => broken(format!("two runs differ under {pooling} pooling")),
        }
    })
}

pub(super) fn empty_text(subject: &Subject<'_>) -> Result<(), Finding> {
    refused(subject, &[])
}

pub(super) fn overlong_text(subject: &Subject<'_>) -> Result<(), Finding> {
    let context = subject.model.config().context;
    refused(subject, &vec![subject.tokens[0]; context + 1])
}

pub(super) fn foreign_token(subject: &Subject<'_>) -> Result<(), Finding> {
    let vocab = TokenId::try_from(subject.model.config().vocab).unwrap_or(TokenId::MAX);
    refused(subject, &[subject.tokens[0], vocab])
}

/// `text` must be refused as invalid input, also behind a sound one.
fn refused(subject: &Subject<'_>, text: &[TokenId]) -> Result<(), Finding> {
    for pooling in poolings(subject)? {
        match subject.model.embed(&[&subject.tokens, text], pooling) {
            Ok(_) => return broken(format!("{pooling} pooling accepted it")),
            Err(error) if error.kind() == FailureKind::InvalidInput => {}
            Err(error) => {
                return broken(format!(
                    "reported as {} instead of invalid input: {error}",
                    error.kind()
                ));
            }
        }
    }
    Ok(())
}
