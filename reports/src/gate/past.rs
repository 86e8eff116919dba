//! What a run is held against: the figures of the runs before it.

use std::collections::HashMap;

use stats::{ChangePointOptions, Margin, PermutationOptions, last_segment};

use super::load::Alike;
use super::{PastGate, level};
use crate::compare::{Effect, Threshold};
use crate::history::{Filter, History, HistoryError, Run, RunId, SeriesKey, settings_sha256};
use crate::{Basis, Better, RunRecord};

/// As many runs back as are looked at. A level that has held for longer is known well enough.
const LONGEST: usize = 500;

/// The runs before, and the figures to be held against theirs.
pub(super) struct Past {
    runs: Vec<Run>,
    pub(super) alike: Alike,
    pub(super) candidates: Vec<Candidate>,
}

/// A figure that has a direction, and its past.
pub(super) struct Candidate {
    /// Place of its cell.
    pub(super) cell: usize,
    /// Place within the cell.
    pub(super) metric: usize,
    pub(super) better: Better,
    pub(super) value: f64,
    /// What an excess is told in, and the one that matters.
    pub(super) effect: Effect,
    pub(super) threshold: f64,
    /// By the place of the run: the last stable stretch of those that it is held against.
    pub(super) stable: Vec<(usize, f64)>,
    /// Whether that began with a change.
    pub(super) changed: bool,
    /// The value that it never leaves, as what an engine answers does not.
    pub(super) level: Option<f64>,
}

/// How differences of a figure are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scale {
    /// Of logarithms.
    Ratio,
    /// Of the figures themselves, which zero or negative ones need.
    Plain,
}

impl Scale {
    pub(super) fn of(self, value: f64) -> f64 {
        match self {
            Scale::Ratio => value.ln(),
            Scale::Plain => value,
        }
    }

    pub(super) fn back(self, value: f64) -> f64 {
        match self {
            Scale::Ratio => value.exp(),
            Scale::Plain => value,
        }
    }
}

impl Past {
    pub(super) fn read(
        history: &mut History,
        record: &RunRecord,
        gate: &PastGate,
        needed: usize,
    ) -> Result<Self, HistoryError> {
        let provenance = &record.provenance;
        let own = provenance.project.as_ref();
        let own = own.and_then(|project| project.branch.clone());
        let branch = gate.branch.clone().or(own);
        let machine = &provenance.machine.fingerprint;
        let filter = Filter {
            branch: branch.clone(),
            machine: Some(machine.clone()),
            until: Some(provenance.started),
            ..Filter::default()
        };
        let mut runs = history.runs(&filter)?;
        // Nor does a detached head have the past of all branches, or a run itself for its past.
        runs.retain(|run| run.branch == branch && run.started < provenance.started);
        let places: HashMap<RunId, usize> = (runs.iter().enumerate())
            .map(|(place, run)| (run.id, place))
            .collect();
        let mut candidates = Vec::new();
        let mut pasts: Vec<Vec<(usize, f64)>> = Vec::new();
        let mut wanted: HashMap<SeriesKey, Vec<usize>> = HashMap::new();
        for (cell_place, cell) in record.cells.iter().enumerate() {
            for (place, metric) in cell.metrics.iter().enumerate() {
                let (Some(value), false) = (metric.value, metric.better == Better::Equal) else {
                    continue;
                };
                if metric.basis == Some(Basis::Aside) {
                    continue;
                }
                let key = SeriesKey {
                    metric: metric.name.clone(),
                    unit: metric.unit.clone(),
                    engine: cell.title(),
                    model_sha256: cell.model_sha256.clone(),
                    machine: machine.clone(),
                    branch: branch.clone(),
                    settings_sha256: settings_sha256(provenance, &cell.suite),
                };
                wanted.entry(key).or_default().push(candidates.len());
                pasts.push(Vec::new());
                candidates.push(Candidate {
                    cell: cell_place,
                    metric: place,
                    better: metric.better,
                    value,
                    effect: Effect::of(&metric.unit),
                    threshold: (gate.threshold_pct)
                        .unwrap_or_else(|| Threshold::of(metric.basis.as_ref())),
                    stable: Vec::new(),
                    changed: false,
                    level: None,
                });
            }
        }
        history.each_series(&filter, |series| {
            let Some(at) = wanted.get(&series.key) else {
                return;
            };
            let points = series.points.iter();
            let values: Vec<(usize, f64)> = points
                .filter_map(|point| Some((*places.get(&point.run)?, point.value?)))
                .collect();
            at.iter()
                .for_each(|place| pasts[*place].clone_from(&values));
        })?;
        let states = history.states_at_start(&filter)?;
        let states = runs.iter().map(|run| states.get(&run.id));
        let alike = Alike::choose(&provenance.machine, states, &pasts, needed);
        for (candidate, past) in candidates.iter_mut().zip(&pasts) {
            let metric = &record.cells[candidate.cell].metrics[candidate.metric];
            candidate.settle(metric.basis.as_ref(), past, &alike);
        }
        Ok(Self {
            runs,
            alike,
            candidates,
        })
    }

    pub(super) fn runs(&self) -> usize {
        self.runs.len()
    }

    /// The runs at these places, in words: how many, and of which commits.
    pub(super) fn describe(&self, places: &[usize]) -> String {
        let count = places.len();
        let plural = if count == 1 { "run" } else { "runs" };
        let name = |place: Option<&usize>| {
            let run = place.and_then(|place| self.runs.get(*place))?;
            let revision = run.revision.as_deref();
            let short = revision.map(|hash| hash.get(..10).unwrap_or(hash).to_owned());
            Some(short.unwrap_or_else(|| run.started.strftime("%Y-%m-%d").to_string()))
        };
        match (name(places.first()), name(places.last())) {
            (Some(first), Some(last)) if first != last => {
                format!("{count} {plural} {first}..{last}")
            }
            (Some(only), _) => format!("{count} {plural} of {only}"),
            _ => format!("{count} {plural}"),
        }
    }
}

impl Candidate {
    /// Finds the last stable stretch of `values`; of what varies, among the runs that are alike.
    fn settle(&mut self, basis: Option<&Basis>, values: &[(usize, f64)], alike: &Alike) {
        let last = |values: &[(usize, f64)]| -> Vec<(usize, f64)> {
            values[values.len().saturating_sub(LONGEST)..].to_vec()
        };
        let plain = |values: &[(usize, f64)]| -> Vec<f64> {
            values.iter().map(|(_, value)| *value).collect()
        };
        let all = last(values);
        let series = plain(&all);
        if let Some(stretch) = level::find(basis, &series) {
            self.level = Some(series[stretch.start]);
            self.stable = all[stretch].to_vec();
            return;
        }
        let values = last(&alike.of(values));
        let series = plain(&values);
        let options = ChangePointOptions {
            // Their p-value is not shown, so that it need not be fine.
            test: PermutationOptions {
                permutations: 199,
                ..PermutationOptions::default()
            },
            ..ChangePointOptions::default()
        };
        // What is stored is finite.
        let start = last_segment(&series, options).unwrap_or_default();
        self.changed = start > 0;
        self.stable = values[start..].to_vec();
    }

    /// 1 if more is worse, else -1.
    pub(super) fn sign(&self) -> f64 {
        match self.better {
            Better::Higher => -1.0,
            Better::Lower | Better::Equal => 1.0,
        }
    }

    /// On what scale it is held against its past: the ratio of what is told in per cent, if it
    /// can have one.
    pub(super) fn scale(&self) -> Scale {
        let all = self.stable.iter().map(|(_, value)| *value);
        match self.effect {
            Effect::Relative if all.chain([self.value]).all(|value| value > 0.0) => Scale::Ratio,
            Effect::Relative | Effect::Points(_) => Scale::Plain,
        }
    }

    /// The excess that matters, on that scale. Per cent are taken of the smaller of both, as a
    /// comparison takes them.
    pub(super) fn margin(&self) -> Margin {
        let share = self.threshold / 100.0;
        match (self.effect, self.scale(), self.better) {
            (Effect::Points(points), ..) => Margin::Absolute(self.threshold / points),
            (Effect::Relative, Scale::Ratio, _) => Margin::Absolute(share.ln_1p()),
            (Effect::Relative, Scale::Plain, Better::Higher) => {
                Margin::OfCentre(share / (1.0 + share))
            }
            (Effect::Relative, Scale::Plain, _) => Margin::OfCentre(share),
        }
    }

    /// A value as a change from `centre`: per cent, points, or the difference itself where there
    /// is nothing to take per cent of.
    pub(super) fn change(&self, value: f64, centre: f64) -> String {
        match self.effect.size(value - centre, centre) {
            Some(size) => format!("{size:+.1} {}", self.effect.unit()),
            None => format!("{:+.3e}", value - centre),
        }
    }
}
