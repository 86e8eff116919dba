//! Sound programs: the example engines, and what the protocol can carry.
#![allow(clippy::unwrap_used)] // Fixture code of a test may panic.
#![allow(missing_docs)]

mod support;

use engine::conformance::{self, Outcome};
use engine::{Capability, Engine, FailureKind, Pooling, Want};
use harness_remote::Stdio;

const MINIMAL: &str = "../scripts/engines/minimal.py";

#[test]
fn the_minimal_engine_conforms() {
    let spec = support::spec(MINIMAL, "',vocab=50,context=64");
    let report = conformance::check(&Stdio, &support::model(), &spec.options).unwrap();
    assert!(report.passed(), "{report}");
    let passed = report
        .checks
        .iter()
        .filter(|check| check.outcome == Outcome::Pass);
    assert_eq!(passed.count(), 12, "{report}");
}

#[test]
fn an_engine_says_what_it_is() {
    let info = Stdio.probe(&support::spec(MINIMAL, "'").options).unwrap();
    assert_eq!((&*info.version, &*info.device), ("minimal 1", "cpu"));
    let capabilities = [
        Capability::FullLogits,
        Capability::AllLogits,
        Capability::ConcurrentSessions,
    ];
    assert_eq!(info.capabilities, capabilities);
}

#[test]
fn the_engine_tells_its_own_time() {
    let spec = support::spec(MINIMAL, "'");
    let model = Stdio.open(&support::model(), &spec.options).unwrap();
    let mut session = model.session().unwrap();
    assert_eq!(session.last_compute(), None);
    session.extend(&[1, 2, 3], Want::All).unwrap();
    assert!(!session.last_compute().unwrap().is_zero());
    assert!(session.kv().is_none());
    let error = model.embed(&[&[1]], Pooling::Mean).unwrap_err();
    assert_eq!(error.kind(), FailureKind::Unsupported);
}

#[test]
fn likeliest_tokens_make_rows() {
    let spec = support::spec("tests/engines/top.py", "'");
    let report = conformance::check(&Stdio, &support::model(), &spec.options).unwrap();
    assert!(report.passed(), "{report}");
    let model = Stdio.open(&support::model(), &spec.options).unwrap();
    let logits = model.session().unwrap().extend(&[1], Want::Last).unwrap();
    // Token i has the logit ((5 + 3 i) mod 16) / 4, so the likeliest is token 14.
    let logit = |i: usize| ((5 + 3 * i) % 16) as f64 / 4.0;
    let sum = |values: &mut dyn Iterator<Item = f64>| values.map(f64::exp).sum::<f64>();
    let expected = logit(14).exp() / sum(&mut (0..16).map(logit));
    let row = logits.row(0).iter().map(|&value| f64::from(value));
    let got = f64::from(logits.row(0)[14]).exp() / sum(&mut row.clone());
    assert!((got / expected - 1.0).abs() < 1e-5, "{got} {expected}");
    assert!(
        row.clone()
            .enumerate()
            .all(|(i, value)| i == 14 || value < logit(14))
    );
}

#[test]
fn a_long_answer_comes_in_pieces() {
    // 2^22 logits a row: 4 rows a request.
    let spec = support::spec(MINIMAL, "',vocab=4194304,context=16");
    let model = Stdio.open(&support::model(), &spec.options).unwrap();
    let mut session = model.session().unwrap();
    let logits = session.extend(&[1, 2, 3, 4, 5, 6], Want::All).unwrap();
    assert_eq!((logits.rows(), session.len()), (6, 6));
    let again = session.extend(&[5], Want::Last).unwrap();
    assert_eq!(again.row(0)[..9], logits.row(4)[..9]);
    // The second piece holds a token that is none: nothing is appended.
    let error = session
        .extend(&[1, 2, 3, 4, 5, u32::MAX], Want::All)
        .unwrap_err();
    assert_eq!(
        (error.kind(), session.len()),
        (FailureKind::InvalidInput, 7)
    );
}
