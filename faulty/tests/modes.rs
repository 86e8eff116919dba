//! Faults that a process survives; the others need a process of their own, and
//! are tested with the harness.
#![allow(clippy::unwrap_used)] // Fixture code of a test may panic.

use engine::{Engine, EngineError, EngineSpec, FailureKind, Logits, Model, ModelArtifact, Want};
use harness_faulty::Faulty;

fn open(spec: &str) -> Result<Box<dyn Model>, EngineError> {
    let spec: EngineSpec = spec.parse().unwrap();
    Faulty.validate(&spec.options)?;
    let artifact = ModelArtifact::embedded(fixtures::MODEL_NAME, fixtures::MODEL);
    Faulty.open(&artifact, &spec.options)
}

fn extend(spec: &str) -> Result<Logits, EngineError> {
    open(spec)?.session()?.extend(&[1, 2, 3], Want::All)
}

#[test]
fn without_a_fault_it_is_the_reference() {
    let report = engine::conformance::check(
        &Faulty,
        &ModelArtifact::embedded(fixtures::MODEL_NAME, fixtures::MODEL),
        &Default::default(),
    );
    assert!(report.unwrap().passed());
}

#[test]
fn logits_are_spoilt() {
    let sound = extend("faulty").unwrap();
    let last = |logits: Logits| *logits.values().last().unwrap();
    assert!(last(extend("faulty:mode=nan").unwrap()).is_nan());
    assert_eq!(last(extend("faulty:mode=inf").unwrap()), f32::INFINITY);
    let narrow = extend("faulty:mode=wrong_shape").unwrap();
    assert_eq!((narrow.rows(), narrow.vocab()), (3, sound.vocab() - 1));
    assert_eq!(narrow.row(2), &sound.row(2)[..sound.vocab() - 1]);
}

#[test]
fn the_fault_waits_its_turn() {
    let model = open("faulty:mode=nan,after=2").unwrap();
    let finite = || {
        let logits = model.session().unwrap().extend(&[1], Want::Last).unwrap();
        logits.all_finite()
    };
    assert_eq!([finite(), finite(), finite()], [true, true, false]);
}

#[test]
fn it_refuses() {
    let error = open("faulty:mode=refuse").err().unwrap();
    assert_eq!(error.kind(), FailureKind::Load);
    for (spec, word) in [
        ("faulty:mode=sgev", "segv"),
        ("faulty:wieghts=q4_0", "wieghts"),
        ("faulty:after=-1", "after"),
    ] {
        let error = open(spec).err().unwrap();
        assert_eq!(error.kind(), FailureKind::InvalidInput);
        assert!(error.to_string().contains(word), "{error}");
    }
}
