//! What of a request is the way to the engine and back.

use engine::Transport;

use super::Run;
use super::extent::sorted;
use super::figures;
use crate::{Better, Measurement};

const CASE: &str = "network";

/// What is taken of each request, in order; none where it was not told.
type Part = (&'static str, fn(&Transport) -> Option<u64>);

const DURATIONS: [Part; 5] = [
    ("connect", |way| Some(way.connect_ns)),
    ("first_byte", |way| Some(way.first_byte_ns)),
    ("engine_prompt", |way| way.engine_prompt_ns),
    ("engine_answer", |way| way.engine_answer_ns),
    ("outside_engine", outside_ns),
];

/// The whole request less what the engine says that it took itself: the network, both
/// ends of HTTP, and waiting for a place.
fn outside_ns(way: &Transport) -> Option<u64> {
    let engine_ns = way.engine_prompt_ns?.saturating_add(way.engine_answer_ns?);
    Some(way.whole_ns.saturating_sub(engine_ns))
}

/// Figures of the requests with answers.
pub(super) fn measure(run: &mut Run<'_, '_>, ways: &[Transport]) -> Vec<Measurement> {
    if ways.is_empty() {
        return Vec::new();
    }
    let mut all = Vec::new();
    for (what, of) in DURATIONS {
        let ns: Vec<f64> = ways.iter().filter_map(of).map(|ns| ns as f64).collect();
        let metric = format!("{what}_p50_ns");
        if ns.is_empty() {
            let why = "the server does not tell how long it took";
            let better = Better::Lower;
            all.push(Measurement::withheld(CASE, metric, "ns", better, 0, why));
            continue;
        }
        run.samples(CASE, &format!("{what}_ns"), 0.., ns.iter().copied());
        all.push(figures::middle(CASE, &metric, &sorted(&ns)));
    }
    figures::headline(&mut all, "outside_engine_p50_ns");
    let bytes: [Part; 2] = [
        ("sent_bytes_per_request", |way| Some(way.sent_bytes)),
        ("received_bytes_per_request", |way| Some(way.received_bytes)),
    ];
    for (metric, of) in bytes {
        let sum: u64 = ways.iter().filter_map(of).sum();
        let mean = sum as f64 / ways.len() as f64;
        let n = ways.len() as u64;
        all.push(Measurement::new(CASE, metric, "B", Better::Lower, mean, n).aside());
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_engine_did_not_take_is_outside() {
        let way = Transport {
            whole_ns: 100,
            engine_prompt_ns: Some(30),
            engine_answer_ns: Some(50),
            ..Transport::default()
        };
        assert_eq!(outside_ns(&way), Some(20));
        // Two clocks need not agree to the nanosecond.
        let hasty = Transport {
            whole_ns: 79,
            ..way
        };
        assert_eq!(outside_ns(&hasty), Some(0));
        let silent = Transport {
            engine_answer_ns: None,
            ..way
        };
        assert_eq!(outside_ns(&silent), None);
    }
}
