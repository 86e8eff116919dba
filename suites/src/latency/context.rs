//! How decoding slows as the context grows.

use engine::{EngineError, Model, TokenId, Want};
use stats::{median, theil_sen};

use super::Run;
use super::asked::streams;
use super::extent::{CONFIDENCE, Watch, sorted};
use super::figures;
use super::laps::Laps;
use super::request::request;
use crate::{Better, Measurement, SuiteError};

const CASE: &str = "context";

/// Lengths of context to decode at, and tokens to decode at each.
const POINTS: usize = 8;
const TOKENS: usize = 8;

/// The time of a token at one length of context, in one round.
struct Point {
    /// Tokens before the middle one of those decoded.
    context: f64,
    /// Median over the tokens decoded here.
    itl_ns: f64,
}

/// Lets the context of a session grow to the model's, or to the longest that was asked
/// for, and decodes at equal distances.
pub(super) fn sweep(
    run: &mut Run<'_, '_>,
    model: &dyn Model,
) -> Result<Vec<Measurement>, SuiteError> {
    if streams(model) {
        let why = "the engine writes answers by itself, each from an empty context";
        let (metric, unit) = ("itl_slope_ns_per_token", "ns/token");
        let better = Better::Lower;
        return Ok(vec![Measurement::withheld(
            CASE, metric, unit, better, 0, why,
        )]);
    }
    let longest = run.plan.max_context.min(model.config().context);
    if longest < POINTS * 2 * TOKENS {
        let why = format!(
            "a context of {longest} tokens is too short for {POINTS} lengths of {} tokens",
            2 * TOKENS
        );
        let (unit, better) = ("ns/token", Better::Lower);
        let metric = "itl_slope_ns_per_token";
        return Ok(vec![Measurement::withheld(
            CASE, metric, unit, better, 0, why,
        )]);
    }
    let text = run.plan.window(longest);
    let mut watch = Watch::new(run.clock, run.plan.extent);
    let mut rounds: Vec<Vec<Point>> = Vec::new();
    let mut means = Vec::new();
    while watch.goes_on(&means, true) {
        let round = round(run, model, &text)?;
        means.push(round.iter().map(|point| point.itl_ns).sum::<f64>() / POINTS as f64);
        rounds.push(round);
        run.alive();
    }
    if rounds.len() > 1 {
        // Nobody was warm in the first.
        rounds.remove(0);
    }
    Ok(fitted(&rounds))
}

fn round(
    run: &mut Run<'_, '_>,
    model: &dyn Model,
    text: &[TokenId],
) -> Result<Vec<Point>, EngineError> {
    let mut session = model.session()?;
    let mut laps = Laps::new(run.clock, TOKENS);
    let vocab = model.config().vocab;
    (1..=POINTS)
        .map(|point| {
            let end = text.len() * point / POINTS;
            let start = end - TOKENS;
            let before = session.len();
            session.extend(&text[before..start], Want::None)?;
            // A prompt of one token: every lap is a token's.
            let (first, others) = text[start..end].split_at(1);
            request(&mut *session, first, others, vocab, &mut laps)?;
            let itl_ns: Vec<f64> = laps.laps_ns().iter().map(|&ns| ns as f64).collect();
            let at = (start as u64)..;
            run.samples(CASE, "itl_ns", at, itl_ns.iter().copied());
            Ok(Point {
                context: start as f64 + (TOKENS - 1) as f64 / 2.0,
                itl_ns: median(&sorted(&itl_ns)).unwrap_or(f64::NAN),
            })
        })
        .collect()
}

/// The line through all points of all rounds, and the medians that it goes through.
fn fitted(rounds: &[Vec<Point>]) -> Vec<Measurement> {
    let points = || rounds.iter().flatten();
    let (x, y): (Vec<f64>, Vec<f64>) = points().map(|p| (p.context, p.itl_ns)).unzip();
    let (metric, unit, n) = ("itl_slope_ns_per_token", "ns/token", x.len());
    let better = Better::Lower;
    let mut all = Vec::new();
    match theil_sen(&x, &y, CONFIDENCE) {
        Ok(slope) => {
            all.push(Measurement {
                interval: Some(slope.interval),
                ..Measurement::new(CASE, metric, unit, better, slope.value, n as u64)
            });
            let rests: Vec<f64> = x.iter().zip(&y).map(|(x, y)| y - slope.value * x).collect();
            let start = median(&sorted(&rests)).unwrap_or(f64::NAN);
            all.push(figures::duration(
                CASE,
                "itl_without_context_ns".into(),
                start,
                n,
            ));
        }
        Err(error) => all.push(Measurement::withheld(
            CASE,
            metric,
            unit,
            better,
            n as u64,
            error.to_string(),
        )),
    }
    for point in 0..POINTS {
        let here: Vec<f64> = rounds.iter().map(|round| round[point].itl_ns).collect();
        let context = rounds
            .first()
            .map_or(0.0, |round| round[point].context.floor());
        let metric = format!("itl_at_{context}_ns");
        all.push(figures::middle(CASE, &metric, &sorted(&here)));
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_slope_of_a_line_is_found_through_stalls() {
        let rounds: Vec<Vec<Point>> = (0..5)
            .map(|round| {
                (1..=POINTS)
                    .map(|point| Point {
                        context: 100.0 * point as f64,
                        itl_ns: match (round, point) {
                            (2, 3) | (4, 8) => 1e9,
                            _ => 5_000.0 + 7.0 * 100.0 * point as f64,
                        },
                    })
                    .collect()
            })
            .collect();
        let all = fitted(&rounds);
        assert!((all[0].value - 7.0).abs() < 1e-9, "{}", all[0].value);
        let interval = all[0].interval.unwrap();
        assert!(interval.low <= 7.0 && 7.0 <= interval.high);
        assert!((all[1].value - 5_000.0).abs() < 1e-6);
        let at = all.iter().find(|f| f.metric == "itl_at_300_ns").unwrap();
        assert_eq!((at.value, at.n), (7_100.0, 5));
    }
}
