//! What both decoders hand over on the way, against what hooks take out of
//! transformers (`scripts/oracles/taps.py`).

use std::collections::BTreeSet;

use engine::Tap;

use crate::tiny::committed;
use crate::{KERNELS, largest_difference, open};

/// Stages in the order in which they first came, and their rows so far.
type Trace = Vec<(String, Vec<f32>)>;

fn trace(options: &str, model: &crate::TinyModel, pieces: &[usize]) -> Trace {
    let opened = open(model, options).unwrap();
    let mut session = opened.session().unwrap();
    let (mut trace, mut start) = (Trace::new(), 0);
    for piece in pieces {
        let tokens = &model.tokens[start..start + piece];
        session
            .extend_tapped(tokens, &mut |tap: Tap<'_>| {
                let stage = tap.stage.to_string();
                match trace.iter_mut().find(|(other, _)| *other == stage) {
                    Some((_, rows)) => rows.extend_from_slice(tap.values),
                    None => trace.push((stage, tap.values.to_vec())),
                }
            })
            .unwrap();
        start += piece;
    }
    trace
}

#[test]
fn taps_are_transformers() {
    let mut families = BTreeSet::new();
    for model in committed() {
        let Some(expected) = model.taps() else {
            continue;
        };
        families.insert(model.name.clone());
        for kernels in KERNELS {
            // Panels, few tokens, and token by token.
            for pieces in [&[64][..], &[8], &[1, 1, 1, 5], &[7, 57]] {
                let found = trace(&format!("kernels={kernels}"), &model, pieces);
                let names = |trace: &Trace| -> Vec<String> {
                    trace.iter().map(|(name, _)| name.clone()).collect()
                };
                assert_eq!(names(&expected), names(&found), "{}", model.name);
                for ((stage, expected), (_, found)) in expected.iter().zip(&found) {
                    let square: f64 = expected.iter().map(|&x| f64::from(x).powi(2)).sum();
                    let rms = (square / expected.len() as f64).sqrt();
                    let delta = largest_difference(expected, &found[..expected.len()]) / rms;
                    assert!(
                        delta <= crate::TOLERANCE,
                        "{} {kernels} {pieces:?} {stage}: {delta:.1e} of its RMS",
                        model.name
                    );
                }
            }
        }
    }
    // Permuted rotary pairs, head and post norms, learned positions.
    let needed = ["gemma3-pattern", "gpt2", "llama"].map(String::from);
    assert_eq!(families, BTreeSet::from(needed));
}
