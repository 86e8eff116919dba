//! What the baseline leaves in the folder that the cells of a run share.

use std::path::Path as FilePath;

use engine::{EngineError, FailureKind, Logits, Model, Numerics, TokenId};
use serde::{Deserialize, Serialize};

use super::super::gates::PROBE;
use super::super::{read_json, write_json};
use super::nmse;
use super::trace::{Column, Path, Place, Trace};
use crate::SuiteError;
use crate::cell::Variant;
use crate::logits_file::{LogitsFile, LogitsWriter};

const INDEX: &str = "parity-bisect.json";
/// One row a position, all places side by side.
const ROWS: &str = "parity-bisect.npy";

/// The baseline's part of the comparison.
#[derive(Debug)]
pub(super) struct Baseline {
    pub(super) trace: Trace,
    pub(super) numerics: Numerics,
    /// NMSE that weights in [`PROBE`] make, place by place and position by
    /// position, where the engine could be opened with them.
    pub(super) probe: Option<Vec<Vec<f64>>>,
}

#[derive(Serialize, Deserialize)]
enum Index {
    /// The engine hands nothing over, for this reason.
    Nothing(String),
    Places {
        places: Vec<(Place, usize)>,
        rows: usize,
        numerics: Numerics,
        probe: Option<Vec<Vec<f64>>>,
    },
}

/// Taps `model` over `tokens`, and its variant with the weights of the probe, and
/// leaves both in `folder`. An engine without taps leaves the reason.
pub(super) fn leave(
    folder: &FilePath,
    model: &dyn Model,
    variant: Variant<'_>,
    tokens: &[TokenId],
) -> Result<Option<String>, SuiteError> {
    let index = folder.join(INDEX);
    let trace = match Path::Prefill.run(model, tokens) {
        Ok(trace) => trace,
        Err(error) if error.kind() == FailureKind::Unsupported => {
            let why = format!("the baseline cannot be tapped: {error}");
            write_json(&index, &Index::Nothing(why.clone()))?;
            return Ok(Some(why));
        }
        Err(error) => return Err(error.into()),
    };
    for column in trace.columns() {
        if let Some(at) = column.values.iter().position(|value| !value.is_finite()) {
            let position = at / column.width;
            return Err(EngineError::new(
                FailureKind::Numerics,
                format!("{} is NaN or infinite at position {position}", column.place),
            )
            .into());
        }
    }
    let probe = match model.numerics().weights {
        engine::NumberFormat::F32 => variant("weights", PROBE.name()),
        // Noise on top of noise would not tell the two apart.
        _ => None,
    };
    let probe = probe
        .map(|model| Path::Prefill.run(&*model?, tokens))
        .transpose()?
        .map(|noisy| errors(&trace, &noisy));
    let rows = trace.rows;
    let table: Vec<f32> = (0..rows)
        .flat_map(|row| {
            trace
                .columns()
                .iter()
                .flat_map(move |column| column.row(row))
        })
        .copied()
        .collect();
    let width = table.len() / rows;
    let mut writer = LogitsWriter::create(&folder.join(ROWS), 1, rows, width)?;
    writer.push(&Logits::new(width, table).unwrap_or_default())?;
    writer.finish()?;
    let places = trace.columns().iter().map(|c| (c.place, c.width)).collect();
    write_json(
        &index,
        &Index::Places {
            places,
            rows,
            numerics: model.numerics(),
            probe,
        },
    )?;
    Ok(None)
}

/// NMSE of every place and position; a variant of an engine has its places.
fn errors(expected: &Trace, found: &Trace) -> Vec<Vec<f64>> {
    let of = |column: &Column| {
        let other = found.column(column.place)?;
        let rows = 0..expected.rows;
        Some(
            rows.map(|row| nmse(column.place, column.row(row), other.row(row)))
                .collect(),
        )
    };
    let columns = expected.columns().iter();
    columns
        .map(|column| of(column).unwrap_or_default())
        .collect()
}

/// Reads what the baseline left, or why it left nothing.
pub(super) fn read(folder: &FilePath) -> Result<Result<Baseline, String>, SuiteError> {
    let (places, rows, numerics, probe) = match read_json(&folder.join(INDEX))? {
        Index::Nothing(why) => return Ok(Err(why)),
        Index::Places {
            places,
            rows,
            numerics,
            probe,
        } => (places, rows, numerics, probe),
    };
    let total = places.iter().map(|(_, width)| width).sum();
    let table = LogitsFile::open(&folder.join(ROWS), 1, rows, total)?.window(0)?;
    let mut start = 0;
    let mut columns = Vec::with_capacity(places.len());
    for (place, width) in places {
        let values = (0..rows).flat_map(|row| &table.row(row)[start..start + width]);
        columns.push(Column {
            place,
            width,
            values: values.copied().collect(),
        });
        start += width;
    }
    Ok(Ok(Baseline {
        trace: Trace::of(columns, rows),
        numerics,
        probe,
    }))
}
