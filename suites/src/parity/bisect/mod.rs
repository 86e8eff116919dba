//! Where two engines part: the first place on the way to the logits whose error
//! nothing before it explains.
//!
//! Both engines are tapped over the start of the first window. An NMSE is computed
//! for each place and position and averaged over the positions, so that a few
//! positions with a stream of enormous energy (attention sinks) do not drown the
//! others. What is tolerated follows from the number formats, as for the logits:
//! `MARGIN · (g · ε² + n · a)`, with `ε²` of both engines, a noise gain `g` of each
//! place, measured by tapping the baseline once more with weights of known noise, and
//! the noise `a` of the activations for each of the `n` summands of the stream.
//! [`compare`] tells how a place comes to be accused.

mod baseline;
mod compare;
mod suspects;
mod trace;

use engine::{FailureKind, Model, TokenId};

use super::divergence::centred_energies;
use crate::{
    Better, Cell, Comparison as Compares, Gate, Measurement, Role, Sample, Setting, SuiteError,
};
use baseline::Baseline;
use compare::Comparison;
use trace::{Path, Place, Trace};

pub(super) const BISECT: Setting = Setting {
    key: "bisect",
    default: "false",
    quick: "false",
    unit: "true|false",
    help: "with engines that can be tapped, name the layer and part where one leaves the baseline",
};
pub(super) const BISECT_TOKENS: Setting = Setting {
    key: "bisect_tokens",
    default: "64",
    quick: "32",
    unit: "tokens",
    help: "how many tokens of the first window the bisection reads",
};

const CASE: &str = "bisect";

/// Taps the engine of `cell` over `tokens`, and holds a candidate against what the
/// baseline left.
pub(super) fn run(
    cell: &mut Cell<'_>,
    model: &dyn Model,
    tokens: &[TokenId],
) -> Result<Vec<Measurement>, SuiteError> {
    if cell.role == Role::Baseline {
        let why = baseline::leave(cell.scratch, model, cell.variant, tokens)?;
        return Ok(why.map(skipped).into_iter().collect());
    }
    let baseline = match baseline::read(cell.scratch)? {
        Ok(baseline) => baseline,
        Err(why) => return Ok(vec![skipped(why)]),
    };
    let mut comparisons = Vec::new();
    let mut measurements = Vec::new();
    for path in Path::ALL {
        let found = match path.run(model, tokens) {
            Ok(found) => found,
            Err(error) if error.kind() == FailureKind::Unsupported => {
                if path == Path::Prefill {
                    return Ok(vec![skipped(format!(
                        "the engine cannot be tapped: {error}"
                    ))]);
                }
                let why = format!("the engine cannot go this way: {error}");
                let metric = format!("stages_{}", path.name());
                measurements.push(Measurement::withheld(
                    CASE,
                    metric,
                    "stages",
                    Better::Equal,
                    0,
                    why,
                ));
                continue;
            }
            Err(error) => return Err(error.into()),
        };
        let compared = Comparison::new(path, &baseline, &found, model.numerics(), model.config());
        match compared {
            Ok(comparison) => {
                measurements.push(stages_compared(path, comparison.places.len()));
                record(&comparison, cell.samples);
                comparisons.push((comparison, found));
            }
            Err(why) => return Ok(vec![skipped(why)]),
        }
    }
    let mut judged = judge(&baseline, &comparisons, model.config().layers);
    judged.extend(measurements);
    Ok(judged)
}

/// The place and position where an engine goes wrong.
struct Accusation {
    path: Path,
    place: Place,
    position: usize,
    error: f64,
    tolerance: f64,
    parts: Vec<&'static str>,
    /// Places before it.
    agreeing: usize,
}

/// The accusation of the first way that leads to one. The later ways build on what
/// the earlier ones do: in a cache that a faulty prefill has filled, decoding finds
/// errors whose cause is elsewhere.
fn accuse(
    baseline: &Baseline,
    comparisons: &[(Comparison, Trace)],
    layers: usize,
) -> Option<Accusation> {
    let (ways, (comparison, found), index) = comparisons
        .iter()
        .enumerate()
        .find_map(|(ways, pair)| Some((ways, pair, pair.0.accused()?)))?;
    let accused = &comparison.places[index];
    let agreeing: Vec<Place> = comparison.places[..index].iter().map(|p| p.place).collect();
    // What either engine hands over in any layer, the model has.
    let has = |point| {
        let columns = baseline.trace.columns().iter().chain(found.columns());
        let mut places = columns.map(|column| column.place);
        places.any(|place| matches!(place, Place::Tap(stage) if stage.point == point))
    };
    let parts = match comparison.path {
        // Both other ways are right, so only what taking tokens back leaves is wrong.
        Path::Truncate if ways + 1 == Path::ALL.len() => vec!["cache"],
        _ => suspects::parts(accused.place, &agreeing, layers, has),
    };
    Some(Accusation {
        path: comparison.path,
        place: accused.place,
        position: comparison.start + accused.first_beyond(),
        error: accused.error(),
        tolerance: accused.tolerance,
        parts,
        agreeing: index,
    })
}

fn judge(
    baseline: &Baseline,
    comparisons: &[(Comparison, Trace)],
    layers: usize,
) -> Vec<Measurement> {
    let accusation = accuse(baseline, comparisons, layers);
    let compared: usize = comparisons.iter().map(|(c, _)| c.places.len()).sum();
    let beyond: usize = comparisons.iter().map(|(c, _)| c.beyond()).sum();
    let worst = comparisons
        .iter()
        .flat_map(|(comparison, _)| &comparison.places)
        .max_by(|a, b| a.share().total_cmp(&b.share()));
    let n = compared as u64;
    let because = match (&accusation, worst) {
        (Some(accusation), _) => accusation.explain(),
        (None, Some(worst)) if beyond > 0 => format!(
            "{beyond} of {compared} stages drift out of tolerance without a step that one could be \
             blamed for; {} is worst",
            worst.place
        ),
        _ => "no stage adds more error than its number formats do".into(),
    };
    let mut measurements = vec![Measurement {
        gate: Some(Gate {
            comparison: Compares::Exactly,
            bound: 0.0,
            because,
        }),
        headline: true,
        ..Measurement::new(
            CASE,
            "guilty_stages",
            "stages",
            Better::Lower,
            f64::from(u8::from(accusation.is_some())),
            n,
        )
    }];
    if let Some(worst) = worst {
        let of_tolerance = worst.share();
        measurements.push(Measurement::new(
            CASE,
            "worst_share",
            "of tolerance",
            Better::Lower,
            of_tolerance,
            n,
        ));
    }
    if let Some(accusation) = &accusation {
        measurements.extend(accusation.measurements());
    }
    measurements
}

impl Accusation {
    /// One sentence for people.
    fn explain(&self) -> String {
        let parts = match self.parts.as_slice() {
            [part] => (*part).to_owned(),
            parts => format!("one of {}", parts.join(", ")),
        };
        let layer = match self.place {
            Place::Tap(engine::Stage {
                layer: Some(layer), ..
            }) => format!("layer {layer}, "),
            _ => String::new(),
        };
        let way = match self.path {
            Path::Prefill => "in a prefill",
            Path::Decode => "when decoding",
            Path::Truncate => "after a truncation",
        };
        format!(
            "{layer}{parts}: {way} {} is the first to leave tolerance, NMSE {:.1e} where {:.1e} is \
             allowed, from position {} on; stages before it that agree: {}",
            self.place, self.error, self.tolerance, self.position, self.agreeing
        )
    }

    fn measurements(&self) -> Vec<Measurement> {
        let figure = |metric: &'static str, unit: &'static str, value: f64| {
            Measurement::new(CASE, metric, unit, Better::Equal, value, 1)
        };
        let mut figures = vec![
            figure("guilty_position", "position", self.position as f64),
            figure("guilty_nmse", "1", self.error),
            figure("guilty_tolerance", "1", self.tolerance),
        ];
        if let Place::Tap(engine::Stage {
            layer: Some(layer), ..
        }) = self.place
        {
            figures.push(figure("guilty_layer", "layer", layer as f64));
        }
        figures
    }
}

/// Every error and tolerance, for the record.
fn record(comparison: &Comparison, samples: &mut dyn FnMut(Sample)) {
    let path = comparison.path.name();
    for compared in &comparison.places {
        let mut sample = |metric: &str, index: usize, value: f64| {
            samples(Sample {
                case: format!("{CASE}.{}", compared.place).into(),
                metric: format!("{metric}_{path}").into(),
                unit: "1".into(),
                index: index as u64,
                value,
            });
        };
        for (index, &error) in compared.errors.iter().enumerate() {
            sample("nmse", comparison.start + index, error);
        }
        sample("tolerance", comparison.start, compared.tolerance);
    }
}

fn skipped(why: String) -> Measurement {
    Measurement {
        headline: true,
        ..Measurement::withheld(CASE, "guilty_stages", "stages", Better::Lower, 0, why)
    }
}

fn stages_compared(path: Path, stages: usize) -> Measurement {
    let metric = format!("stages_{}", path.name());
    Measurement::new(
        CASE,
        metric,
        "stages",
        Better::Equal,
        stages as f64,
        stages as u64,
    )
}

/// Squared error of a row over the energy of what was expected. A constant added to
/// all logits changes no probability, so they are centred; nothing else is.
fn nmse(place: Place, expected: &[f32], found: &[f32]) -> f64 {
    let (noise, signal) =
        match place {
            Place::Logits => centred_energies(expected, found),
            Place::Tap(_) => expected.iter().zip(found).fold(
                (0.0, 0.0),
                |(noise, signal), (&expected, &found)| {
                    let (expected, found) = (f64::from(expected), f64::from(found));
                    let error = found - expected;
                    (noise + error * error, signal + expected * expected)
                },
            ),
        };
    if noise == 0.0 { 0.0 } else { noise / signal }
}
