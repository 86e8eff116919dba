//! The cache while the context grows.

use engine::{EngineError, KvLayer, Logits, Session, Want};

use super::reading::Reading;
use super::theory::slack_bytes;
use super::{Subject, record};
use crate::reading::{last_row, told};
use crate::{Better, Cell, Comparison, Gate, Measurement};

const CASE: &str = "growth";

/// Reads all tokens into the empty `session`, looking at the cache after each step. Returns
/// the last logits too.
pub(super) fn run(
    subject: &Subject<'_>,
    session: &mut dyn Session,
    cell: &mut Cell<'_>,
) -> Result<(Logits, Vec<Measurement>), EngineError> {
    let mut logits = Logits::default();
    let mut readings = vec![subject.read(session)?];
    for (piece, end) in pieces(subject) {
        if end < subject.tokens.len() {
            session.extend(piece, Want::None)?;
        } else {
            logits = last_row(session, piece, subject.vocab())?;
        }
        readings.push(subject.read(session)?);
    }
    for reading in &readings {
        keep(reading, cell);
    }
    Ok((logits, figures(subject, &readings)))
}

/// Pieces of a step each, and where they end.
fn pieces<'a>(subject: &'a Subject<'_>) -> impl Iterator<Item = (&'a [u32], usize)> {
    let pieces = subject.tokens.chunks(subject.step);
    pieces.scan(0, |end, piece| {
        *end += piece.len();
        Some((piece, *end))
    })
}

/// Samples of the whole cache and of each layer, by the length of the context.
fn keep(reading: &Reading, cell: &mut Cell<'_>) {
    let mut all = |case: &str, reserved: u64, used: u64, places: Option<(f64, f64)>| {
        record(cell, case, "reserved_bytes", reading.len, reserved as f64);
        record(cell, case, "used_bytes", reading.len, used as f64);
        if let Some((resident, swapped)) = places {
            record(cell, case, "resident_bytes", reading.len, resident);
            record(cell, case, "swapped_bytes", reading.len, swapped);
        }
    };
    let usage = &reading.usage;
    let places = reading
        .resident_bytes()
        .ok()
        .zip(reading.swapped_bytes().ok());
    all(CASE, usage.reserved_bytes(), usage.used_bytes(), places);
    for (index, layer) in usage.layers.iter().enumerate() {
        let residency = reading.residency.as_ref().ok().map(|layers| layers[index]);
        let places = residency.map(|r| (r.resident_bytes as f64, r.swapped_bytes as f64));
        let case = format!("layer_{index}");
        all(&case, layer.reserved_bytes, layer.used_bytes, places);
    }
}

fn figures(subject: &Subject<'_>, readings: &[Reading]) -> Vec<Measurement> {
    let Some(last) = readings.last() else {
        return Vec::new();
    };
    let n = readings.len() as u64;
    let figure = |metric: &'static str, unit: &'static str, value| {
        told(CASE, metric, unit, Better::Lower, value, 1)
    };
    let (used, resident) = (last.used_bytes(), last.resident_bytes());
    let per_token = used / (last.len * last.usage.layers.len()) as f64;
    let theory = Measurement {
        why: Some("2 · kv_heads · head_dim values in the cache's format".into()),
        ..Measurement::new(
            CASE,
            "theory_bytes_per_token_layer",
            "B",
            Better::Lower,
            subject.theory.token_layer_bytes,
            1,
        )
    };
    let headline = |measurement| Measurement {
        headline: true,
        ..measurement
    };
    vec![
        headline(used_over_theory(CASE, subject, readings)),
        figure("used_bytes_per_token_layer", "B", Ok(per_token)),
        theory,
        headline(figure(
            "reserved_bytes",
            "B",
            Ok(last.usage.reserved_bytes() as f64),
        )),
        headline(figure("used_bytes", "B", Ok(used))),
        headline(figure("resident_bytes", "B", resident.clone())),
        figure("swapped_bytes", "B", last.swapped_bytes()),
        figure(
            "resident_over_used",
            "1",
            resident.map(|bytes| bytes / used),
        ),
        missing(readings, n),
        headline(excess(readings, n)),
    ]
}

/// Of all layers and readings the ratio that is farthest from 1.
pub(super) fn used_over_theory(
    case: &'static str,
    subject: &Subject<'_>,
    readings: &[Reading],
) -> Measurement {
    let ratios = readings.iter().flat_map(|reading| {
        reading.usage.layers.iter().map(|layer| {
            let theory = subject.theory.used_bytes(layer, reading.len);
            match (layer.used_bytes, theory == 0.0) {
                (0, true) => 1.0,
                (used, _) => used as f64 / theory,
            }
        })
    });
    let off = |ratio: f64| (ratio - 1.0).abs();
    let (mut worst, mut n) = (1.0, 0);
    for ratio in ratios {
        n += 1;
        if off(ratio) > off(worst) {
            worst = ratio;
        }
    }
    Measurement {
        gate: Some(Gate {
            comparison: Comparison::Exactly,
            bound: 1.0,
            because: "2 · kv_heads · head_dim values a token and layer; the farthest of all".into(),
        }),
        ..Measurement::new(case, "used_over_theory", "1", Better::Equal, worst, n)
    }
}

/// Bytes in use that are nowhere: not resident, not swapped. The most of any layer.
fn missing(readings: &[Reading], n: u64) -> Measurement {
    let worst = over_layers(readings, |layer, residency| {
        let found = residency.resident_bytes + residency.swapped_bytes;
        layer.used_bytes.saturating_sub(found)
    });
    Measurement {
        gate: worst.is_ok().then(|| Gate {
            comparison: Comparison::Exactly,
            bound: 0.0,
            because: "tokens are kept somewhere".into(),
        }),
        ..told(
            CASE,
            "missing_bytes",
            "B",
            Better::Lower,
            worst.map(|bytes| bytes as f64),
            n,
        )
    }
}

/// Bytes that are resident without use: of the layer that goes farthest beyond what its pages
/// explain.
fn excess(readings: &[Reading], n: u64) -> Measurement {
    let granule = readings[0].granule_bytes();
    let worst = granule.and_then(|granule| {
        let mut worst: Option<(i128, u64, u64)> = None;
        over_layers(readings, |layer, residency| {
            let excess = residency.resident_bytes.saturating_sub(layer.used_bytes);
            let slack = slack_bytes(layer, granule);
            let beyond = i128::from(excess) - i128::from(slack);
            if worst.is_none_or(|(most, ..)| beyond > most) {
                worst = Some((beyond, excess, slack));
            }
            excess
        })?;
        let (_, excess, slack) = worst.ok_or("there are no layers")?;
        Ok((excess, slack, granule))
    });
    let gate = worst.as_ref().ok().map(|&(_, slack, granule)| Gate {
        comparison: Comparison::AtMost,
        bound: slack as f64,
        because: format!(
            "each range of addresses has two ends on pages of {} KiB; an engine that touches its \
             whole cache at once exceeds this",
            granule >> 10
        ),
    });
    let value = worst.map(|(excess, ..)| excess as f64);
    Measurement {
        gate,
        ..told(CASE, "excess_bytes", "B", Better::Lower, value, n)
    }
}

/// The largest of `figure` over all layers and readings.
fn over_layers(
    readings: &[Reading],
    mut figure: impl FnMut(&KvLayer, machine::Residency) -> u64,
) -> Result<u64, String> {
    let mut largest = 0;
    for reading in readings {
        let residency = reading.residency.as_ref().map_err(Clone::clone)?;
        for (layer, &residency) in reading.usage.layers.iter().zip(residency) {
            largest = largest.max(figure(layer, residency));
        }
    }
    Ok(largest)
}
