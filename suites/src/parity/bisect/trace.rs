//! What an engine hands over on the way to its logits.

use std::collections::HashMap;
use std::fmt;

use engine::{EngineError, FailureKind, Session, Stage, Tap, TokenId};
use serde::{Deserialize, Serialize};

/// A stage, or what comes last of all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) enum Place {
    /// Handed over by a tap.
    Tap(Stage),
    /// The logits returned.
    Logits,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Tap(stage) => stage.fmt(f),
            Place::Logits => f.write_str("logits"),
        }
    }
}

/// Rows of one place, from the first tapped position on.
#[derive(Clone, Debug)]
pub(super) struct Column {
    pub(super) place: Place,
    pub(super) width: usize,
    pub(super) values: Vec<f32>,
}

impl Column {
    pub(super) fn row(&self, index: usize) -> &[f32] {
        &self.values[index * self.width..(index + 1) * self.width]
    }
}

/// All places of a run over consecutive positions, in the order of computation.
#[derive(Debug, Default)]
pub(super) struct Trace {
    columns: Vec<Column>,
    by_place: HashMap<Place, usize>,
    /// Position of the first row.
    pub(super) start: usize,
    /// Rows of every column.
    pub(super) rows: usize,
}

impl Trace {
    pub(super) fn new(start: usize) -> Self {
        Self {
            start,
            ..Self::default()
        }
    }

    /// A trace of `rows` rows, from columns.
    pub(super) fn of(columns: Vec<Column>, rows: usize) -> Self {
        Self {
            by_place: columns
                .iter()
                .enumerate()
                .map(|(index, column)| (column.place, index))
                .collect(),
            columns,
            start: 0,
            rows,
        }
    }

    pub(super) fn columns(&self) -> &[Column] {
        &self.columns
    }

    pub(super) fn column(&self, place: Place) -> Option<&Column> {
        self.by_place.get(&place).map(|&index| &self.columns[index])
    }

    /// Appends `tokens` to `session`, and what it hands over to the trace.
    pub(super) fn extend(
        &mut self,
        session: &mut dyn Session,
        tokens: &[TokenId],
    ) -> Result<(), EngineError> {
        let logits = session.extend_tapped(tokens, &mut |tap: Tap<'_>| {
            self.take(Place::Tap(tap.stage), tap.width, tap.values);
        })?;
        self.take(Place::Logits, logits.vocab(), logits.values());
        self.rows += tokens.len();
        match self
            .columns
            .iter()
            .find(|column| column.values.len() != self.rows * column.width)
        {
            None => Ok(()),
            Some(column) => Err(EngineError::new(
                FailureKind::Protocol,
                format!(
                    "tap {}: {} values in all for {} tokens in rows of {}",
                    column.place,
                    column.values.len(),
                    self.rows,
                    column.width
                ),
            )),
        }
    }

    fn take(&mut self, place: Place, width: usize, values: &[f32]) {
        let index = *self.by_place.entry(place).or_insert_with(|| {
            self.columns.push(Column {
                place,
                width,
                values: Vec::new(),
            });
            self.columns.len() - 1
        });
        self.columns[index].values.extend_from_slice(values);
    }
}

/// The ways through an engine that are tried: a fault may show in one alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Path {
    /// All tokens in one call.
    Prefill,
    /// Half of them, then one by one.
    Decode,
    /// Half of them, others that are taken back, then half of what is left in one
    /// call and the rest one by one: a slot of the cache that keeps what it held
    /// shows here.
    Truncate,
}

impl Path {
    pub(super) const ALL: [Self; 3] = [Self::Prefill, Self::Decode, Self::Truncate];

    pub(super) fn name(self) -> &'static str {
        match self {
            Path::Prefill => "prefill",
            Path::Decode => "decode",
            Path::Truncate => "truncate",
        }
    }

    /// Taps the end of `tokens` (all of them in a prefill) on this way, in a fresh
    /// session of `model`.
    pub(super) fn run(
        self,
        model: &dyn engine::Model,
        tokens: &[TokenId],
    ) -> Result<Trace, EngineError> {
        let mut session = model.session()?;
        let session = &mut *session;
        let half = tokens.len() / 2;
        let (head, tail) = tokens.split_at(half);
        if self == Path::Prefill {
            let mut trace = Trace::new(0);
            trace.extend(session, tokens)?;
            return Ok(trace);
        }
        let mut trace = Trace::new(half);
        session.extend(head, engine::Want::None)?;
        let mut alone = tail;
        if self == Path::Truncate {
            // Another token at every position.
            let vocab = model.config().vocab as TokenId;
            let detour: Vec<TokenId> = tail.iter().map(|&id| (id + 1) % vocab).collect();
            session.extend(&detour, engine::Want::None)?;
            session.truncate(half)?;
            let (together, rest) = tail.split_at(tail.len().div_ceil(2));
            trace.extend(session, together)?;
            alone = rest;
        }
        for token in alone.chunks(1) {
            trace.extend(session, token)?;
        }
        Ok(trace)
    }
}
