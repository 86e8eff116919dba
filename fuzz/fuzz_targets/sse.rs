//! Any bytes as a stream of events, cut anywhere: the same events or the same refusal as in one
//! piece, and none longer than what came.

#![no_main]

use libfuzzer_sys::fuzz_target;
use sse::{Events, SseError};

#[allow(dead_code, unreachable_pub)]
#[path = "../../remote/src/openai/sse.rs"]
mod sse;

fn all(pieces: &[&[u8]]) -> Result<Vec<String>, SseError> {
    let (mut events, mut data) = (Events::default(), Vec::new());
    for piece in pieces {
        events.push(piece, &mut |event| data.push(event.to_owned()))?;
    }
    Ok(data)
}

fuzz_target!(|bytes: &[u8]| {
    let Some((&cut, bytes)) = bytes.split_first() else {
        return;
    };
    let cut = bytes.len() * usize::from(cut) / 255;
    let whole = all(&[bytes]);
    assert_eq!(all(&[&bytes[..cut], &bytes[cut..]]), whole);
    if let Ok(events) = whole {
        let told: usize = events.iter().map(String::len).sum();
        assert!(told <= bytes.len());
    }
});
