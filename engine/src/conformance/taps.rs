//! Promises of [`Capability::Taps`](crate::Capability::Taps).

use super::{Finding, Subject, broken};
use crate::format::Structure;
use crate::{Capability, ModelConfig, NumberFormat, Stage, TapPoint, Want};

/// What one stage handed over, all calls together.
struct Trace {
    stage: Stage,
    width: usize,
    values: Vec<f32>,
}

/// Feeds the tokens in one long call and one of a single token, tapped.
fn traces(subject: &Subject<'_>) -> Result<Vec<Trace>, Finding> {
    if !subject.info.capabilities.contains(&Capability::Taps) {
        return Err(Finding::NotApplicable("the engine declares no taps".into()));
    }
    let config = subject.model.config();
    let mut session = subject.session()?;
    let mut traces: Vec<Trace> = Vec::new();
    let mut fault = None;
    let (most, last) = subject.tokens.split_at(subject.tokens.len() - 1);
    for tokens in [most, last].into_iter().filter(|part| !part.is_empty()) {
        session.extend_tapped(tokens, &mut |tap| {
            let index = traces
                .iter()
                .position(|trace| trace.stage == tap.stage)
                .unwrap_or(traces.len());
            if index == traces.len() {
                traces.push(Trace {
                    stage: tap.stage,
                    width: tap.width,
                    values: Vec::new(),
                });
            }
            let trace = &mut traces[index];
            let wrong = misplaced(tap.stage, config).or_else(|| {
                let expected = tap.stage.point.width(config);
                (tap.width != expected || trace.width != expected)
                    .then(|| format!("rows of {} values instead of {expected}", tap.width))
            });
            let wrong = wrong.or_else(|| {
                let whole = tap.width > 0 && tap.values.len().is_multiple_of(tap.width);
                let next = trace.values.len() / trace.width.max(1);
                if !whole {
                    Some(format!("{} values are no whole rows", tap.values.len()))
                } else if tap.position != next {
                    Some(format!("position {} came after {next} rows", tap.position))
                } else {
                    None
                }
            });
            if let Some(why) = wrong {
                fault.get_or_insert(format!("{}: {why}", tap.stage));
            }
            trace.values.extend_from_slice(tap.values);
        })?;
    }
    if let Some(fault) = fault {
        return broken(fault);
    }
    Ok(traces)
}

fn misplaced(stage: Stage, config: &ModelConfig) -> Option<String> {
    match stage.layer {
        Some(layer) if !stage.point.in_layer() => Some(format!("in layer {layer}")),
        None if stage.point.in_layer() => Some("in no layer".into()),
        Some(layer) if layer >= config.layers => {
            Some(format!("the model has {} layers", config.layers))
        }
        _ => None,
    }
}

pub(super) fn shapes(subject: &Subject<'_>) -> Result<(), Finding> {
    let traces = traces(subject)?;
    if traces.is_empty() {
        return broken("declared, but nothing was handed over");
    }
    for trace in &traces {
        let rows = trace.values.len() / trace.width;
        if rows != subject.tokens.len() {
            return broken(format!(
                "{}: {rows} rows for {} tokens",
                trace.stage,
                subject.tokens.len()
            ));
        }
        if !trace.values.iter().all(|value| value.is_finite()) {
            return broken(format!("{}: NaN or infinity", trace.stage));
        }
    }
    Ok(())
}

pub(super) fn logits_are_the_same(subject: &Subject<'_>) -> Result<(), Finding> {
    if !subject.info.capabilities.contains(&Capability::Taps) {
        return Err(Finding::NotApplicable("the engine declares no taps".into()));
    }
    let (mut plain, mut tapped) = (subject.session()?, subject.session()?);
    let (most, last) = subject.tokens.split_at(subject.tokens.len() - 1);
    for tokens in [most, last].into_iter().filter(|part| !part.is_empty()) {
        let expected = plain.extend(tokens, Want::All)?;
        let found = tapped.extend_tapped(tokens, &mut |_| {})?;
        let bits = |values: &[f32]| -> Vec<u32> { values.iter().map(|v| v.to_bits()).collect() };
        if bits(expected.values()) != bits(found.values()) {
            return broken(format!(
                "logits of {} tokens change when they are tapped",
                tokens.len()
            ));
        }
    }
    Ok(())
}

/// Where a stream, what is added to it and the sum are all handed over, the sum is
/// right.
pub(super) fn residuals_add_up(subject: &Subject<'_>) -> Result<(), Finding> {
    let traces = traces(subject)?;
    let of = |layer: Option<usize>, points: &[TapPoint]| {
        points.iter().find_map(|&point| {
            traces
                .iter()
                .find(|trace| trace.stage == Stage { layer, point })
        })
    };
    let mut checked = false;
    for layer in 0..subject.model.config().layers {
        let at = Some(layer);
        let before = match layer {
            0 => of(None, &[TapPoint::Embedding]),
            _ => of(Some(layer - 1), &[TapPoint::Residual]),
        };
        let between = of(at, &[TapPoint::AttentionResidual]);
        let after = of(at, &[TapPoint::Residual]);
        let attention = of(
            at,
            &[TapPoint::AttentionPostNorm, TapPoint::AttentionOutput],
        );
        let fed = of(at, &[TapPoint::FfnPostNorm, TapPoint::FfnOutput]);
        for (stream, added, sum) in [(before, attention, between), (between, fed, after)] {
            let (Some(stream), Some(added), Some(sum)) = (stream, added, sum) else {
                continue;
            };
            checked = true;
            is_sum(stream, added, sum, subject.model.numerics().activations)?;
        }
    }
    match checked {
        true => Ok(()),
        false => Err(Finding::NotApplicable(
            "no stream is handed over together with what is added to it".into(),
        )),
    }
}

/// `sum = stream + added`, rounded to f32 and then to `activations`: each errs by
/// half a unit of the last of `p` bits, at most `2^-p` of the number.
fn is_sum(
    stream: &Trace,
    added: &Trace,
    sum: &Trace,
    activations: NumberFormat,
) -> Result<(), Finding> {
    let unit = |format: NumberFormat| match format.structure() {
        Structure::Float { significand_bits } => 2f64.powi(-significand_bits),
        _ => 0.0,
    };
    let relative = 1.01 * (unit(NumberFormat::F32) + unit(activations));
    // Half the smallest step of f16, the narrowest range there is.
    let absolute = match activations {
        NumberFormat::F16 => 2f64.powi(-25),
        _ => f64::from(f32::MIN_POSITIVE),
    };
    for (index, ((&x, &y), &found)) in stream
        .values
        .iter()
        .zip(&added.values)
        .zip(&sum.values)
        .enumerate()
    {
        let expected = f64::from(x) + f64::from(y);
        let error = (f64::from(found) - expected).abs();
        if error > relative * expected.abs() + absolute {
            return broken(format!(
                "{} is not {} + {}: {found} instead of {expected} at position {}",
                sum.stage,
                stream.stage,
                added.stage,
                index / sum.width
            ));
        }
    }
    Ok(())
}
