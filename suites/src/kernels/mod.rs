//! Suite `kernels`: does every operation compute what it should, and how fast?
//!
//! Results are held against f64 with bounds derived from the number formats, on random operands, on
//! whole numbers whose sums are exact in any order, and on shapes that tiles do not divide.

mod blocks;
mod cases;
mod exact;
mod speed;

use engine::{Capability, EngineError, FailureKind, KernelCall, Kernels};

use crate::settings::within;
use crate::{
    Basis, Better, Cell, Comparison, Gate, Input, Measurement, Setting, Settings, Suite, SuiteError,
};
use exact::exact;

const SEED: Setting = Setting {
    key: "seed",
    default: "1",
    quick: "1",
    unit: "1",
    help: "of the random operands",
};
const REPEATS: Setting = Setting {
    key: "repeats",
    default: "9",
    quick: "0",
    unit: "samples",
    help: "timings of each shape; 0 times nothing",
};
const SIZE: Setting = Setting {
    key: "size",
    default: "1024",
    quick: "256",
    unit: "1",
    help: "rows and columns of the largest matrix that is timed; a real GPU wants 4096",
};

/// The suite.
#[derive(Clone, Copy, Debug)]
pub(crate) struct KernelsSuite;

impl Suite for KernelsSuite {
    fn name(&self) -> &'static str {
        "kernels"
    }

    fn about(&self) -> &'static str {
        "single operations against f64, format by format, on awkward shapes; their GFLOP/s and GB/s"
    }

    fn settings(&self) -> &'static [Setting] {
        &[SEED, REPEATS, SIZE]
    }

    fn gates(&self) -> &'static [(&'static str, &'static str)] {
        &[(
            "error_over_bound",
            "<= 1: the worst error of a kernel over what rounding allows",
        )]
    }

    fn requires(&self) -> &'static [&'static [Capability]] {
        &[&[Capability::Kernels]]
    }

    fn validate(&self, input: &Input<'_>) -> Result<(), SuiteError> {
        input
            .settings
            .refuse_unknown(self.name(), self.settings())?;
        Extent::read(input.settings).map(drop)
    }

    fn basis(&self) -> Option<Basis> {
        Some(Basis::Machine)
    }

    fn run(&self, cell: &mut Cell<'_>) -> Result<Vec<Measurement>, SuiteError> {
        let extent = Extent::read(cell.input.settings)?;
        let model = (cell.open)()?;
        let kernels = model.kernels().ok_or_else(|| {
            EngineError::new(
                FailureKind::Unsupported,
                "the engine hands over no kernels of this model",
            )
        })?;
        let cases = cases::all(extent.seed);
        let mut roofs = match extent.repeats {
            0 => Vec::new(),
            _ => kernels.roofs()?,
        };
        let (judged, timed) = match extent.repeats {
            0 => (cases.len(), 0),
            _ => (cases.len() + roofs.len(), roofs.len() + speed::SHAPES),
        };
        let (judged, total) = (judged as u64, (judged + timed) as u64);
        let mut verdicts = Verdicts::default();
        let mut done = 0;
        for case in &cases {
            verdicts.judge(&case.name, &case.shape, check(kernels, &case.call())?);
            done += 1;
            (cell.progress)(done, total);
        }
        for roof in &mut roofs {
            let outcome = outcome(&roof.kernel.run()?, |_| (f64::from(roof.expected), 0.0));
            verdicts.judge(&format!("roof.{}", roof.name), "its work", outcome);
            done += 1;
            (cell.progress)(done, total);
        }
        let mut measurements = verdicts.measurements();
        if extent.repeats > 0 {
            let steps = (judged, total);
            measurements.extend(speed::measure(kernels, roofs, extent, cell, steps)?);
        }
        Ok(measurements)
    }
}

/// The settings.
#[derive(Clone, Copy, Debug)]
struct Extent {
    seed: u64,
    repeats: usize,
    size: usize,
}

impl Extent {
    fn read(settings: &Settings) -> Result<Self, SuiteError> {
        Ok(Self {
            seed: settings.get(&SEED, |_| Ok(()))?,
            repeats: settings.get(&REPEATS, within(0, 1000))?,
            size: settings.get(&SIZE, |&size: &usize| match size {
                256..=16_384 if size.is_multiple_of(256) => Ok(()),
                _ => Err("a multiple of 256 up to 16384".to_owned()),
            })?,
        })
    }
}

/// What became of a case.
enum Outcome {
    /// The worst error over its bound, the index it stands at, and how many values there are.
    Computed(f64, usize, usize),
    /// No kernel computes it.
    Unsupported(String),
}

/// Computes `call` and holds it against f64.
fn check(kernels: &dyn Kernels, call: &KernelCall<'_>) -> Result<Outcome, EngineError> {
    let prepared = kernels.prepare(call).and_then(|mut kernel| kernel.run());
    let got = match prepared {
        Err(error) if error.kind() == FailureKind::Unsupported => {
            return Ok(Outcome::Unsupported(error.to_string()));
        }
        other => other?,
    };
    let exact = exact(call);
    if got.len() != exact.values.len() {
        return Err(EngineError::new(
            FailureKind::Protocol,
            format!("{} values instead of {}", got.len(), exact.values.len()),
        ));
    }
    let expected = |index| (exact.values[index], exact.bounds[index]);
    Ok(outcome(&got, expected))
}

/// Holds `got` against the values `expected` at its places, each with its bound.
fn outcome(got: &[f32], expected: impl Fn(usize) -> (f64, f64)) -> Outcome {
    let mut worst = (0.0, 0);
    for (index, &got) in got.iter().enumerate() {
        let (value, bound) = expected(index);
        let error = (f64::from(got) - value).abs();
        // Nothing allowed and nothing wrong is no error; NaN is an infinite one.
        let share = match error == 0.0 {
            true => 0.0,
            false => error / bound,
        };
        let share = if share.is_nan() { f64::INFINITY } else { share };
        if share > worst.0 {
            worst = (share, index);
        }
    }
    Outcome::Computed(worst.0, worst.1, got.len())
}

/// The worst of every kernel, in order of their first cases.
#[derive(Default)]
struct Verdicts(Vec<Verdict>);

struct Verdict {
    name: String,
    worst: f64,
    place: String,
    values: u64,
    unsupported: Option<String>,
}

impl Verdicts {
    /// Takes the outcome of case `name` of this `shape`.
    fn judge(&mut self, name: &str, shape: &str, outcome: Outcome) {
        let at = self.0.iter().position(|verdict| verdict.name == name);
        let at = at.unwrap_or_else(|| {
            self.0.push(Verdict {
                name: name.into(),
                worst: 0.0,
                place: String::new(),
                values: 0,
                unsupported: None,
            });
            self.0.len() - 1
        });
        let verdict = &mut self.0[at];
        match outcome {
            Outcome::Unsupported(why) => verdict.unsupported = Some(why),
            Outcome::Computed(share, index, values) => {
                verdict.values += values as u64;
                if share > verdict.worst {
                    verdict.worst = share;
                    verdict.place = format!("worst at value {index} of {shape}");
                }
            }
        }
    }

    fn measurements(self) -> Vec<Measurement> {
        let measurement = |verdict: Verdict| {
            let (metric, better) = ("error_over_bound", Better::Lower);
            let Verdict {
                name,
                worst,
                place,
                values,
                unsupported,
            } = verdict;
            if let (Some(why), 0) = (unsupported, values) {
                return Measurement::withheld(name, metric, "1", better, 0, why);
            }
            Measurement {
                gate: Some(Gate {
                    comparison: Comparison::AtMost,
                    bound: 1.0,
                    because: "rounding of its formats allows no more".into(),
                }),
                why: (!place.is_empty()).then_some(place),
                headline: true,
                basis: Some(Basis::Exact),
                ..Measurement::new(name, metric, "1", better, worst, values)
            }
        };
        self.0.into_iter().map(measurement).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use engine::{KernelTime, PreparedKernel};

    /// Computes in f64 and tampers with one value.
    struct Tampered(fn(&mut [f32]));

    struct Ready(Vec<f32>);

    impl Kernels for Tampered {
        fn prepare(
            &self,
            call: &KernelCall<'_>,
        ) -> Result<Box<dyn PreparedKernel + '_>, EngineError> {
            let mut values: Vec<f32> = exact(call).values.iter().map(|&v| v as f32).collect();
            self.0(&mut values);
            Ok(Box::new(Ready(values)))
        }
    }

    impl PreparedKernel for Ready {
        fn run(&mut self) -> Result<Vec<f32>, EngineError> {
            Ok(self.0.clone())
        }
        fn time(&mut self, _: u32) -> Result<KernelTime, EngineError> {
            Ok(KernelTime {
                total_ns: 1.0,
                by_device: false,
            })
        }
    }

    fn worst(kernels: &dyn Kernels) -> Vec<(String, f64)> {
        let mut verdicts = Verdicts::default();
        for case in cases::all(3) {
            verdicts.judge(
                &case.name,
                &case.shape,
                check(kernels, &case.call()).unwrap(),
            );
        }
        let worst = verdicts.0.into_iter();
        worst.map(|verdict| (verdict.name, verdict.worst)).collect()
    }

    #[test]
    fn rounding_alone_passes() {
        for (name, share) in worst(&Tampered(|_| ())) {
            assert!(share <= 1.0, "{name}: {share}");
        }
    }

    #[test]
    fn one_wrong_value_fails() {
        // Of whole numbers by one; the others' bounds on long sums are wider than that.
        for (name, share) in worst(&Tampered(|values| values[0] += 1.0)) {
            assert!(
                !name.ends_with(".whole") || share.is_infinite(),
                "{name}: {share}"
            );
        }
        let doubled = |values: &mut [f32]| values[0] += 1.0 + values[0].abs();
        for (name, share) in worst(&Tampered(doubled)) {
            assert!(share > 1.0, "{name}: {share}");
        }
    }

    #[test]
    fn nan_fails() {
        for (name, share) in worst(&Tampered(|values| values[0] = f32::NAN)) {
            assert!(share.is_infinite(), "{name}: {share}");
        }
    }
}
