//! Promises of [`Session`](crate::Session), and of models whose sessions share threads.

use super::{Finding, Subject, broken};
use crate::{Capability, Logits, Session, TokenId, Want};

pub(super) fn logits_shape(subject: &Subject<'_>) -> Result<(), Finding> {
    let vocab = subject.model.config().vocab;
    for want in [Want::None, Want::Last, Want::All] {
        if want == Want::All && !subject.can(Capability::AllLogits) {
            continue;
        }
        let mut session = subject.session()?;
        let logits = session.extend(&subject.tokens, want)?;
        let rows = want.rows(subject.tokens.len());
        if logits.rows() != rows || (rows > 0 && logits.vocab() != vocab) {
            return broken(format!(
                "{want:?} of {} tokens gave {}×{} logits instead of {rows}×{vocab}",
                subject.tokens.len(),
                logits.rows(),
                logits.vocab()
            ));
        }
        if session.len() != subject.tokens.len() {
            return broken(format!(
                "length {} after {} tokens",
                session.len(),
                subject.tokens.len()
            ));
        }
    }
    Ok(())
}

pub(super) fn logits_finite(subject: &Subject<'_>) -> Result<(), Finding> {
    if subject.prefill(&subject.tokens)?.all_finite() {
        Ok(())
    } else {
        broken("NaN or infinity among the logits")
    }
}

pub(super) fn last_row_is_last_of_all(subject: &Subject<'_>) -> Result<(), Finding> {
    let all = subject.prefill(&subject.tokens)?;
    let last = subject.session()?.extend(&subject.tokens, Want::Last)?;
    let row = all.row(all.rows() - 1).to_vec();
    let expected = Logits::new(all.vocab(), row).unwrap_or_default();
    subject.same("Want::Last", &expected, &last)
}

pub(super) fn prefill_equals_decode(subject: &Subject<'_>) -> Result<(), Finding> {
    extend_in_chunks(subject, 1)
}

pub(super) fn chunked_prefill(subject: &Subject<'_>) -> Result<(), Finding> {
    extend_in_chunks(subject, 5)
}

fn extend_in_chunks(subject: &Subject<'_>, chunk: usize) -> Result<(), Finding> {
    let expected = subject.prefill(&subject.tokens)?;
    let mut session = subject.session()?;
    let mut values = Vec::with_capacity(expected.values().len());
    for tokens in subject.tokens.chunks(chunk) {
        values.extend_from_slice(subject.all(&mut *session, tokens)?.values());
    }
    let Some(got) = Logits::new(expected.vocab(), values) else {
        return broken("ragged rows");
    };
    subject.same(&format!("{chunk} tokens a call"), &expected, &got)
}

pub(super) fn truncate_then_extend(subject: &Subject<'_>) -> Result<(), Finding> {
    let keep = subject.tokens.len() / 2;
    let expected = subject.prefill(&subject.tokens)?;
    let mut session = subject.session()?;
    // What is truncated away differs from what replaces it, so that a stale
    // cache slot shows.
    let detour: Vec<TokenId> = subject.tokens.iter().rev().copied().collect();
    if keep > 0 {
        session.extend(&subject.tokens[..keep], Want::None)?;
    }
    session.extend(&detour[keep..], Want::None)?;
    session.truncate(keep)?;
    if session.len() != keep {
        return broken(format!("length {} after truncate({keep})", session.len()));
    }
    let got = subject.all(&mut *session, &subject.tokens[keep..])?;
    let tail = expected.values()[keep * expected.vocab()..].to_vec();
    let tail = Logits::new(expected.vocab(), tail).unwrap_or_default();
    subject.same(&format!("after truncate({keep})"), &tail, &got)
}

pub(super) fn sessions_are_independent(subject: &Subject<'_>) -> Result<(), Finding> {
    if !subject.can(Capability::ConcurrentSessions) {
        return Err(Finding::NotApplicable(
            "the engine declares no concurrent sessions".into(),
        ));
    }
    let other: Vec<TokenId> = subject.tokens.iter().rev().copied().collect();
    let expected = [subject.prefill(&subject.tokens)?, subject.prefill(&other)?];
    let mut sessions = [subject.session()?, subject.session()?];
    let mut values = [Vec::new(), Vec::new()];
    for (mine, theirs) in subject.tokens.chunks(3).zip(other.chunks(3)) {
        for (at, tokens) in [mine, theirs].into_iter().enumerate() {
            let logits = subject.all(&mut *sessions[at], tokens)?;
            values[at].extend_from_slice(logits.values());
        }
    }
    for (expected, values) in expected.iter().zip(values) {
        let Some(got) = Logits::new(expected.vocab(), values) else {
            return broken("ragged rows");
        };
        subject.same("interleaved with another session", expected, &got)?;
    }
    Ok(())
}

pub(super) fn shared_model(subject: &Subject<'_>) -> Result<(), Finding> {
    let Some(shared) = subject.model.shared() else {
        return Err(Finding::NotApplicable(
            "the model is not shared between threads".into(),
        ));
    };
    let tokens = &subject.tokens;
    let expected = subject.session()?.extend(tokens, Want::Last)?;
    let alone = || shared.session()?.extend(tokens, Want::Last);
    let results = std::thread::scope(|scope| {
        let others: Vec<_> = (0..2).map(|_| scope.spawn(alone)).collect();
        others
            .into_iter()
            .map(|other| other.join())
            .collect::<Vec<_>>()
    });
    for result in results {
        match result {
            Ok(logits) => subject.same("in several threads at once", &expected, &logits?)?,
            Err(_) => return broken("a thread panicked"),
        }
    }
    Ok(())
}

pub(super) fn deterministic(subject: &Subject<'_>) -> Result<(), Finding> {
    let first = subject.prefill(&subject.tokens)?;
    let second = subject.prefill(&subject.tokens)?;
    let differing = first
        .values()
        .iter()
        .zip(second.values())
        .filter(|(a, b)| a.to_bits() != b.to_bits())
        .count();
    if differing == 0 {
        Ok(())
    } else {
        broken(format!(
            "{differing} of {} logits differ between two runs",
            first.values().len()
        ))
    }
}

pub(super) fn context_overflow(subject: &Subject<'_>) -> Result<(), Finding> {
    let context = subject.model.config().context;
    let mut session = subject.session()?;
    let half = subject.tokens.len() / 2;
    if half > 0 {
        session.extend(&subject.tokens[..half], Want::None)?;
    }
    let too_many = vec![subject.tokens[0]; context - half + 1];
    subject.refused(&mut *session, |session| {
        session.extend(&too_many, Want::None)
    })
}

pub(super) fn foreign_token(subject: &Subject<'_>) -> Result<(), Finding> {
    let vocab = TokenId::try_from(subject.model.config().vocab).unwrap_or(TokenId::MAX);
    for id in [vocab, TokenId::MAX] {
        let mut session = subject.session()?;
        let tokens = [subject.tokens[0], id];
        subject.refused(&mut *session, |session| session.extend(&tokens, Want::Last))?;
    }
    Ok(())
}

pub(super) fn empty_extend(subject: &Subject<'_>) -> Result<(), Finding> {
    let mut session = subject.session()?;
    subject.refused(&mut *session, |session| session.extend(&[], Want::Last))
}

pub(super) fn truncate_past_end(subject: &Subject<'_>) -> Result<(), Finding> {
    let mut session = subject.session()?;
    subject.refused(&mut *session, |session| session.truncate(1))
}

pub(super) fn kv_usage(subject: &Subject<'_>) -> Result<(), Finding> {
    if !subject.can(Capability::KvUsage) {
        return Err(Finding::NotApplicable(
            "the engine declares no KV usage".into(),
        ));
    }
    let usage = |session: &dyn Session| match session.kv() {
        Some(usage) => Ok(usage),
        None => broken("declared, but Session::kv() tells nothing"),
    };
    let layers = subject.model.config().layers;
    let mut session = subject.session()?;
    let mut per_token = None;
    for (index, token) in subject.tokens.iter().enumerate() {
        session.extend(&[*token], Want::None)?;
        let usage = usage(&*session)?;
        if usage.layers.len() != layers {
            return broken(format!(
                "{} entries for {layers} layers",
                usage.layers.len()
            ));
        }
        if usage.used_bytes() > usage.reserved_bytes() {
            return broken("more bytes used than reserved");
        }
        let expected = *per_token.get_or_insert(usage.used_bytes()) * (index as u64 + 1);
        if usage.used_bytes() != expected {
            return broken(format!(
                "{} bytes used at {} tokens, not {expected}",
                usage.used_bytes(),
                index + 1
            ));
        }
    }
    session.truncate(1)?;
    let after = usage(&*session)?.used_bytes();
    if Some(after) != per_token {
        return broken(format!("{after} bytes used after truncate(1)"));
    }
    Ok(())
}
