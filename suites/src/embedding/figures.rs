//! From texts to figures.

use stats::{
    Block, BootstrapOptions, Interval, min_samples_for_quantile_interval, percentile,
    quantile_interval, ratio_interval, wilson_interval,
};

use super::agreement::Agreement;
use crate::{Basis, Better, Blocks, Comparison, Gate, Measurement, Paired, Statistic};

const CONFIDENCE: f64 = 0.95;

/// What an engine must keep to.
pub(super) struct Demands {
    /// Least cosine of any text.
    pub(super) cosine: f64,
    /// Largest relative squared error of all vectors, and where that comes from.
    pub(super) nmse: f64,
    pub(super) because: String,
}

/// Figures of `case` against the baseline, of at least two texts.
pub(super) fn all(case: &'static str, texts: &[Agreement], demands: Demands) -> Vec<Measurement> {
    let n = texts.len() as u64;
    let figure = |metric: &'static str, unit: &'static str, better, value| {
        Measurement::new(case, metric, unit, better, value, n)
    };
    let higher = Better::Higher;
    let mut cosines: Vec<f64> = texts.iter().map(|text| text.cosine).collect();
    cosines.sort_by(f64::total_cmp);

    let mut least = figure("cosine_min", "1", higher, cosines[0]);
    least.headline = true;
    least.gate = Some(Gate {
        comparison: Comparison::AtLeast,
        bound: demands.cosine,
        because: "embedding.min_cosine".into(),
    });
    let noise: Vec<Block> = texts
        .iter()
        .map(|text| Block {
            numerator: text.noise,
            denominator: text.signal,
        })
        .collect();
    let (total, interval) = ratio(&noise);
    let nmse = Measurement {
        interval,
        headline: true,
        gate: Some(Gate {
            comparison: Comparison::AtMost,
            bound: demands.nmse,
            because: demands.because,
        }),
        ..figure("nmse", "1", Better::Lower, total)
    };
    let mean = |metric: &'static str, values: Vec<f64>| {
        let (value, interval) = ratio(&values.iter().copied().map(one).collect::<Vec<_>>());
        let samples = metric.strip_suffix("_mean").unwrap_or(metric);
        Measurement {
            interval,
            n: values.len() as u64,
            basis: Some(paired(samples, Statistic::Mean)),
            ..figure(metric, "1", higher, value)
        }
    };
    let mut all = vec![least, mean("cosine_mean", cosines.clone())];
    // A sample whose minimum need not be below the percentile cannot tell it.
    let enough = min_samples_for_quantile_interval(0.01, CONFIDENCE);
    if enough.is_ok_and(|enough| cosines.len() >= enough) {
        let value = percentile(&cosines, 0.01).unwrap_or(f64::NAN);
        all.push(Measurement {
            interval: quantile_interval(&cosines, 0.01, CONFIDENCE).ok(),
            ..figure("cosine_p01", "1", higher, value)
        });
    }
    all.push(nmse);

    let same = texts.iter().filter(|text| text.same_nearest).count() as u64;
    all.push(Measurement {
        interval: wilson_interval(same, n, CONFIDENCE).ok(),
        headline: true,
        basis: Some(paired("same_nearest", Statistic::Share)),
        ..figure("same_nearest", "share", higher, same as f64 / n as f64)
    });
    let overlaps: Vec<f64> = texts.iter().filter_map(|t| t.nearest_overlap).collect();
    if !overlaps.is_empty() {
        let mut overlap = mean("nearest10_overlap", overlaps);
        overlap.unit = "share".into();
        all.push(overlap);
    }
    let taus: Vec<f64> = texts.iter().filter_map(|text| text.tau).collect();
    if !taus.is_empty() {
        let mut tau = mean("kendall_tau_b", taus);
        tau.headline = true;
        all.push(tau);
    }
    all
}

/// Samples of the same texts, each independent of the others.
fn paired(samples: &'static str, statistic: Statistic) -> Basis {
    Basis::Paired(Paired {
        samples: samples.into(),
        cases: Vec::new(),
        statistic,
        blocks: Blocks::Length(1),
    })
}

fn one(value: f64) -> Block {
    Block {
        numerator: value,
        denominator: 1.0,
    }
}

/// `Σ numerators / Σ denominators`, with an interval that takes texts for the
/// independent units.
fn ratio(texts: &[Block]) -> (f64, Option<Interval>) {
    let total = |part: fn(&Block) -> f64| texts.iter().map(part).sum::<f64>();
    let value = total(|text| text.numerator) / total(|text| text.denominator);
    let estimate = ratio_interval(texts, BootstrapOptions::default()).ok();
    (value, estimate.map(|estimate| estimate.interval))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(cosine: f64, same_nearest: bool) -> Agreement {
        Agreement {
            cosine,
            noise: 1.0 - cosine,
            signal: 1.0,
            same_nearest,
            nearest_overlap: None,
            tau: Some(cosine),
        }
    }

    fn named<'a>(all: &'a [Measurement], name: &str) -> Option<&'a Measurement> {
        all.iter().find(|figure| figure.metric == name)
    }

    #[test]
    fn figures_are_of_the_texts() {
        let texts: Vec<Agreement> = (0..40)
            .map(|i| text(1.0 - f64::from(i) / 100.0, i % 4 > 0))
            .collect();
        let demands = |nmse| Demands {
            cosine: 0.99,
            nmse,
            because: String::new(),
        };
        let found = all("mean", &texts, demands(0.2));
        let value = |name| named(&found, name).unwrap().value;
        assert_eq!(value("cosine_min"), 0.61);
        assert!((value("cosine_mean") - 0.805).abs() < 1e-12);
        assert!((value("nmse") - 0.195).abs() < 1e-12);
        assert_eq!(value("same_nearest"), 0.75);
        let verdict = |name| {
            let figure = named(&found, name).unwrap();
            figure.gate.as_ref().unwrap().admits(figure.value)
        };
        assert!(!verdict("cosine_min") && verdict("nmse"));
        let interval = named(&found, "cosine_mean").unwrap().interval.unwrap();
        assert!(interval.low < 0.805 && 0.805 < interval.high);
        // Forty texts cannot tell a percentile of one in a hundred.
        assert!(named(&found, "cosine_p01").is_none());
        assert!(named(&found, "nearest10_overlap").is_none());
        let many: Vec<Agreement> = texts.iter().cycle().take(400).copied().collect();
        let found = all("mean", &many, demands(0.2));
        let p01 = named(&found, "cosine_p01").unwrap();
        assert!(p01.interval.unwrap().low <= p01.value);
    }
}
