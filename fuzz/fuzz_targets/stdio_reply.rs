//! Any bytes at all as a reply of an engine that is another program: refused, or figures that
//! can be relied on.

#![no_main]

use engine::{Logits, TopLogits};
use libfuzzer_sys::fuzz_target;
use message::Reply;

#[allow(dead_code)]
#[path = "../../remote/src/stdio/message.rs"]
mod message;

const VOCAB: usize = 64;

fuzz_target!(|line: &[u8]| {
    let Ok(reply) = Reply::parse(line) else {
        return;
    };
    for floats in [&reply.logits, &reply.embeddings].into_iter().flatten() {
        if let Ok(values) = floats.decode() {
            assert!(4 * values.len() <= line.len());
        }
    }
    if let Some(tap) = &reply.tap {
        let _ = (tap.stage.to_string(), tap.values.decode());
    }
    if let Some(refusal) = &reply.error {
        assert!(refusal.failure_kind().is_none() || !refusal.is_cancelled());
    }
    for top in reply.top.into_iter().flatten() {
        let best = top.logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let row = TopLogits {
            tokens: top.tokens,
            logits: top.logits,
            logsumexp: top.logsumexp,
        };
        let Ok(logits) = Logits::completed(VOCAB, std::slice::from_ref(&row)) else {
            continue;
        };
        assert!(logits.rows() == 1 && logits.all_finite());
        for (index, &value) in logits.row(0).iter().enumerate() {
            let listed = row.tokens.contains(&(index as u32));
            assert!(if listed { value <= best } else { value < best || row.tokens.len() == VOCAB });
        }
    }
});
