//! The cache when tokens are taken back, evicted or paged out.

use engine::tolerance::{product_noise, worst_gain};
use engine::{
    EngineError, EvictionPolicy, FailureKind, Logits, Model, NumberFormat, Numerics, Session, Want,
};
use machine::Residency;

use super::Subject;
use super::growth::used_over_theory;
use super::reading::Reading;
use crate::cell::Variant;
use crate::parity::centred_energies;
use crate::reading::{differing, last_row, read, told};
use crate::{Better, Comparison, Gate, Measurement};

/// One bit over the noise, as in suite `parity`.
const MARGIN: f64 = 4.0;

/// Takes back the latter half of a full context and reads it again.
pub(super) fn truncate(
    subject: &Subject<'_>,
    session: &mut dyn Session,
    logits: &Logits,
) -> Result<Vec<Measurement>, EngineError> {
    const CASE: &str = "truncate";
    let steps = subject.tokens.len() / subject.step;
    let half = steps.div_ceil(2) * subject.step;
    let full = subject.read(session)?;
    match session.truncate(half) {
        Ok(()) => {}
        // An engine that has evicted cannot go back, and says so.
        Err(error) if error.kind() == FailureKind::Unsupported => {
            let why = error.to_string();
            let withheld = |metric: &'static str, unit: &'static str| {
                Measurement::withheld(CASE, metric, unit, Better::Lower, 0, why.clone())
            };
            return Ok(vec![
                withheld("used_over_theory", "1"),
                withheld("differing_logits", "logits"),
            ]);
        }
        Err(error) => return Err(error),
    }
    let kept = subject.read(session)?;
    let again = read(
        session,
        &subject.tokens[half..],
        subject.step,
        subject.vocab(),
    )?;
    Ok(vec![
        used_over_theory(CASE, subject, std::slice::from_ref(&kept)),
        released(CASE, &full, &kept),
        idle(CASE, &kept),
        same_logits(CASE, logits, &again, "the tokens are the same"),
    ])
}

/// Empties a full context and reads everything again.
pub(super) fn clear(
    subject: &Subject<'_>,
    session: &mut dyn Session,
    logits: &Logits,
) -> Result<Vec<Measurement>, EngineError> {
    const CASE: &str = "clear";
    let full = subject.read(session)?;
    session.truncate(0)?;
    let kept = subject.read(session)?;
    let again = read(session, subject.tokens, subject.step, subject.vocab())?;
    Ok(vec![
        used_over_theory(CASE, subject, std::slice::from_ref(&kept)),
        released(CASE, &full, &kept),
        idle(CASE, &kept),
        same_logits(CASE, logits, &again, "the tokens are the same"),
    ])
}

/// What truncation gave back to the system.
fn released(case: &'static str, full: &Reading, kept: &Reading) -> Measurement {
    let value = full
        .resident_bytes()
        .and_then(|full| Ok(full - kept.resident_bytes()?));
    told(case, "released_bytes", "B", Better::Higher, value, 1)
}

/// What it kept in memory without using it.
fn idle(case: &'static str, kept: &Reading) -> Measurement {
    let value = kept
        .resident_bytes()
        .map(|resident| (resident - kept.used_bytes()).max(0.0));
    told(case, "idle_resident_bytes", "B", Better::Lower, value, 1)
}

fn same_logits(case: &'static str, logits: &Logits, again: &Logits, why: &str) -> Measurement {
    let n = logits.values().len() as u64;
    Measurement {
        gate: Some(Gate {
            comparison: Comparison::Exactly,
            bound: 0.0,
            because: why.into(),
        }),
        ..Measurement::new(
            case,
            "differing_logits",
            "logits",
            Better::Lower,
            differing(logits, again),
            n,
        )
    }
}

/// Holds an engine whose full context has evicted tokens against itself without eviction.
pub(super) fn evict(
    subject: &Subject<'_>,
    session: &dyn Session,
    logits: &Logits,
    variant: Variant<'_>,
) -> Result<Vec<Measurement>, EngineError> {
    const CASE: &str = "evict";
    let withheld = |why: &str| {
        Ok(vec![Measurement::withheld(
            CASE,
            "nmse",
            "1",
            Better::Lower,
            0,
            why,
        )])
    };
    let full = subject.read(session)?;
    let evicting = |layer: &&engine::KvLayer| match layer.policy {
        EvictionPolicy::None => false,
        EvictionPolicy::Window { tokens } => tokens < full.len,
    };
    let layers = full.usage.layers.iter().filter(evicting).count();
    if layers == 0 {
        return withheld(
            "no layer evicts tokens of such a context; engine `reference` does with evict=window, for \
             models with sliding windows",
        );
    }
    let keeping = match variant("evict", "none") {
        Some(model) => model?,
        None => return withheld("the engine cannot be opened without eviction (evict=none)"),
    };
    let mut session = keeping.session()?;
    let vocab = keeping.config().vocab;
    let expected = read(&mut *session, subject.tokens, subject.step, vocab)?;
    let all = Reading::of(&*session, &*keeping)?;
    let saved = all
        .resident_bytes()
        .and_then(|all| Ok(all - full.resident_bytes()?));
    let (noise, signal) = centred_energies(expected.row(0), logits.row(0));
    let figure = |metric: &'static str, unit: &'static str, better, value| {
        told(CASE, metric, unit, better, value, 1)
    };
    Ok(vec![
        figure(
            "evicting_layers",
            "layers",
            Better::Equal,
            Ok(layers as f64),
        ),
        figure("saved_resident_bytes", "B", Better::Higher, saved),
        figure(
            "differing_logits",
            "logits",
            Better::Lower,
            Ok(differing(&expected, logits)),
        ),
        Measurement {
            gate: Some(noise_gate(subject.model)),
            ..figure("nmse", "1", Better::Lower, Ok(noise / signal))
        },
    ])
}

/// A ring is read in another order than a row of tokens, so sums may round differently.
fn noise_gate(model: &dyn Model) -> Gate {
    let numerics = Numerics {
        weights: NumberFormat::F32,
        ..model.numerics()
    };
    let config = model.config();
    Gate {
        comparison: Comparison::AtMost,
        bound: MARGIN * worst_gain(config) * product_noise(numerics, config),
        because: format!(
            "one bit over the noise of {} activations and {} KV; weights and visible tokens are the \
             same",
            numerics.activations, numerics.kv
        ),
    }
}

/// Fills a context but for the last step, has the kernel move out the cache and every mapped
/// file, weights among them, and reads the rest.
pub(super) fn pressure(
    subject: &Subject<'_>,
    logits: &Logits,
) -> Result<Vec<Measurement>, EngineError> {
    const CASE: &str = "pressure";
    let mut session = subject.model.session()?;
    let last = (subject.tokens.len() - 1) / subject.step * subject.step;
    for piece in subject.tokens[..last].chunks(subject.step) {
        session.extend(piece, Want::None)?;
    }
    let before = subject.read(&*session)?;
    let cache = before
        .resident_bytes()
        .and_then(|_| paged_out(&before.ranges()));
    let files = machine::mapped_files()
        .map_err(|why| why.to_string())
        .and_then(|files| paged_out(&files));
    let again = last_row(&mut *session, &subject.tokens[last..], subject.vocab())?;
    let cache = cache.and_then(|bytes| match bytes {
        bytes if bytes > 0.0 => Ok(bytes),
        _ => Err(stayed()),
    });
    let logits = match (&cache, &files) {
        (Err(why), Err(_)) => {
            Measurement::withheld(CASE, "differing_logits", "logits", Better::Lower, 0, why)
        }
        _ => same_logits(CASE, logits, &again, "where memory is must not matter"),
    };
    let figure = |metric, value| told(CASE, metric, "B", Better::Equal, value, 1);
    Ok(vec![
        figure("cache_paged_out_bytes", cache),
        figure("files_paged_out_bytes", files),
        logits,
    ])
}

fn stayed() -> String {
    match machine::swap_bytes() {
        Some(0) => "this machine has no swap, so anonymous memory cannot leave".into(),
        _ => "the kernel moved no page of the cache out when asked".into(),
    }
}

/// Asks the kernel to move `ranges` out; how many bytes of them went.
fn paged_out(ranges: &[std::ops::Range<usize>]) -> Result<f64, String> {
    let resident = || Residency::of(ranges).map(|residency| residency.resident_bytes as f64);
    let before = resident().map_err(|why| why.to_string())?;
    machine::page_out(ranges).map_err(|why| why.to_string())?;
    let after = resident().map_err(|why| why.to_string())?;
    Ok((before - after).max(0.0))
}
