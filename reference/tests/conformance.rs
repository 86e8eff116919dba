//! The reference engine keeps the promises of the seam, on the real fixture.
#![allow(clippy::unwrap_used)] // Fixture code of a test may panic.

use engine::{Engine, EngineSpec, ModelArtifact, Want, conformance};
use harness_reference::Reference;

#[test]
fn every_option_conforms() {
    let model = ModelArtifact::embedded(fixtures::MODEL_NAME, fixtures::MODEL);
    for spec in [
        "reference",
        "reference:weights=q4_0,kv=f16",
        "reference:activations=f16,weights=f16",
        "reference:activations=bf16,threads=1,ctx=64",
        "reference:kernels=portable,weights=q8_0,kv=q8_0",
        "reference:kernels=plain,kv=f16",
    ] {
        let spec: EngineSpec = spec.parse().unwrap();
        let report = conformance::check(&Reference, &model, &spec.options).unwrap();
        assert!(report.passed(), "{spec}\n{report}");
    }
}

#[test]
fn threads_change_no_bit() {
    let artifact = ModelArtifact::embedded(fixtures::MODEL_NAME, fixtures::MODEL);
    let logits = |threads: usize| {
        let spec: EngineSpec = format!("reference:threads={threads},weights=q4_k")
            .parse()
            .unwrap();
        let model = Reference.open(&artifact, &spec.options).unwrap();
        let mut session = model.session().unwrap();
        let prompt: Vec<u32> = (0..77).map(|i| i * 31 % 1000).collect();
        let mut values = session
            .extend(&prompt, Want::All)
            .unwrap()
            .values()
            .to_vec();
        values.extend(session.extend(&[5], Want::Last).unwrap().values());
        values
    };
    let alone = logits(1);
    for threads in [2, 3, 5] {
        let together = logits(threads);
        assert!(
            alone
                .iter()
                .zip(&together)
                .all(|(a, b)| a.to_bits() == b.to_bits()),
            "{threads}"
        );
    }
}
