//! Any bytes as a server's answer: refused, or as many finite scores as were asked for.

#![no_main]

use engine::{Scores, TokenId};
use libfuzzer_sys::fuzz_target;

#[allow(dead_code, unreachable_pub)]
#[path = "../../remote/src/openai/wire.rs"]
mod wire;

/// What was asked about. Small ids and few, so that the fuzzer hits on them.
const TOKENS: [TokenId; 3] = [1, 2, 3];

fn sound(scores: &Scores, top: usize) {
    assert!(scores.log_probability.is_finite());
    assert!(scores.top.len() <= top);
    assert!(scores.top.iter().all(|(_, value)| value.is_finite()));
    assert!(scores.top.windows(2).all(|pair| pair[0].1 >= pair[1].1));
}

fuzz_target!(|bytes: &[u8]| {
    if let Ok(text) = std::str::from_utf8(bytes) {
        for event in [wire::llama_event(text), wire::openai_event(text)] {
            if let Ok(wire::Delta {
                timings_ms: Some((prompt, answer)),
                ..
            }) = event
            {
                assert!(prompt >= 0.0 && answer >= 0.0);
            }
        }
    }
    let Ok(answer) = wire::object(bytes) else {
        return;
    };
    if let Ok(scores) = wire::forced(&answer, 2, 2) {
        sound(&scores, 2);
    }
    for from in 1..=TOKENS.len() {
        let told = wire::prompt_logprobs(&answer, &TOKENS, from, 2);
        let echoed = wire::echoed(&answer, &TOKENS, from);
        for scores in [told, echoed].into_iter().flatten() {
            assert_eq!(scores.len(), TOKENS.len() - from);
            scores.iter().for_each(|scores| sound(scores, 2));
        }
    }
});
