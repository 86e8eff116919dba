//! How long it takes to open the engine on its model.

use std::path::Path;

use engine::EngineError;
use machine::page_cache::evict;

use super::Run;
use super::asked::{Asked, streams};
use super::extent::{Watch, sorted};
use super::figures;
use super::laps::Laps;
use crate::{Better, Measurement, SuiteError};

const CASE: &str = "load";

/// How long each opening took, and from there to the logits after one token.
type Opens = (Vec<f64>, Vec<f64>);

/// Opens the engine anew until the times are known, with the model's file in memory
/// and, where it can be had so, without.
pub(super) fn measure(run: &mut Run<'_, '_>) -> Result<Vec<Measurement>, SuiteError> {
    let mut all = cold(run)?;
    if let Some((warm_ns, first_ns)) = opens(run, None)? {
        all.extend(opened(run, "warm", &warm_ns, &first_ns));
    }
    figures::headline(&mut all, "load_warm_ns");
    Ok(all)
}

fn cold(run: &mut Run<'_, '_>) -> Result<Vec<Measurement>, SuiteError> {
    let withheld = |why: String| {
        let metrics = ["load_cold_ns", "load_to_first_token_cold_ns"];
        let better = Better::Lower;
        Ok(metrics
            .map(|metric| Measurement::withheld(CASE, metric, "ns", better, 0, why.clone()))
            .into())
    };
    let Some(path) = run.cell.model_path else {
        return withheld(
            "the model is linked into the program: there is no file to be cold".into(),
        );
    };
    if let Err(error) = evict(path) {
        return withheld(error.to_string());
    }
    let Some((cold_ns, first_ns)) = opens(run, Some(path))? else {
        return withheld("the server opened its model before this run".into());
    };
    Ok(opened(run, "cold", &cold_ns, &first_ns))
}

/// Times until the engine was open, and from there to the logits after one token: what
/// an engine that maps its file leaves for later. `None` for the times without a file in
/// memory of an engine that has opened its model elsewhere.
fn opens(run: &mut Run<'_, '_>, evicted: Option<&Path>) -> Result<Option<Opens>, EngineError> {
    let mut watch = Watch::new(run.clock, run.plan.extent);
    let mut open_ns = Vec::new();
    let mut first_ns = Vec::new();
    let prompt = &run.plan.tokens[..1];
    let text = run.text(prompt)?;
    while watch.goes_on(&open_ns, true) {
        // It was possible a moment ago; a page left now is a page less to read.
        if let Some(path) = evicted {
            let _ = evict(path);
        }
        let mut opening = Laps::new(run.clock, 2);
        opening.start();
        let model = (run.cell.open)()?;
        opening.lap();
        if evicted.is_some() && streams(&*model) {
            return Ok(None);
        }
        let mut reading = Laps::new(run.clock, 2);
        let asked = Asked {
            prompt,
            text: &text,
            answer: &[],
        };
        asked.make(&*model, &mut reading)?;
        opening.lap();
        open_ns.push(opening.laps_ns()[0] as f64);
        first_ns.push(opening.laps_ns()[1] as f64);
        run.alive();
    }
    Ok(Some((open_ns, first_ns)))
}

fn opened(
    run: &mut Run<'_, '_>,
    how: &'static str,
    open_ns: &[f64],
    first_ns: &[f64],
) -> Vec<Measurement> {
    let names = [
        format!("load_{how}_ns"),
        format!("load_to_first_token_{how}_ns"),
    ];
    let whole_ns: Vec<f64> = open_ns.iter().zip(first_ns).map(|(a, b)| a + b).collect();
    let series = [open_ns, &whole_ns];
    names
        .iter()
        .zip(series)
        .map(|(name, series)| {
            run.samples(CASE, name, 0.., series.iter().copied());
            figures::middle(CASE, name, &sorted(series))
        })
        .collect()
}
