//! What the suite reports.

use engine::{TokenId, Tokenizer};
use stats::wilson_interval;

use super::ALL;
use super::transcript::Transcript;
use super::verify::{Disagreement, Verified};
use crate::{Better, Comparison, Gate, Measurement};

pub(super) fn all(
    all: &[(Transcript, Verified)],
    retokenized: &[&str],
    tokenizer: &dyn Tokenizer,
) -> Vec<Measurement> {
    let mut measurements = overview(all, retokenized);
    for (transcript, verified) in all {
        let n = transcript.steps.len() as u64;
        let of = |metric: &'static str, unit: &'static str, better, value: usize| {
            Measurement::new(transcript.id.clone(), metric, unit, better, value as f64, n)
        };
        measurements.push(of("matched", "tokens", Better::Higher, verified.matched));
        let unexplained: Vec<&Disagreement> = unexplained(verified).collect();
        let count = unexplained.len() + usize::from(verified.other_end.is_some());
        measurements.push(Measurement {
            gate: Some(Gate {
                comparison: Comparison::Exactly,
                bound: 0.0,
                because: because(transcript, verified, &unexplained, tokenizer),
            }),
            ..of("unexplained", "steps", Better::Lower, count)
        });
    }
    measurements
}

/// Of each transcript how many characters the engine's text shares with it from the start,
/// and whether it is the same to the end. A difference may be a near-tie, which only
/// log-probabilities would tell: no gate.
pub(super) fn texts(matched: &[(&Transcript, usize, bool)], why: &str) -> Vec<Measurement> {
    let n = matched.len() as u64;
    let same = matched.iter().filter(|(_, _, same)| *same).count() as u64;
    let mut all = vec![
        Measurement {
            interval: wilson_interval(same, n, 0.95).ok(),
            headline: true,
            ..Measurement::new(
                ALL,
                "exact",
                "share",
                Better::Higher,
                same as f64 / n as f64,
                n,
            )
        },
        Measurement::withheld(ALL, "unexplained", "steps", Better::Lower, 0, why),
    ];
    for (transcript, same, _) in matched {
        let n = transcript.text.chars().count() as u64;
        let (case, value) = (transcript.id.clone(), *same as f64);
        let (metric, better) = ("matched_chars", Better::Higher);
        all.push(Measurement::new(case, metric, "chars", better, value, n));
    }
    all
}

fn unexplained(verified: &Verified) -> impl Iterator<Item = &Disagreement> {
    let disagreements = verified.disagreements.iter();
    disagreements.filter(|disagreement| !disagreement.is_near_tie())
}

fn overview(all: &[(Transcript, Verified)], retokenized: &[&str]) -> Vec<Measurement> {
    let transcripts = all.len() as u64;
    let steps: u64 = all
        .iter()
        .map(|(transcript, _)| transcript.steps.len() as u64)
        .sum();
    let total = |of: fn(&Verified) -> usize| all.iter().map(|(_, v)| of(v) as u64).sum::<u64>();
    let disagreements = total(|verified| verified.disagreements.len());
    let near_ties = total(|verified| {
        let disagreements = verified.disagreements.iter();
        disagreements.filter(|d| d.is_near_tie()).count()
    });
    let share = |metric: &'static str, part: u64, whole: u64| Measurement {
        interval: wilson_interval(part, whole, 0.95).ok(),
        headline: true,
        ..Measurement::new(
            ALL,
            metric,
            "share",
            Better::Higher,
            part as f64 / whole as f64,
            whole,
        )
    };
    let count = |metric: &'static str, value: u64| {
        Measurement::new(ALL, metric, "steps", Better::Lower, value as f64, steps)
    };
    let deltas = all.iter().flat_map(|(_, verified)| &verified.deltas);
    let squares: f64 = deltas.map(|delta| delta * delta).sum();
    let mut floors: Vec<f64> = all.iter().flat_map(|(_, v)| v.floors.clone()).collect();
    floors.sort_by(f64::total_cmp);
    let nats = |metric: &'static str, better, value: f64| Measurement {
        headline: true,
        ..Measurement::new(ALL, metric, "nat", better, value, steps)
    };
    vec![
        share(
            "exact",
            total(|verified| usize::from(verified.is_exact())),
            transcripts,
        ),
        share("agreement", steps - disagreements, steps),
        Measurement {
            headline: true,
            ..count("near_ties", near_ties)
        },
        Measurement {
            headline: true,
            ..count(
                "unexplained",
                disagreements - near_ties + total(|v| usize::from(v.other_end.is_some())),
            )
        },
        Measurement {
            headline: true,
            ..Measurement::new(
                ALL,
                "edits",
                "share",
                Better::Lower,
                total(|verified| verified.edits) as f64 / steps as f64,
                steps,
            )
        },
        nats(
            "delta_log_probability_rms",
            Better::Lower,
            (squares / steps as f64).sqrt(),
        ),
        nats(
            "noise_floor",
            Better::Equal,
            stats::percentile(&floors, 0.5).unwrap_or(f64::NAN),
        ),
        Measurement {
            gate: Some(Gate {
                comparison: Comparison::Exactly,
                bound: 0.0,
                because: match retokenized.first() {
                    None => "the tokenizer reads prompts as it did when they were recorded".into(),
                    Some(first) => format!("prompt `{first}` has other tokens than recorded"),
                },
            }),
            ..Measurement::new(
                ALL,
                "retokenized",
                "prompts",
                Better::Lower,
                retokenized.len() as f64,
                transcripts,
            )
        },
    ]
}

/// Names what is wrong, the first place in full.
fn because(
    transcript: &Transcript,
    verified: &Verified,
    unexplained: &[&Disagreement],
    tokenizer: &dyn Tokenizer,
) -> String {
    let Some((first, rest)) = unexplained.split_first() else {
        return match &verified.other_end {
            Some(why) => format!("prompt `{}` {why}", transcript.id),
            None => "no disagreement but near-ties of the formats compared".into(),
        };
    };
    let piece = |id: TokenId| {
        let bytes = tokenizer.token_bytes(id).unwrap_or_default();
        format!("{id} {:?}", String::from_utf8_lossy(bytes))
    };
    let mut text = format!(
        "prompt `{}` position {}: {} where {} is recorded, ",
        transcript.id,
        first.position,
        piece(first.chosen),
        piece(first.recorded),
    );
    text += &match first.apart == f64::MAX {
        true => "which is not the best by the transcript's own figures".into(),
        false => format!(
            "{:.3e} nats apart, {:.3e} would be a near-tie",
            first.apart, first.floor
        ),
    };
    if !rest.is_empty() {
        let places: Vec<String> = rest.iter().map(|d| d.position.to_string()).collect();
        text += &format!("; also at {}", places.join(", "));
    }
    text
}
